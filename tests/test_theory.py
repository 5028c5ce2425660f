"""What each rule includes: against slow, literal simulations, hand-worked cases and the rules themselves."""

from __future__ import annotations

import inspect
import itertools
from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import hypergeom

from tamis import theory
from tamis.selection.rules import (
    RULES,
    Everything,
    PowerDraw,
    ProportionalDraw,
    PruneBelowMean,
    RankDraw,
    Rule,
    StreamingPower,
    TopK,
    UniformDraw,
)
from tamis.types import TamisError

Pick = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The slow twins -------------------------------------------------------------------------------------------------------


def pick_top(losses: np.ndarray, k: int, draw: np.random.Generator) -> np.ndarray:
    """The k highest; the first of equals wins."""
    return np.array(sorted(range(len(losses)), key=lambda i: -losses[i])[:k])


def pick_power(losses: np.ndarray, k: int, draw: np.random.Generator) -> np.ndarray:
    """One after the other, with probability proportional to (rank / M)^(1/keep - 1) among those still there."""
    m = len(losses)
    weight = np.empty(m)
    for rank, i in enumerate(sorted(range(m), key=lambda i: losses[i])):
        weight[i] = ((rank + 0.5) / m) ** (m / k - 1)
    chosen = []
    for _ in range(k):
        i = int(np.searchsorted(weight.cumsum(), draw.random() * weight.sum(), side="right"))
        chosen.append(i)
        weight[i] = 0.0
    return np.array(chosen)


def pick_proportional(losses: np.ndarray, k: int, draw: np.random.Generator) -> np.ndarray:
    return draw.choice(len(losses), k, p=losses / losses.sum())


