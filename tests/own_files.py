"""Real files for the tests of :mod:`tamis.own`: pictures, archives, and proof that nothing of them was changed."""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tamis.own.reading import Own, read


def pixels(seed: int, height: int = 12, width: int = 12, channels: int = 3) -> np.ndarray:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def encoded(array: np.ndarray, format: str = "PNG", **how: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, format, **how)
    return out.getvalue()


def put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def two_classes(folder: Path, each: int = 3, channels: int = 3) -> Path:
    """``cat`` and ``dog`` with ``each`` pictures."""
    for k, name in enumerate(("cat", "dog")):
        for i in range(each):
            put(folder / name / f"{i}.png", encoded(pixels(100 * k + i, channels=channels)))
    return folder


def fingerprint(path: Path) -> str:
    """Names, kinds, modes, times of change and contents of everything at and below a path."""
    total = hashlib.sha256()
    for place in sorted([path, *path.rglob("*")] if path.is_dir() else [path]):
        told = place.lstat()
        total.update(repr((os.fsencode(place), told.st_mode, told.st_mtime_ns, told.st_size)).encode())
        if place.is_file() and not place.is_symlink():
            total.update(place.read_bytes())
    return total.hexdigest()


def read_unchanged(path: Path, **how: Any) -> Own:
    """Reads, and holds that the user's files are as they were, whether or not they could be read."""
    before = fingerprint(path)
    try:
        return read(path, **how)
    finally:
        assert fingerprint(path) == before, "reading changed what it read"


def shown_size(png: bytes | None) -> tuple[int, int]:
    assert png is not None
    assert png.startswith(b"\x89PNG")
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        return image.size
