"""What a rule trains on: the share of noise among the selected, predicted from priorities alone; and what selecting costs.

The primitive is the *inclusion* ``[N]`` of the training examples: the expected number of times each is trained on, per time
it is a candidate, by the rule exactly as it is implemented. Candidates arrive uniformly from the training set. Applied to a
method's own priorities the prediction is *closed-loop*; applied to those of uniform training it is *open-loop*.
No rule is imported: they are known by the name of their class. Every formula is derived in ``docs/theory.md``.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gamma, gammainc, gammaln, xlog1py, xlogy
from scipy.stats import rankdata

from tamis.types import TamisError

Array = NDArray[Any]
Law = Callable[[Array, Array], Array]  # log P(count), count [n + 1] against the others below, [G, 1]
NODES, GRID = 96, 2049  # of the quadrature; of the ranks that are computed, beyond which they are interpolated


def noise_share(inclusion: ArrayLike, noisy: ArrayLike) -> float:
    """Share of noise among what is trained on: ``sum_{i noisy} inclusion_i / sum_i inclusion_i``.

    Args:
        inclusion: ``[N]``, at least 0, on any scale. noisy: ``[N]`` bool.

    Returns:
        In [0, 1], higher is noisier; NaN where nothing is ever included.

    Raises:
        TamisError: the two are not of one length.

    Example:
        >>> noise_share([1.0, 1.0, 2.0], [False, False, True])
        0.5
    """
    values, mask = np.asarray(inclusion, np.float64), np.asarray(noisy, bool)
    if values.shape != mask.shape or values.ndim != 1:
        raise TamisError(f"inclusion {list(values.shape)} and noisy {list(mask.shape)} must both be [N].")
    total = float(values.sum())
    return float(values[mask].sum()) / total if total > 0 else math.nan


def inclusion(rule: object | str, losses: ArrayLike, batch: int = 128, **parameters: Any) -> Array:
    """Expected number of times each example is trained on, per time it is a candidate, under ``rule``.

    Args:
        rule: a Rule, whose parameters are read from it, or the name of its class, with its ``parameters`` beside it.
        losses: ``[N]`` finite priorities, as the rule would see them.
        batch: the trained size b; a Rule that judges candidates together sees M = ceil(b / keep) of them.
        parameters: of the function in :data:`INCLUSION`, such as ``keep``, ``candidates``, ``population``.

    Returns:
        ``[N]`` float64, at least 0.

    Raises:
        TamisError: a rule that the theory does not cover; losses that are not finite numbers ``[N]``.

    Example:
        >>> inclusion("TopK", [1.0, 2.0, 3.0, 4.0], keep=0.5, candidates=4).tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    name, parameters = _known(rule, INCLUSION, batch, parameters)
    return INCLUSION[name](losses, **parameters)


def share(rule: object | str, losses: ArrayLike, noisy: ArrayLike, batch: int = 128, **parameters: Any) -> float:
    """Predicted share of noise among what ``rule`` trains on: :func:`noise_share` of its :func:`inclusion`.

    Example:
        >>> round(share("StreamingPower", range(1000), np.arange(1000) >= 750, beta=2), 3)  # the upper quarter is noise
        0.578

    Fails when: noise has been memorised and its loss is low; losses move faster than they are looked at.
    """
    return noise_share(inclusion(rule, losses, batch, **parameters), noisy)


def average_inclusion(
    rule: object | str, before: ArrayLike, after: ArrayLike, batch: int = 128, **parameters: Any
) -> Array:
    """Inclusion over an interval in which the losses move: the trapezoid of its two ends, ``(I(before) + I(after)) / 2``.

    Args:
        rule, batch, parameters: as for :func:`inclusion`. before, after: ``[N]`` losses at the two ends.

    Returns:
        ``[N]``, per time that an example is a candidate; exact for inclusion that moves linearly.

    Example:
        >>> average_inclusion("TopK", [1.0, 2.0], [2.0, 1.0], keep=0.5, candidates=2).tolist()
        [0.5, 0.5]
    """
    return (inclusion(rule, before, batch, **parameters) + inclusion(rule, after, batch, **parameters)) / 2


