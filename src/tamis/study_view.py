"""What a study shows in a terminal: bars while it runs, the table and the page's path when it is done."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tamis.study.grid import study
from tamis.study.plan import Plan
from tamis.study.workers import Event
from tamis.types import TamisError


def run_with_bars(
    plan: Plan, out: Path, *, workers: int, device: str, fresh: bool, only_report: bool = False, command: str = ""
) -> int:
    """Run a study with a bar for the grid and one for each run under way; then print its table and its page's path.

    Returns:
        How many runs failed.
    """
    from tamis.report.study import study_report  # plots are heavy to import
    from tamis.report.words import named
    from tamis.study.evaluate import main_table, score_table

    console = Console()
    total = sum(1 for _ in plan.jobs())
    console.print(f"[bold]{escape(plan.name)}[/bold]: {escape(plan.title)}")
    running = f"{total} runs on {workers} workers ({device}), about {_hours(plan.hours(workers))}"
    console.print(f"{f'{total} runs' if only_report else running}; records in {escape(str(out))}")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
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
                    progress.console.print(
                        f"[red]failed[/red] {escape(event.label)}: {escape(event.error.strip().splitlines()[-1])}"
                    )
                told = finished == total or (finished % max(1, total // 20) == 0 and not only_report)
                if told and not console.is_terminal:
                    print(f"{finished} of {total} runs", flush=True)

        runs, curves = study(
            plan, out, workers=workers, device=device, fresh=fresh, only_gather=only_report, command=command, tell=tell
        )
    if runs.is_empty():
        raise TamisError(f"no run of {plan.name} is finished in {out}; leave out --only-report to run it.")
    page = study_report(out)
    for setting in plan.settings if plan.methods else ():
        here = runs.filter((runs["dataset"] == setting.dataset) & (runs["model"] == setting.model))
        sizes = {setting.size} if setting.size else set(here["size"])
        if here.filter(here["size"].is_in(list(sizes))).is_empty():
            continue
        columns_, rows = main_table(runs, curves, setting.dataset, setting.model, size=max(sizes))
        title = f"{setting.dataset}, {setting.model}: speed-up in backprops (test error %, mean ± 95 % half-width)"
        names = named(policy for policy, *_ in rows)
        print_in_blocks(title, columns_, [[names[policy], *cells] for policy, *cells in rows], console)
    if (out / "separations.parquet").exists():
        from tamis.report.separation import detection

        found = detection(runs, pl.read_parquet(out / "separations.parquet"))
        print_in_blocks(found.caption, found.columns, found.rows, console)
    if (out / "scores.parquet").exists():
        columns_, rows = score_table(pl.read_parquet(out / "scores.parquet"))
        print_in_blocks("AUROC of mislabeled examples: all clean | the hardest tenth", columns_, rows, console)
    if failures:
        again = "the same command without --only-report" if only_report else "the same command"
        console.print(
            f"[red]{len(failures)} runs failed[/red]; their errors stand in the page; {again} tries them again."
        )
    console.print(f"report: {page}", soft_wrap=True, highlight=False)
    return len(failures)


def print_in_blocks(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], console: Console) -> None:
    """A table wider than the terminal, as several with as many columns side by side as there is room for."""
    first = min(max(len(str(row[0])) for row in [columns, *rows]), console.width // 2)
    fitting = max(1, (console.width - first - 4) // 18)
    for start in range(1, len(columns), fitting):
        part = slice(start, start + fitting)
        block = [[row[0], *row[part]] for row in rows]
        print_table(title if start == 1 else "", [columns[0], *columns[part]], block, console)


def print_table(
    title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]], console: Console | None = None
) -> None:
    """A table for people; cells are shown as they are, never read as markup."""
    console = console or Console()
    width = console.width  # a long name folds: numbers have no other room
    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(escape(column), overflow="fold", max_width=None if number else width // 2)
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    console.print(table)


def print_entries(entries: Iterable[tuple[str, str, str]]) -> None:
    """Names with what they are below, readable at any width."""
    console = Console()
    for name, facts, what in entries:
        console.print(
            f"[bold]{escape(name)}[/bold]" + (f"  [dim]{escape(facts)}[/dim]" if facts else ""),
            soft_wrap=True,
            highlight=False,
        )
        console.print(Padding(escape(what), (0, 0, 0, 4)), highlight=False)


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name most like ``name``."""
    return difflib.get_close_matches(name, list(known), 1, cutoff=0)[0]


def _hours(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(hours * 60))} minutes"
