"""One plain run read by Bayes: what is kept of its passes, what is made of it, and what is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from oracles import watched
from torch import Tensor

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.data.sources import subset
from tamis.loop import Recipe, train
from tamis.models import build
from tamis.observe.calibration import anchored
from tamis.separation import one_run
from tamis.separation.evidence import Evidence
from tamis.separation.one_run import plain_run, separate_one_run, watch_one_run
from tamis.types import Arrays, Costs, TamisError, generator

RECIPE = Recipe(batch=16, lr=0.0125)


def network(seed: int) -> torch.nn.Module:
    return build("mlp", (1, 8, 8), 10, width=32, seed=seed)


@pytest.fixture(scope="module")
def data() -> Arrays:
    return injector("pair_flip", 0.3)(subset(load("digits"), 400, 123).train, generator(100, "corrupt"))[0]


def test_a_plain_run_is_the_run_that_aum_is_taken_from(data: Arrays) -> None:
    """The same steps in the same order, and each example as it was met before its own update."""
    margins: list[Tensor] = []

    def see(number: int, said: Tensor, order: Tensor) -> None:
        assert number == len(margins)
        assert set(order.tolist()) == set(said[:, 0].isfinite().nonzero()[:, 0].tolist())
        own = said.gather(1, data.y[:, None])[:, 0]
        margins.append(own - said.scatter(1, data.y[:, None], -torch.inf).amax(1))

    costs = plain_run(data, network(3), see, recipe=RECIPE, passes=4, seed=3)
    record = train(
        network(3), data, data.take(torch.arange(1)), tamis.policies.uniform(), budget=4, unit="passes", recipe=RECIPE,  # type: ignore[arg-type]
        seed=3, points=1, record=[tamis.scores.aum()],
    )  # fmt: skip
    assert torch.allclose(torch.stack(margins).nanmean(0), torch.from_numpy(record.examples["aum"]), atol=1e-5)
    assert costs == record.points[-1].costs


def scripted(said: Tensor) -> Callable[..., Costs]:
    """A run whose passes say what ``said`` ``[T, N, K]`` holds, to examples in an order of their own."""

    def run(data: Arrays, model: torch.nn.Module, see: Callable[[int, Tensor, Tensor], None], **_: object) -> Costs:
        for number, z in enumerate(said):
            order = torch.randperm(len(z), generator=generator(0, "order", number))
            see(number, z, order[z[order, 0].isfinite()])
        return Costs(backwards=7)

    return run


def test_who_was_not_met_in_a_pass_is_not_heard_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(0)
    said, y = torch.randn(10, 60, 3, generator=draw) * 2, torch.randint(3, (60,), generator=draw)
    said[4, 7], said[:, 9] = torch.nan, torch.nan  # not met in one pass; never met
    monkeypatch.setattr(one_run, "plain_run", scripted(said))
    found = watch_one_run(Arrays(torch.randn(60, 4), y, 3), lambda seed: torch.nn.Linear(4, 3))
    orders = [torch.randperm(60, generator=generator(0, "order", number)) for number in range(10)]
    orders = [
        torch.cat([order[z[order, 0].isfinite()], z[:, 0].isnan().nonzero()[:, 0]])
        for order, z in zip(orders, said, strict=True)
    ]
    logits, p = (torch.tensor(rows) for rows in watched(said.tolist(), y.tolist(), [o.tolist() for o in orders]))
    met = torch.arange(60) != 9
    assert found.probabilities is not None
    assert torch.allclose(found.probabilities[met], (1.5 * logits[met]).softmax(1), atol=1e-3)
    assert torch.allclose(found.probabilities[9], torch.full((3,), 1 / 3))
    assert (found.looks[7], found.looks[8], found.looks[9]) == (9, 10, 0)
    assert bool(found.loss[9].isnan())
    assert found.loss[8] == pytest.approx(float(-said[:, 8].log_softmax(1)[:, y[8]].mean()), rel=1e-5)
    assert found.matrix is not None
    assert torch.allclose(found.matrix, anchored(p[met], y[met], rounds=0), atol=1e-3)
    assert found.costs == Costs(backwards=7)


def test_verdicts_have_the_rate_of_the_matrix_and_the_columns_of_separate(data: Arrays) -> None:
    evidence = watch_one_run(data, network, recipe=RECIPE, seed=100)
    found = separate_one_run(evidence, fdr=0.2)
    assert found.table.schema == tamis.separate(evidence).table.schema
    assert found.noise_rate == pytest.approx(0.3, abs=0.1)
    assert found.interval is None
    p = torch.from_numpy(found.table["p_mislabeled"].to_numpy().copy())
    assert found.noise_rate == pytest.approx(float(p.mean()))
    assert found.table["flagged"].sum() > 0
    assert float((1 - p[torch.from_numpy(found.table["flagged"].to_numpy().copy())]).mean()) <= 0.2
    assert found.table["suggested_label"].to_list() != found.table["label"].to_list()
    assert not (found.table["suggested_label"] == found.table["label"]).any(), "another label than the given one"
    assert (found.table["p_suggested"] <= found.table["p_mislabeled"] + 1e-9).all()
    again = separate_one_run(watch_one_run(data, network, recipe=RECIPE, seed=100), fdr=0.2)
    assert again.table.equals(found.table)


def test_what_cannot_be_read_is_refused(data: Arrays) -> None:
    with pytest.raises(TamisError, match="passes is 1"):
        watch_one_run(data, network, passes=1)
    p = torch.tensor([[0.9, 0.1], [0.2, 0.8]])
    whole = Evidence(torch.tensor([0, 1]), torch.zeros(2), torch.ones(2), None, p, torch.eye(2))
    for missing in ("probabilities", "matrix"):
        with pytest.raises(TamisError, match="lacks one"):
            separate_one_run(dataclasses.replace(whole, **{missing: None}))
    with pytest.raises(TamisError, match="fdr is 0"):
        separate_one_run(whole, fdr=0)


def test_whoever_is_on_the_list_is_called_mislabeled() -> None:
    draw = torch.Generator().manual_seed(0)
    p = torch.randn(3_000, 5, generator=draw).mul(1.5).softmax(1)
    given = torch.multinomial(p, 1, generator=draw)[:, 0]
    matrix = torch.full((5, 5), 0.06).fill_diagonal_(0.76)
    found = separate_one_run(Evidence(given, torch.zeros(3_000), torch.ones(3_000), None, p, matrix), fdr=0.4)
    flagged = found.table.filter("flagged")
    assert (flagged["p_mislabeled"] < 0.5).any()
    assert set(flagged["kind"]) == {"mislabeled"}
