"""An archive, unpacked into a temporary folder of its own, if nothing in it is out to do harm.

The folder is removed when what was read from it is no longer in use, and at the latest when Python ends.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO

from tamis.own.base import printable, quoted, reason
from tamis.types import TamisError

SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
MOST_BYTES = 32 << 30  # unpacked
MOST_RATIO = 200  # unpacked over packed; pictures have 1, text seldom 20, and a bomb 1,000 or more
MOST_MEMBERS = 5_000_000
_HARMLESS = 64 << 20  # bytes below which no ratio matters
_STEP = 1 << 20
_DRAINED = 64  # steps: what may follow the end, where padding is written

Member = tuple[str, str, IO[bytes] | None]  # its name, why it is passed over (or nothing), its bytes
_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, RuntimeError, ValueError, OSError
)  # fmt: skip


def is_archive(path: Path) -> bool:
    """By its name."""
    return path.name.lower().endswith(SUFFIXES)


def unpack(path: Path, where: str) -> tuple[Path, tuple[tuple[str, str], ...]]:
    """Unpacks a ``.zip`` or ``.tar[.gz|.bz2|.xz]`` archive into a new temporary folder.

    Args:
        where: how an error calls the archive.

    Returns:
        The folder, which is the caller's to remove, and (member, why) of links and devices, which are never unpacked.

    Raises:
        TamisError: if the archive is damaged or encrypted, a member's path is absolute or leaves the folder, a name
            stands twice, or it unpacks to more than 32 GiB, than the free space, or than 200 times its size. Nothing
            stays behind.

    Fails when: an honest archive holds tens of megabytes of one repeated line; unpack that one by hand.
    """
    folder = Path(tempfile.mkdtemp(prefix="tamis-"))
    try:
        allowed = _allowed(path, folder)
        skipped, seen, total = [], set(), 0
        members = _zip_members(path) if path.name.lower().endswith(".zip") else _tar_members(path)
        for name, why, stream in members:
            target = folder / _inside(name, where)
            if why or stream is None:
                skipped.append((printable(name), why))
                continue
            if target in seen:
                raise TamisError(f"{where} holds {quoted(name)} twice; pack it anew.")
            seen.add(target)
            if len(seen) > MOST_MEMBERS:
                raise TamisError(f"{where} holds more than {MOST_MEMBERS:,} files; unpack it yourself.")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("xb") as out:
                while data := stream.read(_STEP):
                    total += len(data)
                    if total > allowed:
                        raise TamisError(
                            f"{where} unpacks to more than {allowed / 2**20:,.0f} MiB, which its "
                            f"{path.stat().st_size / 2**20:,.1f} MiB (times {MOST_RATIO}) or the free space do not "
                            "warrant; unpack it yourself if you trust it."
                        )
                    out.write(data)
        return folder, tuple(skipped)
    except _DAMAGE as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, TamisError):
            raise
        raise TamisError(f"{where} cannot be unpacked ({reason(error)}).") from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _allowed(path: Path, folder: Path) -> int:
    by_ratio = max(_HARMLESS, MOST_RATIO * path.stat().st_size)
    return min(MOST_BYTES, by_ratio, int(shutil.disk_usage(folder).free * 0.9))


def _inside(name: str, where: str) -> PurePosixPath:
    """The member's path, which must stay where it is put, whichever system it was packed on."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or name[1:2] == ":":
        raise TamisError(f"{where} holds the absolute path {quoted(name)}; pack it with paths inside one folder.")
    if ".." in path.parts:
        raise TamisError(f"{where} holds {quoted(name)}, which leaves its folder; it is not unpacked.")
    return path


def _zip_members(path: Path) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            if info.is_dir():
                continue
            mode = info.external_attr >> 16
            if mode and stat.S_ISLNK(mode):
                yield info.filename, "is a link", None
                continue
            with archive.open(info) as stream:
                yield info.filename, "", stream


def _tar_members(path: Path) -> Iterator[Member]:
    with _decompressed(path) as raw:
        with tarfile.open(fileobj=raw, mode="r|", tarinfo=_Strict) as archive:
            for info in archive:
                if info.isreg():
                    yield info.name, "", archive.extractfile(info)
                elif not info.isdir():
                    yield info.name, "is a link" if info.issym() or info.islnk() else "is no regular file", None
        for _ in range(_DRAINED):  # to the checksum, which stands at the end
            if not raw.read(_STEP):
                return
        raise tarfile.ReadError("too much follows its end")


def _decompressed(path: Path) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile | BufferedReader:
    name = path.name.lower()
    if name.endswith((".gz", ".tgz")):
        return gzip.open(path)
    if name.endswith(".bz2"):
        return bz2.open(path)
    return lzma.open(path) if name.endswith(".xz") else path.open("rb")


class _Strict(tarfile.TarInfo):
    """A header that says so when it is damaged, where ``tarfile`` itself takes it for the archive's end.

    And one that will not have gigabytes of "name" read into memory.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Strict:
        try:
            info = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # a block of zeros is the end
            raise tarfile.ReadError("a header is damaged, or the end is missing") from error
        if info.type not in tarfile.REGULAR_TYPES and info.size > _STEP:
            raise tarfile.ReadError("a header is too long")
        return info
