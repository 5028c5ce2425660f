"""Labels as a person wrote them, to classes: which examples are read at all, the names, and ``y``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import torch

from tamis.own.base import printable, quoted, some
from tamis.own.columns import ABSENT, MARKS
from tamis.types import TamisError, generator

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?")


def label_texts(values: np.ndarray, where: str) -> list[str | None]:
    """Every label as the text of its class, None where it is missing (NaN, None, or blank).

    Args:
        values: ``[N]`` or ``[N, 1]``, of integers, booleans, text, or floats (3.0 becomes "3").
        where: how an error calls them.

    Raises:
        TamisError: if they are no column of labels.

    Example:
        >>> label_texts(np.array([3.0, np.nan]), "y"), label_texts(np.array(["cat", " "]), "y")
        (['3', None], ['cat', None])
    """
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        hint = "; if they are one-hot, give their argmax" if values.ndim == 2 else ""
        raise TamisError(f"{where}: the labels are {list(values.shape)}, and must be one per example, [N]{hint}.")
    if values.dtype.kind not in "biufUSO":
        raise TamisError(f"{where}: the labels are {values.dtype}, and must be integers or text.")
    return [_text(value) for value in values.tolist()]


def _text(value: object) -> str | None:
    if isinstance(value, float | np.floating):
        whole = value.is_integer() and abs(float(value)) < 2**53
        value = int(value) if whole else None if np.isnan(value) else value
    if value is None:
        return None
    text = value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
    return None if text.strip() in ("", "<NA>") else printable(text)  # "<NA>" is how pandas' missing value prints


def unmarked(labels: Sequence[str | None]) -> list[str | None]:
    """Labels without the marks for missing values, which a file of text cannot tell from texts: None in their place.

    Among labels that are numbers otherwise, the same marks as in a column of numbers (NA, NaN, null, none, ?, - …);
    among others NA, N/A, NaN and null alone, since a class may well be called "none" or "-". Where that would leave
    fewer than two classes, all stay.

    Example:
        >>> unmarked(["cat", "NA", "none", "cat"]), unmarked(["1", "?", "2"]), unmarked(["DE", "NA"])
        (['cat', None, 'none', 'cat'], ['1', None, '2'], ['DE', 'NA'])
    """
    found = {label: label.strip().lower() for label in set(labels) if label is not None}
    others = [text for text in found.values() if text not in MARKS]
    numbers = bool(others) and all(_NUMBER.fullmatch(text) for text in others)
    marks = {label for label, text in found.items() if text in (MARKS if numbers else ABSENT)}
    if len(found) - len(marks) < 2:
        return list(labels)
    return [None if label in marks else label for label in labels]


def without_lonely(labels: Sequence[str | None]) -> tuple[list[str | None], list[tuple[int, str]]]:
    """Labels without those that a single example bears: it can be neither held out nor compared.

    All stay where leaving them out would mend nothing, and :func:`classes_of` says why: with fewer than two classes
    left, or where so many are single that they look like numbers or identifiers.

    Returns:
        The labels, None in place of those, and (position, why) of each.

    Example:
        >>> without_lonely(["a", "b", None, "a", "c", "b"])
        (['a', 'b', None, 'a', None, 'b'], [(4, 'is the only example of the class "c"')])
    """
    counts = Counter(label for label in labels if label is not None)
    single = {label for label, count in counts.items() if count == 1}
    if len(counts) - len(single) < 2 or _identifiers(len(single), len(counts)):
        return list(labels), []
    gone = [(i, f"is the only example of the class {quoted(x)}") for i, x in enumerate(labels) if x in single]
    return [None if label in single else label for label in labels], gone


def _identifiers(single: int, classes: int) -> bool:
    return single > 10 and 2 * single > classes


def chosen(labels: Sequence[str | None], limit: int | None, where: str) -> np.ndarray:
    """Which examples are read: those with a label, at most ``limit`` of them, in their own order.

    A limited choice is drawn without replacement by a fixed seed, after the first two drawn of every class, so that no
    class is lost.

    Returns:
        Positions, int64, rising.

    Raises:
        TamisError: if no example has a label, or ``limit`` is less than two per class.

    Example:
        >>> chosen(["a", None, "b", "a", "b"], None, "y").tolist(), len(chosen(["a", "b"] * 50, 10, "y"))
        ([0, 2, 3, 4], 10)
    """
    present = np.array([i for i, label in enumerate(labels) if label is not None], np.int64)
    if not len(present):
        raise TamisError(
            f"{where}: none of the {len(labels):,} examples has a label." if labels else f"{where} is empty."
        )
    if limit is None or limit >= len(present):
        return present
    number: dict[str | None, int] = {}
    group = np.array([number.setdefault(labels[i], len(number)) for i in present])
    classes = len(number)
    if limit < 2 * classes:
        raise TamisError(f"{where}: a limit of {limit} is less than two examples for each of {classes:,} classes.")
    order = torch.randperm(len(present), generator=generator(0, "data.own")).numpy()
    by_class = order[np.argsort(group[order], kind="stable")]  # class by class, each in the drawn order
    starts = np.searchsorted(group[by_class], np.arange(classes))
    rank = np.empty(len(present), np.int64)
    rank[by_class] = np.arange(len(present)) - starts[group[by_class]]
    first = order[np.argsort(rank[order] >= 2, kind="stable")]
    return np.sort(present[first[:limit]])


def classes_of(
    labels: Sequence[str], sources: Sequence[str], where: str, order: Sequence[str] = ()
) -> tuple[np.ndarray, tuple[str, ...]]:
    """``y`` and the class names: in ``order`` where it is given, else by number if all are numbers, else by text.

    Args:
        labels: ``N`` texts. sources: ``N``, for the sentence about a class with one example. order: all names, if the
            data state an order of their own; a name that no example bears is left out.

    Returns:
        ``y`` ``[N]`` int64 and ``K`` names.

    Raises:
        TamisError: if there are fewer than two classes, or a class with one example, see :func:`without_lonely`.

    Example:
        >>> y, names = classes_of(["10", "9", "10", "9"], ["a", "b", "c", "d"], "y")
        >>> y.tolist(), names
        ([1, 0, 1, 0], ('9', '10'))
    """
    counts: dict[str, int] = {}
    for label in labels:
        counts[label] = counts.get(label, 0) + 1
    if len(counts) < 2:
        what = f"every example is of the class {quoted(*counts)}" if counts else "there is no example"
        raise TamisError(f"{where}: {what}; at least two classes are needed.")
    names = [name for name in order if name in counts] or sorted(counts, key=_order(counts))
    alone = [name for name in names if counts[name] == 1]
    if _identifiers(len(alone), len(names)):
        raise TamisError(
            f"{where}: {len(alone):,} of {len(names):,} classes have a single example, and two are needed; such labels "
            "look like numbers or identifiers: name another column, or leave these examples out."
        )
    if len(alone) > 1:
        raise TamisError(
            f"{where}: the classes {some(alone, 5)} have one example each, and two are needed; add examples: without "
            "these classes fewer than two are left."
        )
    if alone:
        place = sources[list(labels).index(alone[0])]
        raise TamisError(
            f"{where}: the class {quoted(alone[0])} has one example ({place}), and two are needed; add another: "
            "without this class fewer than two are left."
        )
    number = {name: k for k, name in enumerate(names)}
    return np.array([number[label] for label in labels], np.int64), tuple(names)


def _order(names: dict[str, int]):  # type: ignore[no-untyped-def]
    if all(_NUMBER.fullmatch(name) for name in names):
        return lambda name: (Decimal(name), name)
    return lambda name: name
