"""Label noise: each protocol against its slow twin, its known statistics, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import oracles_corrupt as slow
import pytest
import torch

from tamis.corrupt import (
    CIFAR10_MAP,
    asymmetric_labels,
    class_conditional,
    confusion_map,
    injector,
    instance_dependent,
    labels_from_file,
    pair_flip,
)
from tamis.corrupt.instance import flip_rates
from tamis.corrupt.labels import by_level
from tamis.types import Arrays, Kind, TamisError


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(n: int = 300, classes: int = 10, size: int = 6) -> Arrays:
    g = stream(99)
    return Arrays(torch.randn(n, size, generator=g), torch.randint(classes, (n,), generator=g), classes)


def recovered(clean: Arrays, noisy: Arrays) -> torch.Tensor:
    counts = torch.zeros(clean.classes, clean.classes, dtype=torch.float64)
    counts.index_put_((clean.y, noisy.y), torch.ones(len(clean.y), dtype=torch.float64), accumulate=True)
    return counts / counts.sum(1, keepdim=True)


def test_a_pair_flip_is_the_next_class_and_the_last_wraps() -> None:
    clean = data(1000, 4)
    noisy, truth = pair_flip(0.45)(clean, stream())
    assert truth.realised_rate == 0.45
    assert torch.equal(noisy.y[truth.noisy], (clean.y[truth.noisy] + 1) % 4)


def test_half_of_the_map_of_cifar_moves() -> None:
    clean = Arrays(torch.zeros(1000, 1), torch.arange(1000) % 10, 10)
    noisy, truth = asymmetric_labels(1.0, CIFAR10_MAP)(clean, stream())
    assert truth.realised_rate == 0.5
    assert {(a, b) for a, b in zip(clean.y.tolist(), noisy.y.tolist(), strict=True) if a != b} == {
        (9, 1), (2, 0), (3, 5), (5, 3), (4, 7),
    }  # fmt: skip


def test_a_confusion_map_is_the_most_confused_other_class() -> None:
    confusion = [[50, 3, 7, 0], [2, 0, 2, 1], [0, 0, 9, 0], [0, 8, 1, 1]]
    assert confusion_map(confusion) == [2, 0, 2, 1]  # a tie goes to the lower, and never mistaken stays
    assert confusion_map(torch.tensor(confusion)) == [2, 0, 2, 1]
    _, truth = asymmetric_labels(1.0, confusion_map(confusion))(data(classes=4), stream())
    assert torch.equal(truth.noisy, truth.label != 2)


@pytest.mark.parametrize("rate", [1.0, 0.4])
def test_the_transition_matrix_is_recovered_and_thinned_by_the_rate(rate: float) -> None:
    t = torch.tensor([[0.6, 0.4, 0.0], [0.1, 0.7, 0.2], [0.0, 0.0, 1.0]], dtype=torch.float64)
    n = 30_000
    clean = Arrays(torch.zeros(n, 1), torch.arange(n) % 3, 3)
    noisy, truth = class_conditional(rate, t)(clean, stream())
    expected = (1 - rate) * torch.eye(3) + rate * t
    assert (recovered(clean, noisy) - expected).abs().max() < 5 * 0.5 / math.sqrt(n / 3)
    assert not (recovered(clean, noisy) > 0)[expected == 0].any()
    assert abs(truth.realised_rate - rate * (1 - float(t.diag().mean()))) < 5 * 0.5 / math.sqrt(n)


def test_levels_walk_along_the_row() -> None:
    t = [[0.25, 0.0, 0.75], [0.0, 0.5, 0.5], [1.0, 0.0, 0.0]]
    y = [i % 3 for i in range(90)]
    level = [(i // 3) / 30 for i in range(90)]
    fast = by_level(torch.tensor(t, dtype=torch.float64)[torch.tensor(y)], torch.tensor(level, dtype=torch.float64))
    assert fast.tolist() == slow.class_conditional(y, t, level)
    short = torch.tensor([[0.3, 0.3, 0.3]], dtype=torch.float64)  # a row that rounding, or a user, left below 1
    assert by_level(short, torch.tensor([0.95], dtype=torch.float64)).tolist() == [2]
    assert by_level(short, torch.tensor([0.34], dtype=torch.float64)).tolist() == [1]


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0])
def test_instance_noise_equals_its_slow_twin(rate: float) -> None:
    clean = data(200, 4, 3)
    noisy, truth = instance_dependent(rate)(clean, stream(3))
    assert noisy.y.tolist() == slow.instance_dependent(clean, rate, 0.1, stream(3))
    assert truth.asked_rate == rate


@pytest.mark.parametrize(("rate", "expected"), [(0.1, 0.1288), (0.2, 0.2055), (0.3, 0.3004), (0.5, 0.5)])
def test_instance_noise_has_the_mean_of_a_truncated_normal(rate: float, expected: float) -> None:
    n = 20_000
    truth = instance_dependent(rate)(data(n, 5, 4), stream())[1]
    assert abs(truth.realised_rate - expected) < 5 * 0.5 / math.sqrt(n)


def test_instance_noise_follows_the_input_and_knows_no_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    clean = data(2000, 4, 4)
    twice = Arrays(torch.cat([clean.x, clean.x]), torch.cat([clean.y, clean.y]), 4)
    noisy, truth = instance_dependent(0.9)(twice, stream())
    a, b = truth.noisy[:2000] & truth.noisy[2000:], noisy.y[:2000] == noisy.y[2000:]
    assert float(b[a].double().mean()) > 0.6, "equal inputs of a class are mistaken for the same class, mostly"
    monkeypatch.setattr("tamis.corrupt.instance._CHUNK", 7)
    assert torch.equal(instance_dependent(0.9)(twice, stream())[0].y, noisy.y)


def test_flip_rates_rise_with_the_rate_and_stay_inside() -> None:
    rank = torch.linspace(0, 1, 101, dtype=torch.float64)
    last = flip_rates(0.0, rank)
    assert float(last.max()) == 0
    for rate in (0.01, 0.1, 0.3, 0.5, 0.9, 1.0):
        now = flip_rates(rate, rank)
        assert bool((now >= last - 1e-12).all())
        assert float(now.min()) >= 0
        assert float(now.max()) <= 1
        assert bool((now.diff() >= 0).all())
        last = now


HUMAN = torch.tensor([0, 2, 1, 1, 0])
CLEAN = Arrays(torch.zeros(5, 1), torch.tensor([0, 1, 1, 2, 0]), 3)


def write(path: Path) -> Path:
    """The same labels in every format that can hold them; where one can hold several, beside wrong ones."""
    labels = HUMAN.numpy()
    match path.suffix:
        case ".npy":
            np.save(path, labels)
        case ".npz":
            np.savez(path, worse=labels, better=labels * 0)
        case ".csv":
            path.write_text("better,worse\n" + "".join(f"0,{label}\n" for label in labels))
        case ".pt":
            torch.save({"better": HUMAN * 0, "worse": HUMAN}, path)
        case ".pth":
            torch.save({"better": labels * 0, "worse": labels}, path)  # arrays of numpy, as CIFAR-10N's file holds them
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".pt", ".pth"])
def test_labels_are_read_from_every_format(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"human{suffix}")
    key = None if suffix == ".npy" else "worse"
    noisy, truth = labels_from_file(1.0, path, key)(CLEAN, stream())
    assert torch.equal(noisy.y, HUMAN)
    assert truth.kind.tolist() == [0, 1, 0, 1, 0]
    assert truth.realised_rate == 0.4
    again, _ = injector(f"labels_from_file(path={str(path)!r}, key={key!r})", 1.0)(CLEAN, stream())
    assert torch.equal(again.y, HUMAN)


def test_a_subset_takes_its_own_rows_and_a_bare_column_needs_no_header(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("0\n2\n1\n1\n0\n")
    noisy, _ = labels_from_file(1.0, path, index=[3, 1])(CLEAN.take(torch.tensor([3, 1])), stream())
    assert noisy.y.tolist() == [1, 2]


class Trap:
    """What a pickle would run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.pt"])
