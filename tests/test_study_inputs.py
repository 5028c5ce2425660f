"""What a study, a file of one's own or the theory is given at the ends of its range: one sentence, or a number."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from test_cli import tamis, toy
from test_guard import climbed
from test_study import GOOD, PRICES, TINY, prepared

from tamis import theory
from tamis.data import load
from tamis.loop import Recipe, train
from tamis.models import build
from tamis.report.svg import Panel, linear_axis, log_axis
from tamis.selection import policies
from tamis.selection.policies import policy
from tamis.selection.rules import PowerDraw
from tamis.study import folder, noise
from tamis.study.grid import study
from tamis.study.plan import Plan
from tamis.study.plan_files import load_plan, plan_from_dict, plan_to_dict
from tamis.study.record import write_run
from tamis.study.run import dataset_for, failed
from tamis.study.target import time_to_target
from tamis.study.workers import Event
from tamis.types import TamisError

ONE = dataclasses.replace(TINY.settings[0], seeds=(0,))


def toml(folder: Path, text: str) -> str:
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


# Plans ----------------------------------------------------------------------------------------------------------------


def test_a_field_that_is_like_none_is_answered_by_all_there_are(tmp_path: Path) -> None:
    with pytest.raises(TamisError, match=r"no field 'policies'; it has name, title, .*cells, methods"):
        load_plan(toml(tmp_path, 'policies = ["uniform"]'))
    with pytest.raises(TamisError, match="no field 'method'; did you mean 'methods'"):
        load_plan(toml(tmp_path, 'method = ["uniform"]'))


def test_a_long_tail_is_a_cell_of_the_setting_whose_examples_it_takes_away(tmp_path: Path) -> None:
    cells = (("none", 0.0), ("long_tail", 0.9))
    plan = dataclasses.replace(TINY, settings=(dataclasses.replace(ONE, epochs=1, ladder=()),), cells=cells, methods=())
    runs, _ = study(plan, tmp_path / "out", workers=1)
    assert runs["corruption"].to_list() == ["none", "long_tail"]
    assert runs["size"].n_unique() == 1
    assert runs["candidates"][1] < runs["candidates"][0], "it trained on fewer"


# The loop and the chart of its cost -----------------------------------------------------------------------------------


def test_a_method_that_never_takes_a_step_is_refused_and_not_recorded(tmp_path: Path) -> None:
    data = dataset_for(TINY.settings[0])
    model = build("mlp", (1, 8, 8), 10, 16, seed=1)
    with pytest.raises(TamisError, match=r"top_k\(keep=0\.04\) took no step .* among 400 candidates, .* at most 320;"):
        train(model, data.train, data.test, policies.top_k(keep=0.04), budget=1, unit="passes", recipe=Recipe(batch=16))
    plan = dataclasses.replace(
        TINY,
        settings=(dataclasses.replace(ONE, epochs=1, ladder=()),),
        cells=(("none", 0.0),),
        methods=("top_k(keep=0.04)",),
    )
    runs, _ = study(plan, tmp_path / "out", workers=1)
    assert dict(runs.select("policy", "status").iter_rows()) == {"uniform": "ok", "top_k(keep=0.04)": "failed"}


def test_what_has_no_place_on_a_logarithmic_axis_is_not_drawn() -> None:
    panel = Panel("t", "l", log_axis([0.0, 1.0, 10.0], str), linear_axis([0.0, 1.0], str))
    for cost in (0.0, -1.0, math.nan):
        panel.line([(cost, 0.5)], "a")
        panel.whisker((cost, 0.1), (cost, 0.9), "a")
        panel.mark(cost, 0.5, "a", "circle", "tip")
        panel.text(panel.px(cost) + 7, 3, "A")
    assert not panel.marks
    panel.mark(2.0, 0.0, "a", "circle", "tip")
    assert len(panel.marks) == 1, "0 has a place on the other axis"


# The theory ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [1e-4, 0.001, 0.01, 0.967, 0.968, 0.99, 0.999, 1 - 1e-9, 1.0])
@pytest.mark.parametrize("share", [1e-3, 0.1, 0.5, 0.9, 0.999])
def test_a_crossover_is_a_number_whatever_a_draw_keeps(keep: float, share: float) -> None:
    rate = theory.crossover_rate("PowerDraw", share, keep=keep)
    assert 0 <= rate <= share
    assert theory.worst_case_share("PowerDraw", rate, keep=keep) == pytest.approx(share, abs=1e-6)


def test_a_draw_of_nearly_all_is_a_draw_of_all() -> None:
    rates = [theory.crossover_rate("PowerDraw", 0.5, keep=keep) for keep in (0.9, 0.967, 0.968, 0.97, 0.99, 0.9999)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.5, abs=1e-4)
    below, above = (theory.worst_case_share("PowerDraw", 0.3, keep=a / (1 + a)) for a in (29.999999, 30.000001))
    assert below == pytest.approx(above, abs=1e-8), "both formulas are one function"


def test_a_theory_that_has_no_number_fails_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = dataclasses.replace(policy("importance_sampling(presample=2)"), rule=PowerDraw(0.99))
    assert noise.worst_case(chosen, 0.25, 16, 1.0) == pytest.approx(0.25, abs=0.01)

    def overflows(*_: object, **__: object) -> float:
        raise OverflowError

    monkeypatch.setattr(theory, "worst_case_share", overflows)
    assert noise.worst_case(chosen, 0.25, 16, 1.0) is None


# Plans ---------------------------------------------------------------------------------------------------------------


def test_a_rate_is_one_number_however_it_is_written(tmp_path: Path) -> None:
    plans = [load_plan(toml(tmp_path, GOOD.replace('"none", 0.0', f'"none", {zero}'))) for zero in ("0", "0.0")]
    first, second = ([job.hash(PRICES, 1) for job in plan.jobs()] for plan in plans)
    assert first == second
    ladders = [load_plan(toml(tmp_path, f"{GOOD}ladder = [0.5, {two}]\n")) for two in ("2", "2.0")]
    first, second = ([job.hash(PRICES, 1) for job in plan.jobs()] for plan in ladders)
    assert first == second


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('["none", 0.0]', '["none", 0], ["none", 0.0]', r"cells names \['none', 0.0\] twice"),
        ('["top_k(keep=1/3)"]', '["selective_backprop(beta=1)", "selective_backprop(beta=1.0)"]', "methods names"),
        ("seeds = [0, 1]", "seeds = [0, 1, 0]", "seeds names 0 twice"),
        ("seeds = [0, 1]", "ladder = [0.5, 2, 2.0]", "ladder names 2.0 twice"),
        ("cells =", 'controls = ["uniform", "guarded", "guarded(settle=3)"]\ncells =', r"controls names 'guarded\("),
    ],
)
def test_what_is_named_twice_is_refused_before_anything_runs(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(TamisError, match=words):
        load_plan(toml(tmp_path, GOOD.replace(old, new)))


def test_cells_of_a_plan_made_in_python_are_told_apart_too() -> None:
    with pytest.raises(TamisError, match=r"cells names \['none', 0.0\] twice"):
        dataclasses.replace(TINY, cells=(("none", 0), ("none", 0.0))).check()


def test_two_settings_that_are_the_same_data_are_refused_before_anything_runs(tmp_path: Path) -> None:
    both = tuple(dataclasses.replace(ONE, size=size) for size in (0, 1438))
    with pytest.raises(TamisError, match="are the same 1438 examples of digits for mlp"):
        study(dataclasses.replace(TINY, settings=both).check(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_control_and_a_method_of_one_policy_have_one_label(tmp_path: Path) -> None:
    text = GOOD.replace("top_k(keep=1/3)", "guarded").replace("cells =", 'controls = ["uniform", "guarded"]\ncells =')
    plan = load_plan(toml(tmp_path, text))
    assert plan.controls == ("uniform", *plan.methods)
    assert plan_from_dict(plan_to_dict(plan)) == plan


# A study's folder ----------------------------------------------------------------------------------------------------


def grown(**more: Any) -> Plan:
    """TINY with more of something; what is a setting's goes to its setting."""
    own = {name: more.pop(name) for name in ("seeds", "ladder") if name in more}
    return dataclasses.replace(TINY, settings=(dataclasses.replace(TINY.settings[0], **own),), **more)


