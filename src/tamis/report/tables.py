"""The tables of the page, as text. A number that is not there is a dash; nothing is left out because a run failed."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import polars as pl

from tamis.report.words import interval, number, percent, points
from tamis.study.evaluate import main_entry, score_table
from tamis.study.paper import cell_name, corruption_words, published

Row = dict[str, Any]


class Table(NamedTuple):
    """A table: its caption, its column heads, and rows of text. The first column names the row."""

    caption: str
    columns: list[str]
    rows: list[list[str]]


class Entry(NamedTuple):
    """A cell of the main table: ours, what is left against uniform at equal cost (in words), the paper's own number."""

    ours: str
    judged: str
    faster: bool
    paper: str


def main(cells: pl.DataFrame, cost: pl.DataFrame) -> tuple[list[str], list[tuple[str, list[Entry]]]]:
    """The main table of one setting: column heads, and per policy an entry for each of them.

    Args:
        cells: ``main_cells`` of the setting. cost: ``at_equal_cost`` of it.
    """
    columns = cells.select("corruption", "rate").unique(maintain_order=True).rows()
    have = {(row["policy"], row["corruption"], row["rate"]): row for row in cells.iter_rows(named=True)}
    uniform = cost.filter(pl.col("control") == "uniform")
    judged = {(row["policy"], row["corruption"], row["rate"]): row for row in uniform.iter_rows(named=True)}
    rows = []
    for policy in cells["policy"].unique(maintain_order=True):
        entries = []
        for cell in columns:
            theirs = published(policy, *cell)
            paper = ""
            if theirs:
                speed = "—" if theirs.speedup is None else f"{theirs.speedup:.1f}×"
                paper = f"{theirs.name}: {speed} ({100 * theirs.error:.2f})"
            verdict = judged.get((policy, *cell), {"judged": "", "faster": False})
            entries.append(Entry(main_entry(have.get((policy, *cell))), verdict["judged"], verdict["faster"], paper))
        rows.append((policy, entries))
    return [cell_name(*cell) for cell in columns], rows


def errors(cells: pl.DataFrame) -> Table:
    """Test errors with their intervals, a row per policy and cell."""
    rows = [
        [r["policy"], _cell(r), percent(r["error"], 2), _span(r["low"], r["high"]), str(r["n"])]
        for r in cells.iter_rows(named=True)
    ]
    return Table("Test error at equal budgets", ["policy", "cell", "error", "95 % interval", "n"], rows)


def paired(frame: pl.DataFrame, caption: str = "Test error: method minus standard at equal budgets") -> Table:
    """``paired_differences`` in percentage points."""
    rows = [
        [r["policy"], _cell(r), percent(r["method"], 2), percent(r["reference"], 2), *_difference(r)]
        for r in frame.iter_rows(named=True)
    ]
    columns = ["policy", "cell", "method", "standard", "difference, points", "95 % interval", "n", "judged"]
    return Table(caption, columns, rows)


def equal_cost(frame: pl.DataFrame) -> Table:
    """``at_equal_cost`` in percentage points."""
    rows = [
        [r["policy"], _cell(r), r["control"].replace("_", " "), number(r["cost"]), percent(r["method"], 2),
         percent(r["reference"], 2), *_difference(r), r["extrapolated"]]
        for r in frame.iter_rows(named=True)
    ]  # fmt: skip
    columns = ["policy", "cell", "control", "cost, epochs", "method", "control's error", "difference, points",
               "95 % interval", "n", "judged", "outside the ladder"]  # fmt: skip
    return Table("Test error: method minus control at the method's own cost", columns, rows)