def share_gated(share: float, gate: float, rate: float) -> float:
    """Share of noise of a policy that selects on ``gate`` of its steps and trains uniformly on the rest (gates, warm-up).

    ``g share + (1 - g) eps``, for steps of one trained size. All three in [0, 1].

    Example:
        >>> share_gated(0.75, gate=0.5, rate=0.25)
        0.5
    """
    return gate * share + (1 - gate) * rate


# How each rule includes ----------------------------------------------------------------------------------------------


def inclusion_alike(losses: ArrayLike, keep: float = 1.0) -> Array:
    """``keep`` for every example: uniform training and random subsets, whose share of noise is the base rate.

    Example:
        >>> inclusion_alike([3.0, 1.0], keep=0.5).tolist()
        [0.5, 0.5]
    """
    return np.full(len(_finite(losses)), float(keep))


def inclusion_streaming_power(losses: ArrayLike, beta: float = 1.0, history: int = 1024) -> Array:
    """Selective-Backprop: kept with probability percentile^beta among the last R losses, its own being one of them.

    ``E[(X / R)^beta], X ~ Binomial(R - 1, F)``, F the share of examples with a strictly smaller loss. Exact for any beta
    and a full history of independent draws.

    Args:
        losses: ``[N]``. beta: selectivity, at least 0. history: R.

    Returns:
        ``[N]`` in [0, 1]; among equal losses alone nothing is smaller and nothing is kept: all 0 for beta > 0.

    Example:
        >>> inclusion_streaming_power([1.0, 2.0, 2.0, 3.0], beta=1, history=4).tolist()  # (3 / 4) F
        [0.0, 0.1875, 0.1875, 0.5625]

    Fails when: the history is still filling, or remembers a model of long ago.

    Reference: Jiang et al. 2019, arXiv:1910.00762.
    """
    values = _finite(losses)
    below, n = rankdata(values, "min") - 1, max(1, len(values))
    return _over_counts((np.arange(history) / history) ** beta, below, n, _binomial(history - 1, 0.0, n))


def inclusion_top_k(
    losses: ArrayLike, keep: float = 1 / 3, candidates: int = 384, population: int | None = None
) -> Array:
    """The k = floor(keep M) highest of M candidates: kept when at least M - k of the other M - 1 are below.

    ``P(X >= M - k)``, X hypergeometric: of the N - 1 others those below, M - 1 drawn. Exact; equal losses share alike.

    Args:
        losses: ``[N]``. keep: in (0, 1]. candidates: M. population: size of the training set, of which ``losses`` are
            then a sample; None: they are all of it. With M above it, candidates count as independent draws.

    Returns:
        ``[N]`` in [0, 1], k / M on average.

    Example:
        >>> inclusion_top_k([1.0, 2.0, 3.0], keep=0.5, candidates=2).tolist()  # the middle one beats one of two
        [0.0, 0.5, 1.0]

    Reference: Shrivastava et al. 2016, arXiv:1604.03540; Ordered SGD, Kawaguchi & Lu 2020.
    """
    kept = _kept(keep, candidates)
    return _ranked((np.arange(candidates) >= candidates - kept).astype(float), losses, population)


def inclusion_power_draw(
    losses: ArrayLike, keep: float = 0.5, candidates: int = 256, population: int | None = None
) -> Array:
    """k = floor(keep M) of M candidates, drawn successively with weights w_r = (r / M)^(1/keep - 1), ranks r from 0.

    ``E[1 - exp(-t w_r)]`` over the law of an example's rank, t such that k are kept: the draw as an exponential race that
    is stopped at a fixed time instead of at its k-th arrival. Off by O(1 / M); the least loss is never kept.

    Args, Returns: as for :func:`inclusion_top_k`.

    Example:
        >>> inclusion_power_draw([1.0, 2.0, 3.0], keep=0.5, candidates=2).round(2).tolist()  # rank 1 of two always wins
        [0.0, 0.5, 1.0]

    Reference: MosaicML composer, SelectiveBackprop, whose percentiles are (r + 1/2) / M.
    """
    weight = (np.arange(candidates) / candidates) ** (1 / keep - 1)
    return _ranked(_race(weight, _kept(keep, candidates)), losses, population)


