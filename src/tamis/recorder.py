"""The recorder: many scores from one observation, each signal computed once, states updated a few steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from tamis.observe.reducers import Count
from tamis.observe.scores import Score
from tamis.observe.signals import DERIVED, Signal
from tamis.types import Observation, TamisError

State = dict[str, Tensor]
Asked = tuple[Signal, Signal, Callable[[Tensor], Tensor] | None]

WINDOW = 16
"""Steps whose values are held before the states take them in: on a CPU most of an update's time is in calling it."""


class Held(NamedTuple):
    """What one step said, until the states take it in: values ``[B]`` by signal of the examples ``at`` ``[B]``."""

    at: Tensor
    trained: bool
    values: dict[Signal, Tensor]
    distinct: bool = False  # known to hold no example twice


class Recorder:
    """Keeps the state of ``scores`` over ``n`` examples, on the device of what it observes.

    Args:
        required: names of the scores that must be recorded: where an observation lacks what one needs, that is an
            error; the other scores are then recorded no further. None requires all.
        looks: whether looks are observed too, and not training alone.
    """

    def __init__(
        self, n: int, scores: Sequence[Score], required: Sequence[str] | None = None, looks: bool = False
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
        self._checked = False
        self._held: list[Held] = []
        self._asked: dict[str, list[Asked]] = {}  # by phase, until the scores change

    def observe(self, observation: Observation) -> None:
        """Record one forward pass. No host synchronisation."""
        if observation.loss.device != self._device:
            self._move(observation.loss.device)
        if not self._checked:
            self._drop_what_lacks(observation)
        asked = self._asked.get(observation.phase)
        if asked is None:
            asked = self._asked[observation.phase] = self._signals(observation.phase)
        values: dict[Signal, Tensor] = {}
        for signal, base, function in asked:
            values[signal] = signal(observation) if function is None else function(values[base])
        index = observation.index.to(self._device, non_blocking=True)
        self._held.append(Held(index, observation.phase == "train", values))
        if len(self._held) >= WINDOW or self._device.type != "cpu":  # an accelerator runs ahead by itself
            self._take_in()

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
        self._held.clear()

    def _take_in(self) -> None:
        """Let the states have what is held: in one update if no example occurs twice, else step by step, in order."""
        held, self._held = self._held, []
        for step in _joined(held):
            if step.trained:
                Count().update(self._trained, step.at, torch.zeros(len(step.at), device=step.at.device))
            for score in self.scores:
                if score.signal in step.values:
                    score.reducer.update(self._states[score.name], step.at, step.values[score.signal], step.distinct)

    def _signals(self, phase: str) -> list[Asked]:
        """What is computed in this phase, in order: a signal, or one that another's values give."""
        asked: list[Asked] = []
        for signal in dict.fromkeys(score.signal for score in self.scores if score.phase in (phase, "any")):
            base, function = DERIVED.get(signal, (signal, None))
            known = any(base is earlier for earlier, *_ in asked)
            asked.append((signal, base, function if known else None))
        return asked

    def _drop_what_lacks(self, observation: Observation) -> None:
        lacking = [s for s in self.scores if any(getattr(observation, need) is None for need in s.needs)]
        if needed := [score for score in lacking if score.name in self.required]:
            needs = ", ".join(f"{score.name} needs {' and '.join(score.needs)}" for score in needed)
            raise TamisError(f"{needs}, but the model's outputs and targets are not a classifier's [b, K] and [b].")
        self.scores = [score for score in self.scores if score not in lacking]
        self._asked.clear()
        self._checked = True

    def _move(self, device: torch.device) -> None:
        self._take_in()
        self._trained = {key: value.to(device) for key, value in self._trained.items()}
        for name, state in self._states.items():
            self._states[name] = {key: value.to(device) for key, value in state.items()}
        self._device = device


def _joined(held: list[Held]) -> list[Held]:
    """One step out of several, if they say the same things of different examples; else the steps as they are."""
    if len(held) < 2 or any(
        (step.trained, step.values.keys()) != (held[0].trained, held[0].values.keys()) for step in held
    ):
        return held
    index = torch.cat([step.at for step in held])
    ordered = np.sort(index.numpy())  # several steps are held on the CPU alone; a quarter of the time of torch's
    if bool((ordered[1:] == ordered[:-1]).any()):
        return held
    values = {signal: torch.cat([step.values[signal] for step in held]) for signal in held[0].values}
    return [Held(index, held[0].trained, values, distinct=True)]


def _copy(state: State) -> State:
    return {key: value.clone() for key, value in state.items()}
