"""Statistics of a study against scipy, slow twins, and studies made so that their numbers are known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.stats
from fake_study import CELLS, EPOCHS, FALL, LADDER, METHODS, SUBSET, Method, fail, fake_study, uniform_error
from hypothesis import given
from hypothesis import strategies as st

from tamis.report.verdicts import headline, verdicts
from tamis.study import evaluate, paper, statistics
from tamis.types import TamisError

FAKE = fake_study()
SB1, SB2, TOP = METHODS


def one(frame: pl.DataFrame, **values: object) -> dict[str, Any]:
    found = frame.filter(pl.all_horizontal(pl.col(key) == value for key, value in values.items()))
    assert found.height == 1, found
    return found.row(0, named=True)


# Intervals -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=12).filter(lambda v: np.std(v) > 1e-6))
def test_the_t_interval_is_scipys(values: list[float]) -> None:
    mean, low, high, n = statistics.t_interval(values)
    wanted = scipy.stats.t.interval(0.95, len(values) - 1, loc=np.mean(values), scale=scipy.stats.sem(values))
    np.testing.assert_allclose((low, high), wanted, rtol=1e-9, atol=1e-9)
    assert n == len(values)
    assert math.isclose(mean, float(np.mean(values)), abs_tol=1e-12)


def test_the_t_interval_by_hand() -> None:
    # 0.1, 0.2, 0.3: s = 0.1, t(0.975, 2) = 4.30265, half-width 4.30265 * 0.1 / sqrt 3 = 0.24841
    assert statistics.t_interval([0.1, 0.2, 0.3]) == pytest.approx((0.2, -0.04841, 0.44841, 3), abs=1e-5)


def test_missing_values_leave_an_interval_and_lower_n() -> None:
    whole = statistics.t_interval([0.1, 0.2, 0.4])
    assert statistics.t_interval([0.1, math.nan, 0.2, math.inf, 0.4]) == whole
    mean, low, high, n = statistics.t_interval([0.1, math.nan])
    assert (mean, n) == (0.1, 1)
    assert math.isnan(low)
    assert math.isnan(high)
    assert statistics.t_interval([]).n == 0
    with pytest.raises(TamisError, match="must lie in"):
        statistics.t_interval([1.0], confidence=95)


# Curves --------------------------------------------------------------------------------------------------------------


@given(st.permutations([0.3, 0.5, 0.7, 1.0]), st.floats(0.1, 3.0))
def test_a_curve_that_is_linear_in_log_cost_is_read_exactly(costs: list[float], cost: float) -> None:
    error, where = statistics.at_cost(costs, [0.2 - 0.05 * math.log(c) for c in costs], cost)
    inside = min(max(cost, 0.3), 1.0)
    assert math.isclose(error, 0.2 - 0.05 * math.log(inside), rel_tol=1e-12)
    assert where == ("below" if cost < 0.3 * 0.98 else "above" if cost > 1.02 else "")


def test_a_curve_needs_points_and_costs_above_0() -> None:
    for costs, cost in (([], 1.0), ([0.0, 1.0], 1.0), ([1.0], 0.0)):
        with pytest.raises(TamisError, match="costs above 0"):
            statistics.at_cost(costs, [0.1] * len(costs), cost)


def test_first_reach_by_hand() -> None:
    assert statistics.first_reach([0, 10, 20, 30], [0.9, 0.5, 0.6, 0.2], 0.5) == 10
    assert statistics.first_reach([0, 10, 20, 30], [0.9, 0.5, 0.6, 0.2], 0.3) == pytest.approx(27.5)
    assert statistics.first_reach([0, 10], [0.9, 0.5], 0.4) is None
    assert statistics.first_reach([5, 10], [0.1, 0.5], 0.4) == 5


# Differences ---------------------------------------------------------------------------------------------------------


def broken_study() -> pl.DataFrame:
    """Seeds failed here and there, one with NaN, a record that is there twice."""
    method, standard = pl.col("policy") == SB2, pl.col("role") == "standard"
    runs = fail(
        FAKE.runs, (method & (pl.col("seed") == 1)) | (standard & (pl.col("seed") == 2) & (pl.col("rate") == 0.2))
    )
    nan = (pl.col("policy") == TOP) & (pl.col("seed") == 0)
    runs = runs.with_columns(pl.when(nan).then(math.nan).otherwise("test_error").alias("test_error"))
    return pl.concat([runs, runs.head(3)])


@pytest.mark.parametrize("column", ["test_error", "worst_class_error"])
def test_paired_differences_against_a_slow_twin(column: str) -> None:
    runs = broken_study()
    rows = [row for row in runs.unique("run").to_dicts() if row["status"] == "ok" and math.isfinite(row["test_error"])]
    found = evaluate.paired_differences(runs, column=column)
    assert found.height == len(CELLS) * len(METHODS)
    for row in found.iter_rows(named=True):
        place = [row[key] for key in evaluate.PLACE]
        here = [r for r in rows if [r[key] for key in evaluate.PLACE] == place]
        standard = {r["seed"]: r[column] for r in here if r["role"] == "standard"}
        gaps = [r[column] - standard[r["seed"]] for r in here if r["policy"] == row["policy"] and r["seed"] in standard]
        low, high = scipy.stats.t.interval(0.95, len(gaps) - 1, loc=np.mean(gaps), scale=scipy.stats.sem(gaps))
        assert (row["difference"], row["low"], row["high"]) == pytest.approx((np.mean(gaps), low, high), abs=1e-12)
        assert row["n"] == len(gaps) >= 3
        assert row["judged"] == ("lower" if high < 0 else "higher" if low > 0 else "no difference")


def test_pairing_takes_the_seeds_own_shift_out() -> None:
    row = one(evaluate.paired_differences(fake_study(jitter=0).runs), policy=SB1, corruption="none")
    wanted = -0.01 + FALL * math.log(1 / 0.8)
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((wanted, wanted, wanted), abs=1e-12)


def test_differences_against_another_method() -> None:
    found = evaluate.paired_differences(FAKE.runs, against=SB1)
    assert one(found, policy=SB1, rate=0.2)["difference"] == 0
    assert one(found, policy=TOP, rate=0.2)["difference"] == pytest.approx(0.01 + FALL * math.log(0.8 / 0.62))
    with pytest.raises(TamisError, match="no column 'accuracy'"):
        evaluate.paired_differences(FAKE.runs, column="accuracy")


@pytest.mark.parametrize("control", ["uniform", "random_subset"])
def test_the_difference_at_equal_cost_is_the_methods_effect(control: str) -> None:
    found = evaluate.at_equal_cost(FAKE.runs)
    for policy, method in METHODS.items():
        for corruption, rate in CELLS:
            row = one(found, policy=policy, corruption=corruption, rate=rate, control=control)
            cost = method.cost * EPOCHS
            reference = uniform_error(corruption, rate, cost)
            if control == "random_subset":  # above uniform by SUBSET up to the last rung, then down to the standard
                reference += SUBSET * min(1.0, math.log(EPOCHS / cost) / math.log(1 / LADDER[-1]))
            shift = row["method"] - uniform_error(corruption, rate, cost) - method.effect(rate)  # the seeds' mean shift
            assert row["reference"] == pytest.approx(reference + shift, abs=1e-12)
            assert row["difference"] == pytest.approx(row["method"] - row["reference"], abs=1e-12)
            assert (row["cost"], row["n"], row["extrapolated"]) == (pytest.approx(cost), 5, "")


@pytest.mark.parametrize(("cost", "compared"), [(1.0, True), (0.6, False)])
def test_without_a_ladder_plain_training_of_the_same_cost_is_the_control(cost: float, compared: bool) -> None:
    study = fake_study(methods={"top_k(keep=1/3)": Method(cost, 1.0, lambda rate: -0.03)})
    found = evaluate.at_equal_cost(study.runs.filter(pl.col("role") != "control"))
    mine = found.filter(pl.col("control") == "uniform")
    assert mine["n"].to_list() == [5 if compared else 0] * len(CELLS)
    if compared:
        assert mine["difference"].to_list() == pytest.approx([-0.03] * len(CELLS))
        assert set(mine["judged"]) == {"lower"}
    assert found.filter(pl.col("control") == "random_subset")["n"].to_list() == [0] * len(CELLS), "there are none"


def test_the_worst_class_at_equal_cost() -> None:
    row = one(evaluate.at_equal_cost(FAKE.runs, "worst_class_error"), policy=SB1, rate=0.0, control="uniform")
    assert row["difference"] == pytest.approx(-0.02)


@pytest.mark.parametrize(("cost", "where"), [(0.2, "below"), (1.5, "above"), (1.01, ""), (0.3, "")])
def test_nothing_is_concluded_outside_the_ladder(cost: float, where: str) -> None:
    runs = fake_study(methods={"m": Method(cost, 0.5, lambda rate: -0.05)}).runs
    row = one(evaluate.at_equal_cost(runs), rate=0.2, control="uniform")
    assert (row["extrapolated"], row["judged"]) == (where, "outside the ladder" if where else "lower")
    assert row["faster"] == (not where)


def test_a_curve_of_one_point_is_no_curve() -> None:
    runs = FAKE.runs.filter(pl.col("control") != "random_subset")
    row = one(evaluate.at_equal_cost(runs), policy=SB1, rate=0.2, control="random_subset")
    assert (row["n"], row["difference"], row["judged"]) == (0, None, "missing")


def test_a_lower_error_is_no_speedup_where_uniform_does_better_for_less() -> None:
    runs = fake_study(methods={"m": Method(0.7, 0.5, lambda rate: -0.005)}, fall=-0.05).runs  # uniform overfits
    row = one(evaluate.at_equal_cost(runs), rate=0.2, control="uniform")
    assert row["judged"] == "lower"
    assert row["best"] == pytest.approx(row["reference"] + -0.05 * math.log(0.7 / 0.3))
    assert not row["faster"]
    assert (
        "no speed-up is shown: lower error, but uniform training does as well for less, on clean ("
        in verdicts(runs, FAKE.curves)[0].cost
    )
    assert "No speed-up over uniform training is shown" in headline(runs)[0]


# Speed-ups -----------------------------------------------------------------------------------------------------------


def test_the_papers_speedup_by_hand() -> None:
    methods = {"as good": Method(1.0, 0.5, lambda rate: 0.0), "worse": Method(1.0, 0.5, lambda rate: 0.01),
               "better": Method(1.0, 0.5, lambda rate: -0.08)}  # fmt: skip
    fake = fake_study(methods=methods, cells=[("none", 0.0)], jitter=0)
    found = evaluate.paper_speedup(fake.runs, fake.curves)
    assert one(found, policy="uniform")["speedup"] == 1
    assert one(found, policy="as good")["speedup"] == pytest.approx(2)  # half the backprops, as the paper's SB 50 %
    assert one(found, policy="worse")["speedup"] is None
    row = one(found, policy="better")  # a straight way from 0.9 to final - 0.08
    target = row["threshold"]
    assert row["backwards"] == pytest.approx(5000 * (0.9 - target) / (0.9 - target + 0.08), rel=1e-3)


def test_the_speedup_by_cost_aims_at_the_best_budget_of_uniform() -> None:
    fake = fake_study(
        methods={"m": Method(0.5, 0.5, lambda rate: -0.2)}, cells=[("random_labels", 0.4)], fall=-0.02, jitter=0
    )
    row = one(evaluate.cost_speedup(fake.runs, fake.curves), policy="m")
    assert row["best_cost"] == pytest.approx(3)  # training for less is better here
    ends = fake.runs.filter((pl.col("control") == "uniform") & (pl.col("budget") == 3))["test_error"].mean()
    own = fake.runs.filter(pl.col("role") == "method")["test_error"].mean()
    assert row["target"] == pytest.approx(ends)
    assert row["cost"] == pytest.approx(5 * (0.9 - ends) / (0.9 - own))
    assert row["speedup"] == pytest.approx(3 / row["cost"])


def test_speedups_pair_the_seeds_that_both_have() -> None:
    runs = fail(FAKE.runs, (pl.col("policy") == SB1) & (pl.col("seed") > 0))
    row = one(evaluate.paper_speedup(runs, FAKE.curves), policy=SB1, rate=0.2)
    standard = runs.filter((pl.col("role") == "standard") & (pl.col("seed") == 0) & (pl.col("rate") == 0.2))
    assert row["threshold"] == pytest.approx(standard["test_error"][0])


# Noise ---------------------------------------------------------------------------------------------------------------


def test_noise_shares_and_gaps_by_hand() -> None:
    row = one(evaluate.noise_shares(FAKE.runs, FAKE.curves), policy=SB1, rate=0.2)
    assert (row["measured"], row["closed_loop"], row["open_loop"]) == pytest.approx((0.4, 0.41, 0.42))
    assert (row["worst_case"], row["realised_rate"], row["n"]) == pytest.approx((0.5, 0.2, 5))
    assert row["pooled_gap"] == pytest.approx(-0.01)
    assert row["max_gap"] == pytest.approx(0.1)  # 0.01 a point, ten points


def test_the_warm_up_and_idle_points_are_not_held_against_a_prediction() -> None:
    wild = pl.when(pl.col("warmup") | (pl.col("point") == 10)).then(9.0).otherwise("noise_share_predicted")
    idle = pl.when(pl.col("point") == 10).then(0.0).otherwise("selecting")
    curves = FAKE.curves.with_columns(noise_share_predicted=wild, selecting=idle)
    assert one(evaluate.noise_shares(FAKE.runs, curves), policy=SB1, rate=0.2)["max_gap"] == pytest.approx(0.09)
    assert one(evaluate.noise_shares(FAKE.runs, FAKE.curves.drop("warmup")), policy=SB1, rate=0.2)[
        "max_gap"
    ] == pytest.approx(0.1)


# Crossover -----------------------------------------------------------------------------------------------------------

RATES = [("none", 0.0), *(("random_labels", rate) for rate in (0.1, 0.2, 0.3, 0.5))]
CROSSING = {"crosses": Method(effect=lambda rate: 0.2 * (rate - 0.17)), "never": Method(effect=lambda rate: -0.02),
            "always": Method(effect=lambda rate: 0.02)}  # fmt: skip


def test_the_crossover_of_a_known_line_is_found() -> None:
    found = evaluate.crossover(fake_study(methods=CROSSING, cells=RATES).runs)
    row = one(found, policy="crosses")
    assert row["rate"] == pytest.approx(0.17)
    assert row["low"] < 0.17 < row["high"]
    assert row["low"] > 0.1
    assert row["high"] < 0.25
    assert (row["corruption"], row["lowest"], row["rates"], row["n"]) == ("random_labels", 0.0, 5, 5)
    never, always = one(found, policy="never"), one(found, policy="always")
    assert (never["rate"], never["share_never"], never["low"]) == (math.inf, 1, math.inf)
    assert (always["rate"], always["share_below"], always["high"]) == (-math.inf, 1, -math.inf)


def test_the_bootstrap_draws_seeds_with_all_their_rates() -> None:
    # Two seeds: one never above, one above throughout. Of four equally likely draws one never crosses and one is above
    # from the start; the two mixed ones have the mean -1, 1 and cross half-way.
    table = np.array([[-3.0, -1.0], [1.0, 3.0]])
    found = statistics.bootstrap_crossings([0.0, 0.4], table, np.random.default_rng(1), 4000)
    assert np.mean(found == np.inf) == pytest.approx(0.25, abs=0.03)
    assert np.mean(found == -np.inf) == pytest.approx(0.25, abs=0.03)
    assert np.allclose(found[np.isfinite(found)], 0.2)


def test_the_bootstrap_is_a_function_of_its_generator() -> None:
    runs = fake_study(methods=CROSSING, cells=RATES, jitter=0.01).runs
    frames = [evaluate.crossover(runs, np.random.default_rng(seed)) for seed in (3, 3, 4)]
    assert frames[0].equals(frames[1])
    assert not frames[0].equals(frames[2])


def test_the_crossover_leaves_out_seeds_that_lack_a_rate() -> None:
    gone = (pl.col("policy") == "crosses") & (pl.col("seed") == 2) & (pl.col("rate") == 0.3)
    found = evaluate.crossover(fail(fake_study(methods=CROSSING, cells=RATES).runs, gone))
    assert (one(found, policy="crosses")["n"], one(found, policy="never")["n"]) == (4, 5)


@pytest.mark.parametrize(("rates", "differences", "wanted"), [
    ([0.0, 0.5], [-1, 1], 0.25), ([0.0, 0.5], [0, 0], math.inf), ([0.0, 0.5], [0, 1], 0.0),
    ([0.0, 0.2, 0.4, 0.6], [-1, 1, -1, 1], 0.1), ([0.1, 0.5], [1e-9, -1], -math.inf),
])  # fmt: skip
def test_the_first_crossing_upwards(rates: list[float], differences: list[float], wanted: float) -> None:
    assert statistics.upward_crossing(rates, differences) == pytest.approx(wanted)


# The table and the words ---------------------------------------------------------------------------------------------


def test_the_main_table_has_the_papers_layout() -> None:
    columns, rows = evaluate.main_table(FAKE.runs, FAKE.curves, "toy", "mlp", paper=True)
    assert columns == ["policy", "clean", "20 % random labels", "40 % random labels", "40 % gaussian pixels"]
    assert [row[0] for row in rows] == [
        "uniform",
        "Standard, published",
        SB1,
        "SB 50%, published",
        SB2,
        "SB 33%, published",
        TOP,
    ]
    standard = FAKE.runs.filter((pl.col("role") == "standard") & (pl.col("rate") == 0.2))["test_error"].to_numpy()
    half = scipy.stats.t.ppf(0.975, 4) * scipy.stats.sem(standard)
    assert rows[0][2] == f"1.0× ({100 * standard.mean():.2f} ± {100 * half:.2f})"
    assert rows[1] == ["Standard, published", "1.0× (4.28)", "", "", ""]
    assert evaluate.main_table(FAKE.runs, FAKE.curves, "toy", "mlp")[1] == [
        row for row in rows if "published" not in row[0]
    ]


def test_a_cell_whose_runs_all_failed_is_a_dash() -> None:
    runs = fail(FAKE.runs, (pl.col("policy") == SB2) & (pl.col("rate") == 0.2))
    rows = evaluate.main_table(runs, FAKE.curves, "toy", "mlp")[1]
    assert rows[2][2] == "—"
    assert "—" not in rows[1][2]


def test_a_table_is_of_one_size() -> None:
    two = pl.concat([FAKE.runs, FAKE.runs.with_columns(size=pl.lit(50, pl.Int64), run=pl.col("run") + "/50")])
    with pytest.raises(TamisError, match=r"sizes \[50, 1000\]"):
        evaluate.main_table(two, FAKE.curves, "toy", "mlp")
    assert evaluate.main_table(two, FAKE.curves, "toy", "mlp", size=1000) == evaluate.main_table(
        FAKE.runs, FAKE.curves, "toy", "mlp"
    )
    with pytest.raises(TamisError, match=r"sizes \[\]"):
        evaluate.main_table(FAKE.runs, FAKE.curves, "toy", "resnet9")


def test_the_papers_numbers_are_whole() -> None:
    assert {len(entries) for _, entries in paper.TABLE.values()} == {len(paper.COLUMNS)}
    assert paper.published("selective_backprop(beta=1)", "gaussian_pixels", 0.5) == ("SB 50%", None, 0.0847)
    assert paper.published("uniform", "anything", 0.0) == ("Standard", 1.0, 0.0428)
    assert paper.published("top_k(keep=1/3)", "none", 0.0) is None


def test_verdicts_say_what_the_numbers_say() -> None:
    said = {verdict.policy: verdict for verdict in verdicts(FAKE.runs, FAKE.curves)}
    assert set(said) == set(METHODS)
    assert all("speed-up" not in verdict.epochs for verdict in said.values())
    assert "At equal budgets: lower error on clean (" in said[SB1].epochs
    assert said[SB1].cost.startswith("Against uniform training at the same cost: a speed-up on clean (−1.00 [")
    assert "same cost: a speed-up on clean (−1.00 [" in said[SB2].cost
    assert "; higher error on 20 % random labels (+1.00 [" in said[SB2].cost
    assert said[TOP].cost.startswith(
        "Against uniform training at the same cost, no speed-up is shown: no difference shown on"
    )
    assert said[TOP].epochs.startswith("At equal budgets: higher error on clean (")
    assert said[SB1].noise.startswith(
        "Noise among what it trained on: 40.0 % on 20 % random labels (2.00 times the rate)"
    )


def test_one_seed_concludes_nothing() -> None:
    fake = fake_study(seeds=1)
    assert set(evaluate.paired_differences(fake.runs)["judged"]) == {"one seed"}
    assert set(evaluate.at_equal_cost(fake.runs)["judged"]) == {"one seed"}
    assert all("a speed-up" not in verdict.cost for verdict in verdicts(fake.runs, fake.curves))
    assert "No speed-up" not in headline(fake.runs)[0]


@pytest.mark.parametrize(
    "where", [pl.lit(True), pl.col("role") == "standard", pl.col("role") == "control", pl.col("role") == "method"]
)
def test_every_table_stands_when_runs_are_gone(where: pl.Expr) -> None:
    for runs in (fail(FAKE.runs, where), FAKE.runs.filter(~where)):
        curves = FAKE.curves.filter(pl.col("run").is_in(runs.filter(pl.col("status") == "ok")["run"].to_list()))
        wanted = runs.filter(pl.col("role") == "method").select(evaluate.METHOD).n_unique()
        assert evaluate.paired_differences(runs).height == wanted
        assert evaluate.at_equal_cost(runs).height == 2 * wanted
        assert evaluate.noise_shares(runs, curves).height == wanted
        for frame in (
            evaluate.paper_speedup(runs, curves),
            evaluate.cost_speedup(runs, curves),
            evaluate.crossover(runs),
        ):
            assert frame.height <= len(CELLS) * (len(METHODS) + 1)
        assert len(verdicts(runs, curves)) == (len(METHODS) if wanted else 0)
        headline(runs)


def test_two_records_of_one_run_are_refused_by_name() -> None:
    twice = pl.concat([FAKE.runs, FAKE.runs.head(1).with_columns(run=pl.lit("again"))])
    with pytest.raises(TamisError, match=r"two finished runs of uniform on toy, none at 0.0, seed 0 \(.*, again\)"):
        evaluate.paired_differences(twice)
