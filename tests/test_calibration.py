"""The kernels that say how far to trust a network: slow twins, hand-worked numbers, worlds whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis.observe.calibration import (
    agreement,
    anchored,
    confusion,
    doubted,
    pooled,
    scale_and_transition,
    sureness,
)
from tamis.observe.posterior import sample, transition
from tamis.separation.evidence import Evidence
from tamis.separation.gathering import _found
from tamis.separation.separate import separate
from tamis.types import TamisError

CLASSES = 4
SWAP = torch.tensor([[0.7, 0.3, 0.0, 0.0], [0.3, 0.7, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.1, 0.9]])
EVEN = torch.full((CLASSES, CLASSES), 0.1).fill_diagonal_(0.7)


def world(
    matrix: torch.Tensor, n: int = 12_000, seed: int = 0, doubt: float = 0.15
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """p(true | x) that is right about its own doubts, true labels drawn from it, and given ones."""
    draw = np.random.default_rng(seed)
    p = torch.from_numpy(draw.dirichlet([doubt] * CLASSES, n))
    true = torch.from_numpy((draw.random(n)[:, None] > p.cumsum(1).numpy()).sum(1).clip(max=CLASSES - 1))
    spread = matrix.double()[true].cumsum(1).numpy()
    return p, true, torch.from_numpy((draw.random(n)[:, None] > spread).sum(1).clip(max=CLASSES - 1))


def test_anchors_are_their_slow_twin_and_near_the_truth() -> None:
    p, _, label = world(SWAP, 3000)
    ours = anchored(p, label, share=0.3, least=10, rounds=0)
    for i in range(CLASSES):
        mine = sorted((-float(row.max()), n) for n, row in enumerate(p) if int(row.argmax()) == i)
        mine = mine[: max(10, int(0.3 * len(mine)))]
        for j in range(CLASSES):
            assert float(ours[i, j]) == pytest.approx(sum(int(label[n]) == j for _, n in mine) / len(mine))
    assert (anchored(*world(SWAP, 40_000)[::2]) - SWAP).abs().max() < 0.03


def test_anchors_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.8, 0.2, 0.0], [0.3, 0.7, 0.0]])
    label = torch.tensor([0, 2, 1, 1])
    assert anchored(p, label, 0.67, 1, rounds=0).tolist() == [[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    assert anchored(p, label, rounds=0)[0].tolist() == pytest.approx([1 / 3] * 3), "few examples: all of them"
    with pytest.raises(TamisError, match="share is 0"):
        anchored(p, label, share=0)


def test_what_doubt_the_anchors_leave_is_taken_out() -> None:
    p, true, label = world(EVEN, 20_000, doubt=1.0)
    shares, ours = anchored(p, label, rounds=0), anchored(p, label)
    assert float(p.max(1).values.mean()) < 0.6, "here even the surest are not sure"
    assert (ours - EVEN).abs().max() < 0.04 < (shares - EVEN).abs().max()
    assert (anchored(p, true) - torch.eye(CLASSES)).abs().max() < 0.04
    never = torch.tensor([[0.9, 0.1, 0.0]] * 4)
    assert anchored(never, torch.zeros(4, dtype=torch.int64))[2].tolist() == [0.0, 0.0, 1.0]


def slowly_pooled(matrix: torch.Tensor, mass: list[float], strength: float) -> list[list[float]]:
    """The formulas of ``pooled``, number by number."""
    t, classes, whole = matrix.tolist(), len(matrix), sum(mass)
    m = sum(n * t[i][i] for i, n in enumerate(mass)) / whole
    v = sum(n * (t[i][i] - m) ** 2 for i, n in enumerate(mass)) / whole
    out = []
    for i, n in enumerate(mass):
        kept = max(0.0, 1 - strength * m * (1 - m) / n / v)
        right, beside = m + kept * (t[i][i] - m), [t[i][j] for j in range(classes) if j != i]
        mean = sum(beside) / len(beside)
        spread = sum((x - mean) ** 2 for x in beside) / len(beside)
        held = max(0.0, 1 - strength * mean * (1 - mean) / n / spread) if spread else 0.0
        shares = [(mean + held * (x - mean)) / sum(beside) if mean else 1 / len(beside) for x in beside]
        row = [(1 - right) * share for share in shares]
        out.append([*row[:i], right, *row[i:]])
    return out


def test_pooling_draws_chance_together_and_leaves_structure() -> None:
    uneven = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1], [0.0, 0.0, 1.0]])
    for mass in ([1000.0, 1000.0, 1000.0], [300.0, 2000.0, 50.0]):
        assert pooled(uneven, torch.tensor(mass), 10.0).tolist() == [
            pytest.approx(row) for row in slowly_pooled(uneven, mass, 10.0)
        ]
    draw = np.random.default_rng(1)

    def counted(matrix: torch.Tensor, mass: int) -> torch.Tensor:
        rows = matrix.double().numpy()
        return torch.from_numpy(np.stack([draw.multinomial(mass, row / row.sum()) / mass for row in rows]))

    raw = counted(EVEN, 300)
    ours = pooled(raw, torch.full((CLASSES,), 300.0))
    assert torch.allclose(ours.sum(1), torch.ones(CLASSES, dtype=torch.float64))
    assert (ours.diagonal() - raw.diagonal().mean()).abs().max() < 1e-9, "classes that differ by chance alone"
    beside = ~torch.eye(CLASSES, dtype=torch.bool)
    assert (ours - EVEN)[beside].abs().sum() < 0.8 * (raw - EVEN)[beside].abs().sum()
    swapped = counted(SWAP, 2000)
    assert (pooled(swapped, torch.full((CLASSES,), 2000.0)) - swapped).abs().max() < 0.03, "a swap is no chance"
    half = torch.where(torch.arange(CLASSES)[:, None] < CLASSES // 2, EVEN, torch.eye(CLASSES, dtype=EVEN.dtype))
    classes_differ = pooled(counted(half, 2000), torch.full((CLASSES,), 2000.0))
    assert (classes_differ - half).abs().max() < 0.03, "classes of which some are labelled worse"
    assert torch.allclose(pooled(raw, torch.full((CLASSES,), 300.0), 0.0), raw.double())
    two = torch.tensor([[0.6, 0.4], [0.1, 0.9]])
    assert torch.equal(pooled(two, torch.ones(2)), two.double()), "two classes say little of what is usual"


@pytest.mark.parametrize(("matrix", "too_sure"), [(SWAP, 1.6), (EVEN, 1.6), (EVEN, 0.7), (torch.eye(CLASSES), 1.6)])
def test_scale_and_transition_are_found_together(matrix: torch.Tensor, too_sure: float) -> None:
    p, _, label = world(matrix)
    scale, found = scale_and_transition(p.clamp(min=1e-12).log() * too_sure, label)
    assert scale == pytest.approx(1 / too_sure, rel=0.12)
    assert (found - matrix).abs().max() < 0.03


def test_of_many_examples_a_sample_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    p, _, label = world(EVEN, 3000)
    monkeypatch.setitem(scale_and_transition.__globals__, "AT_MOST", 1500)  # whatever was imported before
    half = scale_and_transition(p.clamp(min=1e-12).log(), label, rounds=3)
    monkeypatch.undo()
    at = sample(label, 1500)
    alone = scale_and_transition(p[at].clamp(min=1e-12).log(), label[at], rounds=3)
    assert half[0] == alone[0]
    assert torch.equal(half[1], alone[1])


def test_doubt_by_hand() -> None:
    p = torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.3, 0.2], [0.0, 1.0, 0.0]])
    usual = confusion(p)
    assert torch.allclose(usual, torch.tensor([[0.7, 0.2, 0.1], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64))
    said = doubted(p, usual, 0.2)
    assert said[0].tolist() == pytest.approx([0.8 * 0.9 + 0.2 * 0.7, 0.8 * 0.1 + 0.2 * 0.2, 0.2 * 0.1])
    assert said[2].tolist() == pytest.approx([0.0, 1.0, 0.0])
    assert torch.equal(doubted(p, usual, 0.0), p.double())
    assert torch.allclose(said.sum(1), torch.ones(3, dtype=torch.float64))


@pytest.mark.parametrize(("matrix", "noise"), [(SWAP, 0.175), (EVEN, 0.3), (torch.eye(CLASSES), 0.0)])
def test_verdicts_of_networks_that_are_too_sure_are_calibrated(matrix: torch.Tensor, noise: float) -> None:
    p, true, label = world(matrix, 40_000)  # a fifth of them are anchors
    loud = p.clamp(min=1e-9).log() * 1.8
    draw = torch.Generator().manual_seed(3)
    views = torch.stack([loud + 0.4 * torch.randn(loud.shape, generator=draw) for _ in range(3)]).half()
    fold = torch.arange(len(label)) % 3
    own = views[fold, torch.arange(len(label))].float().softmax(1)
    looks = torch.full((len(label),), 4.0)
    evidence = Evidence(label, torch.zeros(len(label)), looks, fold, own, matrix * 0.8 + 0.2 / CLASSES, views=views)
    found = separate(evidence)
    wrong = (true != label).numpy()
    chance = found.table["p_mislabeled"].to_numpy()
    assert found.noise_rate == pytest.approx(noise, abs=0.015)
    assert found.noise_rate == pytest.approx(chance.mean(), abs=1e-4)
    assert found.interval is not None
    assert found.interval[0] - 0.005 <= wrong.mean() <= found.interval[1] + 0.005
    assert np.mean([abs(chance[b].mean() - wrong[b].mean()) for b in np.array_split(chance.argsort(), 15)]) < 0.03
    flagged = {q: found.flag(q).numpy() for q in (0.05, 0.1, 0.2)}
    for q, mine in flagged.items():
        assert not mine.any() or (~wrong)[mine].mean() <= q + 0.02 or noise == 0
    if noise == 0:
        assert flagged[0.05].mean() <= 0.01
    sure = found.table.filter(found.table["flagged"])
    if len(sure):
        right = (sure["suggested_label"].to_numpy() == true.numpy()[sure["index"].to_numpy()]).mean()
        assert right == pytest.approx(sure["p_suggested"].mean(), abs=0.05)


def witnesses(shared: float, n: int = 40_000, rate: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-odds that two networks give to wrong labels, both calibrated: what they see is in part the same."""
    draw = torch.Generator().manual_seed(1)
    wrong = (torch.rand(n, generator=draw) < rate).double()
    common, one, other = (torch.randn(n, generator=draw, dtype=torch.float64) for _ in range(3))

    def log_odds(alone: torch.Tensor) -> torch.Tensor:
        """Of a normal signal of unit noise whose mean is 1 for wrong labels and -1 for right ones."""
        seen = 2 * wrong - 1 + shared**0.5 * common + (1 - shared) ** 0.5 * alone
        return 2 * seen + torch.tensor(rate / (1 - rate)).log()

    return log_odds(one), log_odds(other)


