"""The worst cases and the prices of selection, by formula and against inclusions; and the numbers of docs/theory.md."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

from tamis import theory
from tamis.types import TamisError

DOC = Path(__file__).parents[1] / "docs" / "theory.md"


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 1.0])
@pytest.mark.parametrize(
    ("name", "parameters", "batched"),
    [
        ("StreamingPower", {"beta": 1.0}, {}),
        ("StreamingPower", {"beta": 2.5}, {}),
        ("TopK", {"keep": 1 / 3}, {"candidates": 3000}),
        ("PowerDraw", {"keep": 0.5}, {"candidates": 3000}),
        ("PowerDraw", {"keep": 0.25}, {"candidates": 3000}),
        ("UniformDraw", {"keep": 0.5}, {}),
    ],
)
def test_the_worst_case_is_the_inclusion_of_the_highest(
    name: str, parameters: dict[str, float], batched: dict[str, int], rate: float
) -> None:
    losses = np.arange(12_000)
    worst = theory.worst_case_share(name, rate, **parameters)
    assert theory.share(name, losses, losses >= 12_000 * (1 - rate), **parameters, **batched) == pytest.approx(
        worst, abs=2e-3
    )
    assert worst >= rate - 1e-12


def test_the_worst_case_of_draws_in_proportion_is_the_ratio_of_the_losses() -> None:
    losses, noisy = np.where(np.arange(4000) < 1000, 6.0, 2.0), np.arange(4000) < 1000
    worst = theory.worst_case_share("ProportionalDraw", 0.25, ratio=3)
    assert worst == 0.5  # (1/4) 3 / ((1/4) 3 + 3/4)
    assert theory.share("ProportionalDraw", losses, noisy, keep=1 / 3, candidates=384) == pytest.approx(worst, abs=1e-3)
    assert [theory.worst_case_share("ProportionalDraw", rate) for rate in (0.0, 0.01)] == [0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("StreamingPower", {"beta": 3.0}), ("TopK", {"keep": 0.2}), ("PowerDraw", {"keep": 1 / 3}), ("Everything", {})],
)
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_the_crossover_inverts_the_worst_case(name: str, parameters: dict[str, float], share: float) -> None:
    rate = theory.crossover_rate(name, share, **parameters)
    assert theory.worst_case_share(name, rate, **parameters) == pytest.approx(share)
    assert theory.crossover_rate("ProportionalDraw", share) == 0


def test_mixtures() -> None:
    losses = np.arange(600.0)
    before, after = (theory.inclusion("TopK", x, keep=0.25) for x in (losses, -losses))
    assert np.allclose(theory.average_inclusion("TopK", losses, -losses, keep=0.25), (before + after) / 2)
    assert theory.share_gated(0.8, 0.25, 0.4) == pytest.approx(0.5)


def test_what_selection_costs() -> None:
    assert [round(theory.max_gain(keep, 1, 3), 2) for keep in (1 / 2, 1 / 3, 1 / 4)] == [1.2, 1.5, 1.71]
    assert [round(theory.break_even(keep, 1, 3), 2) for keep in (1 / 2, 1 / 10)] == [1.67, 4.33]
    assert theory.max_gain(1e-9, 1, 3) == pytest.approx(3)  # the forward alone remains
    assert theory.break_even(1 / 3, 1, 3) == pytest.approx(2)  # importance sampling from B = 3b, while it is on
    assert theory.break_even(1 / 3, 1, 3, gate=0.5) == pytest.approx(1.5)
    assert theory.max_gain(1 / 3, 1, 3, gate=0.0) == theory.break_even(1 / 3, 1, 3, gate=0.0) == 1
    assert theory.break_even(0.5, 1, 3, data=1, select=0.5) == pytest.approx((2 * 2.5 + 3) / 4)
    assert theory.max_gain(0.5, 0, 3) == 2  # an epoch-level policy forwards nothing


def test_what_is_refused() -> None:
    with pytest.raises(TamisError, match="does not cover the rule Dice; it knows Everything"):
        theory.inclusion("Dice", [1.0])
    for name, wrong in [("TopK", {"keep": 0.0}), ("PowerDraw", {"keep": 1.5}), ("StreamingPower", {"beta": -1.0})]:
        with pytest.raises(TamisError, match="want"):
            theory.inclusion(name, [1.0, 2.0], **wrong)
    with pytest.raises(TamisError, match=r"both be \[N\]"):
        theory.noise_share([1.0, 2.0], [True])
    with pytest.raises(TamisError, match="noise rate"):
        theory.worst_case_share("TopK", 1.5)
    with pytest.raises(TamisError, match="strictly between"):
        theory.crossover_rate("TopK", 1.0)
    assert np.isnan(theory.noise_share([0.0, 0.0], [True, False]))


def test_a_million_losses_need_no_loop() -> None:
    losses = np.random.default_rng(0).lognormal(size=1_000_000)
    assert theory.inclusion_top_k(losses).mean() == pytest.approx(1 / 3, abs=1e-6)


# The document ---------------------------------------------------------------------------------------------------------


def test_the_examples_of_the_document() -> None:
    text = re.sub(r"^```.*$", "", DOC.read_text("utf-8"), flags=re.M)
    test = doctest.DocTestParser().get_doctest(text, {}, DOC.name, str(DOC), 0)
    assert len(test.examples) > 5
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test).failed == 0


def test_the_table_of_the_document() -> None:
    lines = [
        line.strip("| \n").split("|") for line in DOC.read_text("utf-8").splitlines() if re.match(r"\| *0\.\d", line)
    ]
    assert len(lines) >= 4
    for rate, *shares in lines:
        columns = [
            *(("StreamingPower", {"beta": beta}) for beta in (0, 1, 2, 3)),
            ("PowerDraw", {"keep": 0.5}),
            ("PowerDraw", {"keep": 1 / 3}),
            ("TopK", {"keep": 1 / 3}),
            ("TopK", {"keep": 0.1}),
        ]
        expected = [f"{theory.worst_case_share(name, float(rate), **given):.3f}" for name, given in columns]
        assert [share.strip() for share in shares] == expected


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: theory.worst_case_share("TopK", 0.2, keep=0), "keep is 0, but it is a share"),
        (lambda: theory.worst_case_share("PowerDraw", 0.2, keep=1.5), "keep is 1.5"),
        (lambda: theory.worst_case_share("PruneBelowMean", 0.9, drop=1.5), "drop is 1.5"),
        (lambda: theory.worst_case_share("StreamingPower", 0.2, beta=-1), "beta is -1"),
        (lambda: theory.worst_case_share("RankDraw", 0.2, pressure=0.5), "pressure is 0.5"),
        (lambda: theory.worst_case_share("ProportionalDraw", 0.2, ratio=float("nan")), "ratio is nan"),
        (lambda: theory.break_even(0, 1, 3), "keep is 0"),
        (lambda: theory.max_gain(1.5, 1, 3), "keep is 1.5"),
    ],
)
def test_what_no_rule_has_is_refused(call: object, says: str) -> None:
    with pytest.raises(TamisError, match=says):
        call()  # type: ignore[operator]


@pytest.mark.parametrize("beyond", [1e-3, 1e-9, 1e-14, 1e-15, 2.3e-16, 0.0])
def test_a_pressure_that_hardly_presses_leaves_the_rate_as_it_is(beyond: float) -> None:
    assert theory.worst_case_share("RankDraw", 0.25, pressure=1 + beyond) == pytest.approx(0.25, abs=beyond + 1e-12)


def test_draws_in_proportion_of_nothing_and_of_one_candidate_are_alike() -> None:
    assert theory.shares_proportional_draw([0, 0, 0, 0], [0, 0, 0, 1], keep=0.5, candidates=2) == (0.25, 0.25)
    assert theory.inclusion_proportional_draw([1.0, 2.0, 9.0], keep=1.0, candidates=1).tolist() == [1, 1, 1]
