"""Reducers: from one number per example now to one number per example over time.

A reducer is a frozen dataclass; its state is a dict of ``[N]`` tensors that goes into a ``state_dict`` as it is.
``update`` works in place on that state, without a host synchronisation, whatever repeats in ``index``: sums count every
occurrence; what depends on order takes one observation per example and batch, the last. A value that is not finite is
not observed. ``compute`` gives ``[N]`` float32, NaN where an example was never observed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from tamis.types import TamisError

State = dict[str, Tensor]


class Reducer(Protocol):
    """``init(n)`` a state, ``update`` it with values ``[B]`` at ``index`` ``[B]``, ``compute`` ``[N]``, ``merge`` shards."""

    def init(self, n: int, device: torch.device | str = "cpu") -> State: ...

    def update(self, state: State, index: Tensor, value: Tensor) -> None: ...

    def compute(self, state: State) -> Tensor: ...

    def merge(self, states: Sequence[State]) -> State: ...


def average(values: Sequence[Tensor]) -> Tensor:
    """Mean over seeds of computed scores ``[N]``, leaving out where a seed never observed (NaN).

    Example:
        >>> average([torch.tensor([1.0, torch.nan]), torch.tensor([3.0, 4.0])]).tolist()
        [2.0, 4.0]
    """
    return torch.stack(list(values)).nanmean(0)


def bytes_per_example(reducer: Reducer) -> int:
    """Memory of a reducer's state, in bytes per training example."""
    return sum(leaf.element_size() for leaf in reducer.init(1).values())


@dataclass(frozen=True)
class Count:
    """How often an example was observed; 0, not NaN, where it never was."""

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {"count": torch.zeros(n, dtype=torch.int32, device=device)}

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        state["count"].index_add_(0, index, value.isfinite().int())

    def compute(self, state: State) -> Tensor:
        return state["count"].float()

    def merge(self, states: Sequence[State]) -> State:
        return {"count": _total(states, "count")}


@dataclass(frozen=True)
class Mean:
    """Mean of everything observed.

    Example:
        >>> state = Mean().init(2)
        >>> Mean().update(state, torch.tensor([0, 0]), torch.tensor([1.0, 3.0]))
        >>> Mean().compute(state).tolist()
        [2.0, nan]
    """

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {**Count().init(n, device), "sum": torch.zeros(n, dtype=torch.float64, device=device)}

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        Count().update(state, index, value)
        state["sum"].index_add_(0, index, _finite(value))

    def compute(self, state: State) -> Tensor:
        return (state["sum"] / _or_nan(state["count"])).float()

    def merge(self, states: Sequence[State]) -> State:
        return {key: _total(states, key) for key in ("count", "sum")}


@dataclass(frozen=True)
class Std:
    """Population standard deviation of everything observed, from sums in float64; 0 after one observation."""

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {**Mean().init(n, device), "squares": torch.zeros(n, dtype=torch.float64, device=device)}

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        Mean().update(state, index, value)
        state["squares"].index_add_(0, index, _finite(value) ** 2)

    def compute(self, state: State) -> Tensor:
        count = _or_nan(state["count"])
        return (state["squares"] / count - (state["sum"] / count) ** 2).clamp(min=0).sqrt().float()

    def merge(self, states: Sequence[State]) -> State:
        return {key: _total(states, key) for key in ("count", "sum", "squares")}


@dataclass(frozen=True)
class Slope:
    """Least-squares slope of the value over the number of the visit (0, 1, 2 …), per visit; 0 after one visit."""

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {**Mean().init(n, device), "moment": torch.zeros(n, dtype=torch.float64, device=device)}

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        at = _last(index)  # one visit per batch
        visit, seen = state["count"][index].double(), value.isfinite()[at]
        first = (at == torch.arange(len(index), device=index.device)).double()
        once = first * _finite(value)
        state["sum"].index_add_(0, index, once)
        state["moment"].index_add_(0, index, once * visit)
        state["count"].index_add_(0, index, (first * seen).int())

    def compute(self, state: State) -> Tensor:
        n = _or_nan(state["count"])
        spread = n * (n * n - 1) / 12
        rise = state["moment"] - (n - 1) / 2 * state["sum"]
        return torch.where(n > 1, rise / spread.clamp(min=0.5), rise * 0).float()

    def merge(self, states: Sequence[State]) -> State:
        return _disjoint(states)


@dataclass(frozen=True)
class Last:
    """The latest value observed."""

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {"last": torch.full((n,), torch.nan, device=device)}

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        value = value.float()[_last(index)]
        state["last"][index] = torch.where(value.isfinite(), value, state["last"][index])

    def compute(self, state: State) -> Tensor:
        return state["last"].clone()

    def merge(self, states: Sequence[State]) -> State:
        return _disjoint(states, "last")


