"""What every injector shares: which examples, the same ones first at every rate, and the truth as a difference.

An injector is built from one function that says what a corrupted example looks like; choosing, copying and
book-keeping are done here. Rates are *nested*: at one generator state the examples chosen at 10 % are among those at
20 %, and an example chosen at both is corrupted in the same way. Two habits keep it so. The choice is the head of one
permutation, and what an injector draws never depends on the rate.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tamis.types import Arrays, Kind, TamisError, Truth

Injector = Callable[[Arrays, torch.Generator], tuple[Arrays, Truth]]


def check_rate(rate: float) -> float:
    """``rate`` as a float, if it is in [0, 1].

    Raises:
        TamisError: if it is anything else; NaN is.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= 1:
        raise TamisError(f"the corruption rate is {rate!r}; it is a share of the examples, and must be in [0, 1].")
    return float(rate)


def choose(n: int, rate: float, generator: torch.Generator) -> Tensor:
    """``[round(rate * n)]`` int64: the examples to corrupt, the head of one permutation of ``n``.

    Example:
        >>> few = choose(10, 0.2, torch.Generator().manual_seed(0))
        >>> many = choose(10, 0.5, torch.Generator().manual_seed(0))
        >>> len(few), len(many), torch.equal(few, many[:2])
        (2, 5, True)
    """
    return torch.randperm(n, generator=generator)[: round(rate * n)]


def relabel(rate: float, draw: Callable[[Arrays, torch.Generator], Tensor]) -> Injector:
    """The injector that gives ``round(rate * N)`` examples the labels that ``draw`` proposes.

    Args:
        rate: in [0, 1].
        draw: proposes a label for *every* example, ``[N]`` int64, whatever the rate.

    Returns:
        An injector; an example is ``MISLABELED`` exactly where its label changed.
    """
    rate = check_rate(rate)

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        chosen = choose(len(data.y), rate, generator).to(data.y.device)
        proposed = draw(data, generator).to(data.y.device)
        y = data.y.clone()
        y[chosen] = proposed[chosen]
        kind = (y != data.y).long() * int(Kind.MISLABELED)
        return data._replace(y=y), Truth(kind, data.y.clone(), rate)

    return inject


def rewrite(rate: float, change: Callable[[Arrays, Tensor, torch.Generator], Tensor]) -> Injector:
    """The injector that replaces the inputs of ``round(rate * N)`` examples by what ``change`` makes of them.

    Args:
        rate: in [0, 1].
        change: given the clean data and the chosen positions ``[k]``, their new inputs ``[k, ...]``. What it makes
            of the i-th chosen must not depend on k, nor what it leaves of the generator.

    Returns:
        An injector; an example is ``CORRUPTED`` exactly where its input changed. Labels stay.
    """
    rate = check_rate(rate)

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        chosen = choose(len(data.y), rate, generator).to(data.x.device)
        changed = change(data, chosen, generator).to(data.x)
        differs = (changed != data.x[chosen]).flatten(1).any(1)
        x = data.x.clone()
        x[chosen] = changed
        kind = torch.zeros_like(data.y)
        kind[chosen[differs].to(kind.device)] = int(Kind.CORRUPTED)
        return data._replace(x=x), Truth(kind, data.y.clone(), rate)

    return inject
