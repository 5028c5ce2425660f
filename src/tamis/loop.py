"""train(): the one loop, standing on the Sieve, so that what a study measures is what a user gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.entrance import the_policy, whole
from tamis.judging import Chosen
from tamis.observe.scores import Score
from tamis.observe.signals import Signal
from tamis.selection.cost import ASSUMED, PriceList
from tamis.selection.policy import Policy
from tamis.sieve import Sieve, Unit
from tamis.types import Arrays, Costs, Observation, Point, Record, TamisError, generator

LOOKS = 4  # from one point of the curve to the next
_UNITS = {"cost": "epochs of cost", "passes": "passes"}
Augment = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained, whatever it is trained on: SGD with a triangular learning rate over the budget.

    The learning rate rises linearly from 0 to ``lr`` over the first ``warmup`` of the budget and falls linearly to 0 at
    its end: a function of the budget's fraction, so every budget is fully decayed.
    """

    batch: int = 128
    lr: float = 0.1
    warmup: float = 0.2
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        if self.batch < 1 or not self.lr > 0 or not 0 <= self.warmup < 1 or not 0 <= self.momentum < 1:
            raise TamisError(
                f"{self} needs a batch of at least 1, lr above 0, warmup in [0, 1) and momentum in [0, 1)."
            )
        if not self.weight_decay >= 0:
            raise TamisError(f"weight_decay is {self.weight_decay}, but it must be at least 0.")

    @classmethod
    def scaled(cls, batch: int) -> Recipe:
        """The same for smaller batches: ``lr`` in proportion, down to a quarter.

        A network that learns through a transition matrix by large steps of few examples each takes one class for
        another, and the matrix then explains it.

        Example:
            >>> Recipe.scaled(64).lr, Recipe.scaled(8).lr
            (0.05, 0.025)
        """
        return cls(batch=batch, lr=cls.lr * min(1.0, max(batch, 32) / cls.batch))

    @classmethod
    def sized(cls, n: int) -> Recipe:
        """The recipe for ``n`` examples: a pass over few of them is cut into small batches, so that it has steps.

        Example:
            >>> Recipe.sized(20_000) == Recipe(), Recipe.sized(2_000)
            (True, Recipe(batch=32, lr=0.025, warmup=0.2, momentum=0.9, weight_decay=0.0005))
        """
        return cls.scaled(next((batch for batch, least in ((128, 6_000), (64, 3_000), (32, 800)) if n >= least), 16))

    def lr_at(self, fraction: float) -> float:
        """The learning rate after ``fraction`` of the budget.

        Example:
            >>> [round(Recipe().lr_at(f), 3) for f in (0.0, 0.1, 0.2, 0.6, 1.0)]
            [0.0, 0.05, 0.1, 0.05, 0.0]
        """
        rising = fraction / self.warmup if self.warmup else 1.0
        return self.lr * max(0.0, min(rising, (1 - fraction) / (1 - self.warmup)))


@dataclass(frozen=True)
class Given:
    """What a policy needs beyond the losses of one model, provided; :func:`tamis.providing.provide` makes one.

    Attributes:
        values: of every training example, ``[N]`` by name. exclude: ``[N]`` bool, examples not to be trained on.
        reference: a clean set, looked at before every pass. peers: the further networks, on the data's device.
        costs: what providing all this has cost; it is charged to the run.
    """

    values: Mapping[str, Tensor] = field(default_factory=dict)
    exclude: Tensor | None = None
    reference: Arrays | None = None
    peers: tuple[nn.Module, ...] = ()
    costs: Costs = Costs()


