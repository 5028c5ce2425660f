"""The front door: a Sieve stands between a data loader and a training step.

The loop it serves, in pseudo-code, with what the Sieve does at each place::

    sieve = Sieve(n, policy, budget=20)
    loader = DataLoader(Indexed(data), batch_sampler=sieve.batches(128))
    while not sieve.done:                           # until the budget is spent
        for index, x, y in loader:                  # an epoch's plan: drawn when the loader is iterated
            batch = sieve.select(model, index, x, y)    # batch-level policies: judge, pool, hand out full batches
            if batch is None: continue
            index, x, y = batch
            loss = sieve.loss(index, model(x), y)       # weigh, record what was seen, count the cost
            loss.backward(); optimizer.step(); optimizer.zero_grad()
            set_lr(optimizer, sieve.fraction)           # any schedule, as a function of the budget spent
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.nested import Batch, cut, join, take
from tamis.observe import scores as published
from tamis.observe.scores import Score
from tamis.recorder import Recorder
from tamis.selection.cost import ASSUMED, PriceList
from tamis.selection.policies import Policy
from tamis.selection.schedules import Progress
from tamis.types import Costs, Observation, TamisError, generator

if TYPE_CHECKING:
    import polars as pl

Unit = Literal["cost", "passes"]
LossFn = Callable[[Any, Tensor], Tensor]


class Chosen(NamedTuple):
    """A batch to train on: ``index`` ``[b]`` int64 positions in the full training set, and the user's ``x`` and ``y``."""

    index: Tensor
    x: Batch
    y: Batch


class Pool(NamedTuple):
    """Examples that wait, in the order they came: their batch and ``multiplier`` ``[n]`` of each loss."""

    chosen: Chosen
    multiplier: Tensor

    def __len__(self) -> int:
        return int(self.multiplier.shape[0])


