"""Structure: long tails, subgroups, copies, blends, foreign pictures and mixes, on sets where the answer is known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import oracles_corrupt as slow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.corrupt import (
    ambiguous,
    duplicates,
    gaussian_pixels,
    injector,
    instance_dependent,
    long_tail,
    look_alikes,
    mixed,
    none,
    out_of_distribution,
    pair_flip,
    random_labels,
    rare_subgroup,
)
from tamis.corrupt.foreign import fitted, smooth_fields
from tamis.types import Arrays, Kind, TamisError

DUPLICATE, MISLABELED = int(Kind.DUPLICATE), int(Kind.MISLABELED)


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 400, shape: tuple[int, ...] = (1, 8, 8), classes: int = 5) -> Arrays:
    g = stream(99)
    return Arrays(torch.randn(n, *shape, generator=g), torch.randint(classes, (n,), generator=g), classes)


@given(
    y=st.lists(st.integers(0, 3), min_size=1, max_size=200),
    imbalance=st.floats(1, 200),
    rates=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
@settings(max_examples=50)
def test_a_long_tail_has_its_sizes_and_nests(y: list[int], imbalance: float, rates: tuple[float, float]) -> None:
    clean = Arrays(torch.arange(float(len(y)))[:, None], torch.tensor(y), 4)
    before = clean.x.clone(), clean.y.clone()
    (few, _), (many, _) = (long_tail(rate, imbalance)(clean, stream()) for rate in sorted(rates, reverse=True))
    assert few.y.bincount(minlength=4).tolist() == slow.long_tail(y, 4, imbalance, max(rates))
    assert set(few.x[:, 0].tolist()) <= set(many.x[:, 0].tolist())
    for kept in (few, many):
        at = kept.x[:, 0].long()
        assert torch.equal(kept.y, clean.y[at]), "an example keeps its label"
        assert bool((at.diff() > 0).all()), "what is kept keeps its order"
    assert torch.equal(clean.x, before[0])
    assert torch.equal(clean.y, before[1])


@pytest.mark.usefixtures("unchanged_globals")
def test_rare_classes_are_those_that_were_cut_below_the_tail() -> None:
    clean = Arrays(torch.zeros(5000, 1), torch.arange(5000) % 10, 10)
    few, truth = long_tail(1.0, 100)(clean, stream())
    assert few.y.bincount().tolist() == [500, 300, 180, 108, 65, 39, 23, 14, 8, 5]
    assert few.y[truth.kind == int(Kind.RARE)].unique().tolist() == [5, 6, 7, 8, 9]
    assert truth.realised_rate == 0.0
    assert torch.equal(truth.label, few.y)
    wider = long_tail(1.0, 100, tail=0.2)(clean, stream())[1]
    assert few.y[wider.kind != 0].unique().tolist() == [4, 5, 6, 7, 8, 9]
    small = Arrays(torch.zeros(102, 1), torch.tensor([0] * 100 + [1] * 2), 2)
    assert not long_tail(0.0)(small, stream())[1].kind.any(), "a class that was rare before is nothing that we did"
    assert long_tail(0.0)(small, stream())[0].y.tolist() == small.y.tolist()
    assert injector("long_tail(imbalance=10)", 1.0)(clean, stream())[0].y.bincount().tolist()[-1] == 50
    a, b = (long_tail(1.0)(Arrays(torch.arange(5000.0)[:, None], clean.y, 10), stream(s))[0].x for s in (0, 1))
    assert not torch.equal(a, b)


def test_a_rare_subgroup_is_one_class_turned() -> None:
    clean = data(400, (2, 8, 8))
    after, truth = rare_subgroup(0.05, klass=3)(clean, stream())
    at = truth.kind.nonzero()[:, 0].tolist()
    assert len(at) == 20
    assert set(truth.kind[at].tolist()) == {int(Kind.RARE)}
    assert torch.equal(after.y, clean.y)
    assert set(clean.y[at].tolist()) == {3}
    for i in at:
        assert after.x[i].tolist() == [slow.turned(channel) for channel in clean.x[i].tolist()]
    largest = clean.y.bincount().argmax()
    assert set(clean.y[rare_subgroup(0.1)(clean, stream())[1].kind != 0].tolist()) == {int(largest)}
    flat = clean._replace(x=torch.ones_like(clean.x))
    assert not rare_subgroup(0.1)(flat, stream())[1].kind.any()


@pytest.mark.parametrize(("near", "conflicting"), [(0.0, 0.0), (1.0, 0.0), (0.5, 1 / 3), (0.5, 0.5), (0.25, 1.0)])
def test_copies_have_originals_before_them_and_the_shares_asked_for(near: float, conflicting: float) -> None:
    clean = data(200)
    after, truth = duplicates(0.3, near, conflicting)(clean, stream())
    copies = (truth.kind & DUPLICATE).nonzero()[:, 0].tolist()
    assert len(copies) == 60
    looks = Counter()
    used = set()
    for i in copies:
        before = [j for j in range(i) if truth.kind[j] == 0]
        found = [(j, "exact") for j in before if torch.equal(after.x[i], after.x[j])]
        picture = after.x[i, 0].tolist()
        found += [
            (j, f"near {side}")
            for j in before
            for side in ((1, 0), (-1, 0), (0, 1), (0, -1))
            if not found and picture == slow.shifted(clean.x[j, 0].tolist(), *side)
        ]
        assert len(found) == 1, "exactly one original, before its copy"
        j, how = found[0]
        used.add(j)
        assert truth.label[i] == clean.y[j]
        wrong = bool(after.y[i] != clean.y[j])
        assert int(truth.kind[i]) == DUPLICATE | wrong * MISLABELED
        assert bool(truth.noisy[i]) == wrong
        looks[how.split()[0], wrong] += 1
        looks[how] += 1
    assert len(used) == 60, "every copy has an original of its own"
    shifted = looks["near", True] + looks["near", False]
    assert shifted == math.floor(60 * near + 1e-9)
    for how, count in (("near", shifted), ("exact", 60 - shifted)):
        assert abs(looks[how, True] - count * conflicting) < 1, "conflicts are spread over both"
    assert abs(looks["near", True] + looks["exact", True] - 60 * conflicting) < 1
    if near == 1:
        assert {how for how in looks if isinstance(how, str) and how != "exact"} == {
            "near (1, 0)", "near (-1, 0)", "near (0, 1)", "near (0, -1)",
        }  # fmt: skip


@pytest.mark.parametrize("near", [0.0, 0.2, 0.5, 1.0])
def test_a_share_of_ten_copies_is_exact(near: float) -> None:
    g = stream(6)
    clean = Arrays(torch.rand(100, 1, 5, 5, generator=g), torch.randint(10, (100,), generator=g), 10)
    after, truth = duplicates(0.1, near=near, conflicting=0.5)(clean, stream())
    assert 100 - len(after.x.unique(dim=0)) == 10 - round(10 * near)
    assert int((truth.kind == int(Kind.DUPLICATE | Kind.MISLABELED)).sum()) == 5
    one = duplicates(0.01, near=near, conflicting=0)(clean, stream())[0]
    assert 100 - len(one.x.unique(dim=0)) == 1 - int(near), "of a single copy the share is rounded down"


def test_conflicting_labels_are_uniform_over_the_others() -> None:
    clean = Arrays(torch.rand(20_000, 1, generator=stream(3)), torch.zeros(20_000, dtype=torch.int64), 4)
    after, truth = duplicates(0.5, near=0, conflicting=1)(clean, stream())
    share = after.y[truth.kind != 0].bincount(minlength=4) / 10_000
    assert share[0] == 0
    assert (share[1:] - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / 10_000)


def test_blends_are_half_and_half_of_confusable_classes() -> None:
    g = stream(4)
    y = torch.randint(3, (300,), generator=g)
    clean = Arrays(torch.eye(300), y, 3)  # every example has a place of its own, so a blend says whose it is
    after, truth = ambiguous(0.6, [1, 2, 2])(clean, stream())
    blended = truth.kind != 0
    assert set(truth.kind[blended].tolist()) == {int(Kind.AMBIGUOUS)}
    assert truth.realised_rate == 0.0
    assert not blended[y == 2].any(), "a class that maps to itself stays"
    own = 0
    for i in blended.nonzero()[:, 0].tolist():
        parents = after.x[i].nonzero()[:, 0].tolist()
        assert after.x[i, parents].tolist() == [0.5, 0.5]
        parents.remove(i)
        assert int(y[parents[0]]) == [1, 2][int(y[i])]
        assert int(after.y[i]) in (int(y[i]), int(y[parents[0]]))
        assert after.y[i] == truth.label[i]
        own += int(after.y[i] == y[i])
    count = int(blended.sum())
    assert abs(own / count - 0.5) < 5 * 0.5 / math.sqrt(count)


def test_the_coin_of_a_blends_label_is_fair() -> None:
    n = 20_000
    clean = Arrays(torch.zeros(n, 1), torch.arange(n) % 2, 2)
    own = ambiguous(1.0, [1, 0])(clean._replace(x=torch.arange(1.0, n + 1)[:, None]), stream())[0].y == clean.y
    assert abs(float(own.double().mean()) - 0.5) < 5 * 0.5 / math.sqrt(n)


def test_partners_are_uniform_and_look_alikes_are_nearest_means() -> None:
    clean = Arrays(
        torch.eye(4).repeat_interleave(torch.tensor([3000, 1, 1, 1]), 0), torch.tensor([0] * 3000 + [1] * 3), 2
    )
    partner = ambiguous(1.0, [1, 1])(clean, stream())[0].x[:3000, 1:].argmax(1).bincount(minlength=3) / 3000
    assert (partner - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / 3000)
    x = torch.tensor([0.0, 0.0, 1.0, 5.0, 5.5, 50.0])[:, None]
    assert look_alikes(Arrays(x, torch.tensor([0, 0, 1, 2, 3, 5]), 6)) == [1, 0, 3, 2, 4, 3]
    assert look_alikes(Arrays(x, torch.zeros(6, dtype=torch.int64), 2)) == [0, 1]


def test_foreign_pictures_are_theirs_in_the_units_of_the_data() -> None:
    g = stream(5)
    raw = torch.rand(100, 3, 8, 8, generator=g)
    raw[0], raw[1] = 0, 1
    scale, centre = torch.tensor([1.0, 2.0, 4.0])[:, None, None], torch.tensor([0.5, 0.0, -1.0])[:, None, None]
    clean = Arrays((raw - centre) / scale, torch.randint(5, (100,), generator=g), 5)
    theirs = torch.rand(20, 3, 8, 8, generator=g)
    after, truth = out_of_distribution(0.4, theirs)(clean, stream())
    foreign = truth.kind == int(Kind.OUT_OF_DISTRIBUTION)
    assert int(foreign.sum()) == 40
    assert int(truth.noisy.sum()) == 40
    gap = ((after.x * scale + centre)[foreign][:, None] - theirs).abs().flatten(2).amax(2)
    assert float(gap.min(1).values.max()) < 1e-5
    assert gap.argmin(1).bincount(minlength=20).tolist() == [2] * 20, "each is used as often as the others"
    assert torch.equal(truth.label, after.y)


def test_foreign_labels_are_random_and_the_set_may_be_named() -> None:
    clean = data(4000, (1, 8, 8), 4)
    after, truth = out_of_distribution(1.0)(clean, stream())
    assert (after.y.bincount() / 4000 - 0.25).abs().max() < 5 * math.sqrt(3 / 16 / 4000)
    assert abs(float((after.y == clean.y).double().mean()) - 0.25) < 5 * math.sqrt(3 / 16 / 4000)
    assert truth.realised_rate == 1.0
    digits, _ = injector("out_of_distribution(foreign='digits')", 0.2)(data(100, (3, 12, 10)), stream())
    assert digits.x.shape == (100, 3, 12, 10)


def test_smooth_fields_are_smooth_and_fill_the_range() -> None:
    fields = smooth_fields(300, (3, 28, 28), stream())
    assert torch.equal(fields.amin((2, 3)), torch.zeros(300, 3))
    assert torch.equal(fields.amax((2, 3)), torch.ones(300, 3))
    step = fields.diff(dim=3).abs().mean()
    assert step < 0.06, "neighbours are alike"
    assert len(fields.flatten(1).unique(dim=0)) == 300
    assert torch.equal(smooth_fields(3, (3, 28, 28), stream()), fields[:3])
    grey = fitted(torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1).expand(2, 3, 9, 9), (1, 9, 9))
    assert grey.allclose(torch.tensor(0.299 + 0.2935 + 0.0285))


def test_a_mix_keeps_its_parts_apart_and_nests_along_one_factor() -> None:
    clean = data(1000)

    def mix(factor: float) -> Callable[[Arrays, torch.Generator], tuple[Arrays, object]]:
        parts = [
            random_labels(0.2 * factor, exclusive=True),
            gaussian_pixels(0.1 * factor),
            rare_subgroup(0.04 * factor),
            duplicates(0.1 * factor),
            out_of_distribution(0.1 * factor),
        ]
        return mixed(parts)

    before = clean.x.clone(), clean.y.clone()
    after, truth = mix(1.0)(clean, stream())
    counts = Counter(truth.kind.tolist())
    assert counts.pop(DUPLICATE) + counts.pop(DUPLICATE | MISLABELED) == 100
    assert counts == {
        0: 460,
        MISLABELED: 200,
        int(Kind.CORRUPTED): 100,
        int(Kind.RARE): 40,
        int(Kind.OUT_OF_DISTRIBUTION): 100,
    }
    assert truth.asked_rate == pytest.approx(0.54)
    differs = (after.y != clean.y) | (after.x != clean.x).flatten(1).any(1)
    assert torch.equal(truth.kind != 0, differs)
    last = torch.zeros(1000, dtype=torch.int64)
    for factor in (0.0, 0.1, 0.37, 0.9, 1.0):
        part, told = mix(factor)(clean, stream())
        touched = last != 0
        assert torch.equal(told.kind[touched], last[touched])
        now = told.kind != 0
        assert torch.equal(part.x[now], after.x[now])
        assert torch.equal(part.y[now], after.y[now])
        last = told.kind
    assert torch.equal(clean.x, before[0])
    assert torch.equal(clean.y, before[1])


def test_a_mix_of_everything_touches_everything() -> None:
    truth = mixed([pair_flip(1 / 3), gaussian_pixels(1 / 3), random_labels(1 / 3, exclusive=True)])(
        data(100), stream()
    )[1]
    assert int((truth.kind != 0).sum()) == 99


def test_mistakes_are_answered_in_one_sentence() -> None:
    table, one = data(100, (6,)), data(100, classes=1)
    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: long_tail(0.5, imbalance=0.5), "imbalance is 0.5"),
        (lambda: long_tail(0.5, imbalance=math.nan), "imbalance is nan"),
        (lambda: long_tail(0.5, tail=2), "tail is 2"),
        (lambda: long_tail(-1), "rate is -1"),
        (
            lambda: rare_subgroup(0.5)(data(), stream()),
            "the rare subgroup was asked for on 200 of 400 examples; there is",
        ),
        (lambda: rare_subgroup(0.1, klass=9)(data(), stream()), r"class 9, and the classes are 0\.\.4"),
        (lambda: rare_subgroup(0.1)(data(shape=(1, 8, 9)), stream()), "only square pictures"),
        (lambda: rare_subgroup(0.1)(table, stream()), "only square pictures"),
        (lambda: duplicates(0.6), "duplication was asked for at rate 0.6; it can touch a share of 0.5"),
        (lambda: duplicates(0.1, near=2), "share of near duplicates is 2"),
        (lambda: duplicates(0.1, conflicting=-1), "share of conflicting duplicates is -1"),
        (lambda: duplicates(0.1)(table, stream()), r"set near=0"),
        (lambda: duplicates(0.1)(one, stream()), "set conflicting=0"),
        (lambda: ambiguous(0.1, [0, 1])(data(), stream()), "must hold 5 classes"),
        (lambda: ambiguous(0.5, [1, 0])(one._replace(classes=2), stream()), "class 1, which has no example"),
        (lambda: out_of_distribution(0.1)(table, stream()), "needs pictures"),
        (lambda: out_of_distribution(0.1)(data(shape=(2, 8, 8)), stream()), "needs pictures"),
        (lambda: out_of_distribution(0.1, torch.rand(3, 8, 8))(data(), stream()), "foreign pictures must be"),
        (lambda: out_of_distribution(0.1, torch.rand(0, 1, 8, 8))(data(), stream()), "foreign pictures must be"),
        (lambda: out_of_distribution(0.1, torch.rand(2, 1, 8, 8) + 1)(data(), stream()), r"in \[0, 1\], as they are"),
        (lambda: out_of_distribution(0.1, "digitts")(data(), stream()), "did you mean"),
        (lambda: mixed([]), "a mix needs injectors"),
        (lambda: mixed([pair_flip(0.1), none()]), "a mix needs injectors"),
        (lambda: mixed([instance_dependent(0.1)]), "a mix needs injectors"),
        (lambda: mixed([pair_flip(0.6), gaussian_pixels(0.6)]), "sum to 1.2"),
        (lambda: mixed([pair_flip(0.1), duplicates(0.46)]), "sum to 1.02"),
        (lambda: mixed([rare_subgroup(0.5)])(data(), stream()), "the rare subgroup was asked for on 200"),
    ]
    for call, sentence in mistakes:
        with pytest.raises(TamisError, match=sentence):
            call()
