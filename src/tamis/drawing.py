"""What is drawn and what was consumed: epochs of batches, and the match between the two.

A loader runs ahead of training. Every drawn batch waits here with its weights until training hands it back; a batch
that is not the one drawn next is refused; the state counts *consumed* batches, so what was only drawn is drawn again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tamis.types import TamisError


class Plan(NamedTuple):
    """An epoch's examples in order, ``[k]`` int64; the multiplier ``[k]`` of each loss, or None where all weigh 1;
    whether the policy selected them; and whom to look at after them, without training, or None."""

    order: Tensor
    multiplier: Tensor | None = None
    selected: bool = False
    looks: Tensor | None = None


class Drawn(NamedTuple):
    """A batch that was drawn and not yet consumed; ``look`` where it is not to be trained on."""

    index: Tensor  # type: ignore[assignment]  # it shadows tuple.index, which nobody asks of a batch
    multiplier: Tensor | None = None
    look: bool = False


class Drawing:
    """The epochs of one run: ``epoch`` and ``consumed`` of its ``length`` batches, and what is drawn ahead."""

    def __init__(self) -> None:
        self.epoch, self.consumed, self.length = 0, 0, 1
        self.batch: int | None = None
        self.plan: Plan | None = None
        self._ahead: deque[Drawn] = deque()
        self._before = 0.0  # passes of the epochs that are over, whole or broken off
        self._touched = False
        self._astray: Tensor | None = None

    @property
    def passes(self) -> float:
        """Passes over the training set so far, as consumed."""
        return self.passes_after(0)

    def passes_after(self, ahead: int) -> float:
        """The same once ``ahead`` more batches are consumed: one sum, so that who draws ahead ends where others do."""
        return self._before + (self.consumed + ahead) / self.length

    @property
    def ahead(self) -> tuple[int, int, int]:
        """Batches drawn and not yet consumed, the examples in them to train on and those to look at alone."""
        if not self._ahead:
            return 0, 0, 0
        looks = sum(len(drawn.index) for drawn in self._ahead if drawn.look)
        return len(self._ahead), sum(len(drawn.index) for drawn in self._ahead) - looks, looks

    @property
    def look_next(self) -> bool:
        """True where the batch to be consumed next is one to look at alone."""
        return bool(self._ahead) and self._ahead[0].look

    def serve(self, batch: int) -> None:
        """Settle the trained batch size, once for a run."""
        if self.batch not in (None, batch):
            raise TamisError(f"this Sieve already serves batches of {self.batch}; it cannot change to {batch}.")
        self.batch = batch

    def begin(
        self, batch: int, drop_last: bool, form_plan: Callable[[int], Plan], full: Callable[[], bool]
    ) -> Iterator[list[int]]:
        """An iterator over the next epoch, or over the rest of the one that a state was loaded from.

        A loader may ask twice for one epoch's iterator; an epoch is over only once it was begun.
        """
        self.raise_astray()
        if self._touched:
            self._before = self.passes
            self.epoch, self.consumed, self.plan = self.epoch + 1, 0, None
        self._touched = False
        self._ahead.clear()
        if self.plan is None:
            self.plan = form_plan(self.epoch)
        planned = len(self.plan.order)
        trained = planned // batch if drop_last else -(-planned // batch)
        self.length = trained + (0 if self.plan.looks is None else -(-len(self.plan.looks) // batch))
        if trained == 0:
            raise TamisError(
                f"an epoch has {planned} examples to train on and drop_last leaves out batches under {batch}: "
                "none is left."
            )
        return self._draw(self.plan, batch, trained, self.epoch, full)

    def _draw(self, plan: Plan, batch: int, trained: int, epoch: int, full: Callable[[], bool]) -> Iterator[list[int]]:
        order, multiplier, _, looks = plan
        for number in range(self.consumed, self.length):
            if self.epoch != epoch:
                raise TamisError("two iterators of one Sieve are open; finish an epoch before the next begins.")
            if full():
                return
            of = order if number < trained or looks is None else looks
            start = (number if of is order else number - trained) * batch
            piece = slice(start, start + batch)
            weights = None if multiplier is None or of is not order else multiplier[piece]
            index = of[piece]
            self._ahead.append(Drawn(index, weights, look=of is not order))
            yield index.tolist()

    def claim(self, index: Tensor) -> Tensor | None:
        """Match a batch with the oldest one drawn and count it as consumed; returns its multipliers."""
        if not self._ahead:
            raise TamisError("no batch is waiting for this one; take batches from sieve.batches(...), once each.")
        expected, multiplier, _ = self._ahead.popleft()
        self.check(index, expected)
        self.consumed += 1
        self._touched = True
        return multiplier

    def check(self, index: Tensor, expected: Tensor) -> None:
        """On the CPU at once; on an accelerator the answer stays there and is asked for at the epoch's end."""
        if index.shape != expected.shape or (index.device.type == "cpu" and not torch.equal(index, expected.cpu())):
            raise TamisError(
                f"this batch is not the one drawn next (batch {self.consumed} of epoch {self.epoch}): "
                "train on every batch once, in the loader's order, and hand its index over unchanged."
            )
        if index.device.type != "cpu":
            astray = (index != expected.to(index.device, non_blocking=True)).any()
            self._astray = astray if self._astray is None else self._astray | astray

    def raise_astray(self, now: bool = False) -> None:
        """Raise what ``check`` left on the accelerator, where an epoch ends or, ``now``, where the budget does."""
        if self._astray is not None and (now or self.consumed >= self.length) and bool(self._astray):
            raise TamisError("a batch of this epoch was not the one drawn; train on every batch once, in order.")

    def state_dict(self, keep_plan: bool) -> dict[str, Any]:
        """``keep_plan`` where the seed alone does not decide the plan."""
        place = (self.epoch, self.consumed, self.length, self.batch, self._before)
        return {"place": place, "plan": tuple(self.plan) if keep_plan and self.plan is not None else None}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.consumed, self.length, batch, self._before = state["place"]
        if None not in (self.batch, batch) and self.batch != batch:
            raise TamisError(f"the state was saved with batches of {batch}, but this Sieve serves {self.batch}.")
        self.batch = batch if self.batch is None else self.batch
        self.plan, self._astray = None if state["plan"] is None else Plan(*state["plan"]), None
        self._ahead = deque()
        self._touched = self.consumed >= self.length
