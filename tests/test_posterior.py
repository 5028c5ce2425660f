"""The kernels of separation: against slow twins, hand-worked numbers, and data drawn from the model itself."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.observe.posterior import beginning, corrected_loss, explained, flag, knowable, sample, transition, true_label
from tamis.types import TamisError

T = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]], dtype=torch.float64)


def drawn(n: int = 20_000, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """p(true | x), true and given labels of a world where the model is right about its own doubts."""
    draw = np.random.default_rng(seed)
    p = draw.dirichlet((0.3, 0.3, 0.3), n)
    true = np.array([draw.choice(3, p=row) for row in p])
    label = np.array([draw.choice(3, p=row) for row in T.numpy()[true]])
    return torch.from_numpy(p), torch.from_numpy(true), torch.from_numpy(label)


def slow_em(p: np.ndarray, y: np.ndarray, t: np.ndarray, rounds: int) -> np.ndarray:
    for _ in range(rounds):
        counts = np.zeros_like(t)
        for row, j in zip(p, y, strict=True):
            joint = [row[i] * t[i, j] for i in range(len(t))]
            for i in range(len(t)):
                counts[i, j] += joint[i] / sum(joint)
        t = counts / counts.sum(1, keepdims=True)
    return t


def test_em_is_its_slow_twin() -> None:
    p, _, label = drawn(60)
    start = np.array([[0.6, 0.2, 0.2], [0.2, 0.6, 0.2], [0.2, 0.2, 0.6]])
    ours = transition(p, label, rounds=4)
    assert np.allclose(ours.numpy(), slow_em(p.numpy(), label.numpy(), start, 4))
    assert torch.equal(transition(p, label, rounds=0), torch.from_numpy(start))
    assert torch.equal(transition(p, label, torch.from_numpy(start), 4), ours)


def test_the_matrix_is_found_again_and_the_posterior_is_calibrated() -> None:
    p, true, label = drawn()
    found = transition(p, label)
    assert (found - T).abs().max() < 0.02
    wrong = 1 - true_label(p, found, label).gather(1, label[:, None])[:, 0]
    assert float(wrong.mean()) == pytest.approx(float((true != label).double().mean()), abs=0.01)
    for part in wrong.argsort().tensor_split(10):
        assert float(wrong[part].mean()) == pytest.approx(float((true != label)[part].double().mean()), abs=0.03)


def test_no_noise_is_found_where_there_is_none() -> None:
    p, true, _ = drawn(5000)
    assert (transition(p, true) - torch.eye(3)).abs().max() < 0.02


def test_bayes_by_hand() -> None:
    posterior = true_label(torch.tensor([[0.5, 0.5, 0.0]]), T, torch.tensor([1]))
    assert posterior[0].tolist() == pytest.approx([0.15 / 0.55, 0.4 / 0.55, 0.0])
    impossible = true_label(torch.tensor([[1.0, 0.0, 0.0]]), T, torch.tensor([2]))
    assert impossible[0].tolist() == [0.0, 0.0, 1.0], "what nothing explains stays as it was given"


def test_a_class_that_nobody_belongs_to_keeps_its_row() -> None:
    p = torch.tensor([[1.0, 0.0, 0.0]] * 4)
    assert transition(p, torch.tensor([0, 0, 1, 2]))[2].tolist() == pytest.approx([0.2, 0.2, 0.6])


def test_the_corrected_loss_and_its_gradient() -> None:
    logits = torch.randn(5, 3, requires_grad=True)
    y = torch.tensor([0, 1, 2, 2, 1])
    by_hand = -((logits.softmax(1) @ T.float())[torch.arange(5), y]).log()
    loss = corrected_loss(logits, T, y)
    assert torch.allclose(loss, by_hand, atol=1e-6)
    ours, theirs = (torch.autograd.grad(one.sum(), logits, retain_graph=True)[0] for one in (loss, by_hand))
    assert torch.allclose(ours, theirs, atol=1e-6)
    plain = torch.nn.functional.cross_entropy(logits, y, reduction="none")
    assert torch.allclose(corrected_loss(logits, torch.eye(3), y), plain, atol=1e-5)


def test_what_can_be_known_is_the_mutual_information_and_is_reached_by_who_knows_all() -> None:
    t = torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]], dtype=torch.float64)
    share = torch.tensor([5.0, 3.0, 2.0])
    p = share.double() / 10
    joint = p[:, None] * t
    by_hand = sum(
        float(joint[i, j] * (joint[i, j] / (p[i] * joint[:, j].sum())).log())
        for i in range(3) for j in range(3) if joint[i, j] > 0
    )  # fmt: skip
    assert knowable(t, share) == pytest.approx(by_hand)
    draw = torch.Generator().manual_seed(0)
    true = torch.multinomial(p, 20_000, replacement=True, generator=draw)
    given = torch.multinomial(t[true], 1, generator=draw)[:, 0]
    assert explained(torch.nn.functional.one_hot(true, 3).double(), given, t) == pytest.approx(by_hand, abs=0.02)
    assert knowable(torch.full((3, 3), 1 / 3), share) == pytest.approx(0, abs=1e-7)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=40), st.sampled_from([0.05, 0.1, 0.2]))
@settings(deadline=None, max_examples=60)
def test_flags_are_the_most_that_keep_the_target(values: list[float], fdr: float) -> None:
    p = torch.tensor(values)
    flagged = flag(p, fdr)
    count = int(flagged.sum())
    ordered = sorted(values, reverse=True)
    likely = sum(value > 0.1 for value in values)
    fits = [k for k in range(1, likely + 1) if sum(1 - v for v in ordered[:k]) / k <= fdr + 1e-7]
    assert abs(count - max(fits, default=0)) <= (1 if fits and len(fits) != count else 0)
    if count:
        assert p[flagged].min() >= p[~flagged].max() if count < len(values) else True


def test_what_does_not_fit_is_refused() -> None:
    p = torch.rand(4, 3)
    for label in (torch.zeros(3, dtype=torch.int64), torch.zeros(4), torch.full((4,), 3)):
        with pytest.raises(TamisError, match="given labels"):
            transition(p, label)
    with pytest.raises(TamisError, match="inside"):
        flag(p[:, 0], 1.0)


def test_a_class_whose_label_nobody_bears_explains_nothing() -> None:
    p, _, label = drawn(3000)
    wide = torch.cat([0.8 * p, torch.full((len(p), 2), 0.1, dtype=torch.float64)], 1)  # two classes that are not there
    ours, three = transition(wide, label), transition(p, label)
    assert torch.equal(ours[3:], torch.eye(5, dtype=torch.float64)[3:])
    assert torch.equal(ours[:3, 3:], torch.zeros(3, 2, dtype=torch.float64))
    assert torch.allclose(ours[:3, :3], three, atol=1e-4)


def test_what_is_fitted_to_has_every_label_in_its_share_whatever_the_order() -> None:
    label = torch.arange(10_000) % 2  # every second one would be of one label alone
    label[77], label[78] = 2, 2
    at = sample(label, 1000)
    assert len(at.unique()) == len(at)
    assert 1000 <= len(at) <= 1010
    counts = torch.bincount(label[at])
    assert (counts[:2] - 500).abs().max() <= 5
    assert counts[2] >= 1
    assert torch.equal(sample(label, 10_000), torch.arange(10_000))
    assert torch.equal(at, sample(label, 1000))


@given(st.lists(st.integers(0, 5000), min_size=2, max_size=12))
@settings(deadline=None, max_examples=100)
def test_the_beginning_is_a_transition_that_favours_the_diagonal_and_knows_rare_labels(counts: list[int]) -> None:
    labels = torch.tensor(counts)
    t, k, total = beginning(labels), len(counts), sum(counts)
    assert torch.allclose(t.sum(1), torch.ones(k, dtype=torch.float64))
    assert bool((t.diagonal() >= 0.6 - 1e-12).all())
    assert bool((t.diagonal() > (t - torch.eye(k) * t.diagonal()).max(1).values).all())
    for j, count in enumerate(counts):
        beside = t[(j + 1) % k, j]
        if count * 0.8 >= total * 0.4 / (k - 1) or total == 0:  # no rarer than others
            assert beside == 0.4 / (k - 1), "as it is where nothing is known"
        else:
            assert beside <= 0.4 / (k - 1)
        if total > 500 and count * 4 < total / k:  # surely rare
            assert beside == pytest.approx(0.8 * (count + 1) / (total + k))


def test_the_beginning_of_alike_labels_is_the_same_bit_for_bit() -> None:
    blind = torch.full((10, 10), 0.4 / 9, dtype=torch.float64).fill_diagonal_(0.6)
    for counts in (torch.zeros(10), torch.full((10,), 2000), torch.tensor([9, 13, 12, 14, 6, 15, 17, 12, 13, 17])):
        assert torch.equal(beginning(counts), blind)
    assert beginning(torch.tensor([7])).tolist() == [[1.0]]


def test_a_list_of_the_certain_is_not_filled_up_with_labels_that_are_right() -> None:
    p = torch.cat([torch.full((95,), 0.999), torch.full((5,), 1e-9)])
    assert flag(p, 0.05).sum() == 95
    assert flag(p, 0.4).sum() == 95
    assert flag(torch.cat([p, torch.tensor([0.3])]), 0.05).sum() == 96, "who may well be wrong has room"


def test_who_was_never_observed_is_not_flagged_and_hinders_nobody() -> None:
    assert flag(torch.tensor([math.nan, 0.99, 0.99, 0.2]), 0.05).tolist() == [False, True, True, False]
