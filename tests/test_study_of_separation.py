"""The study of separation: separators on digits, what they are held to, and a study that goes on where it was."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tamis.corrupt import injector
from tamis.data import load
from tamis.data.sources import subset
from tamis.loop import Recipe
from tamis.models import build
from tamis.report.study import study_report
from tamis.selection.cost import ASSUMED
from tamis.study import folder, separations, separators
from tamis.study.detection import Lab, auroc
from tamis.study.grid import study
from tamis.study.plan import Plan, Setting
from tamis.study.plans import PLANS
from tamis.study.record import SEPARATION_COLUMNS, read_run
from tamis.study.separating import BINS, TARGETS, measure, reliability
from tamis.study.separators import SEPARATORS, Said
from tamis.types import Arrays, Costs, Kind, TamisError, Truth, generator

PRICES = {"forward": 1e-5, "step": 3e-5, "select": 1e-4, "data": 0.0, "measured": True}
SETTING = Setting("digits", "mlp", epochs=3, size=300, width=16, seeds=(0,), ladder=(), points=1, watch=0,
                  recipe=Recipe(batch=16))  # fmt: skip
NOISE = ("random_labels_exclusive", 0.3)
TINY = Plan("tiny", "A plan for tests.", (SETTING,), (("none", 0.0), NOISE), (), (),
            separators=("loss_mixture", "confident_learning"), repeats=(1,), repeated=(NOISE,))  # fmt: skip


# What a separator is held to ----------------------------------------------------------------------------------------


def test_a_list_is_counted_by_hand() -> None:
    """Six examples, three mislabeled; p asks for 4 of them at 20 %: (0 + 0 + .1 + .6) / 4 < .2 < (.7 + .9) / 5."""
    kind = torch.tensor([int(Kind.MISLABELED), int(Kind.MISLABELED), 0, 0, int(Kind.MISLABELED), 0])
    truth = Truth(kind, torch.tensor([1, 2, 0, 0, 3, 0]))
    p = torch.tensor([1.0, 1.0, 0.9, 0.4, 0.1, 0.0], dtype=torch.float64)
    said = Said(p, Costs(), p, None, None, torch.tensor([1, 0, 0, 0, 3, 0]), 0.4, (0.3, 0.45))
    row, bins = measure(said, truth, np.array([1, 0, 1, 0, 0, 0], bool))
    assert row["auroc"] == pytest.approx(7 / 9)
    assert row["auroc_hardest"] == pytest.approx(2 / 3), "against the third: the first is hard and mislabeled"
    assert row["suggested_right"] == pytest.approx(2 / 3)
    assert (row["rate_estimated"], row["rate_covered"]) == (0.4, 0.0), "half of them are wrong"
    assert (row["flagged_20"], row["fdr_20"], row["recall_20"]) == pytest.approx((4 / 6, 0.5, 2 / 3))
    assert (row["flagged_05"], row["fdr_05"], row["recall_05"]) == pytest.approx((0.5, 1 / 3, 2 / 3))
    assert len(bins) == 6, "no more bins than examples"
    assert row["calibration_error"] == pytest.approx((0.9 + 0.4 + 0.9) / 6)
    assert measure(said._replace(interval=(0.3, 0.6)), truth, np.ones(6, bool))[0]["rate_covered"] == 1.0


def test_a_separator_with_a_list_of_its_own_has_it_at_every_target() -> None:
    kind = torch.tensor([int(Kind.MISLABELED), 0, 0])
    own = Said(torch.tensor([2.0, 1.0, 0.0]), Costs(), flagged=torch.tensor([True, True, False]))
    row, bins = measure(own, Truth(kind, torch.zeros(3, dtype=torch.int64)), np.ones(3, bool))
    for target in TARGETS:
        assert row[f"fdr_{100 * target:02.0f}"] == 0.5
        assert row[f"recall_{100 * target:02.0f}"] == 1.0
    assert (row["calibration_error"], row["rate_covered"], bins) == (None, None, [])
    silent, _ = measure(own._replace(flagged=None), Truth(kind, torch.zeros(3, dtype=torch.int64)), np.ones(3, bool))
    assert silent["fdr_05"] is None
    with pytest.raises(TamisError, match="speaks of"):
        measure(own, Truth(torch.zeros(4, dtype=torch.int64), torch.zeros(4, dtype=torch.int64)), np.ones(4, bool))


def test_a_separator_that_makes_lists_itself_is_judged_by_these() -> None:
    kind = torch.tensor([int(Kind.MISLABELED), 0, 0])
    p = torch.tensor([0.9, 0.9, 0.1], dtype=torch.float64)
    asked = Said(p, Costs(), p, lists=lambda fdr: torch.tensor([True, fdr > 0.1, False]))
    row, _ = measure(asked, Truth(kind, torch.zeros(3, dtype=torch.int64)), np.ones(3, bool))
    assert (row["fdr_05"], row["fdr_10"], row["fdr_20"]) == (0.0, 0.0, 0.5)


def test_on_clean_data_every_discovery_is_false_and_none_is_missed() -> None:
    p = torch.tensor([0.99] + [0.01] * 9, dtype=torch.float64)
    clean = Truth(torch.zeros(10, dtype=torch.int64), torch.zeros(10, dtype=torch.int64))
    row, _ = measure(Said(p, Costs(), p), clean, np.ones(10, bool))
    assert (row["flagged_05"], row["fdr_05"], row["recall_05"], row["auroc"]) == (0.1, 1.0, None, None)
    row, _ = measure(Said(p / 2, Costs(), p / 2), clean, np.ones(10, bool))
    assert (row["flagged_05"], row["fdr_05"]) == (0.0, 0.0)


def test_calibration_is_zero_for_probabilities_that_hold_and_grows_with_what_they_miss() -> None:
    draw = np.random.default_rng(0)
    p = draw.random(30_000)
    wrong = draw.random(30_000) < p
    error, bins = reliability(p, wrong)
    assert len(bins) == BINS
    assert sum(b["count"] for b in bins) == 30_000
    assert error < 0.02
    assert reliability(p / 2, wrong)[0] == pytest.approx(0.25, abs=0.02)
    order = sorted(range(30_000), key=lambda i: p[i])
    first = [order[i] for i in range(2000)]
    assert bins[0]["predicted"] == pytest.approx(sum(p[i] for i in first) / 2000)
    assert bins[0]["realised"] == sum(wrong[i] for i in first) / 2000


# The separators -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy() -> tuple[Arrays, Truth]:
    data = subset(load("digits"), 600, 123).train
    return injector(*NOISE)(data, generator(100, "corrupt"))


def lab(data: Arrays) -> Lab:
    def network(seed: int) -> torch.nn.Module:
        return build("mlp", (1, 8, 8), data.classes, width=32, seed=seed)

    return Lab(data, network, Recipe(batch=16), 6.0, 100)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", sorted(SEPARATORS.keys() - {"confident_learning"}))
def test_every_separator_finds_wrong_labels_and_costs_what_its_row_says(noisy: tuple[Arrays, Truth], name: str) -> None:
    data, truth = noisy
    before = data.y.clone()
    said = SEPARATORS[name].ask(lab(data), lab)
    wrong = truth.noisy.numpy()
    assert (auroc(said.score.numpy(), wrong, ~wrong, True) or 0) > 0.9
    runs = ASSUMED.cost(said.costs, len(data.y)) / 6
    assert runs == pytest.approx(SEPARATORS[name].runs, rel=0.4), "a hint for predicted hours; folds are 5 passes here"
    assert torch.equal(data.y, before)
    assert bool(said.score[~said.score.isinf()].isfinite().all()), "nobody is left out"
    if said.probability is not None:
        assert said.rate == pytest.approx(float(said.probability.mean()), abs=1e-6)
    if said.flagged is not None:
        assert wrong[said.flagged.numpy()].mean() > 0.7
    if said.suggested is not None:
        assert (said.suggested == truth.label)[truth.noisy].float().mean() > 0.7


def test_in_one_run_the_way_labels_go_is_found_and_used() -> None:
    """Noise from class to class is where a margin alone says least: .995 against .967 here."""
    data, truth = injector("pair_flip", 0.3)(load("digits").train, generator(100, "corrupt"))
    wide = dataclasses.replace(
        lab(data), network=lambda seed: build("mlp", (1, 8, 8), 10, width=64, seed=seed), recipe=Recipe(batch=32),
        passes=10.0,
    )  # fmt: skip
    wrong = truth.noisy.numpy()
    ours, aum = (SEPARATORS[name].ask(wide, lab) for name in ("separate_one_run", "aum"))
    assert ours.costs == aum.costs
    mine, its = ((auroc(said.score.numpy(), wrong, ~wrong, True) or 0) for said in (ours, aum))
    assert mine > its + 0.01
    assert ours.rate == pytest.approx(0.3, abs=0.05)


def test_confident_learning_is_cleanlabs_or_says_that_it_is_missing(
    noisy: tuple[Arrays, Truth], monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent(name: str) -> None:
        raise ImportError(name)

    with monkeypatch.context() as patched:
        patched.setattr(separators, "import_module", absent)
        with pytest.raises(TamisError, match="pip install cleanlab"):
            separators.confident_learning(lab(noisy[0]), lab)


# A study of them ----------------------------------------------------------------------------------------------------


def prepared(out: Path) -> Path:
    out.mkdir(parents=True)
    folder.claim(TINY, out)
    (out / "prices.json").write_text(json.dumps({"digits/mlp/width 16/batch 16/cpu/1 threads": PRICES}))
    return out


@pytest.fixture(scope="module")
def without_cleanlab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers cannot import cleanlab, whether it is installed or not."""
    hidden = tmp_path_factory.mktemp("hidden")
    (hidden / "cleanlab.py").write_text("raise ImportError('hidden')\n")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(hidden))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, without_cleanlab: None) -> Path:
    out = prepared(tmp_path_factory.mktemp("study") / "out")
    study(TINY, out, workers=1)
    return out


