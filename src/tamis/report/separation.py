"""The part of a study's page that compares separators: sentences, tables, and three figures."""

from __future__ import annotations

from typing import Any

import polars as pl
from markupsafe import Markup

from tamis.report.figures import NAN, Figure, Look, cells, legend, of, whisker_up
from tamis.report.svg import Panel, linear_axis
from tamis.report.tables import Table
from tamis.report.words import number, percent, setting_name, styles, tick
from tamis.study.paper import cell_name
from tamis.study.separating import TARGETS
from tamis.study.separations import (
    BOTH,
    SLACK,
    false_discoveries,
    on_the_same_labels,
    over,
    rate_errors,
    reliability_over_seeds,
    said,
    sentences,
)
from tamis.study.separators import SEPARATORS
from tamis.study.statistics import PLACE, SETTING

Row = dict[str, Any]
PERCENTS = tuple(f"{100 * target:02.0f}" for target in TARGETS)


def separation(runs: pl.DataFrame, found: pl.DataFrame, bins: pl.DataFrame) -> list[dict[str, Any]]:
    """For each setting: its ``name``, ``sentences``, ``tables`` and ``figures``.

    Args:
        runs: all runs of the study, failed ones too. found, bins: ``separations.parquet``, ``reliability.parquet``.
    """
    asked = runs.filter(pl.col("role") == "separator")
    drawn = found.filter(pl.col("rate_estimated").is_not_null())["policy"].unique().to_list()
    look = styles(asked.sort(pl.col("policy").is_in(drawn), descending=True, maintain_order=True))  # theirs differ most
    settings = []
    for keys in asked.select(SETTING).unique(maintain_order=True).rows():
        here = dict(zip(SETTING, keys, strict=True))
        mine, own = of(asked, **here), of(found, **here)
        settings.append(
            {
                "name": setting_name(*keys),
                "sentences": sentences(own),
                "tables": [detection(mine, own), rates(own), lists(own), clean(own)],
                "figures": [reliability(own, bins, look), discovered(own, look), estimated(own, look)],
            }
        )
    return settings


def detection(asked: pl.DataFrame, found: pl.DataFrame) -> Table:
    """How well each separator ranks the same labels, with its cost; who failed everywhere has its reason instead."""
    found = on_the_same_labels(found)
    columns = [cell for cell in cells(asked) if cell[1] > 0]
    both = [{(r["policy"], r["corruption"], r["rate"]): r for r in over(found, c).iter_rows(named=True)} for c in BOTH]
    cost: dict[str, float] = dict(found.group_by("policy").agg(pl.col("runs").mean()).iter_rows())
    rows = []
    for name in asked["policy"].unique(maintain_order=True):
        reasons = of(asked, policy=name, status="failed")["error"]
        note = "" if name in cost or reasons.is_empty() else reasons[0].strip().splitlines()[-1]
        entries = [" | ".join(said(table.get((name, *cell), {})) for table in both) for cell in columns]
        seeds = found.filter(pl.col("policy") == name)["seed"].n_unique()
        rows.append([name, number(cost.get(name)), *entries, str(seeds), _reference(name), note])
    heads = ["separator", "cost, runs", *(cell_name(*cell) for cell in columns), "seeds", "reference", "note"]
    caption = "AUROC of mislabeled examples: against all clean ones | against the hardest tenth of them"
    return Table(caption, heads, rows)


def rates(found: pl.DataFrame) -> Table:
    """The share of wrong labels, estimated and realised."""
    rows = [
        [r["policy"], _cell(r), percent(r["realised"], 2), said(r), number(r["error"], 3),
         f"{r['covered']:.0f} of {r['intervals']}" if r["intervals"] else "—", str(r["n"])]
        for r in rate_errors(found).iter_rows(named=True)
        if r["n"]
    ]  # fmt: skip
    heads = ["separator", "cell", "realised", "estimated", "mean absolute error", "its interval covers", "n"]
    return Table("The share of wrong labels, estimated against realised", heads, rows)


