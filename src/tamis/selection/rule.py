"""The contract of a rule, from priorities to a selection, and what every rule shares.

A rule owns its probability mathematics and nothing else. It draws its randomness on the CPU from the generator it is
given and does the rest where the priorities live, so that one seed gives one selection on any device and, for rules of
fixed size, no host synchronisation.
"""

from __future__ import annotations

from numbers import Real
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from tamis.types import Selection, TamisError

State = dict[str, Tensor]


@runtime_checkable
class Rule(Protocol):
    """Priorities ``[M]`` and a size to a :class:`~tamis.types.Selection`; a higher priority is chosen more often.

    ``keep``: expected share of the candidates that is kept, in (0, 1] (nominal, where the priorities decide it).
    ``unbiased``: the weighted gradient over the kept has the expectation of the mean gradient over all candidates.
    ``fixed_size``: exactly ``size`` are kept. ``streaming``: judges every batch as it comes, instead of waiting for
    ``ceil(b / keep)`` candidates.
    """

    @property
    def keep(self) -> float: ...
    @property
    def unbiased(self) -> bool: ...
    @property
    def fixed_size(self) -> bool: ...
    @property
    def streaming(self) -> bool: ...

    def init(self) -> State: ...

    def select(
        self, state: State, priority: Tensor, size: int, generator: torch.Generator
    ) -> tuple[Selection, State]: ...


def check_keep(keep: float) -> None:
    """Refuse a keep ratio outside (0, 1]: it names the share that is *kept*."""
    if not (isinstance(keep, Real) and 0 < keep <= 1):
        raise TamisError(f"keep is {keep!r}, but it is the share of candidates that is kept and must lie in (0, 1].")


def mean_over_kept(keep: Tensor, candidates: int) -> Selection:
    """A biased selection: every kept example weighs M/k, so the batch loss is the mean over the kept."""
    k = keep.shape[0]
    return Selection(keep, torch.full((k,), candidates / max(k, 1), device=keep.device), candidates)


def told(priority: Tensor) -> Tensor:
    """The priorities with those that are no number below all others: what tells nothing is not preferred."""
    return priority.nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def rand(shape: int, like: Tensor, generator: torch.Generator) -> Tensor:
    """``[shape]`` float64 uniform numbers, drawn on the CPU, where ``like`` lives."""
    return torch.rand(shape, generator=generator, dtype=torch.float64).to(like.device, non_blocking=True)
