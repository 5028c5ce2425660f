"""The command line: ``tamis audit``, ``tamis study``, ``tamis list``. Every error is one sentence and exit code 2."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from tamis.errors import TamisError

# typer carries its own click: these are the bases of its errors, whichever click that is.
UsageError: Any
ClickException: Any
UsageError, ClickException = typer.BadParameter.__mro__[1:3]
Entry = tuple[str, str, str]  # a name, facts about it, what it is

app = typer.Typer(
    name="tamis",
    help="Sieve training examples while a network trains on them: what to train on, what is noise, and what it costs.",
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and leave.")] = False,
) -> None:
    if version:
        from tamis import __version__

        typer.echo(f"tamis {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def study(
    plan: Annotated[str, typer.Argument(help="A built-in plan ('tamis study --list') or a .toml file.")] = "",
    out: Annotated[Path | None, typer.Option(help="Where records go (default: results/<plan>).")] = None,
    data: Annotated[str, typer.Option(help="Another data set (or an .npz of x and y) for every setting.")] = "",
    workers: Annotated[int, typer.Option(help="Runs at a time, one thread each.", min=1)] = min(2, os.cpu_count() or 1),
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    fresh: Annotated[
        bool, typer.Option("--fresh/--resume", help="Start over, or go on with what is finished.")
    ] = False,
    only_report: Annotated[bool, typer.Option("--only-report", help="Run nothing; draw what is finished.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="Name the built-in plans with their predicted hours.")] = False,
) -> None:
    """Run a study: every method on every corruption, theory beside measurement, with honest costs.

    Finished runs are kept and never repeated: stop it at any moment and give the same command again.

    [bold]Examples[/bold]

      tamis study --list
      tamis study smoke
      tamis study quick --out results/quick
      tamis study my_plan.toml --workers 4

      tamis study quick --only-report
    """
    from tamis.study.plan_files import load_plan, with_data

    if list_:
        _list_plans(workers)
        return
    if not plan:
        raise TamisError(
            "study needs a plan; 'tamis study --list' names them, and 'tamis study quick' is a good first one."
        )
    chosen = load_plan(plan)
    if data:
        chosen = with_data(chosen, data)
    where = out or Path("results") / chosen.name
    from tamis.study_view import run_with_bars

    command = shlex.join(["tamis", "study", plan, *(["--data", data] if data else [])])
    failed = run_with_bars(
        chosen, where, workers=workers, device=_device(device), fresh=fresh, only_report=only_report, command=command
    )
    if failed:
        raise typer.Exit(1)


@app.command()
def audit(
    data: Annotated[
        str,
        typer.Argument(
            help="A folder with one folder of pictures per class, an archive of one, a .csv, .tsv or .parquet table, "
            ".npz or .npy arrays, a Hugging Face folder, or a known name."
        ),
    ],
    label: Annotated[str | None, typer.Option(help="The column, array or file that holds the labels.")] = None,
    text: Annotated[str | None, typer.Option(help="The text column of a table; needs --embed.")] = None,
    embed: Annotated[
        str | None,
        typer.Option(help="module:function of yours that turns a list of N texts into an array [N, D]."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where results go (default: audits/<name of the data>).")] = None,
    minutes: Annotated[float, typer.Option(help="Time to spend; becomes a fixed number of steps.")] = 10.0,
    fdr: Annotated[float, typer.Option(help="Share of false alarms accepted among the flagged.")] = 0.05,
    model: Annotated[str, typer.Option(help="auto, mlp, convnet or resnet9.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(help="With the number of steps it decides everything.", min=0)] = 0,
    limit: Annotated[int | None, typer.Option(help="At most this many examples, every class kept.", min=1)] = None,
    fresh: Annotated[bool, typer.Option("--fresh/--resume", help="Start over, or go on with what is kept.")] = False,
    apply: Annotated[
        Path | None, typer.Option(help="Decisions exported from the page: write cleaned/, train nothing.")
    ] = None,
    cleaned: Annotated[
        bool, typer.Option("--cleaned", help="Also write cleaned/: the examples that were not flagged.")
    ] = False,
    copy: Annotated[bool, typer.Option("--copy", help="With cleaned/: a corrected copy of the data, too.")] = False,
) -> None:
    """Audit your own data: which labels are probably wrong, and what else is the matter.

    Writes verdicts.csv and .parquet, summary.json and a page to act on, report.html.
    Nothing of yours is changed. Ctrl-C writes what is known so far;
    the same command again goes on from there.

    [bold]Examples[/bold]

      tamis audit pictures/                        one folder per class
      tamis audit table.csv --label species
      tamis audit arrays.npz --minutes 3           arrays x and y
      tamis audit pictures/ --apply decisions.csv --copy
    """
    from tamis.audit_view import apply_decisions, as_options, run_audit

    where = out or _audits(data)
    if apply is not None:
        with as_options():
            apply_decisions(data, where, apply, label=label, copy=copy)
        return
    if copy and not cleaned:
        raise TamisError("--copy is about cleaned/; give it with --cleaned or with --apply.")
    chosen = _device(device)
    with as_options():
        finished = run_audit(
            data, where, label=label, text=text, embed=embed, minutes=minutes, fdr=fdr, model=model, device=chosen,
            seed=seed, limit=limit, fresh=fresh, cleaned=cleaned, copy=copy,
        )  # fmt: skip
    if not finished:
        raise typer.Exit(130)


@app.command("list")
def list_(what: Annotated[str, typer.Argument(help="policies, scores, corruptions or datasets.")]) -> None:
    """List what there is, with what each needs and where it comes from."""
    from tamis.study_view import nearest, print_entries

    tables = {"policies": _policies, "scores": _scores, "corruptions": _corruptions, "datasets": _datasets}
    if what not in tables:
        known = ", ".join(tables)
        raise TamisError(f"there is no list of {what!r}; did you mean {nearest(what, tables)!r}? There are {known}.")
    print_entries(tables[what]())


def _list_plans(workers: int) -> None:
    from tamis.study.plans import PLANS
    from tamis.study_view import print_entries

    entries = []
    for name, plan in PLANS.items():
        hours = plan.hours(workers)
        length = f"about {hours:.1f} h" if hours >= 1 else f"about {max(1, round(hours * 60))} min"
        entries.append((name, f"{sum(1 for _ in plan.jobs())} runs, {length} on {workers} cores", plan.title))
    print_entries(entries)


def _policies() -> list[Entry]:
    from tamis.selection.policies import POLICIES

    return [
        (
            chosen.label,
            f"keeps {chosen.keep:.2f} of its candidates while it selects, {chosen.level} by {chosen.level}; "
            f"{chosen.reference}",
            _first_line(make),
        )
        for make in POLICIES.values()
        for chosen in [make()]
    ]


def _scores() -> list[Entry]:
    from tamis.observe.model_scores import MODEL_SCORES
    from tamis.observe.reducers import bytes_per_example
    from tamis.observe.scores import SCORES
    from tamis.observe.step_cost import microseconds

    def facts(higher_is_harder: bool, needs: tuple[str, ...], held: str, cost: str, reference: str) -> str:
        harder = "higher" if higher_is_harder else "lower"
        return f"{harder} is harder; needs {', '.join(needs)}; {held}; {cost}; {reference}"

    entries = []
    for make in SCORES.values():
        score = make()
        cost = f"{microseconds(score):.0f} µs a step of 256 examples, 10 classes"
        needs = score.needs or ("loss",)
        held = f"{bytes_per_example(score.reducer)} bytes per example"
        entries.append(
            (score.name, facts(score.higher_is_harder, needs, held, cost, score.reference), _first_line(make))
        )
    for row in MODEL_SCORES.values():
        about = facts(row.higher_is_harder, row.needs, row.holds, row.cost, row.reference)
        entries.append((row.name, about, _first_line(row.function)))
    return entries


def _corruptions() -> list[Entry]:
    from tamis.corrupt import INJECTORS

    return [(name, "", _first_line(make)) for name, make in INJECTORS.items()]


def _datasets() -> list[Entry]:
    from tamis.data.sources import DATASETS

    return [(name, "", _first_line(make)) for name, make in DATASETS.items()]


def _first_line(function: Any) -> str:
    function = getattr(function, "func", function)  # a partial's own docstring is functools'
    paragraph = (function.__doc__ or "").strip().split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "").replace("**", "")


def _audits(data: str) -> Path:
    """Where an audit goes if nothing is said: a folder gives its whole name (v1.2), a file its name without ending."""
    path = Path(data).expanduser().resolve()
    return Path("audits") / ((path.stem if path.is_file() else path.name) or "data")


def _device(name: str) -> str:
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise TamisError(f"--device is {name!r}, but it must be auto, cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise TamisError("--device cuda was asked for, but torch sees no CUDA device here; use --device cpu.")
    return "cuda" if name != "cpu" and torch.cuda.is_available() else "cpu"


def main() -> None:
    """Entry point: errors that the user can mend are one sentence on stderr and exit code 2; Ctrl-C is 130.

    Exit code 1 means that the study ended and some of its runs failed.
    """
    try:
        code = app(standalone_mode=False)
    except TamisError as error:
        print(f"tamis: {error}", file=sys.stderr)
        code = 2
    except ClickException as error:
        print(f"tamis: {_sentence(error)}", file=sys.stderr)
        code = 2
    except (typer.Abort, KeyboardInterrupt):
        code = 130
    except SystemExit:  # rich's answer to `tamis list scores | head`: the reader has seen enough
        code = 0
    if code == 130:  # typer, too, answers Ctrl-C with this code
        print("tamis: stopped; finished runs are kept, and the same command goes on from there.", file=sys.stderr)
    sys.exit(code if isinstance(code, int) else 0)


def _sentence(error: Any) -> str:
    message = error.format_message().strip()
    command = error.ctx.command_path if isinstance(error, UsageError) and error.ctx else "tamis"
    return f"{message[:1].lower()}{message[1:].rstrip('.?')}; see '{command} --help'."
