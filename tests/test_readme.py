"""What the README shows runs as it stands; what a recipe claims is tried."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text("utf-8"), re.S)


def test_the_readme_example_runs_and_finds_something(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    audit, loop, separation = blocks(ROOT / "README.md", "python")
    exec(compile(audit.replace("minutes=1", "minutes=0.05"), "README.md", "exec"), {})
    assert "look at audits/digits/report.html" in capsys.readouterr().out
    assert (tmp_path / "audits" / "digits" / "report.html").exists()
    names: dict[str, object] = {}
    exec(compile(loop, "README.md", "exec"), names)
    assert names["sieve"].done  # type: ignore[attr-defined]
    assert "aum" in capsys.readouterr().out
    exec(compile(separation, "README.md", "exec"), {})
    said = re.search(r"(\d+) are flagged, ([\d.]+)% of them rightly", capsys.readouterr().out)
    assert said is not None
    assert int(said[1]) > 100
    assert float(said[2]) > 90


def test_every_command_the_readme_shows_exists() -> None:
    from tamis.study.plans import PLANS

    text = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert set(re.findall(r"`?make (\w+)", text)) <= targets
    plans = set(re.findall(r"tamis study ([\w-]+)(?= )", text)) - {"my_plan"}
    assert plans
    assert plans - {"--list"} <= set(PLANS)


def test_every_link_to_a_file_leads_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text("utf-8")):
            if not target.startswith(("http", "mailto")):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_killed_again_and_again_the_recipe_ends_like_the_unbroken_run(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "recipes" / "resume.py")]
    whole = subprocess.run([*command, tmp_path / "whole.pt"], capture_output=True, text=True, check=True).stdout
    checkpoint, kills, end = tmp_path / "broken.pt", 0, time.monotonic() + 240
    while True:
        process = subprocess.Popen(
            [*command, str(checkpoint)], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        while kills < 3 and process.poll() is None:
            assert time.monotonic() < end
            if checkpoint.exists() and checkpoint.stat().st_mtime_ns != before:
                time.sleep(0.03 * kills)  # somewhere between two checkpoints
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.005)
        else:
            said, _ = process.communicate(timeout=120)
            break
        process.communicate()
    assert kills >= 2
    assert "going on at" in said
    assert said.splitlines()[-1] == whole.splitlines()[-1]
    assert whole.startswith("digest")
