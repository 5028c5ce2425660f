"""Reducers: the ways of turning one number per example now into one number per example over time.

:class:`~tamis.observe.trend.Trend`, the largest of them, has a file of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tamis.observe.reducer import Columns, Memory, Reducer, State, Sum, bytes_per_example, groups, where_seen
from tamis.observe.trend import Trend
from tamis.types import TamisError

__all__ = [
    "REDUCERS",
    "Count",
    "Drops",
    "Ema",
    "First",
    "Last",
    "Mean",
    "Reducer",
    "Settled",
    "Slope",
    "State",
    "Std",
    "Total",
    "Trend",
    "bytes_per_example",
]


@dataclass(frozen=True)
class Count(Sum):
    """Times observed; 0, not NaN, where it never was: a mean over seeds must not leave a seed out that never looked.

    It reads no value, so a loss that is not finite counts as a visit too.

    Example:
        >>> state = Count().init(3)
        >>> Count().update(state, torch.tensor([2, 0, 2]), torch.zeros(3))
        >>> Count().compute(state)
        tensor([1., 0., 2.])
    """

    columns: ClassVar[Columns] = {"count": (torch.int32, 0)}

    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        state["count"].index_add_(0, index, torch.ones_like(index, dtype=torch.int32))

    def compute(self, state: State) -> Tensor:
        return state["count"].float()


@dataclass(frozen=True)
class Total(Sum):
    """Sum over all observations, in the signal's unit: ``sum_t v_t``.

    Example:
        >>> state = Total().init(3)
        >>> Total().update(state, torch.tensor([2, 0, 2]), torch.tensor([1.0, 5.0, 2.0]))
        >>> Total().compute(state)
        tensor([5., nan, 3.])
    """

    columns: ClassVar[Columns] = {"count": (torch.int32, 0), "sum": (torch.float32, 0)}

    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        state["sum"].index_add_(0, index, value.nan_to_num(0, 0, 0))
        state["count"].index_add_(0, index, finite.int())

    def compute(self, state: State) -> Tensor:
        return where_seen(state, state["sum"])


@dataclass(frozen=True)
class Mean(Sum):
    """Mean over all observations, in the signal's unit: ``(1/T) sum_t v_t``.

    Example:
        >>> state = Mean().init(3)
        >>> Mean().update(state, torch.tensor([2, 0, 2]), torch.tensor([1.0, 5.0, 2.0]))
        >>> Mean().compute(state)
        tensor([5.0000,    nan, 1.5000])
    """

    columns: ClassVar[Columns] = {"count": (torch.int32, 0), "sum": (torch.float32, 0)}

    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        state["sum"].index_add_(0, index, value.nan_to_num(0, 0, 0))
        state["count"].index_add_(0, index, finite.int())

    def compute(self, state: State) -> Tensor:
        return where_seen(state, state["sum"] / state["count"])


@dataclass(frozen=True)
class Std(Sum):
    """Standard deviation over all observations, in the signal's unit: ``sqrt((1/T) sum_t (v_t - v_mean)^2)``.

    One observation gives 0. Kept as count, mean and sum of squared deviations (Welford 1962), which survives a large
    mean; batches and shards are joined by the rule of Chan, Golub & LeVeque 1979.

    Example:
        >>> state = Std().init(3)
        >>> Std().update(state, torch.tensor([2, 0, 2]), torch.tensor([1.0, 5.0, 2.0]))
        >>> Std().compute(state)
        tensor([0.0000,    nan, 0.5000])
    """

    columns: ClassVar[Columns] = {"count": (torch.int32, 0), "mean": (torch.float32, 0), "m2": (torch.float32, 0)}

    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        group, value = groups(index)[0], value.nan_to_num(0, 0, 0)  # a batch is a small shard: one row a group
        zeros = torch.zeros_like(value)
        count = zeros.int().index_add_(0, group, finite.int())[group]
        mean = zeros.index_add(0, group, value)[group] / count.clamp(min=1)
        m2 = zeros.index_add(0, group, torch.where(finite, value - mean, 0.0).square())[group]
        held = {name: state[name].index_select(0, index) for name in self.columns}
        for name, joined in self.join(held, {"count": count, "mean": mean, "m2": m2}).items():
            state[name].index_copy_(0, index, joined)

    def join(self, a: State, b: State) -> State:
        count = a["count"] + b["count"]
        share, apart = b["count"] / count.clamp(min=1), b["mean"] - a["mean"]
        m2 = a["m2"] + b["m2"] + apart.square() * a["count"] * share
        return {"count": count, "mean": a["mean"] + apart * share, "m2": m2}

    def compute(self, state: State) -> Tensor:
        return where_seen(state, (state["m2"] / state["count"]).sqrt())


@dataclass(frozen=True)
class Slope(Sum):
    """Least-squares slope over the example's own visits, in the signal's unit per visit; one observation gives 0.

    Formula: ``sum_t (t - t_mean)(v_t - v_mean) / sum_t (t - t_mean)^2`` with t = 0, 1, .. counting the observations of
    this example. Kept as running sums of 1, v and t v. Merged shards follow each other in time, as they are given.

    Fails when: values are large beside their change, as squared errors in raw units are: the sums are float32.

    Example:
        >>> state = Slope().init(2)
        >>> Slope().update(state, torch.tensor([0, 0, 0]), torch.tensor([1.0, 3.0, 5.0]))
        >>> Slope().compute(state)
        tensor([2., nan])
    """

    columns: ClassVar[Columns] = {"count": (torch.int32, 0), "sum": (torch.float32, 0), "cross": (torch.float32, 0)}

    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        value = value.nan_to_num(0, 0, 0)
        visit = state["count"].index_select(0, index) + groups(2 * index + finite)[1]
        state["cross"].index_add_(0, index, visit * value)
        state["sum"].index_add_(0, index, value)
        state["count"].index_add_(0, index, finite.int())

    def join(self, a: State, b: State) -> State:
        later = {**b, "cross": b["cross"] + a["count"] * b["sum"]}  # its visits go on where a's ended
        return {name: a[name] + later[name] for name in self.columns}

    def compute(self, state: State) -> Tensor:
        count = state["count"].double()
        above = state["cross"] - (count - 1) / 2 * state["sum"]
        return where_seen(state, (above / (count * (count**2 - 1) / 12).clamp(min=0.5)).float())


@dataclass(frozen=True)
class Last(Memory):
    """The latest observation, in the signal's unit.

    Example:
        >>> state = Last().init(3)
        >>> Last().update(state, torch.tensor([2, 0, 2]), torch.tensor([1.0, 5.0, 2.0]))
        >>> Last().compute(state)
        tensor([5., nan, 2.])
    """

    columns: ClassVar[Columns] = {"last": (torch.float32, math.nan)}

    def step(self, held: State, value: Tensor) -> State:
        return {"last": value}

    def compute(self, state: State) -> Tensor:
        return state["last"].clone()


@dataclass(frozen=True)
class Ema(Memory):
    """Exponential moving average, in the signal's unit: ``e <- momentum e + (1 - momentum) v``, from ``e = v_0``.

    Args:
        momentum: share of the past, in [0, 1); 0 is the latest observation.

    Example:
        >>> state = Ema(0.5).init(2)
        >>> for v in (4.0, 2.0):
        ...     Ema(0.5).update(state, torch.tensor([0]), torch.tensor([v]))
        >>> Ema(0.5).compute(state)
        tensor([3., nan])
    """

    momentum: float = 0.9
    columns: ClassVar[Columns] = {"ema": (torch.float32, math.nan)}

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise TamisError(f"momentum is {self.momentum!r}, but it must lie in [0, 1).")

    def step(self, held: State, value: Tensor) -> State:
        ema = held["ema"]
        return {"ema": torch.where(ema.isnan(), value, torch.lerp(value, ema, self.momentum))}

    def compute(self, state: State) -> Tensor:
        return state["ema"].clone()


@dataclass(frozen=True)
class Drops(Memory):
    """Falls of a 0/1 signal from 1 to 0: forgetting events, when the signal is ``correct``. At least 0.5 reads as 1.

    Args:
        never_learnt: the value of an example that was never 1; infinite as in Toneva et al. 2019 (their later users
            write 1000).

    Example:
        >>> state = Drops().init(3)
        >>> for v in (1.0, 0.0, 1.0):
        ...     Drops().update(state, torch.tensor([0, 1]), torch.tensor([v, 0.0]))
        >>> Drops().compute(state)
        tensor([1., inf, nan])
    """

    never_learnt: float = math.inf
    columns: ClassVar[Columns] = {"drops": (torch.int32, 0), "last": (torch.int8, -1)}

    def step(self, held: State, value: Tensor) -> State:
        now = value >= 0.5
        return {"drops": held["drops"] + ((held["last"] == 1) & ~now), "last": now}

    def compute(self, state: State) -> Tensor:
        never = (state["last"] == 0) & (state["drops"] == 0)  # wrong now and never fallen: it was never right
        drops = state["drops"].float().masked_fill(never, self.never_learnt)
        return drops.masked_fill(state["last"] == -1, math.nan)


@dataclass(frozen=True)
class Settled(Memory):
    """The example's own observation (1, 2, ..) from which on a 0/1 signal has stayed 1. At least 0.5 reads as 1.

    Args:
        never_learnt: the value of an example that was not 1 at its latest observation, never learnt or forgotten.
            Infinite, and not T + 1: examples are seen unevenly often, and a seldom seen one must not pass for easy.

    Example:
        >>> state = Settled().init(3)
        >>> for v in (1.0, 0.0, 1.0):
        ...     Settled().update(state, torch.tensor([0, 1]), torch.tensor([v, 0.0]))
        >>> Settled().compute(state)
        tensor([3., inf, nan])
    """

    never_learnt: float = math.inf
    columns: ClassVar[Columns] = {"count": (torch.int32, 0), "since": (torch.int32, 0)}  # since 0: not 1 now

    def step(self, held: State, value: Tensor) -> State:
        count, since = held["count"] + 1, held["since"]
        return {"count": count, "since": torch.where(value >= 0.5, torch.where(since > 0, since, count), 0)}

    def compute(self, state: State) -> Tensor:
        since = state["since"].float().masked_fill(state["since"] == 0, self.never_learnt)
        return where_seen(state, since)


@dataclass(frozen=True)
class First(Memory):
    """The example's own observation (1, 2, ..) at which a 0/1 signal was first 1. At least 0.5 reads as 1.

    Args:
        never_learnt: the value of an example that never was 1; infinite, as for :class:`Settled`.

    Example:
        >>> state = First().init(3)
        >>> for v in (0.0, 1.0, 0.0):
        ...     First().update(state, torch.tensor([0, 1]), torch.tensor([v, 0.0]))
        >>> First().compute(state)
        tensor([2., inf, nan])
    """

    never_learnt: float = math.inf
    columns: ClassVar[Columns] = {"count": (torch.int32, 0), "first": (torch.int32, 0)}  # first 0: never 1 so far

    def step(self, held: State, value: Tensor) -> State:
        count, first = held["count"] + 1, held["first"]
        return {"count": count, "first": torch.where((first == 0) & (value >= 0.5), count, first)}

    def compute(self, state: State) -> Tensor:
        return where_seen(state, state["first"].float().masked_fill(state["first"] == 0, self.never_learnt))


REDUCERS: dict[str, type[Reducer]] = {
    "count": Count,
    "total": Total,
    "mean": Mean,
    "std": Std,
    "slope": Slope,
    "last": Last,
    "ema": Ema,
    "drops": Drops,
    "settled": Settled,
    "first": First,
    "trend": Trend,
}
