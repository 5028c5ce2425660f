"""The recorder: many scores from one observation, each signal computed once, a few steps at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tamis.observe.reducers import Count
from tamis.observe.scores import Score
from tamis.observe.signals import DERIVED, SIGNALS, Signal
from tamis.types import Observation, Phase, TamisError
from tamis.window import ROWS, Window

State = dict[str, Tensor]
Asked = tuple[Signal, Signal, Callable[[Tensor], Tensor] | None]

SMALL = 1 << 15
"""Logits of a step up to which it is cheaper to copy them and to ask several steps at once what they say."""

COPIED = ("loss", "target", "logits")
"""What is copied then, the widest last."""


class Contents(NamedTuple):
    """What a window holds: fields of observations by name, or (none) what the signals said; never two kinds at once."""

    phase: Phase
    names: tuple[str, ...] = ()
    width: int = 0


class Recorder:
    """Keeps the state of ``scores`` over ``n`` examples, on the device of what it observes.

    Args:
        required: names of the scores that must be recorded: where an observation lacks what one needs, that is an
            error; the other scores are then recorded no further. None requires all.
        looks: whether looks are observed too, and not training alone.
        rows: examples to hold back at most before their states change; see :mod:`tamis.window`.
    """

    def __init__(
        self,
        n: int,
        scores: Sequence[Score],
        required: Sequence[str] | None = None,
        looks: bool = False,
        rows: int = ROWS,
    ) -> None:
        names = [score.name for score in scores]
        if len(set(names)) < len(names):
            raise TamisError(f"two of the scores to record have one name: {', '.join(sorted(names))}.")
        if unseen := [score.name for score in scores if score.phase == "select" and not looks]:
            raise TamisError(f"{', '.join(unseen)} is of the phase 'select', whose passes are judged and not recorded.")
        self.n, self.scores = n, list(scores)
        self.required = set(names if required is None else required)
        self._states: dict[str, State] = {score.name: score.reducer.init(n) for score in scores}
        self._trained = Count().init(n)
        self._device = torch.device("cpu")
        self._window = Window(rows)
        self._copied: tuple[str, ...] = ()
        self._begun = False
        self._needs: set[str] = set()  # of an observation, by the scores
        self._asked: dict[str, list[Asked]] = {}  # by phase, until the scores change

    def observe(self, observation: Observation) -> None:
        """Record one forward pass. No host synchronisation; the caller may use its tensors again."""
        if observation.loss.device != self._device:
            self._move(observation.loss.device)
        first = not self._begun or any(getattr(observation, need) is None for need in self._needs)
        if first:
            self._take_in()
            self._begin(observation)
        kind, columns = self._columns(observation)
        if first or observation.index.device.type != "cpu":  # a first mistake is said at once; see Window.add
            self._take(kind, observation.index, columns)
            return
        self._window.put(kind, observation.index, columns, self._take)

    def compute(self, score: Score) -> Tensor:
        """``[n]`` float32 values of a recorded score; NaN = never observed."""
        self._take_in()
        return score.reducer.compute(self._states[score.name])

    @property
    def trained(self) -> Tensor:
        """``[n]`` int64, times each example was trained on."""
        self._take_in()
        return Count().compute(self._trained).to(torch.int64)

    def table(self) -> dict[str, np.ndarray]:
        """Columns ``[n]`` by name: ``trained`` and every recorded score."""
        columns = {score.name: self.compute(score).cpu().numpy() for score in self.scores}
        return {"trained": self.trained.cpu().numpy(), **columns}

    def state_dict(self) -> dict[str, Any]:
        self._take_in()
        return {
            "trained": _copy(self._trained),
            "scores": {score.name: _copy(self._states[score.name]) for score in self.scores},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        missing = {score.name for score in self.scores} - set(state["scores"])
        if missing & self.required:
            raise TamisError(
                f"the state has no record of {', '.join(sorted(missing))}; it was saved with other scores."
            )
        self.scores = [score for score in self.scores if score.name in state["scores"]]
        self._asked = {}
        self._states = {score.name: _copy(state["scores"][score.name]) for score in self.scores}
        self._trained = _copy(state["trained"])
        self._device = next(iter(self._trained.values())).device
        self._window, self._begun = Window(self._window.rows), False

    def _columns(self, observation: Observation) -> tuple[Contents, list[Tensor]]:
        """What the signals read, where that is little, else what they say; and which of the two it is."""
        if observation.index.device.type == "cpu" and self._copied:
            fields, rows = [getattr(observation, name) for name in self._copied], observation.index.shape
            fit = all(value is not None and value.shape[:1] == rows for value in fields)
            if fit and fields[-1].numel() <= SMALL:
                return Contents(observation.phase, self._copied, math.prod(fields[-1].shape[1:])), fields
        return Contents(observation.phase), list(self._said(observation).values())

    def _said(self, observation: Observation) -> dict[Signal, Tensor]:
        """What is recorded of this phase, ``[B]`` by signal, each computed once."""
        values: dict[Signal, Tensor] = {}
        for signal, base, function in self._asked_in(observation.phase):
            values[signal] = signal(observation) if function is None else function(values[base])
        return values

    def _take_in(self) -> None:
        self._window.give(self._take)

    def _take(self, kind: Contents, index: Tensor, columns: Sequence[Tensor], distinct: bool = False) -> None:
        """Let the states have it; ``distinct`` where it is known to hold no example twice."""
        if kind.names:
            fields = dict(zip(kind.names, columns, strict=True))
            values = self._said(Observation(index, **fields, phase=kind.phase))  # type: ignore[arg-type]
        else:
            values = dict(zip((signal for signal, *_ in self._asked_in(kind.phase)), columns, strict=True))
        index = index.to(self._device, non_blocking=True)
        if kind.phase == "train":
            Count().update(self._trained, index, torch.zeros(len(index), device=self._device))
        for score in self.scores:
            if score.signal in values:
                score.reducer.update(self._states[score.name], index, values[score.signal], distinct)

    def _asked_in(self, phase: str) -> list[Asked]:
        """What is computed in this phase, in order: a signal, or one that another's values give."""
        if phase in self._asked:
            return self._asked[phase]
        asked = self._asked[phase] = []
        for signal in dict.fromkeys(score.signal for score in self.scores if score.phase in (phase, "any")):
            base, function = DERIVED.get(signal, (signal, None))
            known = any(base is earlier for earlier, *_ in asked)
            asked.append((signal, base, function if known else None))
        return asked

    def _begin(self, observation: Observation) -> None:
        """Record no further what this observation lacks something for."""
        lacking = [s for s in self.scores if any(getattr(observation, need) is None for need in s.needs)]
        if needed := [score for score in lacking if score.name in self.required]:
            needs = ", ".join(f"{score.name} needs {' and '.join(score.needs)}" for score in needed)
            raise TamisError(f"{needs}, but the model's outputs and targets are not a classifier's [b, K] and [b].")
        self.scores = [score for score in self.scores if score not in lacking]
        self._asked.clear()
        self._needs = {need for score in self.scores for need in score.needs}
        read = {"loss"} | self._needs
        alone = all(score.signal in SIGNALS.values() for score in self.scores)  # another may read its batch as one
        self._copied = tuple(name for name in COPIED if name in read) if alone and read <= set(COPIED) else ()
        self._begun = True

    def _move(self, device: torch.device) -> None:
        self._take_in()
        self._trained = {key: value.to(device) for key, value in self._trained.items()}
        for name, state in self._states.items():
            self._states[name] = {key: value.to(device) for key, value in state.items()}
        self._device = device


def _copy(state: State) -> State:
    return {key: value.clone() for key, value in state.items()}