def test_jobs_are_whole_seeds_first_and_ours_alone_after_them() -> None:
    jobs = list(TINY.jobs())
    said = [(job.seed, job.corruption, job.policy) for job in jobs]
    both = [(0, cell, name) for cell in ("none", NOISE[0]) for name in TINY.separators]
    assert said == [*both, (1, NOISE[0], "loss_mixture")]
    assert {job.role for job in jobs} == {"separator"}
    built = list(PLANS["separation"].jobs())
    assert [job.seed for job in built] == sorted(job.seed for job in built)
    assert {job.policy for job in built if job.seed >= 5} == {"separate"}
    assert {job.policy for job in built if job.seed < 5} == SEPARATORS.keys()
    assert len({job.seed for job in built}) == 20
    assert PLANS["separation"].hours(2) * 60 <= 75


def test_a_row_for_every_separator_that_ran_and_a_reason_for_the_one_that_did_not(whole: Path) -> None:
    runs, found = pl.read_parquet(whole / "runs.parquet"), pl.read_parquet(whole / "separations.parquet")
    failed = runs.filter(pl.col("status") == "failed")
    assert set(failed["policy"]) == {"confident_learning"}
    assert all("pip install cleanlab" in error for error in failed["error"])
    assert found.select("policy", "corruption", "seed").rows() == [
        ("loss_mixture", "none", 0), ("loss_mixture", NOISE[0], 0), ("loss_mixture", NOISE[0], 1),
    ]  # fmt: skip
    noisy = found.filter(pl.col("corruption") == NOISE[0])
    assert (noisy["auroc"] > 0.6).all()
    assert noisy["realised_rate"].to_list() == [0.3, 0.3]
    assert (noisy["runs"] * 3 - noisy["cost"]).abs().max() < 1e-9
    bins = pl.read_parquet(whole / "reliability.parquet")
    assert bins.height == found.height * BINS
    examples = pl.read_parquet(whole / "examples" / f"{noisy['run'][0]}.parquet")
    mean = float(examples["p_mislabeled"].mean())  # type: ignore[arg-type]
    assert noisy["rate_estimated"][0] == pytest.approx(mean)


