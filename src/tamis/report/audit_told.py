"""What an audit lets be said at all: its rate, the interval, the verdict on losses, and the doubts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tamis.observe.calibration import Agreement
from tamis.report.words import percent, shortened
from tamis.separation.separate import CLEAR, LITTLE

FEWEST = 50  # examples for a verdict on losses: of fewer, the third of highest loss is a handful
SLACK = 1e-6  # of a rate that stands at the end of its own interval
TAKEN = re.compile(r"class (\d+) is (\d+)")  # as separate() says it


@dataclass(frozen=True)
class Told:
    """What may be said as a fact.

    Attributes:
        rate: the share of wrong labels, or None; why: a sentence, where the networks learnt too little to tell it.
        interval: of the rate, 95 %, or None; too_few: where there is one, but it does not hold the rate.
        prioritisation: verdict, words, shares and what to use, each None where it is not known.
        missing: what could not be told, in sentences that name the classes.
    """

    rate: float | None
    why: str | None
    interval: tuple[float, float] | None
    too_few: bool
    prioritisation: dict[str, Any]
    missing: list[str]


def told(summary: Mapping[str, Any], names: Sequence[str], examples: int) -> Told:
    """What may be said of a summary in which any entry may be missing; of the classes ``names``, of so many examples.

    Example:
        >>> found = told({"noise_rate": 0.1, "noise_interval": [0.2, 0.2]}, [], 90)
        >>> found.rate, found.interval, found.too_few
        (0.1, None, True)
    """
    missing = list(summary.get("missing") or ())
    why = _too_little(summary.get("agreement"), examples)
    rate, between = summary.get("noise_rate"), summary.get("noise_interval")
    rate = None if why or rate is None or not math.isfinite(rate) else float(rate)
    inside = rate is not None and between is not None and between[0] - SLACK <= rate <= between[1] + SLACK
    return Told(
        rate=rate,
        why=why,
        interval=(between[0], between[1]) if between is not None and inside else None,
        too_few=rate is not None and between is not None and not inside,
        prioritisation=_prioritisation(known(summary.get("prioritisation") or {}), rate, why, examples),
        missing=[*([why] if why else []), *(_by_name(m, names) for m in missing if not (why and m.startswith(LITTLE)))],
    )


def known(entries: Mapping[str, Any]) -> dict[str, Any]:
    """The same entries, with None for a number that is none."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in entries.items()}


def _too_little(agreed: Sequence[float] | None, examples: int) -> str | None:
    """Why nothing can be told of the rate, where the networks do not clearly agree more often than chance would."""
    if agreed is None or not examples:
        return None
    found = Agreement(*agreed)
    by_luck = 2 * math.sqrt(found.chance * (1 - found.chance) / examples)  # more in one audit of forty of so many
    if found.beyond >= CLEAR and found.share >= found.chance + by_luck:
        return None
    against = f"where {percent(found.chance, 0)} would be by chance"
    if found.beyond >= CLEAR:
        against = f"which with {examples:,} examples may be luck"
    return (
        "The networks learnt too little: those that did not train on an example agree with those that did on "
        f"{percent(found.share, 0)} of them, {against}. More examples, or features of a trained model, would help."
    )


def _prioritisation(found: dict[str, Any], rate: float | None, why: str | None, examples: int) -> dict[str, Any]:
    answers = ("verdict", "words", "selected_share", "noise_among_selected", "base_rate", "use")
    nothing: dict[str, Any] = dict.fromkeys(answers)
    if not found:
        return nothing
    if why:
        return {**nothing, "verdict": "unknown", "words": "It rests on which labels are wrong."}
    if examples < FEWEST:
        return {**nothing, "verdict": "unknown", "words": f"That takes {FEWEST} examples or more."}
    words, base = found.get("words"), found.get("base_rate")
    if words and rate is not None and base is not None and percent(base) != percent(rate):
        words += f" Noise here is the wrong labels ({percent(rate)}) and the corrupted and foreign examples."
    return {**nothing, **found, "words": words}


def _by_name(sentence: str, names: Sequence[str]) -> str:
    """The sentence on classes taken for each other, with their names for their numbers."""
    if "commonest label of" not in sentence:
        return sentence

    def name(number: str) -> str:
        return shortened(names[int(number)]) if int(number) < len(names) else number

    return TAKEN.sub(lambda pair: f"class {name(pair[1])} is {name(pair[2])}", sentence)
