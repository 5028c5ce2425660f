"""A grid of runs: what is missing is done, what is finished is never repeated, and the tables are gathered."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import torch

from tamis.selection.cost import PriceList
from tamis.study.environment import environment
from tamis.study.folder import check, claim, held, settled_prices
from tamis.study.plan import Plan, Setting
from tamis.study.record import gather, read_run, write_json
from tamis.study.run import dataset_for
from tamis.study.workers import Event, Todo, do
from tamis.types import TamisError


def study(
    plan: Plan,
    out: Path,
    *,
    workers: int = 2,
    device: str = "cpu",
    fresh: bool = False,
    only_gather: bool = False,
    command: str = "",
    tell: Callable[[Event], None] = lambda event: None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run what is missing of ``plan`` into ``out``, one thread a worker, and gather the tables.

    Killed at any moment and called again, it gives the same records: a record is whole or not there, and a run is a
    function of its name. A run that fails is recorded with its error, and tried again at the next call.
    ``only_gather`` runs nothing and gathers what is there. ``command`` is kept for the page.

    Raises:
        TamisError: ``out`` holds another plan's records or something that is not a study, is in use or cannot be
            written in; two settings are the same data; a disk is full; a worker was killed.
    """
    check(plan, out, fresh)
    if only_gather and (fresh or not (out / "plan.json").exists()):
        raise TamisError(f"there is nothing to gather in {out}: it is not a study's folder, or --fresh would empty it.")
    if not only_gather:
        _tell_apart(plan)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # prices are measured as runs are run
    try:
        with held(out):
            claim(plan, out, fresh)
            return _study(plan, out, workers, device, only_gather, command, tell)
    finally:
        torch.set_num_threads(threads)


def _study(
    plan: Plan, out: Path, workers: int, device: str, only_gather: bool, command: str, tell: Callable[[Event], None]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    marker = out / "environment.json"
    earlier = _read(marker)
    if only_gather:  # what is there is gathered wherever it was made
        device = earlier.get("device", device)
    prices = {setting: settled_prices(setting, out, device) for setting in plan.settings}
    if not (only_gather and earlier):
        write_json(marker, environment(device, prices, earlier, command))
    todos = list(_todos(plan, prices, device, out))
    records: dict[str, dict[str, Any]] = {}
    missing = []
    for todo in todos:
        path = out / "runs" / f"{todo.name}.json"
        record = read_run(path)
        if record is None and path.exists():
            tell(Event("again", todo.name, todo.label, error=f"{path} is not a whole record; it is done again."))
        if record is not None:
            records[todo.name] = record
        if record is not None and record["row"]["status"] == "ok":
            tell(Event("end", todo.name, todo.label, 1.0))
        else:
            missing.append(todo)
            if only_gather and record is not None:  # it is not tried again, so this is how it ends
                tell(Event("end", todo.name, todo.label, 1.0, record["row"]["error"] or "failed"))
    if not only_gather:
        records.update(do(missing, workers, tell))
    for todo in todos:  # the plan and the place in it belong to the plan, not to the run
        if todo.name in records:
            records[todo.name]["order"] = todo.order
            records[todo.name]["row"]["plan"] = plan.name
    return gather(out, records.values())


def _tell_apart(plan: Plan) -> None:
    """Refuse two settings that are the same data, all of it by 0 and all of it by number; tables go by the number."""
    for setting in plan.settings:
        others = {s.size for s in plan.settings if (s.dataset, s.model) == (setting.dataset, setting.model) and s.size}
        if setting.size == 0 and others and (whole := len(dataset_for(setting).train.y)) in others:
            raise TamisError(
                f"two settings of {plan.name!r} are the same {whole} examples of {setting.dataset} for "
                f"{setting.model}, as size 0 (all) and as size {whole}; leave one of them out."
            )


def _read(path: Path) -> dict[str, Any]:
    """What an earlier call left; nothing, where that cannot be read."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return {}


def _todos(plan: Plan, prices: dict[Setting, PriceList], device: str, out: Path) -> Iterator[Todo]:
    labels = ("uniform", *plan.methods)
    for order, job in enumerate(plan.jobs()):
        name = job.hash({**dataclasses.asdict(prices[job.setting]), "device": device}, threads=1)
        yield Todo(job, name, plan.name, labels, prices[job.setting], device, str(out), order)
