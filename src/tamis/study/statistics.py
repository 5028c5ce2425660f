"""The few statistics a study needs: an interval, a curve read off, a crossing, a judgement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from tamis.types import TamisError

SETTING = ["dataset", "size", "model"]
PLACE = [*SETTING, "corruption", "rate"]
METHOD = [*PLACE, "policy"]
Curve = dict[str, list[float]]
END_TOLERANCE = 0.02  # a cost within 2 % of a control curve's end is taken as that end


class Interval(NamedTuple):
    """A mean over seeds and its two-sided confidence interval; ``low``, ``high`` are NaN for fewer than two seeds."""

    mean: float
    low: float
    high: float
    n: int


def t_interval(values: ArrayLike, confidence: float = 0.95) -> Interval:
    """Student's t-interval of a mean: m ± t_{(1+confidence)/2, n-1} s / √n, in the unit of ``values``.

    Values that are not finite (failed or missing runs) are left out; of none, the mean is NaN and n is 0.

    Raises:
        TamisError: a confidence outside (0, 1).

    Example:
        >>> [round(x, 3) for x in t_interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484, 3]

    Reference: Student (1908), The probable error of a mean.
    """
    if not 0 < confidence < 1:
        raise TamisError(f"the confidence is {confidence!r}, but it must lie in (0, 1), such as 0.95.")
    sample = np.asarray(values, float)
    sample = sample[np.isfinite(sample)]
    n = len(sample)
    mean = float(sample.mean()) if n else math.nan
    half = float(t.ppf((1 + confidence) / 2, n - 1) * sample.std(ddof=1) / math.sqrt(n)) if n > 1 else math.nan
    return Interval(mean, mean - half, mean + half, n)


def at_cost(costs: Sequence[float], errors: Sequence[float], cost: float) -> tuple[float, str]:
    """The error of a control curve at ``cost``, linear in log cost, and whether that lies ``below`` or ``above`` it.

    Beyond its ends the curve is held at its last value; within 2 % of an end a cost does not count as beyond, and the
    second value is ``""``.

    Args:
        costs: above 0, in any order, at least one. errors: at those costs. cost: where to read, same unit.

    Raises:
        TamisError: no point, or a cost that is not above 0.

    Example:
        >>> at_cost([1.0, 4.0], [0.3, 0.1], 2.0)  # half-way in log cost
        (0.2, '')
        >>> at_cost([1.0, 4.0], [0.3, 0.1], 0.5)
        (0.3, 'below')
    """
    if not len(costs) or min(*costs, cost) <= 0:
        raise TamisError(f"a control curve needs points and costs above 0; it has costs {list(costs)}, read at {cost}.")
    order = np.argsort(costs)
    x, y = np.log(np.asarray(costs, float)[order]), np.asarray(errors, float)[order]
    where = math.log(cost)
    beyond = "below" if where < x[0] + math.log1p(-END_TOLERANCE) else ""
    beyond = "above" if where > x[-1] + math.log1p(END_TOLERANCE) else beyond
    return float(np.interp(where, x, y)), beyond


def first_reach(spent: Sequence[float], errors: Sequence[float], target: float) -> float | None:
    """What a curve had spent when it first came down to ``target``: linear between points; None where it never did.

    Args:
        spent: increasing (backprops, or cost). errors: at those points. target: an error, the lower the harder.

    Example:
        >>> first_reach([0, 10, 20], [0.9, 0.5, 0.1], 0.3)
        15.0
    """
    for number, error in enumerate(errors):
        if error <= target:
            if number == 0:
                return float(spent[0])
            before, start = errors[number - 1], spent[number - 1]
            return float(start + (before - target) / (before - error) * (spent[number] - start))
    return None


def upward_crossing(rates: ArrayLike, differences: ArrayLike) -> float:
    """The first rate at which a difference rises above 0, linear between rates.

    Returns:
        A rate; ``-inf`` where the difference is above 0 at the lowest rate already, ``inf`` where it never is.

    Example:
        >>> upward_crossing([0.0, 0.2, 0.4], [-1.0, -1.0, 3.0])
        0.25
    """
    x, d = np.asarray(rates, float), np.asarray(differences, float)
    above = np.flatnonzero(d > 0)
    if not len(above):
        return math.inf
    k = int(above[0])
    return -math.inf if k == 0 else float(x[k - 1] + (x[k] - x[k - 1]) * -d[k - 1] / (d[k] - d[k - 1]))


def bootstrap_crossings(
    rates: ArrayLike, differences: ArrayLike, generator: np.random.Generator, draws: int
) -> NDArray[np.float64]:
    """``[draws]`` crossings of the mean of ``differences`` ``[seeds, rates]`` over seeds drawn with replacement.

    A seed is drawn with all its rates, since its runs share one noise mask and one initialisation.

    Reference: Efron (1979), Bootstrap methods.
    """
    table = np.asarray(differences, float)
    picks = generator.integers(len(table), size=(draws, len(table)))
    return np.array([upward_crossing(rates, mean) for mean in table[picks].mean(axis=1)])


def judge(low: float | None, high: float | None, n: int, extrapolated: str = "") -> str:
    """One word about a difference of errors (method minus control, lower is better) and its interval.

    ``lower`` or ``higher`` when the interval lies off 0, else ``no difference`` (none shown, not none there);
    ``one seed`` and ``missing`` where there is no interval; ``outside the ladder`` where no control was run near that
    cost.

    Example:
        >>> judge(-0.03, -0.01, n=5), judge(-0.01, 0.02, n=5), judge(-0.03, -0.01, n=5, extrapolated="above")
        ('lower', 'no difference', 'outside the ladder')
    """
    if n < 2 or low is None or high is None or not math.isfinite(low + high):
        return "one seed" if n == 1 else "missing"
    if extrapolated:
        return "outside the ladder"
    return "lower" if high < 0 else "higher" if low > 0 else "no difference"


# The same over groups of a frame -----------------------------------------------------------------------------------


def finished(runs: pl.DataFrame) -> pl.DataFrame:
    """The runs that ended well, each once: status ``ok``, with a finite test error and a cost.

    Raises:
        TamisError: two finished runs stand for the same place, policy, budget and seed.
    """
    ok = runs.unique("run", maintain_order=True).filter(
        (pl.col("status") == "ok") & pl.col("test_error").is_finite() & pl.col("cost").is_finite()
    )
    twice = ok.filter(ok.select(*METHOD, "role", "control", "budget", "seed").is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        raise TamisError(
            f"two finished runs of {first['policy']} on {first['dataset']}, {first['corruption']} at {first['rate']}, "
            f"seed {first['seed']} ({', '.join(twice['run'][:2])}); evaluate one plan's records at a time."
        )
    return ok


def asked_for(runs: pl.DataFrame) -> pl.DataFrame:
    """Every place and method that was meant to be run, failed ones too: no row of a table vanishes with its runs."""
    return runs.filter(pl.col("role") == "method").select(METHOD).unique(maintain_order=True)


def over_seeds(pairs: pl.DataFrame, by: Sequence[str], means: Sequence[str]) -> pl.DataFrame:
    """Per group: the mean ``difference`` with its interval and n, and the plain means of other columns."""
    rows: list[dict[str, Any]] = []
    for keys, group in pairs.partition_by(by, maintain_order=True, as_dict=True).items():
        mean, low, high, n = t_interval(group["difference"].cast(pl.Float64).fill_null(float("nan")).to_numpy())
        others = {name: group[name].mean() for name in means}
        named = dict(zip(by, keys, strict=True))
        rows.append({**named, **others, "difference": mean, "low": low, "high": high, "n": n})
    numbers: dict[str, Any] = dict.fromkeys([*means, "difference", "low", "high"], pl.Float64)
    schema: dict[str, Any] = {**{key: pairs.schema[key] for key in by}, **numbers, "n": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema, orient="row")
    return frame.with_columns(pl.col(pl.Float64).exclude("rate").fill_nan(None))


def judged(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with ``judged``, the word of :func:`judge` for each row's interval."""
    frame = frame.with_columns(pl.col("n").fill_null(0))
    beyond = frame["extrapolated"] if "extrapolated" in frame.columns else [""] * frame.height
    numbers = zip(frame["low"], frame["high"], frame["n"], beyond, strict=True)
    words = [judge(low, high, n, where) for low, high, n, where in numbers]
    return frame.with_columns(pl.Series("judged", words, pl.String))