def test_what_is_finished_stays_and_what_is_missing_is_made_again_bit_for_bit(
    whole: Path, without_cleanlab: None
) -> None:
    paths = sorted((whole / "runs").glob("*.json"))
    before = {path: path.read_bytes() for path in paths}
    done = [path for path in paths if (read_run(path) or {})["row"]["status"] == "ok"]
    gone = done[0]
    gone.unlink()
    study(TINY, whole, workers=1)
    for path in done[1:]:
        assert path.read_bytes() == before[path]
    old, new = json.loads(json.loads(before[gone])["record"]), read_run(gone)
    assert new is not None
    assert {**old, "timing": 0, "order": 0} == {**new, "timing": 0, "order": 0}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"separators": ("seperate",)}, "no separator 'seperate'; did you mean 'separate'"),
        ({"methods": ("top_k(keep=1/3)",)}, "train no policy"),
        ({"controls": ("uniform",)}, "train no policy"),
        ({"repeats": ()}, "stand together"),
        ({"repeats": (0,)}, r"\[0\] stand in repeats"),
        ({"repeats": (-1,)}, "whole numbers"),
        ({"repeated": (("no_labels", 0.1),)}, "no corruption .no_labels"),
        ({"separators": (), "controls": ("uniform",)}, "beside the separators"),
    ],
)
def test_a_plan_that_cannot_be_run_is_refused(change: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(TamisError, match=words):
        dataclasses.replace(TINY, **change).check()  # type: ignore[arg-type]


# Its page -----------------------------------------------------------------------------------------------------------


def frame(numbers: dict[str, dict[int, dict[str, float]]]) -> pl.DataFrame:
    """Rows of one noisy cell: by separator and seed, what is given; the rest is null."""
    place = {"dataset": "toy", "size": 100, "model": "mlp", "corruption": "random_labels", "rate": 0.2}
    rows = [
        {**place, "run": f"{name}/{seed}", "policy": name, "seed": seed, "realised_rate": 0.2, "runs": 1.0, **given}
        for name, seeds in numbers.items()
        for seed, given in seeds.items()
    ]
    return pl.DataFrame([{key: row.get(key) for key in SEPARATION_COLUMNS} for row in rows], schema=SEPARATION_COLUMNS)


def test_means_intervals_and_seeds_within_a_target() -> None:
    found = frame({"separate": {seed: {"fdr_05": share, "rate_estimated": 0.2 + 0.01 * seed, "rate_covered": seed < 2}
                                for seed, share in enumerate((0.03, 0.07, 0.08))}})  # fmt: skip
    row = separations.false_discoveries(found, "05").row(0, named=True)
    assert (row["difference"], row["kept"], row["n"]) == (pytest.approx(0.06), 2, 3)
    rate = separations.rate_errors(found).row(0, named=True)
    assert (rate["difference"], rate["error"]) == pytest.approx((0.21, 0.01))
    assert (rate["covered"], rate["intervals"]) == (2, 3)
    assert rate["high"] - rate["difference"] == pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-4)


