"""Files with known contents: the cache folder, hashed downloads, and writing whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np

from tamis.types import TamisError


def cache_dir() -> Path:
    """The folder for downloaded and decoded data: ``$TAMIS_CACHE``, or the platform's cache folder for ``tamis``."""
    import pooch  # with requests behind it; imported where it is needed, so that `import tamis` stays light

    return Path(os.environ.get("TAMIS_CACHE") or pooch.os_cache("tamis")).expanduser()


def sha256(data: bytes) -> str:
    """The SHA-256 of bytes, in hexadecimal.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(data).hexdigest()


def checked(path: Path, known_hash: str) -> Path:
    """``path``, if the file there has the hash "md5:…" or "sha256:…".

    Raises:
        TamisError: if it has another.
    """
    import pooch

    algorithm, _, expected = known_hash.partition(":")
    if pooch.file_hash(str(path), alg=algorithm) != expected:
        raise TamisError(f"{path} is not the published file: its {algorithm} is not {expected}; fetch it again.")
    return path


def download(url: str, known_hash: str, folder: str) -> Path:
    """The file at ``url``, from the cache if it is there with the right hash, else downloaded and checked.

    Args:
        url: http or https. known_hash: "md5:…" or "sha256:…". folder: a folder inside the cache.

    Returns:
        Its path in the cache. The name is there only when the contents have the hash.

    Raises:
        TamisError: if it cannot be reached, or its contents have another hash; nothing stays behind under its name.
    """
    import pooch

    name = url.rsplit("/", 1)[-1]
    path = cache_dir() / folder
    try:
        return Path(pooch.retrieve(url, known_hash=known_hash, fname=name, path=path))
    except ValueError as error:
        if "hash" not in str(error):
            raise TamisError(f"{url} cannot be downloaded ({error}).") from error
        expected = known_hash.replace(":", " ")
        raise TamisError(f"what {url} sent does not have the {expected}; nothing was kept, try again.") from error
    except OSError as error:  # requests' own errors are of this kind
        reason = type(error).__name__
        raise TamisError(f"{url} cannot be downloaded to {path} ({reason}); place the file there yourself.") from error


def save_whole(path: Path, array: np.ndarray) -> None:
    """Writes an array as ``.npy``, whole or not at all: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.save(stream, array, allow_pickle=False)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def load_whole(path: Path, shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray | None:
    """The array :func:`save_whole` wrote, or None if there is none of that shape and type."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return array if array.shape == shape and array.dtype == dtype else None
