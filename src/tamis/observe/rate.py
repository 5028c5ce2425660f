"""The rate of wrong labels: how well it is known, and what it says of every single probability."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tamis.observe.calibration import ANCHORS, LEAST
from tamis.types import TamisError


def rate_of(probabilities: Tensor, matrix: Tensor) -> float:
    """The share of wrong labels if every class errs as ``matrix`` says: ``sum_i P(true = i) (1 - T[i, i])``.

    Args:
        probabilities: ``[N, K]`` of the true class. matrix: ``[K, K]`` P(given | true).

    Returns:
        In [0, 1].

    Example:
        >>> round(rate_of(torch.eye(2), torch.tensor([[0.8, 0.2], [0.0, 1.0]])), 3)
        0.1

    Reference: total probability.
    """
    return float(probabilities.double().mean(0) @ (1 - matrix.double().diagonal()))


def rate_error(probabilities: Tensor, matrix: Tensor, share: float = ANCHORS, least: int = LEAST) -> float:
    """The standard error of :func:`rate_of` by the number of anchors that its ``matrix`` was read from.

    ``sqrt(sum_i P(true = i)^2 T[i, i] (1 - T[i, i]) / m_i)``, where class i has m_i anchors: the ``share`` of those who
    are predicted as it, but ``least`` or all. What else may be wrong with a matrix is not in it.

    Args:
        probabilities: ``[N, K]``. matrix: ``[K, K]``, as :func:`~tamis.observe.calibration.anchored` gives it. share,
            least: of the anchors, as there.

    Returns:
        A share of labels, at least 0: lower is better known.

    Example:
        >>> p = torch.eye(2).repeat(1000, 1)
        >>> round(rate_error(p, torch.tensor([[0.8, 0.2], [0.2, 0.8]])), 4)  # .8 and .2 over 400 anchors
        0.02

    Fails when: no anchor is wrong: it is 0, and :func:`rate_at_most` says more.

    Reference: the standard error of a binomial share, summed over strata.
    """
    p = probabilities.double()
    anchors = _anchors(p, share, least)
    right = matrix.double().diagonal()
    return float((p.mean(0) ** 2 * right * (1 - right) / anchors.clamp(min=1)).sum().clamp(min=0).sqrt())


def rate_at_most(probabilities: Tensor, share: float = ANCHORS, least: int = LEAST) -> float:
    """The rate that is still likely where no anchor's label is wrong: 3 over the number of anchors, at 95 %.

    Args:
        probabilities: ``[N, K]``. share, least: as for :func:`rate_error`.

    Returns:
        In [0, 1].

    Example:
        >>> rate_at_most(torch.eye(2).repeat(1500, 1))  # 300 anchors of either class
        0.005

    Reference: the rule of three: Hanley & Lippman-Hand 1983.
    """
    return min(1.0, 3 / max(1.0, float(_anchors(probabilities, share, least).sum())))


def _anchors(p: Tensor, share: float, least: int) -> Tensor:
    """``[K]`` float64, how many anchors each class has."""
    count = torch.bincount(p.argmax(1), minlength=p.shape[1])
    return torch.maximum((share * count).long(), count.clamp(max=least)).double()


def at_rate(wrong: Tensor, rate: float, surer: float = 1.0, error: float = 0.0) -> Tensor:
    """Probabilities moved by one constant in their log-odds so that their mean is ``rate``; their order stays.

    A rate that is known to a standard ``error`` e alone says little where all are sure: a mean of .150 is brought to
    .144 only by doubting everybody. The constant is then the b of least ``((mean - rate) / e)^2 + b^2``: as much is
    asked of it as the rate can say, where one unit of log-odds counts as one standard error.

    Args:
        wrong: ``[N]`` in [0, 1]. rate: in [0, 1]. surer: by what the log-odds are multiplied first, above 0. error: of
            the rate, a share as it is, at least 0; 0 meets the rate at any price.

    Returns:
        ``[N]`` float64.

    Example:
        >>> at_rate(torch.tensor([0.1, 0.2, 0.9]), 0.5).round(decimals=3)
        tensor([0.1950, 0.3530, 0.9520], dtype=torch.float64)
        >>> sure = torch.tensor([0.001, 0.001, 0.001, 0.999])
        >>> at_rate(sure, 0.24).round(decimals=2)[3], at_rate(sure, 0.24, error=0.01).round(decimals=2)[3]
        (tensor(0.9600, dtype=torch.float64), tensor(1., dtype=torch.float64))

    Raises:
        TamisError: a rate outside [0, 1], an error below 0.

    Fails when: the probabilities are 0 and 1 alone: they count as 1e-9 from there, and are moved far to meet the rate.
    With an ``error``: of a few hundred examples it is so large that the mean stays what the probabilities say.

    Reference: prior shift: Saerens et al. 2002; the part of it is of this package: docs/notes/separation.md.
    """
    if not 0 <= rate <= 1:
        raise TamisError(f"rate is {rate!r}, but the share of wrong labels lies in [0, 1].")
    if not error >= 0:
        raise TamisError(f"error is {error!r}, but a standard error is at least 0.")
    odds = surer * wrong.double().clamp(1e-9, 1 - 1e-9).logit()
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        if float((odds + middle).sigmoid().mean()) < rate:
            low = middle
        else:
            high = middle
    whole = (low + high) / 2
    return (odds + (_held_back(odds, rate, error, whole) if error > 0 else whole)).sigmoid()


def _held_back(odds: Tensor, rate: float, error: float, whole: float) -> float:
    """The b between 0 and the ``whole`` that makes the mean of ``sigmoid(odds + b)`` the rate, of least ``((mean -
    rate) / error)^2 + b^2``."""

    def loss(b: float) -> float:
        return ((float((odds + b).sigmoid().mean()) - rate) / error) ** 2 + b**2

    low, high = 0.0, whole
    for _ in range(3):  # a grid, and finer ones about its best: there may be two valleys
        grid: list[float] = np.linspace(low, high, 33).tolist()
        best = min(grid, key=loss)
        low, high = best - (high - low) / 32, best + (high - low) / 32
    return best