class Sieve:
    """Chooses what to train on, weighs it, records what was seen of it, and counts what all that costs.

    Args:
        n: number of examples in the full training set.
        policy: what to train on; see :mod:`tamis.policies`.
        budget: when to stop, in ``unit``.
        unit: ``cost``: epochs of plain training at the price list; ``passes``: passes over the training set, whether
            trained on or only looked at (the paper's epochs).
        seed: decides every draw; two Sieves with one seed draw alike.
        prices: a measured price list; without one a backward counts as two forwards and selection as free.
        record: difficulty scores to record; None records the last and mean loss and, where there are logits, the
            AUM and the correctness.
        loss_fn: ``(outputs, y) -> [b]`` losses, one per example; cross-entropy unless given.

    Raises:
        TamisError: a budget that is not positive, an empty training set, a batch that was not drawn next.

    Example:
        >>> import tamis
        >>> sieve = Sieve(4, tamis.policies.uniform(), budget=1)
        >>> for index in sieve.batches(2):
        ...     logits = torch.zeros(2, 3, requires_grad=True)
        ...     sieve.loss(torch.tensor(index), logits, torch.tensor([0, 1])).backward()
        >>> sieve.done, sieve.costs.backwards
        (True, 4)
    """

    def __init__(
        self,
        n: int,
        policy: Policy,
        *,
        budget: float,
        unit: Unit = "cost",
        seed: int = 0,
        prices: PriceList = ASSUMED,
        record: Sequence[Score] | None = None,
        loss_fn: LossFn | None = None,
    ) -> None:
        if n < 1:
            raise TamisError(f"the training set has {n} examples, but a Sieve needs at least one.")
        if not (budget > 0 and np.isfinite(budget)):
            raise TamisError(f"budget is {budget!r}, but it must be a finite number above 0, in {unit}.")
        if unit not in ("cost", "passes"):
            raise TamisError(f"unit is {unit!r}, but a budget is counted in 'cost' or in 'passes'.")
        self.n, self.policy, self.budget, self.unit, self.seed, self.prices = n, policy, budget, unit, seed, prices
        self.costs = Costs()
        self.selected_steps = 0
        wanted = list(record) if record is not None else published.default()
        if isinstance(policy.priority, Score) and policy.priority.name not in [score.name for score in wanted]:
            wanted.append(policy.priority)
        self.recorder = Recorder(n, wanted, strict=record is not None)
        self._loss_fn = loss_fn or _cross_entropy
        self._rule_state, self._schedule_state = policy.rule.init(), policy.schedule.init()
        self._epoch, self._consumed, self._length = 0, 0, 1
        self._batch_size: int | None = None
        self._plan: tuple[Tensor, Tensor | None] | None = None
        self._drawn: deque[tuple[Tensor, Tensor | None]] = deque()
        self._touched = False
        self._waiting: Pool | None = None
        self._ready: Pool | None = None
        self._pending: tuple[Tensor, Tensor, bool] | None = None
        self._astray: Tensor | None = None

    # What has been spent -----------------------------------------------------------------------------------------

    @property
    def passes(self) -> float:
        """Passes over the training set so far, as consumed (what a loader has drawn ahead does not count)."""
        return self._epoch + self._consumed / self._length

    @property
    def cost(self) -> float:
        """What has been spent, in epochs of plain training."""
        return self.prices.cost(self.costs, self.n)

    @property
    def fraction(self) -> float:
        """The share of the budget spent, in [0, 1]: what a learning rate should be a function of."""
        return min(1.0, self._spent() / self.budget)

    @property
    def done(self) -> bool:
        """True once the budget is spent."""
        self._raise_astray()
        return self._spent() >= self.budget

    @property
    def selecting(self) -> bool:
        """True when the policy's schedule lets it select now."""
        progress = Progress(self.fraction, self.passes, self.costs.steps)
        return self.policy.schedule.active(self._schedule_state, progress)

    def _spent(self, ahead: int = 0, examples: int = 0) -> float:
        """The budget spent once ``ahead`` more batches with ``examples`` in all will have been consumed."""
        if self.unit == "passes":
            return self.passes + ahead / self._length
        trained = examples if self.policy.level == "epoch" else 0
        return self.prices.cost(self.costs + Costs(candidates=examples, backwards=trained), self.n)

    # Drawing -----------------------------------------------------------------------------------------------------

    def batches(self, batch: int, drop_last: bool = False) -> Batches:
        """A batch sampler for ``DataLoader(..., batch_sampler=...)``, or to iterate as it is.

        Each ``iter()`` is one epoch with a plan of its own. ``batch`` is the *trained* size for every policy. Where
        the epoch ends in a smaller batch, ``drop_last`` leaves it out.
        """
        if batch < 1:
            raise TamisError(f"the batch size is {batch}, but a batch holds at least one example.")
        if self._batch_size not in (None, batch):
            raise TamisError(f"this Sieve already serves batches of {self._batch_size}; it cannot change to {batch}.")
        self._batch_size = batch
        return Batches(self, batch, drop_last)

    def _begin(self, batch: int, drop_last: bool) -> int:
        """Start the next epoch, or go on in the one a state was loaded from; returns how many batches were consumed."""
        self._raise_astray()
        if self._touched:  # a loader may ask twice for one epoch's iterator; an epoch is over once it was begun
            self._epoch, self._consumed, self._plan = self._epoch + 1, 0, None
        self._touched = False
        self._drawn.clear()
        if self._plan is None:
            self._plan = self._form_plan()
        planned = self._plan[0].shape[0]
        self._length = planned // batch if drop_last else -(-planned // batch)
        if self._length == 0:
            raise TamisError(
                f"an epoch has {planned} examples to train on and drop_last leaves out batches under {batch}: none is left."
            )
        return self._consumed

    def _form_plan(self) -> tuple[Tensor, Tensor | None]:
        """The epoch's examples in order, ``[k]``, and the multiplier of each, or None where all weigh 1."""
        order = torch.randperm(self.n, generator=generator(self.seed, "order", self._epoch))
        policy = self.policy
        if policy.level == "batch" or policy.keep == 1 or not self.selecting:
            return order, None
        if isinstance(policy.priority, Score):
            priority = self.recorder.compute(policy.priority).cpu()
            unseen = priority.isnan()
            highest = priority[~unseen].max() if not bool(unseen.all()) else torch.tensor(1.0)
            priority = torch.where(unseen, highest, priority)  # never seen: as important as the most important
        else:
            priority = torch.ones(self.n)
        draw = generator(self.seed, "select", 0 if policy.fixed else self._epoch)
        size = max(1, round(policy.keep * self.n))
        selection, self._rule_state = policy.rule.select(self._rule_state, priority, size, draw)
        self.costs += Costs(selections=1)
        place = torch.empty_like(order)
        place[order] = torch.arange(self.n)
        inside = place[selection.keep].argsort(stable=True)  # a subset keeps the order of the whole
        return selection.keep[inside], selection.multiplier[inside]

    # Judging -----------------------------------------------------------------------------------------------------

    def select(self, model: nn.Module, index: Tensor, x: Batch, y: Batch) -> Chosen | None:
        """Show a batch to the policy; get a batch to train on, or None until one is full.

        A batch-level policy forwards its candidates in eval mode without a graph (buffers, modes and generators stay as
        they are) and pools what it keeps until the trained size is there. For the others this is an identity.
        """
        if self.policy.level == "epoch":
            return Chosen(index, x, y)
        if self._pending is not None:
            raise TamisError("select was called twice without a loss between; train on the batch it gave first.")
        index, _ = self._claim(torch.as_tensor(index))
        self.costs += Costs(candidates=len(index))
        arrived = Pool(Chosen(index, x, y), torch.ones(len(index), device=_device(y, index)))
        if not self.selecting:
            self._ready = _append(self._ready, _append(self._waiting, arrived))
            self._waiting = None
            chosen_now = False
        else:
            self._waiting = _append(self._waiting, arrived)
            self._sift(model)
            chosen_now = True
        size = self._batch_size or len(index)
        if self._ready is None or len(self._ready) < size or self.done:
            return None
        head, self._ready = _split(self._ready, size)
        self._pending = (head.chosen.index, head.multiplier, chosen_now)
        return head.chosen

    def _sift(self, model: nn.Module) -> None:
        """Judge what waits, as soon as there are enough candidates, and move the kept to what is ready."""
        size = self._batch_size or 1
        while self._waiting is not None:
            wanted = len(self._waiting) if self.policy.rule.streaming else self.policy.candidates(size)
            if len(self._waiting) < wanted:
                return
            head, self._waiting = _split(self._waiting, wanted)
            index, x, y = head.chosen
            priority = self.policy.priority(self._look(model, index, x, y))  # type: ignore[misc, operator]
            self._schedule_state = self.policy.schedule.observe(self._schedule_state, priority)
            draw = generator(self.seed, "select", self.costs.selections)
            selection, self._rule_state = self.policy.rule.select(self._rule_state, priority, size, draw)
            self.costs += Costs(forwards=wanted, selections=1)
            kept = Chosen(*(take(part, selection.keep) for part in head.chosen))
            self._ready = _append(self._ready, Pool(kept, selection.multiplier))

    def _look(self, model: nn.Module, index: Tensor, x: Batch, y: Batch) -> Observation:
        """One forward in eval mode that leaves no trace."""
        modes = [(module, module.training) for module in model.modules()]
        device = _device(x, index)
        model.eval()
        try:
            with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
                outputs = model(x)
                losses = self._losses(outputs, y)
        finally:
            for module, training in modes:
                module.training = training
        return _observation(index, losses, outputs, y, self.costs.steps, "select")

    # Training ----------------------------------------------------------------------------------------------------

    def loss(self, index: Tensor, outputs: Any, y: Batch) -> Tensor:
        """The weighted mean loss of a batch; records what was seen and counts the step.

        (1/b) sum_i weight_i (k/M) loss_i; with everything kept, the plain mean, bit for bit.

        Args:
            index: ``[b]`` int64, as it came with the batch (best left on the CPU: no synchronisation).
            outputs: the model's, logits ``[b, K]`` for cross-entropy. y: targets, ``[b]`` int64.

        Raises:
            TamisError: a batch that is not the one drawn next, a loss that is not one number per example.
        """
        index = torch.as_tensor(index)
        if self.policy.level == "epoch":
            index, multiplier = self._claim(index)
            chosen_now = multiplier is not None
            self.costs += Costs(candidates=len(index))
        elif self._pending is None:
            raise TamisError(f"{self.policy.label} chooses inside a batch: call select first and train on what it gives.")
        else:
            expected, multiplier, chosen_now = self._pending
            self._check(index, expected)
            self._pending = None
        losses = self._losses(outputs, y)
        observation = _observation(index, losses.detach(), outputs, y, self.costs.steps, "train")
        if not chosen_now and self._schedule_state and callable(self.policy.priority):
            priority = self.policy.priority(observation)  # a plain step tells the gate for free
            self._schedule_state = self.policy.schedule.observe(self._schedule_state, priority)
        self.recorder.observe(observation)
        self.costs += Costs(backwards=len(index), steps=1)
        self.selected_steps += int(chosen_now)
        return losses.mean() if multiplier is None else (losses * multiplier.to(losses.device, losses.dtype)).mean()

    def _losses(self, outputs: Any, y: Batch) -> Tensor:
        losses = self._loss_fn(outputs, y)
        if losses.ndim != 1:
            raise TamisError(
                f"the loss has shape {tuple(losses.shape)}, but it must be one number per example, [b]; use reduction='none'."
            )
        return losses

    # The right batch ---------------------------------------------------------------------------------------------

    def _claim(self, index: Tensor) -> tuple[Tensor, Tensor | None]:
        """Match a batch with the oldest one drawn; returns its indices and multipliers, and counts it as consumed."""
        if not self._drawn:
            raise TamisError("no batch is waiting for this one; take batches from sieve.batches(...), once each.")
        expected, multiplier = self._drawn.popleft()
        self._check(index, expected)
        self._consumed += 1
        self._touched = True
        return index, multiplier

    def _check(self, index: Tensor, expected: Tensor) -> None:
        """On the CPU at once; on an accelerator the answer is kept there and asked for at the next epoch's end."""
        if index.shape != expected.shape or (not index.is_cuda and not torch.equal(index, expected.cpu())):
            raise TamisError(
                f"this batch is not the one drawn next (batch {self._consumed} of epoch {self._epoch}): "
                "train on every batch once, in the loader's order, and hand its index over unchanged."
            )
        if index.is_cuda:
            astray = (index != expected.to(index.device, non_blocking=True)).any()
            self._astray = astray if self._astray is None else self._astray | astray

    def _raise_astray(self) -> None:
        if self._astray is not None and self._consumed >= self._length and bool(self._astray):
            raise TamisError("a batch of this epoch was not the one drawn; train on every batch once, in order.")

    # What was seen -----------------------------------------------------------------------------------------------

    def examples(self) -> pl.DataFrame:
        """One row per training example: ``index``, ``trained`` (times) and every recorded score (NaN = never observed)."""
        import polars as pl

        return pl.DataFrame({"index": np.arange(self.n), **self.recorder.table()})

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly here, between two steps; plain values and tensors alone.

        Batches a loader has drawn ahead are not part of it: they are drawn again.
        """
        if self._pending is not None:
            raise TamisError("a batch from select has not been trained on yet; take the state after its loss.")
        pools = {name: pool and _flat(pool) for name, pool in (("waiting", self._waiting), ("ready", self._ready))}
        drawn_anew = self.policy.level == "batch" or self.policy.keep == 1  # a plan that the seed alone decides
        return {
            "identity": self._identity(),
            "costs": tuple(vars(self.costs).values()),
            "selected_steps": self.selected_steps,
            "epoch": (self._epoch, self._consumed, self._length, self._batch_size),
            "plan": None if drawn_anew else self._plan,
            "rule": self._rule_state,
            "schedule": self._schedule_state,
            "recorder": self.recorder.state_dict(),
            **pools,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken; the next ``iter()`` of the batches resumes in the middle of its epoch."""
        theirs, ours = state["identity"], self._identity()
        for name, value in ours.items():
            if theirs.get(name) != value:
                raise TamisError(f"the state was saved with {name} {theirs.get(name)!r}, but this Sieve has {value!r}.")
        self.costs = Costs(*state["costs"])
        self.selected_steps = state["selected_steps"]
        self._epoch, self._consumed, self._length, batch = state["epoch"]
        if self._batch_size not in (None, batch) and batch is not None:
            raise TamisError(f"the state was saved with batches of {batch}, but this Sieve serves {self._batch_size}.")
        self._rule_state, self._schedule_state = dict(state["rule"]), dict(state["schedule"])
        self.recorder.load_state_dict(state["recorder"])
        self._waiting, self._ready = (state[name] and _pool(state[name]) for name in ("waiting", "ready"))
        self._plan, self._pending, self._astray = state["plan"], None, None
        self._drawn.clear()
        self._touched = self._consumed >= self._length

    def _identity(self) -> dict[str, Any]:
        return {
            "n": self.n, "policy": self.policy.label, "budget": self.budget, "unit": self.unit, "seed": self.seed,
            "prices": (self.prices.forward, self.prices.step, self.prices.select, self.prices.data),
        }  # fmt: skip


