"""Every rule of the table, held to one set of checks, and each to what is its own."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from tamis.observe.mixture import high_component
from tamis.selection import filters, orthogonal, rules
from tamis.selection.rules import (
    RULES,
    MixtureFilter,
    OrthogonalDraw,
    PowerDraw,
    ProportionalDraw,
    PruneBelowMean,
    RankDraw,
    Rule,
    StreamingPower,
    TopK,
    UniformDraw,
)
from tamis.types import TamisError

M, K = 24, 8
MADE: dict[str, Rule] = {
    "everything": RULES["everything"](),
    "top_k": TopK(keep=1 / 3),
    "power_draw": PowerDraw(keep=1 / 3),
    "streaming_power": StreamingPower(beta=1.0, history=64),
    "proportional_draw": ProportionalDraw(keep=1 / 3, weighted=False),
    "proportional_draw_weighted": ProportionalDraw(keep=1 / 3, weighted=True),
    "proportional_draw_half_weighted": ProportionalDraw(keep=1 / 3, power=0.5),
    "rank_draw": RankDraw(pressure=20, keep=1 / 3),
    "uniform_draw": UniformDraw(keep=1 / 3),
    "prune_below_mean": PruneBelowMean(0.5),
    "drop_below_mean": PruneBelowMean(0.5, rescale=False),
    "mixture_filter": MixtureFilter(),
}
PAIRWISE = {OrthogonalDraw}  # takes a matrix of pairs; tests/test_orthogonal.py
WEIGHTED = ("proportional_draw_weighted", "proportional_draw_half_weighted", "prune_below_mean")
EVERY = pytest.mark.parametrize("name", MADE)


def draw(rule: Rule, priority: torch.Tensor, size: int = K, seed: int = 0, state: dict | None = None):
    return rule.select(rule.init() if state is None else state, priority, size, torch.Generator().manual_seed(seed))


def frequency(rule: Rule, priority: torch.Tensor, size: int = K, rounds: int = 3000) -> np.ndarray:
    """How often each candidate is drawn, by drawing."""
    counts = np.zeros(len(priority))
    generator = torch.Generator().manual_seed(1)
    state = rule.init()
    for _ in range(20 if rule.streaming else 0):  # a streaming rule needs a history first
        _, state = rule.select(state, priority, size, generator)
    for _ in range(rounds):
        selection, state = rule.select(state, priority, size, generator)
        np.add.at(counts, selection.keep.numpy(), 1)
    return counts / rounds


def test_the_table_is_the_public_list_and_all_of_it_is_tested() -> None:
    public = {
        cls
        for module in (rules, filters, orthogonal)
        for cls in vars(module).values()
        if isinstance(cls, type) and hasattr(cls, "__dataclass_fields__") and cls.__module__ == module.__name__
    }
    assert public == set(RULES.values())
    assert {type(rule) for rule in MADE.values()} | PAIRWISE == public


@EVERY
def test_it_is_a_rule_and_says_what_it_is(name: str) -> None:
    rule = MADE[name]
    assert isinstance(rule, Rule)
    assert 0 < rule.keep <= 1
    assert type(rule).__doc__


@EVERY
@pytest.mark.parametrize("m", [1, 2, M])
def test_shapes_and_types(name: str, m: int) -> None:
    rule = MADE[name]
    size = max(1, round(rule.keep * m))
    selection, state = draw(rule, torch.rand(m), size)
    assert selection.keep.dtype == torch.int64
    assert selection.candidates == m
    assert selection.weight.shape == selection.keep.shape == selection.multiplier.shape
    assert ((selection.keep >= 0) & (selection.keep < m)).all()
    assert all(isinstance(leaf, torch.Tensor) for leaf in state.values()), "it must go into a state_dict as it is"
    if rule.fixed_size:
        assert len(selection.keep) == (m if rule.keep == 1 else size)


@EVERY
def test_inputs_and_global_states_stay_as_they_are(name: str, unchanged_globals: None) -> None:
    priority = torch.linspace(0, 1, M)
    state = MADE[name].init()
    kept = priority.clone(), {key: value.clone() for key, value in state.items()}
    draw(MADE[name], priority, state=state)
    assert torch.equal(priority, kept[0])
    assert all(torch.equal(state[key].nan_to_num(-1), kept[1][key].nan_to_num(-1)) for key in state)


@EVERY
def test_the_generator_alone_decides(name: str) -> None:
    priority = torch.rand(M, generator=torch.Generator().manual_seed(3))
    first, again = draw(MADE[name], priority)[0], draw(MADE[name], priority)[0]
    assert torch.equal(first.keep, again.keep)
    assert torch.equal(first.weight, again.weight)


@EVERY
def test_weights_follow_the_convention(name: str) -> None:
    """Everything kept at weight 1 is a plain mean; a biased selection is the mean over the kept."""
    rule = MADE[name]
    selection, _ = draw(rule, torch.arange(1.0, M + 1))
    if name not in WEIGHTED:
        assert torch.allclose(selection.multiplier, torch.ones(len(selection.keep)))


@pytest.mark.parametrize("name", [name for name in MADE if MADE[name].unbiased])
def test_unbiased_rules_have_the_mean_as_expectation(name: str) -> None:
    """Monte Carlo: (1/b) sum multiplier_i value_i over the kept, against the mean over all candidates."""
    priority = torch.rand(M, generator=torch.Generator().manual_seed(5)) + 0.05
    value = torch.randn(M, generator=torch.Generator().manual_seed(6)).double() + priority
    generator, estimates = torch.Generator().manual_seed(7), []
    for _ in range(4000):
        selection, _ = MADE[name].select({}, priority, K, generator)
        estimates.append(float((selection.multiplier.double() * value[selection.keep]).mean()))
    error = np.std(estimates) / math.sqrt(len(estimates))
    assert abs(np.mean(estimates) - float(value.mean())) <= 4.5 * error + 1e-7


@pytest.mark.parametrize("name", [name for name in MADE if not MADE[name].unbiased])
def test_biased_rules_say_so_truly(name: str) -> None:
    priority = torch.arange(1.0, M + 1)
    generator, estimates = torch.Generator().manual_seed(7), []
    state = MADE[name].init()
    for _ in range(500):
        selection, state = MADE[name].select(state, priority, K, generator)
        if len(selection.keep):
            estimates.append(float((selection.multiplier * priority[selection.keep]).mean()))
    assert np.mean(estimates) > float(priority.mean()) * 1.1


@pytest.mark.parametrize("name", [name for name in MADE if name not in ("everything", "uniform_draw")])
def test_raising_a_priority_raises_how_often_it_is_drawn(name: str) -> None:
    """A rule that ignored the priority, or took its sign the wrong way round, fails here."""
    low = torch.linspace(1, 2, M)
    high = low.clone()
    high[3] = 5.0
    before, after = frequency(MADE[name], low)[3], frequency(MADE[name], high)[3]
    assert after > before + 0.1
    by_rank = frequency(MADE[name], torch.arange(1.0, M + 1))
    assert by_rank[M // 2 :].sum() > 1.2 * by_rank[: M // 2].sum()


@pytest.mark.parametrize("name", ["everything", "uniform_draw"])
def test_rules_without_a_priority_ignore_it(name: str) -> None:
    assert torch.equal(draw(MADE[name], torch.rand(M))[0].keep, draw(MADE[name], torch.arange(M).float())[0].keep)


def test_different_rules_give_different_hand_known_sets() -> None:
    priority = torch.tensor([0.0, 0.0, 0.0, 9.0, 8.0, 7.0])
    assert sorted(draw(TopK(0.5), priority, 3)[0].keep.tolist()) == [3, 4, 5]
    certain = draw(ProportionalDraw(0.5, weighted=True), torch.tensor([0.0, 0, 0, 1, 0, 0]), 3)[0]
    assert certain.keep.tolist() == [3, 3, 3]
    assert certain.weight.tolist() == pytest.approx([1 / 3] * 3)
    assert certain.multiplier.tolist() == pytest.approx([1 / 6] * 3)
    assert not torch.equal(draw(UniformDraw(0.5), priority, 3)[0].keep.sort().values, torch.tensor([3, 4, 5]))


# What is each rule's own -------------------------------------------------------------------------------------------


def test_streaming_power_against_its_slow_twin() -> None:
    """The published loop: append, count the strictly smaller, draw."""
    beta, size = 2.0, 10
    rule, state = StreamingPower(beta, size), StreamingPower(beta, size).init()
    history: list[float] = []
    for seed in range(12):
        losses = torch.rand(7, generator=torch.Generator().manual_seed(seed))
        selection, state = rule.select(state, losses, 7, torch.Generator().manual_seed(100 + seed))
        uniform = torch.rand(7, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)
        kept = []
        for place, loss in enumerate(losses.tolist()):
            history = ([*history, loss])[-size:]
            percentile = sum(one < loss for one in history) / len(history)
            if float(uniform[place]) < percentile**beta:
                kept.append(place)
        assert selection.keep.tolist() == kept


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0])
def test_streaming_power_keeps_one_in_beta_plus_one(beta: float) -> None:
    rule, state, generator = StreamingPower(beta), StreamingPower(beta).init(), torch.Generator().manual_seed(0)
    kept = seen = 0
    for step in range(150):
        selection, state = rule.select(state, torch.rand(128, generator=generator), 128, generator)
        if step >= 10:
            kept, seen = kept + len(selection.keep), seen + 128
    assert kept / seen == pytest.approx(1 / (beta + 1), abs=0.015)


def test_streaming_power_keeps_nothing_of_equal_losses() -> None:
    assert len(draw(StreamingPower(1.0), torch.ones(64))[0].keep) == 0


def test_power_draw_follows_successive_sampling() -> None:
    """Against a literal successive draw by percentile^(1/keep - 1), in NumPy."""
    m, k, keep = 12, 4, 1 / 3
    weight = ((np.arange(m) + 0.5) / m) ** (1 / keep - 1)
    twin, random = np.zeros(m), np.random.default_rng(0)
    for _ in range(4000):
        np.add.at(twin, random.choice(m, k, replace=False, p=weight / weight.sum()), 1)
    ours = frequency(PowerDraw(keep), torch.arange(m).float(), k, 4000)
    assert np.abs(ours - twin / 4000).max() < 0.04


def test_proportional_draw_draws_in_proportion() -> None:
    priority = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0, -1.0])
    drawn = frequency(ProportionalDraw(0.5), priority, 3)
    assert drawn[:4] == pytest.approx(3 * np.array([1, 2, 3, 4]) / 10, abs=0.04)
    assert drawn[4] == drawn[5] == 0


def test_a_power_of_the_weights_lies_between_none_and_unbiased() -> None:
    priority = torch.tensor([1.0, 2.0, 3.0, 4.0])
    whole, half, none = (draw(ProportionalDraw(0.5, power=k), priority, 2)[0] for k in (1.0, 0.5, 0.0))
    assert half.keep.tolist() == whole.keep.tolist()
    assert torch.allclose(half.multiplier, whole.multiplier.sqrt())
    assert torch.allclose(none.multiplier, torch.ones(2))


def test_rank_draw_draws_by_the_published_law() -> None:
    m, pressure = 10, 50.0
    law = np.exp(-np.log(pressure) / m * np.arange(1, m + 1))
    law /= law.sum()
    ours = frequency(RankDraw(pressure), torch.arange(m).float(), 4, 6000)[::-1] / 4  # from the highest down
    assert np.abs(ours - law).max() < 0.012
    assert law[0] / law[-1] == pytest.approx(pressure ** (1 - 1 / m))


def test_prune_below_mean_by_hand() -> None:
    """Mean 3: the two above are always kept at weight 1, each below half of the time at weight 2."""
    priority = torch.tensor([1.0, 1.0, 4.0, 6.0])
    assert frequency(PruneBelowMean(0.5), priority, 4) == pytest.approx([0.5, 0.5, 1, 1], abs=0.04)
    selection, _ = draw(PruneBelowMean(0.5), priority)
    assert {1.0, 2.0} >= set(selection.weight.tolist())
    assert selection.weight[-2:].tolist() == [1.0, 1.0]
    assert len(draw(PruneBelowMean(0.5), torch.ones(5))[0].keep) == 5, "none lies below the mean"


@pytest.mark.parametrize("family", ["gaussian", "beta"])
def test_a_mixture_finds_two_heaps(family: str) -> None:
    stream = torch.Generator().manual_seed(0)
    low, high = 0.5 + 0.3 * torch.rand(300, generator=stream), 3 + torch.rand(100, generator=stream)
    kept = draw(MixtureFilter(family), -torch.cat([low, high]))[0].keep  # type: ignore[arg-type]
    assert kept.tolist() == list(range(300))
    assert len(draw(MixtureFilter(family), torch.ones(9))[0].keep) == 9, "one heap of one value is kept whole"  # type: ignore[arg-type]


@pytest.mark.parametrize("family", ["gaussian", "beta"])
def test_a_mixture_of_one_value_keeps_everything(family: str) -> None:
    kept = draw(MixtureFilter(family=family), torch.full((10,), 3.0), 10)[0]  # type: ignore[arg-type]
    assert kept.keep.tolist() == list(range(10))


def test_a_mixtures_threshold_is_the_one_that_is_set() -> None:
    draw_ = torch.Generator().manual_seed(5)
    heaps = torch.cat([torch.randn(300, generator=draw_), 2 + torch.randn(300, generator=draw_)])  # they overlap
    posterior = high_component(heaps, "gaussian")
    for threshold in (0.1, 0.9):
        kept = draw(MixtureFilter(threshold=threshold), heaps, 600)[0].keep
        assert kept.tolist() == (posterior > threshold).nonzero()[:, 0].tolist()
    assert int((posterior > 0.1).sum()) > int((posterior > 0.9).sum()) + 50


def test_two_beta_laws_are_found_again() -> None:
    """Drawn from .7 Beta(2, 12) + .3 Beta(9, 3): the posterior is that of the laws, to within the fit's error."""
    draws = np.random.default_rng(0)
    noisy = draws.random(20_000) < 0.3
    u = np.where(noisy, draws.beta(9, 3, 20_000), draws.beta(2, 12, 20_000))
    exact = 0.3 * beta(9, 3).pdf(u) / (0.3 * beta(9, 3).pdf(u) + 0.7 * beta(2, 12).pdf(u))
    ours = high_component(torch.from_numpy(u), "beta").numpy()
    assert np.abs(ours - exact).mean() < 0.03
    assert np.abs(high_component(torch.from_numpy(u), "gaussian").numpy() - exact).mean() < 0.12


