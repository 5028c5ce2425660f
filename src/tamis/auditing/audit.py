"""audit(): a person's own data, to a verdict on every example, a summary, and a page on which they can act."""

from __future__ import annotations

import io
import os
import platform
import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tamis.auditing.effort import Effort, check_asked, networks, plan_effort
from tamis.auditing.folder import MARK, Kept, check, claim, data_name, finished, keep_outside
from tamis.auditing.prioritising import judge_prioritising
from tamis.own.reading import Own, from_arrays, read
from tamis.selection.cost import ASSUMED
from tamis.separation.evidence import Evidence
from tamis.separation.gathering import gather_evidence
from tamis.separation.separate import Verdicts, separate
from tamis.study.folder import held
from tamis.study.record import write_json, write_whole
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

Progress = Callable[[str, float], None]
WHOLE_MATRIX = 100  # classes up to which summary.json holds all of the transition; of 1,000 it would take 26 MB
OPTIONS = re.compile(r'"(?:[^"\\]|\\.)*"|\b(label|text|embed|limit)=')
LEAST_SHARE = 0.001  # of a class that bears another's label, from which on such a pair is listed instead


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        table: a row for each example: ``source`` and the columns of :class:`~tamis.separation.separate.Verdicts`, with
            ``label_name`` and ``suggested_name``.
        summary: what ``summary.json`` holds: noise rate with its interval, per class, transition, the verdict on
            prioritisation, costs, versions. names: of the classes, in the order of the labels.
        own: the data as they were read. out: where files were written, or None. finished: False where it was stopped.
    """

    table: pl.DataFrame
    summary: dict[str, Any]
    names: tuple[str, ...]
    own: Own
    out: Path | None = None
    finished: bool = True


def audit(
    data: Any,
    y: Any = None,
    *,
    label: str | None = None,
    text: str | None = None,
    embed: Any = None,
    names: Sequence[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    minutes: float = 10.0,
    fdr: float = 0.05,
    model: str = "auto",
    device: str = "cpu",
    seed: int = 0,
    limit: int | None = None,
    fresh: bool = False,
    command: str = "",
    progress: Progress | None = None,
) -> Audit:
    """Train a small network on data that are not fully trusted, and say of each example what is the matter with it.

    Args:
        data: what :func:`tamis.own.reading.read` takes: a path, a known name; or the inputs ``x`` ``[N, ...]``.
        y: ``[N]`` labels, where ``data`` are the inputs. names: of the classes then.
        label, text, embed, limit: see :func:`tamis.own.reading.read`.
        out: a folder for ``verdicts.parquet``, ``verdicts.csv``, ``summary.json`` and ``report.html``; a second call
            with the same data and settings goes on where the first stopped, and reads back what it finished. None
            writes nothing.
        minutes: turned into a fixed number of steps by the price list before training starts. fdr: in (0, 1).
        model: auto, mlp, convnet or resnet9. device: cpu or cuda. seed: with the number of steps it decides everything.
        fresh: start over in ``out``. command: how it was called, for the page. progress: called with what is being
            done and the fraction of it.

    Returns:
        The audit. On Ctrl-C after the first run it is what that run knows, with ``finished`` False.

    Raises:
        TamisError: data that cannot be read, a folder that is not an audit's or in which one is running, settings out
            of range.
        KeyboardInterrupt: stopped before anything was known, or where ``out`` holds a finished audit, which stays.

    Example:
        >>> import tamis
        >>> x = torch.randn(400, 5, generator=torch.Generator().manual_seed(0))
        >>> y = (x[:, 0] > 0).long()
        >>> y[:20] = 1 - y[:20]
        >>> found = tamis.audit(x, y, minutes=0.01)
        >>> found.table.height, found.table.sort("p_mislabeled", descending=True)["index"][:10].max() < 20
        (400, True)

    Fails when: a network of this size learns little of the data within the minutes; see the guide on separation.
    """
    if not 0 < fdr < 1:
        raise TamisError(f"--fdr is {fdr:g}, but a share of false alarms lies inside (0, 1), such as 0.05.")
    check_asked(minutes, model)
    tell = progress or (lambda what, fraction: None)
    start = time.perf_counter()
    place = None if out is None else Path(out)
    folder = None if place is None else place.resolve()
    if folder is not None:
        keep_outside(folder, data)
    own = _own(data, y, names, label, text, embed, limit, tell)
    networks(own, minutes, model)  # what cannot be done is refused before anything is written
    settings = {"data": own.digest, "model": model, "minutes": minutes, "seed": seed, "fdr": fdr}
    if folder is not None:
        check(folder, settings, fresh)  # before the hold leaves its lock in a folder that is not ours
    with nullcontext() if folder is None else held(folder, "audit"):
        settled = None if folder is None else claim(folder, {**settings, "effort": None}, fresh)["effort"]
        earlier = None if folder is None else finished(folder)
        kept = None if folder is None else Kept(folder)
        if kept is not None and earlier is not None and _ours(earlier[1]):
            tell("reading back what is finished", 1.0)
            kept.clear()
            return Audit(*earlier, own.names, own, place)
        effort = Effort(**settled) if settled else plan_effort(own, minutes, model, device)[0]
        if folder is not None:
            write_json(folder / MARK, {**settings, "effort": effort.as_dict()})
        evidence, whole = _evidence(own, effort, device, seed, kept, tell)
        if not whole and earlier is not None:
            raise KeyboardInterrupt  # what was finished is worth more than what this run knows by now
        tell("separating", 0.0)
        verdicts = separate(evidence, features=own.data.x, fdr=fdr)
        tell("separating", 1.0)
        seconds = time.perf_counter() - start
        summary = _summary(own, verdicts, evidence, effort, seconds, _title(data), command, whole)
        found = Audit(_table(own, verdicts), summary, own.names, own, place, whole)
        if folder is not None:
            write(found, folder, tell)
        if kept is not None and whole:
            kept.clear()
    return found


def write(found: Audit, folder: Path, tell: Progress) -> None:
    """All files of an audit, each whole or not there; the summary last, which says whether they are finished.

    Raises:
        TamisError: the disk is full, or the folder cannot be written.
    """
    import polars as pl

    from tamis.report.audit import Shown, protected, write_audit_page

    def show(i: int) -> Shown:
        shown = found.own.shown
        return Shown(shown.picture(i), shown.text(i), shown.cells(i))

    tell("writing", 0.0)
    try:
        parquet = io.BytesIO()
        found.table.write_parquet(parquet)
        write_whole(folder / "verdicts.parquet", parquet.getvalue())
        guarded = found.table.with_columns(pl.col(pl.String).map_elements(protected, pl.String))
        write_whole(folder / "verdicts.csv", guarded.write_csv().encode())
        tell("writing", 0.3)
        write_audit_page(folder / "report.html", summary=found.summary, table=found.table, names=found.names, show=show)
        write_json(folder / "summary.json", found.summary)
    except OSError as error:
        raise TamisError(
            f"{folder} cannot be written ({error.strerror or error}); free some space, and run again."
        ) from error
    tell("writing", 1.0)


def _ours(summary: dict[str, Any]) -> bool:
    """Whether this version of Tamis wrote it: another may judge otherwise."""
    versions = summary.get("versions")
    return isinstance(versions, dict) and versions.get("tamis") == metadata.version("tamis")


def in_options(text: str) -> str:
    """What a function says of ``label=``, the command says of ``--label``; what is quoted is a person's own.

    Example:
        >>> in_options('column "text=": name it as text=')
        'column "text=": name it as --text'
    """
    return OPTIONS.sub(lambda found: f"--{found[1]}" if found[1] else found[0], text)


def _own(data: Any, y: Any, names: Any, label: Any, text: Any, embed: Any, limit: Any, tell: Progress) -> Own:
    if y is not None:
        if label is not None or text is not None:
            raise TamisError("label= and text= name columns of a file; with arrays give x and y alone.")
        return from_arrays(data, y, names, limit=limit)
    own = read(data, label=label, text=text, embed=embed, limit=limit, progress=lambda part: tell("reading", part))
    tell("reading", 1.0)
    return own


def _evidence(
    own: Own, effort: Effort, device: str, seed: int, kept: Kept | None, tell: Progress
) -> tuple[Evidence, bool]:
    data = own.data._replace(x=own.data.x.to(device), y=own.data.y.to(device))
    first: list[Evidence] = []

    def keep(name: str, make: Callable[[], Any]) -> Any:
        part = make() if kept is None else kept(name, make)
        if isinstance(part, Evidence):
            first.append(part)
        return part

    try:
        return gather_evidence(
            data, effort.network(own, device), recipe=effort.recipe, passes=effort.passes, folds=effort.folds,
            fold_passes=effort.fold_passes, seed=seed, progress=lambda part: tell("training", part), keep=keep,
        ), True  # fmt: skip
    except KeyboardInterrupt:
        if not first:
            raise
        return first[0], False


def _table(own: Own, verdicts: Verdicts) -> pl.DataFrame:
    import polars as pl

    names = pl.Series(own.names, dtype=pl.String)
    table = verdicts.table

    def named(found: re.Match[str]) -> str:  # reasons are written before anybody knows the classes' names
        return f"p({own.names[int(found[1])]})"

    return table.select(
        "index",
        pl.Series("source", own.sources, dtype=pl.String),
        "label",
        pl.Series("label_name", [own.names[i] for i in table["label"]], dtype=pl.String),
        *[name for name in table.columns if name.startswith("p_") and name != "p_suggested"],
        "kind",
        "suggested_label",
        pl.Series("suggested_name", [None if i is None else names[i] for i in table["suggested_label"]], pl.String),
        "p_suggested",
        "flagged",
        pl.Series("reasons", [re.sub(r"p\(class (\d+)\)", named, text) for text in table["reasons"]], pl.String),
        "neighbour",
        "confidence",
        "variability",
    )


def _summary(
    own: Own, verdicts: Verdicts, evidence: Evidence, effort: Effort, seconds: float, title: str, command: str,
    finished: bool,
) -> dict[str, Any]:  # fmt: skip
    import polars as pl

    table = verdicts.table
    damaged = pl.col("kind").is_in(["corrupted", "out_of_distribution"])
    noise = table.select(pl.when(damaged).then(1.0).otherwise("p_mislabeled")).to_series().to_numpy()
    prioritising = judge_prioritising(evidence.loss, torch.from_numpy(noise.copy()))
    by_class = table.group_by("label").agg(
        pl.len().alias("examples"), pl.col("p_mislabeled").mean().alias("noise_rate"), pl.col("flagged").sum()
    )
    rows = {row["label"]: row for row in by_class.to_dicts()}
    stopped = (
        () if finished else ("It was stopped after the first run: the ranking is nearly as good, the rate may be low.",)
    )
    spoken: Callable[[str], str] = in_options if command else str
    refit = ("refit=, or more minutes for an audit", "give it more minutes")  # of which an audit has the second alone
    missing = [line.replace(*refit) for line in verdicts.missing]
    return {
        "title": title,
        "data": data_name(own.digest),
        "examples": table.height,
        "classes": len(own.names),
        "kind": own.kind,
        "noise_rate": verdicts.noise_rate,
        "noise_interval": None if verdicts.interval is None else list(verdicts.interval),
        "agreement": None if verdicts.agreement is None else list(verdicts.agreement),
        "flagged": int(table["flagged"].sum()),
        "fdr": verdicts.fdr,
        "kinds": dict(sorted(table["kind"].value_counts().iter_rows())),
        "per_class": [
            {"name": name, **{key: rows.get(i, {}).get(key, 0) for key in ("examples", "noise_rate", "flagged")}}
            for i, name in enumerate(own.names)
        ],
        **_transition(verdicts.transition, own.names),
        "missing": [*stopped, *map(spoken, missing)],
        "skipped": [[source, spoken(why)] for source, why in own.skipped],
        "prioritisation": prioritising.as_dict(),
        "effort": effort.as_dict(),
        "costs": {"epochs": ASSUMED.cost(evidence.costs, len(evidence.label)), "seconds": round(seconds, 1)},
        "versions": {
            "tamis": metadata.version("tamis"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "command": command,
        "finished": finished,
    }


def _transition(matrix: Tensor | None, names: Sequence[str]) -> dict[str, Any]:
    """The whole matrix for few classes, else the entries that matter, with their classes' names."""
    from tamis.report.audit_words import largest_confusions

    if matrix is None or len(matrix) <= WHOLE_MATRIX:
        return {"transition": None if matrix is None else matrix.tolist()}
    largest = largest_confusions(matrix.numpy(), LEAST_SHARE)
    return {"transition": None, "confusions": [[names[i], names[j], share] for i, j, share in largest]}


def _title(data: Any) -> str:
    if isinstance(data, str | os.PathLike):
        return Path(data).expanduser().resolve().name or str(data)  # "." has a name, too
    return "arrays"
