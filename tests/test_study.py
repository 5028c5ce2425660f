"""Studies: the same numbers twice, after a kill, beside a failure; and no record that is not whole."""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from tamis import theory
from tamis.loop import Recipe, look, train
from tamis.models import build
from tamis.observe import signals
from tamis.selection import policies
from tamis.study import environment as study_environments
from tamis.study import folder, noise
from tamis.study.environment import environment as study_environment
from tamis.study.grid import study
from tamis.study.plan import Plan, Setting
from tamis.study.plan_files import load_plan, plan_from_dict, plan_to_dict, with_data
from tamis.study.plans import PLANS
from tamis.study.record import CURVE_COLUMNS, RUN_COLUMNS, read_run, write_run, write_whole
from tamis.study.run import dataset_for
from tamis.study.workers import Event
from tamis.types import TamisError

TINY = Plan(
    "tiny",
    "A plan for tests.",
    (
        Setting(
            "digits",
            "mlp",
            epochs=2,
            size=320,
            width=16,
            seeds=(0, 1),
            ladder=(0.5,),
            recipe=Recipe(batch=16),
            points=4,
            watch=200,
        ),
    ),
    (("none", 0.0), ("random_labels", 0.5)),
    ("selective_backprop(beta=1)", "importance_sampling(presample=2)", "top_k(keep=1/3)"),
)
PRICES = {"forward": 1e-5, "step": 3e-5, "select": 1e-4, "data": 0.0, "measured": True}


def prepared(out: Path) -> Path:
    """A folder whose prices are settled, so that two studies have one price list."""
    out.mkdir(parents=True)
    folder.claim(TINY, out)
    (out / "prices.json").write_text(json.dumps({"digits/mlp/width 16/batch 16/cpu/1 threads": PRICES}))
    return out


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = prepared(tmp_path_factory.mktemp("whole") / "out")
    study(TINY, out, workers=2)
    return out


def tables(out: Path) -> tuple[pl.DataFrame, ...]:
    examples = [pl.read_parquet(path) for path in sorted((out / "examples").iterdir())]
    return (pl.read_parquet(out / "runs.parquet"), pl.read_parquet(out / "curves.parquet"), *examples)


def test_every_job_has_its_row_its_curve_and_its_examples(whole: Path) -> None:
    runs, curves, *examples = tables(whole)
    jobs = list(TINY.jobs())
    assert len(jobs) == len(runs) == len(examples) == 2 * 2 * (1 + 3 + 2)
    assert dict(runs.schema) == RUN_COLUMNS
    assert dict(curves.schema) == CURVE_COLUMNS
    assert runs["status"].to_list() == ["ok"] * len(runs)
    assert set(runs["role"]) == {"standard", "method", "control"}
    assert sorted(path.stem for path in (whole / "runs").iterdir()) == sorted(runs["run"])
    per_run = curves.group_by("run").len().join(runs.select("run", "role"), on="run")
    assert set(per_run.filter(pl.col("role") == "control")["len"]) == {2}, "a control is read at its end alone"
    assert set(per_run.filter(pl.col("role") != "control")["len"]) == {5}
    for one in examples:
        assert {"index", "given_label", "true_label", "kind", "trained", "last_loss", "aum"} <= set(one.columns)
    environment = json.loads((whole / "environment.json").read_text())
    assert {"versions", "threads_per_run", "device", "commit", "prices"} <= environment.keys()
    again = study_environment("cpu", {}, {"commit": "earlier " + environment["commit"]})["commit"].split()
    assert again == ["earlier", environment["commit"]], "a study that goes on under another commit names both, once"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study_environments, "PEERS", ("no-such-peer",))
        gone = study_environment("cpu", {}, {"versions": {"no-such-peer": "0.0.1"}})["versions"]
        assert gone["no-such-peer"] == "0.0.1", "a peer that made records and is gone since stays named"
        assert "no-such-peer" not in study_environment("cpu", {}, {})["versions"]
    assert set(pl.read_parquet(whole / "timings.parquet").columns) == {
        "run",
        "train_seconds",
        "evaluate_seconds",
        "total_seconds",
    }