class Batches:
    """A batch sampler: every ``iter()`` is a fresh iterator over one epoch; see :meth:`Sieve.batches`."""

    def __init__(self, sieve: Sieve, batch: int, drop_last: bool) -> None:
        self._sieve, self._batch, self._drop_last = sieve, batch, drop_last

    def __len__(self) -> int:
        """Batches in an epoch while the policy selects; the budget may end an epoch earlier."""
        sieve = self._sieve
        planned = sieve.n if sieve.policy.level == "batch" else max(1, round(sieve.policy.keep * sieve.n))
        return planned // self._batch if self._drop_last else -(-planned // self._batch)

    def __iter__(self) -> Iterator[list[int]]:
        skip = self._sieve._begin(self._batch, self._drop_last)
        return self._draw(skip, self._sieve._epoch)

    def _draw(self, skip: int, epoch: int) -> Iterator[list[int]]:
        sieve = self._sieve
        assert sieve._plan is not None
        index, multiplier = sieve._plan
        for number in range(skip, sieve._length):
            if sieve._epoch != epoch:
                raise TamisError("two iterators of one Sieve are open; finish an epoch before the next begins.")
            if sieve._spent(len(sieve._drawn), sum(len(drawn) for drawn, _ in sieve._drawn)) >= sieve.budget:
                return
            piece = slice(number * self._batch, (number + 1) * self._batch)
            sieve._drawn.append((index[piece], None if multiplier is None else multiplier[piece]))
            yield index[piece].tolist()


