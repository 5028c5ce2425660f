"""The front door: exact plans, exact state, exact equality with plain training."""

from __future__ import annotations

import copy
import dataclasses
import functools
import io
import math
import operator
from collections import UserDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tamis
from tamis.observe import signals
from tamis.selection import policies
from tamis.selection.guard import Guard
from tamis.selection.policies import POLICIES, Policy
from tamis.selection.rules import Everything, ProportionalDraw, TopK
from tamis.selection.schedules import AfterPasses, VarianceGate
from tamis.types import TamisError

N, D, K, B = 203, 6, 3, 16
X = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
Y = (X @ torch.randn(D, K, generator=torch.Generator().manual_seed(1))).argmax(1)
DATA = tamis.Indexed(TensorDataset(X, Y))


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(D, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.1), nn.Linear(8, K))


def epoch_top_k() -> Policy:
    """An epoch-level policy whose plan depends on what was recorded."""
    return Policy("epoch_top_k", TopK(keep=0.5), "test", tamis.scores.last_loss(), AfterPasses(1))


EVERY = {
    **POLICIES,
    "selective_backprop_composer": functools.partial(
        policies.selective_backprop_composer, scale=1
    ),  # rows, no pictures
    "selective_backprop_stale": functools.partial(policies.selective_backprop, stale=2),
    "mixture_filter": functools.partial(policies.mixture_filter, warmup=1),
    "guarded": functools.partial(policies.guarded, settle=1, floor=0.0),  # leaves out from the second pass on
    "epoch_top_k": epoch_top_k,
}
IRREDUCIBLE = {"irreducible_loss": torch.rand(N, generator=torch.Generator().manual_seed(2))}


class Run:
    """A user's own loop over a Sieve, stoppable between any two steps."""

    def __init__(self, policy: Policy, workers: int = 0, drop_last: bool = False, **kwargs: object) -> None:
        self.model = network()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        if policy.needs.irreducible:
            kwargs = {"given": IRREDUCIBLE, **kwargs}
        self.sieve = tamis.Sieve(N, policy, **{"budget": 3, "unit": "passes", "seed": 5, **kwargs})  # type: ignore[arg-type]
        self.loader = DataLoader(DATA, batch_sampler=self.sieve.batches(B, drop_last), num_workers=workers)
        self.trained: list[list[int]] = []

    def go(self, steps: float = math.inf) -> Run:
        torch.manual_seed(len(self.trained))
        while not self.sieve.done:
            if self.sieve.policy.needs.reference:
                self.sieve.refer(self.model, X[:30], Y[:30])
            for index, x, y in self.loader:
                chosen = self.sieve.select(self.model, index, x, y)
                if chosen is None:
                    continue
                torch.manual_seed(self.sieve.costs.steps)  # dropout's draws, the same after a resume
                loss = self.sieve.loss(chosen.index, self.model(chosen.x), chosen.y)
                loss.backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                self.trained.append(chosen.index.tolist())
                if len(self.trained) >= steps:
                    return self
        return self

    def everything(self) -> tuple[object, ...]:
        return (
            self.trained,
            [p.tolist() for p in self.model.state_dict().values()],
            {name: column.tolist() for name, column in self.sieve.recorder.table().items() if name != "forgetting"},
            self.sieve.costs,
        )


def same(a: object, b: object) -> bool:
    return repr(a) == repr(b)  # NaN equals NaN, and every bit of a float shows


