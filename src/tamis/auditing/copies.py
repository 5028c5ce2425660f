"""A corrected copy of a person's data: what it can be made of, whether that is still what was audited, and the copy.

Nothing in a copy is written anew but the labels that were changed, and each of those becomes the stored label of an
example that bears the name already: ``007`` stays ``007``, a boolean stays one. The source is only read.
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from tamis.own.arrays import Y_KEYS
from tamis.own.base import printable, quoted, reason
from tamis.own.folder import class_root, holds_classes, is_folder, visible, walk
from tamis.own.hub import is_saved
from tamis.own.labels import label_texts
from tamis.own.pictured import picture_column
from tamis.own.rows import Table, damage, rows
from tamis.own.table import SUFFIXES, given_labels, open_table, separator_of
from tamis.study.record import write_whole
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

Write = Callable[[], Path]


@dataclass(frozen=True)
class Staying:
    """An example that stays, as a row of ``kept.csv``: ``given`` is what its label was."""

    index: int
    source: str
    label: str
    given: str
    decision: str


def check_copy(data: Path, place: Path, label: str | None, text: str | None = None) -> None:
    """Refuse what no copy can be made of, before anybody waits for training; reads little and writes nothing.

    Args:
        data: the data's path. place: the folder ``cleaned``. label, text: as the audit was told.

    Raises:
        TamisError: a kind of data of which no copy is made, or a copy is there already.
    """
    import polars as pl

    kind = _kind(data, label)
    with _read(data):
        if kind == "pictures":
            _free(place / "data")
        elif kind == "arrays":
            _members(data, label)
        else:
            table, label = _table(data, label)
            column = picture_column(table, label) if text is None else None
            if column is not None and table.types[column] == pl.String:
                raise TamisError(_by_path(data))


def copy_of(data: Path, place: Path, label: str | None, verdicts: pl.DataFrame, kept: Sequence[Staying]) -> Write:
    """What writes the copy into ``place``, of data that were seen to be those of the audit; returns its path then.

    Args:
        data: the data's path. place: the folder ``cleaned``. label: as the audit was told. verdicts: its table.
        kept: what stays.

    Raises:
        TamisError: a kind of data of which no copy is made, data that have changed, or a copy is there already.
    """
    kind = _kind(data, label)
    if kind != "pictures" and not verdicts["source"].str.contains("^row [0-9]+$").all():
        raise TamisError(_by_path(data))
    with _read(data):
        if kind == "pictures":
            return _copy_pictures(data, place / "data", kept)
        rows_of = _rows_of(verdicts, kept)
        return (_copy_arrays if kind == "arrays" else _copy_table)(data, place, label, rows_of)


def _kind(data: Path, label: str | None) -> Literal["pictures", "table", "arrays"]:
    if not data.exists():
        raise TamisError(
            f"there is no file or folder {data}, so no corrected copy of it can be made; leave --copy out, or give "
            "another path."
        )
    suffix = data.suffix.lower()
    with _read(data):
        if data.is_file() and suffix in SUFFIXES:
            return "table"
        if data.is_file() and suffix == ".npz":
            return "arrays"
        if data.is_dir() and label is None:
            root = class_root(data)[0]
            if not is_saved(data) and not is_saved(root) and holds_classes(root):
                return "pictures"
    raise TamisError(
        f"a corrected copy is made of a folder of pictures, a table or an .npz file, and {data} is none of them; leave "
        "--copy out: cleaned/kept.csv says what is kept, under which label."
    )


@contextmanager
def _read(data: Path) -> Iterator[None]:
    harm: tuple[type[BaseException], ...] = (*damage(), ValueError, EOFError, zipfile.BadZipFile, zlib.error)
    try:
        yield
    except TamisError:
        raise
    except harm as error:
        raise TamisError(f"{data} cannot be read, so no copy of it can be made ({reason(error)}).") from error


def _by_path(data: Path) -> str:
    return (
        f"{data} names its pictures by their paths, and of such a table no corrected copy is made; leave --copy out: "
        "cleaned/kept.csv says which paths are kept, under which label."
    )


def _changed(data: Path) -> TamisError:
    return TamisError(f"the data in {data} have changed since the audit; run it again.")


@dataclass(frozen=True)
class _Rows:
    """Rows of a table or of arrays: the audited ones with the labels that they had, and those that stay.

    ``labels``: for each that stays, the row whose label it gets: its own, or the first that bears the name.
    """

    audited: list[int]
    given: list[str]
    kept: list[int]
    labels: list[int]


def _rows_of(verdicts: pl.DataFrame, kept: Sequence[Staying]) -> _Rows:
    at = [int(source.removeprefix("row ")) for source in verdicts["source"]]
    given = verdicts["label_name"].to_list()
    bearer = dict(zip(reversed(given), reversed(at), strict=True))
    labels = [at[one.index] if one.label == one.given else bearer[one.label] for one in kept]
    return _Rows(at, given, [at[one.index] for one in kept], labels)


def _check_labels(data: Path, found: Sequence[str | None], of: _Rows) -> None:
    if max(of.audited) >= len(found) or [found[i] for i in of.audited] != of.given:
        raise _changed(data)


# ---- Pictures


def _free(target: Path) -> None:
    if target.exists():
        raise TamisError(f"{target} is there already; move it away before another copy is made.")


def _copy_pictures(data: Path, target: Path, kept: Sequence[Staying]) -> Write:
    _free(target)
    root = class_root(data)[0]
    there = {
        name: (path, printable(entry.name))
        for entry in visible(root)
        if is_folder(entry)
        for path, name in walk(entry.path, entry.name, root.resolve(), [])
    }
    if any(there.get(one.source, ("", None))[1] != one.given for one in kept):
        raise _changed(data)
    return partial(_write_pictures, [(Path(there[one.source][0]), one.label) for one in kept], target)


def _write_pictures(kept: Sequence[tuple[Path, str]], target: Path) -> Path:
    """Every picture in the folder of its class; all of them, or none."""
    part = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(part, ignore_errors=True)  # left by one that was killed
        part.mkdir(parents=True)
        for origin, label in kept:
            to, others = part / os.path.basename(label) / origin.name, 1
            to.parent.mkdir(exist_ok=True)
            while to.exists():  # of the same name, from another class or from deeper in this one
                others += 1
                to = to.with_name(f"{origin.stem}_{others}{origin.suffix}")
            shutil.copy2(origin, to)
        part.rename(target)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError):
            raise TamisError(
                f"the copy {target} could not be made ({reason(error)}), and nothing of it stays; mend that, and run "
                "the same command again."
            ) from error
        raise
    return target


# ---- Tables


def _table(data: Path, label: str | None) -> tuple[Table, str]:
    table = open_table(data, str(data))
    if label is None:
        raise TamisError(f"--label must name the label column of {data} for a corrected copy.")
    if label not in table.types:
        raise TamisError(f"{data} has no column {quoted(label)} for --label; name the one that was audited.")
    return table, label


def _copy_table(data: Path, place: Path, label: str | None, of: _Rows) -> Write:
    table, label = _table(data, label)
    found = [name for part in rows(table, [label]) for name in given_labels(part[label], None, str(data))]
    _check_labels(data, found, of)
    return partial(_write_table, data, place / f"data{data.suffix.lower()}", label, of)


def _write_table(data: Path, target: Path, label: str, of: _Rows) -> Path:
    import polars as pl

    content = io.BytesIO()
    with _read(data):
        if data.suffix.lower() == ".parquet":
            frame = pl.read_parquet(data, glob=False)
        else:
            separator = separator_of(data, str(data))
            frame = pl.read_csv(data, separator=separator, infer_schema=False, glob=False)  # every cell as it stands
    part = frame[of.kept].with_columns(frame[label][of.labels])
    if data.suffix.lower() == ".parquet":
        part.write_parquet(content)
    else:
        part.write_csv(content, separator=separator)
    write_whole(target, content.getvalue())
    return target


# ---- Arrays


def _members(data: Path, label: str | None) -> tuple[str, set[str]]:
    """The member that holds the labels, and all that hold one entry for each example."""
    with zipfile.ZipFile(data) as pack:
        heads = {}
        for name in pack.namelist():
            if name.endswith(".npy"):
                with pack.open(name) as stream:
                    heads[name] = _head(stream)
    key = next((f"{key}.npy" for key in ((label,) if label else Y_KEYS) if f"{key}.npy" in heads), None)
    if key is None or not heads[key][0]:
        raise TamisError(f"--label must name the array of labels in {data} for a corrected copy.")
    cut = {name for name, (shape, _) in heads.items() if shape[:1] == heads[key][0][:1]}
    for name in sorted(cut):
        if heads[name][1].hasobject:
            raise TamisError(
                f"{data}: array {quoted(name[:-4])} holds a Python object for each example, which is never unpickled, "
                "so no corrected copy can be made; leave --copy out, or save it as a plain array."
            )
    return key, cut


def _head(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _copy_arrays(data: Path, place: Path, label: str | None, of: _Rows) -> Write:
    key, cut = _members(data, label)
    with zipfile.ZipFile(data) as pack, pack.open(key) as stream:
        _check_labels(data, label_texts(np.lib.format.read_array(stream), str(data)), of)
    return partial(_write_arrays, data, place / "data.npz", key, cut, of)


def _write_arrays(data: Path, target: Path, key: str, cut: set[str], of: _Rows) -> Path:
    """What has one entry for each example is cut to those that stay; everything else is taken over as it lies."""
    content = io.BytesIO()
    with _read(data), zipfile.ZipFile(data) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            with old.open(name) as stream, new.open(name, "w", force_zip64=True) as out:
                if name in cut:
                    array = np.lib.format.read_array(stream)
                    np.lib.format.write_array(out, array[of.labels if name == key else of.kept], allow_pickle=False)
                else:
                    shutil.copyfileobj(stream, out)
    write_whole(target, content.getvalue())
    return target
