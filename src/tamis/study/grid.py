"""A grid of runs: what is missing is done, what is finished is never repeated, and the tables are gathered."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import platform
import subprocess
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from importlib.metadata import version
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import polars as pl
import torch

from tamis.selection.cost import PriceList
from tamis.study import run as one_run
from tamis.study.plan import Job, Plan, Setting
from tamis.study.plan_files import plan_to_dict
from tamis.study.record import gather, read_run, write_json, write_parquet, write_run
from tamis.types import TamisError

OURS = ("runs", "examples", "plan.json", "prices.json", "environment.json", "runs.parquet", "curves.parquet",
        "timings.parquet", "report.html")  # fmt: skip


class Event(NamedTuple):
    """What happened in the grid, for a progress bar: ``kind`` is start, step, end or again (a broken record)."""

    kind: str
    run: str
    label: str
    fraction: float = 0.0
    error: str = ""


class Todo(NamedTuple):
    """One job with everything a worker needs; plain values, so that any process can take it."""

    job: Job
    name: str
    plan: str
    methods: tuple[str, ...]
    prices: PriceList
    device: str
    out: str
    order: int


def study(
    plan: Plan,
    out: Path,
    *,
    workers: int = 2,
    device: str = "cpu",
    fresh: bool = False,
    only_gather: bool = False,
    tell: Callable[[Event], None] = lambda event: None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Run what is missing of ``plan`` into ``out``, one thread a worker, and gather the tables.

    Killed at any moment and called again, it gives the same records: a record is whole or not there, and a run is a
    function of its name. A run that fails is recorded with its error, and tried again at the next call.
    ``only_gather`` runs nothing and gathers what is finished.

    Raises:
        TamisError: ``out`` holds another plan's records or something that is not a study.
    """
    claim(plan, out, fresh)
    if device == "cpu":
        torch.set_num_threads(1)
    prices = {setting: _prices(setting, out, device) for setting in plan.settings}
    if not (only_gather and (out / "environment.json").exists()):
        write_json(out / "environment.json", environment(device, prices))
    todos = list(_todos(plan, prices, device, out))
    finished: dict[str, dict[str, Any]] = {}
    missing = []
    for todo in todos:
        path = out / "runs" / f"{todo.name}.json"
        record = read_run(path)
        if record is not None and record["row"]["status"] == "ok":
            finished[todo.name] = record
            tell(Event("end", todo.name, _label(todo.job), 1.0))
            continue
        if record is None and path.exists():
            tell(Event("again", todo.name, _label(todo.job), error=f"{path} is not a whole record; it is done again."))
        missing.append(todo)
    if not only_gather:
        finished.update(_do(missing, workers, tell))
    for todo in todos:  # the plan and the place in it belong to the plan, not to the run
        if todo.name in finished:
            finished[todo.name]["order"] = todo.order
            finished[todo.name]["row"]["plan"] = plan.name
    return gather(out, finished.values())


def claim(plan: Plan, out: Path, fresh: bool = False) -> None:
    """Take ``out`` for ``plan``: new, empty or already this plan's; ``fresh`` first removes the study's own files."""
    ours = json.loads(json.dumps(plan_to_dict(plan)))
    marker = out / "plan.json"
    if out.exists() and not out.is_dir():
        raise TamisError(f"--out {out} is a file, but a study needs a folder; name another place.")
    strangers = (
        [path.name for path in out.iterdir() if path.name not in OURS and not path.name.startswith(".")]
        if out.exists()
        else []
    )
    if out.exists() and any(out.iterdir()) and not marker.exists():
        raise TamisError(
            f"--out {out} is not empty and holds no study ({', '.join(sorted(strangers)[:3])} …); name another folder."
        )
    if marker.exists():
        try:
            theirs = json.loads(marker.read_text())
            name = theirs["name"]
        except (OSError, ValueError, KeyError, TypeError):
            raise TamisError(f"{marker} is not a plan that can be read; name another folder for --out.") from None
        if fresh:
            _remove_ours(out)
        elif theirs != ours:
            raise TamisError(
                f"--out {out} holds records of another plan ({name!r}, or other settings); "
                "name another folder, or use --fresh."
            )
    write_json(marker, ours)


