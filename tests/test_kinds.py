"""The other kinds: what is strange, isolated or a copy, on known answers; and six kinds told apart end to end."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tamis
from tamis.corrupt.copies import duplicates
from tamis.observe.duplicates import NEAR, find_duplicates
from tamis.observe.strangeness import profile, strangeness
from tamis.observe.subgroups import isolation
from tamis.separation.evidence import Evidence
from tamis.separation.kinds import tell_kinds
from tamis.study.detection import auroc
from tamis.types import Arrays, TamisError


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def smooth_pictures(n: int, seed: int = 0) -> torch.Tensor:
    """Random fields with little fine detail, as photographs have."""
    rough = torch.randn(n, 1, 4, 4, generator=draw(seed))
    return torch.nn.functional.interpolate(rough, (16, 16), mode="bicubic", align_corners=True)


def test_profile_sees_noise_shuffled_pixels_and_blur() -> None:
    x = smooth_pictures(600) + 0.1 * torch.randn(600, 1, 16, 16, generator=draw(1))
    x[:5] += 1.0 * torch.randn(5, 1, 16, 16, generator=draw(2))
    x[5:10] = x[5:10].flatten(1)[:, torch.randperm(256, generator=draw(3))].reshape(5, 1, 16, 16)
    x[10:15] = torch.nn.functional.avg_pool2d(x[10:15], 5, 1, 2, count_include_pad=False)
    strange = strangeness(profile(x), torch.zeros(600, dtype=torch.int64))
    assert strange[15:].median() == pytest.approx(1, abs=0.1)
    for part in (strange[:5], strange[5:10], strange[10:15]):
        assert part.min() > strange[15:].quantile(0.99)


def test_distance_is_mahalanobis_of_the_central_part() -> None:
    f = torch.randn(4000, 3, generator=draw(0), dtype=torch.float64) @ torch.tensor(
        [[2.0, 0.5, 0], [0, 1, 0], [0, 0, 0.1]], dtype=torch.float64
    )
    found = strangeness(f, torch.zeros(4000, dtype=torch.int64))
    plain = ((f - f.mean(0)) @ torch.linalg.inv(torch.cov(f.T)) * (f - f.mean(0))).sum(1)
    assert np.corrcoef(found.log(), (plain / plain.median()).log())[0, 1] > 0.995
    assert found.median() == pytest.approx(1)


def test_a_fifth_that_is_strange_does_not_hide_itself() -> None:
    f = torch.randn(500, 4, generator=draw(0))
    f[:100] += 6.0
    found = strangeness(f, torch.zeros(500, dtype=torch.int64))
    assert found[:100].min() > found[100:].max(), "a plain covariance would be stretched by them"


def test_each_group_has_its_own_usual_and_small_ones_share_one() -> None:
    f = torch.randn(400, 2, generator=draw(0))
    f[200:] += 50.0
    group = torch.arange(400) // 200
    assert strangeness(f, group).quantile(0.9) < 5, "far from the other group is usual"
    group[:3] = 2  # three of a third group: judged by everything
    assert bool(strangeness(f, group).isfinite().all())


@given(st.integers(2, 40), st.integers(1, 40), st.integers(0, 2**31))
@settings(max_examples=25, deadline=None)
def test_profile_of_anything_is_finite(n: int, wide: int, seed: int) -> None:
    x = torch.randn(n, wide, generator=draw(seed)).round()
    assert bool(profile(x).isfinite().all())
    assert bool(profile(torch.zeros(n, wide)).isfinite().all()), "constant inputs"
    assert bool(strangeness(profile(x), torch.zeros(n, dtype=torch.int64)).isfinite().all())


def test_wide_inputs_are_seen_through_random_axes() -> None:
    x = torch.randn(60, 3000, generator=draw(0))
    x[7] *= 3
    f = profile(x)
    assert f.shape[1] <= 24
    assert int(strangeness(f[:, -3:], torch.zeros(60, dtype=torch.int64)).argmax()) == 7


def test_inputs_are_not_edited_nor_global_generators_moved() -> None:
    x = torch.rand(100, 1, 8, 8, generator=draw(0))
    before, state = x.clone(), torch.get_rng_state()
    strangeness(profile(x), torch.zeros(100, dtype=torch.int64))
    find_duplicates(x)
    isolation(x, torch.zeros(100, dtype=torch.int64))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_isolated_group_is_found_in_its_class_and_only_there() -> None:
    x = torch.randn(900, 5, generator=draw(0))
    group = torch.arange(900) // 300
    x[:40] += 7.0  # of class 0
    cut, side = isolation(x, group)
    assert cut[:40].min() > 0.8
    assert cut[40:].max() == 0
    assert len(side[:40].unique()) == 1
    assert bool((side[40:] == -1).all())


def test_half_a_class_is_not_rare_and_neither_are_a_few() -> None:
    x = torch.randn(400, 5, generator=draw(0))
    x[:190] += 9.0
    assert isolation(x, torch.zeros(400, dtype=torch.int64))[0].max() == 0
    x = torch.randn(400, 5, generator=draw(0))
    x[:12] += 9.0
    assert isolation(x, torch.zeros(400, dtype=torch.int64))[0].max() == 0
    assert isolation(x, torch.zeros(400, dtype=torch.int64), smallest=12)[0][:12].min() > 0.8
    assert isolation(x, torch.full((400,), -1))[0].max() == 0


def test_every_copy_is_found_and_little_else() -> None:
    data = Arrays(smooth_pictures(800, 5), torch.arange(800) % 4, 4)
    copied, truth = duplicates(0.1)(data, draw(0))
    found = find_duplicates(copied.x)
    is_copy = truth.kind > 0
    earlier = found.other < torch.arange(800)
    assert bool((found.distance[is_copy] < NEAR).all())
    assert bool(earlier[is_copy].all())
    assert int((earlier & (found.distance < NEAR))[~is_copy].sum()) == 0


@pytest.mark.parametrize("shape", [(30, 3), (30, 1, 4, 4), (30, 2, 9, 8)])
def test_exact_copies_of_any_shape(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape, generator=draw(0))
    x[20] = x[10]
    x[25] = x[10]
    x[0] = 0.0
    x[1] = -0.0
    found = find_duplicates(x)
    assert found.other[[10, 20, 25, 0, 1]].tolist() == [20, 10, 10, 1, 0]
    assert found.distance[[10, 20, 25, 0, 1]].max() == 0
    assert found.distance[2:10].min() > 0


def test_all_alike_and_two_examples() -> None:
    assert find_duplicates(torch.zeros(5, 3)).distance.max() == 0
    assert find_duplicates(torch.tensor([[0.0], [1.0]])).other.tolist() == [1, 0]
    with pytest.raises(TamisError, match="at least two"):
        find_duplicates(torch.zeros(1, 3))


def told(p: torch.Tensor, **more: torch.Tensor) -> Evidence:
    label = p.argmax(1)
    return Evidence(label, torch.zeros(len(p)), torch.full((len(p),), 4.0), probabilities=p, **more)


def test_ambiguous_between_two_and_torn_among_all() -> None:
    p = torch.full((100, 10), 0.002)
    p[:, 0] = 0.982
    p[0] = torch.tensor([0.49, 0.49] + [0.0025] * 8)
    p[1] = 0.1
    x = torch.randn(100, 6, generator=draw(0))
    x[1] = 30.0
    kinds = tell_kinds(told(p), x, torch.zeros(100))
    assert kinds.ambiguous is not None
    assert kinds.out_of_distribution is not None
    assert kinds.corrupted is not None
    assert kinds.ambiguous[0] > 0.9
    assert kinds.ambiguous[1:].max() < 0.1
    assert kinds.out_of_distribution[1] > 0.9
    assert kinds.out_of_distribution[[0, *range(2, 100)]].max() < 0.1
    assert kinds.corrupted[1] < 0.1, "no class fits: foreign rather than damaged"
    p[1] = p[2]
    kinds = tell_kinds(told(p), x, torch.zeros(100))
    assert kinds.corrupted is not None
    assert kinds.corrupted[1] > 0.9, "a class fits: damaged rather than foreign"


def test_what_is_missing_removes_kinds_and_is_said() -> None:
    p = torch.tensor([[0.9, 0.1]] * 30 + [[0.1, 0.9]] * 30)
    found = tamis.separate(told(p))
    for name in ("p_corrupted", "p_out_of_distribution", "p_duplicate", "p_rare", "neighbour"):
        assert found.table[name].null_count() == 60
    assert found.table["p_ambiguous"].null_count() == 0
    assert any("Without inputs" in sentence for sentence in found.missing)
    assert any("2 classes" in sentence for sentence in found.missing)
    losses = Evidence(p.argmax(1), torch.rand(60, generator=draw(0)), torch.full((60,), 4.0))
    found = tamis.separate(losses, features=torch.randn(60, 3, generator=draw(1)))
    assert found.table["p_ambiguous"].null_count() == 60
    assert found.table["p_duplicate"].null_count() == 0
    assert any("Without logits" in sentence for sentence in found.missing)


@pytest.mark.parametrize("bad", [torch.zeros(3, 2), torch.full((60, 2), torch.nan)])
def test_features_that_do_not_fit_are_refused(bad: torch.Tensor) -> None:
    p = torch.tensor([[0.9, 0.1]] * 60)
    with pytest.raises(TamisError, match=r"finite and of all 60 examples"):
        tamis.separate(told(p), features=bad)


def test_kinds_and_reasons_in_the_table() -> None:
    n = 200
    p = torch.full((n, 4), 0.01)
    p[torch.arange(n), torch.arange(n) % 4] = 0.97
    x = torch.randn(n, 6, generator=draw(0))
    x[150] = x[20]
    x[10] = 40.0
    p[30] = torch.tensor([0.48, 0.48, 0.02, 0.02])
    label = torch.arange(n) % 4
    label[40] = 1
    evidence = Evidence(label, torch.zeros(n), torch.full((n,), 4.0), probabilities=p)
    table = tamis.separate(evidence, features=x).table
    kind = table["kind"].to_list()
    assert [kind[i] for i in (150, 10, 30, 40)] == ["duplicate", "corrupted", "ambiguous", "mislabeled"]
    assert kind[20] == "clean", "the first of a pair is none"
    assert "the same as example 20" in table["reasons"][150]
    assert "times as far" in table["reasons"][10]
    assert table["neighbour"][150] == 20
    score = auroc(table["p_duplicate"].to_numpy(), np.arange(n) == 150, np.arange(n) != 150, True)
    assert score == 1


def test_tight_small_groups_do_not_hide_a_larger_one() -> None:
    """The best cuts are those of the tightest groups: the larger one is found once they are out."""
    draw = torch.Generator().manual_seed(0)
    tight = [0.1 * torch.randn(30, 3, generator=draw) + 40 * axis for axis in (*torch.eye(3), -torch.eye(3)[0])]
    bridge = torch.linspace(2.5, 7.5, 12)[:, None] * torch.tensor([1.0, 0.0, 0.0])  # the larger one is not quite apart
    larger = torch.randn(150, 3, generator=draw) + torch.tensor([10.0, 0.0, 0.0])
    x = torch.cat([torch.randn(600, 3, generator=draw), larger, *tight, bridge])
    cut, side = isolation(x, torch.zeros(len(x), dtype=torch.int64))
    assert float((cut[600:750] > 0.3).double().mean()) > 0.9
    assert bool((cut[750:870] > 0.9).all())
    assert float((cut[:600] > 0).double().mean()) < 0.02
    assert set(side[750:870].tolist()).isdisjoint(side[600:750].tolist())


def test_the_least_that_can_be_asked() -> None:
    assert strangeness(torch.randn(1, 4), torch.zeros(1, dtype=torch.int64)).tolist() == [1.0]
    with pytest.raises(TamisError, match="smallest is 0"):
        isolation(torch.randn(40, 3), torch.zeros(40, dtype=torch.int64), smallest=0)
    with pytest.raises(TamisError, match=r"\[4, 0\]"):
        find_duplicates(torch.zeros(4, 0))
    nothing = Evidence(torch.zeros(4, dtype=torch.int64), torch.zeros(4), torch.full((4,), 3.0))
    with pytest.raises(TamisError, match=r"\[4, 0\]"):
        tell_kinds(nothing, torch.zeros(4, 0), torch.zeros(4))


def test_what_has_an_exact_copy_is_not_strange_for_that() -> None:
    y = torch.arange(600) % 3
    x = torch.randn(600, 400, generator=draw(1)) + torch.randn(3, 400, generator=draw(2))[y]
    x, y = torch.cat([x, x[:40]]), torch.cat([y, (y[:40] + 1) % 3])
    p = 0.94 * torch.nn.functional.one_hot(torch.cat([y[:600], y[:40]]), 3) + 0.02
    kinds = tell_kinds(Evidence(y, torch.zeros(640), torch.full((640,), 5.0), probabilities=p), x, torch.zeros(640))
    assert kinds.duplicate is not None
    assert kinds.corrupted is not None
    assert kinds.duplicate[600:].min() == 1
    assert kinds.corrupted.max() < 0.1
    only = torch.tensor([True, False, False, False, False])
    assert bool(profile(torch.zeros(5, 3), only).isfinite().all()), "one is none to go by"
