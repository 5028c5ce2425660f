"""What a study says, as tables: pure functions of its gathered frames ``runs`` and ``curves`` (docs/architecture.md).

A *place* is a setting (data set, size, model) and a cell (corruption, rate). Errors, shares and their differences are
fractions; a difference is method minus control, so below 0 the method has the lower error. Every interval is 95 %,
over seeds, paired: both runs of a pair share the noise mask and the initialisation. Missing and failed runs leave nulls
and a smaller ``n``, never an exception.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tamis.study.paper import cell_name, entry_text, published
from tamis.study.statistics import (
    METHOD,
    PLACE,
    SETTING,
    asked_for,
    at_cost,
    bootstrap_crossings,
    finished,
    first_reach,
    judged,
    over_seeds,
    paired_curves,
    ratio,
    upward_crossing,
)
from tamis.types import TamisError

Row = dict[str, Any]


def paired_differences(runs: pl.DataFrame, against: str = "standard", column: str = "test_error") -> pl.DataFrame:
    """Method minus standard at equal candidate epochs, per place and method: mean over seeds and its interval.

    Args:
        against: ``standard``, or another method's label.
        column: ``test_error``, ``worst_class_error``, or any number of a run.

    Returns:
        ``METHOD``, ``method`` and ``reference`` (means over the pairs), ``difference``, ``low``, ``high``, ``n`` and
        ``judged`` (see :func:`~tamis.study.statistics.judge`).

    Raises:
        TamisError: ``column`` is no column of ``runs``.

    Example:
        ``paired_differences(runs).filter(pl.col("judged") == "higher")``: where a method hurts.
    """
    if column not in runs.columns:
        raise TamisError(f"runs have no column {column!r}; test_error and worst_class_error are the usual ones.")
    ok = finished(runs).filter(pl.col(column).is_finite())
    methods = ok.filter(pl.col("role") == "method")
    is_standard, is_other = pl.col("role") == "standard", (pl.col("role") == "method") & (pl.col("policy") == against)
    reference = ok.filter(is_standard if against == "standard" else is_other).select(
        *PLACE, "seed", pl.col(column).alias("reference")
    )
    pairs = methods.join(reference, on=[*PLACE, "seed"]).with_columns(
        method=pl.col(column), difference=pl.col(column) - pl.col("reference")
    )
    return asked_for(runs).join(over_seeds(pairs, METHOD, ["method", "reference"]), on=METHOD, how="left").pipe(judged)


def at_equal_cost(runs: pl.DataFrame, column: str = "test_error") -> pl.DataFrame:
    """Method minus control at the method's own cost, per place, method and control curve.

    Per seed, the control's error is read off its curve at the cost that this method's run measured, linear in log
    cost. The standard run is the dear end of both curves. Beyond a curve's ends its last value is held and
    ``extrapolated`` says ``below`` or ``above``; nothing is concluded there. A seed whose curve has fewer than two
    points is left out, but for uniform where the standard run alone costs what the method does.

    A control that gets worse with more training can be beaten at one cost by what it does better for less. ``faster``
    is therefore True only where the error is lower at equal cost *and* lower than ``best``, the lowest error of the
    control up to that cost, both with the interval off 0; the lowest per seed is to the control's advantage.

    Returns:
        ``METHOD``, ``control``, ``cost`` (mean), ``method``, ``reference``, ``best``, ``difference``, ``low``,
        ``high``, ``n``, ``extrapolated``, ``judged``, ``faster``.

    Reference: the fully-decayed-learning-rate baseline of Bartoldson et al. 2022 and Kaddour et al. 2023.
    """
    by = [*METHOD, "control"]
    pairs = equal_cost_pairs(runs, column)
    means = over_seeds(pairs, by, ["cost", "method", "reference", "best"])
    against_best = over_seeds(pairs.with_columns(difference=pl.col("method") - pl.col("best")), by, [])
    where = pl.col("extrapolated")
    beyond = pairs.group_by(by).agg(where.filter(where != "").unique().sort().str.join(" and "))
    asked = asked_for(runs).join(pl.DataFrame({"control": ["uniform", "random_subset"]}), how="cross")
    for frame in (means, against_best.select(*by, high_best="high"), beyond):
        asked = asked.join(frame, on=by, how="left")
    said = judged(asked.with_columns(where.fill_null("")))
    faster = (pl.col("judged") == "lower") & (pl.col("high_best") < 0).fill_null(False)
    return said.with_columns(faster=faster).drop("high_best")


def equal_cost_pairs(runs: pl.DataFrame, column: str = "test_error") -> pl.DataFrame:
    """One row per method's run and control: ``cost``, ``method``, ``reference`` (at that cost), ``best`` (the control's
    lowest error up to that cost), ``difference`` (method - reference) and ``extrapolated``."""
    ok = finished(runs).filter(pl.col(column).is_finite() & (pl.col("cost") > 0))
    ladder = ok.filter(pl.col("role") != "method").partition_by(*PLACE, "seed", as_dict=True)
    rows: list[Row] = []
    for run in ok.filter(pl.col("role") == "method").iter_rows(named=True):
        controls = ladder.get(tuple(run[key] for key in [*PLACE, "seed"]))
        if controls is None:
            continue
        for control in ("uniform", "random_subset"):
            curve = controls.filter((pl.col("role") == "standard") | (pl.col("control") == control))
            if not curve.height:
                continue
            error, where = at_cost(curve["cost"].to_list(), curve[column].to_list(), run["cost"])
            if curve.height < 2 and (where or control != "uniform"):  # one run of the same cost will do
                continue
            rows.append(
                {key: run[key] for key in [*METHOD, "seed", "cost"]}
                | {"control": control, "method": run[column], "reference": error, "extrapolated": where}
                | {"best": min([error, *curve.filter(pl.col("cost") <= run["cost"])[column]])}
                | {"difference": run[column] - error}
            )
    numbers = dict.fromkeys(("cost", "method", "reference", "best", "difference"), pl.Float64)
    keys = {key: runs.schema[key] for key in [*METHOD, "seed"]}
    return pl.DataFrame(rows, schema={**keys, "control": pl.String, **numbers, "extrapolated": pl.String}, orient="row")


def paper_speedup(runs: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """Backprops, the paper's metric as we read it: the standard's to reach its own final error, over the method's.

    Both on curves averaged over the seeds that the two share, linear between points. It leaves selection's forward
    passes out, so it is no speed-up of anything that a clock shows; :func:`at_equal_cost` is the honest comparison.

    Returns:
        ``METHOD`` (the standard too, 1 by definition), ``threshold`` (the standard's final error),
        ``standard_backwards``, ``backwards`` and ``speedup``; the last two are null where it was never reached.

    Reference: Hu et al. 2021, arXiv:2107.07741, Table 1.
    """
    rows = []
    for keys, standard, method, _ in paired_curves(runs, curves):
        target = standard["test_error"][-1]
        own = first_reach(standard["backwards"], standard["test_error"], target)
        spent = first_reach(method["backwards"], method["test_error"], target)
        measured = {"threshold": target, "standard_backwards": own, "backwards": spent, "speedup": ratio(own, spent)}
        rows.append({**keys, **measured})
    numbers = dict.fromkeys(("threshold", "standard_backwards", "backwards", "speedup"), pl.Float64)
    return pl.DataFrame(rows, schema={**{key: runs.schema[key] for key in METHOD}, **numbers}, orient="row")


def cost_speedup(runs: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """Cost of the best fully decayed uniform training, over the cost at which the method first reached its error.

    The target is the lowest mean final error among the uniform ladder and the standard run, and ``best_cost`` what that
    budget cost. A method's curve is read while its learning rate still stands, which can only be to its disadvantage.

    Returns:
        ``METHOD``, ``target``, ``best_cost``, ``cost`` and ``speedup`` (null: never reached). Costs are in epochs of
        plain training.
    """
    ladder = (
        finished(runs)
        .filter((pl.col("role") == "standard") | (pl.col("control") == "uniform"))
        .group_by(*PLACE, "role", "budget", maintain_order=True)
        .agg(pl.col("test_error").mean(), pl.col("cost").mean())
        .sort("test_error", "cost")
        .unique(PLACE, keep="first", maintain_order=True)
    )
    best = {tuple(row[key] for key in PLACE): row for row in ladder.iter_rows(named=True)}
    rows = []
    for keys, _, method, role in paired_curves(runs, curves):
        goal = best[tuple(keys[key] for key in PLACE)]
        spent = first_reach(method["cost"], method["test_error"], goal["test_error"])
        if role == "method":
            measured = {"target": goal["test_error"], "best_cost": goal["cost"], "cost": spent}
            rows.append({**keys, **measured, "speedup": ratio(goal["cost"], spent)})
    numbers = dict.fromkeys(("target", "best_cost", "cost", "speedup"), pl.Float64)
    return pl.DataFrame(rows, schema={**{key: runs.schema[key] for key in METHOD}, **numbers}, orient="row")


def noise_shares(runs: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """The share of noise among what each method trained on while it selected, measured and predicted.

    Returns:
        ``METHOD``, ``realised_rate``, means over seeds of ``measured``, ``closed_loop``, ``open_loop``, ``worst_case``;
        ``low``, ``high`` and ``n`` of the measured; ``pooled_gap`` (measured minus closed loop, each pooled over what
        was trained on) and ``max_gap``, the largest |measured - closed loop| of any seed's point outside the warm-up.
    """
    names = {"measured": "", "closed_loop": "_predicted", "open_loop": "_open_loop", "worst_case": "_worst_case"}
    methods = finished(runs).filter(pl.col("role") == "method")
    shares = methods.with_columns(**{name: pl.col(f"noise_share{ending}") for name, ending in names.items()})
    means = over_seeds(shares.with_columns(difference=pl.col("measured")), METHOD, ["realised_rate", *list(names)[1:]])
    points = selecting_points(curves).join(methods.select("run", *METHOD), on="run")
    gaps = points.group_by(METHOD).agg(max_gap=(pl.col("noise_share") - pl.col("noise_share_predicted")).abs().max())
    joined = asked_for(runs).join(means, on=METHOD, how="left").join(gaps, on=METHOD, how="left")
    return joined.rename({"difference": "measured"}).with_columns(
        pl.col("n").fill_null(0), pooled_gap=pl.col("measured") - pl.col("closed_loop")
    )


def selecting_points(curves: pl.DataFrame) -> pl.DataFrame:
    """The points on which a prediction is held to account: after the warm-up, and the policy selected at all."""
    warmup = pl.col("warmup").fill_null(False) if "warmup" in curves.columns else pl.lit(False)
    return curves.filter((pl.col("selecting") > 0) & ~warmup)


def crossover(runs: pl.DataFrame, generator: np.random.Generator | None = None, draws: int = 2000) -> pl.DataFrame:
    """The rate at which a method's error rises above uniform training's at the same cost, per setting, kind and method.

    The mean difference over seeds, linear between rates, first crossing upwards; a clean cell (rate 0) counts for every
    kind. The interval is the 2.5 and 97.5 % points of a bootstrap over the seeds that have every rate, on which a draw
    that never crosses counts as +inf and one that is above from the lowest rate on as -inf. Few seeds make it coarse.

    Args:
        generator: of the bootstrap; by default a fresh one with seed 0. draws: how many.

    Returns:
        Setting, ``corruption``, ``policy``, ``rate`` (inf: never above, -inf: above from the lowest rate on, null: no
        seed has every rate), ``low``, ``high``, ``share_never``, ``share_below`` (of the draws), ``lowest``,
        ``highest``, ``rates``, ``n``, ``extrapolated`` (the method's cost lay beyond the control curve somewhere).
    """
    generator = np.random.default_rng(0) if generator is None else generator
    pairs = equal_cost_pairs(runs).filter(pl.col("control") == "uniform")
    rows: list[Row] = []
    for (*setting, policy), mine in pairs.partition_by(*SETTING, "policy", maintain_order=True, as_dict=True).items():
        clean = mine.filter(pl.col("rate") == 0)
        for kind in mine.filter(pl.col("rate") > 0)["corruption"].unique(maintain_order=True):
            own = mine.filter(pl.col("corruption") == kind)
            both = own if (own["rate"] == 0).any() else pl.concat([clean.unique("seed", maintain_order=True), own])
            rates = sorted(both["rate"].unique())
            if len(rates) < 2:
                continue
            seeds = [dict(group.select("rate", "difference").iter_rows()) for group in both.partition_by("seed")]
            table = np.array([[seed[rate] for rate in rates] for seed in seeds if len(seed) == len(rates)])
            row: Row = {**dict(zip(SETTING, setting, strict=True)), "corruption": kind, "policy": policy}
            row |= {"lowest": rates[0], "highest": rates[-1], "rates": len(rates), "n": len(table)}
            row["extrapolated"] = bool((both["extrapolated"] != "").any())
            if len(table):
                row["rate"] = upward_crossing(rates, table.mean(axis=0))
            if len(table) > 1:
                found = bootstrap_crossings(rates, table, generator, draws)
                row["low"], row["high"] = np.quantile(found, (0.025, 0.975), method="inverted_cdf").tolist()
                row["share_never"] = float((found == np.inf).mean())
                row["share_below"] = float((found == -np.inf).mean())
            rows.append(row)
    numbers = ("rate", "low", "high", "share_never", "share_below", "lowest", "highest")
    keys = {key: runs.schema[key] for key in [*SETTING, "corruption", "policy"]}
    counts = {"rates": pl.Int64, "n": pl.Int64, "extrapolated": pl.Boolean}
    return pl.DataFrame(rows, schema={**keys, **dict.fromkeys(numbers, pl.Float64), **counts}, orient="row")


def score_table(scores: pl.DataFrame) -> tuple[list[str], list[list[str]]]:
    """How well each score finds what is mislabeled, as text: columns and rows, the best mean over all cells first.

    A cell is the AUROC against all clean examples and, behind the bar, against the hardest tenth of them, each a mean
    over seeds ± the half-width of its 95 % interval. ``trainings`` come on top of the run that is scored.
    """
    cells = scores.select("corruption", "rate").unique(maintain_order=True).rows()
    by = ["score", "trainings", "corruption", "rate"]
    means: dict[str, dict[tuple[str, float], str]] = {}
    for column in ("auroc", "auroc_hardest"):
        for row in over_seeds(scores.with_columns(difference=pl.col(column)), by, []).iter_rows(named=True):
            said, cell = means.setdefault(row["score"], {}), (row["corruption"], row["rate"])
            half = "" if row["high"] is None else f" ± {row['high'] - row['difference']:.3f}"
            number = "—" if row["difference"] is None else f"{row['difference']:.3f}{half}"
            said[cell] = f"{said[cell]} | {number}" if cell in said else number
    best = scores.group_by("score", "trainings").agg(pl.mean("auroc")).sort("auroc", descending=True, nulls_last=True)
    rows = [
        [name, f"{trainings:g}", *(means[name].get(cell, "—") for cell in cells)]
        for name, trainings, _ in best.iter_rows()
    ]
    return ["score", "trainings", *(cell_name(*cell) for cell in cells)], rows


def main_cells(runs: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """The paper's table, long: per place and policy the ``error`` with ``low``, ``high``, ``n``, and ``speedup``."""
    ok = finished(runs).filter(pl.col("role") != "control")
    errors = over_seeds(ok.with_columns(difference=pl.col("test_error")), METHOD, []).rename({"difference": "error"})
    speedups = paper_speedup(runs, curves).select(*METHOD, "speedup")
    asked = runs.filter(pl.col("role") != "control").select(METHOD).unique(maintain_order=True)
    joined = asked.join(errors, on=METHOD, how="left").join(speedups, on=METHOD, how="left")
    return joined.with_columns(pl.col("n").fill_null(0))


def main_table(
    runs: pl.DataFrame, curves: pl.DataFrame, dataset: str, model: str, size: int | None = None, paper: bool = False
) -> tuple[list[str], list[list[str]]]:
    """One setting's table in the paper's layout, as text: columns and rows, ``speed-up (error % ± half-width)``.

    ``—`` for a speed-up: the standard's final error was never reached; for a cell: no finished run.

    Args:
        size: needed where one data set and model was run at several sizes.
        paper: a row of the paper's own numbers, from another setting, under each policy that it has.

    Raises:
        TamisError: there are no runs of this setting, or of several sizes.
    """
    chosen = main_cells(runs, curves).filter((pl.col("dataset") == dataset) & (pl.col("model") == model))
    chosen = chosen if size is None else chosen.filter(pl.col("size") == size)
    if chosen["size"].n_unique() != 1:
        sizes = sorted(chosen["size"].unique())
        raise TamisError(f"the study has {dataset}, {model} at the sizes {sizes}; a table is of exactly one.")
    cells = chosen.select("corruption", "rate").unique(maintain_order=True).rows()
    have = {(row["policy"], row["corruption"], row["rate"]): row for row in chosen.iter_rows(named=True)}
    table = []
    for policy in chosen["policy"].unique(maintain_order=True):
        table.append([policy, *(main_entry(have.get((policy, *cell))) for cell in cells)])
        theirs = [published(policy, *cell) for cell in cells]
        if paper and any(theirs):
            name = next(entry.name for entry in theirs if entry)
            table.append([f"{name}, published", *(entry_text(t.speedup, t.error) if t else "" for t in theirs)])
    return ["policy", *(cell_name(*cell) for cell in cells)], table


def main_entry(row: Row | None) -> str:
    """One cell of the main table from a row of :func:`main_cells`."""
    if not row or not row["n"]:
        return "—"
    return entry_text(row["speedup"], row["error"], None if row["high"] is None else row["high"] - row["error"])
