"""Where an example ranks among the candidates it happens to meet, and what a rule that looks at ranks does with it.

Every such rule is a function ``by_count`` of X, the number of the other candidates with a smaller loss; its inclusion
is ``E[by_count(X)]`` under the law of X for an example with ``below`` smaller ones in the training set.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import gammaln, xlog1py, xlogy

from tamis.types import TamisError

Array = NDArray[Any]
Law = Callable[[Array, Array], Array]  # log P(X = count): count [n + 1], below [G, 1] -> [G, n + 1]
GRID = 2049  # ranks that are computed; between them the inclusion is interpolated


def race(weight: Array, kept: int) -> Array:
    """Inclusion ``[M]`` under successive sampling as an exponential race: 1 - exp(-t w), t such that k are in."""
    if kept >= len(weight):
        return np.ones(len(weight))
    if kept >= np.count_nonzero(weight):
        return (weight > 0).astype(float)
    high = 1.0
    while -np.expm1(-high * weight).sum() < kept:
        high *= 2
    t = brentq(lambda t: -np.expm1(-t * weight).sum() - kept, 0, high)
    included: Array = -np.expm1(-t * weight)
    return included


def over_ranks(by_rank: Array, values: Array, population: int | None) -> Array:
    """E[by_rank[rank among M candidates]] for each example ``[N]``; equal losses take each other's place at random."""
    m = len(by_rank)
    if not len(values):
        return values
    _, group, size = np.unique(values, return_inverse=True, return_counts=True)
    n = population or len(values)
    order = np.argsort(values, kind="stable")
    below = np.clip((np.arange(len(values)) + 0.5) * n / len(values) - 0.5, 0, n - 1)
    law = hypergeometric(m - 1, n) if m <= n else binomial(m - 1, 0.5, n)
    expected = by_rank[np.round(below).astype(int)] if m == n else over_counts(by_rank, below, n, law)
    mean: Array = np.bincount(group[order], expected, len(size)) / size
    return mean[group]


def over_counts(by_count: Array, below: Array, population: int, law: Law) -> Array:
    """E[by_count[X]], X how many of the candidates are smaller, for examples with ``below`` ``[N]`` smaller ones."""
    at = np.unique(np.round(np.linspace(0, population - 1, GRID)))
    count, rows = np.arange(len(by_count)), max(1, 2**20 // len(by_count))
    expected = []
    for i in range(0, len(at), rows):
        p = np.exp(law(count, at[i : i + rows, None]))
        expected.append((p @ by_count) / p.sum(1))  # p sums to 1 but for the rounding of large factorials
    interpolated: Array = np.interp(below, at, np.concatenate(expected))
    return interpolated


def binomial(n: int, shift: float, population: int) -> Law:
    """n independent draws; ``shift`` 1/2 is an example's own place, which its like share at random with it."""
    return lambda x, below: choose(n, x) + xlogy(x, q := (below + shift) / population) + xlog1py(n - x, -q)


def hypergeometric(n: int, population: int) -> Law:
    """n candidates beside the example, out of the population - 1 others, ``below`` of which are smaller."""
    others = population - 1
    return lambda x, below: choose(below, x) + choose(others - below, n - x) - choose(others, n)


def choose(of: Array | int, some: Array | int) -> Array:
    """Logarithm of the number of ways to take ``some`` ``of`` these; -inf where there is none."""
    rest = np.subtract(of, some)
    ways = gammaln(np.add(of, 1)) - gammaln(np.add(some, 1)) - gammaln(np.maximum(rest, 0) + 1)
    return np.where(rest < 0, -np.inf, ways)


def finite(losses: ArrayLike) -> Array:
    """``[N]`` float64 losses, if they are finite numbers."""
    values = np.asarray(losses, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise TamisError(f"the losses have shape {list(values.shape)} and {bad} are not finite; want numbers [N].")
    return values
