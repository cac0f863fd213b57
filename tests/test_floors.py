"""The house has floors: a module imports from its own or from lower ones, and never in a ring.

Every import counts, also those inside functions and those for type checkers only.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src"

# The longest name that fits decides: data.spec is on floor 1, the rest of data on floor 2.
FLOORS = {
    0: ("errors", "console", "files", "machine", "processes", "progress", "version"),
    1: ("chat", "persona", "recipe", "run", "data.spec"),
    2: (
        "gguf_file",
        "gguf_folder",
        "starter",
        "hubs",
        "hub",
        "persona_file",
        "opening",
        "defaults",
        "data",
        "sources",
        "training.schedule",
        "training.shares",
    ),
    3: ("model",),
    # hosting loads what an opening names, so it stands beside the engine.
    4: ("training", "engine", "exporters", "hosting", "continuing"),
    5: ("evaluate", "serve"),
    6: ("api",),
    # The package itself only lists the public names; nobody below looks through it.
    7: ("cli", "__main__", "__init__"),
}


@dataclass(frozen=True)
class Import:
    """One module of the house uses another."""

    user: str
    used: str
    line: int
    is_at_top: bool


def find_modules() -> dict[str, Path]:
    """Dotted name without ``selfhood.`` -> file."""
    package = SOURCE / "selfhood"
    found = {}
    for path in package.rglob("*.py"):
        parts = path.relative_to(package).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)
        found[name] = path
    return found


MODULES = find_modules()


def floor_of(module: str) -> int | None:
    fits = [
        (len(name), floor)
        for floor, names in FLOORS.items()
        for name in names
        if module == name or module.startswith(f"{name}.")
    ]
    return max(fits)[1] if fits else None


def imports_of(user: str, path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    at_top = set(map(id, tree.body))
    for node in ast.walk(tree):
        for used in _used(node):
            yield Import(user, used, getattr(node, "lineno", 0), id(node) in at_top)


def _used(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"a relative import in line {node.lineno}"
        names = [f"{node.module}.{alias.name}" for alias in node.names]
    else:
        return
    for name in names:
        if name.split(".")[0] == "selfhood":
            inside = name.partition(".")[2]
            yield inside if inside in MODULES else inside.rpartition(".")[0] or "__init__"


IMPORTS = [item for name, path in MODULES.items() for item in imports_of(name, path)]


def test_every_module_stands_on_a_floor() -> None:
    assert [name for name in MODULES if floor_of(name) is None] == []


def test_a_module_imports_only_from_its_own_floor_and_from_lower_ones() -> None:
    wrong = [
        f"{item.user}:{item.line} (floor {floor_of(item.user)}) imports {item.used} "
        f"(floor {floor_of(item.used)})"
        for item in IMPORTS
        if (floor_of(item.used) or 0) > (floor_of(item.user) or 0)
    ]
    assert wrong == []


def test_no_two_modules_need_each_other_to_be_imported() -> None:
    graph: dict[str, set[str]] = {name: set() for name in MODULES}
    for item in IMPORTS:
        if item.is_at_top and item.used != item.user:
            graph[item.user].add(item.used)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a ring of imports: {' -> '.join(error.args[1])}")


def test_the_walk_sees_imports_inside_functions(tmp_path: Path) -> None:
    path = tmp_path / "late.py"
    path.write_text("def late():\n    from selfhood.data import spec\n    import selfhood.errors\n")
    assert list(imports_of("late", path)) == [
        Import("late", "data.spec", 2, is_at_top=False),
        Import("late", "errors", 3, is_at_top=False),
    ]