def inclusion_proportional_draw(
    losses: ArrayLike, keep: float = 1 / 3, candidates: int = 384, population: int | None = None
) -> Array:
    """k = floor(keep M) draws with replacement from M candidates, in proportion to their loss.

    ``k E[l / (l + S)]``, S the sum of the other M - 1: ``k l ∫ exp(-t l) E[exp(-t L)]^(M - 1) dt``, exact for independent
    candidates; for a finite training set the mean and the variance of S are made exact.

    Args, Returns: as for :func:`inclusion_top_k`, but up to k; negative losses count as 0, all zero as equal.
    Weights do not change how often an example is drawn, but what it weighs: :func:`shares_proportional_draw`.

    Example:
        >>> inclusion_proportional_draw([1.0, 1.0, 2.0, 4.0], keep=0.5, candidates=4).round(3).tolist()  # 2 l / 8
        [0.25, 0.25, 0.5, 1.0]

    Reference: Katharopoulos & Fleuret 2018, arXiv:1803.00942.
    """
    l, kept = np.maximum(_finite(losses), 0), _kept(keep, candidates)
    if len(l) == 0 or candidates == 1 or not l.max() > 0:
        return np.full(len(l), kept / candidates)
    l = l / l.max()
    n = population or len(l)
    drawn = (candidates - 1) / (n - 1) if 1 < n and candidates <= n else 0.0  # share of the others that are here too
    mean = l.mean() * (n / (n - 1) if drawn else 1.0)
    others = mean + math.sqrt(1 - drawn) * (l - l.mean())
    u, du = np.polynomial.legendre.leggauss(NODES)
    u, du = (u + 1) / 2, du / 2
    t, dt = u / (1 - u) / ((candidates - 1) * mean), du / (1 - u) ** 2 / ((candidates - 1) * mean)
    expected = np.zeros_like(l)
    for time, width in zip(t, dt, strict=True):
        laplace = float(np.exp(-time * others).mean()) ** (candidates - 1)
        expected += width * laplace * np.exp(-time * (1 - drawn) * l)
    return kept * l * expected


def shares_proportional_draw(
    losses: ArrayLike, noisy: ArrayLike, keep: float = 1 / 3, candidates: int = 384, population: int | None = None
) -> tuple[float, float]:
    """Two shares of noise of draws in proportion: by count, and by weight where each draw weighs 1 / E[times drawn].

    The weights undo the draw, so the second is the base rate (of what has a loss at all), while the first stays raised:
    noise is still drawn more often, each time with a smaller weight.

    Returns:
        (by count, by weight), both in [0, 1].

    Example:
        >>> [round(s, 3) for s in shares_proportional_draw([1, 1, 2, 4], [0, 0, 0, 1], keep=0.5, candidates=4)]
        [0.5, 0.25]
    """
    by_count = inclusion_proportional_draw(losses, keep, candidates, population)
    return noise_share(by_count, noisy), noise_share((by_count > 0).astype(float), noisy)


INCLUSION: dict[str, Callable[..., Array]] = {
    "Everything": inclusion_alike,
    "UniformDraw": inclusion_alike,
    "StreamingPower": inclusion_streaming_power,
    "PowerDraw": inclusion_power_draw,
    "TopK": inclusion_top_k,
    "ProportionalDraw": inclusion_proportional_draw,
}


# The worst case and the price ----------------------------------------------------------------------------------------


def worst_case_share(rule: object | str, rate: float, batch: int = 128, **parameters: Any) -> float:
    """The share of noise if every noisy example ranked above every clean one, for many candidates.

    Streaming power rule: ``1 - (1 - eps)^(beta + 1)``. Top-k: ``min(1, eps / keep)``. Power draw: ``(1 / keep) ∫ over the
    top eps of 1 - exp(-t q^p) dq``, p = 1/keep - 1. Draws in proportion: ``eps ratio / (eps ratio + 1 - eps)``.

    Args:
        rule, parameters: as for :func:`inclusion`; ``ratio`` of the mean noisy to the mean clean loss, inf unless given.
        rate: eps, in [0, 1]. batch: not used, as candidates are many.

    Returns:
        In [0, 1], at least ``rate``.

    Raises:
        TamisError: a rule that the theory does not cover; a rate outside [0, 1].

    Example:
        >>> round(worst_case_share("StreamingPower", 0.25, beta=2), 3), worst_case_share("TopK", 0.25, keep=0.5)
        (0.578, 0.5)
    """
    if not 0 <= rate <= 1:
        raise TamisError(f"the noise rate is {rate!r}, but it is a share of the examples and lies in [0, 1].")
    name, parameters = _known(rule, WORST_CASE, batch, parameters)
    return WORST_CASE[name](rate, **parameters)


