"""Bytes to arrays: the three file formats the sources come in. Nothing here knows where a file comes from.

Every parser checks what it is told against what it finds and answers damage with one sentence. None of them
unpickles, and none writes a file.
"""

from __future__ import annotations

import gzip
import io
import math
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np

from tamis.types import TamisError

_CIFAR_RECORD = 1 + 3 * 32 * 32


def gunzip(path: Path) -> bytes:
    """The bytes inside a gzip file.

    Raises:
        TamisError: if the file is truncated, damaged, or no gzip file.
    """
    try:
        return gzip.decompress(path.read_bytes())
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise TamisError(f"{path} is not a whole gzip file ({error}); fetch it again.") from error


def parse_idx(data: bytes, where: str = "the IDX file") -> np.ndarray:
    """An array of unsigned bytes in the IDX format of MNIST: two zero bytes, type 8, rank, big-endian sizes, values.

    Args:
        data: the file, unzipped.
        where: how an error calls it.

    Returns:
        uint8, in the shape the header states. A copy: it can be written to.

    Raises:
        TamisError: if the header is not IDX of unsigned bytes, or the length is not what the header states.

    Example:
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])).tolist()
        [7, 8, 9]
        >>> parse_idx(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8]))
        Traceback (most recent call last):
        ...
        tamis.errors.TamisError: the IDX file holds 2 values, and its header states 3.

    Reference: http://yann.lecun.com/exdb/mnist (the format's section).
    """
    if len(data) < 4 or data[:3] != b"\x00\x00\x08" or data[3] == 0:
        raise TamisError(f"{where} does not open with an IDX header of unsigned bytes (00 00 08 and a rank).")
    end = 4 + 4 * data[3]
    if len(data) < end:
        raise TamisError(f"{where} ends inside its header, after {len(data)} of {end} bytes.")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", data[3], 4))
    if len(data) - end != math.prod(shape):
        raise TamisError(f"{where} holds {len(data) - end} values, and its header states {math.prod(shape)}.")
    return np.frombuffer(data, np.uint8, offset=end).reshape(shape).copy()


def read_cifar_binary(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """CIFAR-10's binary archive, read member by member in memory; nothing is extracted to disk.

    Returns:
        Training images ``[50000, 3, 32, 32]`` and labels ``[50000]``, test images and labels; uint8.

    Raises:
        TamisError: if the archive is damaged, a batch is missing, or one is not a whole number of records.

    Reference: Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html (binary version).
    """
    names = [f"cifar-10-batches-bin/data_batch_{i}.bin" for i in range(1, 6)] + ["cifar-10-batches-bin/test_batch.bin"]
    batches = []
    try:
        with tarfile.open(path, "r:gz") as archive:
            for name in names:
                member = archive.getmember(name)
                stream = archive.extractfile(member) if member.isfile() else None
                if stream is None or member.size == 0 or member.size % _CIFAR_RECORD:
                    raise TamisError(f"{path}: {name} is not a file of whole {_CIFAR_RECORD}-byte records.")
                batches.append(np.frombuffer(stream.read(), np.uint8).reshape(-1, _CIFAR_RECORD))
    except KeyError as error:
        raise TamisError(f"{path} lacks a batch of CIFAR-10's binary version: {error.args[0]}.") from error
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise TamisError(f"{path} is not a whole tar.gz archive ({error}); delete it and fetch it again.") from error
    train = np.concatenate(batches[:5])
    test = batches[5]
    return (
        train[:, 1:].reshape(-1, 3, 32, 32),
        train[:, 0].copy(),
        test[:, 1:].reshape(-1, 3, 32, 32),
        test[:, 0].copy(),
    )


def decode_images(data: np.ndarray, offsets: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Image files laid end to end, decoded: file ``i`` is ``data[offsets[i]:offsets[i + 1]]``.

    Args:
        data: uint8, the bytes of all files. offsets: ``[N + 1]``, not decreasing.
        shape: ``(C, H, W)`` every picture must have.

    Returns:
        ``[N, C, H, W]`` uint8.

    Raises:
        TamisError: if the offsets leave the data, or a file does not decode to that shape; says which.
    """
    from PIL import Image, UnidentifiedImageError

    out = np.empty((len(offsets) - 1, *shape), np.uint8)
    if len(out) and (offsets[0] < 0 or offsets[-1] > len(data) or (np.diff(offsets) < 0).any()):
        raise TamisError(f"the offsets of {len(out)} pictures leave their {len(data)} bytes; the pack is damaged.")
    raw = data.tobytes()
    mode = "L" if shape[0] == 1 else "RGB"
    for i in range(len(out)):
        try:
            with Image.open(io.BytesIO(raw[offsets[i] : offsets[i + 1]]), formats=("JPEG", "PNG")) as image:
                if image.size != (shape[2], shape[1]):
                    raise TamisError(f"picture {i} is {image.size[0]} x {image.size[1]}, not {shape[2]} x {shape[1]}.")
                pixels = np.asarray(image.convert(mode))
        except (UnidentifiedImageError, OSError) as error:
            raise TamisError(f"picture {i} does not decode ({type(error).__name__}); the pack is damaged.") from error
        out[i] = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return out


def read_npz(path: Path, keys: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
    """The named arrays of an ``.npz`` file, and the ``optional`` ones that it has, without pickles.

    Raises:
        TamisError: if the file is no ``.npz`` file, is damaged, lacks a key, or holds Python objects.
    """
    if path.is_file() and not zipfile.is_zipfile(path):
        raise TamisError(f"{path} is not a whole .npz file: it is no archive, or was cut short.")
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as pack:
            return {key: pack[key] for key in (*keys, *(key for key in optional if key in pack.files))}
    except KeyError as error:
        raise TamisError(f"{path} lacks an array: {error.args[0]}.") from error
    except (ValueError, OSError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise TamisError(f"{path} is not a whole .npz file of plain arrays ({error}).") from error
