"""The catalogue's pages are what the code and the records say, and every public method has its card."""

from __future__ import annotations

import importlib.util
import inspect
import json
import sys
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest

from tamis.observe.model_scores import MODEL_SCORES
from tamis.observe.scores import SCORES
from tamis.selection.policies import POLICIES

ROOT = Path(__file__).parents[1]
DOCUMENTED = {
    **POLICIES,
    **SCORES,
    **{name: row.function for name, row in MODEL_SCORES.items()},
}


@pytest.fixture(scope="module")
def cards() -> ModuleType:
    spec = importlib.util.spec_from_file_location("cards", ROOT / "scripts" / "cards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["cards"] = module
    spec.loader.exec_module(module)
    return module


def test_the_pages_are_what_the_script_writes(cards: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert cards.main(check=True) == 0, capsys.readouterr().out


def test_policies_and_scores_share_no_name() -> None:
    assert len(DOCUMENTED) == len(POLICIES) + len(SCORES) + len(MODEL_SCORES)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_method_says_where_it_fails_whom_it_follows_and_shows_an_example(name: str, cards: ModuleType) -> None:
    text = inspect.getdoc(DOCUMENTED[name]) or ""
    first, _, said = cards.parts(DOCUMENTED[name])
    assert first
    assert said.get("Fails when")
    assert "Reference" in said or name in POLICIES  # a policy carries its reference itself
    assert "Example:" in text or name in SCORES  # a score's example is Score's own
    card = (ROOT / "docs" / "cards" / f"{name}.md").read_text("utf-8")
    assert "**Fails when**" in card
    assert f"({'cards/' + name}.md)" in (ROOT / "docs" / "catalogue.md").read_text("utf-8")


def test_a_card_says_what_the_rules_own_call_was_measured_to_cost(cards: ModuleType) -> None:
    measured = json.loads((ROOT / "benchmarks" / "rules.json").read_text("utf-8"))
    assert set(POLICIES) <= {name.split(",")[0] for name in measured}
    card = (ROOT / "docs" / "cards" / "divbs.md").read_text("utf-8")
    assert f"| Call of its rule | {measured['divbs']:g} training steps of 128, on 1,280 candidates |" in card
    both = cards.calls("mixture_filter", POLICIES["mixture_filter"]())
    assert f"{measured['mixture_filter, beta']:g} training steps of 128, beta" in both
    assert both.endswith("on 20,000 examples, once a pass")


def test_a_docstrings_parts_are_told_apart(cards: ModuleType) -> None:
    def method() -> None:
        """It does this: ``x``.

        More of it; see :func:`~tamis.policies.top_k`. Cost: 1 | 2. Fails when: it rains;
        or snows.

        Args:
            none: at all.

        Reference: Somebody 1999.

        Example:
            >>> 1
            1
        """

    first, prose, said = cards.parts(method)
    assert (first, prose) == ("It does this: `x`.", "More of it; see `top_k`.")
    assert said == {"Cost": "1 | 2.", "Fails when": "it rains; or snows.", "Reference": "Somebody 1999."}
    assert cards._cell("1 | 2") == "1 \\| 2"


def test_a_scores_card_has_what_the_published_study_found(cards: ModuleType) -> None:
    card = (ROOT / "docs" / "cards" / "aum.md").read_text("utf-8")
    scored = pl.read_parquet(ROOT / "docs" / "results" / "scores" / "scores.parquet")
    mine = scored.filter((pl.col("score") == "aum") & (pl.col("corruption") == "asymmetric_labels"))
    assert f"Worst here on 30 % asymmetric labels: {mine['auroc_hardest'].mean():.3f}" in card
    assert "Not run by" in cards.scored_part("nobody", scored)
    assert all("Not run" not in (ROOT / "docs" / "cards" / f"{name}.md").read_text("utf-8") for name in SCORES)
