"""A table whose examples are pictures: stored in a column, or named by one that holds paths."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tamis.own.base import Own, Progress, Shown, printable, quoted
from tamis.own.pictures import (
    SUFFIXES,
    PictureFile,
    begins_as_picture,
    decode,
    pictures,
    shown_file,
    without_lonely_ones,
)
from tamis.own.rows import Table, rows
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

_LOOKED_AT = 100  # rows of a file by which a column is judged


def picture_column(table: Table, label: str) -> str | None:
    """The first column that holds pictures: bytes that begin as one, or bytes with a path as Hugging Face stores them.

    If there is none, the first of text whose first hundred values are all paths of pictures, one of which at least lies
    beside the table.
    """
    import polars as pl

    for name, kind in table.types.items():
        inside = {f.name for f in kind.fields} if isinstance(kind, pl.Struct) else set()
        if name != label and ("bytes" in inside or (kind == pl.Binary and _begin_as_pictures(table, name))):
            return name
    texts = [name for name, kind in table.types.items() if kind == pl.String and name != label]
    first = next(rows(table, texts, _LOOKED_AT)) if texts else pl.DataFrame()
    for name in texts:
        values = first[name].drop_nulls().to_list()
        named = all(os.path.splitext(value)[1].lower() in SUFFIXES for value in values)
        if named and any(_beside(table, value)[0] for value in values):
            return name
    return None


def _begin_as_pictures(table: Table, column: str) -> bool:
    """Whether any of the first values is a picture's beginning; a column may hold shapes or sounds as bytes, too."""
    for most in (_LOOKED_AT, None):  # all rows only where the first are empty
        found = [part[column].drop_nulls()[:_LOOKED_AT].to_list() for part in rows(table, [column], most)]
        if any(found):
            return any(begins_as_picture(value) for values in found for value in values)
    return False


def read_pictured(
    table: Table,
    column: str,
    kept: np.ndarray,
    labels: Sequence[str],
    skipped: list[tuple[str, str]],
    order: Sequence[str],
    side: int,
    progress: Progress | None,
) -> Own:
    """The pictures of the rows ``kept``, with their ``labels``; see :func:`tamis.own.table.read_table`.

    A source is the path that the row names, or "row 17" if the picture is stored in the table.

    Raises:
        TamisError: if no picture can be read, or the classes are too few or too small.
    """
    import polars as pl

    paths = table.types[column] == pl.String
    places = [f"row {i}" for i in kept]
    files: dict[int, PictureFile] = {}

    def found() -> Iterator[tuple[int, PictureFile]]:
        for position, value in _values(table, column, kept):
            file, why = _beside(table, value) if paths else (value, "has no picture stored with it")
            if isinstance(value, str):
                places[position] = printable(value)
            if file is None:
                skipped.append((places[position], why))
                continue
            if paths:
                files[position] = file
            yield position, file

    decoded = decode(found(), len(kept), side, table.where, progress, keep=not paths)
    decoded = without_lonely_ones(decoded, labels)
    skipped += [(places[i], why) for i, why in decoded.skipped]
    read = decoded.read.tolist()
    if not read:
        first = f" ({' '.join(skipped[-1])})" if skipped else ""
        raise TamisError(
            f"{table.where}: none of the {len(kept):,} pictures in column {quoted(column)} can be read{first}."
        )
    shown = Shown(picture=partial(shown_file, tuple(files[i] for i in read) if paths else decoded.kept))
    return pictures(
        decoded, [labels[i] for i in read], [places[i] for i in read], tuple(skipped), shown, table.where, order
    )


def _values(table: Table, column: str, kept: np.ndarray) -> Iterator[tuple[int, PictureFile | None]]:
    """(position among the kept, the value of the column), file by file."""
    start = 0
    for part in rows(table, [column]):
        series: pl.Series = part[column]
        series = series.struct.field("bytes") if series.dtype.is_nested() else series
        first, last = np.searchsorted(kept, (start, start + len(series)))
        for position in range(int(first), int(last)):
            yield position, series[int(kept[position]) - start]
        start += len(series)


def _beside(table: Table, value: PictureFile | None) -> tuple[str | None, str]:
    """The file that a row names, or why it is not opened."""
    if not isinstance(value, str):
        return None, "names no picture"
    path = table.folder / value
    if not path.resolve().is_relative_to(table.folder.resolve()):
        return None, "lies outside the table's folder"
    return (str(path), "") if path.is_file() else (None, "is not there")
