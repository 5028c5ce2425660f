"""What a rule trains on: the share of noise among the selected, predicted from priorities alone.

The primitive is the *inclusion* ``[N]`` of each training example: how often it is trained on, relative to the others, when
candidates are drawn uniformly and the rule selects exactly as it is implemented. Derivations: ``docs/theory.md``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, rankdata

from tamis.selection.rules import (
    Everything,
    PowerDraw,
    ProportionalDraw,
    Rule,
    StreamingPower,
    TopK,
    UniformDraw,
)
from tamis.types import TamisError

Array = np.ndarray


def noise_share(inclusion: Array, noisy: Array) -> float:
    """Share of noise among what is trained on: the inclusion of the noisy over all inclusion.

    Args:
        inclusion: ``[N]``, at least 0. noisy: ``[N]`` bool.

    Returns:
        In [0, 1]; NaN where nothing is ever included.

    Example:
        >>> noise_share(np.array([1.0, 1.0, 2.0]), np.array([False, False, True]))
        0.5
    """
    total = float(inclusion.sum())
    return float(inclusion[noisy].sum()) / total if total > 0 else math.nan


def inclusion(rule: Rule, priority: Array, batch: int) -> Array:
    """Relative number of times ``[N]`` that each example is trained on under ``rule``.

    Args:
        rule: as a policy selects with it. priority: ``[N]``, as the rule would see them; not finite is refused.
        batch: the trained batch size b; a rule that judges candidates together sees M = ceil(b / keep) of them.

    Raises:
        TamisError: a rule that the theory does not cover, priorities that are not finite.

    Example:
        >>> inclusion(StreamingPower(beta=1), np.array([1.0, 2.0]), 128).round(2).tolist()  # the smallest never
        [0.0, 0.5]
    """
    if not np.isfinite(priority).all():
        raise TamisError(f"{int((~np.isfinite(priority)).sum())} priorities are not finite; the theory needs numbers.")
    if type(rule) not in INCLUSION:
        raise TamisError(f"the theory does not cover the rule {type(rule).__name__}.")
    return INCLUSION[type(rule)](rule, np.asarray(priority, np.float64), batch)


def worst_case_share(rule: Rule, rate: float, batch: int = 128) -> float:
    """The share of noise if every noisy example ranked above every clean one, for many candidates.

    Streaming power rule: 1 - (1 - eps)^(beta + 1). Top-k: min(1, eps / keep). Draws in proportion: 1, since nothing
    bounds the ratio of the losses. Power draw: from its own inclusion, 1 - exp(-t q^p) with p = 1/keep - 1.

    Example:
        >>> round(worst_case_share(StreamingPower(beta=2), 0.25), 3), worst_case_share(TopK(keep=0.5), 0.25)
        (0.578, 0.5)
    """
    if isinstance(rule, StreamingPower):
        return float(1 - (1 - rate) ** (rule.beta + 1))
    if isinstance(rule, TopK):
        return min(1.0, rate / rule.keep)
    if isinstance(rule, ProportionalDraw):
        return 1.0 if rate > 0 else 0.0
    if isinstance(rule, PowerDraw):
        quantile = (np.arange(20_000) + 0.5) / 20_000
        return noise_share(_race(quantile ** (1 / rule.keep - 1), rule.keep * 20_000), quantile > 1 - rate)
    return rate


def max_gain(keep: float, forward: float, step: float, data: float = 0.0, select: float = 0.0) -> float:
    """The most a rule can save: cost of a pass of plain training over the cost of a pass that looks and keeps.

    (s + d) / (f + keep s + d + r), with prices per example. It is reached if what is dropped was worth nothing.

    Example:
        >>> round(max_gain(0.5, forward=1, step=3), 3), round(max_gain(1 / 3, forward=1, step=3), 3)
        (1.2, 1.5)
    """
    return (step + data) / (forward + keep * step + data + select)


def break_even(keep: float, forward: float, step: float, data: float = 0.0, select: float = 0.0) -> float:
    """By what factor a selected example must beat a plain one for selection to pay: the cost of a trained example.

    (f / keep + s + d / keep + r / keep) / (s + d).

    Example:
        >>> round(break_even(0.5, forward=1, step=3), 3)
        1.667
    """
    return ((forward + data + select) / keep + step) / (step + data)


# How each rule includes ----------------------------------------------------------------------------------------------


def _all_alike(rule: Rule, priority: Array, batch: int) -> Array:
    return np.full(len(priority), rule.keep)


def _streaming_power(rule: StreamingPower, priority: Array, batch: int) -> Array:
    """E[(X / R)^beta], X ~ Binomial(R - 1, F): of the R remembered losses one is its own, F of the others are below.

    Exact for beta 1, 2, 3; else to second order in 1 / R.
    """
    n, r, beta = rule.history - 1, rule.history, rule.beta
    f = (rankdata(priority, "min") - 1) / max(1, len(priority))
    mean, variance = n * f, n * f * (1 - f)
    if beta == 1:
        return mean / r
    if beta == 2:
        return (variance + mean**2) / r**2
    if beta == 3:
        return (mean**3 + 3 * mean * variance + variance * (1 - 2 * f)) / r**3
    p = np.maximum(mean / r, 1e-12)
    return np.clip(p**beta + beta * (beta - 1) / 2 * p ** (beta - 2) * variance / r**2, 0, 1)


def _top_k(rule: TopK, priority: Array, batch: int) -> Array:
    """Kept when fewer than k of the other M - 1 candidates are above: a binomial tail in the example's quantile."""
    m = _candidates(rule, batch)
    return _over_ranks((np.arange(m) >= m - batch).astype(float), priority)