def test_uniform_with_everything_kept_is_a_plain_loop_bit_for_bit() -> None:
    run = Run(policies.uniform()).go()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    for step, batch in enumerate(run.trained):
        torch.manual_seed(step)
        loss = F.cross_entropy(model(X[batch]), Y[batch], reduction="none").mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert same(
        [p.tolist() for p in model.state_dict().values()], [p.tolist() for p in run.model.state_dict().values()]
    )
    assert len(run.trained) == 3 * math.ceil(N / B)


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_epoch_holds_the_planned_examples_once_under_a_loader(workers: int, drop_last: bool) -> None:
    run = Run(policies.uniform(), workers, drop_last).go()
    per_epoch = N // B if drop_last else math.ceil(N / B)
    assert len(run.loader) == per_epoch
    assert len(run.trained) == 3 * per_epoch
    epochs = [functools.reduce(operator.iadd, run.trained[e * per_epoch : (e + 1) * per_epoch], []) for e in range(3)]
    for epoch in epochs:
        assert len(epoch) == (N // B * B if drop_last else N)
        assert len(set(epoch)) == len(epoch)
    assert epochs[0] != epochs[1], "every epoch is drawn anew"


@pytest.mark.parametrize("name", EVERY)
def test_workers_change_nothing(name: str) -> None:
    unit = "cost" if len(name) % 2 else "passes"
    alone, ahead = (Run(EVERY[name](), workers, unit=unit, budget=2.5).go() for workers in (0, 2))
    assert same(alone.everything(), ahead.everything())
    assert alone.sieve.passes == ahead.sieve.passes


def test_the_first_pass_of_selective_backprop_is_unfiltered() -> None:
    run = Run(policies.selective_backprop(beta=1)).go(math.ceil(N / B) - 1)
    assert run.sieve.costs.forwards == 0
    assert sorted(sum(run.trained, [])) == sorted(set(sum(run.trained, [])))
    assert Run(policies.selective_backprop(beta=1)).go().sieve.costs.forwards == 2 * N


def test_a_gate_that_never_opens_trains_like_uniform_to_the_last_step() -> None:
    shut = dataclasses.replace(policies.importance_sampling(presample=3), schedule=VarianceGate(presample=1e6))
    kept = [Run(policy, drop_last=True).go().trained for policy in (policies.uniform(), shut)]
    assert kept[0] == kept[1]
    run = Run(policies.top_k(keep=1.0), drop_last=True).go()
    assert len(run.trained) == 3 * (N // B), "a full batch that was paid for is handed out"


def test_an_epoch_that_was_broken_off_counts_as_far_as_it_was_consumed() -> None:
    sieve = tamis.Sieve(N, policies.uniform(), budget=9, unit="passes")
    for _ in range(3):
        for drawn in sieve.batches(B):
            sieve.loss(torch.tensor(drawn), torch.zeros(B, K), Y[drawn])
            break
    assert sieve.passes == pytest.approx(3 / math.ceil(N / B))


def test_a_state_brings_its_batch_size() -> None:
    state = Run(policies.uniform()).go(3).sieve.state_dict()
    fresh = tamis.Sieve(N, policies.uniform(), budget=3, unit="passes", seed=5)
    fresh.load_state_dict(state)
    with pytest.raises(TamisError, match="cannot change to 32"):
        fresh.batches(32)


def test_what_a_policy_selects_by_must_be_recorded() -> None:
    by_margin = Policy("by_margin", TopK(keep=0.5), "test", tamis.scores.aum())
    sieve = tamis.Sieve(N, by_margin, budget=2, loss_fn=lambda outputs, y: outputs[:, 0])
    index = torch.tensor(next(iter(sieve.batches(B))))
    with pytest.raises(TamisError, match="aum needs logits"):
        sieve.loss(index, torch.zeros(B, 1), X[index])


@pytest.mark.parametrize(
    ("outputs", "y", "loss_fn"),
    [
        (torch.zeros(B, 1), torch.zeros(B, dtype=torch.int64), lambda o, y: (o[:, 0] - y) ** 2),
        (torch.zeros(B, 3), torch.full((B,), 7), lambda o, y: o.sum(1)),
        (torch.zeros(B, 3), torch.zeros(B, dtype=torch.int32), lambda o, y: o.sum(1)),
    ],
)
def test_any_loss_can_be_recorded(outputs: torch.Tensor, y: torch.Tensor, loss_fn: Callable[..., torch.Tensor]) -> None:
    sieve = tamis.Sieve(N, "uniform", budget=1, loss_fn=loss_fn)
    sieve.loss(torch.tensor(next(iter(sieve.batches(B)))), outputs, y)
    assert "last_loss" in sieve.examples().columns


def test_batches_of_different_shapes_are_refused_in_a_sentence() -> None:
    sieve = tamis.Sieve(N, "top_k(keep=0.5)", budget=1)
    batches = iter(sieve.batches(B))
    with pytest.raises(TamisError, match="padding to one length"):
        for width in (5, 6):
            index = torch.tensor(next(batches))
            sieve.select(network(), index, torch.zeros(B, width), Y[index])


def test_one_loss_that_is_not_finite_does_not_shut_a_gate_for_ever() -> None:
    gate = VarianceGate(presample=2)
    state = gate.observe(gate.init(), torch.tensor([1.0, float("inf")]))
    assert float(gate.observe(state, torch.tensor([1.0, 1.0]))["tau"]) == pytest.approx(0.1)


@pytest.mark.parametrize("stop", [1, 13, 20])
@pytest.mark.parametrize("name", EVERY)
def test_stopped_anywhere_and_resumed_it_ends_bit_for_bit_like_the_unbroken_run(name: str, stop: int) -> None:
    whole = Run(EVERY[name]()).go()
    if stop >= len(whole.trained):
        stop = len(whole.trained) - 1
    first = Run(EVERY[name]()).go(stop)
    file = io.BytesIO()
    torch.save(
        {
            "sieve": first.sieve.state_dict(),
            "model": first.model.state_dict(),
            "optimizer": first.optimizer.state_dict(),
        },
        file,
    )
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = Run(EVERY[name](), workers=2 if stop == 13 else 0)
    second.sieve.load_state_dict(saved["sieve"])
    second.model.load_state_dict(saved["model"])
    second.optimizer.load_state_dict(saved["optimizer"])
    second.trained = list(first.trained)
    second.go()
    assert same(second.everything(), whole.everything())


@pytest.mark.parametrize("name", EVERY)
def test_the_trained_size_is_the_batch_size(name: str) -> None:
    run = Run(EVERY[name](), drop_last=True).go()
    assert run.trained
    assert {len(batch) for batch in run.trained} == {B}


@pytest.mark.parametrize("name", EVERY)
def test_costs_count_what_was_done(name: str) -> None:
    forwarded, trained = [], []

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            (trained if self.training else forwarded).append(len(x))
            assert self.training == torch.is_grad_enabled(), "a dropped example is in no graph"
            return self.inner(x)

    run = Run(EVERY[name](), drop_last=True)  # a filter may leave one example over, which batch norm cannot train on
    run.model = Counting()
    run.optimizer = torch.optim.SGD(run.model.parameters(), lr=0.1)
    run.go()
    costs = run.sieve.costs
    assert (costs.forwards, costs.backwards, costs.steps) == (sum(forwarded), sum(trained), len(trained))
    assert run.sieve.recorder.trained.sum() == costs.backwards


@pytest.mark.parametrize("name", [name for name in EVERY if EVERY[name]().level == "batch"])
def test_a_selection_forward_leaves_no_trace(name: str) -> None:
    run = Run(EVERY[name]()).go(5)
    model = run.model
    model[1].eval()  # a part that its user froze stays frozen
    before = copy.deepcopy(model.state_dict())
    modes, state = [m.training for m in model.modules()], torch.random.get_rng_state()
    run.sieve._looking.look(model, torch.arange(4), X[:4], Y[:4], step=0, tap=True)
    assert same(before, model.state_dict())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_batch_that_was_not_drawn_next_is_refused() -> None:
    sieve = tamis.Sieve(N, policies.uniform(), budget=1)
    drawn = list(sieve.batches(B))
    with pytest.raises(TamisError, match="not the one drawn next"):
        sieve.loss(torch.tensor(drawn[1]), torch.zeros(B, K), Y[drawn[1]])
    fresh = tamis.Sieve(N, policies.uniform(), budget=1)
    with pytest.raises(TamisError, match="no batch is waiting"):
        fresh.loss(torch.arange(B), torch.zeros(B, K), Y[:B])


def test_loss_and_select_come_in_pairs() -> None:
    sieve = tamis.Sieve(N, policies.top_k(keep=0.5), budget=1)
    batches = iter(sieve.batches(B))
    index = torch.tensor(next(batches))
    with pytest.raises(TamisError, match="call select first"):
        sieve.loss(index, torch.zeros(B, K), Y[index])
    model = network()
    assert sieve.select(model, index, X[index], Y[index]) is None, "half the candidates are no selection"
    index = torch.tensor(next(batches))
    chosen = sieve.select(model, index, X[index], Y[index])
    assert chosen is not None
    assert len(chosen.index) == B
    with pytest.raises(TamisError, match="after its loss"):
        sieve.state_dict()
    with pytest.raises(TamisError, match="twice"):
        sieve.select(model, index, X[index], Y[index])


def test_a_state_of_another_run_is_refused_by_name() -> None:
    state = Run(policies.uniform()).go(3).sieve.state_dict()
    for change, word in (({"seed": 6}, "seed"), ({"budget": 4}, "budget")):
        with pytest.raises(TamisError, match=word):
            Run(policies.uniform(), **change).sieve.load_state_dict(state)
    with pytest.raises(TamisError, match="policy"):
        Run(policies.random_subset()).sieve.load_state_dict(state)
    guarded = dataclasses.replace(policies.uniform(), guard=Guard())
    with pytest.raises(TamisError, match="with guard None"):
        Run(guarded).sieve.load_state_dict(state)


def test_two_open_iterators_are_refused() -> None:
    batches = tamis.Sieve(N, policies.uniform(), budget=5).batches(B)
    first = iter(batches)
    sieve = batches._sieve
    index = torch.tensor(next(first))
    sieve.loss(index, torch.zeros(B, K), Y[index])
    next(iter(batches))
    with pytest.raises(TamisError, match="two iterators"):
        next(first)


def test_unbiased_weights_give_the_mean_gradient_in_expectation() -> None:
    """Monte Carlo over the real path: candidates, rule, weights, loss."""
    model = nn.Linear(D, K)
    index = torch.arange(32)
    x, y = X[:32], Y[:32]
    F.cross_entropy(model(x), y).backward()
    want = model.weight.grad.clone()  # type: ignore[union-attr]
    rule = ProportionalDraw(keep=0.25, weighted=True)
    with torch.no_grad():
        priority = F.cross_entropy(model(x), y, reduction="none") ** 2
    total, rounds = torch.zeros_like(want), 4000
    draw = torch.Generator().manual_seed(0)
    losses = F.cross_entropy(model(x), y, reduction="none")
    grads = torch.stack([torch.autograd.grad(one, model.weight, retain_graph=True)[0] for one in losses])
    squares = torch.zeros_like(want)
    for _ in range(rounds):
        selection, _state = rule.select({}, priority, 8, draw)
        one = (selection.multiplier[:, None, None] * grads[selection.keep]).mean(0)
        total, squares = total + one, squares + one**2
    mean = total / rounds
    error = (squares / rounds - mean**2).clamp(min=0).sqrt() / rounds**0.5
    assert ((mean - want).abs() <= 4.5 * error + 1e-6).all()
    assert index.dtype == torch.int64


def test_the_weights_of_a_selection_reach_the_loss() -> None:
    """An unbiased draw: the loss is (1/b) sum weight (k/M) loss, with the weights of the rule; checked by hand."""
    gate_open = dataclasses.replace(policies.importance_sampling(presample=2, unbiased=True), schedule=AfterPasses(0))
    sieve, model = tamis.Sieve(N, gate_open, budget=2), network().eval()
    for drawn in sieve.batches(B):
        index = torch.tensor(drawn)
        chosen = sieve.select(model, index, X[index], Y[index])
        if chosen is None:
            candidates = index
            continue
        candidates = torch.cat([candidates, index])
        g = signals.el2n(
            tamis.Observation(candidates, torch.zeros(2 * B), model(X[candidates]).detach(), Y[candidates])
        )
        g = dict(zip(candidates.tolist(), (g / g.sum()).tolist(), strict=True))
        losses = F.cross_entropy(model(X[chosen.index]), Y[chosen.index], reduction="none").detach()
        by_hand = (
            sum(float(loss) / (B * g[i]) * (B / (2 * B)) for i, loss in zip(chosen.index.tolist(), losses, strict=True))
            / B
        )
        assert float(sieve.loss(chosen.index, model(chosen.x), chosen.y).detach()) == pytest.approx(by_hand, rel=1e-4)
        assert by_hand != pytest.approx(float(losses.mean()), rel=1e-3)
        break


def test_a_budget_in_cost_is_kept_to_within_one_step() -> None:
    for name in EVERY:
        run = Run(EVERY[name](), unit="cost", budget=2.5).go()
        assert 2.5 <= run.sieve.cost <= 2.5 + 4 * B / N, name
        assert run.sieve.fraction == 1.0


def test_a_random_subset_is_one_subset_in_the_order_of_the_whole() -> None:
    whole, part = (tamis.Sieve(N, p, budget=9, seed=3) for p in (policies.uniform(), policies.random_subset(keep=0.25)))
    kept = [functools.reduce(operator.iadd, part.batches(B), []) for _ in range(2)]
    assert set(kept[0]) == set(kept[1])
    assert len(set(kept[0])) == round(0.25 * N)
    order = functools.reduce(operator.iadd, whole.batches(B), [])
    assert [i for i in order if i in set(kept[0])] == kept[0]


def test_epoch_level_selection_follows_what_was_recorded() -> None:
    run = Run(epoch_top_k(), budget=2)
    run.go(math.ceil(N / B))
    last = run.sieve.recorder.compute(tamis.scores.last_loss())
    second = Run(epoch_top_k(), budget=2).go().trained[math.ceil(N / B) :]
    kept = set(functools.reduce(operator.iadd, second, []))
    assert kept == set(last.argsort(descending=True, stable=True)[: round(N / 2)].tolist())


def test_losses_alone_are_enough() -> None:
    """Regression: no logits, no classes; what needs them is left out unless it was asked for."""
    target = X[:, :1]
    model = nn.Linear(D, 1)

    def squared(outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return ((outputs - y) ** 2).mean(1)

    sieve = tamis.Sieve(N, policies.selective_backprop_inbatch(keep=0.5), budget=1, loss_fn=squared)
    for drawn in sieve.batches(B):
        index = torch.tensor(drawn)
        chosen = sieve.select(model, index, X[index], target[index])
        if chosen is not None:
            sieve.loss(chosen.index, model(chosen.x), chosen.y).backward()
    assert set(sieve.examples().columns) == {"index", "trained", "last_loss", "mean_loss"}
    strict = tamis.Sieve(N, policies.uniform(), budget=1, loss_fn=squared, record=[tamis.scores.aum()])
    index = torch.tensor(next(iter(strict.batches(B))))
    with pytest.raises(TamisError, match="aum needs logits"):
        strict.loss(index, model(X[index]), target[index])
    with pytest.raises(TamisError, match="one number per example"):
        tamis_mean = tamis.Sieve(N, policies.uniform(), budget=1, loss_fn=lambda o, y: ((o - y) ** 2).mean())
        index = torch.tensor(next(iter(tamis_mean.batches(B))))
        tamis_mean.loss(index, model(X[index]), target[index])


@pytest.mark.parametrize("kind", [dict, UserDict])  # a tokenizer's batch is a UserDict
def test_dict_batches_are_selected_from(kind: type) -> None:
    class Wrapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
            return self.inner(batch["x"])

    sieve = tamis.Sieve(N, policies.top_k(keep=0.5), budget=1)
    model, steps = Wrapped(), 0
    for drawn in sieve.batches(B):
        index = torch.tensor(drawn)
        chosen = sieve.select(model, index, kind({"x": X[index], "extra": [index]}), Y[index])
        if chosen is not None:
            assert torch.equal(chosen.x["x"], X[chosen.index])
            assert torch.equal(chosen.x["extra"][0], chosen.index)
            sieve.loss(chosen.index, model(chosen.x), chosen.y).backward()
            steps += 1
    assert steps == N // (2 * B)


def test_top_k_trains_on_the_highest_losses() -> None:
    model = network()
    sieve = tamis.Sieve(N, policies.top_k(keep=0.25), budget=1)
    candidates: list[int] = []
    for drawn in sieve.batches(B):
        candidates += drawn
        index = torch.tensor(drawn)
        chosen = sieve.select(model, index, X[index], Y[index])
        if chosen is not None:
            break
    model.eval()
    losses = F.cross_entropy(model(X[candidates]), Y[candidates], reduction="none")
    assert set(chosen.index.tolist()) == {candidates[i] for i in losses.argsort(descending=True)[:B].tolist()}


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"budget": 0}, "budget is 0"),
        ({"budget": float("nan")}, "budget is nan"),
        ({"budget": 1, "unit": "hours"}, "unit is 'hours'"),
        ({"budget": 1, "seed": -1}, "seed is -1"),
    ],
)
def test_bad_budgets_are_refused(kwargs: dict[str, object], words: str) -> None:
    with pytest.raises(TamisError, match=words):
        tamis.Sieve(N, policies.uniform(), **kwargs)  # type: ignore[arg-type]
    with pytest.raises(TamisError, match="is 0, but it must be a whole number of at least 1"):
        tamis.Sieve(0, policies.uniform(), budget=1)
    with pytest.raises(TamisError, match="none is left"):
        list(tamis.Sieve(3, policies.uniform(), budget=1).batches(B, drop_last=True))


