"""A study's folder: whose it is, who works in it now, and the prices that are settled in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from tamis.selection.cost import PriceList
from tamis.study.plan import Job, Plan, Setting
from tamis.study.plan_files import plan_from_dict, plan_to_dict
from tamis.study.record import write_json
from tamis.study.run import prices_for
from tamis.types import TamisError

FOLDERS = ("runs", "examples")
FILES = ("plan.json",  # the first: the mark of a study
         "prices.json", "environment.json", "runs.parquet", "curves.parquet", "timings.parquet",
         "scores.parquet", "separations.parquet", "reliability.parquet", "notes.parquet", "report.html")  # fmt: skip


def check(plan: Plan, out: Path, fresh: bool = False) -> None:
    """Refuse a folder that is not ours to write in; touches nothing.

    Raises:
        TamisError: a file, a folder that holds something else or cannot be read, another plan's records.
    """
    marker = out / "plan.json"
    with _in_a_sentence(out, "read"):
        if out.exists() and not out.is_dir():
            raise TamisError(f"--out {out} is a file, but a study needs a folder; name another place.")
        inside = [path.name for path in out.iterdir()] if out.exists() else []
    strangers = sorted(name for name in inside if not name.startswith("."))
    if strangers and not marker.exists():
        raise TamisError(f"--out {out} holds no study ({', '.join(strangers[:3])} …); name a new or an empty folder.")
    if not marker.exists():
        return
    try:
        theirs = json.loads(marker.read_text())
        name = theirs["name"]
    except (OSError, ValueError, KeyError, TypeError):
        raise TamisError(f"{marker} is not a plan that can be read; name another folder for --out.") from None
    if not fresh and not _same(theirs, plan):
        raise TamisError(
            f"--out {out} holds records of another plan ({name!r}, or other settings); "
            "name another folder, or use --fresh."
        )


def claim(plan: Plan, out: Path, fresh: bool = False) -> None:
    """Take ``out`` for ``plan``, checked: leave its mark; ``fresh`` first removes the study's own files and no other.

    Called while the folder is held, so what is half-written in it was written by a process that is gone.
    """
    check(plan, out, fresh)
    with _in_a_sentence(out, "written in"):
        if fresh:
            _remove_ours(out)
        for part in (path for place in (out, *map(out.__truediv__, FOLDERS)) for path in place.glob(".*.part")):
            part.unlink()
    write_json(out / "plan.json", plan_to_dict(plan))


@contextmanager
def held(out: Path, what: str = "study") -> Iterator[None]:
    """Hold ``out`` against a second study, or whatever else works in it; the hold ends with the process.

    Raises:
        TamisError: another process holds it; it cannot be written in.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TamisError(f"--out {out} cannot be made ({error.strerror}); name another place.") from error
    try:
        import fcntl
    except ImportError:  # not a Unix: without a hold
        yield
        return
    with _in_a_sentence(out, "written in"):
        lock = (out / ".lock").open("w")
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TamisError(f"another {what} is running in {out}; wait for it, or name another folder.") from None
        yield


@contextmanager
def _in_a_sentence(out: Path, done: str) -> Iterator[None]:
    """What the operating system forbids in ``out``, as one sentence."""
    try:
        yield
    except OSError as error:
        raise TamisError(f"--out {out} cannot be {done} ({error.strerror}); name another place.") from error


def settled_prices(setting: Setting, out: Path, device: str) -> PriceList:
    """The price list of a setting: measured once, then read back, since it is part of every run's name."""
    path = out / "prices.json"
    model = f"{setting.dataset}/{setting.model}/width {setting.width}/batch {setting.recipe.batch}"
    key = f"{model}/{device}/{torch.get_num_threads()} threads"
    try:
        known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
        if key in known:
            return PriceList(**known[key])
    except (OSError, ValueError, TypeError) as error:
        raise TamisError(
            f"{path} cannot be read as a price list ({error}); restore it, or delete it to measure anew (and run anew)."
        ) from error
    prices = prices_for(setting, device)
    write_json(path, {**known, key: dataclasses.asdict(prices)})
    return prices


def _remove_ours(out: Path) -> None:
    """Remove what a study wrote, but for ``plan.json``, which is replaced whole afterwards: a folder without it is no
    study's, and a kill in between would leave one that the same command refuses."""
    for folder in FOLDERS:
        for path in (out / folder).glob("*"):
            if path.suffix in (".json", ".parquet"):
                path.unlink()
    for name in FILES[1:]:
        (out / name).unlink(missing_ok=True)


def _same(written: dict[str, Any], plan: Plan) -> bool:
    """Whether a written plan is this one, or this one before it grew: none of its runs would be left out.

    What an older version did not write yet has its default. A run's setting holds all seeds and the whole ladder, which
    are the grid's: with one seed more its records are still the same.
    """

    def runs(of: Plan) -> set[Job]:
        alone = {setting: dataclasses.replace(setting, seeds=(), ladder=()) for setting in of.settings}
        return {dataclasses.replace(job, setting=alone[job.setting]) for job in of.jobs()}

    try:
        theirs = plan_from_dict(written)
        return theirs.name == plan.name and runs(theirs) <= runs(plan)
    except (TamisError, TypeError):
        return False
