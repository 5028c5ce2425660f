"""train(): the one loop, standing on the Sieve, so that what a study measures is what a user gets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.observe.scores import Score
from tamis.observe.signals import Signal
from tamis.selection.cost import ASSUMED, PriceList
from tamis.selection.policies import Policy
from tamis.sieve import Sieve, Unit
from tamis.types import Arrays, Observation, Point, Record, TamisError, generator

LOOKS = 4  # from one point of the curve to the next
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

    def lr_at(self, fraction: float) -> float:
        """The learning rate after ``fraction`` of the budget.

        Example:
            >>> [round(Recipe().lr_at(f), 3) for f in (0.0, 0.1, 0.2, 0.6, 1.0)]
            [0.0, 0.05, 0.1, 0.05, 0.0]
        """
        rising = fraction / self.warmup if self.warmup else 1.0
        return self.lr * max(0.0, min(rising, (1 - fraction) / (1 - self.warmup)))


def train(
    model: nn.Module,
    data: Arrays,
    test: Arrays,
    policy: Policy,
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
) -> Record:
    """Train ``model`` in place on ``data`` and return its :class:`~tamis.types.Record`.

    Args:
        data, test: in memory, on the model's device. budget, unit, prices: see :class:`~tamis.Sieve`.
        points: how many points of the curve, evenly spaced over the budget, beside the one before training.
        watch: signals to look at, in eval mode, of a fixed sample of ``watch_size`` training examples, four times from
            one point to the next. Diagnosis for the theory; it changes nothing in the training and is not charged.
        progress: called with the fraction of the budget spent, at every step.

    On CUDA the forward runs under bfloat16 autocast; on the CPU a seed decides every bit.

    Raises:
        TamisError: what the Sieve refuses; a loss that is no longer finite.
    """
    sieve = Sieve(len(data.y), policy, budget=budget, unit=unit, seed=seed, prices=prices, record=record)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.lr,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
        weight_decay=recipe.weight_decay,
    )
    amp = torch.autocast("cuda", torch.bfloat16, enabled=data.x.is_cuda)
    clock = _Clock()
    trained_before, selected_before = np.zeros(len(data.y), np.int64), (0, 0.0)
    curve: list[Point] = []
    looks: list[dict[str, np.ndarray]] = []
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
            point = Point(
                costs=sieve.costs,
                cost=sieve.cost,
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
                looks.append(
                    {name: values.cpu().numpy() for name, values in look(model, data.take(watched), watch)[1].items()}
                )

    with torch.random.fork_rng([data.x.device] if data.x.is_cuda else []), clock.running("total_seconds"):
        torch.manual_seed(seed)  # dropout and the like
        mark()
        look_now()
        model.train()
        batches = sieve.batches(recipe.batch, drop_last=True)
        last = torch.zeros(())
        while not sieve.done:
            for drawn in batches:
                index = torch.tensor(drawn)
                x, y = data.x[index], data.y[index]
                if augment is not None:
                    x = augment(x, generator(seed, "augment", sieve.costs.candidates))
                with amp:
                    chosen = sieve.select(model, index, x, y)
                if chosen is None:
                    continue
                lr = recipe.lr_at(sieve.fraction)
                for group in optimizer.param_groups:
                    group["lr"] = lr
                with amp:
                    loss = sieve.loss(chosen.index, model(chosen.x), chosen.y)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if progress is not None:
                    progress(sieve.fraction)
                last = loss.detach()
                if sieve.done:
                    break
                if sieve.fraction >= len(curve) / points:
                    _raise_unless_finite(last, sieve.costs.steps)
                    mark()
                    look_now()
                elif sieve.fraction >= (len(curve) - 1 + len(looks) / LOOKS) / points:
                    look_now()
                model.train()
        _raise_unless_finite(last, sieve.costs.steps)
        mark()
    seconds = {**clock.seconds, "train_seconds": clock.seconds["total_seconds"] - clock.seconds["evaluate_seconds"]}
    return Record(tuple(curve), sieve.recorder.table(), watched.numpy(), seconds)


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


def _raise_unless_finite(loss: Tensor, step: int) -> None:
    if not bool(loss.isfinite()):
        raise TamisError(f"the loss is {float(loss)} at step {step}: training has diverged; lower the learning rate.")


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
