"""Draw the figure of the README from a study's records: ``python scripts/figure.py docs/results/crossover out.svg``.

Two panels against the share of random labels, by policy: how much of what it trained on was noise, and its test error
at equal candidate epochs. One standalone SVG without a script, for light and dark pages.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import polars as pl
from markupsafe import Markup

from tamis.report import figures
from tamis.report.figures import whisker_up
from tamis.report.svg import Panel, linear_axis, marker
from tamis.report.words import percent, styles, tick
from tamis.study import evaluate
from tamis.study.statistics import finished

WIDTH, HEIGHT = 720, 318


def noise_panel(runs: pl.DataFrame, curves: pl.DataFrame) -> Markup:
    """The measured share of noise in what was trained on, against the share in the training set."""
    shares = evaluate.noise_shares(runs, curves).filter(pl.col("rate") > 0)
    look = styles(runs)
    panel = Panel(
        "what is trained on",
        "Share of wrong labels among what was trained on, against the rate of random labels",
        linear_axis(shares["rate"], tick, zero=True),
        linear_axis([*shares["measured"].drop_nulls(), 1.0], tick, zero=True),
        bottom="random labels in the training set",
        side="wrong labels among what was trained on",
    )
    standard = finished(runs).filter((pl.col("role") == "standard") & (pl.col("rate") > 0))
    base = standard.group_by("rate").agg(pl.col("realised_rate").mean()).sort("rate")
    panel.line([(0.0, 0.0), *base.iter_rows()], look["uniform"].css)
    ends = [(base["realised_rate"][-1], look["uniform"].letter, look["uniform"].css)]
    for policy in shares["policy"].unique(maintain_order=True):
        style, mine = look[policy], shares.filter(pl.col("policy") == policy).sort("rate").to_dicts()
        panel.line([(row["rate"], row["measured"]) for row in mine], style.css)
        for row in mine:
            whisker_up(panel, row["rate"], row, style.css, 0)
            panel.mark(row["rate"], row["measured"], style.css, style.shape, f"{policy}: {percent(row['measured'], 1)}")
        ends.append((mine[-1]["measured"], style.letter, style.css))
    panel.ends(ends)
    return panel.svg()


def standalone(panels: list[Markup], legend: list[tuple[str, object]]) -> str:
    """The panels side by side above their legend, with the page's own colours inside."""
    css = (Path(figures.__file__).parent / "study.css").read_text("utf-8")
    keep = re.findall(r"^(?:\.panel (?:text|\.)|\.(?:grid|line|whisker|mark|uniform|subset|c\d)\b)[^\n]*", css, re.M)
    roots = css[: css.index("* { box-sizing")]
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="system-ui, sans-serif">',
        f"<style>{roots}{' '.join(keep)}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="8" fill="var(--panel)"/>',
    ]
    for k, panel in enumerate(panels):
        out.append(
            str(panel).replace(
                '<svg class="panel"', f'<svg class="panel" x="{8 + 355 * k}" y="8" width="345" height="240"', 1
            )
        )
    for k, (name, style) in enumerate(legend):
        x, y = 24 + 350 * (k % 2), 266 + 17 * (k // 2)
        text = f'<text class="name {style.css}" x="{x + 12}" y="{y + 4}">{style.letter} {Markup.escape(name)}</text>'  # type: ignore[attr-defined]
        out.append(f'<g class="panel">{marker(x, y, style.css, style.shape)}{text}</g>')  # type: ignore[attr-defined]
    return "\n".join([*out, "</svg>", ""])


def main(folder: Path, out: Path) -> None:
    runs, curves = (pl.read_parquet(folder / f"{name}.parquet") for name in ("runs", "curves"))
    error = figures.error_by_rate(evaluate.main_cells(runs, curves), styles(runs))
    out.write_text(standalone([noise_panel(runs, curves), error.groups[0][1][0]], error.legend))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