def train(
    model: nn.Module,
    data: Arrays,
    test: Arrays,
    policy: Policy | str,
    *,
    budget: float,
    unit: Unit = "cost",
    recipe: Recipe = Recipe(),
    seed: int = 0,
    prices: PriceList = ASSUMED,
    augment: Augment | None = None,
    record: Sequence[Score] | None = None,
    points: int = 10,
    watch: Sequence[Signal] = (),
    watch_size: int = 6_000,
    progress: Callable[[float], None] | None = None,
    given: Given = Given(),
) -> Record:
    """Train ``model`` in place on ``data`` and return its :class:`~tamis.types.Record`.

    Args:
        data, test: in memory, on the model's device. budget, unit, prices: see :class:`~tamis.Sieve`.
        points: how many points of the curve, evenly spaced over the budget, beside the one before training.
        watch: signals to look at, as the selection pass sees them (in eval mode, augmented), of a fixed sample of
            ``watch_size`` training examples, four times from one point to the next, beside who of them has yet to come
            in this pass (``waiting``). Diagnosis for the theory; it changes nothing in the training and is not charged.
        progress: called with the fraction of the budget spent, at every step.
        given: what the policy needs beyond losses. Its cost is taken off the budget; where there are peers, the budget
            pays for all of them, and what is reported is the first network's.

    On CUDA the forward runs under bfloat16 autocast; on the CPU a seed decides every bit.

    Raises:
        TamisError: what the Sieve refuses; a loss that is no longer finite; a budget that ends before the first step.
    """
    policy, networks = the_policy(policy), (model, *given.peers)
    whole("points", points, 1)
    if len(networks) != policy.needs.models:
        raise TamisError(f"{policy.label} trains {policy.needs.models} networks, but {len(networks)} were given.")
    paid = prices.cost(given.costs, len(data.y))
    each = (budget - paid) / len(networks) if unit == "cost" else budget
    if not each > 0:
        raise TamisError(f"{policy.label} needs {paid:.2f} epochs of cost before it trains; the budget is {budget:g}.")
    learners = []
    for network in networks:
        own = Sieve(
            len(data.y), policy, budget=each, unit=unit, seed=seed, prices=prices, record=record,
            given=given.values, exclude=given.exclude,
        )  # fmt: skip
        optimizer = torch.optim.SGD(
            network.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
        )
        learners.append(_Learner(network, own, optimizer))
    sieve, judges = learners[0].sieve, [*learners[1:], learners[0]]
    amp = torch.autocast("cuda", torch.bfloat16, enabled=data.x.is_cuda)
    clock = _Clock()
    trained_before, selected_before = np.zeros(len(data.y), np.int64), (0, 0.0)
    curve: list[Point] = []
    looks: list[dict[str, np.ndarray]] = []
    waiting = torch.ones(len(data.y), dtype=torch.bool)
    watched = (
        torch.randperm(len(data.y), generator=generator(seed, "watch"))[: watch_size if watch else 0].sort().values
    )

    def mark() -> None:
        nonlocal trained_before, selected_before
        with clock.running("evaluate_seconds"):
            predicted, _ = look(model, test)
            wrong = (predicted != test.y).double()
            class_error = torch.zeros(test.classes, dtype=torch.float64, device=wrong.device)
            class_error.index_add_(0, test.y, wrong)
            class_error /= torch.bincount(test.y, minlength=test.classes).clamp(min=1)
            trained = sieve.recorder.trained.cpu().numpy()
            steps, selected = sieve.costs.steps, sieve.selected_steps
            costs = sum((learner.sieve.costs for learner in learners), given.costs)
            point = Point(
                costs=costs,
                cost=prices.cost(costs, len(data.y)),
                test_error=float(wrong.mean()),
                worst_class_error=float(class_error.max()),
                class_error=class_error.cpu().numpy(),
                trained=(trained - trained_before).astype(np.uint16),
                looks=tuple(looks),
                selecting=(selected - selected_before[1]) / max(1, steps - selected_before[0]),
                passes=sieve.passes,
            )
            trained_before, selected_before = trained, (steps, selected)
            curve.append(point)
            looks.clear()

    def look_now() -> None:
        if watch:
            with clock.running("evaluate_seconds"):
                shown = data.take(watched)
                if augment is not None:  # what the rule ranks is what the selection pass sees
                    shown = shown._replace(x=augment(shown.x, generator(seed, "watch", sieve.costs.candidates)))
                seen = look(model, shown, watch)[1] | {"waiting": waiting[watched]}
                looks.append({name: values.cpu().numpy() for name, values in seen.items()})

    with torch.random.fork_rng([data.x.device] if data.x.is_cuda else []), clock.running("total_seconds"):
        torch.manual_seed(seed)  # dropout and the like
        mark()
        look_now()
        _train_mode(learners)
        batches = [learner.sieve.batches(recipe.batch, drop_last=True) for learner in learners]
        last = torch.zeros(())
        while not any(learner.sieve.done for learner in learners):
            if given.reference is not None:
                with amp:
                    for learner in learners:
                        learner.sieve.refer(learner.model, given.reference.x, given.reference.y)
            waiting[:] = True
            for drawn in zip(*batches, strict=False):  # one seed, one order for all
                index = torch.tensor(drawn[0])
                waiting[index] = False
                x, y = data.x[index], data.y[index]
                if augment is not None:
                    x = augment(x, generator(seed, "augment", sieve.costs.candidates))
                with amp:
                    chosen = [
                        learner.sieve.select(judge.model, index, x, y)
                        for learner, judge in zip(learners, judges, strict=True)
                    ]
                losses = [
                    learner.step(batch, recipe.lr_at(learner.sieve.fraction), amp)
                    for learner, batch in zip(learners, chosen, strict=True)
                    if batch is not None
                ]
                if not losses:
                    continue
                if progress is not None:
                    progress(sieve.fraction)
                last = losses[0]
                if any(learner.sieve.done for learner in learners):
                    break
                if sieve.fraction >= len(curve) / points:
                    _raise_unless_finite(last, sieve.costs.steps)
                    mark()
                    look_now()
                elif sieve.fraction >= (len(curve) - 1 + len(looks) / LOOKS) / points:
                    look_now()
                _train_mode(learners)
        _raise_unless_finite(last, sieve.costs.steps)
        _raise_unless_stepped(sieve, policy, recipe.batch, len(data.y), f"{budget:g} {_UNITS[unit]}")
        mark()
    seconds = {**clock.seconds, "train_seconds": clock.seconds["total_seconds"] - clock.seconds["evaluate_seconds"]}
    return Record(tuple(curve), sieve.table(), watched.numpy(), seconds, tuple(sieve.notes))


