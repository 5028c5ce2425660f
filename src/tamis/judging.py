"""Batch-level judging: candidates wait until there are enough; a rule keeps some; the kept wait for a full batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tamis.nested import Batch, cut, join, map_leaves, take
from tamis.selection.policy import Policy, candidates
from tamis.selection.schedules import Progress
from tamis.types import Costs, Observation, TamisError, generator


class Chosen(NamedTuple):
    """A batch to train on: ``index`` ``[b]`` int64 positions in the full training set, the user's ``x`` and ``y``."""

    index: Tensor  # type: ignore[assignment]  # it shadows tuple.index, which nobody asks of a batch
    x: Batch
    y: Batch


class Pool(NamedTuple):
    """Examples that wait, in the order they came, the ``multiplier`` ``[n]`` of each loss, and whether each was
    ``selected`` ``[n]`` (on the CPU)."""

    chosen: Chosen
    multiplier: Tensor
    selected: Tensor

    @property
    def size(self) -> int:
        return int(self.multiplier.shape[0])


class Pending(NamedTuple):
    """The batch handed out and not yet trained on: its indices, multipliers, and the share of it that was selected."""

    expected: Tensor
    multiplier: Tensor
    selected: float


class Seen(NamedTuple):
    """Stale priorities: the one last seen of each example ``[n]``, and the first pass that looked."""

    priority: Tensor
    first: int


class Judge:
    """A policy at work: the states of its rule and schedule, and the two pools."""

    def __init__(self, policy: Policy, seed: int, n: int) -> None:
        self.policy, self.seed = policy, seed
        self._seen = Seen(torch.full((n,), torch.nan), -1) if policy.look.every > 1 else None
        self.rule_state, self.schedule_state = policy.rule.init(), policy.schedule.init()
        self.pending: Pending | None = None
        self._waiting: Pool | None = None
        self._ready: Pool | None = None

    def active(self, progress: Progress) -> bool:
        """True when the schedule lets the policy select."""
        return self.policy.schedule.active(self.schedule_state, progress)

    def notice(self, observation: Observation) -> None:
        """A plain step tells the schedule (a variance gate) what its priorities were, for free."""
        if self.schedule_state and callable(self.policy.priority):
            priority = self.policy.priority(observation)
            self.schedule_state = self.policy.schedule.observe(self.schedule_state, priority, observation)

    def arrive(self, chosen: Chosen, selecting: bool) -> None:
        """Candidates enter: to wait for a selection or, while the policy does not select, straight to what is ready."""
        n = len(chosen.index)
        arrived = Pool(chosen, torch.ones(n, device=_device(chosen.y, chosen.index)), torch.zeros(n, dtype=torch.bool))
        if selecting:
            self._waiting = _append(self._waiting, arrived)
        else:
            self._ready = _append(self._ready, _append(self._waiting, arrived))
            self._waiting = None

    def sift(self, look: Callable[..., Observation], batch: int, selections: int, progress: Progress) -> Costs:
        """Select as soon as there are enough candidates; returns what that cost.

        Args:
            look: a forward of ``(index, x, y)`` that leaves no trace. batch: the trained size. selections: made before.
        """
        spent = Costs()
        while self._waiting is not None:
            rule = self.policy.rule_now(self.schedule_state, progress)
            wanted = self._waiting.size if rule.streaming else candidates(rule, batch)
            if self._waiting.size < wanted:
                break
            head, self._waiting = _split(self._waiting, wanted)
            priority, looked = self._priority(look, head.chosen, int(progress.passes))
            draw = generator(self.seed, "select", selections + spent.selections)
            selection, self.rule_state = rule.select(self.rule_state, priority, batch, draw)
            spent += Costs(forwards=looked, selections=1)
            kept = Chosen(*(take(part, selection.keep) for part in head.chosen))
            multiplier = selection.multiplier.to(head.multiplier.device)
            self._ready = _append(self._ready, Pool(kept, multiplier, torch.ones(len(multiplier), dtype=torch.bool)))
        return spent

    def _priority(self, look: Callable[..., Observation], chosen: Chosen, passes: int) -> tuple[Tensor, int]:
        """The candidates' priorities, from a look or, in a pass that has none, as last seen; and how many were seen."""
        seen = self._seen
        if seen is not None:
            seen = self._seen = seen if seen.first >= 0 else seen._replace(first=passes)
            if (passes - seen.first) % self.policy.look.every:
                known = seen.priority[chosen.index]
                return torch.where(known.isnan(), seen.priority.nan_to_num(-torch.inf).max(), known), 0
        observation = look(*chosen)
        priority = self.policy.priority(observation)  # type: ignore[misc, operator]
        self.schedule_state = self.policy.schedule.observe(self.schedule_state, priority, observation)
        if seen is not None:
            priority = priority.float()
            self._seen = seen._replace(priority=seen.priority.to(priority.device))
            self._seen.priority[chosen.index] = priority
        return priority, len(chosen.index)

    def full_batch(self, batch: int) -> Chosen | None:
        """Hand out exactly ``batch`` examples, or None until there are as many."""
        if self._ready is None or self._ready.size < batch:
            return None
        head, self._ready = _split(self._ready, batch)
        self.pending = Pending(head.chosen.index, head.multiplier, float(head.selected.float().mean()))
        return head.chosen

    def state_dict(self) -> dict[str, Any]:
        if self.pending is not None:
            raise TamisError("a batch from select has not been trained on yet; take the state after its loss.")
        return {
            "rule": self.rule_state,
            "schedule": self.schedule_state,
            "seen": self._seen and (self._seen.priority.clone(), self._seen.first),
            "waiting": self._waiting and _flat(self._waiting),
            "ready": self._ready and _flat(self._ready),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.rule_state, self.schedule_state = dict(state["rule"]), dict(state["schedule"])
        self._seen = state["seen"] and Seen(state["seen"][0].clone(), state["seen"][1])
        self._waiting, self._ready = (
            flat and Pool(Chosen(*flat[:3]), *flat[3:]) for flat in (state["waiting"], state["ready"])
        )
        self.pending = None


def _append(pool: Pool | None, more: Pool | None) -> Pool:
    if pool is None or more is None:
        either = pool or more
        assert either is not None
        return either
    # A pool that was loaded from a state may lie elsewhere than what arrives now.
    waiting = Chosen(*map_leaves(lambda old, new: old.to(new.device), tuple(pool.chosen), tuple(more.chosen)))
    multiplier = torch.cat([pool.multiplier.to(more.multiplier.device), more.multiplier])
    return Pool(Chosen(*join([waiting, more.chosen])), multiplier, torch.cat([pool.selected, more.selected]))


def _split(pool: Pool, size: int) -> tuple[Pool, Pool | None]:
    def part(start: int, stop: int | None) -> Pool:
        return Pool(Chosen(*cut(pool.chosen, start, stop)), pool.multiplier[start:stop], pool.selected[start:stop])

    return part(0, size), part(size, None) if pool.size > size else None


def _flat(pool: Pool) -> tuple[Any, ...]:
    """A pool for a state dict: copies, so that it does not hold the batches it was cut from."""
    return (
        *(take(part, torch.arange(pool.size)) for part in pool.chosen),
        pool.multiplier.clone(),
        pool.selected.clone(),
    )


def _device(batch: Batch, fallback: Tensor) -> torch.device:
    while isinstance(batch, (Mapping, list, tuple)) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, Mapping) else batch[0]
    return batch.device if isinstance(batch, Tensor) else fallback.device