def _power_draw(rule: PowerDraw, priority: Array, batch: int) -> Array:
    """Successive draws without replacement: by rank 1 - exp(-t w), t such that b are kept; then over the rank's law."""
    m = _candidates(rule, batch)
    return _over_ranks(_race((np.arange(m) / m) ** (1 / rule.keep - 1), batch), priority)


def _proportional_draw(rule: ProportionalDraw, priority: Array, batch: int) -> Array:
    """l E[1 / (l + S)], S the sum of the M - 1 other candidates: to second order in its spread."""
    m = _candidates(rule, batch)
    l = np.maximum(priority, 0)
    if not l.any():
        return np.full(len(l), rule.keep)
    centre = l + (m - 1) * l.mean()
    return batch * l / centre * (1 + (m - 1) * l.var() / centre**2)


INCLUSION: dict[type, Callable[[Any, Array, int], Array]] = {
    Everything: _all_alike,
    UniformDraw: _all_alike,
    StreamingPower: _streaming_power,
    TopK: _top_k,
    PowerDraw: _power_draw,
    ProportionalDraw: _proportional_draw,
}


def _candidates(rule: Rule, batch: int) -> int:
    return math.ceil(batch / rule.keep - 1e-9)


def _over_ranks(by_rank: Array, priority: Array, grid: int = 1025) -> Array:
    """Expected inclusion when an example at quantile F has rank ~ Binomial(M - 1, F) among M candidates."""
    m = len(by_rank)
    at = np.linspace(0, 1, grid)
    expected = binom.pmf(np.arange(m)[None], m - 1, at[:, None]) @ by_rank
    quantile = (rankdata(priority, "average") - 0.5) / max(1, len(priority))
    return np.interp(quantile, at, expected)


def _race(weight: Array, kept: float) -> Array:
    """Inclusion under successive sampling as an exponential race that stops when ``kept`` are in: 1 - exp(-t w)."""
    if kept >= np.count_nonzero(weight):
        return (weight > 0).astype(float)
    high = 1.0
    while (1 - np.exp(-high * weight)).sum() < kept:
        high *= 2
    t = brentq(lambda t: (1 - np.exp(-t * weight)).sum() - kept, 0, high)
    return 1 - np.exp(-t * weight)
