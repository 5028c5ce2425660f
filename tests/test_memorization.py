"""What is learnt by heart, from one pass to the next: known answers, and how a pass is heard by it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tamis.observe.memorization import heard, memorized


def course(n: int, slope: float, heart: float, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses in two shuffled passes: some examples hard, all falling by ``slope`` a pass and ``heart`` a visit."""
    draw = torch.Generator().manual_seed(seed)
    hard = 3 * torch.rand(n, generator=draw)
    first, second = (torch.randperm(n, generator=draw).double() / n for _ in range(2))
    return hard + 9 - slope * first, hard + 9 - slope * (1 + second) - heart, first, second


@given(st.floats(-1, 2), st.floats(0, 1), st.integers(0, 20))
@settings(deadline=None, max_examples=40)
def test_what_one_visit_teaches_is_told_from_what_all_learn(slope: float, heart: float, seed: int) -> None:
    before, after, first, second = course(20_000, slope, heart, seed)
    assert memorized(before, after, first, second) == pytest.approx(heart, abs=0.01 + 0.02 * abs(slope))


def test_the_hard_ones_do_not_disturb_it() -> None:
    """Every example is held against itself: who came late by chance may be harder."""
    before, after, first, second = course(400, 0.3, 0.2, 0)
    harder = torch.where(first > 0.75, 5.0, 0.0)
    assert memorized(before + harder, after + harder, first, second) == pytest.approx(
        memorized(before, after, first, second), abs=1e-9
    )


def test_who_was_not_met_in_both_passes_is_left_out_and_nothing_to_tell_is_nothing() -> None:
    before, after, first, second = course(4_000, 0.3, 0.2, 0)
    before[::3], after[1::3] = torch.nan, torch.inf
    assert memorized(before, after, first, second) == pytest.approx(0.2, abs=0.05)
    assert memorized(before, torch.full_like(after, torch.nan), first, second) == 0.0
    assert memorized(before[:2], after[:2], first[:2], second[:2]) == 0.0


def test_a_pass_is_heard_by_what_it_knows_of_examples_that_were_never_met() -> None:
    y = torch.arange(1_000) % 10
    entropy = math.log(10)
    assert heard(0.4, y, 0.0).alike == 1
    assert heard(0.4, y, 0.0).knowing == pytest.approx((entropy - 0.4) ** 3)
    assert heard(0.4, y, -1.0) == heard(0.4, y, 0.0)
    half = heard(0.4, y, 0.4)
    assert half.alike == pytest.approx(0.5)
    assert half.knowing == pytest.approx(((entropy - 0.8) / 4) ** 3)
    nothing = heard(entropy + 1, y, 0.0)
    assert 0 < nothing.knowing < 1e-5
    assert heard(0.0, y, 0.0).alike == 1
    assert heard(0.0, y, 1.0).alike == 0
