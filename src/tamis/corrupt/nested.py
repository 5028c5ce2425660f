"""What every injector shares: which examples are touched, and the rate that says how many."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tamis.types import Arrays, Kind, TamisError, Truth

Injector = Callable[[Arrays, torch.Generator], tuple[Arrays, Truth]]


def check_rate(rate: float) -> float:
    """A rate is a share in [0, 1]; percentages are refused."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate <= 1:
        raise TamisError(f"the rate is {rate!r}, but it is a share of the examples and must lie in [0, 1].")
    return float(rate)


def touched(n: int, rate: float, generator: torch.Generator) -> Tensor:
    """``[round(rate n)]`` positions: a prefix of one permutation, so at one seed 10 % is a subset of 20 %."""
    return torch.randperm(n, generator=generator)[: round(rate * n)]


def truth_of(before: Arrays, after: Arrays, where: Tensor, kind: Kind, rate: float) -> Truth:
    """Truth as the difference: of the examples at ``where`` those that did change bear ``kind``."""
    changed = (after.y[where] != before.y[where]) | (after.x[where] != before.x[where]).flatten(1).any(1)
    kinds = torch.zeros(len(before.y), dtype=torch.int64)
    kinds[where[changed]] = int(kind)
    return Truth(kinds, before.y.clone(), rate)


def untouched(rate: float = 0.0) -> Injector:
    """Leave everything as it is; its rate must be 0."""
    if check_rate(rate) != 0:
        raise TamisError(f"the corruption 'none' has rate {rate!r}, but leaving everything as it is has rate 0.")

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        return data, Truth(torch.zeros(len(data.y), dtype=torch.int64), data.y.clone(), 0.0)

    return inject
