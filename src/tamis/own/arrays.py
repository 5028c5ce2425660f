"""Arrays, in memory or in ``.npy`` and ``.npz`` files: pictures or features, with labels beside them.

Headers are read before contents: Python objects are refused without being unpickled, and what could not fit is refused
without being allocated. A file is read in slices straight into the float32 array that it becomes.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from tamis.own.base import Own, OwnKind, Shown, digest_of, quoted, reason, room, some, standardise_
from tamis.own.labels import chosen, classes_of, label_texts, without_lonely
from tamis.own.pictures import as_image, png, shown_file, thumbnail
from tamis.types import Arrays, TamisError

MOST_COLUMNS = 100_000
X_KEYS = ("x", "X", "images", "data", "features", "x_train", "X_train", "train_images")
Y_KEYS = ("y", "Y", "labels", "label", "targets", "target", "y_train", "Y_train", "train_labels")
_SLICE = 1 << 22  # bytes of a slice
_DAMAGE = (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, MemoryError, RuntimeError)


@dataclass(frozen=True, eq=False)
class Stored:
    """An array whose values have not been read yet: ``slices()`` yields ``[n, ...]`` parts of it, in order."""

    where: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    slices: Callable[[], Iterator[np.ndarray]]


def stored(array: np.ndarray, where: str) -> Stored:
    """An array in memory, sliced without a copy."""
    step = max(1, _SLICE // max(1, array.dtype.itemsize * math.prod(array.shape[1:])))
    return Stored(where, array.shape, array.dtype, lambda: (array[i : i + step] for i in range(0, len(array), step)))


def stored_npy(opened: Callable[[], AbstractContextManager[IO[bytes]]], where: str) -> Stored:
    """An array in ``.npy`` format, of which the header alone is read now.

    Raises:
        TamisError: if the header is none, or states Python objects or records.
    """
    try:
        with opened() as stream:
            shape, fortran, dtype = _header(stream)
        if min(shape, default=0) < 0:
            raise ValueError(f"a size of {min(shape)}")
    except _DAMAGE as error:
        raise TamisError(f"{where} is no whole array of NumPy's format ({reason(error)}).") from error
    if dtype.hasobject or dtype.names:
        what = "Python objects, which are never unpickled" if dtype.hasobject else "records"
        raise TamisError(f"{where} holds {what}; save it as a plain array of numbers (or of str, for labels).")

    def slices() -> Iterator[np.ndarray]:
        try:
            with opened() as stream:
                if fortran or dtype.itemsize == 0:
                    yield from stored(np.lib.format.read_array(stream, allow_pickle=False), where).slices()
                    return
                _header(stream)
                row = dtype.itemsize * math.prod(shape[1:])
                for start in range(0, shape[0], step := max(1, _SLICE // max(1, row))):
                    n = min(step, shape[0] - start)
                    raw = stream.read(n * row)
                    if len(raw) < n * row:
                        raise EOFError(f"it ends after {start + len(raw) // max(1, row):,} of {shape[0]:,} rows")
                    yield np.frombuffer(raw, dtype, n * row // dtype.itemsize).reshape(n, *shape[1:])
        except _DAMAGE as error:
            raise TamisError(f"{where} is no whole array of NumPy's format ({reason(error)}).") from error

    return Stored(where, shape, dtype, slices)


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(stream)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(stream)
    raise ValueError(f"version {version[0]}.{version[1]} of the format is not read")


def read_npz(path: Path, label: str | None, side: int, limit: int | None, where: str) -> Own:
    """An ``.npz`` file with examples and labels under the usual names, or labels under ``label``.

    Raises:
        TamisError: naming the arrays in the file, if it does not have them; and whatever is wrong with them.
    """
    try:
        with zipfile.ZipFile(path) as pack:
            keys = [name[:-4] for name in pack.namelist() if name.endswith(".npy")]
    except _DAMAGE as error:
        raise TamisError(f"{where} is no whole .npz file ({reason(error)}).") from error
    found = f"it holds {some(keys)}" if keys else "it holds no array"
    x_key = next((key for key in X_KEYS if key in keys), None)
    y_key = next((key for key in ((label,) if label else Y_KEYS) if key in keys), None)
    if x_key is None or y_key is None:
        asked = quoted(label) if label else "y"
        lacking = " and ".join(name for name, key in (("x", x_key), (asked, y_key)) if key is None)
        raise TamisError(f"{where} has no array {lacking}; {found}. Save it with the keys x and y (or X and labels).")

    def opened(key: str) -> AbstractContextManager[IO[bytes]]:
        return _member(path, f"{key}.npy")

    x = stored_npy(partial(opened, x_key), f"{where}, array {quoted(x_key)}")
    y = _whole(stored_npy(partial(opened, y_key), f"{where}, array {quoted(y_key)}"))
    return from_stored(x, y, None, side, limit, where)


@contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """A member of a zip file, open for reading."""
    with zipfile.ZipFile(path) as pack, pack.open(name) as stream:
        yield stream


def read_npy(path: Path, label: str | None, side: int, limit: int | None, where: str) -> Own:
    """An ``.npy`` file of examples, with its labels in the ``.npy`` file named by ``label``.

    Raises:
        TamisError: if no label file is named or it is not there; and whatever is wrong with the arrays.
    """
    if label is None:
        raise TamisError(f"{where} holds examples without labels; give the .npy file of its labels as label=.")
    places = [Path(label).expanduser(), path.parent / label]
    beside = next((place for place in places if place.is_file()), None)
    if beside is None:
        raise TamisError(f"there is no file {label}, which label= names as the labels of {where}.")
    y = _whole(stored_npy(lambda: beside.open("rb"), str(label)))
    return from_stored(stored_npy(lambda: path.open("rb"), where), y, None, side, limit, where)


def _whole(y: Stored) -> np.ndarray:
    room(y.shape, y.dtype.itemsize, y.where)
    parts = list(y.slices())
    return np.concatenate(parts) if parts else np.empty(y.shape, y.dtype)


def from_arrays(x: Any, y: Any, names: Sequence[str] | None = None, *, side: int = 32, limit: int | None = None) -> Own:
    """A pair of arrays as :class:`~tamis.own.base.Own`: features ``[N, D]`` or pictures, with their labels.

    Args:
        x: ``[N, D]`` features, or pictures ``[N, H, W]``, ``[N, H, W, C]`` or ``[N, C, H, W]`` with C of 1, 3 or 4;
            anything that becomes a NumPy array. Of every type of numbers; pictures are scaled to [0, 1] by their
            type (uint8), else by the range [0, 1] or [0, 255] that holds them, else by their own least and greatest
            value. y: ``[N]`` integers or text; NaN, None and blank text are missing, and such examples are skipped.
        names: class names, for integer labels 0..K-1.
        side: larger pictures are shrunk so that the longer edge has this many pixels.
        limit: at most this many examples, drawn by a fixed seed.

    Returns:
        Sources are "row 0", "row 1", …; ``x`` and ``y`` themselves are not changed.

    Raises:
        TamisError: if the shapes do not fit each other, a value is not finite, or the classes are too few.

    Example:
        >>> own = from_arrays([[0.0, 5.0], [2.0, 5.0], [0.0, 5.0], [2.0, 5.0]], ["b", "a", "b", "a"])
        >>> own.kind, own.names, own.data.y.tolist(), own.data.x[:2].tolist()
        ('features', ('a', 'b'), [1, 0, 1, 0], [[-1.0, 0.0], [1.0, 0.0]])

    Fails when: pictures were flattened to ``[N, D]``; nothing tells them from features.
    """
    names = None if names is None else [str(name) for name in names]
    labels = _array(y, "y")
    labels = np.asarray(y, object) if labels.dtype.kind in "US" else labels  # NumPy makes the text "nan" of a NaN
    return from_stored(stored(_array(x, "x"), "x"), labels, names, side, limit, "the arrays")


def _array(values: Any, where: str) -> np.ndarray:
    try:
        if isinstance(values, Tensor):
            values = values.detach().cpu()
            values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise TamisError(f"{where} does not become an array ({reason(error)}).") from error


def from_stored(
    x: Stored, labels: np.ndarray, names: Sequence[str] | None, side: int, limit: int | None, where: str
) -> Own:
    """Examples that may still lie in a file, and their labels in memory. See :func:`from_arrays`."""
    if x.dtype.kind not in "biuf":
        raise TamisError(f"{x.where} holds {x.dtype}, and must hold numbers.")
    if len(x.shape) not in (2, 3, 4) or 0 in x.shape:
        raise TamisError(
            f"{x.where} is {list(x.shape)}, and must be features [N, D] or pictures [N, H, W], [N, H, W, C] or "
            "[N, C, H, W], none of them empty."
        )
    if len(x.shape) == 2 and x.shape[1] > MOST_COLUMNS:
        raise TamisError(f"{x.where} has {x.shape[1]:,} columns, and at most {MOST_COLUMNS:,} are read; choose fewer.")
    texts = label_texts(labels, where)
    if len(texts) != x.shape[0]:
        raise TamisError(f"{where}: {x.shape[0]:,} examples, but {len(texts):,} labels; each needs one.")
    if names is not None:
        texts = _named(texts, names, where)
    unread = [(i, "has no label") for i, text in enumerate(texts) if text is None]
    texts, alone = without_lonely(texts)
    skipped = tuple((f"row {i}", why) for i, why in unread + alone)
    kept = chosen(texts, limit, where)
    sources = tuple(f"row {i}" for i in kept)
    y, classes = classes_of([texts[i] or "" for i in kept], sources, where, names or ())
    raw, small = (_features(x, kept), ()) if len(x.shape) == 2 else _pictures(x, kept, side)
    finite = torch.isfinite(raw.sum()) or torch.isfinite(raw.flatten(1)).all(1)
    if not finite.all():
        first = sources[int((~finite).nonzero()[0, 0])] if finite.ndim else sources[0]
        raise TamisError(f"{x.where} holds NaN, an infinity or a number beyond float32 in {first}; mend or drop it.")
    kind: OwnKind = "features" if raw.ndim == 2 else "pictures"
    low, high = (0.0, 1.0) if raw.ndim == 2 else _range(raw, x.dtype)
    if (low, high) != (0.0, 1.0):
        raw.sub_(low).div_(high - low)
    digest = digest_of(kind, classes, sources, y, raw.numpy())
    mean, std = standardise_(raw, x.where)
    picture = partial(shown_file, small) if small else partial(shown_array, raw, mean, std)
    shown = Shown() if raw.ndim == 2 else Shown(picture=picture)
    data = Arrays(raw, torch.from_numpy(y), len(classes))
    return Own(data, classes, sources, kind, skipped, shown, digest)


def _named(texts: list[str | None], names: Sequence[str], where: str) -> list[str | None]:
    """Integer labels to the names they stand for."""
    if len(set(names)) < len(names):
        raise TamisError(f"{where}: a class name stands twice in {some(names)}; each class needs its own.")
    by_number = {str(k): str(name) for k, name in enumerate(names)}
    for i, text in enumerate(texts):
        if text is not None and text not in by_number:
            raise TamisError(
                f"{where}: label {quoted(text)} in row {i}, but the {len(names)} names are for 0..{len(names) - 1}."
            )
    return [None if text is None else by_number[text] for text in texts]


def _chosen_slices(x: Stored, kept: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The wanted rows of every slice, and where they go."""
    start = 0
    for part in x.slices():
        first, last = np.searchsorted(kept, (start, start + len(part)))
        if last > first:
            yield slice(int(first), int(last)), part[kept[first:last] - start]
        start += len(part)


