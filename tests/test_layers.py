"""Imports go one way: this file walks them and holds them to the table of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "tamis"
FRONT = ("tamis", "tamis.__main__")  # the package's own face: it gathers names from every layer and nobody imports it


def module_name(path: Path, top: Path = PACKAGE) -> str:
    """``src/tamis/data/sources.py`` is ``tamis.data.sources``, and a folder's ``__init__.py`` is the folder."""
    parts = ("tamis", *path.relative_to(top).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(name: str, tree: ast.Module, modules: Iterable[str], is_package: bool) -> Iterator[str]:
    """The modules of ours that ``name`` imports, wherever the statement stands, in a function or for types alone."""
    known = set(modules)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "tamis")
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = name.split(".")
                here = here[: len(here) - node.level + is_package]
                base = ".".join([*here, *filter(None, [node.module])])
            if base.split(".")[0] == "tamis":
                yield from (f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names)


def graph(top: Path = PACKAGE) -> dict[str, set[str]]:
    paths = {module_name(path, top): path for path in sorted(top.rglob("*.py"))}
    return {
        name: set(imports(name, ast.parse(path.read_text("utf-8")), paths, path.name == "__init__.py")) - {name}
        for name, path in paths.items()
    }


@cache
def table() -> dict[str, tuple[int, frozenset[int]]]:
    """``{module: (its layer, the layers it may import)}``, read off docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| *(\d+) *\| *(`[^|]*) *\| *([^|]*?) *\|$", text, re.M)
    assert rows, "docs/architecture.md has no table of layers"
    numbers = [int(number) for number, _, _ in rows]
    assert numbers == sorted(set(numbers)), "the layers of docs/architecture.md must stand in order, each once"
    found: dict[str, tuple[int, frozenset[int]]] = {}
    for number, names, may in rows:
        if may == "all":
            allowed = frozenset(numbers)
        else:
            first, _, last = may.partition("–")
            allowed = frozenset(range(int(first), int(last or first) + 1))
        for name in re.findall(r"`([a-z_.]+)`", names):
            assert name not in found, f"{name} stands twice in the table of docs/architecture.md"
            found[name] = (int(number), allowed)
    return found


def row(module: str) -> str | None:
    """The longest name of the table that covers ``module``: ``tamis.selection.cost`` has one of its own."""
    parts = module.split(".")[1:]
    names = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((name for name in names if name in table()), None)


def against_the_direction(found: dict[str, set[str]]) -> list[str]:
    wrong = []
    for module, targets in found.items():
        if module in FRONT:
            continue
        source = row(module)
        if source is None:
            continue  # the table must cover it; a test of its own says so
        layer, allowed = table()[source]
        for target in sorted(targets):
            goal = row(target)
            if target in FRONT and max(allowed, default=0) < max(number for number, _ in table().values()):
                wrong.append(f"{module} imports {target}, the package's face; import the module that defines the name")
            elif goal is not None and goal != source and table()[goal][0] not in allowed:
                wrong.append(f"{module} (layer {layer}) imports {target} (layer {table()[goal][0]})")
    return wrong


def cycle(found: dict[str, set[str]]) -> str | None:
    try:
        TopologicalSorter({name: targets for name, targets in found.items() if name not in FRONT}).prepare()
    except CycleError as error:
        return " <- ".join(error.args[1])
    return None


def test_imports_follow_the_table() -> None:
    assert not (wrong := against_the_direction(graph())), "\n".join(wrong)


def test_no_module_imports_itself_round_a_corner() -> None:
    assert not (found := cycle(graph())), f"an import cycle: {found}"


def test_the_table_covers_every_module_and_names_no_other() -> None:
    found = set(graph())
    missing = sorted(name for name in found - set(FRONT) if row(name) is None)
    assert not missing, f"in no layer of docs/architecture.md: {', '.join(missing)}"
    gone = sorted(name for name in table() if f"tamis.{name}" not in found)
    assert not gone, f"docs/architecture.md has layers for modules that do not exist: {', '.join(gone)}"


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("types", "from tamis.sieve import Sieve", "tamis.types (layer 0) imports tamis.sieve"),
        ("types", "def f():\n    import tamis.cli", "tamis.types (layer 0) imports tamis.cli"),
        ("data/sources", "from ..study import run", "tamis.data.sources (layer 1) imports tamis.study"),
        ("observe/signals", "from tamis.data import sources", "tamis.observe.signals (layer 1) imports tamis.data"),
        ("theory", "from tamis import Sieve", "tamis.theory imports tamis, the package's face"),
        ("selection/cost", "from . import rules", "tamis.selection.cost (layer 1) imports tamis.selection"),
        ("sieve", "from tamis.types import Truth", None),
        ("sieve", "from .selection import cost", None),
        ("selection/rules", "from .schedules import Always", None),
    ],
)
def test_the_walk_sees_what_it_forbids(tmp_path: Path, module: str, line: str, complaint: str | None) -> None:
    for name in table():
        folder = tmp_path.joinpath(*name.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "__init__.py").touch()
    (tmp_path / "__init__.py").touch()
    path = (tmp_path / module).with_suffix(".py")
    path.write_text(line, "utf-8")
    wrong = against_the_direction(graph(tmp_path))
    assert [complaint] == [w[: len(complaint)] for w in wrong] if complaint else not wrong


def test_the_walk_sees_a_cycle() -> None:
    assert cycle({"tamis.data.a": {"tamis.data.b"}, "tamis.data.b": {"tamis.data.a"}})
    assert not cycle({"tamis": {"tamis.types"}, "tamis.types": set()})