def _cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(outputs, y, reduction="none")


def _observation(
    index: Tensor, losses: Tensor, outputs: Any, y: Any, step: int, phase: Literal["train", "select"]
) -> Observation:
    """Logits and targets are observed where they are a classifier's: ``[b, K]`` numbers and ``[b]`` whole numbers."""
    logits = outputs.detach() if isinstance(outputs, Tensor) and outputs.ndim == 2 else None
    labels = isinstance(y, Tensor) and y.ndim == 1 and not y.is_floating_point()
    if logits is None or not labels:
        return Observation(index, losses, step=step, phase=phase)
    return Observation(index, losses, logits, y, step=step, phase=phase)


def _device(batch: Batch, fallback: Tensor) -> torch.device:
    while isinstance(batch, (dict, list, tuple)) and batch:
        batch = next(iter(batch.values())) if isinstance(batch, dict) else batch[0]
    return batch.device if isinstance(batch, Tensor) else fallback.device


def _append(pool: Pool | None, more: Pool | None) -> Pool:
    if pool is None or more is None:
        either = pool or more
        assert either is not None
        return either
    return Pool(Chosen(*join([pool.chosen, more.chosen])), torch.cat([pool.multiplier, more.multiplier]))


def _split(pool: Pool, size: int) -> tuple[Pool, Pool | None]:
    def part(start: int, stop: int | None) -> Pool:
        return Pool(Chosen(*cut(pool.chosen, start, stop)), pool.multiplier[start:stop])

    return part(0, size), part(size, None) if len(pool) > size else None


def _flat(pool: Pool) -> tuple[Any, ...]:
    """A pool for a state dict: copies, so that it does not hold the batches it was cut from."""
    return (*(take(part, torch.arange(len(pool))) for part in pool.chosen), pool.multiplier.clone())


def _pool(flat: tuple[Any, ...]) -> Pool:
    return Pool(Chosen(*flat[:3]), flat[3])