def lists(found: pl.DataFrame) -> Table:
    """Who is flagged at each target, how good the probabilities are, and the suggested labels."""
    noisy = found.filter(pl.col("rate") > 0)
    names = ["calibration_error", "suggested_right", *(f"recall_{target}" for target in PERCENTS)]
    parts = {name: _by_place(over(noisy, name)) for name in names}
    shares = {target: _by_place(false_discoveries(noisy, target)) for target in PERCENTS}
    rows = []
    for key, first in shares[PERCENTS[0]].items():
        if all(parts[name][key]["n"] == 0 for name in names):
            continue
        row = [first["policy"], _cell(first), said(parts["calibration_error"][key])]
        for target in PERCENTS:
            share = shares[target][key]
            kept = f"; {share['kept']} of {share['n']}" if share["n"] else ""
            row.append(f"{said(share)}{kept} | {said(parts[f'recall_{target}'][key], 2)}")
        rows.append([*row, said(parts["suggested_right"][key])])
    heads = ["separator", "cell", "calibration error", *(f"asked for {tick(target)}" for target in TARGETS),
             "suggested label right"]  # fmt: skip
    caption = (
        "Clean examples among the flagged, and the seeds on which they are at most the target + "
        f"{100 * SLACK:.0f} points | recall. A separator with one list of its own has it at every target"
    )
    return Table(caption, heads, rows)


def clean(found: pl.DataFrame) -> Table:
    """What is flagged where nothing is wrong."""
    own = found.filter(pl.col("rate") == 0)
    parts = [_by_place(over(own, f"flagged_{target}")) for target in PERCENTS]
    rows = [[row["policy"], *(said(part[key], 4) for part in parts), str(row["n"])]
            for key, row in parts[0].items() if row["n"]]  # fmt: skip
    heads = ["separator", *(f"asked for {tick(target)}" for target in TARGETS), "n"]
    return Table("Share of all examples flagged on clean labels", heads, rows)


def reliability(found: pl.DataFrame, bins: pl.DataFrame, look: Look) -> Figure:
    """Predicted against realised share of wrong labels, a panel a cell."""
    frame = reliability_over_seeds(found, bins)
    names = list(frame["policy"].unique(maintain_order=True))
    panels = [_reliability(of(frame, corruption=c, rate=r), names, cell_name(c, r), look) for c, r in cells(frame)]
    caption = (
        "Fifteen bins of equally many examples, by their probability of a wrong label: its mean against the share that "
        "is wrong, means over seeds. On the thin line they are equal; below it the separator is too sure."
    )
    rows = [[r["policy"], _cell(r), str(r["bin"] + 1), number(r["predicted"], 4), number(r["realised"], 4)]
            for r in frame.iter_rows(named=True)]  # fmt: skip
    table = Table("Reliability", ["separator", "cell", "bin", "predicted", "realised"], rows)
    return Figure("reliability", "Reliability", caption, [("", panels)] if panels else [], [table], legend(names, look))


def _reliability(frame: pl.DataFrame, names: list[str], title: str, look: Look) -> Markup:
    ends = linear_axis([0.0, 1.0], tick)
    panel = Panel(title, f"Predicted and realised share of wrong labels on {title}", ends, ends,
                  bottom="predicted", side="realised share of wrong labels")  # fmt: skip
    panel.line([(0.0, 0.0), (1.0, 1.0)], "base")
    for name in names:
        points = of(frame, policy=name).select("predicted", "realised").rows()
        panel.line(points, look[name].css)
        for predicted, realised in points:
            panel.mark(predicted, realised, look[name].css, look[name].shape, "", r=3)
    return panel.svg()


