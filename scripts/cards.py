"""Write docs/catalogue.md and a card for each policy and score, from the code and the published records.

``python scripts/cards.py`` writes; ``--check`` says which pages are not what it would write, and exits with 1.
Numbers on cards come from ``docs/results`` (``catalogue`` and ``scores``) and ``benchmarks/rules.json`` and are never
typed.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from tamis.corrupt import INJECTORS
from tamis.observe.model_scores import MODEL_SCORES
from tamis.observe.reducers import REDUCERS, bytes_per_example
from tamis.observe.scores import SCORES
from tamis.selection.cost import ASSUMED
from tamis.selection.policies import POLICIES
from tamis.selection.policy import Policy
from tamis.selection.rules import RULES
from tamis.study import evaluate
from tamis.study.paper import cell_name
from tamis.theory import break_even, max_gain

DOCS = Path(__file__).parents[1] / "docs"
RECORDS = DOCS / "results" / "catalogue"
SCORED = DOCS / "results" / "scores" / "scores.parquet"
CALLS = Path(__file__).parents[1] / "benchmarks" / "rules.json"
PARTS = ("Cost", "Knobs", "Fails when", "Step scale", "Differs from the paper in that", "Reference")
HEAD = "<!-- Written by scripts/cards.py from the code and the records; edit those. -->\n\n"


def parts(thing: Any) -> tuple[str, str, dict[str, str]]:
    """A docstring's first line, its prose, and what it says under each of :data:`PARTS`; examples are left out."""
    text = inspect.cleandoc(thing.__doc__ or "")
    head, *blocks = re.split(r"\n(?=(?:Example|Args|Returns|Raises):\n)", text)
    after = [re.split(r"\n\n(?=\S)", block, maxsplit=1)[1:] for block in blocks]  # what stands behind such a block
    kept = [head, *(part for parts_ in after for part in parts_)]
    body = "\n\n".join(part.strip() for part in kept)
    pattern = r"(?:(?<=\n)|(?<=\. )|(?<=^))(?=(?:" + "|".join(PARTS) + r")\b[: ])"
    pieces = [piece.strip() for piece in re.split(pattern, body) if piece.strip()]
    prose, said = [], {}
    for piece in pieces:
        name = next((part for part in PARTS if piece.startswith(part)), None)
        if name is None:
            prose.append(piece)
        else:
            said[name] = marked(piece[len(name) :].lstrip(": "))
    first, _, rest = "\n\n".join(prose).partition("\n")
    return marked(first), marked(rest.strip()), said


def marked(text: str) -> str:
    """A docstring's markup as Markdown, a paragraph a line."""
    text = re.sub(r":\w+:`~?([^`]+)`", lambda m: "`" + m[1].rsplit(".", 1)[-1] + "`", text).replace("``", "`")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def needs(policy: Policy) -> str:
    """What a policy declares beyond losses, in words."""
    need, look = policy.needs, policy.look
    words = [
        f"{need.models} networks" if need.models > 1 else "",
        "penultimate features" if need.features else "",
        "irreducible losses" if need.irreducible else "",
        f"a clean reference set ({100 * need.reference:g} % of N)" if need.reference else "",
        f"a look at {100 * need.refresh:g} % of the training set every pass" if need.refresh else "",
        f"a look in one of {look.every} passes" if look.every > 1 else "",
    ]
    return ", ".join(filter(None, words)) or "losses alone"


def policy_card(name: str, make: Callable[..., Policy], measured: pl.DataFrame | None) -> str:
    first, prose, said = parts(make)
    policy = make()
    forward = ASSUMED.forward if policy.level == "batch" else 0.0
    breaks = break_even(policy.keep, forward, ASSUMED.step)
    gain = max_gain(policy.keep, forward, ASSUMED.step)
    pays = "no forward of its own" if breaks == 1 else f"pays if {breaks:.2f} times fewer steps do"
    lines = [f"# {name}", first, prose, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {_cell(value)} |" for key, value in (
        ("By default", f"`{policy.label}`"),
        ("Keeps", f"{policy.keep:.2g} of its candidates while it selects"),
        ("Chooses", f"{policy.level} by {policy.level}"),
        ("Needs", needs(policy)),
        ("Cost", said.get("Cost", "").rstrip(".")),
        ("Knobs", said.get("Knobs", "none").rstrip(".")),
        ("Call of its rule", calls(name, policy)),
        ("Break-even", f"{pays}; it can gain {gain:.2f} times at most (a backward at two forwards)"),
        ("Unbiased", "yes" if policy.rule.unbiased else "no"),
        ("Reference", said.get("Reference", policy.reference).rstrip(".")),
    )]  # fmt: skip
    lines += ["", f"**Fails when** {said.get('Fails when', '')}"]
    lines += [
        said[key].join((f"**{key}** ", "")) for key in ("Step scale", "Differs from the paper in that") if key in said
    ]
    return HEAD + "\n\n".join(_tight(lines)) + "\n\n" + measured_part(name, measured)