def noise(frame: pl.DataFrame) -> Table:
    """``noise_shares``: measured and predicted, and the gaps in percentage points."""
    rows = [
        [r["policy"], _cell(r), percent(r["realised_rate"]), percent(r["measured"]), _span(r["low"], r["high"], 1),
         percent(r["closed_loop"]), percent(r["open_loop"]), percent(r["worst_case"]), points(r["pooled_gap"]),
         points(r["max_gap"]).lstrip("+"), str(r["n"])]
        for r in frame.iter_rows(named=True)
        if r["rate"] > 0
    ]  # fmt: skip
    columns = ["policy", "cell", "realised rate", "measured", "95 % interval", "closed loop", "open loop", "worst case",
               "pooled gap, points", "largest gap of a point", "n"]  # fmt: skip
    return Table("Share of noise among what was trained on while the policy selected", columns, rows)


def cost_speedups(frame: pl.DataFrame) -> Table:
    """``cost_speedup``: the way to the best fully decayed uniform error."""
    rows = [
        [r["policy"], _cell(r), percent(r["target"], 2), number(r["best_cost"]), number(r["cost"]),
         "never reached" if r["speedup"] is None else f"{r['speedup']:.2f}×"]
        for r in frame.iter_rows(named=True)
    ]  # fmt: skip
    columns = ["policy", "cell", "target error", "uniform's cost there", "method's cost to reach it", "ratio"]
    caption = (
        "Cost to reach the best fully decayed uniform error (read on the method's curve, learning rate not yet decayed)"
    )
    return Table(caption, columns, rows)


def scores(frame: pl.DataFrame) -> Table:
    """How well each difficulty score finds what is mislabeled."""
    columns, rows = score_table(frame)
    caption = "AUROC of mislabeled examples: against all clean ones | against the hardest tenth of them"
    return Table(caption, columns, rows)


def crossings(frame: pl.DataFrame) -> Table:
    """``crossover``: the rate from which a method's error lies above uniform training's at the same cost."""
    rows = []
    for r in frame.iter_rows(named=True):
        ends = [_crossing(r[name], r) for name in ("rate", "low", "high")]
        span = "—" if r["low"] is None else ends[1] if ends[1] == ends[2] else f"{ends[1]} to {ends[2]}"
        draws = [percent(r[name], 0) for name in ("share_below", "share_never")]
        note = "beyond the ladder somewhere" if r["extrapolated"] else ""
        rows.append(
            [r["policy"], corruption_words(r["corruption"]), ends[0], span, *draws, str(r["rates"]), str(r["n"]), note]
        )
    columns = ["policy", "corruption", "crosses at", "95 % interval", "draws above throughout", "draws never above",
               "rates", "n", "note"]  # fmt: skip
    return Table("Rate from which the error lies above uniform training's at the same cost", columns, rows)


def gaps(frame: pl.DataFrame) -> Table:
    """``gap_closed``: what a method brings of what a perfect sieve would bring."""
    rows = [
        [r["policy"], _cell(r), percent(r["uniform"], 2), percent(r["method"], 2), percent(r["oracle"], 2),
         points(r["difference"]), interval(r["low"], r["high"]), points(r["to_best"]), _closed(r), str(r["n"])]
        for r in frame.drop_nulls("method").iter_rows(named=True)
    ]  # fmt: skip
    columns = ["policy", "cell", "uniform", "method", "oracle", "difference, points", "95 % interval",
               "to uniform's best budget", "gap closed", "n"]  # fmt: skip
    return Table("Test error against plain training and an oracle at the same cost, and the gap closed", columns, rows)


def targets(frame: pl.DataFrame) -> Table:
    """``time_to_target``: who gets as far as plain training ever does, and for how much."""
    rows = [
        [r["policy"], _cell(r), percent(r["target"], 2), "never" if r["budget"] is None else number(r["budget"]),
         points(r["difference"]), interval(r["low"], r["high"]), percent(r["lowest"], 2), number(r["at"]), str(r["n"])]
        for r in frame.iter_rows(named=True)
    ]  # fmt: skip
    columns = ["policy", "cell", "plain training's best", "reached at, epochs of cost", "to plain there, points",
               "95 % interval", "lowest at any budget", "at", "n"]  # fmt: skip
    return Table("Least budget that reaches plain training's best, and how far each gets", columns, rows)


