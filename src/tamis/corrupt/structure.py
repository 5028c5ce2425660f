"""The structure of a set: which classes and which kinds of example are rare. No label and no picture is spoilt."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.corrupt.nested import Change, Damage, Injector, check_rate
from tamis.types import Arrays, Kind, TamisError, Truth


def long_tail(rate: float, imbalance: float = 100.0, tail: float = 0.1) -> Injector:
    """A long tail: class sizes fall exponentially, and what is too many is *removed*.

    ``n_c = n_max mu^c`` with ``mu = imbalance^(-rate / (K - 1))`` and ``n_max`` the size of the largest class: at rate
    1 the first class is ``imbalance`` times the last. A class that has fewer than ``n_c`` keeps what it has; each
    keeps at least one. What comes back is shorter: the kept examples in their order, and a truth about *them*. ``RARE``
    are the examples of a class that was cut to fewer than ``tail`` times the largest class.

    Nested: what is kept at a higher rate is kept at every lower one, and rare there where it is rare here or was not
    cut as far.

    Args:
        rate: how far along to the imbalance, in [0, 1]; 0 changes nothing.
        imbalance: largest over smallest class at rate 1, at least 1; published are 10, 50 and 100.
        tail: the share of the largest class below which a class is rare.

    Returns:
        An injector; no example is noisy.

    Raises:
        TamisError: if the rate is outside [0, 1], the imbalance below 1, or the tail outside [0, 1].

    Example:
        >>> data = Arrays(torch.zeros(300, 1), torch.arange(300) % 3, 3)
        >>> few, truth = long_tail(1.0)(data, torch.Generator().manual_seed(0))
        >>> few.y.bincount().tolist(), few.y[truth.kind != 0].unique().tolist()
        ([100, 10, 1], [2])

    Fails when: positions in the set are kept beside it; they are those of the shorter set.

    Reference: Cui et al. 2019, arXiv:1901.05555; Cao et al. 2019, arXiv:1906.07413.
    Differs from the papers in: the rate, which is theirs at 1; classes are cut at random, and not to their first.
    """
    check_rate(rate)
    if not imbalance >= 1 or imbalance == float("inf"):
        raise TamisError(f"the imbalance is {imbalance!r}; it is largest over smallest class, and at least 1.")
    if not 0 <= tail <= 1:
        raise TamisError(f"the tail is {tail!r}; it is a share of the largest class, in [0, 1].")

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        y = data.y.cpu()
        order = torch.randperm(len(y), generator=generator)
        have = torch.bincount(y, minlength=data.classes)
        fall = imbalance ** (-rate * torch.arange(data.classes, dtype=torch.float64) / max(data.classes - 1, 1))
        want = (have.max() * fall).round().long().clamp(min=1)
        rank = torch.empty_like(y)  # of each example within its class, in random order
        for klass in range(data.classes):
            mine = order[y[order] == klass]
            rank[mine] = torch.arange(len(mine))
        keep = (rank < want[y]).nonzero()[:, 0]
        left = torch.minimum(have, want)
        rare = (left < have) & (left < tail * left.max())
        kept = data.take(keep.to(data.y.device))
        kind = (rare[y[keep]] * int(Kind.RARE)).to(data.y.device)
        return kept, Truth(kind, kept.y.clone(), rate)

    return inject


def rare_subgroup(rate: float, klass: int | None = None) -> Damage:
    """A rare subgroup: ``round(rate * N)`` pictures of *one* class are turned by 90 degrees.

    They keep their label, which is right; ``RARE`` and not noisy. A picture that looks the same turned is clean.

    Args:
        rate: share of *all* examples, in [0, 1]; at most the share of the class.
        klass: of which class; None is the largest (the first of equals).

    Raises:
        TamisError: if the rate is outside [0, 1] or more than the class has, there is no such class, or the data are
            no square pictures.

    Example:
        >>> data = Arrays(torch.rand(100, 1, 4, 4), torch.arange(100) % 2, 2)
        >>> turned, truth = rare_subgroup(0.03)(data, torch.Generator().manual_seed(0))
        >>> truth.kind.count_nonzero().item(), truth.label[truth.kind != 0].tolist(), truth.realised_rate
        (3, [0, 0, 0], 0.0)

    Fails when: the training augments by turning; the subgroup is then no longer rare.

    Reference: the subpopulations of Maini et al. 2022, arXiv:2210.15031, in their role; the turning is ours.
    """

    def mine(data: Arrays) -> Tensor:
        if klass is not None and not 0 <= klass < data.classes:
            raise TamisError(
                f"the rare subgroup was asked for in class {klass}, and the classes are 0..{data.classes - 1}."
            )
        of = int(torch.bincount(data.y, minlength=data.classes).argmax()) if klass is None else klass
        return (data.y == of).nonzero()[:, 0]

    def change(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        if data.x.ndim != 4 or data.x.shape[2] != data.x.shape[3]:
            raise TamisError(
                f"only square pictures [N, C, H, H] can be turned by 90 degrees; these are {list(data.x.shape)}."
            )
        at = order[:count]
        return Change(at, x=data.x[at.to(data.x.device)].rot90(1, (2, 3)), kind=Kind.RARE)

    return Damage(check_rate(rate), change, "the rare subgroup", within=mine)
