"""Figures of the code, from its text alone: `python -m tools.figures` prints them, for the folder that it is run in.

Lines, circles of imports, imports that run upwards, the longest function, the keys of the largest dataclass, the
arguments of the largest constructor, files of one name, tests. Every `import` counts, within functions too.
"""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# From the ground up: a room imports from itself and from those before it. A module of the top is a room, too.
ROOMS = (
    *("version", "errors", "cores", "files", "keys", "device", "locking", "on_ray", "domains", "registry", "settings"),
    *("video", "clip", "data", "diffusion", "networks", "trusted", "parts", "conditioning", "interop", "recipes"),
    *("systems", "tasks", "models", "training", "generation", "evaluation", "curation", "comparison"),
    *("", "digits", "cli", "__main__", "studies", "tools"),  # "" is what `import videofusion` gives
)
PACKAGE = "videofusion"
_MIRRORS = ("cli", "studies", "tools")  # a command is named after what it calls


@dataclass(frozen=True)
class Module:
    """A file of code.

    Args:
        name: as it is imported.
        path: of the file.
        tree: of its syntax.
        lines: how many.
    """

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        """The folder of the package that it is in, or its own name."""
        head, *rest = self.name.split(".")
        return head if head != PACKAGE else (rest or [""])[0]


def modules(root: Path) -> dict[str, Module]:
    """The files below `src`, `studies` and `tools`, by the names that they are imported by."""
    found = {}
    for top in (root / "src" / PACKAGE, root / "studies", root / "tools"):
        for path in sorted(top.rglob("*.py")):
            parts = path.relative_to(top.parent).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            text = path.read_text(encoding="utf-8")
            found[name] = Module(name, path, ast.parse(text), text.count("\n"))
    return found


def imports(module: Module, known: Mapping[str, Module]) -> set[str]:
    """The modules among `known` that one imports."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in known else node.module)
    return {name for name in found if name in known} - {module.name}


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import each other, directly or by others."""
    reach = {name: _reached(graph, name) for name in graph}
    found: dict[str, list[str]] = {}
    for name in sorted(graph):
        if name in reach[name]:
            group = sorted(other for other in reach[name] if name in reach[other])
            found[group[0]] = group
    return list(found.values())


def _reached(graph: Mapping[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph[name]
    return seen


def upward(graph: Mapping[str, set[str]], known: Mapping[str, Module]) -> list[tuple[str, str]]:
    """Imports from a room of one that stands above it, or of a room that `ROOMS` does not name."""

    def floor(name: str) -> int:
        room = known[name].room
        return ROOMS.index(room) if room in ROOMS else len(ROOMS)

    return sorted((name, other) for name in graph for other in graph[name] if floor(other) > floor(name))


def functions(known: Mapping[str, Module]) -> Iterator[tuple[int, str]]:
    """Lines of each function, and where it is."""
    for module in known.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield (node.end_lineno or node.lineno) - node.lineno + 1, f"{module.name}.{node.name}"


def dataclasses(known: Mapping[str, Module]) -> Iterator[tuple[int, str]]:
    """Keys of each dataclass, and where it is."""
    for module, node in _classes(known):
        if any("dataclass" in ast.unparse(each) for each in node.decorator_list):
            yield sum(isinstance(each, ast.AnnAssign) for each in node.body), f"{module.name}.{node.name}"


def constructors(known: Mapping[str, Module]) -> Iterator[tuple[int, str]]:
    """Arguments of each `__init__`, self left out, and where it is."""
    for module, node in _classes(known):
        for each in node.body:
            if isinstance(each, ast.FunctionDef) and each.name == "__init__":
                took = each.args
                yield len([*took.posonlyargs, *took.args, *took.kwonlyargs]) - 1, f"{module.name}.{node.name}"


def _classes(known: Mapping[str, Module]) -> Iterator[tuple[Module, ast.ClassDef]]:
    for module in known.values():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                yield module, node


def of_one_name(known: Mapping[str, Module]) -> list[str]:
    """Names that several files have; commands are named after what they call."""
    names = Counter(module.path.name for module in known.values() if module.room not in _MIRRORS)
    return sorted(name for name, count in names.items() if count > 1 and name != "__init__.py")


def tests(root: Path) -> int:
    """Functions that are tests; one with parameters counts once."""
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in sorted((root / "tests").rglob("test_*.py")))
    return sum(
        isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for tree in trees for node in ast.walk(tree)
    )


def report(root: Path) -> str:
    """All figures of a checkout, and what stands behind those that should be none."""
    known = modules(root)
    graph = {name: imports(module, known) for name, module in known.items()}
    rounds, up, alike = circles(graph), upward(graph, known), of_one_name(known)
    wheel = sum(module.lines for module in known.values() if module.name.split(".")[0] == PACKAGE)
    rows: list[tuple[str, object]] = [
        ("lines, studies and tools among them", sum(module.lines for module in known.values())),
        ("lines of the wheel (src)", wheel),
        ("circles of imports", len(rounds)),
        ("imports that run upwards", len(up)),
        ("longest function", "{} lines, {}".format(*max(functions(known)))),
        ("keys of the largest dataclass", "{}, {}".format(*max(dataclasses(known)))),
        ("arguments of the largest constructor", "{}, {}".format(*max(constructors(known)))),
        ("names that several files have", len(alike)),
        ("tests", tests(root)),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {f'{value:,}' if isinstance(value, int) else value}" for name, value in rows]
    lines += [f"circle: {', '.join(names)}" for names in rounds]
    lines += [f"upwards: {name} imports {other}" for name, other in up]
    lines += [f"of one name: {', '.join(alike)}"] if alike else []
    return "\n".join(lines)


if __name__ == "__main__":
    print(report(Path.cwd()))
    sys.exit()
