"""The command line as a stranger meets it: real processes, exit codes, one sentence an error."""

from __future__ import annotations

import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from tamis.corrupt import INJECTORS
from tamis.data.sources import DATASETS
from tamis.observe.scores import SCORES
from tamis.selection.policies import POLICIES
from tamis.study.plans import PLANS
from tamis.study_view import print_in_blocks

TAMIS = [sys.executable, "-m", "tamis"]

TOY = """
title = "a toy"
cells = [["none", 0.0], ["random_labels", 0.5]]
methods = ["top_k(keep=1/3)"]
controls = ["uniform"]
[[settings]]
dataset = "digits"
model = "mlp"
width = 16
epochs = EPOCHS
points = 2
seeds = [0, 1]
ladder = [0.5]
recipe = {batch = 32}
"""


def tamis(*words: object, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    wide = {**os.environ, "COLUMNS": "200", "TAMIS_DATA": "", **variables}
    return subprocess.run(
        [*TAMIS, *map(str, words)], capture_output=True, text=True, cwd=cwd, env=wide, timeout=300, check=False
    )


def toy(folder: Path, epochs: int = 1) -> Path:
    path = folder / "toy.toml"
    path.write_text(TOY.replace("EPOCHS", str(epochs)))
    return path


@pytest.mark.parametrize("words", [(), ("--help",), ("study", "--help"), ("list", "--help")])
def test_help_teaches(words: tuple[str, ...]) -> None:
    answer = tamis(*words)
    assert answer.returncode == 0
    assert not answer.stderr
    assert ("datasets" if words[:1] == ("list",) else "study") in answer.stdout + answer.stderr
    if words[:1] == ("study",):
        assert "tamis study quick" in answer.stdout
        assert {"--out", "--data", "--workers", "--device", "--fresh", "--resume", "--list"} <= set(
            re.findall(r"--\w+", answer.stdout)
        )


def test_the_page_of_the_command_names_every_option() -> None:
    page = (Path(__file__).parents[1] / "docs" / "cli.md").read_text("utf-8")
    for command in ("audit", "study", "list"):
        _, found, section = page.partition(f"## `tamis {command}")
        assert found
        there = set(re.findall(r"(--[a-z][\w-]*)", section.partition("\n## ")[0])) - {"--help"}
        assert there == set(re.findall(r"(--[a-z][\w-]*)", tamis(command, "--help").stdout)) - {"--help", "--list-"}


@pytest.mark.parametrize(
    ("what", "table"),
    [("policies", POLICIES), ("scores", SCORES), ("corruptions", INJECTORS), ("datasets", DATASETS)],
)
def test_lists_name_everything(what: str, table: dict[str, object]) -> None:
    answer = tamis("list", what)
    assert answer.returncode == 0
    assert table
    for name in table:
        assert name in answer.stdout


def test_a_list_may_be_cut_short_by_its_reader() -> None:
    command = f"{sys.executable} -m tamis list scores | head -n 1; exit ${{PIPESTATUS[0]}}"
    answer = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")


@pytest.mark.parametrize(
    "words", [["--help"], ["-h"], ["study", "--help"], ["audit", "-h"], ["stduy"], ["study", "--wrokers"]]
)
def test_what_needs_no_network_does_not_wait_for_torch(words: list[str]) -> None:
    code = f"import sys\nfrom tamis import cli\nsys.argv[1:] = {words!r}\ntry: cli.main()\n"
    code += "finally: print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert answer.stdout.splitlines()[-1] == "False"


def test_every_public_name_is_there_when_it_is_asked_for() -> None:
    code = (
        "import sys, tamis\nassert 'torch' not in sys.modules\n"
        "assert set(tamis.__all__) <= set(dir(tamis))\n"
        "for name in tamis.__all__: getattr(tamis, name)\n"
        "assert tamis.data.load and tamis.Sieve is tamis.sieve.Sieve\n"
        "try: tamis.nobody\nexcept AttributeError as error: print(error)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert answer.stdout == "module 'tamis' has no attribute 'nobody'\n"


def test_plans_are_listed_with_their_hours() -> None:
    answer = tamis("study", "--list")
    assert answer.returncode == 0
    for name in PLANS:
        assert re.search(rf"{name}\b.*(min|h)\b", answer.stdout), name


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("study", "quik"), "did you mean 'quick'"),
        (("study", "no.toml"), "there is no file 'no.toml'"),
        (("study",), "study needs a plan"),
        (("study", "smoke", "--data", "fashion"), "did you mean 'fashion_mnist'"),
        (("study", "smoke", "--device", "tpu"), "--device is 'tpu'"),
        (("study", "smoke", "--workers", "0"), "workers"),
        (("study", "smoke", "--wrokers", "2"), "--wrokers"),
        (("list", "policy"), "did you mean 'policies'"),
        (("stduy", "smoke"), "stduy"),
    ],
)
def test_every_error_is_one_sentence_and_exit_code_two(words: tuple[str, ...], sentence: str, tmp_path: Path) -> None:
    answer = tamis(*words, cwd=tmp_path)
    assert answer.returncode == 2
    assert sentence in answer.stderr
    assert answer.stderr.startswith("tamis: ")
    assert len(answer.stderr.strip().splitlines()) == 1
    assert "Traceback" not in answer.stderr
    assert not list(tmp_path.iterdir()), "nothing was begun"


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_long_name_leaves_the_numbers_their_room(width: int) -> None:
    said = io.StringIO()
    name = "guarded(settle=3, slowing=0.15, wrong=0.5, relook=0.1, floor=0.03, heard=0.5)"
    rows = [[name, "1.00 (12.3 ± 0.4)", "0.98 (45.6 ± 0.7)"], ["uniform", "1.00 (12.4 ± 0.4)", "1.00 (45.7 ± 0.7)"]]
    console = Console(width=width, file=said)
    print_in_blocks("errors", ["policy", "clean", "random labels 50 %"], rows, console)
    shown = re.sub(r"\s+", " ", re.sub(r"[┃│]", " ", said.getvalue()))
    for number in ("12.3", "45.6", "12.4", "45.7"):
        assert number in shown
    assert max(map(len, said.getvalue().splitlines())) <= width


