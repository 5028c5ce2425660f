"""Injectors: pure, nested, and truthful; one set of checks over the whole table."""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tamis.corrupt import CORRUPTIONS, INJECTORS, asymmetric_labels, injector, random_labels
from tamis.corrupt.labels import LOOK_ALIKE
from tamis.corrupt.nested import choose
from tamis.types import Arrays, Kind, TamisError, Truth

DAMAGING = sorted(set(INJECTORS) - {"none", "long_tail"})
MISLABELING = [
    "asymmetric_labels",
    "class_conditional",
    "instance_dependent",
    "labels_from_file",
    "pair_flip",
    "random_labels",
    "random_labels_exclusive",
]
REWRITING = ["gaussian_pixels", "shuffled_pixels", "fifteen_corruptions", *CORRUPTIONS]
STRUCTURE = ["ambiguous", "duplicates", "out_of_distribution", "rare_subgroup", "six_kinds"]
SHORTENING = ["long_tail"]  # its own tests, in test_corrupt_structure.py: positions move
WITHOUT_A_COUNT = {"instance_dependent": "flips are drawn one by one", "six_kinds": "each part rounds by itself"}
MOST = {"duplicates": 0.5, "rare_subgroup": 0.1, "six_kinds": 0.86}  # the largest of ten classes is at least a tenth
FOLDER = tempfile.TemporaryDirectory()


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 300, shape: tuple[int, ...] = (3, 8, 8), classes: int = 10) -> Arrays:
    g = stream(99)
    return Arrays(torch.randn(n, *shape, generator=g), torch.randint(classes, (n,), generator=g), classes)


def row(name: str, rate: float, n: int = 300) -> Callable[[Arrays, torch.Generator], tuple[Arrays, Truth]]:
    """The row of the table, with the settings that it cannot do without; a rate beyond what it can do is cut."""
    label = name
    if name == "class_conditional":
        label += f"(matrix={(torch.eye(10) * 0.5 + 0.05).tolist()})"
    if name == "labels_from_file":
        path = Path(FOLDER.name) / f"{n}.npy"
        if not path.is_file():
            np.save(path, (np.arange(n) * 7) % 10)
        label += f"(path={str(path)!r})"
    return injector(label, min(rate, MOST.get(name, 1.0)))


def changed(before: Arrays, after: Arrays) -> torch.Tensor:
    return (before.y != after.y) | (before.x != after.x).flatten(1).any(1)


def test_every_injector_of_the_table_is_tested() -> None:
    assert sorted(MISLABELING + REWRITING + STRUCTURE) == DAMAGING
    assert sorted([*DAMAGING, *SHORTENING, "none"]) == sorted(INJECTORS)


@pytest.mark.parametrize("name", DAMAGING)
@given(n=st.integers(1, 300), rates=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers(0, 99))
@example(n=300, rates=(0.3, 0.95), seed=1)
@settings(max_examples=10, deadline=None)
def test_rates_nest_and_truth_is_the_difference(name: str, n: int, rates: tuple[float, float], seed: int) -> None:
    clean = data(n, (1, 8, 8))
    low, high = (row(name, rate, n)(clean, stream(seed)) for rate in sorted(rates))
    for rate, (after, truth) in zip(sorted(rates), (low, high), strict=True):
        assert truth.asked_rate == pytest.approx(min(rate, MOST.get(name, 1.0)))
        assert after.classes == clean.classes
        assert torch.equal(truth.kind != 0, changed(clean, after))
        assert torch.equal((truth.kind & int(Kind.MISLABELED)) != 0, after.y != truth.label)
        replaced = (truth.kind & int(Kind.DUPLICATE | Kind.AMBIGUOUS | Kind.OUT_OF_DISTRIBUTION)) != 0
        assert torch.equal(truth.label[~replaced], clean.y[~replaced])
        assert name in WITHOUT_A_COUNT or int((truth.kind != 0).sum()) <= round(rate * n)
    touched = low[1].kind != 0
    assert bool((high[1].kind[touched] != 0).all())
    assert torch.equal(low[1].kind[touched], high[1].kind[touched])
    assert torch.equal(low[1].label[touched], high[1].label[touched])
    assert torch.equal(low[0].x[touched], high[0].x[touched])
    assert torch.equal(low[0].y[touched], high[0].y[touched])


