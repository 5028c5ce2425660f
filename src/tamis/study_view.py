"""What a study shows in a terminal: bars while it runs, the table and the page's path when it is done."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tamis.study.grid import Event, study
from tamis.study.plan import Plan


def run_with_bars(plan: Plan, out: Path, *, workers: int, device: str, fresh: bool) -> None:
    """Run a study with a bar for the grid and one for each run under way; then print its table and its page's path."""
    from tamis.report.study import study_report  # plots are heavy to import
    from tamis.study.evaluate import main_table

    console = Console()
    total = sum(1 for _ in plan.jobs())
    console.print(f"[bold]{escape(plan.name)}[/bold]: {escape(plan.title)}")
    console.print(f"{total} runs on {workers} workers ({device}), about {_hours(plan.hours(workers))}; records in {escape(str(out))}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    failures: list[Event] = []
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        whole = progress.add_task("all runs", total=total)
        open_: dict[str, TaskID] = {}
        finished = 0

        def tell(event: Event) -> None:
            nonlocal finished
            if event.kind == "again":
                progress.console.print(f"[yellow]{escape(event.error)}")
            elif event.kind == "start":
                open_[event.run] = progress.add_task(escape(event.label), total=100)
            elif event.kind == "step" and event.run in open_:
                progress.update(open_[event.run], completed=round(100 * event.fraction))
            elif event.kind == "end":
                finished += 1
                if event.run in open_:
                    progress.remove_task(open_.pop(event.run))
                progress.advance(whole)
                if event.error:
                    failures.append(event)
                    progress.console.print(f"[red]failed[/red] {escape(event.label)}: {escape(event.error.strip().splitlines()[-1])}")
                if not console.is_terminal and (finished % max(1, total // 20) == 0 or finished == total):
                    print(f"{finished} of {total} runs", flush=True)

        runs, curves = study(plan, out, workers=workers, device=device, fresh=fresh, tell=tell)
    page = study_report(out)
    for setting in plan.settings:
        columns_, rows = main_table(runs, curves, setting.dataset, setting.model)
        print_table(f"{setting.dataset}, {setting.model}: test error (%), mean ± 95 % half-width", columns_, rows, console)
    if failures:
        console.print(f"[red]{len(failures)} runs failed[/red]; their errors stand in the page; the same command tries them again.")
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], console: Console | None = None) -> None:
    """A table for people; cells are shown as they are, never read as markup."""
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(escape(column), overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    (console or Console()).print(table)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like ``name``."""
    return difflib.get_close_matches(name, list(known), 1, cutoff=0)[0]


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(hours * 60))} minutes"
