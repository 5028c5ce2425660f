"""Inclusions of the rules that judge a whole epoch at once: every example is a candidate in every draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from tamis.theory.ranks import finite
from tamis.types import TamisError

Array = np.ndarray[Any, np.dtype[np.float64]]


def inclusion_rank_draw(losses: ArrayLike, pressure: float = 100.0, keep: float = 1.0) -> Array:
    """Online Batch Selection: N keep draws with replacement, ``p_i ~ exp(-log(s_e) i / N)``, i the rank from the top.

    Equal losses share the mean of their ranks' probabilities (the rule gives the higher to the earlier example).

    Example:
        >>> inclusion_rank_draw([1.0, 2.0], pressure=4.0).round(3).tolist()  # 1 to sqrt(4)
        [0.667, 1.333]

    Reference: Loshchilov & Hutter 2015, arXiv:1511.06343.
    """
    values = finite(losses)
    if not 1 <= pressure < math.inf:
        raise TamisError(f"the pressure is {pressure!r}, but it must be a finite number of at least 1.")
    n = len(values)
    law = np.exp(-math.log(pressure) / max(1, n) * np.arange(1, n + 1))
    ranks = rankdata(-values, "ordinal") - 1
    chance = (law / law.sum())[ranks]
    ties = np.unique(values, return_inverse=True)[1]
    return np.asarray(keep * n * (np.bincount(ties, chance) / np.bincount(ties))[ties])


def inclusion_prune_below_mean(losses: ArrayLike, drop: float = 0.5) -> Array:
    """InfoBatch: ``1 - drop`` below the mean loss, else 1. Its weights undo it in the gradient, not in the count.

    Example:
        >>> inclusion_prune_below_mean([1.0, 1.0, 4.0]).tolist()
        [0.5, 0.5, 1.0]

    Reference: Qin et al. 2024, arXiv:2303.04947.
    """
    values = finite(losses)
    if not 0 <= drop < 1:
        raise TamisError(f"drop is {drop!r}, but it is a probability in [0, 1).")
    return np.where(values < values.mean(), 1 - drop, 1.0) if len(values) else values


def worst_rank_draw(rate: float, pressure: float = 100.0) -> float:
    """``(1 - s_e^-eps) / (1 - 1 / s_e)``: the mass of the exponential law over the top eps of the ranks."""
    log = math.log(pressure)
    return float(math.expm1(-rate * log) / math.expm1(-log)) if log else rate


def worst_prune_below_mean(rate: float, drop: float = 0.5) -> float:
    """``eps / (eps + (1 - drop)(1 - eps))``: every clean example below the mean, every noisy one above."""
    return rate / (rate + (1 - drop) * (1 - rate)) if rate else 0.0
