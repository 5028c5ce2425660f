"""The contract of a reducer, one number per example over time, and its two families.

Where a reducer stands in a training loop, in pseudo-code::

    state = reducer.init(n)                             # n examples in the full training set
    for index, x, y in loader:
        ...                                             # forward
        reducer.update(state, index, signal(observation))
    score = reducer.compute(state)                      # [n] float32, NaN = never observed

Two families. *Sums* (Count, Total, Mean, Std, Slope) count every occurrence of an example, so the order inside a batch
does not matter. *Memories* (Last, Ema, Drops, Settled, First, Trend) depend on order and take one observation per
example and batch: its last finite one. Every duplicate then writes the same number, which makes the write
deterministic on any device.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, final

import torch
from torch import Tensor

from tamis.types import TamisError

State = dict[str, Tensor]
Columns = dict[str, tuple[torch.dtype, float] | tuple[torch.dtype, float, int]]


@dataclass(frozen=True)
class Reducer(ABC):
    """One number per example, over time: settings alone; what it has seen lives in the ``State`` it is handed.

    A state is a dict of ``[N]`` (or ``[N, width]``) tensors and ``dropped``, an int64 scalar: how many values were not
    finite. Such a value is no observation: it changes nothing but that count (and ``Count``, which reads no value).

    Sums merge any shards: of different examples, or of the same ones at different visits. Memories merge shards of
    different examples alone and raise where two have seen the same one: which came last cannot be told any more.
    """

    reads: ClassVar[tuple[int, ...]] = ()
    """The shape of one observation: a number, or as many as its signal says of an example."""

    columns: ClassVar[Columns]
    """The state's tensors by name: dtype, what they start with, and their width where they are ``[N, width]``."""

    @final
    def init(self, n: int, device: torch.device | str = "cpu") -> State:
        """The state before anything was seen, for ``n`` examples."""
        columns = self.columns.items()
        state = {name: torch.full((n, *c[2:]), c[1], dtype=c[0], device=device) for name, c in columns}
        return {**state, "dropped": torch.zeros((), dtype=torch.int64, device=device)}

    @final
    def update(self, state: State, index: Tensor, value: Tensor, distinct: bool = False) -> None:
        """Record a batch in ``state``, in place; no host synchronisation.

        Args:
            state: its own, from :meth:`init`.
            index: ``[B]`` int64 positions in 0..N-1, repeats allowed. On an accelerator one out of range trips the
                device's own assertion, later.
            value: ``[B]``, any float dtype; read as float32.
            distinct: the caller knows that no example occurs twice; the same result, for a memory in a fifth of the
                time.

        Raises:
            TamisError: wrong dtype or shape, or (on the CPU) an index out of range; nothing has been written then.
        """
        if index.dtype != torch.int64 or index.ndim != 1:
            raise TamisError(f"index must be [B] int64, but it is {list(index.shape)} {index.dtype}; use index.long().")
        if value.shape != (*index.shape, *self.reads):
            wanted = [*index.shape, *self.reads]
            raise TamisError(f"value must be {wanted} like index, but it is {list(value.shape)}.")
        if not len(index):
            return
        try:
            next(iter(state.values())).index_select(0, index)  # fails before anything is written
        except (IndexError, RuntimeError) as error:
            n = len(next(iter(state.values())))
            low, high = int(index.min()), int(index.max())
            raise TamisError(f"index must lie in 0..{n - 1}, but it reaches from {low} to {high}.") from error
        value = value.detach().float()
        astray = value - value  # 0 where finite, NaN where not: a third of the time of isfinite
        finite = astray == 0 if not self.reads else (astray == 0).all(1)
        state["dropped"].add_(len(finite) - finite.count_nonzero())
        (self.observe_distinct if distinct else self.observe)(state, index, value, finite)

    @final
    def merge(self, states: Sequence[State]) -> State:
        """The state of one run out of its shards', in the order of time where they saw the same examples.

        Raises:
            TamisError: no states, states of different N, or (memories) an example that two shards have observed.
        """
        if not states:
            raise TamisError(f"{type(self).__name__} was given no states to merge.")
        sizes = {len(state[name]) for state in states for name in self.columns}
        if len(sizes) > 1:
            raise TamisError(f"the states to merge are of {sorted(sizes)} examples, but N must be the same in all.")
        first = {name: tensor.clone() for name, tensor in states[0].items()}
        return reduce(lambda a, b: self.join(a, b) | {"dropped": a["dropped"] + b["dropped"]}, states[1:], first)

    @final
    def average(self, values: Sequence[Tensor]) -> Tensor:
        """``[N]`` float32 mean over seeds of what :meth:`compute` returned; a seed that never observed is left out."""
        if not values:
            raise TamisError(f"{type(self).__name__} was given no values to average.")
        return torch.stack([value.float() for value in values]).nanmean(0)

    @abstractmethod
    def compute(self, state: State) -> Tensor:
        """``[N]`` float32, a fresh tensor; NaN = never observed (of ``Count``: 0)."""

    @abstractmethod
    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        """Write a checked batch."""

    def observe_distinct(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        """Write a checked batch in which no example occurs twice."""
        self.observe(state, index, value, finite)

    @abstractmethod
    def join(self, a: State, b: State) -> State:
        """A fresh state of two shards; ``b`` is the later one."""


class Sum(Reducer, ABC):
    """A reducer whose state adds up, unless it says otherwise."""

    def join(self, a: State, b: State) -> State:
        return {name: a[name] + b[name] for name in self.columns}


class Memory(Reducer, ABC):
    """A reducer that depends on order; it says how one observation of each example changes what it holds."""

    @abstractmethod
    def step(self, held: State, value: Tensor) -> State:
        """What is held of ``B`` examples after one more ``value`` ``[B]`` of each."""

    def observe(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        ordered, order = torch.sort(2 * index + finite, stable=True)
        last = order[torch.searchsorted(ordered, 2 * index + 1, right=True) - 1]  # the last finite one, if there is any
        self.observe_distinct(state, index, value[last], finite[last])

    def observe_distinct(self, state: State, index: Tensor, value: Tensor, finite: Tensor) -> None:
        held = {name: state[name].index_select(0, index) for name in self.columns}
        for name, stepped in self.step(held, value).items():
            kept = torch.where(_over(finite, stepped), stepped, held[name])
            state[name].index_copy_(0, index, kept.to(state[name].dtype))

    def join(self, a: State, b: State) -> State:
        mine, theirs = ~self.compute(a).isnan(), ~self.compute(b).isnan()
        if bool((mine & theirs).any()):
            both = int((mine & theirs).sum())
            raise TamisError(
                f"{type(self).__name__} depends on order, but {both} examples were observed in two of the states to "
                "merge; give it shards of different examples."
            )
        return {name: torch.where(_over(theirs, b[name]), b[name], a[name]) for name in self.columns}


def bytes_per_example(reducer: Reducer) -> int:
    """Memory of a reducer's state, in bytes for each of its N examples."""
    return sum(column[0].itemsize * math.prod(column[2:]) for column in reducer.columns.values())


def where_seen(state: State, value: Tensor) -> Tensor:
    """``value`` ``[N]``, NaN where the state's count is 0."""
    return value.masked_fill(state["count"] == 0, math.nan)


def groups(key: Tensor) -> tuple[Tensor, Tensor]:
    """Of each entry of ``key`` ``[B]``: a number for its value, and how many equal ones stand before it."""
    ordered, order = torch.sort(key, stable=True)
    start = torch.searchsorted(ordered, key)
    place = torch.empty_like(order).scatter_(0, order, torch.arange(len(key), device=key.device))
    return start, place - start


def _over(row: Tensor, like: Tensor) -> Tensor:
    """``row`` ``[B]``, made to stretch over the columns of ``like`` ``[B]`` or ``[B, width]``."""
    return row if like.ndim == 1 else row[:, None]