def discovered(found: pl.DataFrame, look: Look) -> Figure:
    """Realised share of false discoveries at every target: each seed of a separator that can be asked for one."""
    noisy = found.filter((pl.col("rate") > 0) & pl.col("calibration_error").is_not_null())
    names = list(noisy["policy"].unique(maintain_order=True))
    panels = [_discovered(of(noisy, corruption=c, rate=r), names, cell_name(c, r), look) for c, r in cells(noisy)]
    caption = (
        "A mark a seed: the share of clean examples among the flagged, at the shares that were asked for. On the thin "
        "line they are equal; above it more than asked for are clean. Separators stand apart sideways."
    )
    table = _by_seed(noisy, "clean among the flagged", {f"fdr_{p}": f"asked for {p} %" for p in PERCENTS})
    title = "False discoveries, asked for and found"
    return Figure("discoveries", title, caption, [("", panels)] if panels else [], [table], legend(names, look))


def _discovered(frame: pl.DataFrame, names: list[str], title: str, look: Look) -> Markup:
    shares = [value for target in PERCENTS for value in frame[f"fdr_{target}"] if value is not None]
    top = min(1.0, max([0.3, *shares]))
    panel = Panel(title, f"Share of false discoveries on {title}", linear_axis([0.0, 0.25], tick),
                  linear_axis([0.0, top], tick), bottom="asked for", side="clean among the flagged")  # fmt: skip
    panel.line([(0.0, 0.0), (0.25, 0.25)], "base")
    for k, name in enumerate(names):
        dx = 8 * (k - (len(names) - 1) / 2)
        for row in of(frame, policy=name).iter_rows(named=True):
            for target, percents in zip(TARGETS, PERCENTS, strict=True):
                share = row[f"fdr_{percents}"]
                panel.mark(target, NAN if share is None else share, look[name].css, look[name].shape, "", dx, r=2.6)
    return panel.svg()


def estimated(found: pl.DataFrame, look: Look) -> Figure:
    """The estimated share of wrong labels against the realised one, a panel a separator that estimates it."""
    frame = rate_errors(found).filter(pl.col("n") > 0)
    names = list(frame["policy"].unique(maintain_order=True))
    ends = linear_axis([*frame["realised"], *frame["difference"]], tick, zero=True)
    panels = []
    for name in names:
        panel = Panel(name, f"Share of wrong labels by {name}", ends, ends, bottom="realised",
                      side="estimated share of wrong labels")  # fmt: skip
        panel.line([(0.0, 0.0), (ends.high, ends.high)], "base")
        for row in of(frame, policy=name).iter_rows(named=True):
            tip = f"{name}, {_cell(row)}: {said(row)} estimated, {number(row['realised'], 3)} realised"
            whisker_up(panel, row["realised"], row, look[name].css)
            panel.mark(row["realised"], row["difference"], look[name].css, look[name].shape, tip)
        panels.append(panel.svg())
    caption = "A mark a cell: mean over seeds and 95 % interval. On the thin line they are equal."
    numbers = {"realised_rate": "realised", "rate_estimated": "estimated", "rate_low": "low", "rate_high": "high"}
    table = _by_seed(found.filter(pl.col("rate_estimated").is_not_null()), "share of wrong labels", numbers)
    groups = [("", panels)] if panels else []
    title = "The rate, estimated and realised"
    return Figure("rate-estimated", title, caption, groups, [table], legend(names, look))


def _by_seed(frame: pl.DataFrame, caption: str, columns: dict[str, str]) -> Table:
    rows = [[r["policy"], _cell(r), str(r["seed"]), *(number(r[column], 4) for column in columns)]
            for r in frame.iter_rows(named=True)]  # fmt: skip
    return Table(f"{caption.capitalize()}, seed by seed", ["separator", "cell", "seed", *columns.values()], rows)


def _by_place(frame: pl.DataFrame) -> dict[tuple[Any, ...], Row]:
    return {tuple(row[key] for key in (*PLACE, "policy")): row for row in frame.iter_rows(named=True)}


def _cell(row: Row) -> str:
    return cell_name(row["corruption"], row["rate"])


def _reference(name: str) -> str:
    return SEPARATORS[name].reference if name in SEPARATORS else ""
