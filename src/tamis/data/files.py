"""A data set in a file of your own: the arrays of an ``.npz``, by a name that says what is in it.

``flowers.npz#3fa94c1d02b7e865`` is a path and the first digits of the SHA-256 of what lies there: a record made of
other contents is never taken for one of these.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from tamis.data.dataset import Dataset
from tamis.data.fetch import sha256
from tamis.data.formats import read_npz
from tamis.types import Arrays, TamisError, generator

DIGITS = 16  # of the hash, in a name
HELD_OUT = 5  # one in so many of each class is for the test, where a file has no test split


def is_file(name: str) -> bool:
    """Whether a data set's name is the path of a file.

    Example:
        >>> is_file("data/flowers.npz"), is_file("flowers.npz#3fa94c1d02b7e865"), is_file("digits")
        (True, True, False)
    """
    return name.partition("#")[0].endswith(".npz")


def with_hash(name: str) -> str:
    """The name with the hash of what the file holds now; one that has it already is returned as it is.

    Raises:
        TamisError: a file that is not there or cannot be read.
    """
    return name if "#" in name else f"{name}#{_hash(name)}"


def read(name: str) -> Dataset:
    """The arrays ``x`` and ``y`` of an ``.npz`` file, and ``x_test`` and ``y_test``, or a fifth of each class instead.

    ``x`` ``[N, ...]``: features ``[N, D]`` or pictures ``[N, C, H, W]``; bytes are taken for pixels of 0 to 255. ``y``
    ``[N]``: whole numbers or texts, one a class; the classes are those that occur, in order.

    Raises:
        TamisError: a file that is not there, holds Python objects, lacks an array, or holds other than its name says;
            splits of other shapes or other numbers; a value that is not finite.
    """
    path, _, wanted = name.partition("#")
    found = _hash(path)
    if wanted and found != wanted:
        raise TamisError(f"{path} does not hold what {wanted} was made of (its hash is {found}); give it a new study.")
    arrays = read_npz(Path(path), ("x", "y"), optional=("x_test", "y_test"))
    split = [key for key in ("x_test", "y_test") if key in arrays]
    if len(split) == 1:
        raise TamisError(f"{path} has {split[0]} alone; a test split needs x_test and y_test.")
    names, labels = _labels(path, [arrays[key] for key in ("y", *split[1:])])
    if split:
        _alike(path, arrays["x"], arrays["x_test"])
    inputs = [_inputs(path, key, arrays[key]) for key in ("x", *split[:1])]
    note = ""
    if not split:
        if len(inputs[0]) != len(labels[0]):
            raise TamisError(f"{path} has {len(inputs[0])} examples and {len(labels[0])} labels; they must be as many.")
        held = one_in(HELD_OUT, labels[0], "data.files")
        inputs, labels = [inputs[0][~held], inputs[0][held]], [labels[0][~held], labels[0][held]]
        note = "split by Tamis: a fifth of each class is the test split"
    train, test = (
        Arrays(torch.from_numpy(x), torch.from_numpy(y), len(names)) for x, y in zip(inputs, labels, strict=True)
    )
    return Dataset(name, train, test, note, f"arrays of {Path(path).name}, sha256 {found}", names)


def one_in(parts: int, labels: np.ndarray, purpose: str) -> np.ndarray:
    """``[N]`` bool: one in ``parts`` of each class, drawn by a fixed seed for this purpose.

    Args:
        labels: ``[N]`` whole numbers of at least 0. purpose: what the draw is for; another purpose draws otherwise.

    Example:
        >>> one_in(5, np.array([0] * 10 + [1] * 5), "example").nonzero()[0].shape
        (3,)
    """
    held = np.zeros(len(labels), bool)
    for c in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == c)
        order = torch.randperm(len(members), generator=generator(0, purpose, c)).numpy()
        held[members[order[: round(len(members) / parts)]]] = True
    return held


def _hash(path: str) -> str:
    try:
        return sha256(Path(path).read_bytes())[:DIGITS]
    except OSError as error:
        raise TamisError(f"{path} cannot be read ({error.strerror}); name an .npz file with arrays x and y.") from error


def _labels(path: str, given: list[np.ndarray]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The classes' names, and the labels of each split as their numbers."""
    for y in given:
        if y.ndim != 1 or y.dtype.kind not in "iubUS":
            raise TamisError(f"{path}: y is {y.dtype} {list(y.shape)}, and must be [N] whole numbers or texts.")
    names, numbers = np.unique(np.concatenate(given), return_inverse=True)
    sizes = np.cumsum([len(y) for y in given])[:-1]
    texts = tuple(str(name, "utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names)
    return texts, [part.astype(np.int64) for part in np.split(numbers, sizes)]


def _inputs(path: str, key: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "fiub" or x.ndim < 2:
        raise TamisError(f"{path}: {key} is {x.dtype} {list(x.shape)}, and must be [N, ...] numbers.")
    values = x.astype(np.float32) / np.float32(255 if x.dtype == np.uint8 else 1)
    if not np.isfinite(values.sum()) and not (finite := np.isfinite(values).reshape(len(values), -1).all(1)).all():
        raise TamisError(  # before a split of ours is drawn: the index is the file's
            f"{path}: {key} holds NaN or an infinity at index {int(finite.argmin())}; every value must be finite."
        )
    return values


def _alike(path: str, x: np.ndarray, test: np.ndarray) -> None:
    """Refuse a test split that is not what the training split is; floats of other lengths are the same numbers."""
    if x.shape[1:] != test.shape[1:]:
        raise TamisError(
            f"{path}: x is {list(x.shape)} and x_test {list(test.shape)}; examples of both splits must have one shape."
        )
    if x.dtype.kind != test.dtype.kind or (x.dtype == np.uint8) != (test.dtype == np.uint8):
        raise TamisError(
            f"{path}: x is {x.dtype} and x_test {test.dtype}, but both must hold the same kind of number, as bytes are "
            "taken for pixels of 0 to 255 and others as they are."
        )
