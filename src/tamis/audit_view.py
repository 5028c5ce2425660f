"""What an audit shows in a terminal: bars with the time left while it runs, then the headline and the page's path."""

from __future__ import annotations

import importlib
import os
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from tamis.auditing.audit import Audit, audit, in_options
from tamis.auditing.cleaning import clean, read_decisions, settle
from tamis.auditing.copies import check_copy, free
from tamis.auditing.folder import keep_outside, read_mark
from tamis.report.audit_told import Told, told
from tamis.report.words import percent, shortened
from tamis.types import TamisError

NAMED = 5  # columns that are not read


def run_audit(
    data: str, out: Path, *, label: str | None, text: str | None, embed: str | None, minutes: float, fdr: float,
    model: str, device: str, seed: int, limit: int | None, fresh: bool, cleaned: bool, copy: bool,
) -> bool:  # fmt: skip
    """Run an audit with a bar for each part of it; then say what was found. True if it came to its end."""
    if copy:
        check_copy(Path(data).expanduser(), out / "cleaned", label, text)
    elif cleaned:
        free(out / "cleaned")
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(what: str, fraction: float) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
                if not console.is_terminal:
                    print(f"{what} …", flush=True)
            bars.update(tasks[what], completed=fraction)

        found = audit(
            data, label=label, text=text, embed=None if embed is None else _embed(embed), out=out, minutes=minutes,
            fdr=fdr, model=model, device=device, seed=seed, limit=limit, fresh=fresh, command=_command(), progress=tell,
        )  # fmt: skip
    for line in headline(found):
        console.print(escape(line), soft_wrap=True)
    may = told(found.summary, found.names, found.summary["examples"])
    if cleaned and found.finished and may.why:
        console.print("not cleaned: too little is known to drop anybody; decide on the page, and give --apply.")
    elif cleaned and found.finished:
        written = clean(found.table, found.names, data, out, label=label, copy=copy)
        console.print(escape(f"cleaned: {written}"), soft_wrap=True)  # a path is copied whole
    console.print(f"[bold]{escape(str(out / 'report.html'))}[/bold]", soft_wrap=True)
    if not found.finished:
        said = "what was known by then is written" + (", but not cleaned/" if cleaned else "")
        print(f"tamis: stopped; {said}, and the same command goes on.", file=sys.stderr)
    return found.finished


def apply_decisions(data: str, out: Path, decisions: Path, *, label: str | None, copy: bool) -> None:
    """Write what a person decided on the page into ``cleaned/``."""
    keep_outside(out, data)
    table, names = settle(out)
    chosen = read_decisions(decisions, table, names, read_mark(out).get("data"))
    print(f"cleaned: {clean(table, names, data, out, label=label, copy=copy, decisions=chosen)}")


@contextmanager
def as_options() -> Iterator[None]:
    """What a function says of ``label=``, the command says of ``--label``."""
    try:
        yield
    except TamisError as error:
        raise TamisError(in_options(str(error))) from error


def headline(found: Audit) -> list[str]:
    """The verdict in a few lines, with no character in them that a terminal would obey."""
    summary = found.summary
    may = told(summary, found.names, summary["examples"])
    of = f"{summary['examples']:,} examples of {summary['classes']} classes"
    lines = [f"{of}; {_rate(may)}", *([may.why] if may.why else []), _flagged(summary, may)]
    others = {kind: count for kind, count in summary["kinds"].items() if kind not in ("clean", "mislabeled")}
    if others:
        lines.append("also: " + ", ".join(f"{count:,} {kind.replace('_', ' ')}" for kind, count in others.items()))
    if not may.why:
        worst = sorted(summary["per_class"], key=lambda row: -(row["noise_rate"] or 0))[:3]
        lines.append("most in: " + ", ".join(f"{shortened(row['name'])} {percent(row['noise_rate'])}" for row in worst))
    verdict = may.prioritisation["verdict"] or "unknown"
    verdict = "could not be told" if verdict == "unknown" else verdict
    lines.append(f"prioritising by loss: {verdict}. {may.prioritisation['words'] or ''}".rstrip())
    lines += _not_read(summary["skipped"])
    return [_harmless(line) for line in [*lines, *(doubt for doubt in may.missing if doubt != may.why)]]


def _not_read(skipped: Sequence[Sequence[str]]) -> list[str]:
    """A line on whole columns, which are few and matter most, one on cells, and one on everything else."""
    signs = ("column ", "cells of column ")
    groups: list[list[Sequence[str]]] = [[], [], []]
    for pair in skipped:
        groups[next((k for k, sign in enumerate(signs) if pair[0].startswith(sign + '"')), 2)].append(pair)
    lines = []
    for k, group in enumerate(groups):
        if k == 0 and len(group) > 1:
            more = f" and {len(group) - NAMED:,} more" if len(group) > NAMED else ""
            names = ", ".join(source.removeprefix(signs[0]) for source, _ in group[:NAMED])
            lines.append(f"not read: columns {names}{more} (why stands in report.html)")
        elif group:
            (source, why), more = group[0], f" and {len(group) - 1:,} more" if len(group) > 1 else ""
            lines.append(f"not read: {source} ({why}){more}")
    return lines


def _rate(may: Told) -> str:
    if may.rate is None:
        return "how many labels are wrong could not be told"
    between = " (too few examples for an interval)" if may.too_few else ""
    if may.interval is not None:
        between = f" ({percent(may.interval[0])} to {percent(may.interval[1])})"
    return f"probably mislabeled: {percent(may.rate)}{between}"


def _flagged(summary: dict[str, Any], may: Told) -> str:
    if not summary["flagged"]:
        return "flagged: none"
    right = (
        "how many of them are right could not be told"
        if may.why
        else f"of which {percent(summary['fdr'], 0)} may be right"
    )
    return f"flagged: {summary['flagged']:,}, {right}"


def _harmless(text: str) -> str:
    """The text with its control characters spelt out: a class or a file may be called ``\\x1b[2J``."""
    return "".join(repr(c)[1:-1] if unicodedata.category(c) == "Cc" else c for c in text)


def _embed(name: str) -> Callable[[list[str]], Any]:
    """A user's own function ``module:function``, found from where they stand."""
    module, _, function = name.partition(":")
    if not module or not function:
        raise TamisError(f"--embed is {name!r}, but it must be module:function, such as my_model:encode.")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise TamisError(f"--embed {name} cannot be imported: {error}.") from error
    finally:
        sys.path.pop(0)


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