def mean_curve(curves: Sequence[pl.DataFrame | None]) -> Curve:
    """Means over runs at the points that all of them have, as lists."""
    together = pl.concat([curve for curve in curves if curve is not None])
    columns = [pl.col(name).cast(pl.Float64).mean() for name in ("backwards", "cost", "test_error")]
    means = together.group_by("point").agg(*columns, have=pl.len()).filter(pl.col("have") == len(curves)).sort("point")
    return means.to_dict(as_series=False)


def ratio(over: float | None, under: float | None) -> float | None:
    """One over the other; None where either is missing or 0."""
    return over / under if over and under else None


def paired_curves(runs: pl.DataFrame, curves: pl.DataFrame) -> Iterator[tuple[dict[str, Any], Curve, Curve, str]]:
    """Keys, the standard's and the policy's mean curve over the seeds that both have, and the policy's role."""
    ok = finished(runs).filter(pl.col("role") != "control")
    points = curves.filter(pl.col("test_error").is_finite()).partition_by("run", as_dict=True)
    for place, here in ok.partition_by(PLACE, maintain_order=True, as_dict=True).items():
        runs_here = here.select("role", "policy", "seed", "run").iter_rows()
        named = {(role, policy, seed): points.get((run,)) for role, policy, seed, run in runs_here}
        standards = {
            seed: curve for (role, _, seed), curve in named.items() if role == "standard" and curve is not None
        }
        for role, policy in here.select("role", "policy").unique(maintain_order=True).rows():
            mine = {seed: named.get((role, policy, seed)) for seed in standards}
            shared = [seed for seed, curve in mine.items() if curve is not None]
            if shared:
                standard, own = mean_curve([standards[s] for s in shared]), mean_curve([mine[s] for s in shared])
                if standard["cost"] and own["cost"]:
                    yield {**dict(zip(PLACE, place, strict=True)), "policy": policy}, standard, own, role
