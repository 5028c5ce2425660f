"""An audit's folder: whose it is, what is kept in it while work goes on, and files that are whole or not there."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from tamis.own.base import reason, some
from tamis.separation.evidence import Evidence, Fold
from tamis.study.record import write_json, write_whole
from tamis.types import Costs, TamisError

if TYPE_CHECKING:
    import polars as pl

Part = TypeVar("Part")
MARK, WORK, LOCK = "audit.json", ".work", ".lock"
RESULTS = ("summary.json", "report.html", "verdicts.csv", "verdicts.parquet")
TYPES: dict[str, Any] = {"Evidence": Evidence, "Fold": Fold}


def keep_outside(out: Path, data: Any) -> None:
    """Refuse to write among the data, where a later run would read the results as examples.

    Raises:
        TamisError: ``data`` is the path of a folder, and ``out`` is that folder or lies in it.
    """
    if not isinstance(data, str | os.PathLike):
        return
    folder = Path(data).expanduser()
    if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
        raise TamisError(
            f"{out} lies inside the data ({folder}), where results would be taken for examples; name another place "
            "as --out."
        )


def check(out: Path, what: dict[str, Any], fresh: bool = False) -> dict[str, Any] | None:
    """Refuse a folder that is not for the audit that ``what`` describes; touches nothing.

    Returns:
        How an earlier audit described itself in it; None in a new or an empty folder.

    Raises:
        TamisError: a file, a folder that holds something else, an audit of other data or with other settings.
    """
    try:
        if out.exists() and not out.is_dir():
            raise TamisError(f"--out {out} is a file, but an audit needs a folder; name another place.")
        inside = sorted(path.name for path in out.iterdir() if path.name != LOCK) if out.exists() else []
    except OSError as error:
        raise TamisError(f"--out {out} cannot be read ({reason(error)}); name another place.") from error
    if MARK not in inside:
        if inside:
            raise TamisError(f"--out {out} holds no audit, but {some(inside, 3)}; name a new or an empty folder.")
        return None
    theirs = read_mark(out)
    differs = [key for key in what if key != "effort" and theirs.get(key) != what[key]]
    if differs and not fresh:
        raise TamisError(
            f"--out {out} holds an audit of other data or settings ({', '.join(differs)} differ); name another "
            "folder, or use --fresh."
        )
    return theirs


def claim(out: Path, what: dict[str, Any], fresh: bool = False) -> dict[str, Any]:
    """Take ``out``, checked, for the audit that ``what`` describes; returns the description that holds in it.

    A folder that an earlier audit of the same data with the same settings began is gone on with, and the effort it
    had settled on stays; ``what["effort"]`` is the only part that may differ. ``fresh`` first removes what the earlier
    audit wrote, but not what a person made of it, ``cleaned``. Called while the folder is held.

    Raises:
        TamisError: as :func:`check`; the folder cannot be written.
    """
    theirs = check(out, what, fresh)
    if theirs is not None and not fresh:
        return theirs
    try:
        shutil.rmtree(out / WORK, ignore_errors=True)
        for name in RESULTS:
            (out / name).unlink(missing_ok=True)
        write_json(out / MARK, what)
    except OSError as error:
        raise TamisError(f"--out {out} cannot be written ({reason(error)}); name another place.") from error
    return what


def finished(out: Path) -> tuple[pl.DataFrame, dict[str, Any]] | None:
    """The table and the summary of an audit that came to its end in ``out``, if all that it wrote is there."""
    import polars as pl

    try:
        summary = json.loads((out / "summary.json").read_text("utf-8"))
        if not summary["finished"] or not all((out / name).is_file() for name in RESULTS):
            return None
        return pl.read_parquet(out / "verdicts.parquet", glob=False), summary
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        return None


def data_name(digest: str) -> str:
    """What a page's export calls the data of that digest; no spreadsheet takes it for a number.

    Example:
        >>> data_name("0123456789e5" + 52 * "0")
        'sha256-0123456789e50000'
    """
    return f"sha256-{digest[:16]}"


def read_mark(out: Path) -> dict[str, Any]:
    """What an audit's folder says of itself."""
    if not (out / MARK).exists():
        raise TamisError(f"there is no audit in {out}; run tamis audit with this --out first, or name its folder.")
    try:
        found = json.loads((out / MARK).read_text())
    except (OSError, ValueError):
        raise TamisError(
            f"{out / MARK} cannot be read as an audit's mark; name another folder, or delete it."
        ) from None
    if not isinstance(found, dict):
        raise TamisError(f"{out / MARK} is no audit's mark; name another folder.")
    return found


class Kept:
    """Keeps finished parts of the evidence in a folder: finished work is never done twice."""

    def __init__(self, out: Path) -> None:
        self.place = out / WORK

    def __call__(self, name: str, make: Callable[[], Part]) -> Part:
        path = self.place / f"{name}.pt"
        found = self.find(name)
        if found is not None:
            return found  # type: ignore[no-any-return]
        part: Any = make()
        self.place.mkdir(exist_ok=True)
        packed = {field.name: getattr(part, field.name) for field in fields(part)}
        packed["costs"] = [getattr(part.costs, field.name) for field in fields(Costs)]
        content = io.BytesIO()
        torch.save({"type": type(part).__name__, **packed}, content)
        write_whole(path, content.getvalue())
        return part  # type: ignore[no-any-return]

    def find(self, name: str) -> Any:
        """A part that was kept, or None; one that cannot be read is removed and made again."""
        path = self.place / f"{name}.pt"
        if not path.exists():
            return None
        try:
            packed = torch.load(path, weights_only=True)
            kind = TYPES[packed.pop("type")]
            return kind(**{**packed, "costs": Costs(*packed["costs"])})
        except Exception:  # torch names no class for what a damaged file raises
            path.unlink()
            return None

    def clear(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