@pytest.mark.parametrize(
    "more",
    [
        {"seeds": (0, 1, 2)},
        {"ladder": (0.5, 0.7)},
        {"seeds": (2, 0, 1), "ladder": (0.3, 0.5)},
        {"controls": (*TINY.controls, "oracle")},
        {"cells": (*TINY.cells, ("random_labels", 0.25))},
    ],
)
def test_a_plan_that_only_grew_keeps_its_folder(tmp_path: Path, more: dict[str, Any]) -> None:
    folder.claim(TINY, tmp_path)
    folder.claim(grown(**more), tmp_path)
    with pytest.raises(TamisError, match="records of another plan"):
        folder.claim(TINY, tmp_path)


@pytest.mark.parametrize("other", [{"seeds": (0,)}, {"seeds": (0, 2)}, {"ladder": ()}, {"ladder": (0.7,)}])
def test_a_plan_that_shrank_or_differs_does_not(tmp_path: Path, other: dict[str, Any]) -> None:
    folder.claim(TINY, tmp_path)
    with pytest.raises(TamisError, match="records of another plan"):
        folder.claim(grown(**other), tmp_path)


def test_one_seed_more_does_the_new_runs_alone(tmp_path: Path) -> None:
    small = dataclasses.replace(TINY, cells=TINY.cells[:1], methods=(), settings=(ONE,), controls=())
    out = prepared(tmp_path / "out")
    (out / "plan.json").write_text(json.dumps(plan_to_dict(small)))
    study(small, out, workers=1)
    events: list[Event] = []
    larger = dataclasses.replace(small, settings=(dataclasses.replace(ONE, seeds=(0, 1)),))
    runs, _ = study(larger, out, workers=1, tell=events.append)
    assert sorted(runs["seed"]) == [0, 1]
    assert len([event for event in events if event.kind == "start"]) == 1


