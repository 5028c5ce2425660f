"""A window: the observations of several steps, held as one.

On a CPU most of the time of recording a small batch goes into calling functions, and most of the rest into fetching
the states of examples from all over the memory. Four thousand examples at once, in their order, cost less of both.
"""

from __future__ import annotations

from collections.abc import Container, Iterator

import numpy as np
import torch
from torch import Tensor

from tamis.types import Observation

ROWS = 4096
"""Examples that are held at most."""

NUMBERS = 1 << 15
"""Logits of one step that are held at most: of more, a copy costs what holding them saves."""


class Window:
    """Copies of what was observed on the CPU, so that the caller may use its tensors again.

    Args:
        fields: of an observation to hold beside ``index`` and ``loss``: "logits", "target"; the others are let go.
        rows: examples to hold at most; 0 holds nothing.
    """

    def __init__(self, fields: Container[str], rows: int = ROWS) -> None:
        self._logits, self._target, self._rows = "logits" in fields, "target" in fields, rows
        self._held: list[Observation] = []
        self._ends: list[int] = []  # where each step's rows end

    def add(self, observation: Observation) -> bool:
        """Hold one more step; False where there is no room for it, or it is of another kind than what is held."""
        index, loss, logits, target, _, _, phase, _ = observation
        shape, logits, target = index.shape, logits if self._logits else None, target if self._target else None
        stop = shape[0] + (self._ends[-1] if self._ends else 0)
        if stop > self._rows or not (loss.is_cpu and index.is_cpu) or loss.shape != shape:
            return False
        if target is not None and target.shape != shape:
            return False
        if logits is not None and (logits.ndim != 2 or len(logits) != shape[0] or logits.numel() > NUMBERS):
            return False
        if self._held and not _alike(self._held[0], logits, target, phase):
            return False
        self._held.append(Observation(index.clone(), loss.clone(), _copy(logits), _copy(target), phase=phase))
        self._ends.append(stop)
        return True

    def empty(self) -> Iterator[tuple[Observation, bool]]:
        """What was held, in order, in as few observations as hold no example twice (True); a step that holds one twice
        stands alone (False)."""
        held, ends, self._held, self._ends = self._held, self._ends, [], []
        if not held:
            return
        whole = Observation(
            torch.cat([seen.index for seen in held]),
            torch.cat([seen.loss for seen in held]),
            _joined([seen.logits for seen in held]),
            _joined([seen.target for seen in held]),
            phase=held[0].phase,
        )
        index = whole.index.numpy()
        # One number of example and row: its sort keeps equal ones in order, at a quarter of a stable argsort's time.
        example, row = np.divmod(np.sort(index * self._rows + np.arange(len(index))), self._rows)
        again = example[1:] == example[:-1]
        before = np.full(len(index), -1)  # by row, the one at which the same example stood last
        before[row[1:][again]] = row[:-1][again]
        for start, stop, distinct in _stretches(before, ends):
            rows = torch.from_numpy(row[(row >= start) & (row < stop)] if distinct else np.arange(start, stop))
            yield _at(whole, rows), distinct


def _copy(value: Tensor | None) -> Tensor | None:
    return None if value is None else value.detach().clone()


def _joined(values: list[Tensor | None]) -> Tensor | None:
    present = [value for value in values if value is not None]
    return torch.cat(present) if present else None


def _at(whole: Observation, rows: Tensor) -> Observation:
    taken = {name: getattr(whole, name) for name in ("index", "loss", "logits", "target")}
    return whole._replace(**{name: value.index_select(0, rows) for name, value in taken.items() if value is not None})


def _alike(first: Observation, logits: Tensor | None, target: Tensor | None, phase: str) -> bool:
    """Whether a step of these can stand beside ``first``."""
    if phase != first.phase or (target is None) != (first.target is None):
        return False
    classes = None if logits is None else logits.shape[1]
    return classes == (None if first.logits is None else first.logits.shape[1])


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
