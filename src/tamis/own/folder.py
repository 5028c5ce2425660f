"""A folder with one folder per class: which pictures lie in it, and under which label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tamis.own.base import Own, Progress, Shown, printable, reason, some
from tamis.own.labels import chosen
from tamis.own.pictures import SUFFIXES, decode, pictures, shown_file, without_lonely_ones
from tamis.types import TamisError

_UNREAD = frozenset(
    {".tif", ".tiff", ".heic", ".heif", ".avif", ".jxl", ".jp2", ".svg", ".psd", ".dng", ".tga", ".ico"}
)
_SPLITS = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What lies in a folder, by name; hidden files and the droppings of archivers left out."""
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if e.name[0] != "." and e.name != "__MACOSX"), key=lambda e: e.name)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether it is a folder itself, not a link to one."""
    return entry.is_dir(follow_symlinks=False)


def is_picture(entry: os.DirEntry[str]) -> bool:
    """Whether its name is a picture's; what it holds is seen when it is decoded."""
    return os.path.splitext(entry.name)[1].lower() in SUFFIXES


def class_root(folder: Path) -> tuple[Path, list[tuple[str, str]]]:
    """Where the class folders lie, and what was passed over on the way.

    A folder that holds nothing but one folder without pictures of its own stands for that one (archives are made so),
    and of ``train`` and ``test`` beside each other, each with folders in it, ``train`` is read.
    """
    entries = visible(folder)
    folders = [e for e in entries if is_folder(e)]
    if len(entries) == len(folders) == 1 and not any(map(is_picture, visible(folders[0].path))):
        return class_root(Path(folders[0].path))
    train = [e for e in folders if e.name.lower() in ("train", "training")]
    if len(train) == 1 and len(folders) > 1 and all(e.name.lower() in _SPLITS for e in folders):
        inside = visible(train[0].path)
        if any(is_folder(e) for e in inside):
            others = [(e.name, "is another split; train is read") for e in folders if e is not train[0]]
            return Path(train[0].path), others
    return folder, []


def walk(folder: str, inside: str, home: Path, skipped: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """(path, path within the data) of the picture files in a folder and the folders in it, by name.

    Args:
        inside: the folder's own path within the data. home: the data's folder, resolved. skipped: where everything
            else is named.
    """
    try:
        entries = visible(folder)
    except OSError as error:
        skipped.append((printable(inside), f"cannot be read: {reason(error)}"))
        return
    for entry in entries:
        name = f"{inside}/{entry.name}"
        why = None
        if is_folder(entry):
            yield from walk(entry.path, name, home, skipped)
            continue
        if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(home):
            why = "is a link that leaves the folder"
        elif entry.is_dir():
            why = "is a link to a folder"
        elif not is_picture(entry):
            why = _no_picture(entry.name)
        elif not entry.is_file():  # a pipe would be waited for
            why = "is no regular file"
        if why is None:
            yield entry.path, printable(name)
        else:
            skipped.append((printable(name), why))


def _no_picture(name: str) -> str:
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _UNREAD:
        return f"is a {suffix[1:]} picture, which is not read; png, jpg, webp, bmp and gif are"
    return "is no picture file"


def holds_classes(folder: Path) -> bool:
    """Whether at least two folders with pictures in them lie in it; one may hold what illustrates a table."""
    home = folder.resolve()
    folders = [e for e in visible(folder) if is_folder(e)]
    return sum(any(True for _ in walk(e.path, e.name, home, [])) for e in folders) >= 2


def read_folder(folder: Path, side: int, limit: int | None, progress: Progress | None, where: str) -> Own:
    """Pictures in class folders, at any depth below them. See :func:`tamis.own.reading.read`.

    Raises:
        TamisError: if there is nothing to read, there are no class folders, nothing can be decoded, or the classes
            are too few or too small.
    """
    skipped: list[tuple[str, str]] = []
    entries = visible(folder)
    folders = [e for e in entries if is_folder(e)]
    loose = [e for e in entries if not is_folder(e)]
    if not entries:
        raise TamisError(f"{where} is empty; a folder with one folder of pictures per class is needed.")
    if not folders:
        count = sum(is_picture(e) for e in loose)
        found_instead = f"{count:,} pictures" if count else some([e.name for e in loose], 5)
        raise TamisError(
            f"{where} holds {found_instead}, but no class folders; put each picture into a folder named by its class."
        )
    for entry in loose:
        why = "is a link to a folder" if entry.is_dir() else "lies outside the class folders"
        skipped.append((printable(entry.name), why))
    found: list[tuple[str, str]] = []
    labels: list[str] = []
    for entry in folders:
        inside = list(walk(entry.path, entry.name, folder.resolve(), skipped))
        if not inside:
            skipped.append((printable(entry.name), "has no picture in it"))
        found += inside
        labels += [printable(entry.name)] * len(inside)
    if not found:
        raise TamisError(f"{where}: the folders {some([e.name for e in folders], 5)} hold no picture (png, jpg, …).")
    kept = chosen(labels, limit, where)
    decoded = decode(((int(i), found[i][0]) for i in kept), len(kept), side, where, progress)
    gone = {labels[i] for i in kept} - {labels[i] for i in decoded.read}
    decoded = without_lonely_ones(decoded, labels)
    skipped += [(found[i][1], why) for i, why in decoded.skipped]
    if not len(decoded.read):
        first = f"{found[decoded.skipped[0][0]][1]} {decoded.skipped[0][1]}"
        raise TamisError(f"{where}: none of {len(kept):,} picture files can be read ({first}).")
    skipped += [(name, "has no picture that can be read") for name in sorted(gone)]
    read = decoded.read.tolist()
    shown = Shown(picture=partial(shown_file, tuple(found[i][0] for i in read)))
    places = [found[i][1] for i in read]
    return pictures(decoded, [labels[i] for i in read], places, tuple(skipped), shown, where)