def test_a_folder_that_cannot_be_written_in_is_one_sentence(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    (out / ".lock").mkdir()  # as forbidden as a folder without the right to write, to root as well
    for only_gather in (False, True):
        with pytest.raises(TamisError, match="cannot be written in"):
            study(TINY, out, only_gather=only_gather)
    with pytest.raises(TamisError, match="cannot be written in"), folder.held(Path("/proc/self")):
        pass


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_fresh_that_is_killed_leaves_a_study_that_the_same_command_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    out = prepared(tmp_path / "out")
    (out / "runs").mkdir()
    (out / "runs" / "0123.json").write_text("{}")
    (out / "report.html").write_text("page")
    removed = 0

    def killed(path: Path, missing_ok: bool = False) -> None:
        nonlocal removed
        if path.exists():
            if removed == after:
                raise KeyboardInterrupt
            removed += 1
            os.unlink(path)

    def unwritten(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        patched.setattr(folder, "write_json", unwritten)
        with pytest.raises(KeyboardInterrupt):
            folder.claim(TINY, out, fresh=True)
    folder.claim(TINY, out, fresh=True)
    assert {path.name for path in out.rglob("*") if path.is_file()} == {"plan.json"}


def test_only_report_of_a_study_with_failed_runs_exits_with_one(tmp_path: Path) -> None:
    path = toy(tmp_path)
    assert tamis("study", path, "--out", "out", cwd=tmp_path).returncode == 0
    assert tamis("study", path, "--out", "out", "--only-report", cwd=tmp_path).returncode == 0
    plan = load_plan(str(path))
    record = sorted((tmp_path / "out" / "runs").iterdir())[0]
    write_run(record, failed(next(plan.jobs()), plan.name, record.stem, "Traceback\nRuntimeError: out of luck"))
    answer = tamis("study", path, "--out", "out", "--only-report", cwd=tmp_path)
    assert answer.returncode == 1, answer.stderr
    assert "1 runs failed" in answer.stdout
    assert "without --only-report" in answer.stdout
    assert "out of luck" in answer.stdout


# A file of one's own -------------------------------------------------------------------------------------------------

X, Y = np.arange(60, dtype=np.float32).reshape(20, 3), np.arange(20) % 2


@pytest.mark.parametrize(
    ("x", "x_test", "words"),
    [
        (X.astype(np.uint8), X, "x is uint8 and x_test float32, but both must"),
        (X, X.astype(np.uint8), "x is float32 and x_test uint8, but both must"),
        (X.astype(np.uint16), X.astype(np.uint8), "x is uint16 and x_test uint8, but both must"),
        (X, X[:, :2], r"x is \[20, 3\] and x_test \[20, 2\]; .* one shape"),
        (X, np.where(X == 30, np.nan, X), "x_test holds NaN or an infinity at index 10;"),
    ],
)
def test_splits_of_a_file_are_of_one_kind(tmp_path: Path, x: np.ndarray, x_test: np.ndarray, words: str) -> None:
    np.savez(tmp_path / "mine.npz", x=x, y=Y, x_test=x_test, y_test=Y)
    with pytest.raises(TamisError, match=words):
        load(str(tmp_path / "mine.npz"))


def test_floats_of_two_lengths_are_one_kind(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=X.astype(np.float64), y=Y, x_test=X, y_test=Y)
    found = load(str(tmp_path / "mine.npz"), normalised=False)
    assert found.test.x.equal(found.train.x)


@pytest.mark.parametrize("bad", range(0, 20, 3))
def test_a_value_that_is_not_finite_is_named_by_its_place_in_the_file(tmp_path: Path, bad: int) -> None:
    x = X.copy()
    x[bad, 1] = np.inf if bad % 2 else np.nan
    np.savez(tmp_path / "mine.npz", x=x, y=Y)
    with pytest.raises(TamisError, match=f"x holds NaN or an infinity at index {bad};"):
        load(str(tmp_path / "mine.npz"))


# Time to target ------------------------------------------------------------------------------------------------------


def test_a_budget_in_passes_is_no_budget_in_cost() -> None:
    uniform, earlier = ("uniform", "standard", ""), ("uniform", "control", "uniform")
    runs = climbed({
        uniform: {16.0: [0.2, 0.2]}, earlier: {4.0: [0.3, 0.3], 8.0: [0.25, 0.25]},
        ("mine", "control", "mine"): {4.0: [0.3, 0.3], 8.0: [0.22, 0.22]}, ("mine", "method", ""): {16.0: [0.1, 0.1]},
    })  # fmt: skip
    by_cost = runs.with_columns(budget_unit=pl.lit("cost"))
    passes = by_cost.with_columns(
        budget_unit=pl.when(pl.col("role") == "control").then(pl.lit("cost")).otherwise(pl.lit("passes"))
    )
    found = [{row["policy"]: row for row in time_to_target(frame).iter_rows(named=True)} for frame in (by_cost, passes)]
    assert (found[0]["mine"]["budget"], found[0]["mine"]["at"]) == (16.0, 16.0)
    assert (found[1]["mine"]["budget"], found[1]["mine"]["at"]) == (None, 8.0)
    assert found[0]["uniform"] == found[1]["uniform"], "plain training's passes are its cost"
