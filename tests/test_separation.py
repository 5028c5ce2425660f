"""Separation end to end on digits with wrong labels, and what it refuses or says it cannot tell."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.loop import Recipe
from tamis.models import build
from tamis.separation.evidence import Evidence, cross_fit, gather_evidence, one_run
from tamis.study.detection import auroc
from tamis.types import Arrays, TamisError, Truth

RECIPE = Recipe(batch=32)


def network(seed: int) -> torch.nn.Module:
    return build("mlp", (1, 8, 8), 10, width=64, seed=seed)


def digits(rate: float) -> tuple[Arrays, Truth]:
    data = load("digits").train
    return injector("random_labels_exclusive", rate)(data, torch.Generator().manual_seed(100))


@pytest.fixture(scope="module")
def noisy() -> tuple[Evidence, Truth]:
    data, truth = digits(0.3)
    return gather_evidence(data, network, recipe=RECIPE, seed=100), truth


def test_wrong_labels_are_found_named_and_counted(noisy: tuple[Evidence, Truth]) -> None:
    evidence, truth = noisy
    found = tamis.separate(evidence)
    wrong = truth.noisy.numpy()
    p = found.table["p_mislabeled"].to_numpy()
    score = auroc(p, wrong, ~wrong, True)
    assert score is not None
    assert score > 0.98
    assert found.noise_rate == pytest.approx(0.3, abs=0.05)  # few examples: networks that are unsure find less
    assert found.interval is not None
    assert found.interval[0] <= found.noise_rate <= found.interval[1]
    flagged = found.table["flagged"].to_numpy()
    assert (~wrong)[flagged].mean() < 0.1
    assert wrong[flagged].sum() > 0.7 * wrong.sum()
    right = found.table["suggested_label"].to_numpy()[wrong] == truth.label.numpy()[wrong]
    assert right.mean() > 0.9
    bins = np.array_split(p.argsort(), 15)
    gap = np.mean([abs(p[b].mean() - wrong[b].mean()) for b in bins])
    assert gap < 0.06  # 1,438 examples: the rate is low by about that much
    assert found.transition is not None
    assert found.transition.shape == (10, 10)
    assert found.table["index"].to_list() == list(range(len(p)))


def test_on_clean_data_next_to_nothing_is_flagged() -> None:
    data, _ = digits(0.0)
    found = tamis.separate(gather_evidence(data, network, recipe=RECIPE, seed=100))
    assert found.table["flagged"].mean() <= 0.01
    assert found.noise_rate < 0.03


def test_a_seed_decides_and_costs_are_what_was_done(noisy: tuple[Evidence, Truth]) -> None:
    evidence, _ = noisy
    data, _ = digits(0.3)
    first = one_run(data, network, recipe=RECIPE, seed=100)
    again = one_run(data, network, recipe=RECIPE, seed=100)
    assert torch.equal(first.probabilities, again.probabilities)  # type: ignore[arg-type]
    n = len(data.y)
    assert first.costs.backwards == 10 * (n // 32) * 32
    assert first.costs.forwards == 0, "one run costs no pass of its own"
    assert evidence.costs.forwards == 6 * n
    assert first.costs.backwards < evidence.costs.backwards < 2.5 * first.costs.backwards


def test_no_network_looks_at_what_it_trained_on() -> None:
    """Labels by chance: in-sample looks would agree with them."""
    data, _ = digits(0.0)
    chance = data._replace(y=torch.randint(10, data.y.shape, generator=torch.Generator().manual_seed(1)))
    evidence = cross_fit(chance, network, torch.eye(10, dtype=torch.float64), recipe=RECIPE, passes=8)
    assert evidence.probabilities is not None
    own = evidence.probabilities.gather(1, chance.y[:, None])
    assert float(own.mean()) == pytest.approx(0.1, abs=0.02)
    assert evidence.fold is not None
    assert torch.bincount(evidence.fold).tolist() == pytest.approx([len(data.y) / 3] * 3, abs=5)


def test_one_run_says_that_its_rate_is_low(noisy: tuple[Evidence, Truth]) -> None:
    data, truth = digits(0.3)
    found = tamis.separate(gather_evidence(data, network, recipe=RECIPE, folds=0, seed=100))
    assert any("comes out low" in sentence for sentence in found.missing)
    assert found.interval is None
    score = auroc(found.table["p_mislabeled"].to_numpy(), truth.noisy.numpy(), ~truth.noisy.numpy(), True)
    assert score is not None
    assert score > 0.97


def test_losses_alone_give_a_probability_and_no_label(noisy: tuple[Evidence, Truth]) -> None:
    evidence, truth = noisy
    bare = dataclasses.replace(evidence, probabilities=None, matrix=None, features=None)
    found = tamis.separate(bare)
    assert found.table["suggested_label"].null_count() == len(truth.label)
    assert any("Losses alone" in sentence for sentence in found.missing)
    score = auroc(found.table["p_mislabeled"].to_numpy(), truth.noisy.numpy(), ~truth.noisy.numpy(), True)
    assert score is not None
    assert score > 0.9


def test_what_is_not_enough_is_refused(noisy: tuple[Evidence, Truth]) -> None:
    evidence, _ = noisy
    with pytest.raises(TamisError, match="two looks"):
        tamis.separate(dataclasses.replace(evidence, looks=torch.ones(len(evidence.label))))
    with pytest.raises(TamisError, match="fdr is 2"):
        tamis.separate(evidence, fdr=2)
    data, _ = digits(0.0)
    with pytest.raises(TamisError, match="at least 3"):
        gather_evidence(data, network, passes=2)
    with pytest.raises(TamisError, match="less than a batch"):
        cross_fit(data.take(torch.arange(40)), network, torch.eye(10), recipe=Recipe(batch=64))


def test_two_classes_and_three_looks() -> None:
    p = torch.tensor([[0.99, 0.01]] * 30 + [[0.01, 0.99]] * 30)
    label = torch.tensor([0] * 27 + [1] * 33)
    found = tamis.separate(Evidence(label, torch.zeros(60), torch.full((60,), 3.0), probabilities=p))
    assert found.table.filter(found.table["kind"] == "mislabeled")["index"].to_list() == [27, 28, 29]
    assert any("two classes" in sentence for sentence in found.missing)
