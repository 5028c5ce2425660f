"""How often each rule trains on each example: its inclusion ``[N]``, and the share of noise that follows from it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tamis.theory.epochs import inclusion_prune_below_mean, inclusion_rank_draw
from tamis.theory.ranks import Array, binomial, finite, over_counts, over_ranks, race
from tamis.theory.sums import none_other, reciprocal_sum
from tamis.types import TamisError


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


def inclusion(
    rule: object | str, losses: ArrayLike, batch: int = 128, *, population: int | None = None, **parameters: Any
) -> Array:
    """Expected number of times each example is trained on, per time it is a candidate, under ``rule``.

    Args:
        rule: a Rule, whose parameters are read from it, or the name of its class, with its ``parameters`` beside it.
        losses: ``[N]`` finite priorities, as the rule would see them.
        batch: the trained size b; a rule that judges candidates together sees M = ceil(b / keep), if not told.
        population: how many the candidates are dealt from, where ``losses`` are a sample of them; the rules that judge
            each candidate by itself have no use for it.
        parameters: of the function in :data:`INCLUSION`, such as ``keep``, ``candidates``.

    Returns:
        ``[N]`` float64, at least 0.

    Raises:
        TamisError: a rule that the theory does not cover; losses that are not finite numbers ``[N]``.

    Example:
        >>> inclusion("TopK", [1.0, 2.0, 3.0, 4.0], keep=0.5, candidates=4).tolist()
        [0.0, 0.0, 1.0, 1.0]
    """
    name, parameters = resolve(rule, INCLUSION, batch, parameters)
    if "population" in inspect.signature(INCLUSION[name]).parameters:
        parameters["population"] = population
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
    """Inclusion over an interval in which the losses move: the trapezoid ``(I(before) + I(after)) / 2``.

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
    """Share of noise of a policy that selects on ``gate`` of its steps and else trains uniformly: a gate, a warm-up.

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
    return np.full(len(finite(losses)), float(keep))


def inclusion_streaming_power(losses: ArrayLike, beta: float = 1.0, history: int = 1024) -> Array:
    """Selective-Backprop: kept with probability percentile^beta among the last R losses, its own being one of them.

    ``E[(X / R)^beta], X ~ Binomial(R - 1, F)``, F the share of examples with a strictly smaller loss: exact for any
    beta and a full history of independent draws.

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
    values = finite(losses)
    if not (beta >= 0 and history >= 1):
        raise TamisError(f"beta is {beta!r} and history {history!r}; want at least 0, and at least one loss.")
    below, n = rankdata(values, "min") - 1, max(1, len(values))
    return over_counts((np.arange(history) / history) ** beta, below, n, binomial(history - 1, 0.0, n))


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

    Fails when: losses are far fewer than candidates (a handful for hundreds): they do not say how ranks are spread.

    Example:
        >>> inclusion_top_k([1.0, 2.0, 3.0], keep=0.5, candidates=2).tolist()  # the middle one beats one of two
        [0.0, 0.5, 1.0]

    Reference: Shrivastava et al. 2016, arXiv:1604.03540; Ordered SGD, Kawaguchi & Lu 2020.
    """
    kept = _kept(keep, candidates)
    return over_ranks((np.arange(candidates) >= candidates - kept).astype(float), finite(losses), population)


def inclusion_power_draw(
    losses: ArrayLike, keep: float = 0.5, candidates: int = 256, population: int | None = None
) -> Array:
    """k = floor(keep M) of M candidates, drawn successively with weights w_r = ((r + 1/2) / M)^(1/keep - 1), r from 0.

    ``E[1 - exp(-t w_r)]`` over the law of an example's rank, t such that k are kept: the draw as an exponential race
    that is stopped at a fixed time instead of at its k-th arrival. Off by O(1 / M).

    Args, Returns: as for :func:`inclusion_top_k`.

    Example:
        >>> inclusion_power_draw([1.0, 2.0, 3.0], keep=0.5, candidates=2).round(2).tolist()  # v + v^3 = 1
        [0.32, 0.5, 0.68]

    Reference: MosaicML composer, SelectiveBackprop.
    """
    kept = _kept(keep, candidates)
    percentile = (np.arange(candidates) + 0.5) / candidates
    return over_ranks(race(percentile ** (1 / keep - 1), kept), finite(losses), population)


def inclusion_proportional_draw(
    losses: ArrayLike, keep: float = 1 / 3, candidates: int = 384, population: int | None = None
) -> Array:
    """k = floor(keep M) draws with replacement from M candidates, in proportion to their loss.

    ``k l E[1 / S]``, S the sum over the M candidates, ``E[1 / S] = ∫ E[exp(-t S)] dt`` given that it is one of them.
    Exact for independent candidates (N >> M) and for M = N; between them a saddlepoint stands for the sum's transform.

    Args, Returns: as for :func:`inclusion_top_k`, but up to k; negative losses count as 0, all zero as equal.
    Weights do not change how often an example is drawn, but what it weighs: :func:`shares_proportional_draw`.

    Example:
        >>> inclusion_proportional_draw([1.0, 1.0, 2.0, 4.0], keep=0.5, candidates=4).round(3).tolist()  # 2 l / 8
        [0.25, 0.25, 0.5, 1.0]

    Reference: Katharopoulos & Fleuret 2018, arXiv:1803.00942.
    """
    l, kept = np.maximum(finite(losses), 0), _kept(keep, candidates)
    if candidates == 1:
        return np.ones(len(l))
    n = population or len(l)
    zero, drawn = l == 0, np.zeros(len(l))
    if zero.any():  # drawn only where all candidates are 0: then all are alike
        drawn[zero] = kept / candidates * none_other(candidates, round(zero.mean() * n), n)
    if not zero.all():
        proportional = l * reciprocal_sum(l, candidates, n)
        left = len(l) * kept / candidates - drawn.sum()  # k of every M are drawn, all in all
        drawn += proportional * left / proportional.sum()
    return drawn


def shares_proportional_draw(
    losses: ArrayLike, noisy: ArrayLike, keep: float = 1 / 3, candidates: int = 384, population: int | None = None
) -> tuple[float, float]:
    """Two shares of noise of draws in proportion: by count, and by weight where each draw weighs 1 / E[times drawn].

    The weights undo the draw, so the second is the base rate (among losses above 0), while the first stays raised:
    noise is still drawn more often, each time with a smaller weight.

    Returns:
        (by count, by weight), both in [0, 1].

    Example:
        >>> [round(s, 3) for s in shares_proportional_draw([1, 1, 2, 4], [0, 0, 0, 1], keep=0.5, candidates=4)]
        [0.5, 0.25]
    """
    by_count = inclusion_proportional_draw(losses, keep, candidates, population)
    weighs = np.asarray(losses, np.float64) > 0
    return noise_share(by_count, noisy), noise_share((weighs if weighs.any() else ~weighs).astype(float), noisy)


INCLUSION: dict[str, Callable[..., Array]] = {
    "Everything": inclusion_alike,
    "UniformDraw": inclusion_alike,
    "StreamingPower": inclusion_streaming_power,
    "PowerDraw": inclusion_power_draw,
    "TopK": inclusion_top_k,
    "ProportionalDraw": inclusion_proportional_draw,
    "RankDraw": inclusion_rank_draw,
    "PruneBelowMean": inclusion_prune_below_mean,
}


# The machinery -------------------------------------------------------------------------------------------------------


def resolve(
    rule: object | str, table: dict[str, Callable[..., Any]], batch: int, given: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """A rule's name, and those of its parameters that the name's function takes."""
    name = rule if isinstance(rule, str) else type(rule).__name__
    if name not in table:
        raise TamisError(f"the theory does not cover the rule {name}; it knows {', '.join(table)}.")
    wanted = inspect.signature(table[name]).parameters
    read = {} if isinstance(rule, str) else {word: getattr(rule, word) for word in wanted if hasattr(rule, word)}
    read |= given
    if "candidates" in wanted and "candidates" not in read:
        keep = read.setdefault("keep", wanted["keep"].default)
        read["candidates"] = math.ceil(batch / keep - 1e-9) if keep > 0 else batch
    return name, read


def _kept(keep: float, candidates: int) -> int:
    """How many are kept: floor(keep M), which gives b back for M = ceil(b / keep)."""
    if not (0 < keep <= 1 and candidates >= 1):
        raise TamisError(f"keep is {keep!r} of {candidates!r} candidates; want a share in (0, 1] of at least one.")
    return max(1, math.floor(keep * candidates + 1e-9))
