"""What a person's own data become, :class:`Own`, and the few steps that every way of reading shares."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from tamis.types import Arrays, TamisError

OwnKind = Literal["pictures", "table", "features", "text"]
Skipped = tuple[tuple[str, str], ...]
Progress = Callable[[float], None]
WIDEST = 1e34  # a standard deviation beyond it leaves float32 no room for what lies far from the mean


def no_picture(i: int) -> bytes | None:
    """None for every example: there is no picture of it."""
    return None


def no_cells(i: int) -> tuple[tuple[str, str], ...]:
    """Nothing for every example: it has no columns."""
    return ()


def no_text(i: int) -> str | None:
    """None for every example: it is no text."""
    return None


@dataclass(frozen=True, eq=False)
class Shown:
    """How an example is shown to a person; ``i`` is its position, 0..N-1. Made when asked for, so it costs nothing.

    Attributes:
        picture: ``i`` to a PNG of at most 96 pixels on the longer side, or None (no picture, or its file has gone).
        cells: ``i`` to ``((column, value as text), ...)``, the label's column not among them; empty if no table.
        text: ``i`` to the text of its text column, or None.

    Nothing is escaped here: every string is the user's, and the page that shows it must escape it.
    """

    picture: Callable[[int], bytes | None] = field(default=no_picture)
    cells: Callable[[int], tuple[tuple[str, str], ...]] = field(default=no_cells)
    text: Callable[[int], str | None] = field(default=no_text)


@dataclass(frozen=True, eq=False)
class Own:
    """A person's own data, ready for training, and what is needed to point at an example afterwards.

    Attributes:
        data: ``x`` float32, ``[N, C, H, W]`` pictures (scaled to [0, 1], then normalised per channel by the set's own
            mean and standard deviation) or ``[N, D]`` features (each column standardised); ``y`` ``[N]`` int64 in
            0..K-1, every class with at least two examples.
        names: ``K`` class names, as they stand in the data, in the order of ``y``; numbers are sorted as numbers.
        sources: ``N`` places, one per example: the path within the folder, or "row 17" (counted from 0).
        kind: what an example is.
        skipped: (source, why) of everything that was found and not read: files, rows without a label, columns
            (source ``column "name"``), and cells (source ``cells of column "name"``).
        shown: how an example is shown.
        digest: SHA-256 in hexadecimal of what was read, before normalisation: equal for equal data on any machine. Of
            texts their embeddings are part of it: another model makes other data of them.
    """

    data: Arrays
    names: tuple[str, ...]
    sources: tuple[str, ...]
    kind: OwnKind
    skipped: Skipped
    shown: Shown
    digest: str


def printable(text: str) -> str:
    """Text that can be printed and stored anywhere: what is no UTF-8 in a file's name is spelt out.

    Example:
        >>> print(printable("caf\\udce9.png"))
        caf\\udce9.png
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def quoted(name: object) -> str:
    """A user's string within a sentence: in double quotes, on one line, at most 80 characters of it.

    Example:
        >>> print(quoted("two\\nlines"))
        "two\\nlines"
    """
    text = json.dumps(printable(str(name)), ensure_ascii=False)
    return text if len(text) <= 82 else text[:80] + '…"'


def some(names: Sequence[object], most: int = 12) -> str:
    """The first few of many names, quoted, and how many more there are.

    Example:
        >>> print(some(["a", "b", "c"], most=2))
        "a", "b" and 1 more
    """
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(quoted(name) for name in names[:most]) + more


def reason(error: BaseException) -> str:
    """The first line of an error, without the path that the caller has named already.

    Example:
        >>> reason(FileNotFoundError(2, "No such file or directory", "a.png"))
        'no such file or directory'
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return (printable(str(error)).strip().splitlines() or [""])[0].rstrip(".") or type(error).__name__


def room(
    shape: Sequence[int],
    itemsize: int,
    where: str,
    instead: str = "a limit= on the examples or fewer columns would fit",
) -> None:
    """Refuses what cannot fit, before it is allocated; says what to do ``instead``.

    Raises:
        TamisError: if an array of that shape is larger than the machine's memory; a system that does not tell its
            memory refuses nothing.
    """
    wanted = itemsize
    for size in shape:
        wanted *= int(size)
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if wanted > memory:
        sizes = " x ".join(f"{size:,}" for size in shape)
        raise TamisError(
            f"{where} would take {wanted / 2**30:,.0f} GiB of memory ({sizes} values), and this machine has "
            f"{memory / 2**30:,.0f}; {instead}."
        )


def digest_of(kind: str, names: Sequence[str], sources: Sequence[str], y: np.ndarray, *content: np.ndarray) -> str:
    """SHA-256 of what was read: the kind, the names, the places, the labels, and the arrays with their shapes.

    Example:
        >>> y = np.zeros(1, np.int64)
        >>> digest_of("features", ["a"], ["row 0"], y) == digest_of("features", ["b"], ["row 0"], y)
        False
    """
    shapes = [(array.dtype.str, array.shape) for array in (y, *content)]
    head = json.dumps([kind, list(names), list(sources), shapes])
    total = hashlib.sha256(head.encode("ascii"))  # json escapes what is not ASCII, lone surrogates too
    for array in (y, *content):
        step = max(1, (1 << 24) // max(1, array[:1].nbytes))
        for start in range(0, len(array), step):
            total.update(np.ascontiguousarray(array[start : start + step]).data)
    return total.hexdigest()


def standardise_(x: Tensor, where: str) -> tuple[Tensor, Tensor]:
    """``x`` ``[N, C, ...]`` minus its mean and over its standard deviation per channel, **in place**: ``x`` is ours.

    A channel that never varies becomes 0.

    Returns:
        Mean and standard deviation (1 for a channel that never varies), ``[C]`` float32 each.

    Raises:
        TamisError: if a channel's values lie too far apart for their variance to be a float32.

    Example:
        >>> x = torch.tensor([[0.0, 5.0], [2.0, 5.0]])
        >>> mean, std = standardise_(x, "x")
        >>> x.tolist(), mean.tolist(), std.tolist()
        ([[-1.0, 0.0], [1.0, 0.0]], [1.0, 5.0], [1.0, 1.0])
    """
    over = [d for d in range(x.ndim) if d != 1]
    view = (-1, *[1] * (x.ndim - 2))
    wide = torch.empty((min(len(x), 512), *x.shape[1:]), dtype=torch.float64)  # one buffer: many would fragment memory

    def mean_of(shift: Tensor, square: bool) -> Tensor:
        total = torch.zeros(x.shape[1], dtype=torch.float64)
        for part in x.split(len(wide)):
            values = wide[: len(part)].copy_(part).sub_(shift.view(view))
            total += (values.square_() if square else values).sum(over)
        return total * (x.shape[1] / x.numel())

    mean = mean_of(torch.zeros(x.shape[1], dtype=torch.float64), square=False)
    std = mean_of(mean, square=True).sqrt_()
    if (bad := (~(std <= WIDEST)).nonzero()).numel():
        raise TamisError(f"{where}: the values of column {int(bad[0, 0])} lie too far apart for float32; rescale them.")
    mean, std = mean.float(), std.float()
    std = torch.where(std > 0, std, torch.ones_like(std))
    x.sub_(mean.view(view)).div_(std.view(view))
    return mean, std
