"""The contracts of the package, stated once.

Everything that flows between the rooms of the house is one of these types: arrays go into an injector and come
out with their :class:`Truth`; a forward pass becomes an :class:`Observation`; a rule answers with a
:class:`Selection`; a training run ends as a :class:`Record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tamis.errors import TamisError as TamisError

Phase = Literal["train", "select", "probe"]


class Kind(IntFlag):
    """What may be the matter with an example. No flag set means clean; an example can bear several."""

    CLEAN = 0
    MISLABELED = 1
    CORRUPTED = 2
    OUT_OF_DISTRIBUTION = 4
    DUPLICATE = 8
    AMBIGUOUS = 16
    RARE = 32


class Observation(NamedTuple):
    """What one forward pass said about ``B`` examples. Every tensor is detached.

    Attributes:
        index: ``[B]`` int64, positions in the *full* training set; they may repeat.
        loss: ``[B]`` per-example loss, in nats for cross-entropy.
        logits: ``[B, K]`` before the softmax, or None (regression, language models, losses alone).
        target: ``[B]`` int64, the label that was given (a probe's substituted label), or None.
        features: ``[B, D]`` penultimate features, or None.
        step: optimiser steps taken before this pass.
        given: what the policy was given beside the data, by name, for these examples ``[B]`` or for all; or None.
        phase: the mode of the pass. ``train``: train mode, before its own update; ``select``: eval mode, no graph;
            ``probe``: train mode, on an example relabelled on purpose. One score never mixes phases.
    """

    index: Tensor  # type: ignore[assignment]  # it shadows tuple.index, which nobody asks of an observation
    loss: Tensor
    logits: Tensor | None = None
    target: Tensor | None = None
    features: Tensor | None = None
    step: int = 0
    phase: Phase = "train"
    given: Mapping[str, Tensor] | None = None


class Selection(NamedTuple):
    """A rule's answer about ``M`` candidates.

    Attributes:
        keep: ``[k]`` int64 positions among the candidates (0..M-1), repeats allowed.
        weight: ``[k]``, 1 / E[times drawn] for an unbiased rule, M/k for "the mean over the kept".
        candidates: M.

    The loss of a trained batch of b examples out of this selection is ``(1/b) sum_i weight_i (k/M) loss_i``; see
    :attr:`multiplier`. Everything kept with weight 1 is plain SGD, bit for bit.
    """

    keep: Tensor
    weight: Tensor
    candidates: int

    @property
    def multiplier(self) -> Tensor:
        """``[k]`` the factor of each kept loss under a plain mean: ``weight * k / M``."""
        k = self.keep.shape[0]
        return self.weight if k == self.candidates else self.weight * (k / self.candidates)


class Arrays(NamedTuple):
    """A data set in memory: ``x`` ``[N, ...]`` float32 and ``y`` ``[N]`` int64 in 0..classes-1."""

    x: Tensor
    y: Tensor
    classes: int

    def take(self, index: Tensor) -> Arrays:
        """The examples at ``index`` ``[n]``, in that order."""
        return Arrays(self.x[index], self.y[index], self.classes)


@dataclass(frozen=True)
class Truth:
    """What an injector did to each of ``N`` examples. Read by evaluation alone; it never reaches training.

    Attributes:
        kind: ``[N]`` int64 of :class:`Kind` flags; 0 is clean. It equals the difference between the arrays before
            and after: an example that was drawn for a redraw and got its own label back is clean. ``MISLABELED`` is
            set exactly where the given label is not ``label``, so a copy whose label conflicts with its original's is
            ``DUPLICATE | MISLABELED``. A long tail alone removes: ``N`` is what is left, in the order of the whole,
            and the examples of the classes that became small are ``RARE`` though nothing about them has changed.
        label: ``[N]`` int64, the label that belongs to the input that stands there now: before injection's where the
            input was not replaced; of a copy, its original's. Where no single label is right it is the given one: of
            a blend, which is ``AMBIGUOUS``, and of a foreign picture, which is ``OUT_OF_DISTRIBUTION``.
        asked_rate: the rate asked for, in [0, 1].
    """

    kind: Tensor
    label: Tensor
    asked_rate: float = 0.0

    @property
    def noisy(self) -> Tensor:
        """``[N]`` bool: the examples that are not worth learning as they stand (mislabeled, corrupted or foreign)."""
        return (self.kind & int(Kind.MISLABELED | Kind.CORRUPTED | Kind.OUT_OF_DISTRIBUTION)) != 0

    @property
    def realised_rate(self) -> float:
        """The share of noisy examples, in [0, 1]."""
        return float(self.noisy.double().mean()) if self.noisy.numel() else 0.0


@dataclass(frozen=True)
class Costs:
    """What a run has spent, in deterministic counts. Examples unless the name says calls or steps.

    Attributes:
        candidates: examples drawn from the training set and looked at, trained on or not.
        forwards: examples forwarded without a graph, for selection alone.
        backwards: examples forwarded and backwarded in a step.
        steps: optimiser steps.
        selections: calls of the rule.
    """

    candidates: int = 0
    forwards: int = 0
    backwards: int = 0
    steps: int = 0
    selections: int = 0

    def __add__(self, other: Costs) -> Costs:
        return Costs(
            self.candidates + other.candidates,
            self.forwards + other.forwards,
            self.backwards + other.backwards,
            self.steps + other.steps,
            self.selections + other.selections,
        )


@dataclass(frozen=True)
class Point:
    """The state of a run at one moment of its curve.

    Attributes:
        costs: spent up to here. cost: the same at the price list, in epochs of plain training.
        test_error, worst_class_error: on the test split, in [0, 1]; ``class_error`` ``[K]``.
        trained: ``[N]`` uint16, how often each example was trained on since the previous point.
        looks: what a fixed sample ``[W]`` of the training examples looked like, in eval mode: signals by name and,
            as ``waiting``, who has yet to come in this pass; at the previous point and at even distances from there to
            here, this point not included.
        selecting: share of the steps since the previous point on which the policy selected, in [0, 1].
        passes: over the training set so far.
    """

    costs: Costs
    cost: float
    test_error: float
    worst_class_error: float
    class_error: np.ndarray
    trained: np.ndarray
    looks: tuple[dict[str, np.ndarray], ...] = ()
    selecting: float = 0.0
    passes: float = 0.0


@dataclass(frozen=True)
class Record:
    """Everything a report may use about one training run; nothing else is read.

    Attributes:
        points: the curve; the first is before training, the last at the end of the budget.
        watched: ``[W]`` int64, the training examples that every look looked at.
        examples: per-example columns ``[N]`` by name: ``trained`` and one per recorded score; NaN = never observed.
        seconds: wall seconds by name, outside every claim of equality.
        notes: what the policy's guard decided after each pass; see :class:`~tamis.selection.guard.Guard`.
    """

    points: tuple[Point, ...]
    examples: dict[str, np.ndarray]
    watched: np.ndarray
    seconds: dict[str, float] = field(default_factory=dict)
    notes: tuple[Mapping[str, float | str], ...] = ()


def generator(seed: int, stream: str, counter: int = 0) -> torch.Generator:
    """A CPU generator that is a pure function of ``(seed, stream, counter)``.

    Nothing about randomness needs saving: a resumed run asks for the same three and gets the same draws.
    """
    words = np.random.SeedSequence([seed, int.from_bytes(stream.encode(), "little"), counter]).generate_state(
        2, np.uint32
    )
    return torch.Generator().manual_seed(int(words[0]) << 31 ^ int(words[1]))