def test_proportional_draw_without_priorities_is_uniform() -> None:
    assert frequency(ProportionalDraw(0.5), torch.zeros(6), 3) == pytest.approx(np.full(6, 0.5), abs=0.05)


def test_an_example_of_probability_zero_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "rand", lambda shape, like, generator: torch.zeros(shape, dtype=torch.float64))
    drawn, _ = ProportionalDraw().select({}, torch.tensor([0.0, 0.0, 1.0]), 2, torch.Generator())
    assert drawn.keep.tolist() == [2, 2]  # a draw of exactly 0 lies on the edge of the first three


def test_ties_go_to_the_earlier_among_many_too() -> None:
    many = (torch.arange(5000) % 7).float()  # enough that a sort that is not stable shows it
    assert draw(TopK(0.1), many, 500)[0].keep.tolist() == list(range(6, 3500, 7))


def test_ties_of_top_k_go_to_the_earlier() -> None:
    assert draw(TopK(0.5), torch.tensor([1.0, 1.0, 1.0, 1.0]), 2)[0].keep.tolist() == [0, 1]


@given(st.lists(st.floats(0, 100, width=32), min_size=2, max_size=40), st.integers(0, 1000))
def test_draws_without_replacement_repeat_nothing(values: list[float], seed: int) -> None:
    size = max(1, len(values) // 2)
    for rule in (TopK(0.5), PowerDraw(0.5), UniformDraw(0.5)):
        kept = draw(rule, torch.tensor(values), size, seed)[0].keep.tolist()
        assert len(set(kept)) == len(kept) == size


@pytest.mark.parametrize("make", [TopK, PowerDraw, ProportionalDraw, UniformDraw])
@pytest.mark.parametrize("keep", [0, -0.1, 1.01, float("nan"), "half"])
def test_a_keep_ratio_outside_its_range_is_refused(make: type, keep: object) -> None:
    with pytest.raises(TamisError, match="share of candidates that is kept"):
        make(keep=keep)


def test_keep_names_what_is_kept() -> None:
    assert len(draw(TopK(keep=0.25), torch.rand(100), 25)[0].keep) == 25


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [({"beta": -1}, "beta"), ({"beta": math.inf}, "beta"), ({"history": 0}, "history"), ({"history": 1.5}, "whole")],
)
def test_streaming_power_refuses_nonsense(kwargs: dict[str, float], word: str) -> None:
    with pytest.raises(TamisError, match=word):
        StreamingPower(**kwargs)  # type: ignore[arg-type]


