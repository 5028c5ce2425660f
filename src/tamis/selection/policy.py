"""What a policy is: a priority, a rule and a schedule, and what it needs beyond losses."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from tamis.observe.scores import Score
from tamis.observe.signals import Signal
from tamis.selection.guard import Guard
from tamis.selection.rule import Rule, State
from tamis.selection.rules import Everything
from tamis.selection.schedules import Always, Progress, Schedule, VarianceGate
from tamis.types import TamisError

Reshape = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Focal:
    """(1 - p)^gamma l with p = exp(-l): the focal loss, for cross-entropy ``l`` ``[b]`` in nats.

    Example:
        >>> import torch
        >>> Focal(0.0)(torch.tensor([0.5]))
        tensor([0.5000])

    Reference: Lin et al. 2017, arXiv:1708.02002.
    """

    gamma: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma < math.inf:
            raise TamisError(f"gamma is {self.gamma!r}, but a focal loss has a finite one of at least 0.")

    def __call__(self, losses: Tensor) -> Tensor:
        missed = -torch.expm1(-losses)  # 1 - p; at 0 the power of a gamma below 1 has no slope
        return missed.clamp(min=torch.finfo(missed.dtype).tiny) ** self.gamma * losses


@dataclass(frozen=True)
class Look:
    """How a batch-level policy looks at its candidates.

    Attributes:
        every: one pass in so many forwards them; the others go by the priority last seen (stale losses).
        scale: of a picture's side in the selection forward, in (0, 1]; the step always sees the whole picture.
    """

    every: int = 1
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.every < 1 or not 0 < self.scale <= 1:
            raise TamisError(f"{self} must look every 1 or more passes, at a scale in (0, 1].")


@dataclass(frozen=True)
class Irreducible:
    """Irreducible losses from a model that never saw the example.

    Attributes:
        holdout: share of the training set that the model is trained on, and the policy never trains on.
        halves: instead, two models, each trained on one half and scoring the other; nothing is held out.
        passes: of that training over its part.
    """

    holdout: float = 0.25
    halves: bool = False
    passes: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.holdout < 1 or not self.passes > 0:
            raise TamisError(f"{self} must hold out a share inside (0, 1) and train for a number of passes above 0.")


@dataclass(frozen=True)
class Needs:
    """What a policy needs beyond the losses of the model that trains; the loop provides it, and its cost is charged.

    Attributes:
        models: networks trained side by side, the candidates of each judged by the next one.
        features: penultimate features in the selection forward.
        irreducible: an irreducible loss for every example.
        reference: share of N of a small clean set apart from the training set, looked at before every pass; 0 = none.
        refresh: share of the training set that is looked at anew, highest priority first, at the end of every pass.
    """

    models: int = 1
    features: bool = False
    irreducible: Irreducible | None = None
    reference: float = 0.0
    refresh: float = 0.0

    def __post_init__(self) -> None:
        if self.models < 1 or not 0 <= self.reference < 1 or not 0 <= self.refresh <= 1:
            raise TamisError(f"{self} must have at least one model and shares in [0, 1].")


@dataclass(frozen=True)
class Policy:
    """What to train on, said in three words: priority, rule, schedule.

    Attributes:
        label: the method with its settings, as tables print it; :func:`policy` reads it back.
        rule: priorities to a selection.
        reference: who published it.
        priority: a Signal for a batch-level policy (fresh, from a forward of the candidates in eval mode without a
            graph); a Score for an epoch-level one (what has been recorded; an example never observed ranks with the
            highest); None where the rule does not ask.
        schedule: when it selects at all, and how strongly.
        level: ``batch``: candidates are a few batches; ``epoch``: candidates are the whole training set, once an epoch.
        fixed: an epoch-level draw made once for the whole run instead of anew each epoch.
        look: how candidates are looked at. needs: what it needs beyond losses.
        reshape: per-example losses ``[b]`` to what is averaged and minimised instead, with the graph; None = as is.
        guard: trains through a class transition matrix and leaves the probably mislabeled out of every epoch's draw.
        plain_mean: the step's loss is (1/b) sum weight_i loss_i, as published, without the factor k/M of the others.
    """

    label: str
    rule: Rule
    reference: str
    priority: Signal | Score | None = None
    schedule: Schedule = Always()
    level: Literal["batch", "epoch"] = "epoch"
    fixed: bool = False
    look: Look = Look()
    needs: Needs = Needs()
    reshape: Reshape | None = None
    plain_mean: bool = False
    guard: Guard | None = None

    def __post_init__(self) -> None:
        if self.guard is not None and (self.level == "batch" or self.reshape is not None):
            raise TamisError(
                f"{self.label} has a guard, which has a loss of its own and leaves out of whole epochs: it must choose "
                "once an epoch and reshape no loss."
            )
        wants_signal = self.level == "batch" or isinstance(self.schedule, VarianceGate)
        if wants_signal and (self.priority is None or isinstance(self.priority, Score)):
            raise TamisError(
                f"{self.label} selects inside a batch, so its priority must be a signal, such as the loss."
            )
        if self.level == "epoch" and self.rule.streaming:
            raise TamisError(f"{self.label} selects once an epoch, but its rule judges a stream; choose another rule.")
        if isinstance(self.priority, Score) and self.priority.phase == "select" and not self.needs.refresh:
            raise TamisError(
                f"{self.label} goes by {self.priority.name}, which only looks record; let it need a refresh."
            )

    @property
    def keep(self) -> float:
        """Expected share of the candidates that is trained on while the policy selects, in (0, 1]."""
        return self.rule.keep

    @property
    def seed_alone(self) -> bool:
        """True where the seed alone decides what an epoch holds: whole epochs, or the same draw each time."""
        return self.guard is None and (self.level == "batch" or isinstance(self.rule, Everything))

    def candidates(self, batch: int) -> int:
        """How many candidates one selection for a trained batch looks at, with the rule's own settings."""
        return candidates(self.rule, batch)

    def rule_now(self, state: State, progress: Progress) -> Rule:
        """The rule with the settings its schedule gives it now."""
        settings = self.schedule.settings(state, progress)
        return dataclasses.replace(self.rule, **settings) if settings else self.rule  # type: ignore[type-var]


def candidates(rule: Rule, batch: int) -> int:
    """How many candidates one selection for a trained batch of ``batch`` looks at: ceil(batch / keep)."""
    return batch if rule.streaming else math.ceil(batch / rule.keep - 1e-9)


def said(name: str, **settings: object) -> str:
    """A label that reads back: numbers as short as they can be said exactly, 1/3 rather than 0.333."""
    parts = [f"{key}={_said(value)}" for key, value in settings.items()]
    return f"{name}({', '.join(parts)})" if parts else name


def _said(value: object) -> str:
    number = isinstance(value, Real) and not isinstance(value, bool)  # NumPy's numbers are Real, too
    return ratio(value) if number else repr(value)


def ratio(value: object) -> str:
    """A number as a label that reads back to the same number: 0.5, 1/3."""
    number = float(value)  # type: ignore[arg-type]
    if not math.isfinite(number):
        return repr(number)  # whoever is given it will refuse it
    decimal, fraction = f"{number:g}", Fraction(number).limit_denominator(100)
    if float(decimal) == number:
        return decimal
    return str(fraction) if float(fraction) == number else repr(number)