@pytest.mark.parametrize("shy", [0.5, 1.0, 1.6])
@pytest.mark.parametrize("shared", [0.0, 0.3, 0.7, 1.0])
def test_sureness_is_found_without_the_truth_whatever_networks_share(shy: float, shared: float) -> None:
    one, other = witnesses(shared)
    found = sureness((shy * one).sigmoid(), other.sigmoid())
    assert found == pytest.approx(1 / shy, rel=0.02 if shared in (0.0, 1.0) else 0.17)


def test_sureness_of_nothing_and_of_no_noise() -> None:
    w = torch.tensor([0.1, 0.5, 0.9])
    assert sureness(w, torch.full((3,), 0.3)) == 1.0
    assert sureness(w, torch.zeros(3)) == sureness(w, torch.ones(3)) == sureness(w[:0], w[:0]) == 1.0
    assert sureness((40 * (w - 0.5)).sigmoid().repeat(50), torch.tensor([0.2, 0.3, 0.4]).repeat(50)) >= 0.25
    assert sureness((1e-3 * (w - 0.5)).sigmoid().repeat(50), torch.tensor([0.0, 0.5, 1.0]).repeat(50)) <= 4.0


def test_what_others_learn_through_is_found_though_the_network_is_too_shy() -> None:
    p, _, label = world(EVEN, 20_000)
    shy = p.clamp(min=1e-9).log().mul(0.4).softmax(1)
    alone = transition(shy, label, rounds=15)
    found = _found(shy, label, alone)
    assert float((1 - alone.diagonal()).mean()) < 0.22, "EM takes doubt for right labels"
    assert (found - EVEN).abs().max() < 0.03
    assert torch.allclose(found.sum(1), torch.ones(CLASSES, dtype=torch.float64))


