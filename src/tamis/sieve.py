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

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tamis.drawing import Drawing, Plan
from tamis.entrance import not_excluded, the_budget, the_given, the_policy, the_scores, who, whole
from tamis.guarding import Guarding
from tamis.judging import Chosen, Judge
from tamis.looking import Looking, LossFn
from tamis.nested import Batch
from tamis.observe.scores import Score
from tamis.planning import form_plan
from tamis.recorder import Recorder
from tamis.selection.cost import ASSUMED, PriceList
from tamis.selection.policy import Policy
from tamis.selection.schedules import Progress
from tamis.types import Costs, TamisError

if TYPE_CHECKING:
    import polars as pl

Unit = Literal["cost", "passes"]
PARTS = {"drawing": "_drawing", "judge": "_judge", "recorder": "recorder", "guarding": "_guarding"}
"""What has a state of its own, by its name in the Sieve's."""
NEWER = ("exclude",)
"""What states of earlier versions did not know of themselves."""


class Sieve:
    """Chooses what to train on, weighs it, records what was seen of it, and counts what all that costs.

    Args:
        n: number of examples in the full training set.
        policy: what to train on; see :mod:`tamis.policies`; or its label, such as "top_k(keep=1/3)".
        budget: when to stop, in ``unit``.
        unit: ``cost``: epochs of plain training at the price list; ``passes``: passes over the training set, whether
            trained on or only looked at (the paper's epochs).
        seed: decides every draw; two Sieves with one seed draw alike.
        prices: a measured price list; without one a backward counts as two forwards and selection as free.
        record: difficulty scores to record; None records the last and mean loss and, where there are logits, the
            AUM and the correctness.
        loss_fn: ``(outputs, y) -> [b]`` losses, one per example; cross-entropy unless given.
        given: what the policy needs of every example, ``[n]`` by name, such as ``irreducible_loss``.
        exclude: ``[n]`` bool, examples that are never drawn, such as those held out.

    Raises:
        TamisError: a budget that is not positive, an empty training set, a policy without what it needs, a batch that
            was not drawn next.

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
        policy: Policy | str,
        *,
        budget: float,
        unit: Unit = "cost",
        seed: int = 0,
        prices: PriceList = ASSUMED,
        record: Sequence[Score] | None = None,
        loss_fn: LossFn | None = None,
        given: Mapping[str, Tensor] | None = None,
        exclude: Tensor | None = None,
    ) -> None:
        policy = the_policy(policy)
        n = self.n = whole("n, how many examples there are,", n, 1)
        self.seed = whole("seed", seed, 0)
        self.policy, self.budget, self.unit, self.prices = policy, the_budget(budget, unit), unit, prices
        values, self._candidates = the_given(policy, given, n), not_excluded(exclude, n)
        if policy.guard is not None and loss_fn is not None:
            raise TamisError(
                f"{policy.label} trains by a loss of its own, of logits [b, K] and labels [b]; leave loss_fn out, or "
                "take another policy where there are none, as in regression."
            )
        self.costs = Costs()
        self.selected_steps = 0.0
        wanted = the_scores(record)
        if isinstance(policy.priority, Score) and policy.priority.name not in [score.name for score in wanted]:
            wanted.append(policy.priority)
        own = [policy.priority.name] if isinstance(policy.priority, Score) else []
        required = [s.name for s in wanted] if record is not None else own
        self.recorder = Recorder(n, wanted, required=required, looks=policy.needs.refresh > 0)
        # What another loss function is given need not be a classifier's logits and labels, unless scores ask for them.
        classifier = loss_fn is None or any(s.needs for s in wanted if s.name in self.recorder.required)
        self._looking = Looking(n, loss_fn, classifier, values)
        self._drawing, self._judge = Drawing(), Judge(policy, self.seed, n)
        self._guarding = Guarding(policy, n, self.seed)

    # What has been spent -----------------------------------------------------------------------------------------

    @property
    def passes(self) -> float:
        """Passes over the training set so far, as consumed (what a loader has drawn ahead does not count)."""
        return self._drawing.passes

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
        spent = self._spent() >= self.budget
        self._drawing.raise_astray(now=spent)
        return spent

    @property
    def selecting(self) -> bool:
        """True when the policy's schedule lets it select now."""
        return self._judge.active(self._progress)

    @property
    def _progress(self) -> Progress:
        return Progress(self.fraction, self.passes, self.costs.steps)

    def _spent(self, ahead: int = 0, examples: int = 0, looks: int = 0) -> float:
        """The budget spent once ``ahead`` more batches, of ``examples`` and ``looks`` in all, have been consumed."""
        if self.unit == "passes":
            return self._drawing.passes_after(ahead)
        if not ahead:
            return self.cost
        trained = examples if self.policy.level == "epoch" else 0
        return self.prices.cost(self.costs + Costs(examples + looks, looks, trained), self.n)

    # Drawing -----------------------------------------------------------------------------------------------------

    def batches(self, batch: int, drop_last: bool = False) -> Batches:
        """A batch sampler for ``DataLoader(..., batch_sampler=...)``, or to iterate as it is.

        Each ``iter()`` is one epoch with a plan of its own. ``batch`` is the *trained* size for every policy. Where
        the epoch ends in a smaller batch, ``drop_last`` leaves it out.
        """
        self._drawing.serve(batch := whole("the batch size", batch, 1))
        return Batches(self, batch, drop_last)

    def _form_plan(self, least: int, epoch: int) -> Plan:
        allowed = self._guarding.after_pass(self.fraction, self.recorder)
        plan = form_plan(self._judge, self.recorder, self._candidates, epoch, self._progress, allowed, least)
        plan = self._guarding.plan(plan, epoch, least)
        self.costs += Costs(selections=int(plan.selected))
        return plan

    # Judging -----------------------------------------------------------------------------------------------------

    def select(self, model: nn.Module, index: Tensor, x: Batch, y: Batch) -> Chosen | None:
        """Show a batch to the policy; get a batch to train on, or None until one is full.

        A batch-level policy forwards its candidates in eval mode without a graph (buffers, modes and generators stay as
        they are) and pools what it keeps until the trained size is there. For the others this is an identity, but for
        batches that are drawn for a look alone: those are forwarded, and the answer is None.
        """
        if self.policy.level == "epoch" and not self._drawing.look_next:
            return Chosen(index, x, y)
        if self._judge.pending is not None:
            raise TamisError("select was called twice without a loss between; train on the batch it gave first.")
        if self.done:  # what a loader has drawn ahead is neither looked at nor charged
            return None
        index = torch.as_tensor(index)
        batch, selecting, progress = self._drawing.batch or len(index), self.selecting, self._progress
        self._drawing.claim(index)
        self.costs += Costs(candidates=len(index))
        scale, tap = self.policy.look.scale, self.policy.needs.features
        look = partial(self._looking.look, model, step=self.costs.steps, scale=scale, tap=tap)
        if self.policy.level == "epoch":
            self.recorder.observe(look(index, x, y))
            self.costs += Costs(forwards=len(index))
            return None
        self._judge.arrive(Chosen(index, x, y), selecting)
        if selecting:
            self.costs += self._judge.sift(look, batch, self.costs.selections, progress)
        return self._judge.full_batch(batch)

    def refer(self, model: nn.Module, x: Batch, y: Tensor) -> None:
        """Show the policy its clean reference set ``x``, ``y`` ``[r]``, before a pass; charged as ``r`` forwards.

        In the middle of a pass it does nothing, so that a resumed loop may call it where the unbroken one did; nor
        before a pass that follows one that was broken off.
        """
        if self._drawing.consumed in (0, self._drawing.length):
            self.costs += Costs(forwards=self._looking.refer(model, x, y))

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
        b = index.shape[0] if index.ndim else 0
        losses = self._looking.losses(index, outputs, y)
        self._guarding.check(self._looking.classifies(outputs, y))
        if self.policy.level == "epoch":
            if self._drawing.look_next:
                raise TamisError(f"{self.policy.label} drew this batch for a look: call select, which answers None.")
            multiplier = self._drawing.claim(index)
            selected, candidates = float(self._drawing.plan is not None and self._drawing.plan.selected), b
        elif self._judge.pending is None:
            raise TamisError(
                f"{self.policy.label} chooses inside a batch: call select first and train on what it gives."
            )
        else:
            (expected, multiplier, selected), candidates = self._judge.pending, 0  # they were counted by select
            self._drawing.check(index, expected)
            self._judge.pending = None
        seen = self._looking.observation(index, losses.detach(), outputs, y, step=self.costs.steps, phase="train")
        if not selected:
            self._judge.notice(seen)
        self.recorder.observe(seen)
        losses = self._guarding.losses(seen, outputs, losses)
        self.costs += Costs(candidates, backwards=b, steps=1)
        self.selected_steps += selected
        if self.policy.reshape is not None:
            losses = self.policy.reshape(losses)
        if multiplier is None:
            return losses.mean()
        return (losses * multiplier.to(losses.device, losses.dtype, non_blocking=True)).mean()

    # What was seen -----------------------------------------------------------------------------------------------

    @property
    def notes(self) -> list[dict[str, float | str]]:
        """What the policy's guard decided after each pass, in plain values; empty where it has none."""
        return self._guarding.notes

    def table(self) -> dict[str, np.ndarray]:
        """Columns ``[n]`` by name: ``trained``, every recorded score and, where there is a guard, ``p_mislabeled``."""
        return {**self.recorder.table(), **self._guarding.columns()}

    def examples(self) -> pl.DataFrame:
        """One row per training example: ``index`` and the columns of :meth:`table` (NaN = never observed; of
        ``p_mislabeled``: not since the first pass)."""
        import polars as pl

        return pl.DataFrame({"index": np.arange(self.n), **self.table()})

    def state_dict(self) -> dict[str, Any]:
        """Everything needed to go on exactly here, between two steps; plain values and tensors alone.

        Batches a loader has drawn ahead are not part of it: they are drawn again.
        """
        return {
            "identity": self._identity(),
            "costs": tuple(vars(self.costs).values()),
            "selected_steps": self.selected_steps,
            "drawing": self._drawing.state_dict(keep_plan=not self.policy.seed_alone),
            "judge": self._judge.state_dict(),
            "given": {name: value.clone() for name, value in self._looking.given.items()},
            "recorder": self.recorder.state_dict(),
            "guarding": self._guarding.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where ``state`` was taken; the next ``iter()`` of the batches resumes in the middle of its epoch.

        Raises:
            TamisError: a state of another run, by what differs.
        """
        theirs, ours = state.get("identity"), self._identity()
        if not isinstance(theirs, Mapping):
            raise TamisError("this is no state of a Sieve; hand over what sieve.state_dict() gave.")
        for name, value in ours.items():
            if theirs.get(name, value if name in NEWER else None) != value:
                raise TamisError(f"the state was saved with {name} {theirs.get(name)!r}, but this Sieve has {value!r}.")
        parts = {name: copy(getattr(self, at)) for name, at in PARTS.items()}
        for name, part in parts.items():
            if name in state:  # states of earlier versions have no guarding
                part.load_state_dict(state[name])
        for name, part in parts.items():  # only now, that all could be read
            setattr(self, PARTS[name], part)
        self._looking.given = dict(state["given"])
        self.costs = Costs(*state["costs"])
        self.selected_steps = state["selected_steps"]

    def _identity(self) -> dict[str, Any]:
        return {
            "n": self.n, "policy": self.policy.label, "budget": self.budget, "unit": self.unit, "seed": self.seed,
            "guard": None if self.policy.guard is None else repr(self.policy.guard),  # one that was added has no label
            "exclude": who(self._candidates, self.n),
            "prices": tuple(map(float, (self.prices.forward, self.prices.step, self.prices.select, self.prices.data))),
        }  # fmt: skip


class Batches:
    """A batch sampler: every ``iter()`` is a fresh iterator over one epoch; see :meth:`Sieve.batches`."""

    def __init__(self, sieve: Sieve, batch: int, drop_last: bool) -> None:
        self._sieve, self._batch, self._drop_last = sieve, batch, drop_last

    def __len__(self) -> int:
        """Batches in an epoch while the policy selects; the budget may end an epoch earlier, a guard leave some out."""
        sieve = self._sieve
        n = len(sieve._candidates)
        everyone = sieve.policy.level == "batch" or sieve.policy.guard is not None
        planned = n if everyone else max(1, round(sieve.policy.keep * n))
        return planned // self._batch if self._drop_last else -(-planned // self._batch)

    def __iter__(self) -> Iterator[list[int]]:
        sieve = self._sieve

        def full() -> bool:
            return sieve._spent(*sieve._drawing.ahead) >= sieve.budget

        form_plan = partial(sieve._form_plan, self._batch if self._drop_last else 1)
        return sieve._drawing.begin(self._batch, self._drop_last, form_plan, full)
