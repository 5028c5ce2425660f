"""The figures that compare ends of runs: panels, a caption, and the table that says the same in numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import polars as pl
from markupsafe import Markup

from tamis.report import tables
from tamis.report.svg import LINE, Panel, linear_axis, shorten
from tamis.report.tables import Table
from tamis.report.words import Style, interval, percent, points, tick
from tamis.study.paper import cell_name, corruption_words
from tamis.study.statistics import finished

NAN = math.nan
Row = dict[str, Any]
Look = dict[str, Style]


@dataclass(frozen=True)
class Figure:
    """A figure of the page. ``groups`` are panels under a heading of their own, ``""`` for none."""

    name: str
    title: str
    caption: str
    groups: list[tuple[str, list[Markup]]]
    tables: list[Table]
    legend: list[tuple[str, Style]]


def error_by_rate(frame: pl.DataFrame, look: Look) -> Figure:
    """Test error against the rate, a panel a corruption; a clean cell is in every panel. ``frame``: ``main_cells``."""
    noisy = frame.filter(pl.col("rate") > 0)
    kinds = (noisy if noisy.height else frame)["corruption"].unique(maintain_order=True)
    caption = (
        "Mean over seeds and 95 % interval, at equal budgets. A letter at the right names the policy. "
        "Markers stand slightly apart sideways, so that intervals can be told from each other."
    )
    panels = [
        _rates(frame.filter((pl.col("corruption") == kind) | (pl.col("rate") == 0)), kind, look) for kind in kinds
    ]
    key = legend(frame["policy"], look)
    return Figure("rate", "Error against rate", caption, [("", panels)], [tables.errors(frame)], key)


def _rates(own: pl.DataFrame, kind: str, look: Look) -> Markup:
    panel = Panel(
        corruption_words(kind),
        f"Test error against the rate of {kind}",
        linear_axis(own["rate"], tick, zero=True),
        linear_axis([*known(own, "high"), *known(own, "error")], tick, zero=True),
        bottom="corrupted share of the training set",
        side="test error",
    )
    ends = []
    policies = list(own["policy"].unique(maintain_order=True))
    for k, policy in enumerate(policies):
        style, dx = look[policy], (k - (len(policies) - 1) / 2) * 3
        mine = of(own, policy=policy).filter(pl.col("error").is_not_null()).sort("rate").to_dicts()
        panel.line([(row["rate"], row["error"]) for row in mine], style.css)
        for row in mine:
            tip = f"{policy}, {cell_name(row['corruption'], row['rate'])}: {percent(row['error'], 2)}"
            whisker_up(panel, row["rate"], row, style.css, dx)
            panel.mark(row["rate"], row["error"], style.css, style.shape, tip, dx)
        ends += [(mine[-1]["error"], style.letter, style.css)] if mine else []
    panel.ends(ends)
    return panel.svg()


BASES = (("equal budgets", "", "circle"), ("equal cost, uniform", " hollow", "circle"),
         ("equal cost, random subsets", " hollow", "square"))  # fmt: skip


def differences(epochs: pl.DataFrame, cost: pl.DataFrame, look: Look) -> Figure:
    """Paired differences, one panel a cell: to the standard at equal epochs, to both controls at equal cost."""
    caption = (
        "Method minus control, in percentage points of test error, with 95 % intervals over paired seeds. "
        "Filled circle: against the standard at equal budgets. Hollow circle: against uniform training at the "
        "method's own cost. Hollow square: against random subsets at that cost. Faint: no control was run near that "
        "cost. Each panel has its own scale."
    )
    frames = [epochs, of(cost, control="uniform"), of(cost, control="random_subset")]
    panels = [_forest([of(f, corruption=c, rate=r) for f in frames], cell_name(c, r), look) for c, r in cells(epochs)]
    numbers = [tables.paired(epochs), tables.equal_cost(cost)]
    key = legend(epochs["policy"], look)
    return Figure("differences", "Paired differences", caption, [("", panels)], numbers, key)


def _forest(frames: list[pl.DataFrame], name: str, look: Look) -> Markup:
    spread = [v for frame in frames for column in ("low", "high", "difference") for v in known(frame, column)]
    policies = list(frames[0]["policy"])
    panel = Panel(
        name,
        f"Differences of test error on {name}",
        linear_axis(spread, point_tick, zero=True),
        bottom="◂ lower error · difference, points · higher error ▸",
        left=16,
        right=16,
        height=LINE + 12 + len(policies) * 58 + 2 * LINE + 14,
    )
    panel.zero()
    for k, policy in enumerate(policies):
        style, y = look[policy], panel.top + k * 58 + 10
        panel.text(panel.left, y, shorten(f"{style.letter}  {policy}"), f"name {style.css}")
        for j, (frame, (basis, fill, shape)) in enumerate(zip(frames, BASES, strict=True)):
            row = of(frame, policy=policy).row(0, named=True)
            css = style.css + fill + (" faint" if row.get("extrapolated") else "")
            middle, low, high = (NAN if row[key] is None else row[key] for key in ("difference", "low", "high"))
            tip = f"{policy}, {basis}: {points(middle)} points, {interval(row['low'], row['high'])}"
            panel.whisker((low, y + 12 + 12 * j), (high, y + 12 + 12 * j), css)
            panel.mark(middle, y + 12 + 12 * j, css, shape, tip)
    return panel.svg()


def worst_class(runs: pl.DataFrame, worst: pl.DataFrame, look: Look) -> Figure:
    """The worst class beside the mean, one panel a cell. ``worst``: ``paired_differences`` of the worst class."""
    ok = finished(runs).filter(pl.col("role") != "control")
    caption = (
        "Filled: error over all classes. Hollow: error of the class with the highest error. "
        "Means over seeds, at equal budgets."
    )
    panels = [_worst(of(ok, corruption=c, rate=r), cell_name(c, r), look) for c, r in cells(ok)]
    table = tables.paired(worst, "Worst-class error: method minus standard at equal budgets")
    title = "The worst class beside the mean"
    return Figure("worst", title, caption, [("", panels)], [table], legend(ok["policy"], look))


def _worst(here: pl.DataFrame, name: str, look: Look) -> Markup:
    means = here.group_by("policy", maintain_order=True).agg(pl.col("test_error", "worst_class_error").mean())
    panel = Panel(
        name,
        f"Worst class and mean error on {name}",
        linear_axis([*known(means, "test_error"), *known(means, "worst_class_error")], tick, zero=True),
        bottom="test error: mean ● and worst class ○",
        left=16,
        right=20,
        height=LINE + 12 + means.height * 32 + 2 * LINE + 14,
    )
    for k, (policy, *ends) in enumerate(means.iter_rows()):
        style, y = look[policy], panel.top + k * 32 + 10
        mean, most = (NAN if value is None else value for value in ends)
        panel.text(panel.left, y, shorten(f"{style.letter}  {policy}"), f"name {style.css}")
        panel.whisker((mean, y + 11), (most, y + 11), style.css)
        panel.mark(mean, y + 11, style.css, "circle", f"{policy}, mean: {percent(mean, 2)}")
        panel.mark(most, y + 11, style.css + " hollow", "circle", f"{policy}, worst class: {percent(most, 2)}")
    return panel.svg()


def whisker_up(panel: Panel, x: float, row: Row, css: str, dx: float = 0) -> None:
    """The interval ``low`` to ``high`` of a row, upright; nothing where there is none."""
    if row["low"] is not None and row["high"] is not None:
        panel.whisker((x, row["low"]), (x, row["high"]), css, dx)


def of(frame: pl.DataFrame, **values: object) -> pl.DataFrame:
    """The rows with these values."""
    return frame.filter(pl.all_horizontal(pl.col(key) == value for key, value in values.items()))


def cells(frame: pl.DataFrame) -> list[tuple[str, float]]:
    """The cells of a frame, in its order."""
    return frame.select("corruption", "rate").unique(maintain_order=True).rows()


def known(frame: pl.DataFrame, column: str) -> list[float]:
    """The finite values of a column."""
    return [value for value in frame[column] if value is not None and math.isfinite(value)]


def legend(policies: Iterable[str], look: Look) -> list[tuple[str, Style]]:
    """Each policy once, with its style."""
    return [(policy, look[policy]) for policy in dict.fromkeys(policies)]


def point_tick(value: float) -> str:
    """A difference at an axis, in percentage points."""
    return f"{100 * value:g}".replace("-", "−")