def test_noise_shares_are_what_the_examples_say(whole: Path) -> None:
    """The measured share, again from the per-example table: trained counts of the mislabeled over all."""
    runs, curves, *_ = tables(whole)
    for row in runs.filter(pl.col("rate") > 0).iter_rows(named=True):
        one = pl.read_parquet(whole / "examples" / f"{row['run']}.parquet")
        noisy = one.filter(pl.col("kind") > 0)["trained"].sum() / one["trained"].sum()
        points = curves.filter(pl.col("run") == row["run"]).sort("point")
        trained = np.diff(points["backwards"].to_numpy())
        assert np.average(points["noise_share"].to_numpy()[1:], weights=trained) == pytest.approx(noisy)
        assert (one["given_label"] != one["true_label"]).sum() == (one["kind"] > 0).sum()
        assert row["realised_rate"] == pytest.approx((one["kind"] > 0).mean())
    clean = runs.filter(pl.col("rate") == 0)
    assert set(clean["noise_share"]) == {0.0}


def test_open_loop_is_joined_to_methods_alone(whole: Path) -> None:
    runs, *_ = tables(whole)
    top = runs.filter((pl.col("policy") == "top_k(keep=1/3)") & (pl.col("rate") > 0))
    assert top["noise_share_open_loop"].is_not_null().all()
    assert (top["noise_share_open_loop"] > top["realised_rate"]).all()
    assert runs.filter(pl.col("role") == "control")["noise_share_open_loop"].is_null().all()


def test_one_seed_gives_one_record_bit_for_bit(whole: Path, tmp_path: Path) -> None:
    out = prepared(tmp_path / "again")
    study(TINY, out, workers=1)
    for ours, theirs in zip(tables(whole), tables(out), strict=True):
        assert ours.equals(theirs, null_equal=True)


