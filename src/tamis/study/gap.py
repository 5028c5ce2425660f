"""How much of what a perfect sieve would bring a method brings: the gap closed from plain training to an oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tamis.study.statistics import METHOD, PLACE, Interval, asked_for, finished, t_interval

WORTH = 0.005  # half a point: a smaller gap is none to close


def share_of(gained: np.ndarray, possible: np.ndarray) -> Interval:
    """The ratio of two means over seeds, ``c = mean(g) / mean(o)``, with its 95 % t-interval ``c +- t sd(g - c o) /
    (sqrt(n) mean(o))``.

    Args:
        gained, possible: ``[n]``, of each seed, in one unit. Higher is nearer to all that is possible.

    Example:
        >>> share_of(np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0]))
        Interval(mean=0.5, low=0.5, high=0.5, n=3)

    Reference: ratio estimator: Cochran 1977, chapter 6. A percentile bootstrap over five seeds covers 84 %.
    """
    share = float(gained.mean() / possible.mean())
    _, low, high, n = t_interval((gained - share * possible) / possible.mean())
    return Interval(share, share + low, share + high, n)


def gap_closed(runs: pl.DataFrame, column: str = "test_error") -> pl.DataFrame:
    """The share of the oracle's gain over plain training that each method has, per place, over paired seeds.

    :func:`share_of` g = uniform - method in o = uniform - oracle, of each seed. It is null where the oracle's gain is
    not over half a point with its whole t-interval, and where there is no oracle. ``uniform`` is the standard run; the
    methods must have had its cost (a plan whose unit is ``cost``).

    Args:
        runs: gathered; with ``oracle`` among the controls.

    Returns:
        ``METHOD``; mean errors ``uniform``, ``best`` (each seed's lowest of plain training at any budget that was run,
        to its advantage), ``method``, ``oracle``; ``difference`` (method - uniform) with ``low`` and ``high``;
        ``to_best`` (method - best); ``closed``, ``closed_low``, ``closed_high``; ``n`` seeds.
    """
    ok = finished(runs).filter(pl.col(column).is_finite())
    plain = (pl.col("role") == "standard") | (pl.col("control") == "uniform")
    keys = [*PLACE, "seed"]
    pairs = (
        ok.filter(pl.col("role") == "method")
        .select(*METHOD, "seed", method=column)
        .join(ok.filter(pl.col("role") == "standard").select(*keys, uniform=column), on=keys)
        .join(ok.filter(plain).group_by(keys).agg(best=pl.col(column).min()), on=keys)
        .join(ok.filter(pl.col("control") == "oracle").select(*keys, oracle=column), on=keys, how="left")
    )
    rows: list[dict[str, Any]] = []
    for names, group in pairs.partition_by(METHOD, maintain_order=True, as_dict=True).items():
        mean = {name: group[name].mean() for name in ("uniform", "best", "method", "oracle")}
        difference, low, high, n = t_interval((group["method"] - group["uniform"]).to_numpy())
        row = {**dict(zip(METHOD, names, strict=True)), **mean, "difference": difference, "low": low, "high": high}
        row |= {"to_best": float((group["method"] - group["best"]).to_numpy().mean()), "n": n}
        told = group.drop_nulls("oracle")
        gained, possible = ((told["uniform"] - told[name]).to_numpy() for name in ("method", "oracle"))
        if len(told) > 1 and t_interval(possible).low > WORTH:
            closed, low, high, _ = share_of(gained, possible)
            row |= {"closed": closed, "closed_low": low, "closed_high": high}
        rows.append(row)
    numbers = ("uniform", "best", "method", "oracle", "difference", "low", "high", "to_best", "closed", "closed_low",
               "closed_high")  # fmt: skip
    schema: dict[str, Any] = {
        **{key: runs.schema[key] for key in METHOD},
        **dict.fromkeys(numbers, pl.Float64),
        "n": pl.Int64,
    }
    found = pl.DataFrame(rows, schema=schema, orient="row").with_columns(pl.col(numbers).fill_nan(None))
    return asked_for(runs).join(found, on=METHOD, how="left").with_columns(pl.col("n").fill_null(0))