@pytest.mark.usefixtures("unchanged_globals")
@pytest.mark.parametrize("name", DAMAGING)
def test_inputs_are_never_edited_and_generators_decide(name: str) -> None:
    clean = data()
    x, y = clean.x.clone(), clean.y.clone()
    a, b, c = (row(name, 0.5)(clean, stream(seed)) for seed in (1, 1, 2))
    assert torch.equal(clean.x, x)
    assert torch.equal(clean.y, y)
    assert torch.equal(a[0].x, b[0].x)
    assert torch.equal(a[0].y, b[0].y)
    assert torch.equal(a[1].kind, b[1].kind)
    assert not torch.equal(a[1].kind, c[1].kind)
    a[1].label[0] += 1
    assert torch.equal(clean.y, y), "the truth must not share the labels' memory"


@pytest.mark.parametrize("name", DAMAGING)
def test_the_generator_moves_on_alike_at_every_rate(name: str) -> None:
    left = []
    for rate in (0.0, 0.3, 1.0):
        g = stream()
        row(name, rate)(data(), g)
        left.append(g.get_state())
    assert torch.equal(left[0], left[1])
    assert torch.equal(left[0], left[2])


@pytest.mark.parametrize("name", DAMAGING)
def test_rate_zero_changes_nothing(name: str) -> None:
    clean = data()
    after, truth = row(name, 0.0)(clean, stream())
    assert not changed(clean, after).any()
    assert truth.realised_rate == 0.0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("random_labels", "92f91576f3173f16"),
        ("random_labels_exclusive", "d28a3df94f384082"),
        ("shuffled_pixels", "f3d05e4c319e9408"),
        ("gaussian_pixels", "9e8b48d609a16aaf"),
    ],
)
def test_published_records_stay_true_bit_for_bit(name: str, expected: str) -> None:
    clean, g, digest = data(300, (3, 4, 5), 5), stream(7), hashlib.sha256()
    after, truth = injector(name, 0.3)(clean, g)
    for part in (after.x, after.y, truth.kind, truth.label, g.get_state()):
        digest.update(part.contiguous().numpy().tobytes())
    assert digest.hexdigest()[:16] == expected


@pytest.mark.parametrize("n", [1, 2, 10, 999])
@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_exactly_round_rate_n_are_chosen(n: int, rate: float) -> None:
    chosen = choose(n, rate, stream())
    assert len(chosen) == round(rate * n) == len(set(chosen.tolist()))
    assert all(0 <= i < n for i in chosen.tolist())


@pytest.mark.parametrize("name", MISLABELING)
def test_label_noise_leaves_inputs(name: str) -> None:
    clean = data()
    after, truth = row(name, 0.4)(clean, stream())
    assert after.x is clean.x
    assert set(truth.kind.tolist()) == {0, int(Kind.MISLABELED)}
    assert int(after.y.min()) >= 0
    assert int(after.y.max()) < clean.classes


@pytest.mark.parametrize("name", REWRITING)
def test_input_damage_leaves_labels_and_has_its_rate_exactly(name: str) -> None:
    clean = data()
    after, truth = row(name, 0.4)(clean, stream())
    assert torch.equal(after.y, clean.y)
    assert set(truth.kind.tolist()) == {0, int(Kind.CORRUPTED)}
    assert truth.realised_rate == pytest.approx(0.4)


def test_inclusive_redraws_come_back_clean_as_often_as_they_should() -> None:
    n, k, rate = 20_000, 4, 0.5
    clean = data(n, (1,), k)
    after, truth = injector("random_labels", rate)(clean, stream())
    chosen = choose(n, rate, stream())
    m = len(chosen)
    expected, spread = 1 - 1 / k, math.sqrt((1 / k) * (1 - 1 / k) / m)
    assert abs(float(truth.noisy[chosen].double().mean()) - expected) < 5 * spread
    share = torch.bincount(after.y[chosen], minlength=k) / m
    assert (share - 1 / k).abs().max() < 5 * spread


def test_exclusive_redraws_are_uniform_over_the_others() -> None:
    n, k = 12_000, 4
    clean = data(n, (1,), k)
    after, truth = injector("random_labels_exclusive", 1.0)(clean, stream())
    assert truth.realised_rate == 1.0
    shift = torch.bincount((after.y - clean.y) % k, minlength=k)
    assert shift[0] == 0
    assert (shift[1:] / n - 1 / 3).abs().max() < 5 * math.sqrt(2 / 9 / n)


@pytest.mark.parametrize("shape", [(3, 4, 5), (7,)], ids=["pictures", "table"])
def test_shuffling_is_one_permutation_of_places_for_all(shape: tuple[int, ...]) -> None:
    clean = data(50, shape)
    places = math.prod(shape[1:]) if len(shape) > 1 else shape[0]
    numbered = torch.arange(places, dtype=torch.float32).expand(50, *shape[:-2], places)
    numbered = numbered.reshape(50, *shape) if len(shape) > 1 else numbered
    order = injector("shuffled_pixels", 1.0)(clean._replace(x=numbered.clone()), stream())[0].x.reshape(50, -1, places)
    assert torch.equal(order, order[:1, :1].expand_as(order)), "one permutation, channels together"
    pi = order[0, 0].long()
    assert sorted(pi.tolist()) == list(range(places))
    after = injector("shuffled_pixels", 1.0)(clean, stream())[0]
    flat = clean.x.flatten(2) if len(shape) > 1 else clean.x
    assert torch.equal(after.x.reshape(flat.shape), flat[..., pi])


