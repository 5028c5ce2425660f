"""Rules that judge a whole epoch against itself: who lies below the mean, who belongs to the noisy component."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from tamis.observe.mixture import high_component
from tamis.selection.rule import State, mean_over_kept, rand
from tamis.types import Selection, TamisError


@dataclass(frozen=True)
class PruneBelowMean:
    """Drop a candidate whose priority lies below the mean with probability ``drop``; who stays weighs 1/(1 - drop).

    H = mean(priority); priority_i < H: kept with probability 1 - r at weight 1 / (1 - r); else kept at weight 1. The
    weighted sum over the kept has the expectation of the plain sum, so noise is not concentrated. ``keep`` is nominal,
    1 - r/2: how many lie below the mean, the priorities decide.

    Example:
        >>> selection, _ = PruneBelowMean(0.5).select({}, torch.tensor([0.0, 4.0]), 2, torch.Generator().manual_seed(2))
        >>> selection.keep.tolist(), selection.weight.tolist()
        ([0, 1], [2.0, 1.0])

    With ``rescale=False`` all weigh alike: the learnt are trained on less; what is hard, noise too, counts for more.

    Fails when: most examples lie below the mean, as with few very high (noisy) losses: it then prunes nearly ``drop``
    of everything, and the noise that is left weighs as much as before.

    Reference: Qin et al. 2024 (InfoBatch), arXiv:2303.04947.
    """

    drop: float = 0.5
    rescale: bool = True
    fixed_size: ClassVar[bool] = False
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise TamisError(f"drop is {self.drop!r}, but it is the probability to leave out and must lie in [0, 1).")

    @property
    def keep(self) -> float:
        return 1 - self.drop / 2

    @property
    def unbiased(self) -> bool:
        return self.rescale

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        below = priority.double() < priority.double().mean()
        kept = (~below | (rand(len(priority), priority, generator) >= self.drop)).nonzero().squeeze(1)
        if not self.rescale:
            return mean_over_kept(kept, len(priority)), state
        weight = torch.where(below[kept], 1 / (1 - self.drop), 1.0).float()
        return Selection(kept, weight, len(priority)), state


@dataclass(frozen=True)
class MixtureFilter:
    """Keep the candidates that a mixture of two components, fitted to the priorities, gives to the higher one.

    The priorities are scaled to [0, 1]; kept is who has a posterior of the higher component above ``threshold``. With
    minus the loss as priority that is the clean component. ``keep`` is nominal, 1: the fit decides.

    Fails when: everything is of one kind: a mixture finds two components all the same, and calls the harder half noise.

    Reference: Li et al. 2020 (DivideMix), arXiv:2002.07394, Gaussian; Arazo et al. 2019, arXiv:1904.11238, beta.
    """

    family: Literal["gaussian", "beta"] = "gaussian"
    threshold: float = 0.5
    unbiased: ClassVar[bool] = False
    fixed_size: ClassVar[bool] = False
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.family not in ("gaussian", "beta"):
            raise TamisError(f"family is {self.family!r}, but the components are 'gaussian' or 'beta'.")
        if not 0 <= self.threshold < 1:
            raise TamisError(f"threshold is {self.threshold!r}, but a posterior is held against one in [0, 1).")

    @property
    def keep(self) -> float:
        return 1.0

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        kept = (high_component(priority, self.family) > self.threshold).nonzero().squeeze(1)
        if len(kept) == 0:  # one value for all: there is nothing to tell apart
            kept = torch.arange(len(priority), device=priority.device)
        return mean_over_kept(kept, len(priority)), state
