"""The rate of wrong labels: its mean, its chance error, and how far it may move what is sure."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.observe.calibration import anchored
from tamis.observe.rate import at_rate, rate_error, rate_of
from tamis.separation.bayes import listed
from tamis.separation.evidence import Evidence
from tamis.separation.separate import separate
from tamis.types import TamisError

FLOAT64 = torch.float64


@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=30), st.floats(0.01, 0.99))
@settings(deadline=None, max_examples=60)
def test_at_rate_has_that_mean_and_keeps_the_order(values: list[float], rate: float) -> None:
    moved = at_rate(torch.tensor(values, dtype=torch.float64), rate)
    assert float(moved.mean()) == pytest.approx(rate, abs=1e-6)
    for a, va in zip(moved.tolist(), values, strict=True):
        for b, vb in zip(moved.tolist(), values, strict=True):  # vectors and their rests round apart by a bit
            assert a <= b + 1e-12 if va <= vb else a >= b - 1e-12
    log_odds = moved.logit() - torch.tensor(values, dtype=torch.float64).logit()
    assert float(log_odds.std()) < 1e-6, "one constant for all"


def test_no_noise_and_all_noise_and_nonsense() -> None:
    assert float(at_rate(torch.rand(9, dtype=torch.float64), 0.0).max()) < 1e-3
    p = torch.tensor([0.2, 0.5, 0.8], dtype=torch.float64)
    assert torch.allclose(at_rate(p, 0.5, surer=2.0).logit(), 2 * p.logit(), atol=1e-9), "the mean stays at one half"
    with pytest.raises(TamisError, match=r"rate is 1\.5"):
        at_rate(torch.rand(3), 1.5)


@given(st.lists(st.floats(0.001, 0.999), min_size=2, max_size=30), st.floats(0.01, 0.99), st.floats(0.001, 0.3))
@settings(deadline=None, max_examples=60)
def test_a_rate_with_an_error_moves_no_further_than_a_known_one_and_as_a_slow_search_finds(
    values: list[float], rate: float, error: float
) -> None:
    p = torch.tensor(values, dtype=FLOAT64)
    whole, part = (float(at_rate(p, rate, error=e)[0].logit() - p[0].logit()) for e in (0.0, error))
    assert min(0.0, whole) - 1e-6 <= part <= max(0.0, whole) + 1e-6

    b = torch.cat([torch.linspace(-12, 12, 24_001, dtype=FLOAT64), torch.tensor([part], dtype=FLOAT64)])
    means = (p.logit()[:, None] + b).sigmoid().mean(0)
    loss = ((means - rate) / error) ** 2 + b**2
    assert float(loss[-1]) <= float(loss[:-1].min()) * 1.001 + 1e-4


def test_who_is_sure_is_not_doubted_for_a_rate_that_chance_explains() -> None:
    """A thousand clear cases of which 150 are wrong; 200 anchors say .12, and their interval begins at .06."""
    p = torch.cat([torch.full((150,), 0.9999), torch.full((850,), 0.0001)]).double()
    error = math.sqrt(0.12 * 0.88 / 200)
    assert float(at_rate(p, 0.12)[0]) < 0.81, "a known rate is met at any price"
    assert float(at_rate(p, 0.12, error=error)[0]) > 0.999
    assert int(listed(p, (0.06, 0.18), 0.05).sum()) == 0
    assert int(listed(p, (0.06, 0.18), 0.05, error).sum()) >= 150


def test_where_many_are_in_doubt_the_rate_is_nearly_met() -> None:
    p = torch.linspace(0.01, 0.99, 999, dtype=FLOAT64)
    assert float(at_rate(p, 0.4, error=0.007).mean()) == pytest.approx(0.4, abs=0.001)


def test_the_error_is_that_of_shares_among_anchors() -> None:
    """Drawn again and again, the rate by anchors strays by what is said of it."""
    t = torch.tensor([[0.8, 0.2, 0.0], [0.0, 1.0, 0.0], [0.3, 0.3, 0.4]], dtype=FLOAT64)
    true = torch.arange(6000) % 3
    p = torch.nn.functional.one_hot(true, 3).double()
    draw, found = torch.Generator().manual_seed(0), []
    for _ in range(200):
        label = torch.multinomial(t[true], 1, generator=draw)[:, 0]
        found.append(rate_of(p, anchored(p, label, rounds=0)))
    said = rate_error(p, t)
    by_hand = math.sqrt((0.8 * 0.2 + 0.4 * 0.6) / 400 / 9)
    assert said == pytest.approx(by_hand)
    assert float(torch.tensor(found).std()) == pytest.approx(said, rel=0.15)
    assert sum(found) / 200 == pytest.approx(rate_of(p, t), abs=0.002)
    assert rate_error(p, torch.eye(3)) == 0
    with pytest.raises(TamisError, match="standard error is at least 0"):
        at_rate(p[:, 0], 0.1, error=-1)
    assert rate_error(p[:60], t) == pytest.approx(math.sqrt((0.8 * 0.2 + 0.4 * 0.6) / 20 / 9)), "few: all are anchors"


def test_wrong_labels_that_stand_out_are_listed_though_the_anchors_have_few_of_them() -> None:
    """Calibrated networks, surer of one than of another; .14 of the surest fifth are wrong, .16 of the others."""
    n, draw = 8000, torch.Generator().manual_seed(1)
    true, place = torch.arange(n) % 2, torch.arange(n) // 2
    margin = torch.linspace(14, 3, n // 2).repeat_interleave(2)
    seen = torch.where(torch.rand(n, generator=draw) < (-margin).sigmoid(), 1 - true, true)
    wrong = torch.where(place < n // 10, place % 50 < 7, place % 50 < 8)
    z = torch.where(seen[:, None] == torch.arange(2), margin[:, None], 0.0)
    evidence = Evidence(
        torch.where(wrong, 1 - true, true), torch.zeros(n), torch.full((n,), 4.0), place % 4, z.softmax(1),
        torch.eye(2, dtype=FLOAT64) * 0.7 + 0.15, views=z.log_softmax(1).expand(4, n, 2).half(), weights=torch.ones(4),
    )  # fmt: skip
    found = separate(evidence)
    flagged = torch.from_numpy(found.table["flagged"].to_numpy().copy())
    assert float((flagged & wrong).sum() / wrong.sum()) > 0.8, "of known rates at any price it is .55"
    assert float((flagged & ~wrong).sum() / flagged.sum()) <= 0.05
    assert found.noise_rate == pytest.approx(0.156, abs=0.006)
    assert found.rate_error == pytest.approx(math.sqrt(0.14 * 0.86 / 1600), rel=0.05), "800 anchors of either class"


def test_where_no_anchor_is_wrong_the_interval_ends_at_three_over_their_number() -> None:
    n = 2000
    true = torch.arange(n) % 2
    p = torch.where(true[:, None] == torch.arange(2), 0.99, 0.01)
    found = separate(Evidence(true, torch.zeros(n), torch.full((n,), 4.0), torch.arange(n) // 2 % 4, p))
    assert found.noise_rate < 1e-6
    assert found.rate_error == 0
    assert found.interval == pytest.approx((0.0, 3 / 400), abs=1e-6)