def calls(name: str, policy: Policy) -> str:
    """What ``benchmarks/rules.py`` found of the rule's own call, which a study prices alike for all."""
    found = {key: steps for key, steps in json.loads(CALLS.read_text("utf-8")).items() if key.split(",")[0] == name}
    if not found:
        return "not measured; see benchmarks/rules.py"
    said = "; ".join(f"{steps:g} training steps of 128{key[len(name) :]}" for key, steps in found.items())
    return f"{said}, on {'1,280 candidates' if policy.level == 'batch' else '20,000 examples, once a pass'}"


def _cell(text: str) -> str:
    """Text inside a table."""
    return text.replace("|", "\\|")


def _tight(lines: Iterable[str]) -> Iterator[str]:
    """Table rows stay together; the rest are paragraphs."""
    table: list[str] = []
    for line in lines:
        if line.startswith("|"):
            table.append(line)
        elif line:
            if table:
                yield "\n".join(table)
                table = []
            yield line
    if table:
        yield "\n".join(table)


def measured_part(name: str, measured: pl.DataFrame | None) -> str:
    """The rows of the published study that are this policy's, whatever its settings, and the worst of them in words."""
    mine = measured.filter(pl.col("policy").str.extract(r"^(\w+)") == name) if measured is not None else pl.DataFrame()
    if mine.is_empty():
        return "## Measured\n\nNot run by `tamis study catalogue`: it is the control, or stands in another study.\n"
    rows = [
        "## Measured",
        "`tamis study catalogue`: an MLP on 20,000 Fashion-MNIST images, every policy at the cost of 10 epochs of "
        "plain training, against plain training at that cost. Differences in points of test error, mean and 95 % "
        "interval over paired seeds; below 0 is better.",
        "| settings | data | test error | difference to uniform | worst class, difference | noise share | n |\n"
        "|---|---|---|---|---|---|---|\n"
        + "\n".join(
            f"| `{r['policy']}` | {cell_name(r['corruption'], r['rate'])} | {_percent(r['method'])} | {_points(r)} | "
            f"{_points(r, 'worst_')} | {_percent(r['noise_share'])} | {r['n']} |"
            for r in mine.iter_rows(named=True)
        ),
    ]
    worst = mine.drop_nulls("difference").sort("difference").tail(1).to_dicts()
    if worst and worst[0]["low"] is not None and worst[0]["low"] > 0:
        r = worst[0]
        rows.append(
            f"Worst here on {cell_name(r['corruption'], r['rate'])}: {100 * r['difference']:+.1f} points against plain "
            f"training at equal cost, {_percent(r['noise_share'])} of what it trained on being noise."
        )
    return "\n\n".join(rows) + "\n"


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f} %"


def _points(row: dict[str, Any], prefix: str = "") -> str:
    value, low, high = (row[prefix + key] for key in ("difference", "low", "high"))
    if value is None:
        return "—"
    span = "" if low is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"{100 * value:+.1f}{span}"


def score_card(
    name: str, make: Any, orientation: bool, needed: str, cost: str, reference: str, scored: pl.DataFrame | None
) -> str:
    first, prose, said = parts(make)
    rows = (
        ("Orientation", "higher is harder" if orientation else "lower is harder"),
        ("Needs", needed),
        ("Cost", cost),
        ("Reference", said.get("Reference", reference).rstrip(".")),
    )
    lines = [f"# {name}", first, prose, "| | |", "|---|---|", *(f"| {key} | {_cell(value)} |" for key, value in rows)]
    lines += [f"**Fails when** {said.get('Fails when', '')}"]
    if "Differs from the paper in that" in said:
        lines += [f"**Differs from the paper in that** {said['Differs from the paper in that']}"]
    return HEAD + "\n\n".join(_tight(lines)) + "\n\n" + scored_part(name, scored)


def scored_part(name: str, scored: pl.DataFrame | None) -> str:
    """How well the published study found mislabeled examples by this score, and where that was worst."""
    mine = scored.filter(pl.col("score") == name) if scored is not None else pl.DataFrame()
    if scored is None or mine.is_empty():
        return "## Measured\n\nNot run by `tamis study scores`.\n"
    columns, rows = evaluate.score_table(scored)
    rank, (_, trainings, *cells) = next((at, row) for at, row in enumerate(rows, 1) if row[0] == name)
    pairs = [cell.split(" | ") for cell in cells]
    where = mine.group_by("corruption", "rate", maintain_order=True).agg(pl.mean("auroc"), pl.mean("auroc_hardest"))
    worst = where.sort("auroc_hardest").row(0, named=True)
    said = (
        "## Measured",
        "`tamis study scores`: one run of an MLP on 20,000 Fashion-MNIST images, three seeds, mean and half-width of "
        "the 95 % interval. AUROC of mislabeled examples, read in this score's direction: .5 is chance, below it the "
        f"mislabeled look easy. {trainings} further trainings; number {rank} of {len(rows)} by the mean of the first "
        "column.",
        "| labels | against all clean | against the hardest tenth of the clean |\n|---|---|---|\n"
        + "\n".join(f"| {cell} | {a} | {b} |" for cell, (a, b) in zip(columns[2:], pairs, strict=True)),
        f"Worst here on {cell_name(worst['corruption'], worst['rate'])}: {worst['auroc_hardest']:.3f} against the "
        "hardest tenth.",
    )
    return "\n\n".join(said) + "\n"