def test_a_policy_must_fit_together() -> None:
    with pytest.raises(TamisError, match="must be a signal"):
        Policy("x", TopK(), "test", None, level="batch")
    assert dataclasses.replace(policies.uniform(), rule=Everything()).keep == 1
    assert policies.top_k().priority is signals.loss


@pytest.mark.parametrize("exclude", [torch.tensor([1, 0, 0, 0]), torch.tensor([True, False])])
def test_who_is_excluded_is_said_by_a_mask_or_not_at_all(exclude: torch.Tensor) -> None:
    with pytest.raises(TamisError, match=r"exclude must be \[4\] bool"):
        tamis.Sieve(4, "uniform", budget=1, exclude=exclude)


@pytest.mark.parametrize(
    ("outputs", "y", "sentence"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 1], dtype=torch.int32), r"torch\.int32, but .* use y\.long\(\)"),
        (torch.zeros(2, 1), torch.tensor([0, 1]), r"\[2, 1\], a single logit"),
        ((torch.zeros(2, 3),), torch.tensor([0, 1]), "these are tuple and Tensor"),
        (torch.zeros(2, 3), [0, 1], "these are Tensor and list"),
        (torch.zeros(2, 3), torch.tensor([0, 1, 2]), r"these are \[2, 3\] and \[3\]"),
        (torch.zeros(2, 7, 3), torch.zeros(2, 7, dtype=torch.int64), r"these are \[2, 7, 3\] and \[2, 7\]"),
        (torch.zeros(3, 3), torch.tensor([0, 1, 2]), "there are 3 losses for a batch of 2"),
        (torch.zeros(1, 3), torch.tensor([0]), "there are 1 losses for a batch of 2"),
    ],
)
def test_what_cross_entropy_cannot_take_is_refused_in_a_sentence(outputs: Any, y: Any, sentence: str) -> None:
    sieve = tamis.Sieve(4, tamis.policies.uniform(), budget=1)
    index = torch.tensor(next(iter(sieve.batches(2))))
    with pytest.raises(tamis.TamisError, match=sentence):
        sieve.loss(index, outputs, y)
    sieve.loss(index, torch.zeros(2, 3), torch.tensor([0, 1]))  # nothing was spent: the same batch can be mended


