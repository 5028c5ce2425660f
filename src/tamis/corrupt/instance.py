"""Instance-dependent label noise: how likely an example is mislabeled, and as what, depends on its input."""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from tamis.corrupt.labels import by_level
from tamis.corrupt.nested import Change, Injector, apply, check_rate
from tamis.types import Arrays, TamisError, Truth

_CHUNK = 4096  # examples per product, so that no copy of the data is made


def instance_dependent(rate: float, std: float = 0.1) -> Injector:
    """Instance-dependent label noise: each example has a flip rate of its own, and its input says what it becomes.

    ``q_i ~ N(rate, std²)`` truncated to [0, 1]; ``W ~ N(0, 1)`` of shape ``[K, S, K]``; ``a = x_i^T W[y_i]``,
    ``a[y_i] = -inf``; ``P_i = q_i softmax(a)``, ``P_i[y_i] = 1 - q_i``; ``y'_i ~ P_i``. Inputs are flattened as they
    come, so normalised where the data are.

    Nested by common random numbers: per example one uniform for ``q_i`` (by the inverse of its distribution
    function, which rises with the rate), one for whether it flips (``v_i < q_i``), one for the class among the
    others; W is drawn whatever the rate. So what flips at one rate flips at every higher one, to the same class. It
    is the realised *number* that is not exact.

    Args:
        rate: the mode of ``q_i``, in [0, 1]. 0 flips nothing.
        std: of ``q_i`` before truncation, above 0.

    Returns:
        An injector. The expected realised rate is E[q]: ``rate + std (φ(α) - φ(β)) / (Φ(β) - Φ(α))`` with
        ``α = -rate / std``, ``β = (1 - rate) / std``; at std 0.1 it is .129 for .1, .206 for .2, .300 for .3.

    Raises:
        TamisError: if the rate is outside [0, 1], std is not above 0, or the data have one class.

    Example:
        >>> data = Arrays(torch.randn(2000, 5), torch.zeros(2000, dtype=torch.int64), 3)
        >>> truth = instance_dependent(0.3)(data, torch.Generator().manual_seed(0))[1]
        >>> abs(truth.realised_rate - 0.3) < 0.05
        True

    Fails when: it stands for human error. The flips follow random directions, and inputs of many dimensions make the
    softmax all but one-hot: a class is split by hyperplanes, each side with a wrong class of its own.

    Reference: Xia et al. 2020, arXiv:2006.07836.
    Differs from the paper in: the random numbers are common to all rates; rate 0 is clean, where a truncated normal
    around 0 would flip 8 %.
    """
    rate = check_rate(rate)
    if isinstance(std, bool) or not isinstance(std, int | float) or not 0 < std < float("inf"):
        raise TamisError(f"the spread of the flip rates is {std!r}, and must be a number above 0.")

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        if data.classes < 2:
            raise TamisError("instance-dependent noise needs at least two classes; the data have one.")
        n = len(data.y)
        rank, flip, level = torch.rand(3, n, generator=generator, dtype=torch.float64)
        proposed = _proposals(data, level, generator)
        flips = flip < flip_rates(rate, rank, std)
        at = flips.nonzero()[:, 0]
        return apply(data, [Change(at, y=proposed[at])], rate)

    return inject


def flip_rates(rate: float, rank: Tensor, std: float = 0.1) -> Tensor:
    """``[N]`` float64: the ``rank``-quantiles of N(rate, std²) truncated to [0, 1]; zeros at rate 0.

    It rises with the rate at every rank.

    Example:
        >>> flip_rates(0.5, torch.tensor([0.16, 0.5, 0.84], dtype=torch.float64)).round(decimals=2).tolist()
        [0.4, 0.5, 0.6]
    """
    if rate == 0:
        return torch.zeros_like(rank)
    alpha, beta = -rate / std, (1 - rate) / std
    below = (ndtr(alpha) * (1 - rank) + ndtr(beta) * rank).numpy()
    above = (ndtr(-alpha) * (1 - rank) + ndtr(-beta) * rank).numpy()  # each tail is read from its own side
    z = torch.from_numpy(np.where(below < above, ndtri(below), -ndtri(above)))
    return (rate + std * z).clamp(0, 1)


def _proposals(data: Arrays, level: Tensor, generator: torch.Generator) -> Tensor:
    """``[N]``: what every example would become, by ``softmax(x^T W[y])`` over the other classes at its level.

    The weights of one class are held at a time, and those of absent classes are drawn too.
    """
    size = data.x[0].numel()
    proposed = data.y.cpu().clone()
    for klass in range(data.classes):
        w = torch.randn(size, data.classes, generator=generator)
        members = (data.y.cpu() == klass).nonzero()[:, 0]
        for part in members.split(_CHUNK):
            logits = (data.x[part.to(data.x.device)].flatten(1).cpu().float() @ w).double()
            logits[:, klass] = -torch.inf
            proposed[part] = by_level(logits.softmax(1), level[part])
    return proposed
