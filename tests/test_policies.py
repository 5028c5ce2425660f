"""Policies and schedules from their tables; labels that read back; prices that add up."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tamis.models import build
from tamis.selection import policies
from tamis.selection.cost import ASSUMED, PriceList, measure_prices
from tamis.selection.policies import POLICIES, brief, policy
from tamis.selection.policy import Focal
from tamis.selection.rules import TopK
from tamis.selection.schedules import SCHEDULES, AfterPasses, ByAccuracy, Progress, Ramp, VarianceGate, Window
from tamis.types import Costs, Observation, TamisError

EVERY = pytest.mark.parametrize("name", POLICIES)


@EVERY
def test_a_policy_has_what_a_reader_needs(name: str) -> None:
    made = POLICIES[name]()
    assert made.label.startswith(name)
    assert made.reference
    assert "Fails when" in (POLICIES[name].__doc__ or "")
    assert "Cost" in (POLICIES[name].__doc__ or "")
    assert getattr(policies, name) is POLICIES[name]


@EVERY
def test_a_label_reads_back_to_the_same_policy(name: str) -> None:
    made = POLICIES[name]()
    assert policy(made.label) == made
    assert policy(name) == made


@pytest.mark.parametrize(
    "text",
    [
        "selective_backprop(beta=3)",
        "selective_backprop(beta=1.5, history=100)",
        "top_k(keep=1/3)",
        "top_k(keep=0.1)",
        "random_subset(keep=3/7)",
        "importance_sampling(presample=2)",
        "importance_sampling(presample=3, unbiased=True)",
        "selective_backprop(beta=1, stale=3)",
        "rho_loss(keep=0.1, halves=True)",
        "mixture_filter(family='beta', threshold=0.5, warmup=2)",
        "biased_importance(presample=3, power=-1)",
        "selective_backprop_composer(keep=0.5, start=0.5, end=0.9, interrupt=0, scale=1)",
    ],
)
def test_labels_with_settings_read_back(text: str) -> None:
    assert policy(policy(text).label) == policy(text)
    assert policy(brief(text)) == policy(text)


def test_a_brief_label_leaves_out_what_is_usual_and_nothing_else() -> None:
    assert brief("guarded(settle=3, slowing=0.15, drop=0)") == "guarded(drop=0)"
    assert brief("top_k(keep=1/3)") == "top_k"
    assert brief("top_k(keep=0.1)") == "top_k(keep=0.1)"
    for name in ("aum", "top_k(<b>)", "guarded(speed=3)", ""):
        assert brief(name) == name, "no policy's label"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("topk", "did you mean 'top_k'"),
        ("top_k(0.5)", "name=number"),
        ("top_k(keep=)", "name=number"),
        ("top_k(kep=0.5)", "unexpected keyword"),
        ("top_k(keep=__import__('os'))", "name=number"),
        ("top_k(keep=1/0)", "name=number"),
        ("top_k(keep=2)", "share of candidates"),
        ("selective_backprop(history=1.5)", "history of selective_backprop is 1.5, but it must be a whole number"),
        ("guarded(settle=True)", "settle of guarded is True, but it must be a whole number"),
        ("", "is not a policy"),
        ("a b", "is not a policy"),
    ],
)
def test_what_is_not_a_policy_is_refused(text: str, words: str) -> None:
    with pytest.raises(TamisError, match=words):
        policy(text)


def test_published_settings() -> None:
    assert [round(policies.selective_backprop(beta=b).keep, 2) for b in (1, 2, 3)] == [0.5, 0.33, 0.25]
    assert policies.selective_backprop().rule.history == 1024  # type: ignore[attr-defined]
    assert policies.selective_backprop().schedule == AfterPasses(1)
    assert policies.top_k(keep=1 / 3).candidates(128) == 384
    assert policies.importance_sampling(presample=3).candidates(128) == 384
    assert not policies.importance_sampling().rule.unbiased
    assert policies.importance_sampling(unbiased=True).rule.unbiased
    assert policies.random_subset().fixed  # one subset for ever, where rs2 draws anew
    assert not policies.rs2().fixed


def test_every_schedule_is_pure_and_serialisable() -> None:
    for make in SCHEDULES.values():
        schedule = make()
        state = schedule.init()
        kept = {key: value.clone() for key, value in state.items()}
        logits, target = torch.rand(16, 3), torch.arange(16) % 3
        seen = Observation(torch.arange(16), torch.rand(16), logits, target, phase="select")
        after = schedule.observe(state, torch.rand(16), seen)
        assert all(torch.equal(state[key], kept[key]) for key in kept)
        assert all(isinstance(value, torch.Tensor) for value in after.values())
        assert isinstance(schedule.active(after, Progress(0.5, 1.0, 10)), bool)
        assert all(isinstance(value, float) for value in schedule.settings(after, Progress(0.5, 1.0, 10)).values())


def test_ordered_sgd_lowers_its_share_as_the_accuracy_rises() -> None:
    schedule = ByAccuracy(momentum=0.0)
    target = torch.arange(100) % 2
    for right, keep in ((0.5, 1.0), (0.8, 0.5), (0.93, 0.25), (0.96, 0.125), (1.0, 0.0625)):
        wrong = torch.arange(100) >= round(100 * right)
        logits = F.one_hot(torch.where(wrong, 1 - target, target), 2).float()
        seen = Observation(torch.arange(100), torch.zeros(100), logits, target)
        state = schedule.observe(schedule.init(), torch.zeros(100), seen)
        assert schedule.settings(state, Progress(0.0, 0.0, 0)) == {"keep": keep}
    made = policies.ordered_sgd()
    assert made.rule_now(state, Progress(0.0, 0.0, 0)) == TopK(1 / 16)
    with pytest.raises(TamisError, match="needs logits and labels"):
        schedule.observe(schedule.init(), torch.zeros(1))


def test_ramps_go_from_start_to_end() -> None:
    ramp = policies.online_batch_selection(pressure=100).schedule
    pressures = [ramp.settings({}, Progress(f, 0.0, 0))["pressure"] for f in (0.0, 0.5, 1.0)]
    assert pressures == pytest.approx([100, 10, 1])
    forget = policies.co_teaching(forget=0.4, passes=10)
    keeps = [forget.rule_now({}, Progress(0.9, p, 0)).keep for p in (0.0, 5.0, 10.0, 99.0)]
    assert keeps == pytest.approx([1.0, 0.8, 0.6, 0.6])


def test_warm_ups_and_windows_begin_and_end_where_they_say() -> None:
    def active(schedule: AfterPasses | Window, *, fraction: float = 0.5, passes: float = 0.0, step: int = 0) -> bool:
        return schedule.active({}, Progress(fraction, passes, step))

    assert [active(AfterPasses(2), passes=passes) for passes in (1.99, 2.0, 2.01)] == [False, True, True]
    assert [active(Window(0.25, 0.75), fraction=f) for f in (0.24, 0.25, 0.74, 0.75)] == [False, True, True, False]
    assert [active(Window(interrupt=3), step=step) for step in range(6)] == [True, True, False] * 2


def test_an_accuracy_that_is_reached_counts_as_reached() -> None:
    schedule = ByAccuracy(((0.5, 1 / 2), (0.75, 1 / 4)))
    for accuracy, keep in ((0.49, 1.0), (0.5, 1 / 2), (0.75, 1 / 4)):
        assert schedule.settings({"accuracy": torch.tensor(accuracy)}, Progress(0.0, 0.0, 0)) == {"keep": keep}


def test_the_gate_reads_negatives_as_nothing_and_a_tau_that_is_not_finite_not_at_all() -> None:
    gate, before = VarianceGate(), {"tau": torch.tensor(2.0)}
    assert torch.equal(gate.observe(before, torch.tensor([-5.0, 1.0]))["tau"],
                       gate.observe(before, torch.tensor([0.0, 1.0]))["tau"])  # fmt: skip
    for priority in ([1e30, 1.0], [math.nan, 1.0], [math.inf, 1.0]):  # the first has an infinite square, no more
        assert float(gate.observe(before, torch.tensor(priority))["tau"]) == 2.0


def test_the_focal_loss_is_the_published_one() -> None:
    logits, y = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1, 2, 3, 0, 1])
    p = logits.softmax(1).gather(1, y[:, None])[:, 0]
    expected = torch.autograd.grad((-((1 - p) ** 2) * p.log()).sum(), logits)[0]
    reshape = policies.focal(gamma=2).reshape
    assert reshape is not None
    ours = torch.autograd.grad(reshape(F.cross_entropy(logits, y, reduction="none")).sum(), logits)[0]
    assert torch.allclose(ours, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_the_focal_loss_has_a_gradient_where_nothing_is_missed(gamma: float) -> None:
    losses = torch.tensor([0.0, 1e-9, 1e-4, 2.0], requires_grad=True)
    focal = Focal(gamma)(losses)
    focal.sum().backward()
    exact = losses.detach().double()
    by_hand = (-(-exact).expm1()) ** gamma + exact * gamma * (-(-exact).expm1()) ** (gamma - 1) * (-exact).exp()
    assert losses.grad is not None
    assert torch.allclose(losses.grad[1:].double(), by_hand[1:], rtol=1e-4, atol=0)
    assert 0 <= float(losses.grad[0]) <= 1
    assert torch.allclose(focal.detach().double(), (-(-exact).expm1()) ** gamma * exact, rtol=1e-5, atol=1e-30)


@pytest.mark.parametrize("pressure", [49.0, 98.0, 103.0, 107.0, 3.0])
def test_a_ramp_never_leads_beyond_its_end(pressure: float) -> None:
    policy = policies.online_batch_selection(pressure=pressure)
    for fraction in (1.0, 1 - 1e-16, 0.5):
        assert 1 <= policy.rule_now({}, Progress(fraction, 9.0, 9)).pressure <= pressure  # type: ignore[attr-defined]


@pytest.mark.parametrize("keep", [np.float64(0.5), np.float32(0.5), 0.5, np.float64(1 / 3)])
def test_a_number_of_numpy_is_said_as_a_number(keep: float) -> None:
    assert policy(policies.top_k(keep=keep).label).keep == keep


@pytest.mark.parametrize("presample", [0, -1, 0.5, float("nan")])
def test_a_presample_below_the_batch_is_refused(presample: float) -> None:
    for make in (policies.importance_sampling, policies.biased_importance):
        with pytest.raises(TamisError, match="at least 1 times the batch"):
            make(presample=presample)


def test_tau_is_the_published_formula() -> None:
    """tau = 1 / sqrt(1 - sum (g - u)^2 / sum g^2), EMA momentum 0.9, against tau_th = (B + 3b) / (3b)."""
    priority = torch.tensor([1.0, 2.0, 3.0, 10.0])
    g = priority / priority.sum()
    tau = 1 / math.sqrt(1 - float(((g - 0.25) ** 2).sum() / (g**2).sum()))
    gate = VarianceGate(presample=3, momentum=0.9)
    state = gate.observe(gate.observe(gate.init(), priority), priority)
    assert float(state["tau"]) == pytest.approx(0.9 * 0.1 * tau + 0.1 * tau, rel=1e-5)
    assert gate.threshold == 2.0
    assert VarianceGate(presample=2).threshold == pytest.approx(5 / 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AfterPasses(-1), "passes is -1"),
        (lambda: VarianceGate(0.5), "presample"),
        (lambda: Window(0.5, 0.5), "window"),
        (lambda: Window(interrupt=1), "interrupt"),
        (lambda: Ramp(passes=0), "passes is 0"),
        (lambda: Ramp(end=0, exponential=True), "exponential"),
        (lambda: policies.focal(gamma=-1), "gamma"),
        (lambda: policies.infobatch(drop=1), "drop is 1"),
        (lambda: policies.mixture_filter(family="gamma"), "family is 'gamma'"),
        (lambda: policies.online_batch_selection(pressure=0.5), "pressure"),
        (lambda: policies.biased_importance(power=2), "power"),
        (lambda: policies.selective_backprop(stale=0), "every 1 or more"),
        (lambda: policies.rho_loss(holdout=1), "hold out"),
        (lambda: VarianceGate(3, 1.0), "momentum"),
    ],
)
def test_schedules_refuse_nonsense(make: object, words: str) -> None:
    with pytest.raises(TamisError, match=words):
        make()  # type: ignore[operator]


def test_cost_is_counts_times_prices() -> None:
    prices = PriceList(forward=1.0, step=4.0, select=10.0, data=1.0)
    costs = Costs(candidates=200, forwards=200, backwards=100, steps=1, selections=2)
    assert prices.cost(costs, n=100) == pytest.approx((200 + 400 + 20 + 200) / (100 * 5))
    assert ASSUMED.cost(Costs(backwards=50), n=50) == 1.0


def test_measured_prices_leave_the_model_as_it_was(unchanged_globals: None) -> None:
    model = build("mlp", (1, 8, 8), 10, 32)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x, y = torch.linspace(-1, 1, 64 * 64).view(64, 1, 8, 8), torch.arange(64) % 10
    prices = measure_prices(model, x, y, lambda losses: losses.sort(), repeats=5, warmup=1)
    assert prices.measured
    assert 0 < prices.forward < prices.step
    assert prices.select > 0
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


def test_a_price_list_must_make_sense() -> None:
    with pytest.raises(TamisError, match="step above 0"):
        PriceList(forward=1.0, step=0.0)


def test_the_gradient_bound_is_the_gradient_with_respect_to_the_logits() -> None:
    from tamis.observe.signals import el2n
    from tamis.types import Observation

    logits = torch.randn(5, 4, requires_grad=True)
    target = torch.tensor([0, 1, 2, 3, 0])
    F.cross_entropy(logits, target, reduction="sum").backward()
    seen = el2n(Observation(torch.arange(5), torch.zeros(5), logits.detach(), target))
    assert torch.allclose(seen, logits.grad.norm(dim=1), atol=1e-6)  # type: ignore[union-attr]
