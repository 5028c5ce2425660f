"""What a study of separators says, as frames: pure functions of its gathered ``separations.parquet``.

One row a place (setting and cell) and separator; numbers are means over seeds with 95 % t-intervals, and null where a
separator does not say such a thing.
"""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from tamis.study.paper import cell_name
from tamis.study.statistics import METHOD, over_seeds

OURS = ("separate", "separate_one_run")
SLACK = 0.02  # the realised share of false discoveries may be above its target by so much
BOTH = ("auroc", "auroc_hardest")


def over(frame: pl.DataFrame, column: str) -> pl.DataFrame:
    """``METHOD``, the mean of ``column`` as ``difference``, ``low``, ``high``, ``n``, and the mean cost in ``runs``."""
    return over_seeds(frame.with_columns(difference=pl.col(column)), METHOD, ["runs"])


def said(row: dict[str, Any], digits: int = 3) -> str:
    """A row's mean ± the half-width of its interval; a dash where there is none.

    Example:
        >>> said({"difference": 0.99, "high": 0.992}), said({"difference": 0.99, "high": None}), said({})
        ('0.990 ± 0.002', '0.990', '—')
    """
    mean, high = row.get("difference"), row.get("high")
    if mean is None or not math.isfinite(mean):
        return "—"
    return f"{mean:.{digits}f}" + ("" if high is None else f" ± {high - mean:.{digits}f}")


def false_discoveries(frame: pl.DataFrame, target: str) -> pl.DataFrame:
    """As :func:`over` of the realised share at a target (``05``, ``10``, ``20``), with ``kept``: the seeds on which it
    is at most the target + 2 points."""
    column = f"fdr_{target}"
    kept = (pl.col(column) <= int(target) / 100 + SLACK + 1e-12).sum()
    return over(frame, column).join(frame.group_by(METHOD).agg(kept=kept), on=METHOD, how="left")


def rate_errors(frame: pl.DataFrame) -> pl.DataFrame:
    """As :func:`over` of the estimated rate, with ``realised`` (mean), ``error`` (mean absolute), ``covered`` (of how
    many intervals: ``intervals``)."""
    gap = (pl.col("rate_estimated") - pl.col("realised_rate")).abs().mean()
    more = frame.group_by(METHOD).agg(
        realised=pl.col("realised_rate").mean(), error=gap, covered=pl.col("rate_covered").sum(),
        intervals=pl.col("rate_covered").count(),
    )  # fmt: skip
    return over(frame, "rate_estimated").join(more, on=METHOD, how="left")


def reliability_over_seeds(frame: pl.DataFrame, bins: pl.DataFrame) -> pl.DataFrame:
    """``METHOD``, ``bin``, and the means over seeds of ``predicted`` and ``realised``."""
    joined = bins.join(frame.select("run", *METHOD), on="run")
    means = joined.group_by(*METHOD, "bin", maintain_order=True).agg(pl.col("predicted", "realised").mean())
    return means.sort("bin", maintain_order=True)


def on_the_same_labels(found: pl.DataFrame) -> pl.DataFrame:
    """Without the seeds on which one of several separators was asked alone, for its false discoveries."""
    if found["policy"].n_unique() < 2:
        return found
    return found.filter(pl.col("policy").n_unique().over("seed") > 1)


def sentences(frame: pl.DataFrame) -> list[str]:
    """The study in a sentence a noisy cell: ours and the peer that ranks best; then ours in one run against AUM."""
    frame = on_the_same_labels(frame)
    plain, hard = ({tuple(row[key] for key in METHOD): row for row in over(frame, column).iter_rows(named=True)}
                   for column in BOTH)  # fmt: skip
    lines, pairs = [], []
    for place in dict.fromkeys(key[:-1] for key, row in plain.items() if row["difference"] is not None):
        have = [key[-1] for key in plain if key[:-1] == place]
        peers = sorted(set(have) - set(OURS), key=lambda name: -(hard[(*place, name)]["difference"] or 0.0))
        told = [
            f"{name} {said(plain[(*place, name)])} and {said(hard[(*place, name)])} "
            f"for {plain[(*place, name)]['runs']:.2f} runs"
            for name in (*(name for name in OURS if name in have), *peers[:1])
        ]
        lines.append(f"{cell_name(*place[-2:])}: {'; '.join(told)}.")
        if OURS[1] in have and "aum" in have:
            pairs += [(table[(*place, OURS[1])]["difference"], table[(*place, "aum")]["difference"])
                      for table in (plain, hard)]  # fmt: skip
    if pairs:
        above = sum(mine is not None and its is not None and mine > its for mine, its in pairs)
        lines.append(f"In one run ours ranks better than AUM of one run in {above} of these {len(pairs)} pairs.")
    return lines
