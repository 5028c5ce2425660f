"""Memorization: what a network knows by heart, only because it has met an example, measured in its own passes.

Where one pass ends and the next begins the network is the same, but the examples are not: those of the last quarter
were met once less often than those of the first. What the latter lose less was learnt by heart. No data are held back.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from tamis.observe.posterior import KNOWING, LEAST


class Heard(NamedTuple):
    """How much a pass counts.

    Attributes:
        alike: 1 - rho: in a mean of what passes say of an example. knowing: ``(n (1 - rho)^2)^3``: where they are asked
            how often labels are wrong, which is told best by who knows most and has learnt least by heart.
    """

    alike: float
    knowing: float


def memorized(before: Tensor, after: Tensor, met_before: Tensor, met_after: Tensor) -> float:
    """Nats that were memorized from one pass to the next, the mean over examples: higher is more by heart.

    With D the drop of an example's loss between both passes, ``A_k`` its mean over those who were met in quarter k of
    the first and ``B_k`` over those who were met in quarter k of the second, it is the step between ``A_4`` and ``B_1``
    less what learning alone makes of the way between them: ``1.5 (A_4 + B_1) - 0.5 (A_3 + B_2) - mean D``. If the loss
    falls evenly and by h for every time that an example was met, this is h.

    Args:
        before, after: ``[N]`` losses in both passes, each before the example's own update; NaN where it was not met.
        met_before, met_after: ``[N]`` when each was met, as a share of its pass, in [0, 1).

    Returns:
        May be below 0 by chance: with N examples it is sure to some ``sqrt(20 / N)`` standard deviations of D. 0 where
        a quarter is empty.

    Example:
        >>> draw = torch.Generator().manual_seed(0)
        >>> first, second = torch.rand(1000, generator=draw), torch.rand(1000, generator=draw)
        >>> hard = torch.rand(1000, generator=draw)
        >>> before = hard + 2 - 0.4 * first  # falls by .4 a pass, for everybody
        >>> after = hard + 2 - 0.4 * (1 + second) - 0.1  # and by .1 for having been met
        >>> round(memorized(before, after, first, second), 2)
        0.1

    Fails when: passes are not shuffled, so that the last of one differ from the first of the next.

    Reference: Feldman 2020, arXiv:1906.05271, defines memorization as what an example's presence in the training set
    adds to the probability of its label; this is the mean over examples, of one more visit, in loss. The estimator is
    this package's own.
    """
    drop = before - after
    known = drop.isfinite()
    if not bool(known.any()):
        return 0.0
    late, later = ((met_before[known] * 4).long().clamp(0, 3), (met_after[known] * 4).long().clamp(0, 3))
    drop = drop[known].double()
    means = [[drop[quarter == k].mean() for k in range(4)] for quarter in (late, later)]
    step = 1.5 * (means[0][3] + means[1][0]) - 0.5 * (means[0][2] + means[1][1]) - drop.mean()
    return float(step) if bool(step.isfinite()) else 0.0


def share_memorized(loss: float, nats_memorized: float) -> float:
    """``rho = h / (loss + h)`` in [0, 1]: of what would be unexplained, what is explained by heart.

    Args:
        loss: nats, the mean of a pass. nats_memorized: h, until then, as :func:`memorized` adds up; below 0 is 0.

    Example:
        >>> share_memorized(0.3, 0.1), share_memorized(0.3, -0.1), share_memorized(0.0, 0.0)
        (0.25, 0.0, 0.0)

    Fails when: there are few examples, since h then is what chance makes it.

    Reference: of this package.
    """
    h = max(0.0, nats_memorized)
    return h / (loss + h) if loss + h > 0 else 0.0


def heard(loss: float, labels: Tensor, nats_memorized: float) -> Heard:
    """How much a pass counts, by its mean loss and the nats that were memorized until then.

    ``rho`` is :func:`share_memorized`, and ``n = H - loss - h`` are the nats of the given labels that are explained of
    examples that were never met, H the labels' entropy.

    Args:
        loss: nats, the mean of the pass. labels: ``[N]`` int64 as given. nats_memorized: h; below 0 is 0.

    Returns:
        Weights of at least 0, without a unit: only their ratios between passes matter. Higher is heard more.

    Example:
        >>> labels = torch.arange(100) % 10
        >>> heard(0.5, labels, 0.0).alike, heard(0.25, labels, 0.25).alike
        (1.0, 0.5)
    """
    h = max(0.0, nats_memorized)
    counts = torch.bincount(labels).double()
    share = counts[counts > 0] / counts.sum()
    rho = share_memorized(loss, h)
    nats = max(LEAST, float(-(share * share.log()).sum()) - loss - h)
    return Heard(1 - rho, (nats * (1 - rho) ** 2) ** KNOWING if math.isfinite(nats) else 0.0)
