"""How an audit trains: which network, how large a batch, how many passes; settled before it begins."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from tamis.loop import Recipe
from tamis.models import MODELS, build
from tamis.own.base import room
from tamis.own.reading import Own
from tamis.selection.cost import PriceList, measure_prices
from tamis.types import TamisError

WIDTHS = {"mlp": 512, "convnet": 32, "resnet9": 16}
"""The networks an audit chooses from, and how wide they are."""
PLANS = ((10, 4, 5), (8, 4, 4), (6, 3, 4), (4, 2, 3))
"""Passes of the first run, folds, passes of each fold's network: the fullest first."""
USABLE = 0.8  # of the minutes asked for is given to training; the rest reads, looks and writes
FEWEST = 400  # steps of the first run; fewer teach a network little, so small sets are passed over more often


@dataclass(frozen=True)
class Effort:
    """A fixed budget: with it and the seed, everything is decided.

    Attributes:
        model, width: of :mod:`tamis.models`. batch: examples a step.
        passes: of the first run. folds: 0 stops after it. fold_passes: of each fold's network.
    """

    model: str
    width: int
    batch: int
    passes: int
    folds: int
    fold_passes: int

    @property
    def epochs(self) -> float:
        """Epochs of training over the whole set, without looks."""
        return self.passes + self.fold_passes * max(0, self.folds - 1)

    @property
    def recipe(self) -> Recipe:
        """How each network is trained."""
        return Recipe.scaled(self.batch)

    def network(self, own: Own, device: str) -> Callable[[int], nn.Module]:
        """Seed to a fresh network for these data."""
        shape = tuple(own.data.x.shape[1:])
        return lambda seed: build(self.model, shape, own.data.classes, self.width, seed).to(device)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def plan_effort(
    own: Own,
    minutes: float,
    model: str = "auto",
    device: str = "cpu",
    price: Callable[[Effort], PriceList] | None = None,
) -> tuple[Effort, float]:
    """The fullest effort that fits, and the minutes it is predicted to take on this machine.

    ``auto`` takes, for colour pictures, the first of resnet9, convnet and mlp whose full plan fits, and the mlp for
    everything else. Where none fits, the plan is cut down; the shortest is taken even if it does not fit.

    Args:
        own: the data. minutes: to spend. model: auto, mlp, convnet or resnet9. price: how to price an effort; None
            measures it here.

    Raises:
        TamisError: an unknown model, one that cannot take the data, or no time at all.
    """
    choices = networks(own, minutes, model)
    price = price or (lambda effort: measured(own, effort, device))
    least: tuple[Effort, float] | None = None
    for name in choices:
        fullest = _efforts(own, name)[0]
        prices = price(fullest)
        for effort in _efforts(own, name)[: 1 if name != choices[-1] else None]:
            predicted = _minutes(effort, len(own.data.y), prices)
            if predicted <= USABLE * minutes:
                return effort, predicted
            least = effort, predicted
    assert least is not None
    return least


def check_asked(minutes: float, model: str) -> None:
    """Refuse what is asked for wrongly whatever the data are, so that nobody waits for them to be read first."""
    if not 0 < minutes < math.inf:
        raise TamisError(f"--minutes is {minutes:g}, but an audit needs some time, and an end: above 0, such as 10.")
    known = ("auto", *WIDTHS)
    if model not in known:
        near = difflib.get_close_matches(model, known, 1, cutoff=0)[0]
        raise TamisError(f"there is no --model {model!r}; did you mean {near!r}? (known: {', '.join(known)})")


def networks(own: Own, minutes: float, model: str) -> list[str]:
    """Which networks come into question, the best first; refuses what cannot be done."""
    check_asked(minutes, model)
    n, classes, most = len(own.data.y), own.data.classes, max(folds for _, folds, _ in PLANS)
    room(
        (most, n, classes), 4, f"what {most} networks say of {n:,} examples and {classes:,} classes",
        "so many classes look like identifiers: name another column as label=, or join classes",
    )  # fmt: skip
    pictures = own.data.x.ndim == 4
    if model in ("convnet", "resnet9") and not pictures:
        raise TamisError(f"--model {model} looks at pictures, and these data are {own.kind}; use --model mlp.")
    colour = pictures and own.data.x.shape[1] == 3
    return [model] if model != "auto" else ["resnet9", "convnet", "mlp"] if colour else ["mlp"]


def measured(own: Own, effort: Effort, device: str) -> PriceList:
    """The price list of a step on this machine."""
    if effort.model not in MODELS:
        raise TamisError(f"there is no model {effort.model!r}.")
    part = torch.arange(min(effort.batch, len(own.data.y)))
    return measure_prices(
        effort.network(own, device)(0), own.data.x[part].to(device), own.data.y[part].to(device), repeats=9, warmup=3
    )


def _efforts(own: Own, model: str) -> list[Effort]:
    """One for each plan. A class of fewer examples than folds is absent from some held parts, and learnt in every one:
    :func:`~tamis.observe.out_of_fold.folds_of` never puts two of its examples into the same."""
    n = len(own.data.y)
    batch = Recipe.sized(n).batch
    found = []
    for passes, folds, fold_passes in PLANS:
        more = min(3.0, max(1.0, FEWEST * batch / (passes * n)))
        found.append(Effort(model, WIDTHS[model], min(batch, max(2, n // 4)), round(passes * more), folds,
                            round(fold_passes * more)))  # fmt: skip
    return found


def _minutes(effort: Effort, n: int, prices: PriceList) -> float:
    looks = effort.fold_passes if effort.folds else 0
    return n * (effort.epochs * prices.step + (looks + 2) * prices.forward) / 60