def crossover_rate(rule: object | str, share: float = 0.5, **parameters: Any) -> float:
    """The noise rate at which, in the worst case, ``share`` of what a rule trains on is noise.

    Above it a rule of high losses *can* train on more noise than that: streaming ``1 - (1 - share)^(1 / (beta + 1))``,
    top-k ``keep share``. In [0, ``share``]; lower is a more fragile rule; 0 where any noise may be enough.

    Example:
        >>> round(crossover_rate("StreamingPower", beta=2), 3), round(crossover_rate("TopK", keep=0.1), 3)
        (0.206, 0.05)
    """
    if worst_case_share(rule, tiny := 1e-12, **parameters) >= share:
        return 0.0
    return float(brentq(lambda rate: worst_case_share(rule, rate, **parameters) - share, tiny, share, xtol=1e-12))


def break_even(
    keep: float, forward: float, step: float, data: float = 0.0, select: float = 0.0, gate: float = 1.0
) -> float:
    """What a trained example costs, in plain ones: by this factor selection must reduce the number of steps to pay.

    ``g ((f + d + r) / keep + s) / (s + d) + 1 - g``.

    Args:
        keep: share of the candidates that is kept, in (0, 1]. forward, step, data, select: prices f, s, d, r in one
            unit; ``step`` per trained example, the others per candidate (one call of a rule on M candidates: M r).
        gate: share g of the steps on which the policy selects.

    An epoch-level policy forwards nothing and loads only what it keeps: forward 0, and ``data`` counted within ``step``.

    Example:
        >>> round(break_even(0.5, forward=1, step=3), 3), break_even(0.5, forward=0, step=3)
        (1.667, 1.0)
    """
    return gate * ((forward + data + select) / keep + step) / (step + data) + 1 - gate


def max_gain(
    keep: float, forward: float, step: float, data: float = 0.0, select: float = 0.0, gate: float = 1.0
) -> float:
    """The most a policy can gain: the cost of plain training on as many candidates, over its own cost.

    ``(g / keep + 1 - g) / break_even``; with gate 1 ``(s + d) / (f + keep s + d + r)``. Reached if what is dropped was
    worth nothing; below 1 a policy cannot pay. Args: as for :func:`break_even`.

    Example:
        >>> [round(max_gain(keep, forward=1, step=3), 2) for keep in (1 / 2, 1 / 3, 1 / 4)]
        [1.2, 1.5, 1.71]
    """
    return (gate / keep + 1 - gate) / break_even(keep, forward, step, data, select, gate)


def _worst_power_draw(rate: float, keep: float = 0.5) -> float:
    """G(x) = ∫_0^x exp(-t q^p) dq = Γ(1 + 1/p) P(1/p, t x^p) t^(-1/p), P the regularised incomplete gamma function."""
    if keep == 1:
        return rate
    a = keep / (1 - keep)  # 1 / p

    def passed_over(x: float, t: float) -> float:
        return float(gamma(1 + a) * gammainc(a, t * x ** (1 / a)) * t**-a)

    high = 1.0
    while passed_over(1, high) > 1 - keep:
        high *= 2
    t = brentq(lambda t: passed_over(1, t) - (1 - keep), 1e-9, high)
    return (rate - passed_over(1, t) + passed_over(1 - rate, t)) / keep


def _worst_proportional(rate: float, ratio: float = math.inf) -> float:
    if math.isinf(ratio):
        return float(rate > 0)
    return rate * ratio / (rate * ratio + 1 - rate)


