"""How an example's losses move with those of a clean reference set."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tamis.observe.reducer import Columns, Memory, State, where_seen
from tamis.observe.signals import loss
from tamis.types import Observation, TamisError

WINDOW = 10


def loss_beside_reference(observation: Observation) -> Tensor:
    """The per-example loss and the mean loss on the reference set at that time, ``[B, 2]``, in the loss's unit.

    Raises:
        TamisError: no reference set has been looked at.

    Example:
        >>> given = {"reference_loss": torch.tensor(0.5)}
        >>> loss_beside_reference(Observation(torch.tensor([7]), torch.tensor([2.0]), given=given))
        tensor([[2.0000, 0.5000]])
    """
    if observation.given is None or "reference_loss" not in observation.given:
        raise TamisError("loss_beside_reference needs a look at a clean reference set first; see Sieve.refer.")
    losses = loss(observation)
    return torch.stack([losses, observation.given["reference_loss"].float().expand_as(losses)], 1)


@dataclass(frozen=True)
class Alignment(Memory):
    """Pearson's correlation of an example's last 10 losses with the reference's at the same times, in [-1, 1].

    Formula: DAS_i = corr(v_i, v_ref). Low: its loss does not fall where that of clean data falls. One visit, or
    losses that did not move, give 0. 84 bytes an example.

    Example:
        >>> state = Alignment().init(3)
        >>> for mine, reference in ((2.0, 3.0), (1.0, 2.0), (0.5, 1.0)):
        ...     value = torch.tensor([[mine, reference], [-mine, reference]])
        ...     Alignment().update(state, torch.tensor([0, 1]), value)
        >>> Alignment().compute(state).round(decimals=3)
        tensor([ 0.9820, -0.9820,     nan])

    Fails when: an example was learnt before the window: its losses then move by chance alone.

    Reference: AlignPrune, arXiv:2604.07306.
    """

    reads: ClassVar[tuple[int, ...]] = (2,)
    columns: ClassVar[Columns] = {
        "count": (torch.int32, 0),
        "own": (torch.float32, math.nan, WINDOW),
        "reference": (torch.float32, math.nan, WINDOW),
    }

    def step(self, held: State, value: Tensor) -> State:
        place = (held["count"] % WINDOW).long()[:, None]
        own, reference = (
            held[name].scatter(1, place, value[:, k, None]) for k, name in enumerate(("own", "reference"))
        )
        return {"count": held["count"] + 1, "own": own, "reference": reference}

    def compute(self, state: State) -> Tensor:
        own, reference = state["own"].double(), state["reference"].double()
        u, v = own - own.nanmean(1, keepdim=True), reference - reference.nanmean(1, keepdim=True)
        length = (u.square().nansum(1) * v.square().nansum(1)).sqrt()
        aligned = torch.where(length > 1e-12, (u * v).nansum(1) / length.clamp(min=1e-12), 0.0)
        return where_seen(state, aligned.float())