def environment(device: str, prices: dict[Setting, PriceList]) -> dict[str, Any]:
    """Versions, threads, device, commit and prices: what a reader needs to judge the numbers."""
    packages = ("tamis", "torch", "numpy", "scipy", "polars", "scikit-learn")
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in packages}},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(device),
        "device": device,
        "threads_per_run": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "commit": _commit(),
        "prices": [
            {"dataset": s.dataset, "model": s.model, "width": s.width, "batch": s.recipe.batch, **dataclasses.asdict(p)}
            for s, p in prices.items()
        ],
    }


def _todos(plan: Plan, prices: dict[Setting, PriceList], device: str, out: Path) -> Iterator[Todo]:
    labels = ("uniform", *plan.methods)
    for order, job in enumerate(plan.jobs()):
        name = job.hash({**dataclasses.asdict(prices[job.setting]), "device": device}, torch.get_num_threads())  # type: ignore[dict-item]
        yield Todo(job, name, plan.name, labels, prices[job.setting], device, str(out), order)


def _prices(setting: Setting, out: Path, device: str) -> PriceList:
    """The price list of a setting: measured once, then read back, since it is part of every run's name."""
    path = out / "prices.json"
    known: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    model = f"{setting.dataset}/{setting.model}/width {setting.width}/batch {setting.recipe.batch}"
    key = f"{model}/{device}/{torch.get_num_threads()} threads"
    if key not in known:
        known[key] = dataclasses.asdict(one_run.prices_for(setting, device))
        write_json(path, known)
    return PriceList(**known[key])


# Workers -----------------------------------------------------------------------------------------------------------

_queue: Any = None


def _start(queue: Any, threads: int) -> None:
    global _queue
    _queue = queue
    torch.set_num_threads(threads)


def _work(todo: Todo) -> dict[str, Any]:
    """Do one run in a worker and leave its record on disk; whatever it raises becomes a record."""
    out, last = Path(todo.out), [0.0]

    def progress(fraction: float) -> None:
        if fraction - last[0] >= 0.05 and _queue is not None:
            last[0] = fraction
            _queue.put(Event("step", todo.name, _label(todo.job), fraction))

    if _queue is not None:
        _queue.put(Event("start", todo.name, _label(todo.job)))
    try:
        record, examples = one_run.run(todo.job, todo.prices, todo.plan, todo.name, todo.methods, todo.device, progress)
        write_parquet(out / "examples" / f"{todo.name}.parquet", examples)
    except Exception as error:
        reason = str(error) if isinstance(error, TamisError) else traceback.format_exc(limit=-3)
        record = one_run.failed(todo.job, todo.plan, todo.name, reason)
    write_run(out / "runs" / f"{todo.name}.json", record)
    return record


def _do(todos: list[Todo], workers: int, tell: Callable[[Event], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    if not todos:
        return
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager:
        queue = manager.Queue()
        threads = torch.get_num_threads()
        with ProcessPoolExecutor(workers, context, _start, (queue, threads)) as pool:
            waiting: dict[Future[dict[str, Any]], Todo] = {pool.submit(_work, todo): todo for todo in todos}
            try:
                while waiting:
                    done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                    for event in _drain(queue):
                        tell(event)
                    for future in done:
                        todo, record = waiting.pop(future), future.result()
                        error = record["row"]["error"] if record["row"]["status"] != "ok" else ""
                        tell(Event("end", todo.name, _label(todo.job), 1.0, error))
                        yield todo.name, record
            except BaseException:
                for future in waiting:
                    future.cancel()
                for process in (pool._processes or {}).values():
                    process.terminate()  # records are whole or not there: nothing is lost but the run under way
                raise


def _drain(queue: Any) -> Iterator[Event]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return


def _label(job: Job) -> str:
    rate = f" {job.rate:.0%}" if job.rate else ""
    return f"{job.setting.model} · {job.corruption}{rate} · {job.policy} · seed {job.seed}"


def _remove_ours(out: Path) -> None:
    for folder in ("runs", "examples"):
        for path in (out / folder).glob("*"):
            if path.suffix in (".json", ".parquet", ".part"):
                path.unlink()
    for name in OURS[2:]:
        (out / name).unlink(missing_ok=True)


def _version(name: str) -> str:
    try:
        return version(name)
    except Exception:
        return "unknown"


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _commit() -> str:
    try:
        here = Path(__file__).parent
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5)
        return answer.stdout.strip() or "unknown"
    except (OSError, subprocess.SubprocessError):
        return "unknown"