def deal(
    losses: np.ndarray, m: int, k: int, pick: Pick, batches: int, seed: int
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Times trained per time a candidate ``[N]``, and what each batch trained on; every pass deals the set anew."""
    draw = np.random.default_rng(seed)
    trained, seen, kept = np.zeros(len(losses)), np.zeros(len(losses)), []
    while len(kept) < batches:
        order = draw.permutation(len(losses))
        for start in range(0, len(losses) - m + 1, m):
            batch = order[start : start + m]
            kept.append(batch[pick(losses[batch], k, draw)])
            np.add.at(trained, kept[-1], 1)
            seen[batch] += 1
    return trained / seen, kept


def stream(
    losses: np.ndarray, beta: float, r: int, passes: int, seed: int, dealt: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Times trained per time a candidate ``[N]``, and (noisy, all) trained per pass where noisy are the last 30 %."""
    draw = np.random.default_rng(seed)
    n = len(losses)
    history: deque[float] = deque(draw.choice(losses, r), maxlen=r)
    trained, seen, per_pass = np.zeros(n), np.zeros(n), []
    for _ in range(passes):
        of_pass = np.zeros(n)
        for i in draw.permutation(n) if dealt else draw.integers(n, size=n):
            history.append(losses[i])
            percentile = float((np.fromiter(history, float) < losses[i]).sum()) / len(history)
            of_pass[i] += draw.random() < percentile**beta
            seen[i] += 1
        trained += of_pass
        per_pass.append((of_pass[noise(n)].sum(), of_pass.sum()))
    return trained / np.maximum(seen, 1), np.array(per_pass)


def noise(n: int) -> np.ndarray:
    return np.arange(n) >= 0.7 * n


def world(n: int, seed: int = 0) -> np.ndarray:
    """Losses with ties, of which the noisy are higher on average but overlap with the clean."""
    draw = np.random.default_rng(seed)
    return np.round(draw.lognormal(size=n) + 1.2 * noise(n), 1) + 0.1


def share_of(kept: list[np.ndarray], noisy: np.ndarray) -> tuple[float, float]:
    """Mean share of noise and its standard error, over batches."""
    shares = np.array([noisy[batch].mean() for batch in kept])
    return float(shares.mean()), float(shares.std() / len(shares) ** 0.5)


BATCHED = {"TopK": pick_top, "PowerDraw": pick_power, "ProportionalDraw": pick_proportional}


@pytest.mark.parametrize("name", BATCHED)
@pytest.mark.parametrize(("n", "m", "k"), [(240, 60, 30), (240, 60, 20), (500, 120, 30), (120, 120, 40)])
def test_a_rule_that_judges_candidates_together(name: str, n: int, m: int, k: int) -> None:
    losses = world(n)
    simulated, kept = deal(losses, m, k, BATCHED[name], 600, seed=n + k)
    predicted = theory.inclusion(name, losses, keep=k / m, candidates=m)
    assert predicted.mean() == pytest.approx(k / m, rel=1e-3)
    share, error = share_of(kept, noise(n))
    assert abs(theory.noise_share(predicted, noise(n)) - share) < 4 * error + 1e-4
    spread = np.sqrt(
        np.maximum(predicted * (1 if name == "ProportionalDraw" else 1 - predicted), 1 / 600) / (600 * m / n)
    )
    assert np.abs(simulated - predicted).max() < 5 * spread.max()
    middle = np.argsort(losses)[n // 4 : 3 * n // 4]  # and no bias in the middle, where all rules differ most
    assert abs((simulated - predicted)[middle].mean()) < 0.02


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("dealt", [False, True])
def test_the_streaming_rule(beta: float, dealt: bool) -> None:
    losses = world(150)
    simulated, per_pass = stream(losses, beta, 32, 250, seed=int(10 * beta), dealt=dealt)
    predicted = theory.inclusion_streaming_power(losses, beta, 32)
    share = per_pass[:, 0].sum() / per_pass[:, 1].sum()
    error = (per_pass[:, 0] - share * per_pass[:, 1]).std() * len(per_pass) ** 0.5 / per_pass[:, 1].sum()
    assert abs(theory.noise_share(predicted, noise(150)) - share) < 4 * error
    z = (simulated - predicted) / np.sqrt(np.maximum(predicted * (1 - predicted), 1e-3) / 250)
    assert np.abs(z).max() < 5.5
    assert abs(z.mean()) < 0.5
    assert (simulated[losses == losses.min()] == 0).all()
    assert (predicted[losses == losses.min()] == 0).all()


@pytest.mark.parametrize(
    "rule", [TopK(1 / 3), PowerDraw(0.25), ProportionalDraw(0.5), StreamingPower(2.0, 64), UniformDraw(0.4)]
)
def test_the_rules_as_they_are_implemented(rule: object) -> None:
    """Not the twins but the package's own rules, over dealt passes: the theory must not drift from them."""
    losses, size, n = world(480), 40, 480
    noisy, draw = noise(n), torch.Generator().manual_seed(5)
    m = size if rule.streaming else int(np.ceil(size / rule.keep - 1e-9))
    state, trained, kept = rule.init(), 0, []
    priority = torch.tensor(losses, dtype=torch.float32)
    for number in range(260):
        order = torch.randperm(n, generator=draw)
        for batch in order[: n // m * m].split(m):
            selection, state = rule.select(state, priority[batch], size, draw)
            if number >= 10 and len(selection.keep):  # the history has filled
                kept.append(batch[selection.keep].numpy())
                trained += len(kept[-1])
    noisy_kept = np.array([noisy[batch].sum() for batch in kept])
    sizes = np.array([len(batch) for batch in kept])
    share = noisy_kept.sum() / sizes.sum()
    error = (noisy_kept - share * sizes).std() * len(kept) ** 0.5 / sizes.sum()
    assert abs(theory.share(rule, losses, noisy, size) - share) < 4 * error


@pytest.mark.parametrize(("m", "tolerance"), [(16, 0.012), (32, 0.005), (128, 0.002)])
@pytest.mark.parametrize("keep", [0.5, 0.25])
def test_the_stopped_race_is_off_by_one_over_m(m: int, tolerance: float, keep: float) -> None:
    """Against exact successive draws of one batch of distinct losses; the share of its upper quarter."""
    k, repeats = int(keep * m), 3_000_000 // m
    weight = ((np.arange(m) + 0.5) / m) ** (1 / keep - 1)
    arrival = np.random.default_rng(m).exponential(size=(repeats, m)) / weight
    first = np.argpartition(arrival, k - 1, axis=1)[:, :k]
    upper = np.arange(m) >= 0.75 * m
    exact = upper[first].mean()
    assert theory.share("PowerDraw", np.arange(m), upper, keep=keep, candidates=m) == pytest.approx(
        exact, abs=tolerance
    )


def test_a_few_large_losses_among_draws_in_proportion() -> None:
    """One example in a hundred bears nearly all of the loss; and the same with the rest at exactly 0."""
    for rest in (0.01, 0.0):
        losses, noisy = np.where(np.arange(1000) < 10, 1.0, rest), np.arange(1000) < 10
        draw = np.random.default_rng(3)
        batches = np.concatenate([draw.permutation(1000)[:960].reshape(-1, 32) for _ in range(600)])
        total = losses[batches].sum(1, keepdims=True)
        g = np.where(total > 0, losses[batches] / np.maximum(total, 1e-9), 1 / 32)
        shares = (g * noisy[batches]).sum(1)
        predicted = theory.share("ProportionalDraw", losses, noisy, keep=0.5, candidates=32)
        assert abs(predicted - shares.mean()) < 4 * shares.std() / len(shares) ** 0.5


@pytest.mark.parametrize(
    ("n", "m", "few", "large", "tolerance"),
    [(40, 20, 4, 50, 1.6e-3), (100, 10, 5, 100, 1.3e-3), (100, 50, 5, 100, 5e-4), (1000, 64, 10, 100, 1e-4)],
)
def test_the_saddlepoint_against_two_losses(n: int, m: int, few: int, large: int, tolerance: float) -> None:
    """With two different losses the sum is known from a count, and the share of the large one exactly."""
    count = np.arange(few + 1)
    exact = (hypergeom(n, few, m).pmf(count) * large * count / (large * count + m - count)).sum()
    losses = np.where(np.arange(n) < few, float(large), 1.0)
    predicted = theory.share("ProportionalDraw", losses, np.arange(n) < few, keep=0.5, candidates=m)
    assert predicted == pytest.approx(exact, abs=tolerance)


# By hand --------------------------------------------------------------------------------------------------------------


def test_worked_by_hand() -> None:
    # R = 3, F = 1/2 for the upper of two: X of the two other losses is 0, 1, 2 with 1/4, 1/2, 1/4: (1/9)(1/2 + 4/4).
    assert theory.inclusion_streaming_power([1.0, 2.0], beta=2, history=3).tolist() == pytest.approx([0, 1 / 6])
    # N = 4, M = 2, k = 1: the second lowest wins against one of three others, the third against two.
    assert theory.inclusion_top_k([4.0, 3.0, 2.0, 1.0], 0.5, 2).tolist() == pytest.approx([1, 2 / 3, 1 / 3, 0])
    # The same with the middle two alike: (2/3 + 1/3) / 2.
    assert theory.inclusion_top_k([4.0, 3.0, 3.0, 1.0], 0.5, 2).tolist() == pytest.approx([1, 1 / 2, 1 / 2, 0])
    # Losses 1, 2, 3, one draw of two independent candidates: 1 against 1, 2, 3 is drawn with 1/2, 1/3, 1/4, and so on.
    pairs = np.array([[a / (a + b) for b in (1, 2, 3)] for a in (1, 2, 3)])
    assert theory.inclusion_proportional_draw([1.0, 2.0, 3.0], 0.5, 2, 2**40).tolist() == pytest.approx(pairs.mean(1))
    # Of three dealt without replacement nobody meets its like; a saddlepoint of two out of three is rough.
    unlike = (pairs.sum(1) - 1 / 2) / 2
    assert theory.inclusion_proportional_draw([1.0, 2.0, 3.0], 0.5, 2).tolist() == pytest.approx(unlike, abs=0.04)
    # keep 1/2 has w = (r + 1/2) / M, M = 3, k = 1 (floor): with u = exp(-t / 6), 1 - u + 1 - u^3 + 1 - u^5 = 1.
    u = next(float(root.real) for root in np.roots([1, 0, 1, 0, 1, -2]) if abs(root.imag) < 1e-9)
    assert theory.inclusion_power_draw([1.0, 2.0, 3.0], 0.5, 3).tolist() == pytest.approx([1 - u, 1 - u**3, 1 - u**5])


@pytest.mark.parametrize(("n", "m"), [(6, 3), (8, 4), (8, 6), (10, 5)])
def test_draws_in_proportion_against_every_batch(n: int, m: int) -> None:
    """All batches of a tiny training set, one by one; equal and zero losses among them."""
    losses = np.random.default_rng(n + m).integers(0, 4, n).astype(float)
    exact, batches = np.zeros(n), list(itertools.combinations(range(n), m))
    for batch in map(list, batches):
        total = losses[batch].sum()
        exact[batch] += losses[batch] / total if total else 1 / m
    exact *= n / m / len(batches)
    k = m // 2
    assert theory.inclusion_proportional_draw(losses, 0.5, m) / k == pytest.approx(exact, abs=0.05 / m)


@pytest.mark.parametrize("beta", [1, 2, 3])
def test_moments_of_the_binomial(beta: int) -> None:
    """E[X^beta] in closed form, beyond the grid that is interpolated."""
    n, r = 30_000, 1024
    f = np.arange(n) / n
    mean, variance = (r - 1) * f, (r - 1) * f * (1 - f)
    moment = {1: mean, 2: variance + mean**2, 3: mean**3 + 3 * mean * variance + variance * (1 - 2 * f)}[beta]
    assert theory.inclusion_streaming_power(np.arange(n), beta) == pytest.approx(moment / r**beta, abs=3e-7)


@pytest.mark.parametrize("name", theory.INCLUSION)
def test_edges(name: str) -> None:
    losses = world(600)
    assert theory.share(name, losses, np.zeros(600, bool)) == 0
    assert theory.share(name, losses, np.ones(600, bool)) == 1
    assert theory.inclusion(name, []).shape == (0,)
    assert theory.inclusion(name, [2.0]).shape == (1,)
    alike = theory.inclusion(name, np.ones(600))
    assert np.ptp(alike) < 1e-9
    kept = {"StreamingPower": 0.0, "PowerDraw": 1 / 2, "TopK": 1 / 3, "ProportionalDraw": 1 / 3}.get(name, 1.0)
    assert alike.mean() == pytest.approx(kept, abs=2e-3)
    with pytest.raises(TamisError, match="1 are not finite"):
        theory.inclusion(name, [1.0, np.nan])


def test_every_rule_is_covered_and_its_parameters_are_read() -> None:
    names = {rule.__name__ for rule in RULES.values() if inspect.isclass(rule)}
    assert names
    uncovered = {"MixtureFilter", "OrthogonalDraw"}  # what they keep is no function of one loss's place
    assert names - uncovered == set(theory.INCLUSION) == set(theory.WORST_CASE)
    losses = world(900)
    for rule, name, parameters in [
        (StreamingPower(2.5, 100), "StreamingPower", {"beta": 2.5, "history": 100}),
        (TopK(0.3), "TopK", {"keep": 0.3, "candidates": 427}),
        (PowerDraw(0.9), "PowerDraw", {"keep": 0.9, "candidates": 143}),
        (ProportionalDraw(0.5), "ProportionalDraw", {"keep": 0.5, "candidates": 256}),
        (Everything(), "Everything", {}),
        (UniformDraw(0.4), "UniformDraw", {"keep": 0.4}),
        (RankDraw(30.0, 0.5), "RankDraw", {"pressure": 30.0, "keep": 0.5}),
        (PruneBelowMean(0.3), "PruneBelowMean", {"drop": 0.3}),
    ]:
        found = theory.inclusion(rule, losses, 128)
        assert np.array_equal(found, theory.inclusion(name, losses, **parameters))
        if "candidates" in parameters:
            assert found.sum() == pytest.approx(900 * 128 / parameters["candidates"], rel=1e-3)  # k is b, exactly


@pytest.mark.parametrize("rule", [RankDraw(30.0), RankDraw(30.0, 0.5), PruneBelowMean(0.3)], ids=repr)
def test_rules_of_a_whole_epoch_against_drawing(rule: Rule) -> None:
    losses = torch.from_numpy(world(60)) + torch.arange(60) * 1e-6  # a theory of ranks is for losses that differ
    counts, generator = np.zeros(60), torch.Generator().manual_seed(0)
    for _ in range(4000):
        kept = rule.select({}, losses, round(rule.keep * 60), generator)[0].keep
        np.add.at(counts, kept.numpy(), 1)
    assert np.abs(counts / 4000 - theory.inclusion(rule, losses.numpy())).max() < 0.08
    worst, top = np.arange(4000.0), np.arange(4000) >= 3000
    worst[top] += 1e6  # noise above everything, and all of the clean below the mean
    assert theory.share(rule, worst, top) == pytest.approx(theory.worst_case_share(rule, 0.25), abs=0.002)


# Properties -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", theory.INCLUSION)
@settings(max_examples=40, deadline=None)
@given(
    losses=st.lists(st.integers(0, 6), min_size=2, max_size=12),
    raised=st.integers(0, 11),
    by=st.floats(0.1, 5),
    keep=st.sampled_from([0.25, 0.5, 1.0]),
    m=st.integers(2, 14),
)
def test_a_higher_loss_is_never_included_less(
    name: str, losses: list[int], raised: int, by: float, keep: float, m: int
) -> None:
    parameters = {"keep": keep, "candidates": m, "beta": 1 / keep - 1, "history": m}
    if name == "ProportionalDraw":
        parameters["population"] = 2**40  # where it is exact
    accepted = set(inspect.signature(theory.INCLUSION[name]).parameters)
    chosen = {key: value for key, value in parameters.items() if key in accepted}
    before = np.array(losses, float)
    after = before.copy()
    after[raised % len(losses)] += by
    first, second = (theory.inclusion(name, x, **chosen) for x in (before, after))
    assert second[raised % len(losses)] >= first[raised % len(losses)] - 1e-9
    for values, included in ((before, first), (after, second)):
        assert (np.diff(included[np.argsort(values, kind="stable")]) >= -1e-9).all()  # nor is one with a lower loss
        assert (included >= 0).all()


def test_looks_at_a_sample_stand_for_the_training_set() -> None:
    losses = world(20_000)
    sample = np.sort(np.random.default_rng(1).permutation(20_000)[:5000])
    for name in BATCHED:
        whole = theory.inclusion(name, losses, keep=0.25, candidates=4000)[sample]
        part = theory.inclusion(name, losses[sample], keep=0.25, candidates=4000, population=20_000)
        assert np.abs(whole - part).mean() < 0.02 * max(1.0, whole.mean())


def test_weights_undo_the_draw_but_not_the_count() -> None:
    losses = world(600)
    by_count, by_weight = theory.shares_proportional_draw(losses, noise(600), keep=0.5, candidates=60)
    assert by_count > 0.4
    assert by_weight == pytest.approx(0.3)
    _, kept = deal(losses, 60, 30, pick_proportional, 20, seed=0)
    assert share_of(kept, noise(600))[0] > 0.35
    draw, sums = np.random.default_rng(0), np.zeros(2)
    for _ in range(2000):
        batch = draw.permutation(600)[:60]
        g = losses[batch] / losses[batch].sum()
        drawn = draw.choice(60, 30, p=g)
        weight = 1 / (30 * g[drawn])
        sums += (weight @ noise(600)[batch[drawn]], weight.sum())
    assert sums[0] / sums[1] == pytest.approx(by_weight, abs=0.01)
