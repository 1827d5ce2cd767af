"""The recipes of docs/recipes, run as they are written, against the service at DB_LOCKS_URL with the binary BIN."""

import os
import pathlib
import re
import subprocess
import textwrap

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
URL = "http://127.0.0.1:8080"


class Recipe:
    """One page, and a folder in which programs can be made that it names."""

    def __init__(self, name: str, folder: pathlib.Path) -> None:
        self.text = (ROOT / f"docs/recipes/{name}.md").read_text()
        self.folder = folder
        self.url = os.environ["DB_LOCKS_URL"]
        self.environment = {
            **os.environ,
            "PATH": f"{folder}:{pathlib.Path(os.environ['BIN']).resolve().parent}:{os.environ['PATH']}",
        }

    def code(self, language: str) -> str:
        """The only block of code in a language, with the URL of the service that runs."""
        [block] = re.findall(rf"^```{language}\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE)
        return str(block).replace(URL, self.url)

    def program(self, name: str, script: str) -> None:
        """Make a program that the recipe names."""
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
        path.chmod(0o755)

    def exclusive_program(self, name: str) -> None:
        """Make a program that fails if another one of it runs at the same time, and notes that it ran."""
        self.program(
            name,
            f"""
            mkdir {self.folder}/running || exit 1
            sleep 0.2
            rmdir {self.folder}/running
            echo "$DB_LOCKS_FENCING_TOKEN" >> {self.folder}/runs
            """,
        )

    def runs(self) -> int:
        """How often it ran."""
        runs = self.folder / "runs"
        return len(runs.read_text().splitlines()) if runs.exists() else 0

    def start(self, command: str, **variables: str) -> "subprocess.Popen[str]":
        """Start a command of a shell, in the folder and in a process group of its own."""
        return subprocess.Popen(
            ["bash", "-c", command],
            cwd=self.folder,
            env={**self.environment, **variables},
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, command: str, **variables: str) -> str:
        """Run a command of a shell, which must succeed: what it printed."""
        process = self.start(command, **variables)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output
        return output

    def at_once(self, command: str, count: int) -> None:
        """Run a command several times at the same time. All must succeed."""
        processes = [self.start(command, GITHUB_RUN_ID=str(number)) for number in range(count)]
        for process in processes:
            output, _ = process.communicate(timeout=60)
            assert process.returncode == 0, output


@pytest.fixture
def recipe(request: pytest.FixtureRequest, tmp_path: pathlib.Path) -> Recipe:
    """The recipe that the test's name begins with."""
    name = request.function.__name__.removeprefix("test_").split("__")[0].replace("_", "-")
    return Recipe(name, tmp_path)
