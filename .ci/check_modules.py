"""Fails where modules of a crate import each other in a circle. Usage: check_modules.py CRATE…, folders with `src/`."""

import pathlib
import re
import sys

# Tests may import any module.
TESTS = re.compile(r"\n#\[cfg\(test\)\](?:\n#.*)*\nmod \w+ \{.*", re.S)
USE = re.compile(r"(?:^|[\s(])use\s+([^;]+);")
PATH = re.compile(r"\b(?:crate|super)(?:::\w+)+")


def modules(source: pathlib.Path) -> dict[tuple[str, ...], str]:
    """The text of each module that is not a test, by its path within the crate."""
    found = {}
    for file in sorted(source.rglob("*.rs")):
        parts = file.relative_to(source).with_suffix("").parts
        if parts[-1] in ("mod", "lib", "main"):
            parts = parts[:-1]
        if "tests" not in parts:
            found[parts] = re.sub(r"//.*", "", TESTS.sub("\n", file.read_text()))
    return found


def flatten(tree: str) -> list[str]:
    """`a::{b, c::{d, e}}` as `a::b`, `a::c::d`, `a::c::e`."""
    tree = " ".join(tree.split())
    if "{" not in tree:
        return [tree.split(" as ")[0].strip()]
    prefix, rest = tree.split("{", 1)
    items, depth, item = [], 0, ""
    for letter in rest.rsplit("}", 1)[0]:
        depth += (letter == "{") - (letter == "}")
        if letter == "," and depth == 0:
            items.append(item)
            item = ""
        else:
            item += letter
    return [path for item in [*items, item] if item.strip() for path in flatten(prefix.strip() + item.strip())]


def imports(module: tuple[str, ...], text: str, known: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """The modules of the same crate whose items this one names."""
    paths = [path for tree in USE.findall(text) for path in flatten(tree)]
    paths += PATH.findall(text)
    found = set()
    for path in paths:
        parts = path.split("::")
        if parts[0] == "crate":
            at, parts = (), parts[1:]
        elif parts[0] == "super":
            at = module
            while parts and parts[0] == "super":
                at, parts = at[:-1], parts[1:]
        else:
            continue
        target = at
        for part in parts:
            if (*target, part) not in known:
                break
            target = (*target, part)
        if target != module:
            found.add(target)
    return found


def circles(graph: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[list[tuple[str, ...]]]:
    """The strongly connected components with more than one member (Tarjan)."""
    index: dict[tuple[str, ...], int] = {}
    low: dict[tuple[str, ...], int] = {}
    stack: list[tuple[str, ...]] = []
    found = []

    def visit(node: tuple[str, ...]) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            if len(component) > 1:
                found.append(sorted(component))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def check(crate: str) -> bool:
    """Prints the circles of a crate; returns whether there are any."""
    texts = modules(pathlib.Path(crate, "src"))
    graph = {module: imports(module, text, set(texts)) for module, text in texts.items()}
    found = circles(graph)
    for component in found:
        print(f"{crate}: these modules import each other in a circle:")
        for module in component:
            others = ", ".join("::".join(("crate", *other)) for other in sorted(graph[module] & set(component)))
            print(f"  {'::'.join(('crate', *module))} imports {others}")
    return bool(found)


if any([check(crate) for crate in sys.argv[1:]]):
    sys.exit(1)
print("modules: no circles")
