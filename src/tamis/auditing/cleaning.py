"""Cleaned data: what a person decided, or what was flagged, as a list or a copy. The source is never touched."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tamis.auditing.folder import read_mark
from tamis.own.arrays import Y_KEYS
from tamis.own.table import SUFFIXES, separator_of
from tamis.report.audit import unprotected
from tamis.study.record import write_whole
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

WHAT = ("accept", "reject", "relabel", "drop")
COLUMNS = ["index", "source", "decision", "label"]


class Decision(NamedTuple):
    """What is to become of one example: ``accept`` the suggestion, ``reject`` it, ``relabel``, ``drop``."""

    what: str
    label: str


def settle(out: Path) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """The verdicts and class names of an audit that was finished in ``out``.

    Raises:
        TamisError: there is none.
    """
    import json

    import polars as pl

    read_mark(out)
    try:
        table = pl.read_parquet(out / "verdicts.parquet")
        summary = json.loads((out / "summary.json").read_text())
        return table, tuple(row["name"] for row in summary["per_class"])
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise TamisError(f"{out} holds no verdicts that can be read ({error}); run the audit first.") from error


def read_decisions(path: Path, table: pl.DataFrame, names: Sequence[str]) -> dict[int, Decision]:
    """Decisions as the page exports them, checked against the audit that they are about.

    Raises:
        TamisError: no such file, other columns, an index, a source or a class that is not of this audit, a decision
            that does not exist, or two about one example; the row is named.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_text("utf-8-sig"), newline="")))
    except (OSError, UnicodeError, csv.Error) as error:
        raise TamisError(f"--apply {path} cannot be read as CSV: {error}.") from error
    if not rows or rows[0] != COLUMNS:
        raise TamisError(f"--apply {path} must have the columns {', '.join(COLUMNS)}, as the page exports them.")
    sources, found = table["source"].to_list(), {}
    suggested = table["suggested_name"].to_list()
    for number, row in enumerate(rows[1:], 2):
        where = f"row {number} of {path}"
        if not row:
            continue
        if len(row) != len(COLUMNS):
            raise TamisError(f"{where} has {len(row)} cells instead of {len(COLUMNS)}.")
        index, source, what, label = row
        if not index.isdecimal() or int(index) >= table.height:
            raise TamisError(f"{where}: there is no example {index!r}; this audit has 0..{table.height - 1}.")
        at = int(index)
        if unprotected(source) != sources[at]:
            raise TamisError(f"{where}: example {at} is {sources[at]!r} and not {source!r}: the audit of other data?")
        if what not in WHAT:
            raise TamisError(f"{where}: there is no decision {what!r}; there are {', '.join(WHAT)}.")
        if at in found:
            raise TamisError(f"{where}: there is an earlier decision about example {at}; keep one.")
        label = unprotected(label)
        if what == "accept":
            label = label or suggested[at] or ""
        if what in ("accept", "relabel") and label not in names:
            raise TamisError(f"{where}: there is no class {label!r}; there are {', '.join(names[:8])} …")
        found[at] = Decision(what, label)
    return found


def clean(
    table: pl.DataFrame, names: Sequence[str], data: str, out: Path, *, label: str | None = None, copy: bool = False,
    decisions: Mapping[int, Decision] | None = None,
) -> str:  # fmt: skip
    """Write ``cleaned/kept.csv`` (index, source, label, given, decision), and a corrected copy if it is asked for.

    Without decisions, what was flagged is left out; with them, they alone count.

    Returns:
        What was written, in words.

    Raises:
        TamisError: a copy was asked for of data that cannot be copied, or there is one already.
    """
    given = table["label_name"].to_list()
    if decisions is None:
        decisions = {i: Decision("drop", "") for i in table.filter("flagged")["index"].to_list()}
    kept = [
        (
            i,
            source,
            made.label if made and made.what in ("accept", "relabel") else given[i],
            given[i],
            made.what if made else "",
        )
        for i, source in enumerate(table["source"].to_list())
        for made in [decisions.get(i)]
        if made is None or made.what != "drop"
    ]
    place = out / "cleaned"
    place.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "source", "label", "given", "decision"])
    writer.writerows(kept)
    write_whole(place / "kept.csv", text.getvalue().encode())
    changed = sum(label != old for _, _, label, old, _ in kept)
    said = f"{len(kept):,} of {table.height:,} examples kept, {changed:,} relabeled, in {place / 'kept.csv'}"
    if copy:
        said += f"; a corrected copy in {_copy(Path(data), place, kept, label)}"
    return said


def _copy(data: Path, place: Path, kept: Sequence[tuple[int, str, str, str, str]], label: str | None) -> Path:
    if data.is_dir():
        target = place / "data"
        if target.exists():
            raise TamisError(f"{target} is there already; move it away before another copy is made.")
        for _, source, name, _, _ in kept:
            origin = data / source
            if not origin.is_file() or not origin.resolve().is_relative_to(data.resolve()):
                raise TamisError(f"{origin} is no longer there, so no copy of it can be made; run the audit again.")
            folder = target / os.path.basename(name)
            folder.mkdir(parents=True, exist_ok=True)
            to = folder / origin.name
            while to.exists():
                to = to.with_name(f"{to.stem}_{to.suffix}" if to.suffix else f"{to.name}_")
            shutil.copy2(origin, to)
        return target
    if data.suffix.lower() in SUFFIXES:
        return _copy_table(data, place, kept, label)
    if data.suffix.lower() == ".npz":
        return _copy_arrays(data, place, kept, label)
    raise TamisError(
        f"a corrected copy is made of folders, tables and .npz arrays; {data} is none of them; use kept.csv."
    )


def _copy_table(data: Path, place: Path, kept: Sequence[tuple[int, str, str, str, str]], label: str | None) -> Path:
    import polars as pl

    if label is None:
        raise TamisError(f"--label must name the label column of {data} for a corrected copy.")
    suffix = data.suffix.lower()
    separator = "," if suffix == ".parquet" else separator_of(data, str(data))
    frame = (
        pl.read_parquet(data, glob=False)
        if suffix == ".parquet"
        else pl.read_csv(data, separator=separator, infer_schema=False, glob=False)
    )
    rows = [int(source.removeprefix("row ")) for _, source, _, _, _ in kept]
    part = frame[rows].with_columns(pl.Series(label, [name for _, _, name, _, _ in kept]).cast(frame.schema[label]))
    to, content = place / f"data{suffix}", io.BytesIO()
    if suffix == ".parquet":
        part.write_parquet(content)
    else:
        part.write_csv(content, separator=separator)
    write_whole(to, content.getvalue())
    return to


def _copy_arrays(data: Path, place: Path, kept: Sequence[tuple[int, str, str, str, str]], label: str | None) -> Path:
    import numpy as np

    with np.load(data, allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    key = label or next((name for name in Y_KEYS if name in found), None)
    if key is None or key not in found:
        raise TamisError(f"--label must name the array of labels in {data} for a corrected copy.")
    rows = [int(source.removeprefix("row ")) for _, source, _, _, _ in kept]
    old = found[key]
    part = {name: array[rows] for name, array in found.items() if len(array) == len(old)}
    part[key] = np.array([name for _, _, name, _, _ in kept]).astype(old.dtype)
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **part)
    write_whole(place / "data.npz", content.getvalue())
    return place / "data.npz"
