"""A table that has not been read yet, whatever files its rows lie in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tamis.own.base import reason
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Table:
    """A table whose rows may lie in several files.

    Attributes:
        where: how an error calls it. types: the columns' types by name.
        parts: one function per file, from the wanted columns and the most rows (None: all) to those rows.
        folder: where the files lie that its rows may name.
        class_names: the names behind an integer column's values, by column, where the data state them.
        as_written: of a text file, from a column to its cells as texts, as they stand there.
        decimal_comma: whether numbers of a text file may be written with one.
    """

    where: str
    types: Mapping[str, pl.DataType]
    parts: tuple[Callable[[Sequence[str], int | None], pl.DataFrame], ...]
    folder: Path
    class_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    as_written: Callable[[str], pl.Series] | None = None
    decimal_comma: bool = False


def damage() -> tuple[type[BaseException], ...]:
    """What polars raises at files that are not what they should be; its panics are no ``Exception``."""
    from polars.exceptions import PanicException, PolarsError

    return (PolarsError, PanicException, OSError, UnicodeDecodeError)


def rows(table: Table, columns: Sequence[str], most: int | None = None) -> Iterator[pl.DataFrame]:
    """The rows, file by file, with the wanted columns alone; of each file at most the first ``most``.

    Raises:
        TamisError: if a file is damaged or lacks a column.
    """
    for part in table.parts:
        try:
            yield part(columns, most)
        except damage() as error:
            raise TamisError(f"{table.where} cannot be read as a table ({reason(error)}).") from error
