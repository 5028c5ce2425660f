"""Several kinds of damage in one set, each on examples of its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from tamis.corrupt.nested import Damage, Injector, apply
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
