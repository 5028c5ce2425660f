"""One column of a table to numbers: what each kind of column becomes, and why one is left out.

========================  ==========================================================================================
numbers, booleans         less their mean, over their standard deviation
dates, times, durations   the same, of the number that stands for them
missing numbers           the mean, and one more column that says where they were missing; NA, N/A, ?, - and the like
                          are missing in a column that holds numbers otherwise
text that is numbers      where at least 95 % of the cells that are not missing, and most of the values that differ, are
                          numbers, the column is numbers; the few other cells are missing, and named
other text, categories    one column for each of the 50 most frequent levels that hold at least two rows and one row
                          in a thousand; "other" for the rest, and one more column where any are missing
lists of one length       one column per place (embeddings); a row without one is left out where 95 % have one
========================  ==========================================================================================

Columns of 0 and 1 are divided by at least .1, so that a level of one row in a thousand is not thirty times as loud as
everything else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tamis.own.base import WIDEST, quoted
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

MOST_LEVELS = 50
SLIPS = 20  # one cell of so many may be of another kind than the rest: it is a slip, and not what the column holds
_QUIET = 0.1
ABSENT = ("na", "n/a", "#n/a", "nan", "null")
"""How programs write a missing value, in lower case."""
MARKS = ("", *ABSENT, "none", "missing", "?", "-", ".")
"""What stands for a missing value among numbers; among texts "none" or "-" may well be a value."""


def to_numbers(
    series: pl.Series, label: np.ndarray, rows: np.ndarray, where: str, decimal_comma: bool = False
) -> tuple[list[np.ndarray], str]:
    """A column as standardised columns, or nothing and why it is left out.

    Args:
        series: ``N`` values. label: ``[N]`` int64, the classes; a column that merely spells them out is left out.
        rows: ``[N]`` int64, where each value stands in the file; a column that merely counts them is left out.
        decimal_comma: whether a text such as 0,5 is a number, too.

    Returns:
        Float32 arrays ``[N]``; if there is none, the reason; else which cells of it are not read, or nothing.

    Raises:
        TamisError: if a number is infinite.

    Example:
        >>> import polars as pl
        >>> columns, why = to_numbers(pl.Series("age", [1.0, None, 3.0]), np.array([0, 1, 0]), np.arange(3), "t")
        >>> [[round(float(v), 2) for v in column] for column in columns]
        [[-1.22, 0.0, 1.22], [-0.71, 1.41, -0.71]]
        >>> to_numbers(pl.Series("id", range(100, 120)), np.arange(20) % 2, np.arange(20), "t")
        ([], 'only counts the rows')
        >>> to_numbers(pl.Series("a", ["1.5"] * 20 + ["2"] * 20 + ["n.k."]), np.arange(41) % 2, np.arange(41), "t")[1]
        '1 of 41 is no number, and is read as missing: "n.k." in row 40'
    """
    import polars as pl

    unread = ""
    if series.dtype == pl.String:
        series, unread = _numbers_in(series, rows, decimal_comma)
    kind = series.dtype
    if kind.is_nested():
        return _places(series, where)
    if kind in (pl.Binary, pl.Object):
        return [], f"is of type {kind}, which is not read"
    if series.null_count() == len(series):
        return [], "has no value"
    if not kind.is_float() and _spells_out(series, label):
        return [], "says the same as the label, one for one"
    if kind.is_numeric() or kind.is_temporal() or kind == pl.Boolean:
        whole = kind.is_integer() and series.null_count() == 0
        if (whole or unread) and len(series) >= 10 and _counts(series, rows):
            return [], "only counts the rows"
        columns, why = _number(series, rows, where)
        return columns, why or unread
    return _levels(series.cast(pl.String))


def _spells_out(series: pl.Series, label: np.ndarray) -> bool:
    """One value per class and one class per value: "label_name" beside "label"."""
    import polars as pl

    classes = int(label.max()) + 1
    if len(series) < 10 or series.null_count() or series.n_unique() != classes:
        return False
    return pl.DataFrame({"value": series, "label": label}).n_unique() == classes


def _counts(series: pl.Series, rows: np.ndarray) -> bool:
    """Whether the values, where there are any, are the rows' numbers, from whatever start."""
    import polars as pl

    there = series.is_not_null()
    series, rows = series.filter(there), rows[there.to_numpy()]
    counted = (series - series[:1]).cast(pl.Float64).to_numpy()  # whole numbers first: beyond 2^53 floats have gaps
    return bool((counted == rows - rows[:1]).all())


