"""An audit's folder: whose it is, what is kept in it while work goes on, and files that are whole or not there."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from tamis.separation.evidence import Evidence, Fold
from tamis.study.record import write_json, write_whole
from tamis.types import Costs, TamisError

Part = TypeVar("Part")
MARK, WORK = "audit.json", ".work"
TYPES: dict[str, Any] = {"Evidence": Evidence, "Fold": Fold}


def claim(out: Path, what: dict[str, Any], fresh: bool = False) -> dict[str, Any]:
    """Take ``out`` for the audit that ``what`` describes; returns the description that holds in it.

    A folder that an earlier audit of the same data with the same settings began is gone on with, and the effort it
    had settled on stays. ``what["effort"]`` is the only part that may differ.

    Raises:
        TamisError: a file, a folder that holds something else, an audit of other data or with other settings.
    """
    if out.exists() and not out.is_dir():
        raise TamisError(f"--out {out} is a file, but an audit needs a folder; name another place.")
    mark = out / MARK
    inside = [path.name for path in out.iterdir()] if out.exists() else []
    if inside and not mark.exists():
        raise TamisError(
            f"--out {out} holds no audit ({', '.join(sorted(inside)[:3])} …); name a new or an empty folder."
        )
    if mark.exists():
        theirs = read_mark(out)
        if fresh:
            shutil.rmtree(out / WORK, ignore_errors=True)
        elif {**theirs, "effort": None} == {**what, "effort": None}:
            return theirs
        else:
            differs = [key for key in what if key != "effort" and theirs.get(key) != what[key]]
            raise TamisError(
                f"--out {out} holds an audit of other data or settings ({', '.join(differs)} differ); name another "
                "folder, or use --fresh."
            )
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_json(mark, what)
    except OSError as error:
        raise TamisError(f"--out {out} cannot be written ({error.strerror}); name another place.") from error
    return what


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
