"""Holding steps back changes no bit of what is recorded."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tamis import recorder as module
from tamis.observe.scores import SCORES
from tamis.recorder import WINDOW, Recorder
from tamis.types import Observation, TamisError

N, K = 12, 3


def observed(batches: list[list[int]], window: int) -> dict[str, list[float]]:
    draw = torch.Generator().manual_seed(0)
    before, module.WINDOW = module.WINDOW, window
    try:
        recorder = Recorder(N, [make() for make in SCORES.values()])
        for step, batch in enumerate(batches):
            index = torch.tensor(batch, dtype=torch.int64)
            logits, target = (
                torch.randn(len(batch), K, generator=draw),
                torch.randint(0, K, (len(batch),), generator=draw),
            )
            recorder.observe(Observation(index, torch.rand(len(batch), generator=draw), logits, target, step=step))
        return {name: column.tolist() for name, column in recorder.table().items()}
    finally:
        module.WINDOW = before


@given(st.lists(st.lists(st.integers(0, N - 1), min_size=0, max_size=6), min_size=1, max_size=12))
def test_held_back_or_not_every_score_is_the_same_to_the_bit(batches: list[list[int]]) -> None:
    assert repr(observed(batches, 1)) == repr(observed(batches, 5))


def test_a_pass_without_repeats_is_taken_in_at_once() -> None:
    batches = torch.randperm(N, generator=torch.Generator().manual_seed(1)).view(4, 3).tolist()
    assert repr(observed(batches, 1)) == repr(observed(batches, 4))
    assert observed(batches, 4)["trained"] == [1] * N


def test_nothing_held_is_lost_in_a_state() -> None:
    recorder = Recorder(N, [SCORES["mean_loss"]()])
    assert WINDOW > 1
    recorder.observe(Observation(torch.tensor([3]), torch.tensor([2.0])))
    fresh = Recorder(N, [SCORES["mean_loss"]()])
    fresh.load_state_dict(recorder.state_dict())
    assert fresh.table()["mean_loss"][3] == 2.0
    assert fresh.trained.tolist() == [0, 0, 0, 1, *[0] * 8]


def test_scores_need_names_of_their_own() -> None:
    with pytest.raises(TamisError, match="have one name"):
        Recorder(N, [SCORES["aum"](), SCORES["aum"]()])