def test_networks_that_know_their_own_examples_by_heart_alone_do_not_agree_and_it_is_said() -> None:
    draw, n = torch.Generator().manual_seed(0), 400
    label, fold = torch.arange(n) % CLASSES, torch.arange(n) // CLASSES % 2
    heart = 4.0 * torch.nn.functional.one_hot(label, CLASSES)
    for learnt, least, most in ((0.9, 0.86, 0.99), (0.3, 0.3, 0.7)):
        outside = torch.where(
            torch.rand(n, 1, generator=draw) < learnt, heart, 4.0 * torch.rand(n, CLASSES, generator=draw)
        )
        views = torch.stack([torch.where((fold == k)[:, None], outside, heart) for k in range(2)])
        slow = sum(int(views[fold[i], i].argmax() == views[1 - fold[i], i].argmax()) for i in range(n)) / n
        found = agreement(views, fold)
        assert found.share == pytest.approx(slow)
        assert found.chance == pytest.approx(1 / CLASSES, abs=0.03)
        assert found.beyond == pytest.approx((slow - found.chance) / (1 - found.chance))
        assert least < slow < most
        evidence = Evidence(label, torch.zeros(n), torch.full((n,), 4.0), fold, outside.softmax(1), views=views.half())
        assert any("learnt little" in sentence for sentence in separate(evidence).missing) == (learnt < 0.5)
    assert agreement(views[:1], torch.zeros(n, dtype=torch.int64)) == (1, 0)


