"""Schedules: when a policy selects at all. While it does not, every candidate is trained on once with weight 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tamis.types import TamisError

State = dict[str, Tensor]


class Progress(NamedTuple):
    """How far a run has come: ``fraction`` of the budget spent, ``passes`` over the data, optimiser ``step``."""

    fraction: float
    passes: float
    step: int


class Schedule(Protocol):
    """``active`` decides before a batch; ``observe`` sees the priorities ``[M]`` of a pass. Both are pure."""

    def init(self) -> State: ...

    def active(self, state: State, progress: Progress) -> bool: ...

    def observe(self, state: State, priority: Tensor) -> State: ...


@dataclass(frozen=True)
class Always:
    """Select from the first batch on."""

    def init(self) -> State:
        return {}

    def active(self, state: State, progress: Progress) -> bool:
        return True

    def observe(self, state: State, priority: Tensor) -> State:
        return state


@dataclass(frozen=True)
class AfterPasses:
    """Train on everything for the first ``passes`` over the data, then select.

    Example:
        >>> schedule = AfterPasses(1)
        >>> [schedule.active({}, Progress(0.1, passes, 0)) for passes in (0.0, 0.99, 1.0)]
        [False, False, True]
    """

    passes: float = 1.0

    def __post_init__(self) -> None:
        if not self.passes >= 0:
            raise TamisError(f"passes is {self.passes!r}, but a warm-up lasts a number of passes of at least 0.")

    def init(self) -> State:
        return {}

    def active(self, state: State, progress: Progress) -> bool:
        return progress.passes >= self.passes

    def observe(self, state: State, priority: Tensor) -> State:
        return state


@dataclass(frozen=True)
class VarianceGate:
    """Select while the running variance reduction is worth its cost.

    tau = 1 / sqrt(1 - sum_i (g_i - u)^2 / sum_i g_i^2), g_i = priority_i / sum(priority), u = 1/M, which is
    sqrt(M sum_i g_i^2) since the g_i sum to one: the factor by which a uniform batch would have to grow for the same
    variance. Its exponential mean (``momentum``) is held against tau_th = (B + 3b) / (3b) = (presample + 3) / 3.
    Reading the gate is a host synchronisation on an accelerator, once per batch.

    Reference: Katharopoulos & Fleuret 2018, arXiv:1803.00942, and its authors' code for the momentum.

    Example:
        >>> gate = VarianceGate(presample=3)
        >>> state = gate.init()
        >>> gate.active(state, Progress(0.0, 0.0, 0))
        False
        >>> for _ in range(60):
        ...     state = gate.observe(state, torch.tensor([1.0] + [0.0] * 99))  # tau of this batch: 10
        >>> gate.active(state, Progress(0.0, 0.0, 0))
        True
    """

    presample: float = 3.0
    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not self.presample >= 1:
            raise TamisError(f"presample is {self.presample!r}, but candidates come in at least 1 times the batch.")
        if not 0 <= self.momentum < 1:
            raise TamisError(f"momentum is {self.momentum!r}, but an exponential mean needs one in [0, 1).")

    @property
    def threshold(self) -> float:
        """tau_th = (B + 3b) / (3b), for a forward of cost 1 and a backward of cost 2."""
        return (self.presample + 3) / 3

    def init(self) -> State:
        return {"tau": torch.zeros(())}

    def active(self, state: State, progress: Progress) -> bool:
        return float(state["tau"]) > self.threshold

    def observe(self, state: State, priority: Tensor) -> State:
        g = priority.float().clamp(min=0)
        tau = (g.shape[0] * (g * g).sum()).sqrt() / g.sum().clamp(min=torch.finfo(torch.float32).tiny)
        before = state["tau"].to(
            tau.device
        )  # one loss that is not finite tells nothing, and must not shut the gate for ever
        return {"tau": torch.where(tau.isfinite(), self.momentum * before + (1 - self.momentum) * tau, before)}


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "always": Always,
    "after_passes": AfterPasses,
    "variance_gate": VarianceGate,
}
