"""How much of what a perfect sieve would bring does each method bring? The table of a study with an oracle.

``python recipes/guard.py docs/results/guard-16`` prints, for every cell and method: the test error, the difference to
plain training at the same cost and to plain training at its own best budget (in points, below 0 is better), and the
gap closed with its 95 % interval, where there is a gap of half a point to close. Then the difference of the worst
class; that to the plan's first method, where there are several; what the oracle has to plain training; and for policies
that were run at several budgets (``guard-time``), the least that reaches plain training's best error. Another method
than the first to compare with is named after the folder, as the output names it: ``"guarded(heard=0)"``. Run first,
for the records:
``tamis study guard-16 --out docs/results/guard-16`` (two hours on a free core; it can be stopped and gone on with).

Hardware: any. Expected numbers: docs/guides/guard.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from tamis.report.words import named
from tamis.study.gap import gap_closed
from tamis.study.paper import cell_name
from tamis.study.statistics import METHOD, PLACE, Interval, t_interval
from tamis.study.target import time_to_target


def main(folder: Path, against: str = "") -> None:
    if not (folder / "runs.parquet").is_file():
        raise SystemExit(f"{folder} holds no runs.parquet: name the folder of a study, such as docs/results/guard-8.")
    runs = pl.read_parquet(folder / "runs.parquet")
    runs = runs.with_columns(pl.col("policy").replace(named(runs["policy"].unique())))
    if against and against not in (known := runs["policy"].unique().sort().to_list()):
        raise SystemExit(f"{folder} has no {against}, but {', '.join(known)}.")
    for row in gap_closed(runs).drop_nulls("method").iter_rows(named=True):
        points, best = 100 * row["difference"], 100 * row["to_best"]
        span = "" if row["low"] is None else f" ({100 * row['low']:+.2f} to {100 * row['high']:+.2f})"
        closed = ""
        if row["closed"] is not None:
            closed = f"; gap closed {row['closed']:.2f} ({row['closed_low']:.2f} to {row['closed_high']:.2f})"
        print(
            f"{cell_name(row['corruption'], row['rate'])}, {row['policy']}: error {100 * row['method']:.2f} %, "
            f"{points:+.2f}{span} to plain, {best:+.2f} to its best{closed}; {row['n']} seeds"
        )
    for what, after, before, column in (
        ("worst class, to plain", "method", "standard", "worst_class_error"),
        (f"to {(first := against or first_method(runs))}", "method", first, "test_error"),
        ("to plain", "oracle", "standard", "test_error"),
    ):
        for place, policy, pairs in paired(runs, after, before, column):
            if policy != before:
                print(f"{place}, {policy}, {what}: {100 * pairs.mean:+.2f} "
                      f"({100 * pairs.low:+.2f} to {100 * pairs.high:+.2f})")  # fmt: skip
    for row in time_to_target(runs).filter(pl.col("policy") != "uniform").iter_rows(named=True):
        reached = "never"
        if row["budget"] is not None:
            points, low, high = (100 * row[name] for name in ("difference", "low", "high"))
            reached = f"at {row['budget']:g} epochs, {points:+.2f} ({low:+.2f} to {high:+.2f}) to plain at that cost"
        print(
            f"{cell_name(row['corruption'], row['rate'])}, {row['policy']}: plain training's best, "
            f"{100 * row['target']:.2f} %, is reached {reached}; its own best is {100 * row['lowest']:.2f} % "
            f"at {row['at']:g} epochs; {row['n']} seeds"
        )


def first_method(runs: pl.DataFrame) -> str:
    return str(runs.filter(pl.col("role") == "method")["policy"][0])


def paired(runs: pl.DataFrame, after: str, before: str, column: str) -> Iterator[tuple[str, str, Interval]]:
    """``column`` of those ``after`` less that of those ``before`` (each a role, a control or a policy), over seeds."""

    def of(name: str) -> pl.DataFrame:
        found = runs.filter((pl.col("role") == name) | (pl.col("control") == name) | (pl.col("policy") == name))
        return found.filter(pl.col("role") == "method") if name == before != "standard" else found

    both = of(after).join(of(before).select(*PLACE, "seed", before=column), on=[*PLACE, "seed"], maintain_order="left")
    for (_, _, _, corruption, rate, policy), mine in both.partition_by(
        METHOD, as_dict=True, maintain_order=True
    ).items():
        name = policy if after == "method" else after
        yield cell_name(corruption, rate), name, t_interval((mine[column] - mine["before"]).to_numpy())


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/guard-8"), *sys.argv[2:3])
