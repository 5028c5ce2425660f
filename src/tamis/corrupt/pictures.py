"""The one mechanism of the picture corruptions: from the units of the data to [0, 1] and back, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from tamis.corrupt.nested import Change, Damage, check_rate
from tamis.corrupt.units import units
from tamis.types import Arrays, Kind, TamisError

T = TypeVar("T")
_BLOCK = 256  # pictures per draw; every block is drawn whole, so that a shorter run is a head of a longer one
_STEP = 0.5 / 255  # half a level of grey


@dataclass(frozen=True)
class Draw:
    """The random numbers of one block of ``n`` pictures; a block always draws as many, and uses its first ``n``."""

    n: int
    generator: torch.Generator

    def normal(self, *shape: int) -> Tensor:
        """``[n, *shape]`` from N(0, 1)."""
        return torch.randn(_BLOCK, *shape, generator=self.generator)[: self.n]

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """``[n, *shape]`` uniform in [low, high)."""
        return torch.rand(_BLOCK, *shape, generator=self.generator)[: self.n] * (high - low) + low


def pictures(rate: float, name: str, change: Callable[[Tensor, Draw], Tensor]) -> Damage:
    """The injector that corrupts ``round(rate * N)`` pictures by ``change``, which works in [0, 1].

    The values of the data are mapped to [0, 1] by each channel's extremes over the whole clean set
    (:func:`~tamis.corrupt.units.units`), and back; what comes out is cut to [0, 1] and not rounded to 256 levels. A
    picture no value of which moves by more than half a level (1/510) comes back as it was, and is clean.

    Args:
        rate: in [0, 1].
        name: how an error calls it.
        change: ``([n, C, H, W] in [0, 1], draws) -> [n, C, H, W]``; it does not edit what it is given.

    Returns:
        An injector; an example is ``CORRUPTED`` exactly where its input changed. Labels stay.
    """

    def rewritten(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        scale = units(data, name)
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        at = order[:count]
        x = data.x[at.to(data.x.device)].cpu()
        for part in x.split(_BLOCK) if count else ():
            u = scale.to_unit(part)
            v = change(u, Draw(len(u), own)).clamp(0, 1)
            moved = ((v - u).abs() > _STEP).flatten(1).any(1).view(-1, 1, 1, 1)
            part.copy_(torch.where(moved & (v != u), scale.from_unit(v), part))
        return Change(at, x=x, kind=Kind.CORRUPTED)

    return Damage(check_rate(rate), rewritten, name)


def at(severity: int, table: Sequence[T]) -> T:
    """The row of ``table`` for that severity.

    Raises:
        TamisError: if the severity is no whole number in 1..5.

    Example:
        >>> at(5, (0.04, 0.06, 0.08, 0.09, 0.10))
        0.1
    """
    if isinstance(severity, bool) or not isinstance(severity, int) or not 1 <= severity <= 5:
        raise TamisError(f"the severity is {severity!r}; it must be 1, 2, 3, 4 or 5.")
    return table[severity - 1]
