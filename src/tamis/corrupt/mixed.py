"""Several kinds of damage in one set, each on examples of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tamis.corrupt.copies import ambiguous, duplicates
from tamis.corrupt.fifteen import fifteen_corruptions
from tamis.corrupt.foreign import out_of_distribution
from tamis.corrupt.inputs import shuffled_pixels
from tamis.corrupt.labels import random_labels
from tamis.corrupt.nested import Damage, Injector, apply, check_rate
from tamis.corrupt.structure import rare_subgroup
from tamis.types import Arrays, TamisError, Truth


def mixed(parts: Sequence[Injector]) -> Injector:
    """Several injectors on one set, on *disjoint* examples; one truth about all of them.

    Each part does what it does alone, to ``round(rate_p * N)`` examples, and sees the clean set for what it reads off
    it: moments, units, partners, originals. The examples are shared out in proportion to the rates, from one
    permutation (duplicates count twice, since their originals stay); parts that can touch one class alone choose
    first. So rates nest wherever all of them grow by one factor, up to the one at which every example is shared out.

    Args:
        parts: injectors that touch single examples, of rates that sum to at most 1, duplicates twice.

    Returns:
        An injector; the truth's asked rate is the sum of the rates.

    Raises:
        TamisError: if there is no part, a part removes examples or touches the set as a whole, the rates sum to more
            than 1 (duplicates twice), or a part finds no room.

    Example:
        >>> from tamis.corrupt import gaussian_pixels, pair_flip
        >>> data = Arrays(torch.rand(100, 1, 8, 8), torch.arange(100) % 5, 5)
        >>> truth = mixed([pair_flip(0.1), gaussian_pixels(0.05)])(data, torch.Generator().manual_seed(0))[1]
        >>> truth.kind.bincount().tolist(), round(truth.asked_rate, 9)
        ([85, 10, 5], 0.15)

    Fails when: kinds should meet in one example; here they never do.
    """
    chosen = [part for part in parts if isinstance(part, Damage)]
    if not chosen or len(chosen) < len(parts):
        raise TamisError(
            "a mix needs injectors that touch single examples; 'none', 'long_tail', 'instance_dependent' and other "
            "mixes are about a set as a whole."
        )
    total = sum(part.rate / part.most for part in chosen)
    if total > 1 + 1e-9:
        raise TamisError(
            f"the rates of a mix sum to {total:g}, originals of duplicates included; it must be at most 1."
        )

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        n = len(data.y)
        order = torch.randperm(n, generator=generator)
        seeds = torch.randint(2**62, (len(chosen),), generator=generator).tolist()
        share = [part.rate / part.most / total if total else 1 / len(chosen) for part in chosen]
        edge = [round(n * round(sum(share[:p]), 9)) for p in range(len(share) + 1)]
        changes = []
        for p in sorted(range(len(chosen)), key=lambda p: chosen[p].within is None):
            part, room = chosen[p], edge[p + 1] - edge[p]
            mine = order if part.within is None else order[torch.isin(order, part.within(data).cpu())]
            mine = mine[:room]
            order = order[~torch.isin(order, mine)]
            own = torch.Generator().manual_seed(seeds[p])
            changes.append(part.change(data, mine, part.count(n, len(mine), slack=1), own))
        return apply(data, changes, sum(part.rate for part in chosen))

    return inject


def six_kinds(rate: float = 0.33, severity: int = 5, foreign: Tensor | Arrays | str | None = None) -> Injector:
    """Six kinds of hard example in one set of pictures, each on examples of its own, the rest clean.

    At rate .33: mislabeled .10 (uniform over the others); corrupted .05 (half with their pixels shuffled, half by the
    fifteen kinds in turn, at ``severity``); out-of-distribution .05, with random labels; duplicates .05 (half exact,
    half shifted by a pixel, a third of both with a conflicting label); ambiguous .05 (even blends of two look-alike
    classes); a rare subgroup .03 (of the largest class, turned by 90 degrees). Other rates keep the proportions.

    Args:
        rate: share of the examples that is touched in all, in [0, .86]: beyond, duplicates lack originals.
        severity: of the fifteen kinds, 1 to 5.
        foreign: what is out of distribution, as :func:`~tamis.corrupt.foreign.out_of_distribution` takes it.

    Returns:
        An injector, nested in its rate. Of .33, .20 are noisy and about .017 more, the conflicting duplicates.

    Raises:
        TamisError: if the rate is out of range, the data are no square pictures, or the largest class is too small
            for the subgroup (.03 of all at rate .33).

    Example:
        >>> from tamis.types import Kind
        >>> data = Arrays(torch.rand(1000, 1, 8, 8), torch.arange(1000) % 10, 10)
        >>> truth = six_kinds()(data, torch.Generator().manual_seed(0))[1]
        >>> {Kind(k).name: int((truth.kind & k > 0).sum()) for k in (1, 2, 4, 8, 16, 32)}
        {'MISLABELED': 116, 'CORRUPTED': 50, 'OUT_OF_DISTRIBUTION': 50, 'DUPLICATE': 50, 'AMBIGUOUS': 50, 'RARE': 30}

    Fails when: a mild corruption counts as much as a severe one; at severity 5 some kinds are hardly seen.
    """
    one = check_rate(rate) / 33
    return mixed(
        [
            random_labels(10 * one, exclusive=True),
            shuffled_pixels(2.5 * one),
            fifteen_corruptions(2.5 * one, severity),
            out_of_distribution(5 * one, foreign),
            duplicates(5 * one),
            ambiguous(5 * one),
            rare_subgroup(3 * one),
        ]
    )