def measurements() -> pl.DataFrame | None:
    """Per policy and cell: error, difference to uniform at equal cost, the worst class, the noise share."""
    if not (RECORDS / "runs.parquet").exists():
        return None
    runs = pl.read_parquet(RECORDS / "runs.parquet")
    keys = ["policy", "corruption", "rate"]
    error, worst = (
        evaluate.at_equal_cost(runs, column).filter(pl.col("control") == "uniform")
        for column in ("test_error", "worst_class_error")
    )
    worst = worst.select(*keys, *(pl.col(c).alias(f"worst_{c}") for c in ("difference", "low", "high")))
    shares = (
        runs.filter((pl.col("role") == "method") & (pl.col("rate") > 0))
        .group_by(keys)
        .agg(pl.col("noise_share").mean())
    )
    return error.join(worst, on=keys, how="left").join(shares, on=keys, how="left")


def catalogue(measured: pl.DataFrame | None) -> str:
    out = ["# Catalogue", "Every method by its published name. A card says what it does, its cost, and when it fails.",
           "## Policies", "| policy | in a line | needs | chooses | reference |\n|---|---|---|---|---|"]  # fmt: skip
    out[-1] += "".join(
        f"\n| {_named(name, make)} | {needs(make())} | {make().level} | {make().reference} |"
        for name, make in POLICIES.items()
    )
    out += ["## Scores of the passes that train", "They cost no pass of their own; memory is the reducer's.",
            "| score | in a line | harder is | bytes an example | reference |\n|---|---|---|---|---|"]  # fmt: skip
    out[-1] += "".join(
        f"\n| {_named(name, make)} | {'higher' if make().higher_is_harder else 'lower'} | "
        f"{bytes_per_example(make().reducer)} | {make().reference} |"
        for name, make in SCORES.items()
    )
    out += ["## Scores of a model", "| score | in a line | harder is | cost | reference |\n|---|---|---|---|---|"]
    out[-1] += "".join(
        f"\n| {_named(name, row.function)} | {'higher' if row.higher_is_harder else 'lower'} | "
        f"{row.cost} | {row.reference} |"
        for name, row in MODEL_SCORES.items()
    )
    for title, table in (("Rules", RULES), ("Reducers", REDUCERS), ("Corruptions", INJECTORS)):
        out += [f"## {title}", "| name | in a line |\n|---|---|"]
        out[-1] += "".join(f"\n| `{name}` | {_cell(parts(_function(thing))[0])} |" for name, thing in table.items())
    return HEAD + "\n\n".join(out) + "\n"


def _named(name: str, thing: Any) -> str:
    """The first two cells of a row: a link to the card, and its first line."""
    return f"[{name}](cards/{name}.md) | {_cell(parts(thing)[0])}"


def _function(thing: Any) -> Any:
    """What a row stands for: a partial application is described by what it applies."""
    return getattr(thing, "func", thing)


def pages() -> dict[Path, str]:
    """Every page by its path under docs/."""
    measured = measurements()
    scored = pl.read_parquet(SCORED) if SCORED.exists() else None
    written = {Path("catalogue.md"): catalogue(measured)}
    for name, make in POLICIES.items():
        written[Path("cards", f"{name}.md")] = policy_card(name, make, measured)
    for name, score in SCORES.items():
        made = score()
        cost = f"no pass of its own; {bytes_per_example(made.reducer)} bytes an example"
        wanted = ", ".join(made.needs) or "losses alone"
        written[Path("cards", f"{name}.md")] = score_card(
            name, score, made.higher_is_harder, wanted, cost, made.reference, scored
        )
    for name, row in MODEL_SCORES.items():
        cost = f"{row.cost}; {row.holds}"
        written[Path("cards", f"{name}.md")] = score_card(
            name, row.function, row.higher_is_harder, ", ".join(row.needs), cost, row.reference, scored
        )
    return written


def main(check: bool) -> int:
    stale = []
    wanted = pages()
    for path, text in wanted.items():
        place = DOCS / path
        if not place.exists() or place.read_text("utf-8") != text:
            stale.append(str(path))
            if not check:
                place.parent.mkdir(exist_ok=True)
                place.write_text(text, "utf-8")
    stale += [
        f"cards/{page.name} (nobody's)"
        for page in (DOCS / "cards").glob("*.md")
        if Path("cards", page.name) not in wanted
    ]
    if check and stale:
        print(f"not as scripts/cards.py writes them: {', '.join(stale)}; run python scripts/cards.py")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv))
