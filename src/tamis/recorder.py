"""The recorder: many scores from one observation, each signal computed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tamis.observe.reducers import Count
from tamis.observe.scores import Score
from tamis.observe.signals import Signal
from tamis.types import Observation, TamisError

State = dict[str, Tensor]


class Recorder:
    """Keeps the state of ``scores`` over ``n`` examples, on the device of what it observes.

    Args:
        required: names of the scores that must be recorded: where an observation lacks what one needs, that is an
            error; the other scores are then recorded no further. None requires all.
    """

    def __init__(self, n: int, scores: Sequence[Score], required: Sequence[str] | None = None) -> None:
        names = [score.name for score in scores]
        if len(set(names)) < len(names):
            raise TamisError(f"two of the scores to record have one name: {', '.join(sorted(names))}.")
        if unseen := [score.name for score in scores if score.phase == "select"]:
            raise TamisError(f"{', '.join(unseen)} is of the phase 'select', whose passes are judged and not recorded.")
        self.n, self.scores = n, list(scores)
        self.required = set(names if required is None else required)
        self._states: dict[str, State] = {score.name: score.reducer.init(n) for score in scores}
        self._trained = Count().init(n)
        self._device = torch.device("cpu")
        self._checked = False

    def observe(self, observation: Observation) -> None:
        """Record one forward pass in place. No host synchronisation."""
        if observation.loss.device != self._device:
            self._move(observation.loss.device)
        if not self._checked:
            self._drop_what_lacks(observation)
        index = observation.index.to(self._device, non_blocking=True)
        if observation.phase == "train":
            Count().update(self._trained, index, observation.loss)
        values: dict[Signal, Tensor] = {}
        for score in self.scores:
            if score.phase != observation.phase:
                continue
            if score.signal not in values:
                values[score.signal] = score.signal(observation)
            score.reducer.update(self._states[score.name], index, values[score.signal])

    def compute(self, score: Score) -> Tensor:
        """``[n]`` float32 values of a recorded score; NaN = never observed."""
        return score.reducer.compute(self._states[score.name])

    @property
    def trained(self) -> Tensor:
        """``[n]`` times each example was trained on."""
        return torch.nan_to_num(Count().compute(self._trained)).to(torch.int64)

    def table(self) -> dict[str, np.ndarray]:
        """Columns ``[n]`` by name: ``trained`` and every recorded score."""
        columns = {score.name: self.compute(score).cpu().numpy() for score in self.scores}
        return {"trained": self.trained.cpu().numpy(), **columns}

    def state_dict(self) -> dict[str, Any]:
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
        self._states = {score.name: _copy(state["scores"][score.name]) for score in self.scores}
        self._trained = _copy(state["trained"])
        self._device = next(iter(self._trained.values())).device

    def _drop_what_lacks(self, observation: Observation) -> None:
        lacking = [s for s in self.scores if any(getattr(observation, need) is None for need in s.needs)]
        if needed := [score for score in lacking if score.name in self.required]:
            needs = ", ".join(f"{score.name} needs {' and '.join(score.needs)}" for score in needed)
            raise TamisError(f"{needs}, but the model's outputs and targets are not a classifier's [b, K] and [b].")
        self.scores = [score for score in self.scores if score not in lacking]
        self._checked = True

    def _move(self, device: torch.device) -> None:
        self._trained = {key: value.to(device) for key, value in self._trained.items()}
        for name, state in self._states.items():
            self._states[name] = {key: value.to(device) for key, value in state.items()}
        self._device = device


def _copy(state: State) -> State:
    return {key: value.clone() for key, value in state.items()}