def decisions(notes: pl.DataFrame, runs: pl.DataFrame) -> Table:
    """What the guard of each run had decided in the end, over the seeds of a cell.

    Those on an open guard's list are left out, or learn what was said of them, as far as it is learnt.

    Args:
        notes: of ``notes.parquet``. runs: of a setting.
    """
    last = (
        notes.sort("run", "passes")
        .group_by("run", maintain_order=True)
        .agg(pl.exclude("learnt").last(), dropped=(pl.col("learnt") == "dropped").any())
    )
    told = runs.join(last, on="run", how="inner", maintain_order="left")
    found = told.group_by("policy", "corruption", "rate", maintain_order=True).agg(
        pl.len().alias("n"), *(pl.col(name).mean() for name in ("realised_rate", "noise_rate", "left_out")),
        opened=(pl.col("now") == "leave out").sum(), dropped=pl.col("dropped").sum(),
    )  # fmt: skip
    rows = [
        [r["policy"], _cell(r), percent(r["realised_rate"]), percent(r["noise_rate"]), percent(r["left_out"]),
         f"{r['opened']} of {r['n']} runs", f"{r['dropped']} of {r['n']} runs"]
        for r in found.iter_rows(named=True)
    ]  # fmt: skip
    columns = ["policy", "cell", "damaged", "labels held for wrong", "on its list", "open",
               "dropped what was learnt"]  # fmt: skip
    return Table("What the guard had decided when the run ended, means over seeds", columns, rows)


def costs(ok: pl.DataFrame) -> Table:
    """What the runs of each policy spent, means over cells and seeds."""
    names = ["candidates", "forwards", "backwards", "steps", "selections", "cost"]
    means = ok.group_by("policy", "role", "control", "budget", "budget_unit", maintain_order=True).agg(
        pl.len().alias("runs"), *(pl.col(name).cast(pl.Float64).mean() for name in names)
    )
    rows = [
        [r["policy"], r["role"], f"{r['budget']:g} {r['budget_unit']}", str(r["runs"]),
         *(number(r[name], 0) for name in names[:-1]), number(r["cost"])]
        for r in means.iter_rows(named=True)
    ]  # fmt: skip
    columns = ["policy", "role", "budget", "runs", *names[:-1], "cost, epochs"]
    return Table("Counts of work, means over cells and seeds", columns, rows)


def failures(runs: pl.DataFrame) -> Table:
    """Every run that failed, with its error's last line."""
    rows = [
        [
            r["policy"],
            f"{r['dataset']}, {r['model']}",
            _cell(r),
            r["role"],
            str(r["seed"]),
            r["run"],
            _last_line(r["error"]),
        ]
        for r in runs.filter(pl.col("status") != "ok").iter_rows(named=True)
    ]
    return Table("Failed runs", ["policy", "setting", "cell", "role", "seed", "run", "error"], rows)


def _cell(row: Row) -> str:
    return cell_name(row["corruption"], row["rate"])


def _closed(row: Row) -> str:
    if row["closed"] is None:
        return "—"
    return f"{row['closed']:.2f} ({row['closed_low']:.2f} to {row['closed_high']:.2f})"


def _difference(row: Row) -> list[str]:
    return [points(row["difference"]), interval(row["low"], row["high"]), str(row["n"]), row["judged"]]


def _span(low: float | None, high: float | None, digits: int = 2) -> str:
    return "—" if low is None else f"{percent(low, digits)} to {percent(high, digits)}"


def _crossing(rate: float | None, row: Row) -> str:
    if rate is None:
        return "—"
    if math.isinf(rate):
        return f"above from {percent(row['lowest'], 0)} on" if rate < 0 else f"never up to {percent(row['highest'], 0)}"
    return percent(rate)


def _last_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[-1] if lines else "no reason recorded"