def _features(x: Stored, kept: np.ndarray) -> Tensor:
    """``[n, D]`` float32, less the first row: a large common offset (a year, a time stamp) then costs no precision."""
    room((len(kept), *x.shape[1:]), 4, x.where)
    out = np.empty((len(kept), *x.shape[1:]), np.float32)
    origin = None
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found and named by its row
        for rows, part in _chosen_slices(x, kept):
            wide = part.astype(np.float64)
            if origin is None:
                origin = np.where(np.isfinite(wide[0]), wide[0], 0)
            out[rows] = wide - origin
    return torch.from_numpy(out)


def _pictures(x: Stored, kept: np.ndarray, side: int) -> tuple[Tensor, tuple[bytes, ...]]:
    """``[n, C, h, w]`` float32 in the array's units, its longer edge at most ``side``; thumbnails of shrunk ones."""
    axes = _axes(x)
    channels, height, width = (1 if a is None else x.shape[a] for a in axes)
    scale = min(1.0, side / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    room((len(kept), channels, *size), 4, x.where)
    out = torch.empty(len(kept), channels, *size)
    small: list[bytes] = []
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, part in _chosen_slices(x, kept):
            part = part[:, None] if axes[0] is None else part.transpose(0, *(a for a in axes if a is not None))
            pixels = torch.from_numpy(part.astype(np.float32))
            if size != (height, width):
                pixels = torch.nn.functional.interpolate(pixels, size, mode="bilinear", antialias=True)
                small += [thumbnail(as_image(whole)) for whole in part] if x.dtype == np.uint8 else []
            out[rows] = pixels
    return out, tuple(small)


def _axes(x: Stored) -> tuple[int | None, int, int]:
    """Which axes are channel, height and width."""
    if len(x.shape) == 3:
        return None, 1, 2
    if x.shape[1] in (1, 3, 4):
        return 1, 2, 3
    if x.shape[3] in (1, 3, 4):
        return 3, 1, 2
    raise TamisError(f"{x.where} is {list(x.shape)}; the channels of pictures must be 1, 3 or 4, in axis 1 or 3.")


def _range(raw: Tensor, dtype: np.dtype[Any]) -> tuple[float, float]:
    """The values that are black and white."""
    low, high = (float(v) for v in raw.aminmax())
    if dtype == np.uint8 or (low >= 0 and 1 < high <= 255):
        return 0.0, 255.0
    if low >= 0 and high <= 1:
        return 0.0, 1.0
    return low, high if high > low else low + 1


def shown_array(x: Tensor, mean: Tensor, std: Tensor, i: int) -> bytes | None:
    """Picture ``i`` of a normalised set as a PNG: back to [0, 1], then to bytes; a fourth channel is left out."""
    raw = x[i] * std.view(-1, 1, 1) + mean.view(-1, 1, 1)
    pixels = raw.mul(255).round_().clamp_(0, 255).to(torch.uint8).numpy()
    return png(as_image(pixels))
