"""An example that stays in cleaned data, and the sentence for data that are no longer those of the audit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tamis.types import TamisError


@dataclass(frozen=True)
class Staying:
    """An example that stays, as a row of ``kept.csv``: ``given`` is what its label was."""

    index: int
    source: str
    label: str
    given: str
    decision: str


def changed(data: Path) -> TamisError:
    """What to raise where the data differ from those that were audited."""
    return TamisError(f"the data in {data} have changed since the audit; run it again.")


def not_audited(count: int, thing: str) -> str:
    """How many things of a copy were not audited, as the end of a sentence; nothing where there is none.

    Example:
        >>> not_audited(0, "row"), not_audited(1, "row"), not_audited(2200, "file")
        ('', ', with 1 row that was not audited, as it was', ', with 2,200 files that were not audited, as they were')
    """
    if not count:
        return ""
    are = f"{thing} that was not audited, as it was" if count == 1 else f"{thing}s that were not audited, as they were"
    return f", with {count:,} {are}"
