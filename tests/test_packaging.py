"""What is installed, and what installing and importing it does to a machine: little, and nothing unasked."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import requires
from importlib.metadata import version as installed_version
from pathlib import Path

import pytest

import tamis

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
LONGEST = 350  # lines of a source file: a file is one idea


def run(*command: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **(env or {})},
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


def distribution(requirement: str) -> str:
    """The distribution's name, written the one way: of ``Scikit_learn>=1.4`` it is ``scikit-learn``."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^A-Za-z0-9._-]", requirement)[0]).lower()


def tracked() -> list[Path]:
    """The files of the repository; without git (an unpacked archive), whatever lies in the folders that are shipped."""
    asked = run("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    if asked.returncode == 0:
        paths = [ROOT / name for name in asked.stdout.split("\0") if name]
    else:
        paths = [
            *ROOT.glob("*.*"),
            *(p for d in ("src", "tests", "docs", "scripts", "benchmarks") for p in (ROOT / d).rglob("*")),
        ]
    return [path for path in paths if path.is_file()]


def test_the_version_stands_once() -> None:
    """In ``src/tamis/__init__.py``; what else prints it must agree."""
    assert installed_version("tamis") == tamis.__version__, "install anew: pip install -e ."
    assert 'dynamic = ["version"]' in (ROOT / "pyproject.toml").read_text("utf-8")
    assert f"\nversion: {tamis.__version__}\n" in (ROOT / "CITATION.cff").read_text("utf-8")
    newest = re.search(r"^## \[(\d[^\]]*)\]", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert newest is not None
    assert newest[1] == tamis.__version__


def test_the_wheel_holds_the_package_whole(tmp_path: Path) -> None:
    built = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        meta = next(n for n in names if n.endswith(".dist-info/METADATA"))
        metadata = archive.read(meta).decode()
        scripts = archive.read(meta.replace("METADATA", "entry_points.txt")).decode()
    assert "tamis/py.typed" in names
    inside = ROOT / "src"
    ours = {p.relative_to(inside).as_posix() for p in (inside / "tamis").rglob("*") if p.is_file()}
    missing = {n for n in ours if "__pycache__" not in n} - names
    assert not missing, f"not in the wheel: {sorted(missing)}"
    assert any(n.endswith("licenses/LICENSE") for n in names)
    assert f"\nVersion: {tamis.__version__}\n" in metadata
    assert "License-Expression: Apache-2.0" in metadata
    assert "tamis = tamis.cli:main" in scripts


def test_the_command_greets() -> None:
    command = Path(sys.executable).with_name("tamis")
    asked = run(command, "--help")
    assert asked.returncode == 0, asked.stderr
    assert "study" in asked.stdout
    assert "list" in asked.stdout
    assert tamis.__version__ in run(command, "--version").stdout


PROBE = """
import json, random, sys, warnings
import numpy as np, torch, torch.utils.data as data
def state():
    name, keys, *rest = np.random.get_state()
    loader = data.DataLoader
    return [
        repr(random.getstate()), name, keys.tolist(), [repr(r) for r in rest],
        torch.get_rng_state().tolist(), torch.get_num_threads(), torch.get_num_interop_threads(),
        str(torch.get_default_dtype()), torch.is_grad_enabled(), torch.are_deterministic_algorithms_enabled(),
        sorted((k, id(v)) for k, v in vars(loader).items()), id(data.Dataset.__getitem__), id(torch.Tensor.backward),
        [repr(f) for f in warnings.filters], [id(h) for h in (sys.excepthook, sys.displayhook)],
    ]
before = state()
import tamis
print(json.dumps({"same": [a == b for a, b in zip(before, state())], "modules": sorted(sys.modules)}))
"""


def test_importing_changes_nothing_outside_and_stays_light() -> None:
    asked = run(sys.executable, "-c", PROBE)
    assert asked.returncode == 0, asked.stderr
    said = json.loads(asked.stdout)
    assert all(said["same"]), f"global state changed by 'import tamis': {said['same']}"
    assert asked.stderr == "", "importing prints nothing"
    heavy = {"plotly", "sklearn", "pyarrow", "typer", "rich", "jinja2", "pooch", "pandas", "matplotlib"}
    assert not (heavy & set(said["modules"])), f"'import tamis' brings {sorted(heavy & set(said['modules']))}"


def test_everything_imported_is_declared() -> None:
    """A program that works in the developer's environment alone imports what nobody declared."""
    names = {"scikit-learn": "sklearn", "pillow": "PIL"}
    declared = {distribution(line) for line in requires("tamis") or () if "extra ==" not in line}
    allowed = {names.get(name, name) for name in declared} | set(sys.stdlib_module_names) | {"tamis", "tomllib"}
    extras = {"faiss", "cleanlab"}  # imported where they are asked for, with a sentence when they are missing
    unknown = set()
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                found = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = {node.module or ""}
            else:
                continue
            unknown |= {(path.name, f) for f in (name.split(".")[0] for name in found) if f not in allowed | extras}
    assert not unknown, f"imported and not a dependency in pyproject.toml: {sorted(unknown)}"


def test_source_files_are_short() -> None:
    assert SOURCES
    long = {p.name: n for p in SOURCES if (n := len(p.read_text("utf-8").splitlines())) > LONGEST}
    assert not long, f"longer than {LONGEST} lines: {long}"


def test_no_path_of_one_machine() -> None:
    """Tracked text names no home, temporary or checkout folder of somebody's machine."""
    folders = "|".join(["/" + name + "/" for name in ("home", "root", "Users", "work", "workspace", "tmp/pytest")])
    pattern = re.compile(rf"(?<![\w.~:/}})])(?:{folders})[\w.-]|[A-Z]:\\Users\\")
    found, seen = [], 0
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" in raw[:4096]:
            continue
        seen += 1
        for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), 1):
            if hit := pattern.search(line):
                found.append(
                    f"{path.relative_to(ROOT)}:{number}: {line[max(0, hit.start() - 20) : hit.end() + 20].strip()}"
                )
    assert seen > len(SOURCES) / 2
    assert not found, "\n".join(found[:20])