@dataclass(frozen=True)
class Ema:
    """Exponential mean: v <- momentum v + (1 - momentum) value; the first value as it is."""

    momentum: float = 0.9

    def __post_init__(self) -> None:
        if not 0 <= self.momentum < 1:
            raise TamisError(f"momentum is {self.momentum!r}, but an exponential mean needs one in [0, 1).")

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {"ema": torch.full((n,), torch.nan, device=device)}

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        value, before = value.float()[_last(index)], state["ema"][index]
        mixed = torch.where(before.isnan(), value, self.momentum * before + (1 - self.momentum) * value)
        state["ema"][index] = torch.where(value.isfinite(), mixed, before)

    def compute(self, state: State) -> Tensor:
        return state["ema"].clone()

    def merge(self, states: Sequence[State]) -> State:
        return _disjoint(states, "ema")


@dataclass(frozen=True)
class Drops:
    """How often a 0/1 signal fell from 1 to 0 between visits: forgetting events. Never 1: ``never``, infinity.

    Differs from some published code, where the never learnt score 1000 or the number of epochs.
    """

    never: float = float("inf")

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {
            "drops": torch.zeros(n, dtype=torch.int32, device=device),
            "before": torch.full((n,), torch.nan, device=device),
            "ever": torch.zeros(n, dtype=torch.bool, device=device),
        }

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        at = _last(index)
        value, before, count = value.float()[at], state["before"][index], state["drops"][index]
        state["drops"][index] = count + ((before > 0.5) & (value < 0.5)).int()
        state["ever"][index] = state["ever"][index] | (value > 0.5)
        state["before"][index] = torch.where(value.isfinite(), value, before)

    def compute(self, state: State) -> Tensor:
        drops = torch.where(state["ever"], state["drops"].float(), torch.full_like(state["before"], self.never))
        return torch.where(state["before"].isnan(), state["before"], drops)

    def merge(self, states: Sequence[State]) -> State:
        return _disjoint(states, "before")


@dataclass(frozen=True)
class Settled:
    """The visit (0, 1, 2 …) from which on a 0/1 signal stayed 1: learning time. Not 1 at the last visit: infinity."""

    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        return {
            "visits": torch.zeros(n, dtype=torch.int32, device=device),
            "since": torch.full((n,), torch.nan, device=device),
        }

    def update(self, state: State, index: Tensor, value: Tensor) -> None:
        value = value.float()[_last(index)]
        visits, since = state["visits"][index], state["since"][index]
        holding = since.isfinite() & (value > 0.5)
        fresh = torch.where(value > 0.5, visits.float(), torch.full_like(since, torch.inf))
        seen = value.isfinite()
        state["since"][index] = torch.where(seen, torch.where(holding, since, fresh), since)
        state["visits"][index] = visits + seen.int()

    def compute(self, state: State) -> Tensor:
        return state["since"].clone()

    def merge(self, states: Sequence[State]) -> State:
        return _disjoint(states, "since")


REDUCERS: dict[str, Callable[..., Reducer]] = {
    "count": Count, "mean": Mean, "std": Std, "slope": Slope, "last": Last, "ema": Ema, "drops": Drops,
    "settled": Settled,
}  # fmt: skip


def _finite(value: Tensor) -> Tensor:
    """Float64, with 0 for what is not finite, which the count leaves out too."""
    value = value.double()
    return torch.where(value.isfinite(), value, torch.zeros_like(value))


def _or_nan(count: Tensor) -> Tensor:
    """A count as a divisor: NaN where it is 0, so that what was never observed computes to NaN."""
    return torch.where(count > 0, count.double(), torch.full_like(count, torch.nan, dtype=torch.float64))


def _last(index: Tensor) -> Tensor:
    """For each place in a batch the place where its example occurs last, ``[B]``: duplicates then write one value.

    O(B log B) whatever N is, and without a host synchronisation.
    """
    size = index.shape[0]
    ordered, order = index.sort(stable=True)
    places = torch.arange(size, device=index.device)
    ends = torch.ones(size, dtype=torch.bool, device=index.device)
    ends[:-1] = ordered[1:] != ordered[:-1]
    end_of_run = torch.where(ends, places, size).flip(0).cummin(0).values.flip(0)
    return torch.empty_like(order).scatter_(0, order, order[end_of_run])


def _total(states: Sequence[State], key: str) -> Tensor:
    return torch.stack([state[key] for state in states]).sum(0, dtype=states[0][key].dtype)


def _disjoint(states: Sequence[State], mark: str = "count") -> State:
    """Merge shards of which at most one observed each example; what depends on order cannot be merged otherwise."""
    seen = torch.stack([state[mark] > 0 if mark == "count" else ~state[mark].isnan() for state in states])
    if bool((seen.sum(0) > 1).any()):
        raise TamisError("two shards observed the same example, and the order of their visits is lost; shard by example.")
    owner = seen.int().argmax(0)
    return {
        key: torch.stack([state[key] for state in states]).gather(0, owner[None]).squeeze(0) for key in states[0]
    }
