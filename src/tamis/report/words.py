"""Numbers and policies as a reader sees them: one colour, shape and letter a policy, one way to write a per cent."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import polars as pl
from markupsafe import Markup, escape

from tamis.report.svg import SHAPES
from tamis.selection.policies import brief

LONG = 40  # characters of a policy's label
COLOURS = 7  # of methods in study.css; the standard and the random subset have one of their own


class Style(NamedTuple):
    """How a policy looks in every figure: a CSS class, a shape, a letter."""

    css: str
    shape: str
    letter: str


def styles(runs: pl.DataFrame) -> dict[str, Style]:
    """One style a policy, in the order of the records; shapes and letters keep apart what a reader's eyes may not."""
    methods = runs.filter(pl.col("role").is_in(["method", "separator"]))["policy"].unique(maintain_order=True)
    found = {"uniform": Style("uniform", "circle", "U"), "random_subset": Style("subset", "square", "R")}
    for k, policy in enumerate(methods):
        found[policy] = Style(f"c{k % COLOURS}", SHAPES[2 + k % (len(SHAPES) - 2)], chr(ord("A") + k % 26))
    return found


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a per cent; a dash where there is none.

    Example:
        >>> percent(0.1234), percent(None)
        ('12.3 %', '—')
    """
    return "—" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f} %"


def tick(value: float) -> str:
    """A fraction as a per cent at an axis, as short as it can be."""
    return f"{100 * value:.6g} %".replace("-", "−")


def points(value: float | None) -> str:
    """A difference of fractions in percentage points, with its sign.

    Example:
        >>> points(-0.0123), points(0.2)
        ('−1.23', '+20.00')
    """
    if value is None or not math.isfinite(value):
        return "—"
    return f"{100 * value:+.2f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """The two ends of an interval in percentage points; a dash where there is none."""
    known = low is not None and high is not None and math.isfinite(low) and math.isfinite(high)
    return f"{points(low)} to {points(high)}" if known else "—"


def number(value: float | None, digits: int = 2) -> str:
    """A plain number; a dash where there is none."""
    return "—" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}"


def named(policies: Iterable[str]) -> dict[str, str]:
    """Policies' names in a page: their labels, of a long one only what is not as usual, unless two would be one.

    Example:
        >>> named(["selective_backprop(beta=1)", "guarded(settle=3, slowing=0.15, wrong=0.25, relook=0.1)"])
        {'selective_backprop(beta=1)': 'selective_backprop(beta=1)', \
'guarded(settle=3, slowing=0.15, wrong=0.25, relook=0.1)': 'guarded(wrong=0.25)'}
    """
    found = {label: label if len(label) <= LONG else brief(label) for label in policies}
    taken = Counter(found.values())
    return {label: name if taken[name] == 1 else label for label, name in found.items()}


def setting_name(dataset: str, size: int, model: str) -> str:
    """A setting in words."""
    return f"{dataset}, {size:,} examples, {model}"


def unbroken(text: str) -> str:
    """Prose whose numbers keep their per cent sign at the end of a line."""
    return text.replace(" %", "\u00a0%")


def shortened(text: str, most: int = 40) -> str:
    """A text of at most so many characters.

    Example:
        >>> shortened("a" * 50, 8), shortened("owl")
        ('aaaaaaa…', 'owl')
    """
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def breakable(name: str) -> Markup:
    """A long name, escaped, that may be broken after ``_`` and ``(`` and nowhere else.

    Example:
        >>> breakable("top_k(<b>")
        Markup('top_<wbr>k(<wbr>&lt;b&gt;')
    """
    return Markup(re.sub(r"([_(])", r"\1<wbr>", str(escape(name))))


def listed(items: list[str]) -> str:
    """Items as prose.

    Example:
        >>> listed(["a", "b", "c"])
        'a, b and c'
    """
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
