"""What every injector shares: which examples, the same ones first at every rate, and the truth as a difference.

An injector is built from one function that says what becomes of the examples it touches; choosing, copying and
book-keeping are done here. Rates are *nested*: at one generator state the examples chosen at 10 % are among those at
20 %, and an example chosen at both is corrupted in the same way. Two habits keep it so. The choice is the head of one
permutation, and what an injector draws never depends on the rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tamis.types import Arrays, Kind, TamisError, Truth

Injector = Callable[[Arrays, torch.Generator], tuple[Arrays, Truth]]


class Change(NamedTuple):
    """What becomes of ``k`` examples. ``None`` leaves that part as it was.

    Attributes:
        at: ``[k]`` int64, which examples, each at most once.
        x: ``[k, ...]`` their new inputs.
        y: ``[k]`` int64, their new given labels.
        label: ``[k]`` int64, the label that belongs to the input that now stands there.
        kind: what the examples are that really changed. ``MISLABELED`` is added where ``y`` is not ``label``.
    """

    at: Tensor
    x: Tensor | None = None
    y: Tensor | None = None
    label: Tensor | None = None
    kind: Kind = Kind.CLEAN


@dataclass(frozen=True)
class Damage:
    """The injector that touches ``round(rate * n)`` single examples, and can share a set with others of its like.

    Attributes:
        rate: share of the examples, in [0, 1].
        change: ``(data, order, count, generator) -> Change``. ``order`` ``[n]`` are positions in random order, of
            which ``count`` are asked for, from its head; it touches no example outside ``order``. What it makes of
            the i-th must not depend on ``count``, nor what it leaves of the generator.
        name: how an error calls it.
        most: the largest rate it can do.
        within: the positions it can touch at all; None for every one.
    """

    rate: float
    change: Callable[[Arrays, Tensor, int, torch.Generator], Change]
    name: str = "this corruption"
    most: float = 1.0
    within: Callable[[Arrays], Tensor] | None = None

    def __post_init__(self) -> None:
        if check_rate(self.rate) > self.most:
            raise TamisError(f"{self.name} was asked for at rate {self.rate}; it can touch a share of {self.most:g}.")

    def __call__(self, data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        n = len(data.y)
        order = torch.randperm(n, generator=generator)
        if self.within is not None:
            order = order[torch.isin(order, self.within(data).cpu())]
        change = self.change(data, order, self.count(n, len(order)), generator)
        return apply(data, [change], self.rate)

    def count(self, n: int, room: int, slack: int = 0) -> int:
        """How many of ``n`` examples it touches, where it has ``room`` of them; ``slack`` may be lost to rounding.

        Raises:
            TamisError: if there is no room for them.
        """
        count, limit = round(self.rate * n), int(room * self.most + 1e-9)
        if count > limit + (slack or self.most < 1):
            raise TamisError(f"{self.name} was asked for on {count} of {n} examples; there is room for {limit} here.")
        return min(count, limit)


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


def apply(data: Arrays, changes: Sequence[Change], rate: float) -> tuple[Arrays, Truth]:
    """The data after ``changes`` to disjoint examples, and the truth: what really differs, and the right labels.

    The label of the truth belongs to the input that now stands there. Where an input was not replaced, that is the
    label before; where it was, by a copy or a blend, it is the label of what replaced it.

    An example bears the kind of its change where its input or its given label is not what it was, and ``MISLABELED``
    where its given label is not the one that belongs to its input. The data handed in are not edited.

    Example:
        >>> data = Arrays(torch.zeros(3, 1), torch.tensor([0, 1, 1]), 2)
        >>> flip = Change(torch.tensor([0, 1]), y=torch.tensor([1, 1]))
        >>> after, truth = apply(data, [flip], 0.5)
        >>> after.y.tolist(), truth.kind.tolist(), truth.label.tolist()
        ([1, 1, 1], [1, 0, 0], [0, 1, 1])
    """
    x, y, label, kind = data.x, data.y, data.y.clone(), torch.zeros_like(data.y)
    if any(change.x is not None for change in changes):
        x = x.clone()
    if any(change.y is not None for change in changes):
        y = y.clone()
    for change in changes:
        at = change.at.to(y.device)
        differs = torch.zeros(len(at), dtype=torch.bool, device=y.device)
        if change.x is not None:
            here, new = change.at.to(x.device), change.x.to(x)
            differs |= (new != data.x[here]).flatten(1).any(1).to(y.device)
            x[here] = new
        if change.y is not None:
            y[at] = change.y.to(y)
            differs |= y[at] != data.y[at]
        if change.label is not None:
            label[at] = change.label.to(label)
        kind[at] = differs * int(change.kind) | (y[at] != label[at]) * int(Kind.MISLABELED)
    return data._replace(x=x, y=y), Truth(kind, label, rate)


def relabel(rate: float, draw: Callable[[Arrays, torch.Generator], Tensor]) -> Damage:
    """The injector that gives ``round(rate * N)`` examples the labels that ``draw`` proposes.

    Args:
        rate: in [0, 1].
        draw: proposes a label for *every* example, ``[N]`` int64, whatever the rate.

    Returns:
        An injector; an example is ``MISLABELED`` exactly where its label changed.
    """

    def change(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        proposed = draw(data, generator)
        return Change(order[:count], y=proposed[order[:count].to(proposed.device)])

    return Damage(check_rate(rate), change, "label noise")


def rewrite(rate: float, change: Callable[[Arrays, Tensor, torch.Generator], Tensor]) -> Damage:
    """The injector that replaces the inputs of ``round(rate * N)`` examples by what ``change`` makes of them.

    Args:
        rate: in [0, 1].
        change: given the clean data and the chosen positions ``[k]``, their new inputs ``[k, ...]``. What it makes
            of the i-th chosen must not depend on k, nor what it leaves of the generator.

    Returns:
        An injector; an example is ``CORRUPTED`` exactly where its input changed. Labels stay.
    """

    def rewritten(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        chosen = order[:count].to(data.x.device)
        return Change(chosen, x=change(data, chosen, generator), kind=Kind.CORRUPTED)

    return Damage(check_rate(rate), rewritten, "input corruption")
