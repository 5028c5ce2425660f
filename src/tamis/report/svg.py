"""Small charts as inline SVG: one panel, two axes, a few marks. No script; colours come from the page's style sheet.

A panel is about 340 units wide, so that a phone shows it at its own size. Marks bear a CSS class that sets ``color``;
they are drawn in ``currentColor`` and so follow the light or dark scheme. All text is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

Point = tuple[float, float]
LINE = 14  # height of a line of text
SHAPES = ("circle", "square", "diamond", "triangle", "down", "cross", "star", "bar")


@dataclass(frozen=True)
class Axis:
    """A scale from data to position, with its ticks and how they are written."""

    low: float
    high: float
    ticks: tuple[float, ...]
    write: Callable[[float], str]
    log: bool = False

    def holds(self, value: float) -> bool:
        """Whether ``value`` has a place: it is finite, and above 0 on a logarithmic axis."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def at(self, value: float) -> float:
        """Where ``value`` lies, 0 at ``low`` and 1 at ``high``; kept within a little beyond both; NaN where nowhere."""
        if not self.holds(value):
            return math.nan
        low, high, x = (math.log(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return min(1.03, max(-0.03, (x - low) / (high - low)))


def linear_axis(values: Iterable[float], write: Callable[[float], str], zero: bool = False, count: int = 4) -> Axis:
    """An axis over the finite ``values`` with about ``count`` round ticks; ``zero`` makes 0 part of it.

    Example:
        >>> linear_axis([0.02, 0.19], str, zero=True).ticks
        (0.0, 0.05, 0.1, 0.15, 0.2)
    """
    known = [v for v in values if math.isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    low, high = (min(0.0, low), max(0.0, high)) if zero else (low, high)
    if high - low < 1e-12:
        low, high = (low, low + 0.01) if zero and low == 0 else (low - 0.005, high + 0.005)
    step = _round_step((high - low) / count)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(k * step, 12) for k in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks, write)


def log_axis(values: Iterable[float], write: Callable[[float], str]) -> Axis:
    """A logarithmic axis over the positive ``values``, a few per cent beyond them, with three to five round ticks."""
    known = [v for v in values if v > 0 and math.isfinite(v)] or [1.0, 2.0]
    low, high = min(known) / 1.06, max(known) * 1.06
    step = _round_step((high - low) / 4)
    ticks = [round(k * step, 12) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return Axis(low, high, tuple(ticks), write, log=True)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * 0.999)


@dataclass
class Panel:
    """One chart under construction: call its methods, then :meth:`svg`.

    Attributes:
        title: stands above it. label: what a screen reader says. bottom, side: titles of the axes.
        y: the vertical axis; without one the panel is a list of rows, and marks are given their height itself.
        right: room for labels at the right edge.
    """

    title: str
    label: str
    x: Axis
    y: Axis | None = None
    bottom: str = ""
    side: str = ""
    width: int = 340
    height: int = 236
    left: int = 44
    right: int = 30
    marks: list[Markup] = field(default_factory=list)

    @property
    def top(self) -> int:
        return 3 * LINE if self.side else LINE + 10

    @property
    def floor(self) -> float:
        return self.height - 2 * LINE - 10

    def px(self, x: float) -> float:
        return self.left + self.x.at(x) * (self.width - self.left - self.right)

    def py(self, y: float) -> float:
        """A position of the vertical axis, or, in a panel of rows, the height itself."""
        return y if self.y is None else self.floor - self.y.at(y) * (self.floor - self.top)

    def _holds(self, x: float, y: float) -> bool:
        return self.x.holds(x) and (math.isfinite(y) if self.y is None else self.y.holds(y))

    def line(self, points: Sequence[Point], css: str) -> None:
        """A polyline; it is broken where a value has no place on its axis."""
        pieces: list[list[str]] = [[]]
        for x, y in points:
            if self._holds(x, y):
                pieces[-1].append(f"{self.px(x):.1f},{self.py(y):.1f}")
            elif pieces[-1]:
                pieces.append([])
        for piece in filter(None, pieces):
            self.marks.append(Markup('<path class="line {}" d="M{}"/>').format(css, "L".join(piece)))

    def whisker(self, start: Point, end: Point, css: str, dx: float = 0) -> None:
        """An interval between two points; ``dx`` shifts it sideways."""
        (x1, y1), (x2, y2) = start, end
        if self._holds(x1, y1) and self._holds(x2, y2):
            shape = '<line class="whisker {}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
            places = (self.px(x1) + dx, self.py(y1), self.px(x2) + dx, self.py(y2))
            self.marks.append(Markup(shape).format(css, *places))

    def mark(self, x: float, y: float, css: str, shape: str, tip: str, dx: float = 0, r: float = 4.2) -> None:
        """A marker with a tooltip."""
        if self._holds(x, y):
            self.marks.append(marker(self.px(x) + dx, self.py(y), css, shape, tip, r))

    def text(self, px: float, py: float, text: str, css: str = "", anchor: str = "start") -> None:
        """Text at a place of the drawing, not of the axes; none beside a mark that has no place."""
        if not (math.isfinite(px) and math.isfinite(py)):
            return
        shape = Markup('<text class="{}" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
        self.marks.append(shape.format(css, px, py, anchor, text))

    def ends(self, labels: Sequence[tuple[float, str, str]]) -> None:
        """Labels ``(y, text, css)`` at the right edge, moved apart so that none covers another."""
        known = sorted((self.py(y), text, css) for y, text, css in labels if math.isfinite(y))
        for place, (_, text, css) in zip(apart([p for p, _, _ in known], self.top, self.floor), known, strict=True):
            self.text(self.width - self.right + 8, place + 4, text, f"end {css}")

    def zero(self) -> None:
        """A line where a difference is 0."""
        self.marks.insert(0, Markup('<line class="zero" x1="{0:.1f}" y1="{1}" x2="{0:.1f}" y2="{2}"/>').format(
            self.px(0), self.top - 4, self.floor))  # fmt: skip

    def svg(self) -> Markup:
        """The finished drawing."""
        frame: list[Markup] = []
        for tick in self.x.ticks:
            px = self.px(tick)
            frame.append(
                Markup('<line class="grid" x1="{0:.1f}" y1="{1}" x2="{0:.1f}" y2="{2}"/>').format(
                    px, self.top, self.floor
                )
            )
            words = Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>')
            frame.append(words.format(px, self.floor + LINE, self.x.write(tick)))
        for tick in self.y.ticks if self.y else ():
            py = self.py(tick)
            places = (self.left, py, self.width - self.right)
            frame.append(Markup('<line class="grid" x1="{0}" y1="{1:.1f}" x2="{2}" y2="{1:.1f}"/>').format(*places))
            words = Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>')
            frame.append(words.format(self.left - 6, py + 4, self.y.write(tick) if self.y else ""))
        middle = (self.left + self.width - self.right) / 2
        titles = Markup('<text class="title" x="4" y="{}">{}</text>').format(LINE, shorten(self.title, 40))
        titles += (
            Markup('<text class="axis" x="4" y="{}">{}</text>').format(2 * LINE + 1, self.side) if self.side else ""
        )
        titles += Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
            middle, self.height - 4, self.bottom
        )
        head = Markup('<svg class="panel" role="img" viewBox="0 0 {} {}" aria-label="{}">')
        body = Markup("").join([titles, *frame, *self.marks])
        return head.format(self.width, self.height, self.label) + body + Markup("</svg>")


def marker(px: float, py: float, css: str, shape: str, tip: str = "", r: float = 4.2) -> Markup:
    """A marker of one of ``SHAPES`` at a place of the drawing; shapes tell policies apart where colours do not."""
    corners = {
        "square": ((-1, -1), (1, -1), (1, 1), (-1, 1)),
        "diamond": ((0, -1.4), (1.4, 0), (0, 1.4), (-1.4, 0)),
        "triangle": ((0, -1.3), (1.25, 0.95), (-1.25, 0.95)),
        "down": ((0, 1.3), (1.25, -0.95), (-1.25, -0.95)),
        "bar": ((-0.5, -1.5), (0.5, -1.5), (0.5, 1.5), (-0.5, 1.5)),
        "cross": tuple((a, b) for a, b in (
            (-0.45, -1.3), (0.45, -1.3), (0.45, -0.45), (1.3, -0.45), (1.3, 0.45), (0.45, 0.45),
            (0.45, 1.3), (-0.45, 1.3), (-0.45, 0.45), (-1.3, 0.45), (-1.3, -0.45), (-0.45, -0.45))),
        "star": tuple(
            (math.sin(k * math.pi / 5) * (1.5, 0.65)[k % 2], -math.cos(k * math.pi / 5) * (1.5, 0.65)[k % 2])
            for k in range(10)
        ),
    }  # fmt: skip
    title = Markup("<title>{}</title>").format(tip) if tip else Markup("")
    if shape in corners:
        path = "L".join(f"{px + a * r:.1f},{py + b * r:.1f}" for a, b in corners[shape])
        return Markup('<path class="mark {}" d="M{}Z">{}</path>').format(css, path, title)
    return Markup('<circle class="mark {}" cx="{:.1f}" cy="{:.1f}" r="{}">{}</circle>').format(css, px, py, r, title)


def apart(places: Sequence[float], top: float, floor: float, gap: float = 13) -> list[float]:
    """Sorted places moved so that neighbours are ``gap`` apart and, where there is room, all lie between the two ends.

    Example:
        >>> apart([10, 12, 40], top=0, floor=50)
        [10, 23, 40]
    """
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else max(place, top))
    for k in range(len(moved) - 1, -1, -1):
        limit = floor if k == len(moved) - 1 else moved[k + 1] - gap
        moved[k] = min(moved[k], limit)
    return moved


def shorten(text: str, most: int = 46) -> str:
    """Text that fits a panel; the whole of it stands in the table below."""
    return text if len(text) <= most else text[: most - 1] + "…"


def legend_mark(css: str, shape: str) -> Markup:
    """A policy's marker alone, for a legend."""
    return Markup('<svg class="key" viewBox="0 0 16 16" aria-hidden="true">{}</svg>').format(
        marker(8, 8, css, shape, r=4.6)
    )