def test_the_constraints_pin_every_dependency() -> None:
    """What the Makefile installs is one resolved set, and no pin is bound to one machine's build of torch."""
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if line and line[0] != "#"]
    odd = [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", line)]
    assert not odd, f"a pin is name==version without a local tag: {odd}"
    pinned = {distribution(line) for line in lines}
    wanted = {distribution(line) for line in requires("tamis") or ()}
    assert wanted - pinned <= {"tomli"}, f"not pinned: {sorted(wanted - pinned)}"
    assert not {"torchvision", "torchaudio"} & pinned


def test_the_browser_shows_a_page_and_tells_what_went_wrong(browser: Callable[..., object], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        "<h1>ok</h1><script>console.error('boom'); console.log('fine')</script><script>null.x</script>"
        "<script src='https://example.com/a.js'></script>",
        "utf-8",
    )
    shown = browser(page, width=390, height=844)
    assert shown.page.inner_text("h1") == "ok"
    assert shown.page.viewport_size == {"width": 390, "height": 844}
    assert "console: boom" in shown.errors
    assert any(e.startswith("exception: ") for e in shown.errors)
    assert shown.requests == ["https://example.com/a.js"]
    assert not any("fine" in e for e in shown.errors)
    page.write_text("<h1>quiet</h1>", "utf-8")
    assert browser(page).errors == []


@pytest.mark.parametrize(
    ("env", "outcome", "words"),
    [
        (
            {"TAMIS_NO_BROWSER": "1", "TAMIS_NO_BROWSER_REASON": "no Debian here"},
            "1 skipped",
            "TAMIS_NO_BROWSER=1: no Debian here",
        ),
        ({"TAMIS_NO_BROWSER": "1", "TAMIS_NO_BROWSER_REASON": " "}, "1 error", "say in TAMIS_NO_BROWSER_REASON why"),
        ({"TAMIS_NO_BROWSER": "", "TAMIS_CHROMIUM": "no-such-chromium"}, "1 error", "apt-get install chromium"),
    ],
)
def test_a_missing_browser_is_never_passed_over(env: dict[str, str], outcome: str, words: str) -> None:
    """Without Chromium the tests of pages fail and say what to do; skipping them has to be asked for and explained."""
    name = f"{Path(__file__).relative_to(ROOT)}::{test_the_browser_shows_a_page_and_tells_what_went_wrong.__name__}"
    asked = run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n0", name, env={**env, "COLUMNS": "300"})
    assert outcome in asked.stdout.splitlines()[-1], asked.stdout
    assert words in asked.stdout