def _numbers_in(series: pl.Series, rows: np.ndarray, decimal_comma: bool) -> tuple[pl.Series, str]:
    """A text column as numbers, if nearly all that it holds are numbers and marks for missing ones; else as it is.

    Returns:
        The column, and which of its cells are neither.
    """
    import polars as pl

    plain = series.str.strip_chars()
    plain = plain.set(plain.str.to_lowercase().is_in(MARKS).fill_null(False), None)
    numbers = plain.cast(pl.Float64, strict=False)
    if decimal_comma:  # a point among them is read above
        numbers = numbers.fill_null(plain.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False))
    odd = numbers.is_null() & plain.is_not_null()
    held, other = plain.count(), int(odd.sum())
    if other == 0 < held:
        return numbers, ""
    if SLIPS * other > held or 2 * plain.filter(odd).n_unique() >= plain.drop_nulls().n_unique():
        return series, ""
    first = odd.arg_true()[0]
    are = "is no number, and is" if other == 1 else "are no numbers, and are"
    return numbers, f"{other:,} of {held:,} {are} read as missing: {quoted(series[first])} in row {rows[first]}"


def _number(series: pl.Series, rows: np.ndarray, where: str) -> tuple[list[np.ndarray], str]:
    import polars as pl

    values = np.array(series.cast(pl.Float64).to_numpy(), np.float64)
    if len(bad := np.flatnonzero(np.isinf(values))):
        raise TamisError(f"{where}: column {quoted(series.name)} is infinite in row {rows[bad[0]]}; mend or drop it.")
    missing = np.isnan(values)
    if missing.all():
        return [], "has no value"
    _near(values[~missing], series.name, where)
    values -= values[~missing][0]  # a common offset would cost precision
    values[missing] = values[~missing].mean()
    columns = [] if (values == values[0]).all() else [_scaled(values, 0.0)]
    if missing.any():
        columns.append(_scaled(missing.astype(np.float64), _QUIET))
    return columns, "" if columns else "never varies"


def _levels(series: pl.Series) -> tuple[list[np.ndarray], str]:
    import polars as pl

    n = len(series)
    counts = series.drop_nulls().alias("level").value_counts(name="n").sort(["n", "level"], descending=[True, False])
    frequent = counts.filter(pl.col("n") >= max(2, n / 1000))["level"].to_list()[:MOST_LEVELS]
    place = {level: k for k, level in enumerate(frequent)}
    other = len(place)
    at = np.array([-1 if value is None else place.get(value, other) for value in series.to_list()], np.int64)
    if not frequent:
        return [], f"has {len(counts):,} values that hardly ever repeat; if it is text to be read, name it as text="
    columns = [at == k for k in (*range(other + 1), -1)]
    varying = [_scaled(column.astype(np.float64), _QUIET) for column in columns if 0 < column.sum() < n]
    return varying, "" if varying else "never varies"


def without_list(series: pl.Series) -> np.ndarray:
    """``[N]`` bool: the rows in which a column of lists of one length has none, if they are few; else none of them.

    Lists are features that no mean could stand for, so such a row is left out rather than filled.

    Example:
        >>> import polars as pl
        >>> without_list(pl.Series([[1.0, 2.0]] * 39 + [None])).nonzero()[0].tolist()
        [39]
    """
    import polars as pl

    inner = getattr(series.dtype, "inner", None)
    if inner is None or not inner.is_numeric():
        return np.zeros(len(series), bool)
    lengths = series.cast(pl.List(inner)).list.len().fill_null(0)
    absent = (lengths == 0).to_numpy()
    few = SLIPS * absent.sum() <= len(series) and lengths.filter(lengths > 0).n_unique() == 1
    return absent if few else np.zeros(len(series), bool)


def _places(series: pl.Series, where: str) -> tuple[list[np.ndarray], str]:
    import polars as pl

    inner = getattr(series.dtype, "inner", None)
    if inner is None or not inner.is_numeric():
        return [], f"is of type {series.dtype}, which is not read"
    lists = series.cast(pl.List(inner))
    lengths = lists.list.len().fill_null(0)
    if lengths.filter(lengths > 0).n_unique() != 1:
        return [], "is a list whose length varies from row to row" if (lengths > 0).any() else "has no value"
    if absent := int((lengths == 0).sum()):
        return [], f"has no list in {absent:,} of {len(series):,} rows, and 95 % of them must have one"
    values = lists.explode()
    if values.null_count() or not values.is_finite().all():
        raise TamisError(f"{where}: a list in column {quoted(series.name)} has a value that is missing or not finite.")
    matrix = values.cast(pl.Float64).to_numpy().reshape(len(series), -1)
    _near(matrix, series.name, where)
    columns = [_scaled(column - column[0], 0.0) for column in matrix.T if (column != column[0]).any()]
    return columns, "" if columns else "never varies"


def _near(values: np.ndarray, name: str, where: str) -> None:
    """Refuses values whose variance no float could hold."""
    if float(values.max()) / 2 - float(values.min()) / 2 > WIDEST:
        raise TamisError(f"{where}: the values of column {quoted(name)} lie too far apart for float32; rescale them.")


def _scaled(values: np.ndarray, floor: float) -> np.ndarray:
    """Less its mean, over its standard deviation or ``floor``; float32."""
    centred = values - values.mean()
    largest = float(np.abs(centred).max())
    unit = centred / largest  # whose squares do not vanish, however small the numbers
    scaled: np.ndarray = (unit / max(float(unit.std()), floor / largest)).astype(np.float32)
    return scaled
