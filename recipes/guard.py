"""How much of what a perfect sieve would bring does each method bring? The table of a study with an oracle.

``python recipes/guard.py docs/results/guard-16`` prints, for every cell and method: the test error, the difference to
plain training at the same cost and to plain training at its own best budget (in points, below 0 is better), and the
gap closed with its 95 % interval, where there is a gap of half a point to close; then, for policies that were run at
several budgets (``guard-time``), the least that reaches plain training's best error. Run first, for the records:
``tamis study guard-16 --out docs/results/guard-16`` (two hours on a free core; it can be stopped and gone on with).

Hardware: any. Expected numbers: docs/guides/guard.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

from tamis.study.gap import gap_closed
from tamis.study.paper import cell_name
from tamis.study.target import time_to_target


def main(folder: Path) -> None:
    if not (folder / "runs.parquet").is_file():
        raise SystemExit(f"{folder} holds no runs.parquet: name the folder of a study, such as docs/results/guard-8.")
    runs = pl.read_parquet(folder / "runs.parquet")
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


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/results/guard-8"))
