"""Examples made of other examples: duplicates, and blends of two classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from tamis.corrupt.nested import Change, Damage, check_rate
from tamis.types import Arrays, Kind, TamisError

_SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))


def duplicates(rate: float, near: float = 0.5, conflicting: float = 1 / 3) -> Damage:
    """Duplicates: ``round(rate * N)`` examples are overwritten by copies of others, so that N stays.

    A share ``near`` of the copies is shifted by one pixel to one of the four sides (edges repeat); the others are
    exact. A share ``conflicting`` of the copies, spread evenly over both, bears another label than its original,
    uniform over the K-1 others. Every copy has an original of its own, which stays as it is and comes *before* it:
    "all but the first of a group" is what was put in.

    A copy is ``DUPLICATE``, and the truth's label at its place is its original's, which belongs to what now stands
    there. A conflicting copy has a wrong label, so it is ``DUPLICATE | MISLABELED`` and noisy; the others are not
    noisy. The original, which did not change, bears no kind.

    Args:
        rate: share of the examples that are overwritten, in [0, 0.5].
        near: share of the copies that are shifted, in [0, 1].
        conflicting: share of the copies with another label, in [0, 1].

    Raises:
        TamisError: if the rate is outside [0, 0.5], a share is outside [0, 1], copies are to be shifted that are no
            pictures, or labels are to conflict where there is one class.

    Example:
        >>> data = Arrays(torch.rand(100, 1, 4, 4), torch.arange(100) % 2, 2)
        >>> copied, truth = duplicates(0.06, near=0, conflicting=0.5)(data, torch.Generator().manual_seed(0))
        >>> len(copied.x.unique(dim=0)), truth.kind.unique(return_counts=True)[1].tolist()
        (94, [94, 3, 3])

    Fails when: the data are sorted by class; since copies come after their originals, later classes lose more.

    Reference: Lee et al. 2022, arXiv:2107.06499, on what duplicates do; the construction is ours.
    """
    for what, share in (("near", near), ("conflicting", conflicting)):
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
            raise TamisError(f"the share of {what} duplicates is {share!r}; it must be in [0, 1].")

    def change(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        if near > 0 and data.x.ndim != 4:
            raise TamisError(
                f"only pictures [N, C, H, W] can be shifted by a pixel; for {list(data.x.shape)} set near=0."
            )
        if conflicting > 0 and data.classes < 2:
            raise TamisError("labels cannot conflict where there is one class; set conflicting=0.")
        side = torch.randint(4, (len(order),), generator=generator)[:count]
        step = torch.randint(1, max(data.classes, 2), (len(order),), generator=generator)[:count]
        first, second = order[:count], order.flip(0)[:count]
        original, at = torch.minimum(first, second), torch.maximum(first, second)
        x = data.x[original.to(data.x.device)]
        shift = _spread(count, near)
        for number, (down, right) in enumerate(_SIDES):
            moved = (shift & (side == number)).nonzero()[:, 0].to(x.device)
            x[moved] = _shifted(x[moved], down, right) if len(moved) else x[moved]
        label = data.y.cpu()[original]
        wrong = torch.zeros(count, dtype=torch.bool)
        for start, among in ((0.0, shift), (0.5, ~shift)):
            wrong[among] = _spread(int(among.sum()), conflicting, start)
        y = torch.where(wrong, (label + step) % data.classes, label)
        return Change(at, x, y, label, Kind.DUPLICATE)

    return Damage(check_rate(rate), change, "duplication", most=0.5)


def ambiguous(rate: float, mapping: Sequence[int] | None = None) -> Damage:
    """Ambiguous examples: ``round(rate * N)`` become even blends with an example of a confusable class.

    ``x' = (x_i + x_j) / 2``, j uniform among the examples of ``mapping[y_i]``; the label is ``y_i`` or ``y_j``, by a
    fair coin. Either is right, so the truth's label is the one that is given: ``AMBIGUOUS``, and not noisy.

    Args:
        rate: share of the examples, in [0, 1].
        mapping: ``K`` classes, the one that each is confused with; a class that maps to itself stays as it is. None
            is :func:`look_alikes` of the data.

    Raises:
        TamisError: if the rate is outside [0, 1], the map is none of the classes of the data, or it leads to a class
            that has no example.

    Example:
        >>> data = Arrays(torch.arange(4.0)[:, None], torch.tensor([0, 0, 1, 1]), 2)
        >>> blended, truth = ambiguous(1.0)(data, torch.Generator().manual_seed(0))
        >>> bool((blended.x[:2] >= 1).all()), truth.kind.tolist(), torch.equal(truth.label, blended.y)
        (True, [16, 16, 16, 16], True)

    Fails when: a blend of two inputs looks like neither class; it is then foreign rather than ambiguous.

    Reference: the blends of mixup, Zhang et al. 2018, arXiv:1710.09412, at one half and with one hard label.
    """
    given = None if mapping is None else [int(target) for target in mapping]

    def change(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        y = data.y.cpu()
        table = look_alikes(data) if given is None else given
        if len(table) != data.classes or not all(0 <= target < data.classes for target in table):
            raise TamisError(
                f"the map of ambiguous examples is {table}, and must hold {data.classes} classes in "
                f"0..{data.classes - 1}, one for each class of the data."
            )
        level, coin = torch.rand(2, len(order), generator=generator, dtype=torch.float64)
        at = order[:count]
        partner = at.clone()
        for klass, target in enumerate(table):
            mine, others = (y[at] == klass).nonzero()[:, 0], (y == target).nonzero()[:, 0]
            if len(mine) and not len(others):
                raise TamisError(f"class {klass} was to be blended with class {target}, which has no example.")
            if len(mine) and target != klass:
                partner[mine] = others[(level[mine] * len(others)).long()]
        here, there = at.to(data.x.device), partner.to(data.x.device)
        label = torch.where(coin[:count] < 0.5, y[at], y[partner])
        return Change(at, (data.x[here] + data.x[there]) / 2, label, label, Kind.AMBIGUOUS)

    return Damage(check_rate(rate), change, "blending")


def look_alikes(data: Arrays) -> list[int]:
    """For each class, the class whose mean input is nearest, as a map for :func:`ambiguous`.

    ``map[i] = argmin_{j != i} ||mean_i - mean_j||``, the lowest j of equals; i itself where a class has no example or
    no other class has one.

    Example:
        >>> look_alikes(Arrays(torch.tensor([[0.0], [3.0], [4.0]]), torch.tensor([0, 1, 2]), 3))
        [1, 2, 1]

    Fails when: classes are not told apart by their means; a confusion matrix of a model says more
    (:func:`~tamis.corrupt.confusion_map`).
    """
    mean = torch.full((data.classes, data.x[0].numel()), torch.inf, dtype=torch.float64)
    for klass in data.y.unique().tolist():
        mean[klass] = data.x[data.y == klass].flatten(1).mean(0, dtype=torch.float64).cpu()
    gap = torch.cdist(mean, mean).nan_to_num(torch.inf, torch.inf).fill_diagonal_(torch.inf)
    nearest = gap.min(1)
    return torch.where(nearest.values < torch.inf, nearest.indices, torch.arange(data.classes)).tolist()


def _spread(count: int, share: float, start: float = 0.0) -> Tensor:
    """``[count]`` bool: ``floor(start + share count)`` of them, evenly spread; a shorter run is a head of a longer."""
    return (torch.arange(count + 1, dtype=torch.float64) * share + start + 1e-9).floor().diff() > 0


def _shifted(x: Tensor, down: int, right: int) -> Tensor:
    """``x`` ``[n, C, H, W]`` moved by at most one pixel each way; the edge that is left free repeats."""
    h, w = x.shape[2:]
    wide = functional.pad(x, (1, 1, 1, 1), mode="replicate")
    return wide[:, :, 1 - down : 1 - down + h, 1 - right : 1 - right + w]
