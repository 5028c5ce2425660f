"""A window: the observations of several steps, held as one.

Most of the time of recording a small batch goes into calling functions: on a CPU, and on the host of an accelerator,
whose own work on a step is over before its next can be called. Most of the rest, on a CPU, goes into fetching the
states of examples from all over the memory. Eight thousand examples at once, in their order, cost less of both.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROWS = 8192
"""Examples that are held at most."""

Take = Callable[[Any, Tensor, Sequence[Tensor], bool], None]
"""Takes a kind, examples ``[B]``, columns ``[B, ...]`` and whether no example stands there twice."""


class Window:
    """Rows of several steps: of each step its examples ``[B]`` and columns ``[B, ...]`` that say something of each.

    Args:
        rows: to hold at most; 0 holds nothing.
    """

    def __init__(self, rows: int = ROWS) -> None:
        self.rows = rows
        self._kind: Hashable = None
        self._held: list[Sequence[Tensor]] = []
        self._ends: list[int] = []  # where each step's rows end

    def room(self, kind: Hashable, length: int) -> bool:
        """Whether ``length`` rows of this kind can be added; kinds are never mixed."""
        held = self._ends[-1] if self._ends else 0
        return held + length <= self.rows and (not self._ends or kind == self._kind)

    def put(self, kind: Hashable, index: Tensor, columns: Sequence[Tensor], take: Take) -> None:
        """Hold a step's rows; where there is no room, what was held is taken first, and what is too large at once."""
        length = index.shape[0]
        if not self.room(kind, length):
            self.give(take)
        if self.room(kind, length):
            self.add(kind, index, columns)
        else:
            take(kind, index, columns, False)

    def give(self, take: Take) -> None:
        """Let ``take`` have all that is held."""
        for part in self.empty():
            take(*part)

    def add(self, kind: Hashable, index: Tensor, columns: Sequence[Tensor]) -> None:
        """Hold copies of a step's detached rows, so that the caller may use its tensors again: the examples on the CPU,
        where they are sorted without waiting for an accelerator, the columns anywhere."""
        self._kind = kind
        self._held.append([column.clone() for column in (index, *columns)])
        self._ends.append(len(index) + (self._ends[-1] if self._ends else 0))

    def empty(self) -> Iterator[tuple[Hashable, Tensor, list[Tensor], bool]]:
        """What was held: its kind, examples and columns, in as few parts as hold no example twice (True); a step that
        holds one twice stands alone (False)."""
        held, ends, self._held, self._ends = self._held, self._ends, [], []
        if not held:
            return
        columns = [torch.cat(column) for column in zip(*held, strict=True)]
        index = columns[0].numpy()
        # One number of example and row: its sort keeps equal ones in order, at a quarter of a stable argsort's time.
        example, row = np.divmod(np.sort(index * self.rows + np.arange(len(index))), self.rows)
        again = example[1:] == example[:-1]
        before = np.full(len(index), -1)  # by row, the one at which the same example stood last
        before[row[1:][again]] = row[:-1][again]
        for start, stop, distinct in _stretches(before, ends):
            if distinct:
                rows = torch.from_numpy(row[(row >= start) & (row < stop)])
                moved = {device: rows.to(device, non_blocking=True) for device in {column.device for column in columns}}
                at, *taken = (column.index_select(0, moved[column.device]) for column in columns)
            else:
                at, *taken = (column[start:stop] for column in columns)
            yield self._kind, at, taken, distinct


def _stretches(before: np.ndarray, ends: list[int]) -> Iterator[tuple[int, int, bool]]:
    """Where runs of whole steps start and stop that hold no example twice (each as long as it gets), and each step
    that does hold one twice."""
    start = 0
    if (before < 0).all():
        yield 0, ends[-1], True
        return
    for a, b in zip([0, *ends], ends, strict=False):
        latest = before[a:b].max(initial=-1)
        if latest < start:
            continue
        if start < a:
            yield start, a, True
        start = a
        if latest >= a:
            yield a, b, False
            start = b
    if start < ends[-1]:
        yield start, ends[-1], True