WORST_CASE: dict[str, Callable[..., float]] = {
    "Everything": lambda rate: rate,
    "UniformDraw": lambda rate: rate,
    "StreamingPower": lambda rate, beta=1.0: 1 - (1 - rate) ** (beta + 1),
    "PowerDraw": _worst_power_draw,
    "TopK": lambda rate, keep=1 / 3: min(1.0, rate / keep),
    "ProportionalDraw": _worst_proportional,
}


# The machinery -------------------------------------------------------------------------------------------------------


def _known(
    rule: object | str, table: dict[str, Callable[..., Any]], batch: int, given: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A rule's name, and those of its parameters that the name's function takes."""
    name = rule if isinstance(rule, str) else type(rule).__name__
    if name not in table:
        raise TamisError(f"the theory does not cover the rule {name}; it knows {', '.join(table)}.")
    if isinstance(rule, str):
        return name, given
    wanted = inspect.signature(table[name]).parameters
    read = {word: getattr(rule, word) for word in wanted if hasattr(rule, word)}
    if "candidates" in wanted:
        read["candidates"] = math.ceil(batch / read["keep"] - 1e-9)
    return name, read | given


def _finite(losses: ArrayLike) -> Array:
    values = np.asarray(losses, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise TamisError(f"the losses have shape {list(values.shape)} and {bad} are not finite; want numbers [N].")
    return values


def _kept(keep: float, candidates: int) -> int:
    return max(1, math.floor(keep * candidates + 1e-9))


def _race(weight: Array, kept: int) -> Array:
    """Inclusion ``[M]`` under successive sampling, as an exponential race: 1 - exp(-t w), t such that ``kept`` are in."""
    if kept >= np.count_nonzero(weight):
        return (weight > 0).astype(float)
    high = 1.0
    while -np.expm1(-high * weight).sum() < kept:
        high *= 2
    t = brentq(lambda t: -np.expm1(-t * weight).sum() - kept, 0, high)
    included: Array = -np.expm1(-t * weight)
    return included


def _ranked(by_rank: Array, losses: ArrayLike, population: int | None) -> Array:
    """E[by_rank[rank among M candidates]] for each example ``[N]``; equal losses take each other's place at random."""
    values, m = _finite(losses), len(by_rank)
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    n = population or len(values)
    order = np.argsort(values, kind="stable")
    below = np.clip((np.arange(len(values)) + 0.5) * n / max(1, len(values)) - 0.5, 0, max(0, n - 1))
    law = _hypergeometric(m - 1, n) if m <= n else _binomial(m - 1, 0.5, n)
    expected = by_rank[np.round(below).astype(int)] if m == n else _over_counts(by_rank, below, n, law)
    mean: Array = np.bincount(group[order], expected, len(size)) / size
    return mean[group]


def _over_counts(by_count: Array, below: Array, population: int, law: Law) -> Array:
    """E[by_count[X]], X how many of the candidates are smaller, for examples with ``below`` ``[N]`` smaller ones."""
    at = np.unique(np.round(np.linspace(0, population - 1, GRID)))
    count, rows = np.arange(len(by_count)), max(1, 2**20 // len(by_count))
    blocks = [np.exp(law(count, at[i : i + rows, None])) @ by_count for i in range(0, len(at), rows)]
    interpolated: Array = np.interp(below, at, np.concatenate(blocks))
    return interpolated


def _binomial(n: int, shift: float, population: int) -> Law:
    choose = gammaln(n + 1) - gammaln(np.arange(n + 1) + 1) - gammaln(n - np.arange(n + 1) + 1)
    return lambda x, below: choose + xlogy(x, q := (below + shift) / population) + xlog1py(n - x, -q)


def _hypergeometric(n: int, population: int) -> Law:
    """n candidates beside the example, out of the population - 1 others, ``below`` of which are smaller."""
    others = population - 1
    factorial = np.append(gammaln(np.arange(population + 1) + 1), np.inf)  # 1 / (-1)! = 0: the index -1 is impossible

    def choose(of: Array, some: Array) -> Array:
        rest = np.where(some > of, -1, of - some)
        return factorial[of] - factorial[some] - factorial[rest]

    def law(x: Array, below: Array) -> Array:
        below = below.astype(int)
        return choose(below, x) + choose(others - below, n - x) - choose(np.array(others), np.array(n))

    return law