def test_a_study_ends_with_its_table_and_its_page(tmp_path: Path) -> None:
    answer = tamis("study", toy(tmp_path), "--out", "out", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.rstrip().splitlines()[-1] == "report: out/report.html"
    assert "top_k(keep=1/3)" in answer.stdout
    runs = pl.read_parquet(tmp_path / "out" / "runs.parquet")
    assert len(runs) == 12
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert f"<code>tamis study {toy(tmp_path)}</code>" in page, "what can be typed again"
    again = tamis("study", toy(tmp_path), "--out", "out", cwd=tmp_path)
    assert again.returncode == 0
    assert pl.read_parquet(tmp_path / "out" / "runs.parquet").equals(runs)
    other = tamis("study", toy(tmp_path, epochs=2), "--out", "out", cwd=tmp_path)
    assert other.returncode == 2
    assert "another plan" in other.stderr
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.tex").write_text("x")
    refused = tamis("study", toy(tmp_path), "--out", "mine", cwd=tmp_path)
    assert refused.returncode == 2
    assert "thesis.tex" in refused.stderr


def test_interrupted_it_says_how_to_go_on_and_then_goes_on(tmp_path: Path) -> None:
    """In a real terminal: bars are drawn, Ctrl-C is answered in a sentence, the same command finishes."""
    path = toy(tmp_path, epochs=6)
    command = [*TAMIS, "study", str(path), "--out", str(tmp_path / "out"), "--workers", "1"]
    main, terminal = pty.openpty()
    process = subprocess.Popen(command, stdout=terminal, stderr=subprocess.PIPE, start_new_session=True)
    os.close(terminal)
    end = time.monotonic() + 120
    while len(list((tmp_path / "out" / "runs").glob("*.json"))) < 2:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.05)
        if len(os.read(main, 100_000)) == 0:
            break
    process.send_signal(signal.SIGINT)
    chunks = []
    try:
        while chunk := os.read(main, 100_000):
            chunks.append(chunk)
    except OSError:  # the terminal's other end was closed
        pass
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said.decode()
    assert len(list((tmp_path / "out" / "runs").glob("*.json"))) < 12
    assert not list((tmp_path / "out").rglob("*.part"))
    final = tamis("study", path, "--out", tmp_path / "out")
    assert final.returncode == 0, final.stderr
    assert len(pl.read_parquet(tmp_path / "out" / "runs.parquet")) == 12
