"""Cleaned data: what a person decided, or what was flagged, as a list and a copy. The source is never touched."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tamis.auditing.copies import copy_of, free
from tamis.auditing.folder import data_name, read_mark
from tamis.auditing.staying import Staying
from tamis.own.base import some
from tamis.report.audit import protected, unprotected
from tamis.study.record import write_whole
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

WHAT = ("accept", "reject", "relabel", "drop")
COLUMNS = ["index", "source", "decision", "label"]
OF = "data"
"""The column of an export that names the data which were decided about; a list that is made by hand needs none."""


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
        table = pl.read_parquet(out / "verdicts.parquet", glob=False)
        summary = json.loads((out / "summary.json").read_text())
        return table, tuple(row["name"] for row in summary["per_class"])
    except (OSError, ValueError, KeyError, pl.exceptions.PolarsError) as error:
        raise TamisError(f"{out} holds no verdicts that can be read ({error}); run the audit first.") from error


def read_decisions(
    path: Path, table: pl.DataFrame, names: Sequence[str], data: str | None = None
) -> dict[int, Decision]:
    """Decisions as the page exports them, checked against the audit that they are about.

    Args:
        path: the export. table, names: of the audit, as :func:`settle` gives them.
        data: the digest of the audited data; decisions that name other data are refused then.

    Raises:
        TamisError: no such file, other columns, other data, an index, a source, a class or a given label that is not
            of this audit, a decision that does not exist, or two about one example; the row is named.
    """
    try:
        rows = list(csv.reader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline="")))
    except (OSError, UnicodeError, csv.Error) as error:
        raise TamisError(f"--apply {path} cannot be read as CSV: {error}.") from error
    if not rows or rows[0] not in (COLUMNS, [*COLUMNS, OF]):
        raise TamisError(f"--apply {path} must have the columns {', '.join(COLUMNS)}, as the page exports them.")
    width = len(rows[0])
    sources, found = table["source"].to_list(), {}
    suggested, given = table["suggested_name"].to_list(), table["label_name"].to_list()
    for number, row in enumerate(rows[1:], 2):
        where = f"row {number} of {path}"
        if not row:
            continue
        if len(row) != width:
            raise TamisError(f"{where} has {len(row)} cells instead of {width}.")
        index, source, what, label, *of = row
        if data and any(of) and of != [data_name(data)]:
            raise TamisError(
                f"{where} was decided about other data ({of[0][:30]!r}) than this audit's ({data_name(data)!r}); "
                "apply it to the audit whose page exported it."
            )
        if not re.fullmatch("[0-9]{1,18}", index) or int(index) >= table.height:
            raise TamisError(f"{where}: there is no example {index[:20]!r}; this audit has 0..{table.height - 1}.")
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
        if what == "reject" and label and label != given[at]:
            raise TamisError(
                f"{where}: example {at} has the label {given[at]!r} and not {label!r}: the audit of other data?"
            )
        if what in ("accept", "relabel") and label not in names:
            raise TamisError(f"{where}: there is no class {label!r}; there are {some(names, 8)}.")
        found[at] = Decision(what, label)
    return found


def clean(
    table: pl.DataFrame, names: Sequence[str], data: str, out: Path, *, label: str | None = None, copy: bool = False,
    decisions: Mapping[int, Decision] | None = None,
) -> str:  # fmt: skip
    """Write ``cleaned/kept.csv`` (index, source, label, given, decision), and a corrected copy if it is asked for.

    Without decisions, what was flagged is left out; with them, they alone count. Texts that a spreadsheet would compute
    are written as :func:`~tamis.report.audit.protected` says.

    Returns:
        What was written, in words.

    Raises:
        TamisError: a copy is there already, which would not agree with a new list; or one was asked for of data that
            cannot be copied or have changed. Nothing is written then.
    """
    place = out / "cleaned"
    free(place)
    given = table["label_name"].to_list()
    if decisions is None:
        decisions = {i: Decision("drop", "") for i in table.filter("flagged")["index"].to_list()}
    kept = [
        Staying(
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
    write_copy = copy_of(Path(data).expanduser(), place, label, table, kept) if copy else None
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["index", "source", "label", "given", "decision"])
    writer.writerows([k.index, *map(protected, (k.source, k.label, k.given)), k.decision] for k in kept)
    write_whole(place / "kept.csv", text.getvalue().encode())
    changed = sum(k.label != k.given for k in kept)
    said = f"{len(kept):,} of {table.height:,} examples kept, {changed:,} relabeled, in {place / 'kept.csv'}"
    return said if write_copy is None else f"{said}; a corrected copy in {write_copy()}"