def test_networks_that_all_say_one_class_agree_by_chance_alone() -> None:
    label, fold = (torch.arange(300) % 10 == 0).long(), torch.arange(300) % 3
    views = torch.tensor([2.0, 0.0]).expand(3, 300, 2).clone()
    found = agreement(views, fold)
    assert (found.share, found.chance, found.beyond) == (1, 1, 0)
    evidence = Evidence(label, torch.zeros(300), torch.full((300,), 4.0), fold, views[0].softmax(1), views=views.half())
    verdicts = separate(evidence)
    assert verdicts.agreement == found
    assert any("learnt little" in sentence for sentence in verdicts.missing)


@pytest.mark.parametrize("never", [0.0, 1e-16, 1e-13, 1e-11])
def test_a_class_that_next_to_never_errs_has_a_row_that_sums_to_one(never: float) -> None:
    """EM leaves such numbers, and the mean of the others is all that is known of that class."""
    t = torch.eye(CLASSES, dtype=torch.float64) * (0.99 - 0.01 / 3) + 0.01 / 3
    t[1] = torch.tensor([never, 1 - never, 0.0, 0.0], dtype=torch.float64)
    ours = pooled(t, torch.full((CLASSES,), 300.0))
    assert torch.allclose(ours.sum(1), torch.ones(CLASSES, dtype=torch.float64))
    assert float(ours.min()) >= 0
    assert float(ours[1, 1]) < 0.999, "it is drawn to the others"