def test_no_pickle_is_run(tmp_path: Path, name: str) -> None:
    path, trap = tmp_path / name, Trap(tmp_path / "sprung")
    if path.suffix == ".npy":
        np.save(path, np.array([trap], dtype=object), allow_pickle=True)
    elif path.suffix == ".npz":
        np.savez(path, labels=np.array([trap], dtype=object))
    else:
        torch.save({"labels": trap}, path)
    with pytest.raises(TamisError, match=rf"{path.name} cannot be read as plain arrays"):
        labels_from_file(1.0, path)
    assert not trap.path.exists()


def test_mistakes_are_answered_in_one_sentence(tmp_path: Path) -> None:
    good, several = write(tmp_path / "good.npy"), write(tmp_path / "several.npz")
    np.save(tmp_path / "half.npy", np.array([0.5, 1]))
    np.save(tmp_path / "two.npy", np.zeros((2, 2)))
    np.save(tmp_path / "nan.npy", np.array([np.nan, 1]))
    (tmp_path / "words.csv").write_text("label\ncat\n")
    (tmp_path / "ragged.csv").write_text("a,b\n1\n")
    (tmp_path / "labels.txt").write_text("1")
    small = [[0.5, 0.5], [0.0, 1.0]]
    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: pair_flip(0.1)(data(classes=1), stream()), "two classes"),
        (lambda: confusion_map([[1.0, 2.0]]), r"\[1, 2\], and must be \[K, K\]"),
        (lambda: confusion_map([[1.0, -2.0], [0.0, 1.0]]), "finite numbers of at least 0"),
        (lambda: class_conditional(0.5), "needs its transition matrix"),
        (lambda: class_conditional(0.5, [[1.0, 0.0]]), r"must be \[K, K\]"),
        (lambda: class_conditional(0.5, [[1.0, 0.0], [0.5, 0.4]]), "row 1 of the transition matrix"),
        (lambda: class_conditional(0.5, [[1.5, -0.5], [0.5, 0.5]]), "row 0 of the transition matrix"),
        (lambda: class_conditional(0.5, small)(data(classes=3), stream()), "for 2 classes, and the data have 3"),
        (lambda: instance_dependent(0.5)(data(classes=1), stream()), "two classes"),
        (lambda: instance_dependent(0.5, 0), "spread of the flip rates is 0"),
        (lambda: instance_dependent(1.5), "rate is 1.5"),
        (lambda: labels_from_file(0.5), "need the file"),
        (lambda: labels_from_file(1.5, good), "rate is 1.5"),
        (lambda: labels_from_file(0.5, tmp_path / "no.npy"), "there is no file"),
        (lambda: labels_from_file(0.5, tmp_path / "labels.txt"), "must end in .npy"),
        (lambda: labels_from_file(0.5, several), "no key was given; it must be one of worse, better"),
        (lambda: labels_from_file(0.5, several, "best"), "there is no 'best'; it must be one of worse, better"),
        (lambda: labels_from_file(0.5, good, "best"), "holds one array"),
        (lambda: labels_from_file(0.5, tmp_path / "half.npy"), "whole numbers"),
        (lambda: labels_from_file(0.5, tmp_path / "two.npy"), r"shape \[2, 2\]"),
        (lambda: labels_from_file(0.5, tmp_path / "nan.npy"), "whole numbers"),
        (lambda: labels_from_file(0.5, tmp_path / "words.csv"), "whole numbers"),
        (lambda: labels_from_file(0.5, tmp_path / "ragged.csv"), "cannot be read"),
        (lambda: labels_from_file(0.5, good, index=[5]), r"rows in 0\.\.4"),
        (lambda: labels_from_file(0.5, good)(data(7), stream()), "5 labels and the data have 7 examples"),
        (lambda: labels_from_file(0.5, good)(CLEAN._replace(classes=2), stream()), r"label 2 at 1 is outside 0\.\.1"),
    ]
    for call, sentence in mistakes:
        with pytest.raises(TamisError, match=sentence):
            call()


def test_every_kind_of_label_noise_is_called_mislabeled() -> None:
    for noise in (pair_flip(0.5), instance_dependent(0.5), asymmetric_labels(0.5)):
        assert set(noise(data(), stream())[1].kind.tolist()) == {0, int(Kind.MISLABELED)}
