"""The recorder: many scores from one observation, each signal computed once, a few steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tamis.observe.reducers import Count
from tamis.observe.scores import Score
from tamis.observe.signals import DERIVED, SIGNALS, Signal
from tamis.types import Observation, TamisError
from tamis.window import ROWS, Window

State = dict[str, Tensor]
Asked = tuple[Signal, Signal, Callable[[Tensor], Tensor] | None]


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
        self._rows = rows
        self._window: Window | None = None  # what is held; from the first observation on
        self._asked: dict[str, list[Asked]] = {}  # by phase, until the scores change

    def observe(self, observation: Observation) -> None:
        """Record one forward pass. No host synchronisation."""
        if observation.loss.device != self._device:
            self._move(observation.loss.device)
        if self._window is None:
            self._begin(observation)  # it is taken in at once, so that what is wrong with it is said at once
        elif self._window.add(observation):
            return
        else:
            self._take_in()
            if self._window.add(observation):
                return
        self._record(observation)

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
        self._asked.clear()
        self._states = {score.name: _copy(state["scores"][score.name]) for score in self.scores}
        self._trained = _copy(state["trained"])
        self._device = next(iter(self._trained.values())).device
        self._window = None

    def _take_in(self) -> None:
        if self._window is not None:
            for observation, distinct in self._window.empty():
                self._record(observation, distinct)

    def _record(self, observation: Observation, distinct: bool = False) -> None:
        """Let the states have what was observed; ``distinct`` where it is known to hold no example twice."""
        index = observation.index.to(self._device, non_blocking=True)
        values: dict[Signal, Tensor] = {}
        for signal, base, function in self._asked_in(observation.phase):
            values[signal] = signal(observation) if function is None else function(values[base])
        if observation.phase == "train":
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
        """Record no further what this observation lacks something for, and open a window for what comes."""
        lacking = [s for s in self.scores if any(getattr(observation, need) is None for need in s.needs)]
        if needed := [score for score in lacking if score.name in self.required]:
            needs = ", ".join(f"{score.name} needs {' and '.join(score.needs)}" for score in needed)
            raise TamisError(f"{needs}, but the model's outputs and targets are not a classifier's [b, K] and [b].")
        self.scores = [score for score in self.scores if score not in lacking]
        self._asked.clear()
        fields = frozenset({"loss"}.union(*(score.needs for score in self.scores)))
        separate = all(score.signal in SIGNALS.values() for score in self.scores)  # another may read its batch as one
        self._window = Window(fields, self._rows if separate else 0)

    def _move(self, device: torch.device) -> None:
        self._take_in()
        self._trained = {key: value.to(device) for key, value in self._trained.items()}
        for name, state in self._states.items():
            self._states[name] = {key: value.to(device) for key, value in state.items()}
        self._device = device


def _copy(state: State) -> State:
    return {key: value.clone() for key, value in state.items()}
