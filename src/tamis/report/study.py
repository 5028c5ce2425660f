"""One self-contained page of a study: records in, ``report.html`` out. It opens offline and runs no script."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jinja2
import polars as pl
from markupsafe import Markup

from tamis.report import figures, figures_of_curves, tables
from tamis.report.separation import separation
from tamis.report.svg import legend_mark
from tamis.report.verdicts import CHEAPER, JUDGED, headline, verdicts
from tamis.report.words import breakable, named, setting_name, styles, unbroken
from tamis.study import evaluate, paper
from tamis.study.gap import gap_closed
from tamis.study.plan_files import plan_from_dict
from tamis.study.record import write_whole
from tamis.study.statistics import SETTING, finished
from tamis.study.target import time_to_target
from tamis.types import TamisError

HERE = Path(__file__).parent
Facts = list[tuple[str, str]]
Keys = tuple[Any, ...]
BUDGETS = {
    "passes": "Equal budgets are equal candidate epochs: passes over the data, whether trained on or only looked at.",
    "cost": "Equal budgets are equal costs: counted work at measured prices, selection included.",
}


def study_report(out: Path) -> Path:
    """Write ``report.html`` into a study's folder from its records; returns the page's path.

    The page is written whole or not at all. ``environment.json`` may be missing; the others may not.

    Raises:
        TamisError: ``out`` holds no gathered study, or one of its files cannot be read.

    Example:
        ``study_report(Path("results/smoke"))``
    """
    needed = ("runs.parquet", "curves.parquet", "plan.json")
    absent = [name for name in needed if not (out / name).exists()]
    if absent:
        raise TamisError(f"{out} holds no gathered study: {', '.join(absent)} is missing; run the study first.")
    try:
        runs, curves = (pl.read_parquet(out / name) for name in needed[:2])
        plan = json.loads((out / "plan.json").read_text())
        marker = out / "environment.json"
        environment = json.loads(marker.read_text()) if marker.exists() else {}
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise TamisError(
            f"the records in {out} cannot be read ({error}); run the study again to gather them."
        ) from error
    page = out / "report.html"
    kept = {name: out / f"{name}.parquet" for name in ("scores", "separations", "reliability", "notes")}
    more = {name: pl.read_parquet(path) if path.exists() else None for name, path in kept.items()}
    more["bins"] = more.pop("reliability")
    write_whole(page, render(runs, curves, plan, environment, **more).encode())
    return page


def render(
    runs: pl.DataFrame,
    curves: pl.DataFrame,
    plan: Mapping[str, Any],
    environment: Mapping[str, Any],
    scores: pl.DataFrame | None = None,
    separations: pl.DataFrame | None = None,
    bins: pl.DataFrame | None = None,
    notes: pl.DataFrame | None = None,
) -> str:
    """The page as text. Everything that came from a record or a plan is escaped.

    Args:
        runs, curves: a study's gathered tables.
        plan: the content of ``plan.json``. environment: of ``environment.json``; both may be empty.
        scores: of ``scores.parquet``, where the plan measures difficulty scores. separations, bins: of
            ``separations.parquet`` and ``reliability.parquet``, where it asks separators. notes: of ``notes.parquet``,
            where a policy has a guard.
    """
    loader = jinja2.FileSystemLoader(HERE)
    templates = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    templates.filters |= {"unbroken": unbroken, "breakable": breakable}
    missing = _missing(runs, plan)
    names = named(runs["policy"].unique())
    runs = runs.with_columns(pl.col("policy").replace(names))
    ok = finished(runs)
    policies = runs.filter(pl.col("role") != "separator")
    settings = [_setting(*parts, plan, environment, notes) for parts in _by_setting(policies, curves)]
    return templates.get_template("study.html.j2").render(
        title=plan.get("title") or plan.get("name") or "A study",
        subtitle=f"Plan {plan['name']}. {_tally(runs, missing)}" if plan.get("name") else _tally(runs, missing),
        css=Markup((HERE / "study.css").read_text("utf-8")),
        headline=headline(policies),
        notes=_notes(None, plan, environment),
        budgets=BUDGETS[plan.get("unit", "passes")],
        settings=settings,
        scores=None if scores is None else tables.scores(scores),
        separation=[] if separations is None or bins is None else separation(runs, separations, bins),
        judged=JUDGED,
        cheaper=CHEAPER,
        key=legend_mark,
        paper_source=paper.SOURCE,
        paper_setting=paper.SETTING,
        tally=_tally(runs, missing),
        shortened=any(name != label for label, name in names.items()),
        failures=tables.failures(runs),
        missing=missing,
        costs=[(s["name"], tables.costs(_of(ok, s["keys"]))) for s in settings],
        command=environment.get("command") or f"tamis study {plan.get('name', '')}".strip(),
        facts=list(_facts(plan, environment)),
    )


def _setting(
    keys: Keys,
    runs: pl.DataFrame,
    curves: pl.DataFrame,
    plan: Mapping[str, Any],
    environment: Mapping[str, Any],
    notes: pl.DataFrame | None,
) -> dict[str, Any]:
    look = styles(runs)
    cells, cost = evaluate.main_cells(runs, curves), evaluate.at_equal_cost(runs)
    epochs, shares = evaluate.paired_differences(runs), evaluate.noise_shares(runs, curves)
    main = tables.main(cells, cost)
    drawn = [
        figures.error_by_rate(cells, look),
        figures.differences(epochs, cost, look),
        figures_of_curves.noise_over_training(runs, curves, shares, look),
        figures_of_curves.error_by_cost(runs, evaluate.cost_speedup(runs, curves), look),
        figures.worst_class(runs, evaluate.paired_differences(runs, column="worst_class_error"), look),
    ]
    crossings = evaluate.crossover(runs).filter(pl.col("rates").max().over("corruption") >= 3)
    return {
        "keys": keys,
        "name": setting_name(*keys),
        "notes": _notes(keys[0], plan, environment),
        "main": main,
        "has_paper": any(entry.paper for _, entries in main[1] for entry in entries),
        "verdicts": verdicts(runs, curves),
        "gaps": tables.gaps(gap_closed(runs)) if "oracle" in runs["control"] else None,
        "targets": tables.targets(climbed) if (climbed := time_to_target(runs))["policy"].n_unique() > 1 else None,
        "decisions": None if notes is None else tables.decisions(notes, runs),
        "figures": [figure for figure in drawn if any(panels for _, panels in figure.groups)],
        "crossings": tables.crossings(crossings) if crossings.height else None,
    }


def _by_setting(runs: pl.DataFrame, curves: pl.DataFrame) -> Iterator[tuple[Keys, pl.DataFrame, pl.DataFrame]]:
    for keys in runs.select(SETTING).unique(maintain_order=True).rows():
        mine = _of(runs, keys)
        yield keys, mine, curves.join(mine.select("run").unique(), on="run", how="semi")


def _of(frame: pl.DataFrame, keys: Keys) -> pl.DataFrame:
    return frame.filter(pl.all_horizontal(pl.col(k) == v for k, v in zip(SETTING, keys, strict=True)))


def _tally(runs: pl.DataFrame, missing: tables.Table) -> str:
    failed = runs.filter(pl.col("status") != "ok").height
    said = f"{runs.height - failed} runs finished, {failed} failed"
    return f"{said}, {len(missing.rows)} are missing." if missing.rows else f"{said}, none is missing."


def _missing(runs: pl.DataFrame, plan: Mapping[str, Any]) -> tables.Table:
    """The runs of the plan that left no record at all; empty where the plan is not one that can be walked."""
    keys = ["dataset", "model", "corruption", "rate", "policy", "role", "control", "seed", "budget"]
    have = {row for size, *rest in runs.select("size", *keys).iter_rows() for row in ((size, *rest), (0, *rest))}
    rows = []
    try:
        jobs = list(plan_from_dict(dict(plan)).jobs()) if plan.get("settings") else []
    except TamisError:
        jobs = []
    for job in jobs:
        place = (job.setting.size, job.setting.dataset, job.setting.model, job.corruption, job.rate)
        if (*place, job.policy, job.role, job.control, job.seed, job.budget) not in have:
            cell = paper.cell_name(job.corruption, job.rate)
            rows.append(
                [
                    job.policy,
                    f"{job.setting.dataset}, {job.setting.model}",
                    cell,
                    job.role,
                    f"{job.budget:g}",
                    str(job.seed),
                ]
            )
    return tables.Table(
        f"{len(rows)} runs of the plan have no record", ["policy", "setting", "cell", "role", "budget", "seed"], rows
    )


def _notes(dataset: str | None, plan: Mapping[str, Any], environment: Mapping[str, Any]) -> list[str]:
    """What must stand beside a data set's numbers: a note for all of them, or one by the data set's name."""
    found = []
    for source in (plan, environment):
        note = source.get("note")
        if isinstance(note, Mapping):
            note = note.get(dataset) if dataset is not None else None
        if note and str(note) not in found:
            found.append(str(note))
    return found


def _facts(plan: Mapping[str, Any], environment: Mapping[str, Any]) -> Iterator[tuple[str, Facts]]:
    """The plan's settings, the machine and the prices, as names and values."""
    for setting in plan.get("settings") or ():
        if isinstance(setting, Mapping):
            yield f"Setting: {setting.get('dataset', '')}, {setting.get('model', '')}", _flat(setting)
    rest = {key: value for key, value in plan.items() if key not in ("settings", "title", "note")}
    yield "Plan", _flat(rest)
    lists = {key: value for key, value in environment.items() if isinstance(value, list)}
    yield "Environment", _flat({key: value for key, value in environment.items() if key not in lists and key != "note"})
    for name, rows in lists.items():
        for row in rows:
            yield (
                f"{name.replace('_', ' ').capitalize()}: seconds per example or call" if name == "prices" else name,
                _flat(row),
            )


def _flat(values: Any, prefix: str = "") -> Facts:
    if not isinstance(values, Mapping):
        return [(prefix or "value", _text(values))]
    facts: Facts = []
    for key, value in values.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        facts += _flat(value, name) if isinstance(value, Mapping) else [(name, _text(value))]
    return facts


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        return "; ".join(" ".join(map(_text, v)) if isinstance(v, (list, tuple)) else _text(v) for v in value)
    return str(value)
