"""The front door: what a Sieve refuses, in one sentence and before anything is counted; and what it makes plain."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tamis
from tamis.loop import Given, Recipe, train
from tamis.models import build
from tamis.selection.cost import PriceList
from tamis.selection.policies import policy as read
from tamis.selection.policy import Needs
from tamis.types import Arrays, TamisError

P = tamis.policies


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"policy": P.guarded}, r"policy is guarded, .* call it, as in tamis\.policies\.guarded\(\)"),
        ({"policy": None}, "policy is NoneType"),
        ({"record": "aum"}, r"record is 'aum', .* record=\[tamis\.scores\.aum\(\)\]"),
        ({"record": ["aum"]}, r"record is \['aum'\]"),
        ({"record": tamis.scores.aum()}, "list of scores"),
        ({"budget": "3"}, "budget is '3'"),
        ({"budget": None}, "budget is None"),
        ({"n": 10.0}, r"n, how many examples there are, is 10\.0"),
        ({"n": True}, "is True"),
        ({"seed": 1.5}, r"seed is 1\.5"),
        ({"policy": P.rho_loss(), "given": {"irreducible_loss": torch.zeros(9)}}, r"\[9\].*\[10\]"),
        ({"policy": P.rho_loss(), "given": {"irreducible_loss": torch.zeros(1)}}, r"one number for each of the 10"),
        ({"policy": P.rho_loss(), "given": {"irreducible_loss": torch.zeros(10, 1)}}, r"\[10, 1\]"),
        ({"policy": P.rho_loss(), "given": {"irreducible_loss": [0] * 10}}, "floating"),
    ],
)
def test_what_it_cannot_be_made_of(kwargs: dict[str, Any], words: str) -> None:
    asked = {"n": 10, "policy": "uniform", "budget": 1, **kwargs}
    with pytest.raises(TamisError, match=words):
        tamis.Sieve(asked.pop("n"), asked.pop("policy"), **asked)


def test_a_list_of_what_is_given_will_do() -> None:
    sieve = tamis.Sieve(3, P.rho_loss(), budget=1, given={"irreducible_loss": [0.1, 0.2, 0.3]})  # type: ignore[dict-item]
    assert sieve.state_dict()["given"]["irreducible_loss"].shape == (3,)


@pytest.mark.parametrize("batch", [4.0, "4", True, 0, -1, None])
def test_a_batch_is_a_whole_number_of_examples(batch: Any) -> None:
    with pytest.raises(TamisError, match=f"the batch size is {batch!r}"):
        tamis.Sieve(10, "uniform", budget=1).batches(batch)


@pytest.mark.parametrize("points", [0, -1, 2.5])
def test_a_curve_has_points(points: Any) -> None:
    model, data = build("mlp", (3,), 2, width=4), Arrays(torch.randn(40, 3), torch.zeros(40, dtype=torch.int64), 2)
    with pytest.raises(TamisError, match="points is"):
        train(model, data, data, P.uniform(), budget=1, points=points, recipe=Recipe(batch=8))
    assert train(model, data, data, "uniform", budget=1, points=1, recipe=Recipe(batch=8)).points[-1].cost == 1


@pytest.mark.parametrize("name", ["co_teaching(forget=0.2, passes=2)", "streaming"])
@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_two_networks_end_together(name: str, seed: int) -> None:
    streaming = replace(P.selective_backprop(), needs=Needs(models=2))  # each keeps as many as chance will have it
    policy = streaming if name == "streaming" else read(name)
    draw = torch.Generator().manual_seed(0)
    data = Arrays(torch.randn(200, 3, generator=draw), torch.randint(0, 2, (200,), generator=draw), 2)
    model, peer = (build("mlp", (3,), 2, width=4, seed=s) for s in (seed, seed + 1))
    record = train(model, data, data, policy, budget=3, recipe=Recipe(batch=8), seed=seed, given=Given(peers=(peer,)))
    assert record.points[-1].cost <= 3.2


def test_a_reference_set_may_be_larger_than_the_training_set_and_is_none_of_it() -> None:
    model, n = nn.Linear(2, 3), 3  # as many classes as examples, so that one might be taken for the other
    sieve = tamis.Sieve(n, P.reducr(), budget=9, given={"irreducible_loss": torch.tensor([0.1, 0.2, 0.3])})
    x, y = torch.randn(7, 2), torch.tensor([0, 1, 2, 0, 1, 2, 2])
    sieve.refer(model, x, y)
    losses = nn.functional.cross_entropy(model(x), y, reduction="none").detach()
    expected = torch.stack([losses[y == k].mean() for k in range(3)])
    seen = sieve._looking.observation(torch.tensor([2, 0]), losses[:2], model(x[:2]), y[:2], step=0, phase="select")
    assert seen.given is not None
    assert torch.allclose(seen.given["class_loss"], expected)
    assert torch.equal(seen.given["irreducible_loss"], torch.tensor([0.3, 0.1]))


@pytest.mark.parametrize("name", ["mixture_filter(family='gaussian', threshold=0.5, warmup=1)", "infobatch(drop=0.9)"])
def test_a_policy_that_keeps_less_than_a_batch_goes_on_where_short_batches_are_left_out(name: str) -> None:
    draw = torch.Generator().manual_seed(0)
    data = Arrays(torch.randn(60, 3, generator=draw), torch.randint(0, 2, (60,), generator=draw), 2)
    model = build("mlp", (3,), 2, width=4)
    record = train(model, data, data, name, budget=6, unit="passes", recipe=Recipe(batch=50))
    assert int(record.examples["trained"].sum()) == 50 * 6


def test_numbers_of_numpy_make_a_state_that_is_read_as_plain_values() -> None:
    prices = PriceList(np.float64(1), np.float64(3))
    sieve = tamis.Sieve(np.int64(10), "uniform", budget=np.linspace(2, 4, 2)[0], seed=np.int32(3), prices=prices)  # type: ignore[arg-type]
    step(sieve, 1, np.int64(4))  # type: ignore[arg-type]
    kept = io.BytesIO()
    torch.save(sieve.state_dict(), kept)
    kept.seek(0)
    again = tamis.Sieve(10, "uniform", budget=2.0, seed=3, prices=PriceList(1.0, 3.0))
    again.load_state_dict(torch.load(kept, weights_only=True))


def step(sieve: tamis.Sieve, steps: int, batch: int = 4) -> None:
    for index in map(torch.tensor, sieve.batches(batch)):
        sieve.loss(index, torch.zeros(len(index), 3), torch.zeros(len(index), dtype=torch.int64))
        steps -= 1
        if not steps:
            return


def test_a_state_is_of_one_choice_of_examples() -> None:
    held = torch.arange(20) < 10
    first = tamis.Sieve(20, "uniform", budget=3, exclude=held)
    step(first, 2)
    state = first.state_dict()
    for other in (None, ~held, torch.arange(20) < 9):
        with pytest.raises(TamisError, match="saved with exclude '10 left out"):
            tamis.Sieve(20, "uniform", budget=3, exclude=other).load_state_dict(state)
    same = tamis.Sieve(20, "uniform", budget=3, exclude=held.clone())
    same.load_state_dict(state)
    assert same.passes == first.passes
    del state["identity"]["exclude"]  # as earlier versions wrote it
    tamis.Sieve(20, "uniform", budget=3).load_state_dict(state)


@pytest.mark.parametrize("state", [{}, nn.Linear(2, 2).state_dict(), {"identity": 3}])
def test_what_is_no_state_is_said(state: dict[str, Any]) -> None:
    with pytest.raises(TamisError, match="no state of a Sieve"):
        tamis.Sieve(4, "uniform", budget=1).load_state_dict(state)


def test_a_state_that_is_refused_late_changes_nothing() -> None:
    first = tamis.Sieve(20, "uniform", budget=3)
    step(first, 3)
    other = tamis.Sieve(20, "uniform", budget=3, record=[tamis.scores.variability()])
    with pytest.raises(TamisError, match="saved with other scores"):
        other.load_state_dict(first.state_dict())
    assert (other.passes, other.costs.steps, other.fraction) == (0, 0, 0)
    step(other, 5)
    assert other.costs.steps == 5


@pytest.mark.parametrize(
    ("outputs", "y", "words"),
    [
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, -100]), r"reach from -100 to 2, .* 0\.\.2; leave out who has none"),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, 3]), r"reach from 0 to 3"),
        (torch.zeros(4, 3), torch.tensor([0, 1, 2, -1]), r"reach from -1 to 2"),
        (torch.zeros(4, 3), torch.tensor([[0], [1], [2], [0]]), r"use y\.squeeze\(1\)"),
        (torch.zeros(4, 3), torch.eye(4, 3).long(), r"use y\.argmax\(1\)"),
        (torch.zeros(4, 3), torch.zeros(4), r"logits \[b, K\] and labels \[b\]"),
        (torch.zeros(4), torch.zeros(4), r"loss_fn="),
        (torch.zeros(4, 3), torch.zeros(4, 2), r"\[4, 3\] and \[4, 2\]"),
    ],
)
@pytest.mark.parametrize("policy", ["uniform", "guarded"])
def test_labels_that_are_none_are_refused_and_the_batch_may_be_given_again(
    policy: str, outputs: torch.Tensor, y: torch.Tensor, words: str
) -> None:
    sieve = tamis.Sieve(8, policy, budget=2)
    index = torch.tensor(next(iter(sieve.batches(4))))
    with pytest.raises(TamisError, match=words):
        sieve.loss(index, outputs, y)
    assert sieve.costs.steps == 0
    sieve.loss(index, torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))
    assert int(sieve.recorder.trained.sum()) == 4


def test_soft_labels_are_trained_on_but_not_guarded() -> None:
    soft = torch.full((4, 3), 1 / 3)
    plain = tamis.Sieve(8, "uniform", budget=2)
    loss = plain.loss(torch.tensor(next(iter(plain.batches(4)))), torch.zeros(4, 3), soft)
    assert float(loss) == pytest.approx(float(torch.tensor(3.0).log()))
    guarded = tamis.Sieve(8, "guarded", budget=2)
    index = torch.tensor(next(iter(guarded.batches(4))))
    with pytest.raises(TamisError, match="take another policy"):
        guarded.loss(index, torch.zeros(4, 3), soft)
    guarded.loss(index, torch.zeros(4, 3), torch.tensor([0, 1, 2, 0]))  # the batch was not used up


def test_a_guard_that_leaves_less_than_a_batch_fills_it_up_where_smaller_ones_are_left_out() -> None:
    draw = torch.Generator().manual_seed(0)
    true = torch.arange(600) % 4
    x = torch.eye(4)[true] * 3 + torch.randn(600, 4, generator=draw)
    wrong = torch.rand(600, generator=draw) < 0.3
    y = torch.where(wrong, (true + 1 + torch.randint(3, (600,), generator=draw)) % 4, true)
    torch.manual_seed(0)
    model = nn.Linear(4, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    sieve = tamis.Sieve(600, P.guarded(floor=0.0, settle=6), budget=20)
    batches, trained = sieve.batches(512, drop_last=True), []
    while not sieve.done:
        for index in map(torch.tensor, batches):
            sieve.loss(index, model(x[index]), y[index]).backward()
            optimizer.step()
            optimizer.zero_grad()
            trained.append(index)
    assert {len(index) for index in trained} == {512}
    assert sieve.notes[-1]["now"] == "leave out"
    late = torch.cat(trained[-5:])
    p = torch.from_numpy(sieve.table()["p_mislabeled"])
    assert float(p[late].mean()) < float(p.mean()), "those least probably wrong came back"


def test_a_session_whose_numbers_are_doubles_guards_too() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        draw = torch.Generator().manual_seed(0)
        x, y = torch.randn(300, 5, generator=draw), torch.arange(300) % 3
        torch.manual_seed(0)
        model = nn.Linear(5, 3)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sieve = tamis.Sieve(300, "guarded", budget=5)
        while not sieve.done:
            for index in map(torch.tensor, sieve.batches(32)):
                sieve.loss(index, model(x[index]), y[index]).backward()
                optimizer.step()
                optimizer.zero_grad()
        sieve.load_state_dict(sieve.state_dict())
        assert np.isfinite(sieve.table()["p_mislabeled"]).all()
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("budget", [0.9, 1.6, 2.3])
def test_who_draws_ahead_ends_where_others_do(budget: float) -> None:
    steps = []
    for ahead in (0, 1, 4):
        sieve = tamis.Sieve(100, "uniform", budget=budget, unit="passes")
        while not sieve.done:
            waiting: list[torch.Tensor] = []
            for drawn in sieve.batches(10):
                waiting.append(torch.tensor(drawn))
                if len(waiting) > ahead:
                    index = waiting.pop(0)
                    sieve.loss(index, torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64))
            for index in waiting:
                sieve.loss(index, torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64))
        steps.append(sieve.costs.steps)
    assert len(set(steps)) == 1, steps
