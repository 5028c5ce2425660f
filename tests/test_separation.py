"""Separation end to end on digits with wrong labels, and what it refuses or says it cannot tell."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.loop import Recipe
from tamis.models import build
from tamis.observe.posterior import explained, flag
from tamis.observe.rate import at_rate
from tamis.separation.evidence import Evidence
from tamis.separation.gathering import _View, cross_fit, gather_evidence, one_run
from tamis.separation.separate import separate
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
    assert (found.table["p_suggested"] <= found.table["p_mislabeled"] + 1e-9).all(), "one of the labels it may have"
    bins = np.array_split(p.argsort(), 15)
    gap = np.mean([abs(p[b].mean() - wrong[b].mean()) for b in bins])
    assert gap < 0.06  # 1,438 examples: the rate is low by about that much
    assert found.transition is not None
    assert found.transition.shape == (10, 10)
    assert found.table["index"].to_list() == list(range(len(p)))


def test_a_list_at_another_share_needs_no_second_separation(noisy: tuple[Evidence, Truth]) -> None:
    evidence, _ = noisy
    found = tamis.separate(evidence)
    assert torch.equal(found.flag(0.05), torch.from_numpy(found.table["flagged"].to_numpy().copy()))
    again = tamis.separate(evidence, fdr=0.2)
    assert torch.equal(found.flag(0.2), torch.from_numpy(again.table["flagged"].to_numpy().copy()))
    longer = [found.flag(fdr) for fdr in (0.05, 0.1, 0.2)]
    assert all(bool((short <= long).all()) for short, long in itertools.pairwise(longer))
    with pytest.raises(TamisError, match="inside"):
        found.flag(1.0)


def test_a_list_is_shorter_the_less_sure_the_rate_is(noisy: tuple[Evidence, Truth]) -> None:
    found = tamis.separate(noisy[0])
    p = torch.from_numpy(found.table["p_mislabeled"].to_numpy().copy())
    unsure = dataclasses.replace(found, interval=(0.0, 1.0))
    without = dataclasses.replace(found, interval=None)
    assert torch.equal(without.flag(0.1), flag(p, 0.1)), "nothing says how sure it is: the probabilities as they are"
    assert unsure.flag(0.1).sum() < found.flag(0.1).sum() < without.flag(0.1).sum()
    assert found.rate_error > 0
    assert torch.equal(unsure.flag(0.1), flag(at_rate(p, 0.6 * found.noise_rate, error=found.rate_error), 0.1))
    known = dataclasses.replace(unsure, rate_error=0.0)
    assert torch.equal(known.flag(0.1), flag(at_rate(p, 0.6 * found.noise_rate), 0.1))


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
    assert evidence.costs.forwards == 4 * n
    assert first.costs.backwards < evidence.costs.backwards < 2.6 * first.costs.backwards


def test_no_network_looks_at_what_it_trained_on() -> None:
    """Labels by chance: in-sample looks would agree with them."""
    data, _ = digits(0.0)
    chance = data._replace(y=torch.randint(10, data.y.shape, generator=torch.Generator().manual_seed(1)))
    evidence = cross_fit(chance, network, torch.eye(10, dtype=torch.float64), recipe=RECIPE, passes=8)
    assert evidence.probabilities is not None
    own = evidence.probabilities.gather(1, chance.y[:, None])
    assert float(own.mean()) == pytest.approx(0.1, abs=0.02)
    assert evidence.fold is not None
    assert torch.bincount(evidence.fold).tolist() == pytest.approx([len(data.y) / 4] * 4, abs=5)


def test_one_run_says_that_its_rate_is_low(noisy: tuple[Evidence, Truth]) -> None:
    data, truth = digits(0.3)
    found = tamis.separate(gather_evidence(data, network, recipe=RECIPE, folds=0, seed=100))
    assert any("may come out low" in sentence for sentence in found.missing)
    assert found.interval is None
    score = auroc(found.table["p_mislabeled"].to_numpy(), truth.noisy.numpy(), ~truth.noisy.numpy(), True)
    assert score is not None
    assert score > 0.97


def test_losses_alone_give_a_probability_and_no_label(noisy: tuple[Evidence, Truth]) -> None:
    evidence, truth = noisy
    bare = dataclasses.replace(evidence, probabilities=None, matrix=None)
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
    broken = data._replace(x=data.x.clone().index_fill_(0, torch.tensor([5]), torch.nan))
    with pytest.raises(TamisError, match="outputs are not finite"):
        one_run(broken, network, passes=3)
    with pytest.raises(TamisError, match="less than a batch"):
        cross_fit(data.take(torch.arange(40)), network, torch.eye(10), recipe=Recipe(batch=64))


def test_two_classes_and_three_looks() -> None:
    p = torch.tensor([[0.99, 0.01]] * 30 + [[0.01, 0.99]] * 30)
    label = torch.tensor([0] * 27 + [1] * 33)
    found = tamis.separate(Evidence(label, torch.zeros(60), torch.full((60,), 3.0), probabilities=p))
    assert found.table.filter(found.table["kind"] == "mislabeled")["index"].to_list() == [27, 28, 29]
    assert any("two classes" in sentence for sentence in found.missing)


def test_a_network_that_stands_still_says_one_thing() -> None:
    """With no learning rate to speak of, every look of a network is what it said at first; some are left out a pass."""
    draw = torch.Generator().manual_seed(2)
    data = Arrays(torch.randn(50, 3, generator=draw), torch.randint(2, (50,), generator=draw), 2)
    still = Recipe(batch=20, lr=1e-9)

    def linear(seed: int) -> torch.nn.Module:
        layer = torch.nn.Linear(3, 2)
        with torch.no_grad():
            layer.weight.copy_(torch.randn(2, 3, generator=torch.Generator().manual_seed(seed)))
            layer.bias.zero_()
        return layer

    said = [linear(seed)(data.x).detach().log_softmax(1) for seed in (7, 8, 9)]
    first = one_run(data, linear, recipe=still, passes=5, seed=7)
    met = first.looks > 0
    assert first.looks.min() < first.looks.max(), "a pass leaves the last, smaller batch out"
    assert first.probabilities is not None
    assert torch.allclose(first.probabilities[met], said[0].exp()[met], atol=1e-5)
    own = -said[0].gather(1, data.y[:, None])[:, 0]
    assert torch.allclose(first.loss[met], own[met], atol=1e-5)
    second = cross_fit(data, linear, torch.eye(2), recipe=still, folds=3, passes=4, seed=7)
    assert second.views is not None
    assert second.fold is not None
    assert second.probabilities is not None
    for k in range(3):
        met = (second.views[k] != 0).any(1)
        assert bool(met[second.fold == k].all())
        assert torch.allclose(second.views[k][met].float(), said[k][met], atol=5e-3)
        mine = second.fold == k
        assert torch.allclose(second.probabilities[mine], said[k].exp()[mine], atol=5e-3)
        assert torch.allclose(second.loss[mine], -said[k].gather(1, data.y[:, None])[mine, 0], atol=1e-4)


def test_a_network_is_heard_by_what_it_explains() -> None:
    """By hand: two passes of one network over three examples, the first half as knowing as the second."""
    given = torch.tensor([0, 1, 0])
    said = [torch.tensor([[1.0, 0.0], [0.5, 1.0], [2.0, 0.0]]), torch.tensor([[3.0, 0.0], [0.0, 2.0], [0.0, 9.0]])]
    seen = [torch.tensor([1.0, 1.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])]
    view = _View(3, 2)
    for z, met, nats in zip(said, seen, (0.5, 1.0), strict=True):
        view.hear(z, met, nats)
    logs = [z.log_softmax(1) for z in said]
    both = (0.5**3 * logs[0] + logs[1]) / (0.5**3 + 1)
    assert torch.allclose(view.mean()[:2].float(), both[:2], atol=2e-3)
    assert torch.allclose(view.mean()[2].float(), logs[0][2], atol=2e-3), "not met in the second"
    assert float(view.weight) == 1.0
    view.hear(said[0], seen[0], 0.2)
    assert float(view.weight) == 1.0, "what it knew at its best"

    noisy = torch.tensor([[0.8, 0.2], [0.2, 0.8]])
    right = [0.8 * p + 0.2 * (1 - p) for p in said[0].softmax(1)[torch.arange(3), given].tolist()]
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    slow = entropy + sum(math.log(p) for p in right) / 3
    assert explained(said[0].softmax(1), given, noisy) == pytest.approx(max(0.01, slow))
    assert explained((9 * said[1][:2]).softmax(1), given[:2]) == pytest.approx(math.log(2), abs=1e-6)
    assert explained(torch.full((3, 2), 0.5), given) == 0.01
    assert explained(said[0][:0].softmax(1), given[:0]) == 0.01


def test_the_whole_run_is_one_opinion_more_and_the_posterior_hears_them_by_weight() -> None:
    draw = torch.Generator().manual_seed(0)
    data = Arrays(torch.randn(90, 3, generator=draw), torch.randint(3, (90,), generator=draw), 3)
    evidence = gather_evidence(
        data, lambda seed: torch.nn.Linear(3, 3), recipe=Recipe(batch=10), passes=3, fold_passes=3
    )
    first = one_run(data, lambda seed: torch.nn.Linear(3, 3), recipe=Recipe(batch=10), passes=3)
    assert evidence.views is not None
    assert evidence.weights is not None
    assert evidence.views.shape == (5, 90, 3)
    assert evidence.weights.shape == (5,)
    assert first.views is not None
    assert first.weights is not None

    true = torch.arange(90) % 3
    label = torch.where(torch.arange(90) < 72, true, (true + 1) % 3)
    agreed = F.one_hot(true, 3) * 8.0
    alone = torch.where(torch.arange(90)[:, None] < 10, F.one_hot((true + 1) % 3, 3) * 8.0, agreed)
    views = torch.stack([agreed, agreed, alone]).log_softmax(2)
    fold, looks = torch.arange(90) % 2, torch.full((90,), 4.0)
    alike = Evidence(label, torch.zeros(90), looks, fold, agreed.softmax(1), views=views)
    heard, unheard = (dataclasses.replace(alike, weights=torch.tensor([1.0, 1.0, weight])) for weight in (18.0, 0.01))
    high, middle, low = (float(separate(e).table["p_mislabeled"][:10].sum()) for e in (heard, alike, unheard))
    assert high > 1.5 * middle > 1.5 * 1.5 * low
    assert separate(heard).table["suggested_label"][:10].to_list() == ((true + 1) % 3)[:10].tolist()
