"""Labels that people or another program gave, read from a file: no pickle is ever run."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tamis.corrupt.nested import Damage, check_rate, relabel
from tamis.types import Arrays, TamisError


def labels_from_file(
    rate: float, path: str | Path | None = None, key: str | None = None, index: Sequence[int] | Tensor | None = None
) -> Damage:
    """Label noise from a file, such as human labels: ``round(rate * N)`` examples get the label that it holds.

    At rate 1 the set has the file's labels; below it, the same labels for a random part of the set. Where the file
    agrees with the data the example is clean, so the realised rate is ``rate`` times the file's disagreement.

    Args:
        rate: share of the examples whose label is taken from the file, in [0, 1].
        path: a ``.npy``, ``.npz`` or ``.csv`` file, or a ``.pt`` or ``.pth`` file of torch that holds a tensor, an
            array, or a dict of them. Arrays of objects and pickled code are refused.
        key: the array of an ``.npz`` or dict, or the column of a ``.csv`` with a header; needed where there are
            several. CIFAR-10N: ``aggre_label``, ``random_label1`` to ``random_label3``, ``worse_label``.
        index: ``[N]`` rows of the file, one per example, where the data are a subset of what the file is about, as
            :func:`tamis.data.subset_index` gives them.

    Raises:
        TamisError: if the rate is outside [0, 1]; the path is left out, is not there, cannot be read or is of
            another type; the key is unknown; there is not one label per example; or one is no class of the data.

    Example:
        >>> import tempfile
        >>> data = Arrays(torch.zeros(3, 1), torch.tensor([0, 1, 1]), 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "human.npy"
        ...     np.save(path, np.array([1, 1, 0]))
        ...     noise = labels_from_file(1.0, path)
        >>> noise(data, torch.Generator())[1].kind.tolist()
        [1, 0, 1]

    Fails when: the file is in another order than the data (TFDS orders CIFAR-10 differently from torchvision). A
    disagreement of about (K-1)/K says so.

    Reference: Wei et al. 2022, arXiv:2110.12088 (CIFAR-10N and CIFAR-100N, CC BY-NC 4.0; not bundled here).
    """
    check_rate(rate)
    if path is None:
        raise TamisError(
            "labels from a file need the file; give path='labels.npy', and key='...' where it holds several."
        )
    where = Path(path)
    labels = read_labels(where, key)
    rows = None if index is None else torch.as_tensor(index).long()
    if rows is not None:
        if rows.ndim != 1 or (len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < len(labels)):
            raise TamisError(f"the index of {where.name} must be a list of rows in 0..{len(labels) - 1}.")
        labels = labels[rows]

    def draw(data: Arrays, generator: torch.Generator) -> Tensor:
        if len(labels) != len(data.y):
            raise TamisError(
                f"{where.name} gives {len(labels)} labels and the data have {len(data.y)} examples; there must be one "
                "label per example, and index= says which rows belong to a subset."
            )
        bad = ((labels < 0) | (labels >= data.classes)).nonzero()
        if len(bad):
            at = int(bad[0])
            raise TamisError(f"{where.name}: label {int(labels[at])} at {at} is outside 0..{data.classes - 1}.")
        return labels

    return relabel(rate, draw)


def read_labels(path: Path, key: str | None = None) -> Tensor:
    """``[n]`` int64: the labels that a file holds; see :func:`labels_from_file`.

    Raises:
        TamisError: if the file is not there, cannot be read without running code, or does not hold whole numbers.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "labels.csv"
        ...     _ = path.write_text("name,label\\na,3\\nb,1\\n")
        ...     read_labels(path, "label")
        tensor([3, 1])
    """
    readers = {".npy": _numpy, ".npz": _numpy, ".csv": _csv, ".pt": _torch, ".pth": _torch}
    if path.suffix.lower() not in readers:
        raise TamisError(f"labels cannot be read from {path.name}; it must end in {', '.join(readers)}.")
    if not path.is_file():
        raise TamisError(f"there is no file {path} to read labels from.")
    try:
        found = readers[path.suffix.lower()](path)
    except Exception as error:  # each reader has errors of its own, and each means the same here
        raise TamisError(f"{path.name} cannot be read as plain arrays of labels ({type(error).__name__}).") from error
    values = np.asarray(_pick(found, key, path.name))
    with np.errstate(invalid="ignore"):
        whole = values.dtype.kind in "iuf" and values.ndim == 1 and bool((values == np.floor(values)).all())
    if not whole or not np.isfinite(values).all():
        raise TamisError(
            f"{path.name} holds {values.dtype} of shape {list(values.shape)}; labels must be one row of whole numbers."
        )
    return torch.from_numpy(values.astype(np.int64))


def _pick(found: Any, key: str | None, name: str) -> Any:
    if not isinstance(found, Mapping):
        if key is not None:
            raise TamisError(f"{name} holds one array and no names; leave key={key!r} out.")
        return found
    if key is None and len(found) == 1:
        return next(iter(found.values()))
    if key not in found:
        asked = "no key was given" if key is None else f"there is no {key!r}"
        raise TamisError(f"{name}: {asked}; it must be one of {', '.join(map(str, found))}.")
    return found[key]


def _numpy(path: Path) -> Any:
    found = np.load(path, allow_pickle=False)
    if isinstance(found, np.ndarray):
        return found
    with found:
        return dict(found)


def _csv(path: Path) -> Any:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row]
    try:
        [float(value) for value in rows[0]]
        names = None
    except ValueError:
        names, rows = rows[0], rows[1:]
    columns = [_numbers(column) for column in zip(*rows, strict=True)]
    if names is not None:
        return dict(zip(names, columns or [np.empty(0)] * len(names), strict=True))
    return columns[0] if len(columns) == 1 else {str(i): column for i, column in enumerate(columns)}


def _numbers(column: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(value) for value in column])
    except ValueError:
        return np.array(column)


def _torch(path: Path) -> Any:
    """Weights only: tensors, plain containers, and arrays of numbers, which is what CIFAR-10N's file holds."""
    numbers = [np.ndarray, np.dtype, *{type(np.dtype(code)) for code in "bBhHiIlLqQfd"}]
    rebuild = np.zeros(1).__reduce__()[0]
    plain = [
        *numbers,
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
    ]
    safe = getattr(torch.serialization, "safe_globals", None)
    with safe(plain) if safe else contextlib.nullcontext():
        return torch.load(path, map_location="cpu", weights_only=True)
