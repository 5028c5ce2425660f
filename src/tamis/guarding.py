"""A policy's guard at work: its state, what an epoch trains on, the loss that is minimised, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tamis.drawing import Plan
from tamis.meetings import Meetings
from tamis.observe.scores import Score
from tamis.recorder import Recorder
from tamis.selection.policy import Policy
from tamis.selection.rule import State
from tamis.types import Observation, TamisError
from tamis.window import Window

Note = dict[str, float | str]


class Guarding:
    """The guard of ``policy`` over ``n`` examples; where the policy has none, everything passes as it is.

    Attributes:
        notes: what was decided after each pass, in plain values; see :meth:`~tamis.selection.guard.Guard.note`.
    """

    def __init__(self, policy: Policy, n: int, seed: int) -> None:
        self._policy, self._n, self._seed = policy, n, seed
        self._state: State | None = None  # until the first logits say how many classes there are
        self._window, self._meetings = Window(), Meetings(n)
        self.notes: list[Note] = []

    def after_pass(self, spent: float, recorder: Recorder) -> bool:
        """Take in the pass before an epoch, which brought the run to the fraction ``spent`` of its budget and has
        ``recorder`` hold its losses; whether the policy may select among the epoch's examples by its rule."""
        guard = self._policy.guard
        if guard is None:
            return True
        if self._state is None:
            return False
        self._take_in()
        if isinstance(self._policy.priority, Score) and guard.sets_hurry(self._state):
            self._meetings.end(recorder.compute(self._policy.priority).cpu(), recorder.trained.cpu())
        self._state = guard.after_pass(self._state, spent, self._meetings.share)
        self.notes.append(guard.note(self._state))
        return guard.lets_select(self._state)

    def plan(self, plan: Plan, epoch: int, least: int = 1) -> Plan:
        """What is left of an epoch's plan, in its order.

        Where fewer than ``least`` would be, the least probably wrong of those left out fill it up.
        """
        plan = self._left(plan, epoch, least)
        if self._policy.guard is not None and len(self.notes) < 2:  # no later pass is asked about
            self._meetings.begin(plan.order)
        return plan

    def _left(self, plan: Plan, epoch: int, least: int) -> Plan:
        if self._policy.guard is None or self._state is None:
            return plan
        trains = self._policy.guard.trains(self._state, self._seed, epoch)
        if trains is None:
            return plan
        kept = trains[plan.order]
        if (short := least - int(kept.sum())) > 0:
            out = (~kept).nonzero().squeeze(1)
            kept[out[self._state["wrong"].cpu()[plan.order[out]].argsort(stable=True)[:short]]] = True
        return plan._replace(
            order=plan.order[kept],
            multiplier=None if plan.multiplier is None else plan.multiplier[kept.to(plan.multiplier.device)],
            selected=True,
        )

    def check(self, classifies: bool) -> None:
        """Before a step is counted: whether outputs and targets are a classifier's.

        Raises:
            TamisError: they are not, and there is a guard.
        """
        if self._policy.guard is not None and not classifies:
            raise TamisError(
                f"{self._policy.label} needs logits [b, K] and labels [b] int64, but the model's outputs and targets "
                "are not these; take another policy."
            )

    def losses(self, seen: Observation, outputs: Any, losses: Tensor) -> Tensor:
        """The ``[b]`` losses that are trained by instead of ``losses``; takes in what was ``seen``."""
        guard = self._policy.guard
        if guard is None or seen.logits is None or seen.target is None:
            return losses
        if self._state is None:
            self._state = guard.init(self._n, seen.logits.shape[1])
        if self._state["said"].device != seen.logits.device:
            self._take_in()
            self._state = {k: v.to(seen.logits.device) if v.ndim else v for k, v in self._state.items()}
        if bool(self._state["plain"]):
            return losses
        if guard.pauses(self._state):
            self._take_in()
            self._state = guard.within_pass(self._state)
        guard.meet(self._state, seen.target)
        losses = guard.losses(self._state, seen.index, outputs, seen.target)
        said = (seen.logits, seen.target)
        if seen.index.device.type == "cpu":  # see Window.add
            self._window.put(seen.logits.shape[1], seen.index, said, self._take)
        else:
            self._take(None, seen.index, said)
        return losses

    def _take_in(self) -> None:
        """Observe what is held back: nobody asks for what a pass says before its end."""
        self._window.give(self._take)

    def _take(self, _: Any, index: Tensor, said: Sequence[Tensor], distinct: bool = False) -> None:
        assert self._policy.guard is not None
        assert self._state is not None
        self._policy.guard.observe(self._state, index, *said)

    def columns(self) -> dict[str, np.ndarray]:
        """``p_mislabeled`` ``[n]`` as far as it is known, NaN = not since the first pass; nothing without a guard."""
        if self._policy.guard is None or self._state is None:
            return {}
        self._take_in()
        return {"p_mislabeled": self._policy.guard.p_mislabeled(self._state).cpu().numpy()}

    def state_dict(self) -> dict[str, Any]:
        self._take_in()
        notes = [dict(note) for note in self.notes]
        return {"state": _copied(self._state), "notes": notes, "meetings": self._meetings.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._state, self.notes = _copied(state["state"]), [dict(note) for note in state["notes"]]
        if self._state is not None and self._policy.guard is not None:  # states of earlier versions lack some
            whole = self._policy.guard.init(self._n, len(self._state["matrix"]), self._state["said"].device)
            self._state = {**whole, "taught": self._state.get("found", whole["taught"]), **self._state}
        self._window, self._meetings = Window(), Meetings(self._n)
        if "meetings" in state:
            self._meetings.load_state_dict(state["meetings"])


def _copied(state: State | None) -> State | None:
    return state and {name: value.clone() for name, value in state.items()}
