"""What the numbers say, in sentences that are made from them. A speed-up is one only against uniform at the same cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from tamis.report.words import interval, listed, percent, points, setting_name
from tamis.study.evaluate import SETTING, at_equal_cost, cell_name, noise_shares, paired_differences

Row = dict[str, Any]
JUDGED = {  # what a judgement of statistics.judge is called, in the order in which a verdict tells them
    "lower": "lower error",
    "no difference": "no difference shown",
    "higher": "higher error",
    "outside the ladder": "no control was run at its cost",
    "one seed": "one seed only, so nothing can be said",
    "missing": "no finished pair of runs",
}


class Verdict(NamedTuple):
    """Sentences about one method in one setting."""

    dataset: str
    size: int
    model: str
    policy: str
    epochs: str
    cost: str
    noise: str


def verdicts(runs: pl.DataFrame, curves: pl.DataFrame) -> list[Verdict]:
    """One verdict per setting and method: at equal candidate epochs, at equal cost, and what noise it trained on.

    Every number is a difference of test errors in percentage points with its 95 % interval; "no difference shown" means
    that the interval holds 0, not that there is none.
    """
    epochs = paired_differences(runs)
    uniform = at_equal_cost(runs).filter(pl.col("control") == "uniform")
    shares = noise_shares(runs, curves)
    found = []
    for row in epochs.select(*SETTING, "policy").unique(maintain_order=True).iter_rows(named=True):
        mine = pl.all_horizontal(pl.col(key) == value for key, value in row.items())
        here = [frame.filter(mine).to_dicts() for frame in (epochs, uniform, shares)]
        said = _sentence("At equal candidate epochs", here[0]), _equal_cost(here[1]), _noise(here[2])
        found.append(Verdict(*(row[key] for key in [*SETTING, "policy"]), *said))
    return found


def headline(runs: pl.DataFrame) -> list[str]:
    """The study in a few sentences, per setting: how many comparisons at equal cost went which way, and the extremes."""
    uniform = at_equal_cost(runs).filter(pl.col("control") == "uniform")
    said = []
    for setting, rows in uniform.partition_by(SETTING, maintain_order=True, as_dict=True).items():
        counts = dict(rows["judged"].value_counts().iter_rows())
        told = [f"{counts[word]} × {name}" for word, name in JUDGED.items() if word in counts]
        text = f"{setting_name(*setting)}: against uniform training at the same cost, {rows.height} comparisons gave {listed(told)}."
        best = rows.filter(pl.col("judged") == "lower").sort("difference")
        worst = rows.filter(pl.col("judged") == "higher").sort("difference", descending=True)
        if best.height:
            text += f" The largest gain: {_named(best.row(0, named=True))}."
        elif set(counts) & {"no difference", "higher"}:
            text += " No method beat uniform training at the same cost with its interval off zero."
        if worst.height:
            text += f" The largest harm: {_named(worst.row(0, named=True))}."
        said.append(text)
    return said


def _sentence(opening: str, rows: list[Row]) -> str:
    parts = []
    for word, name in JUDGED.items():
        cells = [_difference(row) for row in rows if row["judged"] == word]
        parts += [f"{name} on {'; '.join(cells)}"] if cells else []
    return f"{opening}: {'. '.join(part[0].upper() + part[1:] if k else part for k, part in enumerate(parts))}." if parts else ""


def _equal_cost(rows: list[Row]) -> str:
    gains = [cell_name(row["corruption"], row["rate"]) for row in rows if row["judged"] == "lower"]
    claim = f"a speed-up on {listed(gains)}" if gains else "no speed-up shown anywhere"
    return _sentence(f"Against uniform training at the same cost ({claim})", rows)


def _noise(rows: list[Row]) -> str:
    cells = [
        f"{percent(row['measured'])} on {cell_name(row['corruption'], row['rate'])} ({row['measured'] / row['realised_rate']:.2f} "
        f"times the rate of {percent(row['realised_rate'])})"
        for row in rows
        if row["measured"] is not None and row["realised_rate"]
    ]
    return f"Noise among what it trained on: {'; '.join(cells)}." if cells else ""


def _difference(row: Row) -> str:
    cell = cell_name(row["corruption"], row["rate"])
    if row["difference"] is None:
        return cell
    spread = "" if row["low"] is None else f", {interval(row['low'], row['high'])}"
    return f"{cell} ({points(row['difference'])} points{spread}, n = {row['n']})"


def _named(row: Row) -> str:
    return f"{row['policy']} on {_difference(row)}"