def test_labels_may_be_probabilities() -> None:
    sieve = tamis.Sieve(2, tamis.policies.uniform(), budget=1)
    index = torch.tensor(next(iter(sieve.batches(2))))
    assert float(sieve.loss(index, torch.zeros(2, 4), torch.full((2, 4), 0.25))) == pytest.approx(1.3862944)


@pytest.mark.parametrize("name", ["selective_backprop", "guarded", "importance_sampling"])
def test_mixed_precision_and_accumulation_are_the_loop_s_own_affair(name: str) -> None:
    """What the guide of the loop says: look and model under autocast, several batches a step."""
    model = nn.Linear(D, K)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sieve = tamis.Sieve(N, EVERY[name](), budget=3)
    while not sieve.done:
        for number, index in enumerate(sieve.batches(B)):
            at = torch.tensor(index)
            with torch.autocast("cpu", torch.bfloat16):
                batch = sieve.select(model, at, X[at], Y[at])
                if batch is None:
                    continue
                loss = sieve.loss(batch.index, model(batch.x), batch.y)
            (loss / 2).backward()
            if number % 2:
                optimizer.step()
                optimizer.zero_grad()
    assert sieve.examples().filter(sieve.examples()["trained"] > 0)["mean_loss"].is_finite().all()


def test_what_is_no_model_is_refused_in_a_sentence() -> None:
    sieve = tamis.Sieve(N, policies.top_k(), budget=1)
    with pytest.raises(TamisError, match=r"an nn\.Module"):
        for index in map(torch.tensor, sieve.batches(B)):  # three batches of candidates are looked at together
            sieve.select(lambda x: x, index, X[index], Y[index])  # type: ignore[arg-type]