def test_sentences_name_the_best_peer_and_count_pairs() -> None:
    pairs = {"separate": (0.99, 0.95), "separate_one_run": (0.98, 0.80), "aum": (0.985, 0.70), "ssft": (0.7, 0.90)}
    asked = {name: {0: {"auroc": a, "auroc_hardest": b}} for name, (a, b) in pairs.items()}
    asked["separate"][7] = {"auroc": 0.5, "auroc_hardest": 0.5}  # alone, on labels that no peer was asked about
    found = frame(asked)
    first, last = separations.sentences(found)
    assert first.startswith("20 % random labels: separate 0.990 and 0.950 for 1.00 runs; separate_one_run 0.980")
    assert "ssft 0.700 and 0.900" in first, "the best peer is the best on the hardest"
    assert "in 1 of these 2 pairs" in last


def test_the_page_has_every_separator_its_figures_and_the_reason_of_the_one_that_failed(whole: Path) -> None:
    page = study_report(whole).read_text()
    assert "Separation: digits, 300 examples, mlp" in page
    for name in TINY.separators:
        assert name.replace("_", "_<wbr>") in page
    assert page.count("pip install cleanlab") >= 1
    for figure in ("reliability", "discoveries", "rate-estimated"):
        assert f'id="{figure}separation1"' in page
    assert "The paper’s table" not in page, "no policy was run"
    assert "There is no finished run" not in page
    found = pl.read_parquet(whole / "separations.parquet").filter(pl.col("rate") > 0)
    assert separations.said(separations.over(found, "auroc").row(0, named=True)) in page
    assert len(page) < 200_000
