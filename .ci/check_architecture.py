#!/usr/bin/env python3
"""Checks that every path and every name of code that ARCHITECTURE.md shows in backticks exists in the repository."""
import re
import subprocess
import sys
from pathlib import Path

# Names of other projects.
OTHERS = {"MatchedPath", "TCP_USER_TIMEOUT", "serde_path_to_error"}

root = Path(__file__).resolve().parent.parent
files = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout.split()
code = "\n".join(
    (root / file).read_text(errors="replace")
    for file in files
    if file.endswith((".rs", ".toml", ".py", ".yaml", ".html", ".js", ".snap")) or file.startswith(".c")
)
text = re.sub(r"```.*?```", "", (root / "ARCHITECTURE.md").read_text(), flags=re.S)


def is_path_known(path: str) -> bool:
    path = path.rstrip("/")
    return any(("/" + file).endswith("/" + path) or f"/{path}/" in f"/{file}" for file in files)


unknown = []
for shown in sorted(set(re.findall(r"`([^`\n]+)`", text))):
    if re.fullmatch(r"[\w.{}-]+(/[\w.{},-]*)+", shown):
        paths = [shown]
        if braces := re.fullmatch(r"(.*)\{(.+)\}(.*)", shown):
            paths = [braces[1] + part + braces[3] for part in braces[2].split(",")]
        unknown += [path for path in paths if not is_path_known(path)]
    elif shown not in OTHERS and re.fullmatch(r"[\w:]+(\(…\))?!?", shown):
        unknown += [shown for part in re.findall(r"\w{4,}", shown) if part not in code][:1]
if unknown:
    sys.exit("ARCHITECTURE.md names what does not exist: " + ", ".join(unknown))
