"""Runs in processes of their own, one thread each; they end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import torch

from tamis.selection.cost import PriceList
from tamis.study import run as one_run
from tamis.study.plan import Job
from tamis.study.record import write_parquet, write_run
from tamis.types import TamisError


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

    @property
    def label(self) -> str:
        job = self.job
        rate = f" {job.rate:.0%}" if job.rate else ""
        return f"{job.setting.model} · {job.corruption}{rate} · {job.policy} · seed {job.seed}"


_queue: Any = None


def do(todos: list[Todo], workers: int, tell: Callable[[Event], None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Do ``todos`` on ``workers`` processes; yields each run's name and record as it ends.

    Raises:
        TamisError: a record could not be written, a worker was killed; finished runs are kept.
    """
    if not todos:
        return
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    with ProcessPoolExecutor(workers, context, _start, (queue,)) as pool:
        waiting: dict[Future[dict[str, Any]], Todo] = {pool.submit(_work, todo): todo for todo in todos}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
                for event in _drain(queue):
                    tell(event)
                for future in done:
                    todo, record = waiting.pop(future), future.result()
                    error = record["row"]["error"] if record["row"]["status"] != "ok" else ""
                    tell(Event("end", todo.name, todo.label, 1.0, error))
                    yield todo.name, record
        except BaseException as error:
            for future in waiting:
                future.cancel()
            for process in (pool._processes or {}).values():
                process.terminate()  # records are whole or not there: nothing is lost but the run under way
            if isinstance(error, BrokenProcessPool):
                raise TamisError(
                    "a worker was killed, perhaps for want of memory; use fewer --workers: "
                    "finished runs are kept, and the same command goes on from there."
                ) from error
            raise


def _start(queue: Any) -> None:
    global _queue
    _queue = queue
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(todo: Todo) -> dict[str, Any]:
    """Do one run in a worker and leave its record on disk. A run that fails has one; a full disk is no run's fault."""
    out, last = Path(todo.out), [0.0]

    def progress(fraction: float) -> None:
        if fraction - last[0] >= 0.05:
            last[0] = fraction
            _queue.put(Event("step", todo.name, todo.label, fraction))

    _queue.put(Event("start", todo.name, todo.label))
    try:
        record, examples = one_run.run(todo.job, todo.prices, todo.plan, todo.name, todo.methods, todo.device, progress)
    except Exception as error:
        reason = str(error) if isinstance(error, TamisError) else traceback.format_exc(limit=-3)
        record = one_run.failed(todo.job, todo.plan, todo.name, reason)
    else:
        write_parquet(out / "examples" / f"{todo.name}.parquet", examples)
    write_run(out / "runs" / f"{todo.name}.json", record)
    return record


def _drain(queue: Any) -> Iterator[Event]:
    while True:
        try:
            yield queue.get_nowait()
        except Empty:
            return
