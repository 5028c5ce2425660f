"""What selection costs: deterministic counts times a price list that is measured once.

One unit of cost is one epoch of plain training. Wall seconds are recorded elsewhere and enter no claim.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.types import Costs, TamisError


@dataclass(frozen=True)
class PriceList:
    """Seconds per piece of work, for one machine, model, batch size and thread count.

    Attributes:
        forward: per example, eval mode, without a graph.
        step: per example, forward and backward and update.
        select: per call of a rule.
        data: per candidate, for loading it; 0 for data in memory.
        measured: False for prices that are assumed (backward twice the forward).
    """

    forward: float
    step: float
    select: float = 0.0
    data: float = 0.0
    measured: bool = True

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.forward >= 0 and self.select >= 0 and self.data >= 0):
            raise TamisError(f"the price list {asdict(self)} must have a step above 0 and no price below 0.")

    def cost(self, costs: Costs, n: int) -> float:
        """Costs in epochs of plain training over ``n`` examples.

        (forwards f + backwards s + selections r + candidates d) / (n (s + d)).

        Example:
            >>> ASSUMED.cost(Costs(candidates=100, forwards=100, backwards=50), n=100)  # 1/3 + 1/2
            0.8333333333333334
        """
        spent = costs.forwards * self.forward + costs.backwards * self.step
        spent += costs.selections * self.select + costs.candidates * self.data
        return spent / (n * (self.step + self.data))


ASSUMED = PriceList(forward=1.0, step=3.0, measured=False)
"""A backward at twice a forward and free selection: what to use until prices are measured."""


def measure_prices(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    select: Callable[[Tensor], object] | None = None,
    *,
    repeats: int = 30,
    warmup: int = 5,
) -> PriceList:
    """Measure a price list on one batch ``x`` ``[b, ...]``, ``y`` ``[b]``: medians of interleaved repeats.

    The model is copied, so neither it nor its buffers move. ``select`` is called on the losses ``[b]``.

    Args:
        model: gives logits ``[b, K]``; stands where it will train (device, thread count, precision).
        x: inputs of the trained batch size. y: int64 labels.
        select: a rule's work on a vector of losses; None prices it at 0.
        repeats: counted rounds. warmup: rounds that are not counted.
    """
    model = copy.deepcopy(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True, weight_decay=5e-4)
    losses = torch.linspace(0, 1, len(y), device=y.device)

    def step() -> None:
        model.train()
        F.cross_entropy(model(x), y, reduction="none").mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    def forward() -> None:
        model.eval()
        with torch.no_grad():
            F.cross_entropy(model(x), y, reduction="none")

    work: list[Callable[[], object]] = [forward, step]
    if select is not None:
        work.append(lambda: select(losses))
    seconds: list[list[float]] = [[] for _ in work]
    for round_ in range(warmup + repeats):
        for one, times in zip(work, seconds, strict=True):
            _synchronize(x)
            start = time.perf_counter()
            one()
            _synchronize(x)
            if round_ >= warmup:
                times.append(time.perf_counter() - start)
    medians = [float(torch.tensor(times, dtype=torch.float64).median()) for times in seconds]
    return PriceList(medians[0] / len(y), medians[1] / len(y), medians[2] if select is not None else 0.0)


def _synchronize(x: Tensor) -> None:
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
