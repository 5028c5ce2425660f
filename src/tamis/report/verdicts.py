"""What the numbers say, in sentences made from them. A speed-up is one only against uniform at the same cost."""

from __future__ import annotations

from typing import Any, NamedTuple

import polars as pl

from tamis.report.words import listed, percent, points, setting_name
from tamis.study.evaluate import at_equal_cost, noise_shares, paired_differences
from tamis.study.paper import cell_name
from tamis.study.statistics import SETTING

Row = dict[str, Any]
CHEAPER = "uniform training does as well for less"
JUDGED = {  # what a judgement of statistics.judge is called, in the order in which a verdict tells them
    "faster": "a speed-up",
    "lower": "lower error",
    "no difference": "no difference shown",
    "higher": "higher error",
    "outside the ladder": "no control near its cost",
    "one seed": "one seed only",
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
    """One verdict per setting and method: at equal budgets, at equal cost, and what noise it trained on.

    Every number is a difference of test errors in percentage points with its 95 % interval in brackets; "no difference
    shown" means that the interval holds 0, not that there is none.
    """
    epochs = paired_differences(runs)
    uniform = at_equal_cost(runs).filter(pl.col("control") == "uniform")
    shares = noise_shares(runs, curves)
    found = []
    for row in epochs.select(*SETTING, "policy").unique(maintain_order=True).iter_rows(named=True):
        mine = pl.all_horizontal(pl.col(key) == value for key, value in row.items())
        here = [frame.filter(mine).to_dicts() for frame in (epochs, uniform, shares)]
        epochs_said = _sentence("At equal budgets", here[0])
        found.append(Verdict(**row, epochs=epochs_said, cost=_equal_cost(here[1]), noise=_noise(here[2])))
    return found


def headline(runs: pl.DataFrame) -> list[str]:
    """The study in a few sentences a setting: how many comparisons at equal cost went which way, and the extremes."""
    uniform = at_equal_cost(runs).filter(pl.col("control") == "uniform")
    said = []
    for setting, rows in uniform.partition_by(SETTING, maintain_order=True, as_dict=True).items():
        counts = dict(rows["judged"].value_counts().iter_rows())
        told = [f"{counts[word]} with {name}" for word, name in JUDGED.items() if word in counts]
        text = f"{setting_name(*setting)}: {rows.height} comparisons with uniform training at the same cost, "
        text += f"{listed(told)}."
        best = rows.filter("faster").sort("difference")
        worst = rows.filter(pl.col("judged") == "higher").sort("difference", descending=True)
        if best.height:
            text += f" The largest gain: {_named(best.row(0, named=True))}."
        elif set(counts) & {"lower", "no difference", "higher"}:
            text += " No speed-up over uniform training is shown."
        if counts.get("lower", 0) > best.height:
            text += f" In {counts['lower'] - best.height} of those with lower error {CHEAPER}."
        if worst.height:
            text += f" The largest harm: {_named(worst.row(0, named=True))}."
        said.append(text)
    return said


def _sentence(opening: str, rows: list[Row], names: dict[str, str] = JUDGED) -> str:
    parts = []
    for word, name in names.items():
        cells = [_difference(row) for row in rows if row["judged"] == word]
        parts += [f"{name} on {listed(cells)}"] if cells else []
    return f"{opening}: {'; '.join(parts)}." if parts else ""


def _equal_cost(rows: list[Row]) -> str:
    opening = "Against uniform training at the same cost"
    opening += "" if any(row["faster"] for row in rows) else ", no speed-up is shown"
    told = [{**row, "judged": "faster"} if row["faster"] else row for row in rows]
    return _sentence(opening, told, {**JUDGED, "lower": f"lower error, but {CHEAPER},"})


def _noise(rows: list[Row]) -> str:
    cells = [
        f"{percent(row['measured'])} on {_cell(row)} ({row['measured'] / row['realised_rate']:.2f} times the rate)"
        for row in rows
        if row["measured"] is not None and row["realised_rate"]
    ]
    return f"Noise among what it trained on: {listed(cells)}." if cells else ""


def _difference(row: Row, unit: str = "") -> str:
    if row["difference"] is None:
        return _cell(row)
    spread = "" if row["low"] is None else f" [{points(row['low'])}, {points(row['high'])}]"
    return f"{_cell(row)} ({points(row['difference'])}{unit}{spread})"


def _named(row: Row) -> str:
    return f"{row['policy']} on {_difference(row, ' points')}"


def _cell(row: Row) -> str:
    return cell_name(row["corruption"], row["rate"])
