"""A table, in a file or in several: its label column, its text column, its pictures, and the rest as numbers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from tamis.own.arrays import MOST_COLUMNS
from tamis.own.base import Own, OwnKind, Progress, Shown, digest_of, quoted, reason, room, some, standardise_
from tamis.own.columns import to_numbers, without_list
from tamis.own.labels import chosen, classes_of, label_texts, unmarked, without_lonely
from tamis.own.pictured import picture_column, read_pictured
from tamis.own.records import ragged
from tamis.own.rows import Table, damage, rows
from tamis.types import Arrays, TamisError

if TYPE_CHECKING:
    import polars as pl

Embed = Callable[[list[str]], Tensor]
SUFFIXES = (".csv", ".tsv", ".parquet")
_LONGEST = 500  # characters of a shown cell
_PADDED = "^[+-]?0[0-9]"  # no number is written so: 007 is a name


def open_table(path: Path, where: str) -> Table:
    """A ``.csv``, ``.tsv`` or ``.parquet`` file; the number of columns is looked at before anything is read.

    The separator of a ``.csv`` is the one of comma, semicolon, tab and bar that its first line holds most of.

    Raises:
        TamisError: if the file is empty, damaged, not in UTF-8, or too wide.
    """
    import polars as pl

    try:
        if path.suffix.lower() == ".parquet":
            with path.open("rb") as stream:  # of a path, polars would take [ and ] for a pattern
                types = pl.read_parquet_schema(stream)
            _not_too_wide(len(types), where)
            read = partial(pl.read_parquet, path, glob=False)
            parts = (lambda columns, most: read(columns=list(columns), n_rows=most),)
            return Table(where, types, parts, path.parent)
        separator = separator_of(path, where)
        try:
            frame = _read_csv(path, separator, 10_000)
        except pl.exceptions.ComputeError:  # a later row is of another type
            frame = _read_csv(path, separator, None)
        names = frame.columns

        def as_written(column: str) -> pl.Series:
            at = [names.index(column)]  # of two columns of one name polars knows the second by another
            return pl.read_csv(path, separator=separator, columns=at, infer_schema=False, glob=False).to_series()

        parts = (lambda columns, most: frame.select(columns)[:most],)
        comma = _decimal_comma(separator)
        return Table(where, frame.schema, parts, path.parent, as_written=as_written, decimal_comma=comma)
    except damage() as error:
        raise TamisError(f"{where} cannot be read as a table ({_why(path, where, error)}).") from error


def _why(path: Path, where: str, error: BaseException) -> str:
    """What is wrong with a table, in words; of a line that is too long, where it stands, which polars does not tell."""
    said = str(error).lower()
    if "more fields" in said:
        found = ragged(path.read_bytes(), separator_of(path, where).encode())
        if found is None:
            return "a line has more fields than the first"
        line, fields, wanted = found
        return f"line {line:,} has {fields:,} fields, and the header has {wanted:,}"
    told = {"utf-8": "it is not in UTF-8", "empty": "it is empty"}
    return next((words for sign, words in told.items() if sign in said), reason(error))


def _read_csv(path: Path, separator: str, looked_at: int | None) -> pl.DataFrame:
    import polars as pl

    return pl.read_csv(
        path,
        separator=separator,
        decimal_comma=_decimal_comma(separator),  # numbers with a point are seen later
        infer_schema_length=looked_at,  # None looks at every row, which takes thrice as long
        try_parse_dates=True,
        glob=False,
    )


def _decimal_comma(separator: str) -> bool:
    """The two go together."""
    return separator == ";"


def separator_of(path: Path, where: str) -> str:
    """Counts over the first line, in pieces: a line of ten million columns is refused, not held."""
    counts = dict.fromkeys("\t" if path.suffix.lower() == ".tsv" else ",;\t|", 0)
    with path.open("rb") as stream:
        if stream.read(2) in (b"\xff\xfe", b"\xfe\xff"):  # the mark of UTF-16, in which every second byte is 0
            raise TamisError(f"{where} cannot be read as a table (it is not in UTF-8).")
        stream.seek(0)
        while piece := stream.read(1 << 20):
            line, end, _ = piece.partition(b"\n")
            for separator in counts:
                counts[separator] += line.count(separator.encode())
            _not_too_wide(max(counts.values()) + 1, where)
            if end:
                break
    return max(counts, key=lambda separator: counts[separator])


def _not_too_wide(columns: int, where: str) -> None:
    if columns > MOST_COLUMNS:
        raise TamisError(f"{where} has more than {MOST_COLUMNS:,} columns, the most that are read; choose fewer.")


def read_table(
    table: Table,
    label: str | None,
    text: str | None,
    embed: Embed | None,
    side: int,
    limit: int | None,
    progress: Progress | None,
) -> Own:
    """The rows of a table. With a column of pictures these are the examples, else all columns are.

    Raises:
        TamisError: if the label or text column is not named or not there, or nothing is left to learn from.
    """
    where = table.where
    label = _label(table, label)
    if text is not None:
        _there(table, text, "text")
        if embed is None:
            raise TamisError(f"{where}: text= needs embed=, a function from a list of texts to a tensor [N, D].")
        if text == label:
            raise TamisError(f"{where}: column {quoted(text)} cannot be both the label and the text.")
    labels = labels_of(table, label)
    labels = labels if label in table.class_names else unmarked(labels)
    unread = [(i, "has no label") for i, found in enumerate(labels) if found is None]
    labels, alone = without_lonely(labels)
    skipped = [(f"row {i}", why) for i, why in unread + alone]
    kept = chosen(labels, limit, where)
    present = [labels[i] or "" for i in kept]
    order = table.class_names.get(label, ())
    column = None if text is not None else picture_column(table, label)
    if column is None:
        return _examples(table, label, text, embed, kept, present, skipped, order)
    return read_pictured(table, column, kept, present, skipped, order, side, progress)


def _label(table: Table, label: str | None) -> str:
    if label is not None:
        _there(table, label, "label")
        return label
    if len(table.class_names) == 1:
        return next(iter(table.class_names))
    columns = some(list(table.types))
    raise TamisError(f"{table.where}: name the column of labels as label=; there are {columns}.")


def _there(table: Table, name: str, what: str) -> None:
    if name not in table.types:
        near = difflib.get_close_matches(name, table.types, 3, 0.4)
        hint = f"did you mean {some(near)}?" if near else f"there are {some(list(table.types))}."
        raise TamisError(f"{table.where} has no column {quoted(name)} for {what}=; {hint}")


def labels_of(table: Table, label: str) -> list[str | None]:
    """Every row's label as text, None where it is missing.

    Where a number of a text file has a leading zero, all stay as they are written there: 007, 07 and 7 are three names.

    Raises:
        TamisError: if the column cannot be the label, or the file is damaged.
    """
    parts = [part[label] for part in rows(table, [label])]
    if table.as_written is not None and parts[0].dtype.is_numeric():
        written = table.as_written(label)
        parts = [written] if written.str.contains(_PADDED).any() else parts
    names = table.class_names.get(label)
    return [found for part in parts for found in _given_labels(part, names, table.where)]


def _given_labels(series: pl.Series, names: tuple[str, ...] | None, where: str) -> list[str | None]:
    """A label column as texts, None where it is missing; ``names`` are those of its numbers, where it has some."""
    import polars as pl

    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object):
        raise TamisError(f"{where}: column {quoted(series.name)} is of type {series.dtype}, and cannot be the label.")
    if names and series.dtype.is_integer():  # -1 stands for a label that is kept secret
        return [names[k] if k is not None and 0 <= k < len(names) else None for k in series.to_list()]
    plain = series.dtype.is_float() or series.dtype.is_integer() or series.dtype == pl.Boolean
    values = series.to_list() if plain else series.cast(pl.String).to_list()
    return label_texts(np.array(values, object), where)


def _examples(
    table: Table,
    label: str,
    text: str | None,
    embed: Embed | None,
    kept: np.ndarray,
    labels: list[str],
    skipped: list[tuple[str, str]],
    order: Sequence[str],
) -> Own:
    import polars as pl

    where = table.where
    try:
        frame = pl.concat([*rows(table, list(table.types))], how="vertical_relaxed")
    except damage() as error:
        raise TamisError(f"{where}: its files do not hold the same columns ({reason(error)}).") from error
    frame = frame if len(kept) == frame.height else frame[kept]
    found, unread = _with_content(frame, text, label, labels)
    if unread:
        skipped += [(f"row {kept[i]}", why) for i, why in unread]
        stay = np.array([one is not None for one in found])
        frame, kept = frame.filter(stay), kept[stay]
    present = [one for one in found if one is not None]
    texts = frame[text].cast(pl.String).to_list() if text is not None else []
    sources = [f"row {i}" for i in kept]
    y, names = classes_of(present, sources, where, order)
    frame = frame.drop([label] if text is None else [label, text])
    columns: list[np.ndarray] = []
    left_out: list[tuple[str, str]] = []
    for series in frame:
        made, why = to_numbers(series, y, kept, where, table.decimal_comma)
        columns += made
        if why:
            left_out.append((("cells of " if made else "") + f"column {quoted(series.name)}", why))
        _not_too_wide(len(columns), where)
    room((len(y), max(1, len(columns))), 8, where)
    own = np.stack(columns, 1) if columns else np.empty((len(y), 0), np.float32)
    columns.clear()
    read = [own]
    x = torch.from_numpy(own)
    if embed is not None and text is not None:
        embedded = _embedded(embed, texts, where)
        read += [np.frombuffer("\0".join(texts).encode(), np.uint8), embedded.numpy()]
        x = torch.cat([embedded, x], 1)
    kind: OwnKind = "table" if text is None else "text"
    digest = digest_of(kind, names, sources, y, *read)
    if not x.shape[1]:
        why = "; ".join(" ".join(pair) for pair in left_out[:3]) or "there is no other"
        raise TamisError(f"{where} has no column to learn from beside the label ({why}).")
    shown = Shown(cells=partial(_cells, frame), text=partial(_text, tuple(texts)))
    data = Arrays(x, torch.from_numpy(y), len(names))
    return Own(data, names, tuple(sources), kind, (*skipped, *left_out), shown, digest)


def _with_content(
    frame: pl.DataFrame, text: str | None, label: str, present: list[str]
) -> tuple[list[str | None], list[tuple[int, str]]]:
    """The labels, None for a row that lacks its text or a list, or is then alone in its class; and (position, why)."""
    import polars as pl

    lacking: dict[int, str] = {}
    if text is not None:
        has = (frame[text].cast(pl.String).str.strip_chars() != "").fill_null(False).to_numpy()
        lacking |= dict.fromkeys(np.flatnonzero(~has).tolist(), "has no text")
    for series in frame.drop([label] if text is None else [label, text]):
        for i in np.flatnonzero(without_list(series)).tolist():
            lacking.setdefault(i, f"has no list in column {quoted(series.name)}")
    stay, alone = without_lonely([None if i in lacking else found for i, found in enumerate(present)])
    return stay, [*lacking.items(), *alone]


def _embedded(embed: Embed, texts: list[str], where: str) -> Tensor:
    """``[N, D]`` float32, standardised per column as the rest of the table is."""
    found = torch.as_tensor(embed(list(texts))).detach().to("cpu", torch.float32, copy=True)
    if found.ndim != 2 or len(found) != len(texts) or not found.shape[1]:
        raise TamisError(f"{where}: embed= gave {list(found.shape)} for {len(texts):,} texts, and must give [N, D].")
    if not torch.isfinite(found).all():
        raise TamisError(f"{where}: embed= gave NaN or an infinity; every value must be finite.")
    standardise_(found, f"{where}, embed=")
    return found


def _cells(frame: pl.DataFrame, i: int) -> tuple[tuple[str, str], ...]:
    shown = []
    for name, value in frame.row(i, named=True).items():
        text = "" if value is None else str(value)
        shown.append((name, text if len(text) <= _LONGEST else text[:_LONGEST] + "…"))
    return tuple(shown)


def _text(texts: tuple[str, ...], i: int) -> str | None:
    return texts[i] if texts else None