NAN_LAST = [name for name, rule in MADE.items() if name not in ("everything", "uniform_draw", "mixture_filter")]


@pytest.mark.parametrize("name", NAN_LAST)
def test_what_is_no_number_is_not_preferred(name: str) -> None:
    priority = torch.rand(M, generator=torch.Generator().manual_seed(3)) + 1
    priority[5] = torch.nan
    rule, state = MADE[name], MADE[name].init()
    if rule.streaming:
        _, state = draw(rule, torch.rand(M) + 1)
    counts = sum(torch.bincount(draw(rule, priority, seed=s, state=state)[0].keep, minlength=M) for s in range(300))
    if name.endswith("below_mean"):
        assert counts[5] <= counts.max()  # kept or dropped, but no more than the others
    else:
        assert counts[5] <= counts.sum() / M / 3, "rarer than by chance"


@pytest.mark.parametrize("name", [name for name in MADE if name.startswith("proportional")])
def test_an_infinite_priority_takes_over_no_draw(name: str) -> None:
    usual = torch.tensor([1.0, 2.0, 3.0, 1.0, 1.0, 1.0])
    priority = usual.clone()
    priority[2] = torch.inf
    counts = torch.zeros(6)
    for seed in range(500):
        selection, _ = draw(MADE[name], priority, size=2, seed=seed)
        assert bool(selection.weight.isfinite().all())
        counts += torch.bincount(selection.keep, minlength=6)
    assert torch.allclose(counts / counts.sum(), torch.tensor([1, 2, 2, 1, 1, 1]) / 8, atol=0.06)
    assert bool((draw(MADE[name], torch.full((6,), torch.inf), size=3)[0].weight.isfinite()).all())


@pytest.mark.parametrize("family", ["gaussian", "beta"])
def test_the_largest_numbers_make_a_mixture(family: Literal["gaussian", "beta"]) -> None:
    heaps = torch.tensor([-1.7e308, -1.6e308, -1.65e308, 1.7e308, 1.6e308, 1.65e308], dtype=torch.float64)
    assert high_component(heaps, family).round().tolist() == [0, 0, 0, 1, 1, 1]
