"""A watch beside a loop: the same evidence as from whole passes, whatever the batches; and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.models import build
from tamis.separation.one_run import separate_one_run
from tamis.separation.watch import Watch, early
from tamis.study.detection import auroc
from tamis.types import TamisError, generator


def evidence_of(said: Tensor, y: Tensor, batch: int, seed: int) -> tamis.Evidence:
    """``said`` ``[T, N, K]`` seen in shuffled batches."""
    watch = Watch(said.shape[1], said.shape[2], len(said))
    for number, z in enumerate(said):
        for index in torch.randperm(len(y), generator=generator(seed, "order", number)).split(batch):
            watch.see(index, z[index], y[index])
    return watch.evidence()


@given(st.integers(1, 40), st.integers(3, 12), st.integers(0, 5))
@settings(deadline=None, max_examples=25)
def test_batches_in_any_order_are_as_good_as_whole_passes(batch: int, passes: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    said, y = torch.randn(passes, 30, 3, generator=draw) * 2, torch.randint(3, (30,), generator=draw)
    whole = Watch(30, 3, passes)
    for number, z in enumerate(said):
        whole.see(torch.arange(30), z, y, number)
    one, other = evidence_of(said, y, batch, seed), whole.evidence()
    assert one.probabilities is not None
    assert other.probabilities is not None
    assert torch.allclose(one.probabilities, other.probabilities, atol=1e-5)
    assert torch.allclose(one.loss, other.loss, atol=1e-5)
    assert torch.equal(one.looks, other.looks)
    assert one.matrix is not None
    assert torch.allclose(one.matrix, other.matrix)  # type: ignore[arg-type]


def test_what_is_not_finite_is_no_look_and_half_precision_is_taken_as_it_is() -> None:
    draw = torch.Generator().manual_seed(0)
    said, y = torch.randn(5, 20, 4, generator=draw), torch.arange(20) % 4
    broken = said.clone()
    broken[3, 7] = torch.nan
    broken[0, 8, 2] = torch.inf
    found = evidence_of(broken, y, 6, 0)
    assert found.looks[[7, 8, 9]].tolist() == [4, 4, 5]
    assert found.probabilities is not None
    expected = (1.5 * said[[0, 1, 2, 4], 7].mean(0)).softmax(0)
    assert torch.allclose(found.probabilities[7], expected, atol=1e-5)
    half = evidence_of(said.bfloat16(), y, 6, 0)
    assert torch.allclose(half.probabilities, evidence_of(said, y, 6, 0).probabilities, atol=0.02)  # type: ignore[arg-type]


def test_a_state_goes_on_where_it_was_and_is_plain_tensors() -> None:
    draw = torch.Generator().manual_seed(0)
    said, y, everybody = torch.randn(6, 20, 3, generator=draw), torch.arange(20) % 3, torch.arange(20)
    whole, first, then = (Watch(20, 3, 6) for _ in range(3))
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
    with pytest.raises(TamisError, match="another watch: passes 6 for 7"):
        Watch(20, 3, 7).load_state_dict(then.state_dict())


def test_in_a_loop_of_ones_own_it_finds_wrong_labels() -> None:
    data, truth = injector("pair_flip", 0.3)(load("digits").train, generator(100, "corrupt"))
    model = build("mlp", (1, 8, 8), 10, width=64, seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    watch = tamis.Watch(len(data.y), 10, passes=10)
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
    assert all(int(value.sum()) in (0, -5) for value in watch.state_dict()["sums"].values())


def test_what_was_not_watched_is_said() -> None:
    with pytest.raises(TamisError, match="passes is 2"):
        Watch(5, 3, 2)
    with pytest.raises(TamisError, match="two classes, not for 5 and 1"):
        Watch(5, 1)
    watch = Watch(4, 2, 10)
    watch.see(torch.tensor([0, 1]), torch.zeros(2, 2), torch.tensor([0, 1]))
    with pytest.raises(TamisError, match="2 of 4 examples were never met"):
        watch.evidence()
    watch.see(torch.tensor([2, 3]), torch.zeros(2, 2), torch.tensor([0, 1], dtype=torch.uint8))
    with pytest.raises(TamisError, match="nothing was met in passes 2 to 4"):
        watch.evidence()
    watch.see(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))


def test_early_is_a_tenth_to_four_tenths_of_a_run() -> None:
    for passes in range(3, 60):
        first, last = early(passes)
        assert 1 <= first < last <= passes
        assert np.abs([first - passes / 10, last - 4 * passes / 10]).max() <= 1
