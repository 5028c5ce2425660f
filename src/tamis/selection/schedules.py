"""Schedules: when a policy selects at all, and how strongly. While it does not, every candidate is trained on once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from tamis.types import Observation, TamisError

State = dict[str, Tensor]


class Progress(NamedTuple):
    """How far a run has come: ``fraction`` of the budget spent, ``passes`` over the data, optimiser ``step``."""

    fraction: float
    passes: float
    step: int


@dataclass(frozen=True)
class Schedule:
    """When and how strongly a policy selects; as it stands, always and with the rule as it is.

    Every method is pure, and one that a schedule does not mention is the one here.
    """

    def init(self) -> State:
        return {}

    def active(self, state: State, progress: Progress) -> bool:
        """True when the policy selects; asked before every batch."""
        return True

    def settings(self, state: State, progress: Progress) -> Mapping[str, float]:
        """Settings of the rule that hold now instead of its own, such as ``keep``."""
        return {}

    def observe(self, state: State, priority: Tensor, observation: Observation | None = None) -> State:
        """The state after one more look at candidates, their priorities ``[M]`` and what was seen of them."""
        return state


@dataclass(frozen=True)
class Always(Schedule):
    """Select from the first batch on."""


@dataclass(frozen=True)
class AfterPasses(Schedule):
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

    def active(self, state: State, progress: Progress) -> bool:
        return progress.passes >= self.passes


@dataclass(frozen=True)
class Window(Schedule):
    """Select between two fractions of the budget, with a plain step after every ``interrupt`` - 1 selected ones.

    Active while start <= fraction < end and, where ``interrupt`` is not 0, (step + 1) mod interrupt is not 0.

    Example:
        >>> [Window(0.5, 0.9).active({}, Progress(fraction, 0.0, 0)) for fraction in (0.4, 0.5, 0.9)]
        [False, True, False]
        >>> [Window(0.0, 1.0, interrupt=2).active({}, Progress(0.5, 0.0, step)) for step in range(4)]
        [True, False, True, False]

    Reference: MosaicML composer, SelectiveBackprop; as InfoBatch's delta: Qin et al. 2024, arXiv:2303.04947.
    """

    start: float = 0.0
    end: float = 1.0
    interrupt: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end <= 1:
            raise TamisError(f"the window [{self.start}, {self.end}) must lie in [0, 1], its start before its end.")
        if self.interrupt < 0 or self.interrupt == 1:
            raise TamisError(
                f"interrupt is {self.interrupt}, but a plain step comes every 2 steps or more, or never: 0."
            )

    def active(self, state: State, progress: Progress) -> bool:
        inside = self.start <= progress.fraction < self.end
        return inside and (self.interrupt == 0 or (progress.step + 1) % self.interrupt != 0)


@dataclass(frozen=True)
class Ramp(Schedule):
    """Move one setting of the rule from ``start`` to ``end``: over so many ``passes``, or over the budget.

    Linear, start + t (end - start); or ``exponential``, start (end / start)^t; t in [0, 1].

    Example:
        >>> ramp = Ramp("keep", 1.0, 0.5, passes=10)
        >>> [ramp.settings({}, Progress(0.0, passes, 0))["keep"] for passes in (0.0, 5.0, 20.0)]
        [1.0, 0.75, 0.5]
    """

    setting: str = "keep"
    start: float = 1.0
    end: float = 0.5
    passes: float | None = None
    exponential: bool = False

    def __post_init__(self) -> None:
        if self.passes is not None and not self.passes > 0:
            raise TamisError(f"passes is {self.passes!r}, but a ramp lasts a number of passes above 0.")
        if self.exponential and not (self.start > 0 and self.end > 0):
            raise TamisError(f"an exponential ramp goes from {self.start} to {self.end}, but both must be above 0.")

    def settings(self, state: State, progress: Progress) -> Mapping[str, float]:
        t = min(1.0, progress.fraction if self.passes is None else progress.passes / self.passes)
        if self.exponential:
            now = self.start * (self.end / self.start) ** t
        else:
            now = self.start + t * (self.end - self.start)
        low, high = sorted((self.start, self.end))
        return {self.setting: min(max(now, low), high)}  # rounding may lead beyond the end


@dataclass(frozen=True)
class ByAccuracy(Schedule):
    """Lower the share that is kept as the training accuracy rises past each of ``steps``: pairs (accuracy, keep).

    The accuracy is an exponential mean (``momentum``) over the candidates looked at. Reading it is a host
    synchronisation on an accelerator, once per batch.

    Example:
        >>> schedule = ByAccuracy()
        >>> [schedule.settings({"accuracy": torch.tensor(a)}, Progress(0.0, 0.0, 0)) for a in (0.5, 0.85, 0.999)]
        [{'keep': 1.0}, {'keep': 0.5}, {'keep': 0.0625}]

    Differs from the paper in that the accuracy is a running one, and not taken over the training set after each epoch.

    Reference: Kawaguchi & Lu 2020 (Ordered SGD), arXiv:1907.04371.
    """

    steps: tuple[tuple[float, float], ...] = ((0.8, 1 / 2), (0.9, 1 / 4), (0.95, 1 / 8), (0.995, 1 / 16))
    momentum: float = 0.98

    def init(self) -> State:
        return {"accuracy": torch.zeros(())}

    def settings(self, state: State, progress: Progress) -> Mapping[str, float]:
        accuracy = float(state["accuracy"])
        return {"keep": min([1.0, *(keep for reached, keep in self.steps if accuracy >= reached)])}

    def observe(self, state: State, priority: Tensor, observation: Observation | None = None) -> State:
        if observation is None or observation.logits is None or observation.target is None:
            raise TamisError("the schedule ByAccuracy needs logits and labels, but the model's outputs are not these.")
        now = (observation.logits.argmax(1) == observation.target).float().mean()
        return {"accuracy": self.momentum * state["accuracy"].to(now.device) + (1 - self.momentum) * now}


@dataclass(frozen=True)
class VarianceGate(Schedule):
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

    def observe(self, state: State, priority: Tensor, observation: Observation | None = None) -> State:
        g = priority.float().clamp(min=0)
        tau = (g.shape[0] * (g * g).sum()).sqrt() / g.sum().clamp(min=torch.finfo(torch.float32).tiny)
        before = state["tau"].to(
            tau.device
        )  # one loss that is not finite tells nothing, and must not shut the gate for ever
        return {"tau": torch.where(tau.isfinite(), self.momentum * before + (1 - self.momentum) * tau, before)}


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "always": Always,
    "after_passes": AfterPasses,
    "window": Window,
    "ramp": Ramp,
    "by_accuracy": ByAccuracy,
    "variance_gate": VarianceGate,
}