def test_a_flat_picture_survives_shuffling_and_is_clean() -> None:
    clean = data(20)
    clean.x[3] = 0.5
    truth = injector("shuffled_pixels", 1.0)(clean, stream())[1]
    assert truth.kind[3] == 0
    assert int(truth.noisy.sum()) == 19


def test_gaussian_pixels_have_the_moments_of_the_clean_set_per_channel() -> None:
    g = stream(5)
    scale, centre = torch.tensor([1.0, 10.0]).view(1, 2, 1, 1), torch.tensor([0.0, -3.0]).view(1, 2, 1, 1)
    clean = Arrays(torch.rand(400, 2, 6, 6, generator=g) * scale + centre, torch.zeros(400, dtype=torch.int64), 2)
    noise, truth = injector("gaussian_pixels", 0.9)(clean, stream())
    noise = noise.x[truth.noisy]
    std, mean = torch.std_mean(clean.x, (0, 2, 3), correction=0)
    count = noise.numel() / 2
    assert ((noise.mean((0, 2, 3)) - mean).abs() < 5 * std / math.sqrt(count)).all()
    assert ((noise.std((0, 2, 3)) / std - 1).abs() < 5 / math.sqrt(2 * count)).all()
    z = (noise - mean.view(1, 2, 1, 1)) / std.view(1, 2, 1, 1)
    assert abs(float((z.abs() < 1).double().mean()) - 0.6827) < 0.02, "Gaussian, not uniform"
    flat = z.flatten(1)
    assert len(flat.unique(dim=0)) == len(flat), "every picture has noise of its own"


def test_none_returns_the_data_and_a_clean_truth() -> None:
    clean = data()
    after, truth = injector("none", 0.0)(clean, stream())
    assert after is clean
    assert truth.realised_rate == 0.0
    assert isinstance(truth, Truth)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: injector("random_lables", 0.1),
            'there is no corruption "random_lables"; did you mean "random_labels"',
        ),
        (lambda: injector("pair_flip(0.3)", 0.1), "settings of .* cannot be read"),
        (lambda: injector("pair_flip(rate=0.3)", 0.1), "settings of .* cannot be read"),
        (lambda: injector("pair_flip(step=2)", 0.1), "settings of .* cannot be read .*unexpected keyword"),
        (lambda: injector("asymmetric_labels(mapping=open)", 0.1), "settings of .* cannot be read"),
        (lambda: injector("pair flip", 0.1), '"pair flip" is not a corruption'),
        (lambda: injector("none", 0.2), 'the corruption "none" was asked for at rate 0.2'),
        (lambda: injector("random_labels", 1.5), "rate is 1.5; .* must be in"),
        (lambda: injector("gaussian_pixels", -0.1), "rate is -0.1"),
        (lambda: injector("shuffled_pixels", math.nan), "rate is nan"),
        (lambda: injector("shuffled_pixels", True), "rate is True"),
        (lambda: injector("shuffled_pixels", "0.1"), "rate is '0.1'"),
        (lambda: random_labels(0.1, exclusive=True)(data(classes=1), stream()), "at least two classes"),
    ],
)
def test_mistakes_are_answered_in_one_sentence(call: Callable[[], object], sentence: str) -> None:
    with pytest.raises(TamisError, match=sentence):
        call()


def test_one_class_keeps_its_labels_under_inclusive_noise() -> None:
    assert injector("random_labels", 1.0)(data(classes=1), stream())[1].realised_rate == 0.0


def test_asymmetric_labels_follow_their_map_and_refuse_another_number_of_classes() -> None:
    clean = data(2000)
    noisy, _ = injector("asymmetric_labels", 0.3)(clean, stream())
    moved = noisy.y != clean.y
    assert int(moved.sum()) == 600
    assert (torch.tensor(LOOK_ALIKE)[clean.y[moved]] == noisy.y[moved]).all()
    assert sorted(LOOK_ALIKE) == list(range(10)), "every class is somebody's look-alike once"
    stays, _ = asymmetric_labels(1.0, [0, 0, 2])(data(50, classes=3), stream())
    assert set(stays.y.tolist()) == {0, 2}
    with pytest.raises(TamisError, match="give one class for each"):
        asymmetric_labels(0.3)(data(classes=5), stream())
