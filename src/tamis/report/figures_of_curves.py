"""The figures of what happens on the way: noise share over training, and error against cost."""

from __future__ import annotations

import math
from typing import Any

import polars as pl
from markupsafe import Markup

from tamis.report import tables
from tamis.report.figures import NAN, Figure, Look, cells, known, legend, of, whisker_up
from tamis.report.svg import Panel, linear_axis, log_axis
from tamis.report.words import Style, percent, tick
from tamis.study.evaluate import selecting_points
from tamis.study.paper import cell_name
from tamis.study.statistics import finished, t_interval

Row = dict[str, Any]
LINES = (("noise_share_open_loop", "open loop", "open"), ("noise_share_predicted", "closed loop", "closed"))


def noise_over_training(runs: pl.DataFrame, curves: pl.DataFrame, shares: pl.DataFrame, look: Look) -> Figure:
    """The share of noise in what was trained on, one panel a noisy cell and method: measured beside predicted."""
    methods = finished(runs).filter((pl.col("role") == "method") & (pl.col("rate") > 0))
    means = _mean_shares(methods, curves)
    groups = []
    for policy in methods["policy"].unique(maintain_order=True):
        panels = []
        for corruption, rate in cells(methods):
            mine = of(means, policy=policy, corruption=corruption, rate=rate)
            if mine.height:
                whole = of(shares, policy=policy, corruption=corruption, rate=rate).row(0, named=True)
                panels.append(_shares(mine, whole, look[policy]))
        groups += [(policy, panels)] if panels else []
    caption = (
        "Measured: the share of noisy examples among what was trained on since the point before, mean over seeds. "
        "Closed loop: predicted from the method's own priorities. Open loop: from the standard run's losses. Worst "
        "case: every noisy example ranked above every clean one. Hollow markers lie in the learning rate's warm-up, or "
        "where the policy did not select."
    )
    return Figure("noise", "Noise share over training", caption, groups, [tables.noise(shares)], [])


def _mean_shares(methods: pl.DataFrame, curves: pl.DataFrame) -> pl.DataFrame:
    """Means over seeds, per method, noisy cell and point; ``held``: the prediction is held to account there."""
    held = selecting_points(curves).select("run", "point", held=pl.lit(True))
    mine = methods.select("run", "policy", "corruption", "rate")
    points = curves.join(mine, on="run").join(held, on=["run", "point"], how="left")
    columns = [pl.col(name).mean() for name in ("passes", "noise_share", *(column for column, _, _ in LINES))]
    grouped = points.group_by("policy", "corruption", "rate", "point", maintain_order=True)
    means = grouped.agg(*columns, pl.col("held").fill_null(False).any())
    return means.filter(pl.col("noise_share").is_finite()).sort("point")


def _shares(mine: pl.DataFrame, whole: Row, style: Style) -> Markup:
    name = cell_name(whole["corruption"], whole["rate"])
    levels = [(whole["realised_rate"], "rate", "base"), (whole["worst_case"], "worst case", "worst")]
    levels = [level for level in levels if level[0] is not None]
    heights = [value for column in ("noise_share", *(line[0] for line in LINES)) for value in known(mine, column)]
    panel = Panel(
        name,
        f"Noise share over training, {whole['policy']} on {name}",
        linear_axis(mine["passes"], "{:g}".format, zero=True),
        linear_axis([*heights, *(value for value, _, _ in levels)], tick, zero=True),
        bottom="passes over the training set",
        side="noise in what was trained on",
        right=78,
    )
    passes, ends = mine["passes"].to_list(), [(mine["noise_share"][-1], "measured", style.css)]
    for value, text, css in levels:
        panel.line([(0.0, value), (passes[-1], value)], css)
        ends.append((value, text, css))
    for column, text, css in LINES:
        values = mine[column].fill_null(NAN).to_list()
        panel.line(list(zip(passes, values, strict=True)), css)
        ends.append((values[-1], text, css))
    panel.line(list(zip(passes, mine["noise_share"], strict=True)), style.css)
    for row in mine.iter_rows(named=True):
        predicted = percent(row["noise_share_predicted"])
        tip = f"after {row['passes']:g} passes: measured {percent(row['noise_share'])}, closed loop {predicted}"
        css = style.css if row["held"] else f"{style.css} hollow"
        panel.mark(row["passes"], row["noise_share"], css, style.shape, tip, r=2.8)
    panel.ends(ends)
    return panel.svg()


def error_by_cost(runs: pl.DataFrame, speedups: pl.DataFrame, look: Look) -> Figure:
    """Error against cost, one panel a cell: both control curves, and each method at its own cost."""
    ok = finished(runs)
    rows = [
        {**dict(zip(_KEYS, keys, strict=True)), **_end(group)}
        for keys, group in ok.partition_by(_KEYS, as_dict=True, maintain_order=True).items()
    ]
    names = cells(ok)
    panels = [
        _costs([r for r in rows if (r["corruption"], r["rate"]) == cell], cell_name(*cell), look) for cell in names
    ]
    caption = (
        "Lines: uniform training and random subsets, each fully decayed within its budget. Markers: each method at the "
        "cost that its runs measured. A marker below the uniform line is a lower error at the same cost. Means over "
        "seeds with 95 % intervals. The axes do not start at 0."
    )
    controls = ["uniform", *(["random_subset"] if "random_subset" in ok["control"] else [])]
    key = legend([*controls, *speedups["policy"]], look)
    return Figure("cost", "Error against cost", caption, [("", panels)], [tables.cost_speedups(speedups)], key)


_KEYS = ["corruption", "rate", "role", "control", "policy", "budget"]


def _end(group: pl.DataFrame) -> Row:
    mean, low, high, n = t_interval(group["test_error"].to_numpy())
    ends = {"low": low, "high": high} if n > 1 else {"low": None, "high": None}
    return {"cost": group["cost"].mean(), "error": mean, **ends}


def _costs(rows: list[Row], name: str, look: Look) -> Markup:
    heights = [row[key] for row in rows for key in ("error", "low", "high") if row[key] is not None]
    panel = Panel(
        name,
        f"Test error against cost on {name}",
        log_axis([row["cost"] for row in rows], "{:g}".format),
        linear_axis(filter(math.isfinite, heights), tick),
        bottom="cost, epochs of plain training (log)",
        side="test error",
    )

    def draw(row: Row, policy: str) -> None:
        style, tip = look[policy], f"{policy} at cost {row['cost']:.2f}: {percent(row['error'], 2)}"
        whisker_up(panel, row["cost"], row, style.css)
        panel.mark(row["cost"], row["error"], style.css, style.shape, tip)

    rows = sorted(rows, key=lambda row: (row["cost"], row["policy"]))
    for control in ("random_subset", "uniform"):
        curve = [row for row in rows if row["role"] == "standard" or row["control"] == control]
        if any(row["control"] == control for row in curve) or control == "uniform":
            panel.line([(row["cost"], row["error"]) for row in curve], look[control].css)
            for row in curve:
                draw(row, "uniform" if row["role"] == "standard" else control)
    methods = [row for row in rows if row["role"] == "method"]
    for row in methods:
        draw(row, row["policy"])
    for k, row in enumerate(methods):
        style, below = look[row["policy"]], k % 2 == 1
        place = panel.py(row["error"]) + (14 if below else -6)
        panel.text(panel.px(row["cost"]) + 7, place, style.letter, f"end {style.css}")
    return panel.svg()
