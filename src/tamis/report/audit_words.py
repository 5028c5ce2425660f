"""What an audit's page says in words and tables: the verdict, the classes, the map in numbers, the confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from tamis.report.audit_told import Told, known, told
from tamis.report.words import listed, percent, shortened

KINDS = ("clean", "mislabeled", "corrupted", "out_of_distribution", "duplicate", "ambiguous", "rare")
FULL_MATRIX = 20  # classes up to which the transition is a heat map; beyond, its largest entries are a list
LISTED = 30  # confusions
SMALLEST = 0.0005  # of a class, below which a confusion is shown as none: it would read 0.0
SORTS = {
    "order": "most suspicious",
    "index": "index",
    "label": "given class",
    "suggested_label": "suggested class",
    "confidence": "lowest confidence",
    "variability": "highest variability",
}
VERDICTS = {
    "hurts": "Prioritise by loss? No, it would hurt here",
    "helps": "Prioritise by loss? Yes, it would help here",
    "no difference": "Prioritise by loss? It would make no difference here",
    "unknown": "Prioritise by loss? That could not be told",
}


def said(summary: Mapping[str, Any], table: pl.DataFrame, names: Sequence[str]) -> dict[str, Any]:
    """Everything that the template prints, from a summary in which any entry may be missing.

    Example:
        >>> rows = pl.DataFrame({"kind": ["clean", "mislabeled"], "flagged": [False, True]})
        >>> said({"noise_rate": 0.5, "fdr": 0.05}, rows, [])["lead"]["flagged"]
        '1 example is flagged as mislabeled. About 5 % of them, at most, are expected to be clean.'
    """
    entries = ("classes", "skipped", "command", "costs", "versions")
    summary = known(summary)
    found = told(summary, names, summary.get("examples") or table.height)
    classes = [known({"noise_rate": None, **each}) for each in summary.get("per_class") or ()]
    if found.why:  # a class's rate is no surer than that of all
        classes = [{**each, "noise_rate": None} for each in classes]
    return {
        "title": summary.get("title") or "An audit",
        "summary": {**dict.fromkeys(entries), **summary},
        "missing": found.missing,
        "lead": _lead(summary, found, classes, table),
        "prioritisation": found.prioritisation,
        "verdict": VERDICTS.get(found.prioritisation["verdict"] or "unknown", VERDICTS["unknown"]),
        "classes": sorted(classes, key=lambda each: -(each["noise_rate"] or 0)),
        "map": _map_in_words(table),
        "transition": None if found.why else _transition(summary, names),
        "height": table.height,
        "chips": _chips(table),
        "sorts": {value: words for value, words in SORTS.items() if value == "order" or value in table.columns},
    }


def _lead(
    summary: Mapping[str, Any], found: Told, classes: Sequence[Mapping[str, Any]], table: pl.DataFrame
) -> dict[str, str | None]:
    """The verdict in plain sentences."""
    rate, between, n = found.rate, found.interval, summary.get("examples") or table.height
    things = {"pictures": "pictures", "text": "texts", "table": "rows"}.get(summary.get("kind") or "", "examples")
    lead: dict[str, str | None] = {"things": f"{n:,} {things}", **dict.fromkeys(("rate", "range", "cost"))}
    if rate is not None:
        lead["rate"] = percent(rate) if rate >= 0.0005 else "Less than 0.1 %"
        lead["about"] = f"some {round(rate * n):,} of {n:,}" if rate * n >= 0.5 else f"fewer than 1 in {n:,}"
        lead["cost"] = (
            f"Trained on as it is, about {100 * rate:.0f} of every 100 examples of each pass would teach a wrong label."
            if rate >= 0.005
            else "Trained on as it is, fewer than one in 200 examples would teach a wrong label."
        )
    if between is not None:
        lead["range"] = f"95 % interval: {percent(between[0]).removesuffix(' %')} to {percent(between[1])}"
    elif found.too_few:
        lead["range"] = "Too few examples for an interval."
    lead["why"] = found.why
    lead["flagged"] = _flagged(table, summary.get("fdr"), found)
    lead["where"] = _where(classes, rate)
    return lead


def _flagged(table: pl.DataFrame, fdr: float | None, found: Told) -> str:
    """How many examples to look at, of which kinds, and how many of them may be clean."""
    flagged = table.filter("flagged")
    if not flagged.height:
        return "No example is flagged."
    counts = [(flagged.filter(kind=kind).height, kind.replace("_", " ")) for kind in KINDS]
    kinds = [f"{count:,} {kind}" for count, kind in counts if count]
    many = f"{flagged.height:,} {'example is' if flagged.height == 1 else 'examples are'} flagged"
    said = f"{many}: {listed(kinds)}." if len(kinds) > 1 else f"{many} as {kinds[0].split(' ', 1)[1]}."
    if found.why:
        return f"{said} How many of them are right after all could not be told either."
    return said if fdr is None else f"{said} About {percent(fdr, 0)} of them, at most, are expected to be clean."


def _where(classes: Sequence[Mapping[str, Any]], rate: float | None) -> str | None:
    """In which classes the wrong labels lie: the few that stand out, or that none does."""
    known = sorted((c for c in classes if c["noise_rate"] is not None), key=lambda c: -c["noise_rate"])
    if not known or not rate:
        return None
    said = [f"{shortened(c['name'])} ({percent(c['noise_rate'], 0)})" for c in known]
    above = [k for k, c in enumerate(known) if c["noise_rate"] >= 1.25 * rate][:4]
    if above:
        return f"Most often in {listed([said[k] for k in above])}."
    return f"In all classes alike, from {said[-1]} to {said[0]}." if len(known) > 1 else f"In {said[0]}."


def _chips(table: pl.DataFrame) -> list[tuple[str, str, int]]:
    """What the gallery can show, ``(value, words, examples)``; what it opens with comes first."""
    counts = [(str(k), kind.replace("_", " "), table.filter(kind=kind).height) for k, kind in enumerate(KINDS)]
    chips = [("flagged", "flagged", table.filter("flagged").height), *counts[1:], counts[0]]
    found = [chip for chip in chips if chip[2]]
    every = ("", "all", table.height)
    return [*found, every] if found and found[0][0] == "flagged" else [every, *found]


def _map_in_words(table: pl.DataFrame) -> list[tuple[str, ...]]:
    """The data map as a table: for each kind its examples and the middle of their cloud; empty without a map."""
    axes = ("confidence", "variability")
    if not set(axes) <= set(table.columns):
        return []
    known = table.with_columns(pl.col(axes).cast(pl.Float64).fill_nan(None)).drop_nulls(axes)
    rows = []
    for kind in KINDS:
        of = known.filter(pl.col("kind") == kind)
        if of.height:
            middle = [f"{of.select(pl.col(axis).median()).item():.2f}" for axis in axes]
            rows.append((kind.replace("_", " "), f"{of.height:,}", f"{of['flagged'].sum():,}", *middle))
    return rows


def largest_confusions(matrix: np.ndarray[Any, Any], least: float) -> list[tuple[int, int, float]]:
    """Entries ``(true, given, share)`` of a transition matrix off its diagonal, of at least ``least``, largest first.

    Example:
        >>> largest_confusions(np.array([[0.9, 0.1, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]]), 0.001)
        [(1, 0, 0.3), (0, 1, 0.1)]
    """
    shares = np.where(np.eye(len(matrix), dtype=bool), 0.0, matrix)
    true, given = np.nonzero(shares >= least)
    order = np.argsort(-shares[true, given], kind="stable")
    return [(int(true[k]), int(given[k]), float(shares[true[k], given[k]])) for k in order]


def _transition(summary: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any] | None:
    """The heat map's cells ``(level 0-10, number)`` for few classes, else the largest confusions as a list."""
    if summary.get("transition") is None:
        found = summary.get("confusions")
        return found and {"names": names, "cells": None, "largest": [(a, b, percent(v)) for a, b, v in found[:LISTED]]}
    matrix = np.asarray(summary["transition"], np.float64)
    largest = largest_confusions(matrix, SMALLEST)
    most = largest[0][2] if largest else 1.0
    cells = [
        [("d" if i == j else f"h{round(10 * v / most)}", f"{100 * v:.1f}" if v >= SMALLEST else "·")
         for j, v in enumerate(line)]
        for i, line in enumerate(matrix.tolist() if len(matrix) <= FULL_MATRIX else ())
    ]  # fmt: skip
    return {
        "names": names,
        "cells": cells or None,
        "largest": [(names[i], names[j], percent(v)) for i, j, v in largest[:LISTED]],
    }