def test_killed_in_the_middle_and_started_again_it_gives_the_same_records(whole: Path, tmp_path: Path) -> None:
    out = prepared(tmp_path / "killed")
    program = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_study import TINY
        from tamis.study.grid import study
        if __name__ == "__main__":
            study(TINY, Path(sys.argv[1]), workers=1)
        """
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    process = subprocess.Popen([sys.executable, script, out, Path(__file__).parent], start_new_session=True)
    end = time.monotonic() + 120
    while len(list((out / "runs").glob("*.json")) if (out / "runs").exists() else []) < 3:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.02)
    process.kill()  # the study alone: its workers must notice
    process.wait()
    time.sleep(2)
    left = {path.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*.json")}
    time.sleep(3)
    assert len(list((out / "runs").glob("*.json"))) == len(left), "workers outlive the study that started them"
    assert 0 < len(left) < len(list(TINY.jobs()))
    study(TINY, out, workers=2)
    for ours, theirs in zip(tables(whole), tables(out), strict=True):
        assert ours.equals(theirs, null_equal=True)
    kept = {path.name: path.stat().st_mtime_ns for path in (out / "runs").glob("*.json") if path.name in left}
    assert kept == left, "a finished run is never repeated"


@pytest.mark.parametrize("damage", ["cut", "altered", "empty", "other"])
def test_a_record_that_is_not_whole_is_named_and_done_again(whole: Path, tmp_path: Path, damage: str) -> None:
    out = prepared(tmp_path / "out")
    (out / "runs").mkdir()
    for path in (whole / "runs").iterdir():
        (out / "runs" / path.name).write_bytes(path.read_bytes())
    victim = sorted((out / "runs").iterdir())[5]
    good = victim.read_bytes()
    bad = {
        "cut": good[: len(good) // 2],
        "altered": good.replace(b"0.", b"1.", 1),
        "empty": b"",
        "other": b'{"record": 3}',
    }
    victim.write_bytes(bad[damage])
    events: list[Event] = []
    study(TINY, out, workers=1, tell=events.append)
    again = [event for event in events if event.kind == "again"]
    assert [str(victim) in event.error for event in again] == [True]
    assert [event.run for event in events if event.kind == "start"] == [victim.stem], "and no other run is repeated"
    assert read_run(victim)["row"] == read_run(whole / "runs" / victim.name)["row"]  # type: ignore[index]


def test_a_failing_run_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    wild = dataclasses.replace(TINY.settings[0], seeds=(0,), recipe=Recipe(batch=16, lr=1e30))
    tame = dataclasses.replace(TINY.settings[0], seeds=(0,), size=300, ladder=())
    plan = dataclasses.replace(TINY, settings=(wild, tame), controls=("uniform",))
    runs, _ = study(plan, tmp_path / "out", workers=2)
    counts = dict(runs.group_by("status").len().iter_rows())
    assert counts == {"failed": 10, "ok": 8}, "a control that diverges is no control"
    assert runs.filter(pl.col("status") == "failed")["error"].str.contains("diverged").any()
    events: list[Event] = []
    study(plan, tmp_path / "out", workers=2, tell=events.append)
    assert len([event for event in events if event.kind == "start"]) == 10, "the failed are tried again, the others not"


def test_a_plan_that_grew_goes_on_with_its_records(tmp_path: Path) -> None:
    folder.claim(TINY, tmp_path)
    larger = dataclasses.replace(TINY, methods=(*TINY.methods, "top_k(keep=0.25)"))
    folder.claim(larger, tmp_path)
    with pytest.raises(TamisError, match="records of another plan"):
        folder.claim(TINY, tmp_path)
    with pytest.raises(TamisError, match="records of another plan"):
        folder.claim(dataclasses.replace(larger, name="other"), tmp_path)


def test_out_is_taken_only_where_it_is_ours(whole: Path, tmp_path: Path) -> None:
    with pytest.raises(TamisError, match="records of another plan"):
        folder.claim(dataclasses.replace(TINY, methods=()), whole)
    stranger = tmp_path / "thesis"
    stranger.mkdir()
    (stranger / "chapter1.tex").write_text("mine")
    for fresh in (False, True):
        with pytest.raises(TamisError, match=r"holds no study \(chapter1.tex"):
            folder.claim(TINY, stranger, fresh)
    assert (stranger / "chapter1.tex").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(TamisError, match="is a file"):
        folder.claim(TINY, tmp_path / "file")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "plan.json").write_text("{")
    with pytest.raises(TamisError, match="not a plan that can be read"):
        folder.claim(TINY, broken)
    for place in (Path("/proc/nowhere"), tmp_path / "file" / "inside"):
        with pytest.raises(TamisError, match=r"cannot be made|is a file"):
            study(TINY, place)


def test_what_a_killed_process_left_half_written_is_no_stranger(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "runs").mkdir(parents=True)
    for path in (out / ".plan.json.x.part", out / "runs" / ".abc.json.y.part", out / ".gitkeep"):
        path.write_text("{")
    (out / "runs").rmdir() if not any((out / "runs").iterdir()) else None
    with pytest.raises(TamisError, match="holds no study"):
        folder.claim(TINY, out)  # a folder of runs without its plan is not taken for ours
    (out / "plan.json").write_text(json.dumps(plan_to_dict(TINY)))
    folder.claim(TINY, out)
    assert {path.name for path in out.rglob("*") if path.is_file()} == {".gitkeep", "plan.json"}


def test_two_studies_never_share_a_folder(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    with folder.held(out), pytest.raises(TamisError, match="another study is running"):
        study(TINY, out)


def test_prices_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    for content in ("{", '{"digits/mlp/width 16/batch 16/cpu/1 threads": {"step": 1}}'):
        (out / "prices.json").write_text(content)
        with pytest.raises(TamisError, match=r"prices\.json cannot be read"):
            study(TINY, out)


def test_gathering_runs_nothing(whole: Path, tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    (out / "runs").mkdir()
    records = sorted((whole / "runs").iterdir())
    for path in records[:7]:
        (out / "runs" / path.name).write_bytes(path.read_bytes())
    runs, _ = study(TINY, out, only_gather=True)
    assert sorted(runs["run"]) == [path.stem for path in records[:7]]
    assert len(list((out / "runs").iterdir())) == 7
    with pytest.raises(TamisError, match="nothing to gather"):
        study(TINY, out, only_gather=True, fresh=True)
    with pytest.raises(TamisError, match="nothing to gather"):
        study(TINY, tmp_path / "new", only_gather=True)
    assert not (tmp_path / "new").exists()


def test_fresh_removes_our_files_and_no_other(tmp_path: Path) -> None:
    out = prepared(tmp_path / "out")
    (out / "runs").mkdir()
    (out / "runs" / "0123.json").write_text("{}")
    (out / "runs" / "notes.txt").write_text("mine")
    (out / "figure.pdf").write_text("mine")
    folder.claim(TINY, out, fresh=True)
    left = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert left == {"runs/notes.txt", "figure.pdf", "plan.json"}


def test_a_disk_that_fills_leaves_nothing_half_written(tmp_path: Path) -> None:
    """A real limit of the operating system: files of this process may not grow beyond 10,000 bytes."""
    program = textwrap.dedent(
        """
        import resource, signal, sys
        from pathlib import Path
        from tamis.study.record import write_whole
        from tamis.types import TamisError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
        try:
            write_whole(Path(sys.argv[1]) / "big.json", b"x" * 50_000)
        except TamisError as error:
            print(error)
        """
    )
    (tmp_path / "big.json").write_text("the old one")
    answer = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert "could not be written" in answer.stdout
    assert "make room" in answer.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["big.json"]
    assert (tmp_path / "big.json").read_text() == "the old one"


def test_records_hold_nan_as_null_and_read_back(tmp_path: Path) -> None:
    content = {"row": {"a": float("nan"), "b": np.float32(0.5), "status": "ok"}, "curve": [], "timing": {}}
    write_run(tmp_path / "r.json", content)
    assert read_run(tmp_path / "r.json") == {"row": {"a": None, "b": 0.5, "status": "ok"}, "curve": [], "timing": {}}
    write_whole(tmp_path / "r.json", b"[]")
    assert read_run(tmp_path / "r.json") is None


# Plans -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLANS)
def test_built_in_plans_are_sound_and_come_back_from_json(name: str) -> None:
    plan = load_plan(name)
    assert plan_from_dict(plan_to_dict(plan)) == plan
    assert plan.hours(2) > 0
    names = [job.hash(PRICES, 1) for job in plan.jobs()]
    assert len(set(names)) == len(names), "two jobs of a plan never share a record"


def test_published_plans_fit_six_hours_on_two_cores() -> None:
    assert all(PLANS[name].hours(2) <= 6 for name in ("table1-fashion", "crossover", "table1-cifar10"))
    assert PLANS["smoke"].hours(2) * 3600 < 60
    assert PLANS["quick"].hours(2) * 60 < 8
    cells = set(PLANS["table1-fashion"].cells)
    assert len(cells) == 7
    assert len(PLANS["table1-fashion"].methods) >= 4
    assert [rate for _, rate in PLANS["crossover"].cells] == [0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5]


def test_a_name_depends_on_everything_a_record_is_a_function_of() -> None:
    job = next(iter(TINY.jobs()))
    name = job.hash(PRICES, 1)
    assert name == job.hash(dict(PRICES), 1)
    changes = [
        dataclasses.replace(job, seed=9).hash(PRICES, 1),
        dataclasses.replace(job, setting=dataclasses.replace(job.setting, width=17)).hash(PRICES, 1),
        dataclasses.replace(job, setting=dataclasses.replace(job.setting, recipe=Recipe(lr=0.2))).hash(PRICES, 1),
        job.hash({**PRICES, "step": 4e-5}, 1),
        job.hash(PRICES, 2),
    ]
    assert len({name, *changes}) == 6
    more = dataclasses.replace(job.setting, step_seconds=9.0, seeds=(0, 1, 2), ladder=(0.1, 0.9))
    assert dataclasses.replace(job, setting=more).hash(PRICES, 1) == name, "the rest of the grid is no part of a run"


GOOD = """
cells = [["none", 0.0], ["random_labels", 0.25]]
methods = ["top_k(keep=1/3)"]
[[settings]]
dataset = "digits"
model = "mlp"
epochs = 2
seeds = [0, 1]
recipe = {batch = 32, lr = 0.05}
"""


def test_a_plan_from_toml(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    plan = load_plan(str(path))
    assert (plan.name, plan.settings[0].recipe.batch, plan.settings[0].seeds) == ("mine", 32, (0, 1))
    assert with_data(plan, "fashion_mnist").name == "mine-fashion_mnist"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("digits", "digit"), "did you mean 'digits'"),
        (('"mlp"', '"mpl"'), "did you mean 'mlp'"),
        (("random_labels", "random_label"), 'did you mean "random_labels"'),
        (("random_labels", "fog(severity=9)"), "the severity is 9"),
        (("random_labels", "fog(strength=3)"), "settings of .* cannot be read"),
        (("random_labels", "fog severity"), "is not a corruption; write a name with settings"),
        (("random_labels", "fog( severity=3)"), r"write 'fog\( severity=3\)' as 'fog\(severity=3\)'"),
        (('"random_labels"', "3"), "the corruption is 3"),
        (('"none", 0.0', '"none", 0.5'), "its rate can only be 0"),
        (("0.25", "25"), "a rate lies in"),
        (("0.25", "nan"), "a rate lies in"),
        (("top_k(keep=1/3)", "topk"), "did you mean 'top_k'"),
        (("epochs = 2", "epoch = 2"), "did you mean 'epochs'"),
        (("epochs = 2", "epochs = 0"), "epochs above 0"),
        (("epochs = 2", 'epochs = "two"'), "must be float"),
        (("seeds = [0, 1]", "seeds = []"), "at least one seed"),
        (("lr = 0.05", "lrr = 0.05"), "did you mean 'lr'"),
        (("cells = [", "cells = [["), "not a readable TOML"),
        (('[["none", 0.0], ["random_labels", 0.25]]', "[]"), "at least one setting and one cell"),
        (('[["none", 0.0], ["random_labels", 0.25]]', '["none"]'), "list of pairs"),
        (("[[settings]]", "[settings]"), r"\[\[settings\]\]"),
        (("batch = 32", "batch = 0"), "batch of at least 1"),
        (("lr = 0.05", "lr = -1"), "lr above 0"),
        (("lr = 0.05", "warmup = 1.0"), "warmup in"),
        (("recipe = {batch = 32, lr = 0.05}", "recipe = 5"), "must be a table"),
        (("seeds = [0, 1]", "seeds = [-1]"), "whole numbers of at least 0"),
        (("seeds = [0, 1]", 'seeds = ["a"]'), "whole numbers of at least 0"),
        (("seeds = [0, 1]", 'ladder = ["a"]'), "fractions of the budget"),
        (("seeds = [0, 1]", "width = -1"), "at least 0"),
        (('["top_k(keep=1/3)"]', "[1]"), "list of policies"),
        (("top_k(keep=1/3)", "top_k(keep=1e400)"), "share of candidates"),
        (("0.25", "true"), "a rate lies in"),
        (("cells =", 'controls = [["x"]]\ncells ='), "there is no control"),
    ],
)
def test_a_bad_plan_is_refused_in_one_sentence(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace(*change))
    with pytest.raises(TamisError, match=words) as caught:
        load_plan(str(path))
    assert "\n" not in str(caught.value).split(" is not a readable TOML")[0]


def test_one_method_has_one_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace("top_k(keep=1/3)", "selective_backprop(beta=1.0)"))
    assert load_plan(str(path)).methods == ("selective_backprop(beta=1)",)


def test_settings_that_no_table_could_tell_apart_are_refused() -> None:
    twice = dataclasses.replace(TINY, settings=(TINY.settings[0], dataclasses.replace(TINY.settings[0], width=17)))
    with pytest.raises(TamisError, match="no table could tell them apart"):
        twice.check()


def test_a_plan_that_is_not_there() -> None:
    with pytest.raises(TamisError, match="did you mean 'quick'"):
        load_plan("quik")
    with pytest.raises(TamisError, match=r"there is no file 'no\.toml'"):
        load_plan("no.toml")


# The loop ----------------------------------------------------------------------------------------------------------


def small_run(**kwargs: object):
    data = dataset_for(TINY.settings[0])
    model = build("mlp", (1, 8, 8), 10, 16, seed=1)
    return model, train(
        model,
        data.train,
        data.test,
        policies.top_k(),
        **{"budget": 2, "recipe": Recipe(batch=16), "points": 4, **kwargs},
    )  # type: ignore[arg-type]


def test_looking_changes_nothing_in_the_training(unchanged_globals: None) -> None:
    blind, seeing = small_run()[0], small_run(watch=(signals.loss, signals.correct), watch_size=100)[0]
    for a, b in zip(blind.state_dict().values(), seeing.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_curve_has_its_points_and_each_its_looks() -> None:
    model, record = small_run(watch=(signals.loss,), watch_size=100)
    assert [len(point.looks) for point in record.points] == [0, 4, 4, 4, 4]
    assert record.points[-1].cost >= 2
    assert sum(int(point.trained.sum()) for point in record.points) == record.points[-1].costs.backwards
    data = dataset_for(TINY.settings[0])
    predicted, seen = look(model, data.test, (signals.correct,))
    assert record.points[-1].test_error == pytest.approx(1 - float(seen["correct"].mean()))
    assert float((predicted != data.test.y).double().mean()) == pytest.approx(record.points[-1].test_error)
    assert record.points[-1].worst_class_error == pytest.approx(record.points[-1].class_error.max())


def test_a_look_knows_who_has_yet_to_come_in_this_pass() -> None:
    """Told from outside: a policy that keeps everyone trains within a pass on those alone who no longer wait."""
    data = dataset_for(TINY.settings[0])
    n = len(data.train.y)
    record = train(
        build("mlp", (1, 8, 8), 10, 16, seed=1), data.train, data.test, policies.uniform(),
        budget=1, unit="passes", recipe=Recipe(batch=16), points=4, watch=(signals.loss,), watch_size=n,
    )  # fmt: skip
    trained = np.zeros(n, int)
    for before, point in itertools.pairwise(record.points):
        trained += before.trained
        assert np.array_equal(point.looks[0]["waiting"], trained == 0)
        left = [look["waiting"].mean() for look in point.looks]
        assert left == sorted(left, reverse=True)
        assert left[0] > left[-1]


def test_the_share_of_noise_is_predicted_from_those_who_may_come_next() -> None:
    """Noise that was just trained on has a low loss; it does not come again before it is forgotten."""
    noisy = np.arange(100) % 2 == 0
    waiting = np.arange(100) < 50
    loss = np.where(noisy & waiting, 5.0, 0.0) + np.arange(100) / 1000
    half = policies.top_k(keep=0.5)

    def told(waiting: np.ndarray) -> float | None:
        looks = ({"loss": loss, "waiting": waiting},)
        return noise.rule_share(half, SimpleNamespace(looks=looks), noisy, np.arange(100), 10)

    def of(these: np.ndarray) -> float:
        return theory.noise_share(theory.inclusion(half.rule, loss[these], 10), noisy[these])

    all_again = np.ones(100, bool)
    assert told(waiting) == pytest.approx(of(waiting))
    assert of(waiting) - of(all_again) > 0.15
    assert told(np.arange(100) < 5) == pytest.approx(of(all_again)), "a new pass is near"


def test_a_sample_is_looked_at_as_a_sample_of_a_larger_training_set() -> None:
    """Batches of 20 dealt from 30 hold nearly the same losses each; dealt from 300, luck has more to say."""
    half, watched = policies.top_k(keep=0.5), np.arange(0, 300, 10)
    noisy = (np.arange(300) >= 150) & (np.arange(300) < 180)
    look = {"loss": watched.astype(float), "waiting": np.ones(30, bool)}
    told = noise.rule_share(half, SimpleNamespace(looks=(look,)), noisy, watched, 10)

    def of(population: int) -> float:
        included = theory.inclusion(half.rule, look["loss"], 10, population=population)
        return theory.noise_share(included, noisy[watched])

    assert told == pytest.approx(of(300))
    assert abs(of(30) - of(300)) > 0.01


def test_a_sample_that_holds_too_much_noise_does_not_predict_too_much_of_it() -> None:
    """Who is watched is drawn by chance; the share of noise in the training set is known."""
    half, watched = policies.top_k(keep=0.5), np.arange(100)
    noisy = np.concatenate([np.arange(100) < 35, np.arange(900) < 265])  # 35 of 100 watched, and 30 % of all
    loss = np.where(noisy[:100], 1.0, 0.0) + np.linspace(0, 2, 100) % 0.7
    look = {"loss": loss, "waiting": np.ones(100, bool)}
    told = noise.rule_share(half, SimpleNamespace(looks=(look,)), noisy, watched, 10)
    assert noisy.mean() == pytest.approx(0.3)

    def of(share: float) -> float:  # a large sample of that share, its losses spread alike
        n = 20_000
        bad = np.arange(n) < share * n
        spread = np.concatenate([np.linspace(0, 0.7, bad.sum()), np.linspace(0, 0.7, n - bad.sum())])
        return theory.noise_share(theory.inclusion(half.rule, np.where(bad, 1.0, 0.0) + spread, 10), bad)

    assert told == pytest.approx(of(0.3), abs=0.01)
    assert of(0.35) - of(0.3) > 0.05


def test_the_watched_are_looked_at_as_the_selection_pass_sees_them() -> None:
    """A rule ranks augmented inputs; looks at others would be of other losses, and of the clean ones lower."""
    data, seeds = dataset_for(TINY.settings[0]), [-1]
    half = policies.top_k(keep=0.5)

    def shifted(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        seeds.append(int(generator.initial_seed()))
        return x + 3.0

    def first_look(augment: Any) -> np.ndarray:
        n = len(data.train.y)
        record = train(
            build("mlp", (1, 8, 8), 10, 16, seed=1), data.train, data.test, half, budget=1, unit="passes",
            recipe=Recipe(batch=16), points=1, watch=(signals.loss,), watch_size=n, augment=augment,
        )  # fmt: skip
        return np.asarray(record.points[1].looks[0]["loss"])

    moved = data.train.x + 3.0
    seen = look(build("mlp", (1, 8, 8), 10, 16, seed=1), data.train._replace(x=moved), (signals.loss,))[1]
    assert np.allclose(first_look(shifted), seen["loss"].numpy())
    assert not np.allclose(first_look(None), seen["loss"].numpy())
    assert len(set(seeds)) == len(seeds), "each time by other random numbers"


def test_the_learning_rate_is_a_function_of_the_budget_alone() -> None:
    recipe = Recipe(lr=0.4, warmup=0.25)
    assert [recipe.lr_at(f) for f in (0, 0.125, 0.25, 0.625, 1)] == pytest.approx([0, 0.2, 0.4, 0.2, 0])


def test_training_that_diverges_says_so() -> None:
    with pytest.raises(TamisError, match="diverged; lower the learning rate"):
        small_run(recipe=Recipe(batch=16, lr=1e30))
