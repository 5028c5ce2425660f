"""A person's own data, read as they lie: folders, archives, tables, arrays, Hugging Face folders, or a known name.

Nothing of theirs is ever changed. Whatever cannot be read is named, and whatever is wrong is one sentence.
"""

from __future__ import annotations

import difflib
import os
import shutil
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tamis.data.sources import DATASETS, load
from tamis.own import archive as archives
from tamis.own import table as tables
from tamis.own.archive import is_archive, unpack
from tamis.own.arrays import from_arrays, read_npy, read_npz
from tamis.own.base import Own, OwnKind, Progress, Shown, printable, reason, some
from tamis.own.folder import class_root, holds_classes, is_folder, read_folder, visible
from tamis.own.hub import is_saved, open_hub
from tamis.own.table import Embed, open_table, read_table
from tamis.types import TamisError

__all__ = ["Own", "OwnKind", "Shown", "from_arrays", "read"]

_FILES = (".npz", ".npy", *tables.SUFFIXES)


@dataclass(frozen=True)
class _How:
    """What :func:`read` was told beside the data."""

    label: str | None
    text: str | None
    embed: Embed | None
    side: int
    limit: int | None
    progress: Progress | None


def read(
    data: Any,
    *,
    label: str | None = None,
    text: str | None = None,
    embed: Embed | None = None,
    side: int = 32,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Own:
    """Reads a person's own data, whatever they are.

    =================================  =================================================================================
    a folder                           one folder per class with png, jpg, jpeg, webp, bmp or gif pictures in it, at any
                                       depth; the first frame, upright, fitted into a square with its aspect kept
    ``.zip``, ``.tar``, ``.tar.gz`` …  an archive of what may lie in a folder
    ``.csv``, ``.tsv``, ``.parquet``   a table; ``label`` names its label column; if another holds pictures, or paths
                                       of pictures beside the table, these are the examples
    ``.npz``                           arrays ``x`` and ``y`` (or ``X`` and ``labels``, and the like; ``label`` names
                                       the array of labels)
    ``.npy``                           an array of examples; ``label`` is the path of the array of labels
    a Hugging Face folder              ``save_to_disk``, its cache, or Parquet files; the only ``ClassLabel`` column is
                                       the label unless ``label`` names one
    a known name                       the training split of one of :data:`tamis.data.DATASETS`
    a pair ``(x, y)``                  arrays, see :func:`from_arrays`
    =================================  =================================================================================

    Args:
        data: one of these.
        label: which column, array or file holds the labels.
        text: the text column of a table; ``embed`` turns its texts into features, beside the other columns.
        embed: from ``N`` texts to a tensor ``[N, D]``; called once, with all of them.
        side: the longest edge of a picture, in pixels; larger ones are shrunk, smaller sets are not enlarged.
        limit: at most this many examples, drawn by a fixed seed so that every class stays.
        progress: called with the share of pictures read, in [0, 1].

    Returns:
        The data, normalised, with names, sources, and what was skipped.

    Raises:
        TamisError: if nothing can be made of it; the sentence says what was found and what would be right.

    Example:
        >>> own = read("digits", limit=100)
        >>> own.kind, own.data.x.shape, own.names[:3], own.shown.picture(0)[:4]
        ('pictures', torch.Size([100, 1, 8, 8]), ('0', '1', '2'), b'\\x89PNG')

    Fails when: a column of a table was made *from* the label; every model is then right, and no audit finds anything.
    """
    if side < 1 or (limit is not None and limit < 1):
        raise TamisError(f"side is {side} and limit is {limit}; both must be at least 1 (or limit None).")
    how = _How(label, text, embed, side, limit, progress)
    if isinstance(data, tuple) and len(data) == 2:
        _no_columns(how, "a pair of arrays")
        return from_arrays(*data, side=side, limit=limit)
    if not isinstance(data, str | os.PathLike) or not os.fspath(data):
        given = "empty" if data == "" else f"a {type(data).__name__}"
        raise TamisError(f"data is {given}, and must be a path, a known name, or a pair (x, y).")
    where = printable(os.fspath(data))
    path = Path(data).expanduser()
    try:
        if path.exists():
            return _read_path(path, where, how)
        if where not in DATASETS:
            raise TamisError(_not_there(path, where))
    except OSError as error:  # permission above all
        place = printable(str(error.filename or where))
        raise TamisError(f"{place} cannot be read: {reason(error)}.") from error
    _no_columns(how, "a known data set")
    known = load(where, normalised=False)
    return from_arrays(known.train.x, known.train.y, known.class_names or None, side=side, limit=limit)


def _read_path(path: Path, where: str, how: _How) -> Own:
    suffix = path.suffix.lower()
    if path.is_dir():
        return _read_folder(path, where, how)
    if not path.is_file():
        raise TamisError(f"{where} is neither a file nor a folder.")
    with path.open("rb"):  # permission is asked for here, once for all readers
        pass
    if is_archive(path):
        return _read_archive(path, where, how)
    if suffix in tables.SUFFIXES:
        table = open_table(path, where)
        return read_table(table, how.label, how.text, how.embed, how.side, how.limit, how.progress)
    if suffix not in _FILES:
        known = ", ".join((*_FILES, *archives.SUFFIXES))
        raise TamisError(f"{where}: nothing is known of files that end in {some([suffix])}; known are {known}.")
    if how.text is not None:
        raise TamisError(f"text= names a column of a table, and {where} holds arrays.")
    return (read_npz if suffix == ".npz" else read_npy)(path, how.label, how.side, how.limit, where)


def _read_folder(folder: Path, where: str, how: _How) -> Own:
    root, passed = class_root(folder)
    for place in dict.fromkeys((folder, root)):
        if how.label is None and not is_saved(place) and holds_classes(place):
            continue  # a table that lies beside class folders is read where its label column is named
        if (table := open_hub(place, where)) is not None:
            return read_table(table, how.label, how.text, how.embed, how.side, how.limit, how.progress)
    entries = visible(root)
    files = [e.name for e in entries if Path(e.name).suffix.lower() in _FILES]
    if files and (how.label is not None or not any(is_folder(e) for e in entries)):
        if len(files) > 1:
            raise TamisError(f"{where} holds {some(files)}; give the path of one of them.")
        return _read_path(root / files[0], f"{where}, {files[0]}", how)
    _no_columns(how, f"{where}, a folder of pictures,")
    own = read_folder(root, how.side, how.limit, how.progress, where)
    return replace(own, skipped=(*passed, *own.skipped))


def _read_archive(path: Path, where: str, how: _How) -> Own:
    folder, passed = unpack(path, where)
    try:
        own = _read_folder(folder, where, how)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    if own.kind == "pictures":  # they are shown from their files
        weakref.finalize(own.shown.picture, shutil.rmtree, folder, ignore_errors=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return replace(own, skipped=(*passed, *own.skipped))


def _no_columns(how: _How, what: str) -> None:
    if how.label is not None or how.text is not None:
        raise TamisError(f"label= and text= name columns, and {what} has none; leave them out.")


def _not_there(path: Path, where: str) -> str:
    if "://" in where:
        return f"{where} is an address; download it, and give the path."
    if path.is_symlink():
        return f"{where} is a link to nothing."
    folder = path.parent
    if not folder.is_dir():
        return f"there is no {where}, and no folder {folder} either."
    names = [entry.name for entry in visible(folder)]
    near = difflib.get_close_matches(path.name, [*names, *DATASETS], 3, 0.4)
    hint = f"did you mean {some(near)}?" if near else f"known data sets are {some(list(DATASETS))}."
    return f"there is no {where}; {hint}"