def look(
    model: nn.Module, data: Arrays, signals: Sequence[Signal] = (), batch: int = 250
) -> tuple[Tensor, dict[str, Tensor]]:
    """Predicted class ``[N]`` int64 and signals ``[N]`` by name of every example, in eval mode, without a graph."""
    model.eval()
    predicted: list[Tensor] = []
    seen: dict[str, list[Tensor]] = {signal.__name__: [] for signal in signals}
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16, enabled=data.x.is_cuda):
        for index, x, y in zip(
            *(part.split(batch) for part in (torch.arange(len(data.y)), data.x, data.y)), strict=True
        ):
            logits = model(x).float()
            predicted.append(logits.argmax(1))
            observation = Observation(index, F.cross_entropy(logits, y, reduction="none"), logits, y, phase="select")
            for signal in signals:
                seen[signal.__name__].append(signal(observation))
    return torch.cat(predicted), {name: torch.cat(parts) for name, parts in seen.items()}


class _Learner(NamedTuple):
    """A network with what it learns by."""

    model: nn.Module
    sieve: Sieve
    optimizer: torch.optim.Optimizer

    def step(self, batch: Chosen, lr: float, amp: AbstractContextManager[object]) -> Tensor:
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        with amp:
            loss = self.sieve.loss(batch.index, self.model(batch.x), batch.y)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.detach()


def _train_mode(learners: Iterable[_Learner]) -> None:
    for learner in learners:
        learner.model.train()


def _raise_unless_finite(loss: Tensor, step: int) -> None:
    if not bool(loss.isfinite()):
        raise TamisError(f"the loss is {float(loss)} at step {step}: training has diverged; lower the learning rate.")


def _raise_unless_stepped(sieve: Sieve, policy: Policy, batch: int, n: int, budget: str) -> None:
    """A network that never learned is no run: its error would stand in the tables beside a cost of nothing."""
    if sieve.costs.steps == 0:
        asked = policy.candidates(batch) if policy.level == "batch" else batch
        raise TamisError(
            f"{policy.label} took no step within its budget of {budget}: a step of {batch} examples chooses among "
            f"{asked} candidates, and a pass offers at most {n // batch * batch}; keep more, or make the batch smaller "
            "or the budget larger."
        )


class _Clock:
    """Wall seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {"evaluate_seconds": 0.0, "total_seconds": 0.0}

    def running(self, name: str) -> _Running:
        return _Running(self, name)


class _Running:
    def __init__(self, clock: _Clock, name: str) -> None:
        self._clock, self._name = clock, name

    def __enter__(self) -> None:
        self._start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._clock.seconds[self._name] += time.perf_counter() - self._start
