"""A watch beside a loop: its slow twin, whatever the batches; runs of any length; and what is refused."""

from __future__ import annotations

import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import watched
from torch import Tensor

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.models import build
from tamis.observe.calibration import anchored
from tamis.separation.one_run import separate_one_run
from tamis.separation.watch import Watch
from tamis.study.detection import auroc
from tamis.types import Arrays, TamisError, generator


def orders(n: int, passes: int, seed: int) -> list[Tensor]:
    return [torch.randperm(n, generator=generator(seed, "order", number)) for number in range(passes)]


def slowly(said: Tensor, y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Probabilities and matrix of the slow twin."""
    logits, p = watched(said.tolist(), y.tolist(), [order.tolist() for order in orders(len(y), len(said), seed)])
    return (1.5 * torch.tensor(logits)).softmax(1), anchored(torch.tensor(p), y, rounds=0)


def evidence_of(said: Tensor, y: Tensor, batch: int, seed: int) -> tamis.Evidence:
    """``said`` ``[T, N, K]`` seen in shuffled batches."""
    watch = Watch(said.shape[1], said.shape[2])
    for z, order in zip(said, orders(len(y), len(said), seed), strict=True):
        for index in order.split(batch):
            watch.see(index, z[index], y[index])
    return watch.evidence()


@given(st.integers(1, 40), st.integers(2, 8), st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_it_is_its_slow_twin_whatever_the_batches(batch: int, passes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    said, y = torch.randn(passes, 30, 3, generator=draw) * 2, torch.randint(3, (30,), generator=draw)
    found, (probabilities, matrix) = evidence_of(said, y, batch, seed), slowly(said, y, seed)
    assert found.probabilities is not None
    assert torch.allclose(found.probabilities, probabilities, atol=1e-4)
    assert found.matrix is not None
    assert torch.allclose(found.matrix, matrix, atol=1e-4)
    assert found.looks.tolist() == [passes] * 30


def test_what_is_not_finite_is_no_look_and_half_precision_is_taken_as_it_is() -> None:
    draw = torch.Generator().manual_seed(0)
    said, y = torch.randn(5, 20, 4, generator=draw), torch.arange(20) % 4
    broken = said.clone()
    broken[3, 7] = torch.nan
    broken[0, 8, 2] = torch.inf
    found = evidence_of(broken, y, 6, 0)
    assert found.looks[[7, 8, 9]].tolist() == [4, 4, 5]
    assert found.probabilities is not None
    assert torch.allclose(found.probabilities, slowly(broken, y, 0)[0], atol=1e-4)
    half = evidence_of(said.bfloat16(), y, 6, 0)
    assert torch.allclose(half.probabilities, evidence_of(said, y, 6, 0).probabilities, atol=0.02)  # type: ignore[arg-type]


def test_a_state_goes_on_where_it_was_and_is_plain_tensors() -> None:
    draw = torch.Generator().manual_seed(0)
    said, y, everybody = torch.randn(6, 20, 3, generator=draw), torch.arange(20) % 3, torch.arange(20)
    whole, first, then = (Watch(20, 3) for _ in range(3))
    for z in said:
        whole.see(everybody, z, y)
    for z in said[:2]:
        first.see(everybody, z, y)
    kept = io.BytesIO()
    torch.save(first.state_dict(), kept)
    first.see(everybody, said[2], y)  # what is saved is a copy
    kept.seek(0)
    then.load_state_dict(torch.load(kept, weights_only=True))
    for z in said[2:]:
        then.see(everybody, z, y)
    assert torch.equal(whole.evidence().probabilities, then.evidence().probabilities)  # type: ignore[arg-type]
    assert torch.equal(whole.evidence().matrix, then.evidence().matrix)  # type: ignore[arg-type]
    with pytest.raises(TamisError, match="another watch: classes 3 for 4"):
        Watch(20, 4).load_state_dict(then.state_dict())


def test_in_a_loop_of_ones_own_it_finds_wrong_labels() -> None:
    data, truth = injector("pair_flip", 0.3)(load("digits").train, generator(100, "corrupt"))
    model = build("mlp", (1, 8, 8), 10, width=64, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    watch = tamis.Watch(len(data.y), 10)
    for number in range(10):
        for index in torch.randperm(len(data.y), generator=generator(0, "order", number)).split(32):
            outputs = model(data.x[index])
            watch.see(index, outputs, data.y[index])
            torch.nn.functional.cross_entropy(outputs, data.y[index]).backward()
            optimizer.step()
            optimizer.zero_grad()
    found = separate_one_run(watch.evidence())
    wrong = truth.noisy.numpy()
    score = auroc(found.table["p_mislabeled"].to_numpy(), wrong, ~wrong, True)
    assert score is not None
    assert score > 0.97
    right = (found.table["suggested_label"].to_numpy() == truth.label.numpy())[wrong]
    assert right.mean() > 0.9
    assert found.noise_rate == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("index", "logits", "y", "says"),
    [
        ([0, 1], torch.zeros(2, 4), [0, 1], r"\[B, 3\]"),
        ([0, 1], torch.zeros(3, 3), [0, 1], r"\[B, 3\]"),
        ([0, 1], torch.zeros(2, 3), [0, 3], r"labels must lie in 0\.\.2, but reach from 0 to 3"),
        ([-1, 1], torch.zeros(2, 3), [0, 1], r"indices must lie in 0\.\.4"),
        ([5, 1], torch.zeros(2, 3), [0, 1], r"indices must lie in 0\.\.4"),
        ([0, 1], torch.zeros(2, 3), [0.0, 1.0], "labels must be whole numbers"),
    ],
)
def test_a_step_that_does_not_fit_is_refused_and_changes_nothing(
    index: list[int], logits: Tensor, y: list[float], says: str
) -> None:
    watch = Watch(5, 3)
    with pytest.raises(TamisError, match=says):
        watch.see(torch.tensor(index), logits, torch.tensor(y))
    now, fresh = watch.state_dict(), Watch(5, 3).state_dict()
    assert all(torch.allclose(value, fresh["sums"][name], equal_nan=True) for name, value in now["sums"].items())
    assert not now["met"].any()


def test_what_was_not_watched_is_said() -> None:
    with pytest.raises(TamisError, match="two classes, not for 5 and 1"):
        Watch(5, 1)
    watch = Watch(4, 2)
    watch.see(torch.tensor([0, 1]), torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(TamisError, match="2 of 4 examples were never met"):
        watch.evidence()
    watch.see(torch.tensor([2, 3]), torch.zeros(2, 2), torch.tensor([0, 1], dtype=torch.uint8))
    with pytest.raises(TamisError, match="fewer than two passes"):
        watch.evidence()
    watch.see(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    watch.see(torch.tensor([3]), torch.zeros(1, 2), torch.tensor([1]))
    with pytest.raises(TamisError, match="fewer than two passes"):  # a quarter of a pass is none
        watch.evidence()
    watch.see(torch.tensor([1]), torch.zeros(1, 2), torch.tensor([1]))
    assert watch.evidence().looks.tolist() == [1, 2, 1, 2]


def pairs_flipped() -> tuple[Arrays, Tensor]:
    data, truth = injector("pair_flip", 0.3)(load("digits").train, generator(100, "corrupt"))
    return data, truth.noisy


def watched_run(data: Arrays, passes: int, decays: bool = True, replacement: bool = False) -> tamis.Evidence:
    """A plain loop of one's own."""
    model, watch = build("mlp", (1, 8, 8), 10, width=64, seed=0), Watch(len(data.y), 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9, nesterov=True, weight_decay=5e-4)
    for number in range(passes):
        draw = generator(0, "order", number)
        n = len(data.y)
        order = torch.randint(n, (n,), generator=draw) if replacement else torch.randperm(n, generator=draw)
        for group in optimizer.param_groups:
            group["lr"] = 0.025 * (1 - number / passes) if decays else 0.025
        for index in order.split(32):
            outputs = model(data.x[index])
            watch.see(index, outputs, data.y[index])
            torch.nn.functional.cross_entropy(outputs, data.y[index]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return watch.evidence()


@pytest.mark.parametrize(
    ("passes", "decays", "replacement"), [(8, True, False), (60, True, False), (60, False, False), (60, True, True)]
)
def test_it_does_not_matter_how_long_a_run_is(passes: int, decays: bool, replacement: bool) -> None:
    """After sixty passes all labels are known by heart; those passes are hardly heard."""
    data, wrong = pairs_flipped()
    found = separate_one_run(watched_run(data, passes, decays, replacement))
    score = auroc(found.table["p_mislabeled"].to_numpy(), wrong.numpy(), ~wrong.numpy(), True)
    assert score is not None
    assert score > 0.96
    assert found.noise_rate == pytest.approx(0.3, abs=0.1)
