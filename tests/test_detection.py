"""The study of scores: AUROC by counting pairs, a run on digits end to end, and hashes that stay."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest
import torch

from tamis.observe.model_scores import MODEL_SCORES
from tamis.observe.scores import SCORES
from tamis.selection.cost import ASSUMED
from tamis.study.detection import auroc, detection
from tamis.study.evaluate import score_table
from tamis.study.plan import Job, Plan, Setting
from tamis.study.plans import PLANS
from tamis.study.run import run
from tamis.types import Kind, Truth


@pytest.mark.parametrize("harder", [True, False])
def test_auroc_counts_pairs(harder: bool) -> None:
    draw = np.random.default_rng(0)
    score = draw.integers(0, 5, 60).astype(float)
    score[:3], score[3:6] = np.nan, np.inf
    positive = draw.random(60) < 0.3
    wins = total = 0.0
    for p in score[positive & ~np.isnan(score)]:
        for n in score[~positive & ~np.isnan(score)]:
            total += 1
            wins += 0.5 if p == n else float((p > n) == harder)
    assert auroc(score, positive, ~positive, harder) == pytest.approx(wins / total)
    assert auroc(score, np.zeros(60, bool), positive, harder) is None


def test_a_row_is_read_by_its_scores_orientation_and_against_the_hardest_alone() -> None:
    kind = torch.tensor([int(Kind.MISLABELED)] * 2 + [0] * 4 + [int(Kind.CORRUPTED)])
    truth = Truth(kind, torch.zeros(7, dtype=torch.int64))
    hard = np.array([0, 0, 1, 0, 0, 0, 1], bool)
    columns = {
        "last_loss": np.array([3.0, 2.0, 2.5, 0, 0, 0, 9]),
        "aum": -np.array([3.0, 2.0, 2.5, 0, 0, 0, 9]),
        "trained": np.zeros(7),
    }
    rows = {row["score"]: row for row in detection(columns, truth, hard)}
    assert rows.keys() == {"last_loss", "aum"}
    for row in rows.values():
        assert row["auroc"] == pytest.approx(7 / 8), "an example of another kind is neither mislabeled nor clean"
        assert row["auroc_hardest"] == 0.5


@pytest.fixture(scope="module")
def record() -> dict:
    setting = Setting("digits", "mlp", epochs=4, size=400, width=32, seeds=(0,), ladder=(), points=1, watch=0)
    setting = dataclasses.replace(setting, recipe=dataclasses.replace(setting.recipe, batch=32))
    plan = Plan("tiny", "tiny", (setting,), (("random_labels_exclusive", 0.2),), (), (), scores=True).check()
    return run(next(plan.jobs()), ASSUMED, "tiny", "name")[0]


def test_every_score_of_both_tables_is_measured(record: dict) -> None:
    rows = {row["score"]: row for row in record["scores"]}
    assert rows.keys() == SCORES.keys() | MODEL_SCORES.keys()
    for name in ("aum", "mean_loss", "self_confidence", "knn_agreement"):
        assert rows[name]["auroc"] > 0.85, name
    assert rows["self_confidence"]["trainings"] == 4
    assert rows["aum"]["trainings"] == 0


def test_the_table_has_the_best_first_and_both_numbers(record: dict) -> None:
    keys = {"corruption": "random_labels_exclusive", "rate": 0.2}
    frame = pl.DataFrame([{**keys, "seed": seed, **row} for seed in (0, 1) for row in record["scores"]])
    columns, rows = score_table(frame)
    assert columns == ["score", "trainings", "20 % random labels exclusive"]
    means = [float(row[2].split(" ")[0]) for row in rows if row[2][0] != "—"]
    assert means == sorted(means, reverse=True)
    assert all(" | " in row[2] for row in rows)


def test_a_run_that_measures_no_scores_keeps_the_name_it_had() -> None:
    """Published records are found again by these names."""
    job = next(PLANS["crossover"].jobs())
    assert job.hash({"forward": 1.0}, 1) == "da0dce70168333ad"
    assert dataclasses.replace(job, scores=True).hash({"forward": 1.0}, 1) != job.hash({"forward": 1.0}, 1)
    assert isinstance(job, Job)
