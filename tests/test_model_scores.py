"""Scores that need models, features or predictions: twins, hand-worked examples, and orientation on flipped labels."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tamis import cli
from tamis.corrupt import injector
from tamis.data import load
from tamis.looking import Looking
from tamis.models import build
from tamis.observe import gradients, neighbours, out_of_fold, second_split
from tamis.observe.features import activations, last_linear, logits, penultimate, quiet
from tamis.observe.model_scores import MODEL_SCORES
from tamis.observe.neighbours import knn_agreement, knn_distance, nearest, prediction_depth
from tamis.observe.out_of_fold import folds_of, irreducible_loss, normalized_margin, out_of_fold_loss, self_confidence
from tamis.observe.scores import SCORES
from tamis.types import TamisError, generator

torch.set_num_threads(1)
ALL = pytest.mark.parametrize("name", sorted(MODEL_SCORES))


def randn(*shape: int, stream: str = "tests") -> torch.Tensor:
    return torch.randn(shape, generator=generator(0, stream))


def labels(n: int, classes: int) -> torch.Tensor:
    return torch.randint(classes, (n,), generator=generator(0, "labels"))


# --- the table --------------------------------------------------------------------------------------------------------


def test_the_table_is_every_function_that_says_what_is_harder() -> None:
    modules = (gradients, neighbours, out_of_fold, second_split)
    public = {
        name for m in modules for name, f in vars(m).items()
        if inspect.isfunction(f) and f.__module__ == m.__name__ and " is harder" in (f.__doc__ or "").split("\n\n")[0]
    }  # fmt: skip
    assert public == set(MODEL_SCORES)
    assert len(MODEL_SCORES) == 11
    assert not set(MODEL_SCORES) & set(SCORES)


@ALL
def test_a_row_says_what_is_true_of_its_function(name: str) -> None:
    row = MODEL_SCORES[name]
    assert row.name == name == row.function.__name__
    parameters = inspect.signature(row.function).parameters.values()
    assert row.needs == tuple(p.name for p in parameters if p.default is p.empty)
    text = row.function.__doc__ or ""
    assert ("Higher is harder" if row.higher_is_harder else "Lower is harder") in text.split("\n\n")[0]
    for part in ("Formula:", "Args:", "Returns:", "Raises:", "Example:", "Fails when:", "Reference:"):
        assert part in text, part
    assert row.reference.rsplit(" ", 1)[-1] in text, "the table's paper is the docstring's"
    assert row.forwards >= 1
    assert "bytes" in row.holds
    with pytest.raises(dataclasses.FrozenInstanceError):
        row.name = "other"  # type: ignore[misc]


def test_the_list_prints_everything_of_every_score() -> None:
    entries = {name: (facts, what) for name, facts, what in cli._scores()}
    assert set(entries) == set(SCORES) | set(MODEL_SCORES)
    for name, (facts, what) in entries.items():
        for part in ("er is harder; ", "needs ", " bytes ", SCORES[name]().reference if name in SCORES else "arXiv:"):
            assert part in facts, name
        assert ("µs a step of 256 examples, 10 classes" in facts) == (name in SCORES)
        assert ("forward" in facts) == (name in MODEL_SCORES)
        assert what
    assert "72 bytes per example" in entries["label_gap_trend"][0]
    assert "1 forward and 1 backward per example and checkpoint" in entries["vog"][0]
    assert "lower is harder; needs probabilities, y" in entries["self_confidence"][0]


def test_costs_in_words() -> None:
    row = dataclasses.replace(MODEL_SCORES["vog"], trainings=1.0, each="")
    assert row.cost == "1 forward and 1 backward per example; 1 training"
    assert dataclasses.replace(row, backwards=0, trainings=2.5).cost == "1 forward per example; 2.5 trainings"
    assert MODEL_SCORES["out_of_fold_loss"].trainings == 5 * (1 - 1 / 5), "five folds of four fifths"


# --- looking without a trace ------------------------------------------------------------------------------------------


class Restless(nn.Module):
    """Draws and edits a buffer in any mode: the worst that may be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.linear = nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Linear(3, 2)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls.add_(1)
        self.norm.running_mean = self.norm.running_mean + 1
        return self.linear(self.drop(self.norm(x))) + 0 * torch.rand(())


@pytest.mark.parametrize(
    "use",
    [
        lambda m, x, y: logits(m, x, 2),
        lambda m, x, y: penultimate(m, x, 2),
        lambda m, x, y: activations(m, x, ["norm", "drop"], 2),
        lambda m, x, y: irreducible_loss(m, x, y, 2),
        lambda m, x, y: gradients.grand_last_layer(m, x, y, 2),
        lambda m, x, y: gradients.grand(m, x, y, 2),
        lambda m, x, y: gradients.vog([m, m], x, y, 2),
    ],
)
def test_modes_buffers_gradients_and_generators_are_left_as_they_were(
    use: Callable[[nn.Module, torch.Tensor, torch.Tensor], object], unchanged_globals: None
) -> None:
    with torch.random.fork_rng([]):
        model, x, y = Restless(), randn(5, 3), labels(5, 2)
    model.norm.eval()
    model.linear.weight.grad = torch.ones(2, 3)
    held = {name: (b, b.clone()) for name, b in model.named_buffers()}
    inputs = x.clone(), y.clone()
    use(model, x, y)
    assert [model.training, model.norm.training, model.drop.training] == [True, False, True]
    for name, buffer in model.named_buffers():
        assert buffer is held[name][0]
        assert torch.equal(buffer, held[name][1])
    assert torch.equal(model.linear.weight.grad, torch.ones(2, 3))
    assert all(p.requires_grad for p in model.parameters())
    assert all(p.grad is None for name, p in model.named_parameters() if name != "linear.weight")
    assert torch.equal(x, inputs[0])
    assert torch.equal(y, inputs[1])
    assert not x.requires_grad
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failure_leaves_no_trace_either() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 2))
    with pytest.raises(RuntimeError):
        penultimate(model, torch.zeros(2, 3, dtype=torch.float64))
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    with pytest.raises(ZeroDivisionError), quiet(model):
        raise ZeroDivisionError
    assert model.training


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet9"])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_penultimate_features_are_what_the_head_is_given(name: str, batch: int) -> None:
    model, x = build(name, (1, 8, 8), 4, width=4), randn(7, 1, 8, 8)
    h = penultimate(model, x, batch)
    with quiet(model), torch.no_grad():
        torch.testing.assert_close(h, model.features(x))
        torch.testing.assert_close(logits(model, x, batch), model(x))
    assert h.dtype == torch.float32
    assert not h.requires_grad


def test_the_last_linear_layer_is_the_last_called_and_not_the_last_defined() -> None:
    class Crossed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body = nn.Linear(4, 2), nn.Linear(3, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).relu_())

    model = Crossed()
    assert last_linear(model, torch.zeros(1, 3)) == "head"
    assert penultimate(model, randn(5, 3)).shape == (5, 4)
    assert bool((penultimate(model, randn(5, 3)) >= 0).all())


class ByName(nn.Module):
    """Calls its layers by keyword, the head first defined and last called, and an auxiliary head not at all."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.auxiliary = nn.Linear(4, 3), nn.Linear(2, 4), nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(input=self.body(input=x))


def test_layers_may_be_called_by_keyword() -> None:
    model, x = ByName(), torch.randn(5, 2)
    assert torch.equal(penultimate(model, x), model.body(x).detach())


def test_a_policy_of_features_takes_those_of_the_layer_that_is_called_last() -> None:
    model, x, y = ByName(), torch.randn(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])
    seen = Looking(6, None, True, {}).look(model, torch.arange(6), x, y, step=0, tap=True)
    assert torch.equal(seen.features, model.body(x).detach())


def test_an_activation_is_kept_before_a_later_layer_edits_it_in_place() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    (before,) = activations(model, randn(9, 3), ["0"])
    assert bool((before < 0).any())


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: penultimate(nn.Conv1d(1, 1, 1), torch.zeros(1, 1, 2)), "the model calls none"),
        (lambda: penultimate(nn.Linear(3, 2), torch.zeros(1, 5, 3)), r"must be given \[B, D\]"),
        (lambda: activations(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3), ["1"]), "has no layer '1'"),
        (lambda: logits(nn.Identity(), torch.zeros(2, 3, 4)), r"must give logits \[2, K\]"),
        (lambda: irreducible_loss([], torch.zeros(2, 3), torch.zeros(2).long()), "at least one model"),
        (lambda: irreducible_loss(nn.Linear(3, 2), torch.zeros(2, 3), torch.tensor([0, 2])), r"must lie in 0\.\.1"),
        (lambda: irreducible_loss(nn.Linear(3, 2), torch.zeros(2, 3), torch.zeros(2)), "labels must be"),
        (lambda: gradients.grand(nn.Linear(3, 2), torch.zeros(2, 3), torch.zeros(3).long()), "labels must be"),
        (lambda: gradients.grand(nn.Linear(3, 2), torch.zeros(2, 3), torch.tensor([0, 2])), r"must lie in 0\.\.1"),
        (lambda: gradients.vog([nn.Linear(3, 2)] * 2, torch.zeros(2, 3), torch.tensor([0, 2])), r"must lie in 0\.\.1"),
        (lambda: gradients.vog([nn.Identity()] * 2, torch.zeros(2, 3, 4), torch.zeros(2).long()), "must give logits"),
        (lambda: gradients.vog([nn.Linear(3, 2)], torch.zeros(2, 3), torch.zeros(2).long()), "at least two"),
        (
            lambda: gradients.vog([nn.Linear(3, 2)] * 2, torch.zeros(2, 3).long(), torch.zeros(2).long()),
            "floating inputs",
        ),
        (lambda: self_confidence(torch.tensor([[2.0, -1.0]]), torch.tensor([0])), "rows must be probabilities"),
        (lambda: self_confidence(torch.tensor([[0.5, 0.6]]), torch.tensor([0])), "row 0 sums to 1.1"),
        (lambda: self_confidence(torch.tensor([[0.5, 0.5]]), torch.tensor([2])), r"must lie in 0\.\.1"),
        (lambda: self_confidence(torch.tensor([0.5]), torch.tensor([0])), r"must be \[N, K\]"),
        (lambda: normalized_margin(torch.ones(1, 1), torch.tensor([0])), "at least two classes"),
        (lambda: folds_of(torch.zeros(3).long(), 4, generator(0, "f")), "folds is 4"),
        (lambda: folds_of(torch.zeros(3).long(), 1, generator(0, "f")), "folds is 1"),
        (lambda: nearest(torch.zeros(3, 2), 3), "k is 3"),
        (lambda: nearest(torch.zeros(3, 2), 0), "k is 0"),
        (lambda: nearest(torch.zeros(3), 1), r"must be \[N, D\]"),
        (lambda: nearest(torch.full((3, 2), math.nan), 1), "must be finite"),
        (lambda: nearest(torch.zeros(3, 2), 1, "manhattan"), "metric is 'manhattan'"),  # type: ignore[arg-type]
        (lambda: prediction_depth([], torch.zeros(2).long(), torch.zeros(2).long()), "at least one layer"),
        (lambda: second_split.second_split_forgetting_time(torch.zeros(3)), r"must be \[T, N\]"),
    ],
)
def test_errors_are_sentences(call: Callable[[], object], says: str) -> None:
    with pytest.raises(TamisError, match=says) as caught:
        call()
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


# --- gradients --------------------------------------------------------------------------------------------------------


def slow_grand(model: nn.Module, x: torch.Tensor, y: torch.Tensor, parameters: list[nn.Parameter]) -> list[float]:
    """One example after another, by plain autograd."""
    out = []
    with quiet(model):
        for one, label in zip(x, y, strict=True):
            loss = F.cross_entropy(model(one[None]), label[None])
            out.append(math.sqrt(sum(float(g.square().sum()) for g in torch.autograd.grad(loss, parameters))))
    return out


@pytest.mark.parametrize("name", ["mlp", "convnet", "resnet9"])
def test_grand_equals_one_backward_an_example(name: str) -> None:
    model, x, y = build(name, (1, 8, 8), 4, width=4), randn(5, 1, 8, 8), labels(5, 4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean += 0.3
    with torch.no_grad():
        full, last = gradients.grand(model, x, y, batch=2), gradients.grand_last_layer(model, x, y, batch=3)
    assert full.tolist() == pytest.approx(slow_grand(model, x, y, list(model.parameters())), rel=1e-4)
    assert last.tolist() == pytest.approx(slow_grand(model, x, y, list(model.head.parameters())), rel=1e-4)
    assert full.dtype == last.dtype == torch.float32


def test_grand_of_the_last_layer_is_the_formula() -> None:
    model, x, y = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4)), randn(6, 3), labels(6, 4)
    error = logits(model, x).softmax(1) - F.one_hot(y, 4)
    want = error.norm(dim=1) * (penultimate(model, x).square().sum(1) + 1).sqrt()
    torch.testing.assert_close(gradients.grand_last_layer(model, x, y), want)
    bare = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4, bias=False))
    error = logits(bare, x).softmax(1) - F.one_hot(y, 4)
    torch.testing.assert_close(
        gradients.grand_last_layer(bare, x, y), error.norm(dim=1) * penultimate(bare, x).norm(dim=1)
    )


def test_grand_of_a_frozen_model_and_of_several_and_of_nothing() -> None:
    models = [build("mlp", (3,), 2, width=4, seed=s) for s in range(2)]
    x, y = randn(4, 3), labels(4, 2)
    each = [gradients.grand(m, x, y) for m in models]
    torch.testing.assert_close(gradients.grand(models, x, y), (each[0] + each[1]) / 2)
    for p in models[0].parameters():
        p.requires_grad_(False)
    assert torch.equal(gradients.grand(models[0], x, y), each[0])
    for score in (gradients.grand, gradients.grand_last_layer, irreducible_loss):
        assert score(models[0], x[:0], y[:0]).shape == (0,)
    assert gradients.vog(models, x[:0], y[:0]).shape == (0,)


def slow_vog(models: list[nn.Module], x: torch.Tensor, y: torch.Tensor) -> list[float]:
    raw = []
    for one, label in zip(x, y.tolist(), strict=True):
        maps = []
        for model in models:
            pixel = one[None].clone().requires_grad_()
            with quiet(model):
                maps.append(torch.autograd.grad(model(pixel)[0, label], pixel)[0].flatten().tolist())
        spreads = []
        for values in zip(*maps, strict=True):
            mean = sum(values) / len(values)
            spreads.append(math.sqrt(sum((v - mean) ** 2 for v in values) / len(values)))
        raw.append(sum(spreads) / len(spreads))
    out = []
    for value, label in zip(raw, y.tolist(), strict=True):
        mine = [v for v, other in zip(raw, y.tolist(), strict=True) if other == label]
        mean = sum(mine) / len(mine)
        spread = math.sqrt(sum((v - mean) ** 2 for v in mine) / len(mine))
        out.append((value - mean) / spread if spread > 1e-9 else 0.0)
    return out


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_vog_equals_its_twin(name: str) -> None:
    models = [build(name, (1, 6, 6), 3, width=4, seed=s) for s in range(3)]
    x, y = randn(9, 1, 6, 6), torch.tensor([0, 0, 0, 0, 2, 2, 2, 2, 1])  # one example of its class: 0
    assert gradients.vog(models, x, y, batch=4).tolist() == pytest.approx(slow_vog(models, x, y), abs=1e-3)


def test_vog_before_and_after_it_is_normalised_by_hand() -> None:
    """Gradients 1 and 3 of one checkpoint or the other: a deviation of 1; of equal ones, 0; of a class's equals, 0."""

    def model(*weights: float) -> nn.Module:
        with torch.random.fork_rng([]):
            layer = nn.Linear(2, 3, bias=False)
        layer.weight.data = torch.tensor([weights, (0.0, 0.0), (0.1, 0.7)])
        return layer

    both, y = [model(1.0, 5.0), model(3.0, 5.0)], torch.tensor([0, 1, 0, 2, 0])
    both[1].weight.data[2] = torch.tensor([0.4, 0.8])
    raw = gradients.input_gradient_deviation(both, torch.ones(5, 2), y)
    assert raw.tolist() == pytest.approx([0.5, 0.0, 0.5, 0.1, 0.5])
    assert gradients.vog(both, torch.ones(5, 2), y).tolist() == [0.0] * 5
    odd = gradients.vog(both, torch.ones(7, 2), torch.full((7,), 2))
    assert odd.tolist() == [0.0] * 7, "a sum of seven tenths is rounded, and stays nothing"


# --- probabilities ----------------------------------------------------------------------------------------------------


def test_confident_learning_by_hand() -> None:
    """The documented formulas on numbers worked by hand; ``benchmarks/peers.py`` holds them to cleanlab itself."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6], [0.25, 0.5, 0.25], [math.nan] * 3], dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 0])
    assert self_confidence(p, y).tolist() == pytest.approx([0.7, 0.3, 0.25, math.nan], nan_ok=True)
    assert normalized_margin(p, y).tolist() == pytest.approx([0.75, 0.35, 0.375, math.nan], nan_ok=True)
    want = [-math.log(0.7), -math.log(0.3), math.log(4), math.nan]
    assert out_of_fold_loss(p, y).tolist() == pytest.approx(want, nan_ok=True)
    assert {f(p, y).dtype for f in (self_confidence, normalized_margin, out_of_fold_loss)} == {torch.float64}
    assert bool(out_of_fold_loss(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).isfinite().all())


def test_irreducible_loss_is_the_mean_cross_entropy_over_models() -> None:
    models, x, y = [nn.Linear(3, 4) for _ in range(2)], randn(7, 3), labels(7, 4)
    want = sum(F.cross_entropy(m(x), y, reduction="none") for m in models) / 2
    torch.testing.assert_close(irreducible_loss(models, x, y, batch=3), want.detach())


@settings(max_examples=50)
@given(y=st.lists(st.integers(0, 3), min_size=2, max_size=30), folds=st.integers(2, 6), seed=st.integers(0, 9))
def test_folds_spread_every_label_evenly(y: list[int], folds: int, seed: int) -> None:
    folds = min(folds, len(y))
    fold = folds_of(torch.tensor(y), folds, generator(seed, "folds"))
    assert torch.equal(fold, folds_of(torch.tensor(y), folds, generator(seed, "folds")))
    sizes = torch.bincount(fold, minlength=folds)
    assert len(sizes) == folds
    assert int(sizes.max() - sizes.min()) <= 1
    for label in set(y):
        of_label = torch.bincount(fold[torch.tensor(y) == label], minlength=folds)
        assert int(of_label.max() - of_label.min()) <= 1


def test_folds_are_drawn() -> None:
    y = torch.zeros(40, dtype=torch.int64)
    assert len({tuple(folds_of(y, 4, generator(seed, "folds")).tolist()) for seed in range(5)}) == 5


def test_nobody_is_predicted_by_a_model_that_saw_it() -> None:
    x, y, met = torch.arange(11.0)[:, None], torch.arange(11) % 2, []

    def fit(x: torch.Tensor, y: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        assert not set(x[:, 0].tolist()) & set(held[:, 0].tolist())
        assert len(x) + len(held) == 11
        assert torch.equal(y, x[:, 0].long() % 2)
        met.extend(held[:, 0].tolist())
        return torch.cat([held / 11, 1 - held / 11], 1)

    p = out_of_fold.out_of_fold(fit, x, y, 3, generator=generator(0, "folds"))
    assert sorted(met) == list(range(11))
    torch.testing.assert_close(p[:, 0], torch.arange(11) / 11)


@pytest.mark.parametrize("wrong", [torch.zeros(2), torch.zeros(3, 2, 1), torch.ones(1, 2) / 2, 5 * torch.ones(2, 2)])
def test_a_fit_that_gives_no_probabilities_is_told(wrong: torch.Tensor) -> None:
    with pytest.raises(TamisError, match="probabilities"):
        out_of_fold.out_of_fold(
            lambda x, y, held: wrong, torch.zeros(4, 1), torch.arange(4) % 2, 2, generator=generator(0, "f")
        )


class SlowAum:
    """aum's calculator by its documentation: the mean over updates of the label's logit less the best other's."""

    def __init__(self, folder: str) -> None:
        self.margins: dict[int, list[float]] = {}

    def update(self, z: torch.Tensor, y: torch.Tensor, ids: list[int]) -> dict[int, SimpleNamespace]:
        for row, label, i in zip(z.numpy(), y.tolist(), ids, strict=True):  # a margin in float32, the mean in double
            self.margins.setdefault(i, []).append(float(row[label] - max(v for k, v in enumerate(row) if k != label)))
        return {i: SimpleNamespace(aum=sum(self.margins[i]) / len(self.margins[i])) for i in ids}


def slow_quality(y: np.ndarray, p: np.ndarray, method: str) -> np.ndarray:
    """cleanlab's two scores by its documentation."""
    rows = [(row[label], max(v for k, v in enumerate(row) if k != label)) for row, label in zip(p, y, strict=True)]
    return np.array([own if method == "self_confidence" else (own - other + 1) / 2 for own, other in rows])


def script(path: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A file that is no part of the package, as a module."""
    name = Path(path).stem
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark, on a small batch."""
    module = script("benchmarks/peers.py", monkeypatch)
    for name, value in {"BATCH": 8, "CLASSES": 5, "REPEATS": 1}.items():
        monkeypatch.setattr(module, name, value)
    return module


def test_the_benchmark_holds_us_to_the_documented_formulas(peers: ModuleType) -> None:
    """Neither peer is installed by ``make test``: their documented formulas stand in for them, in plain loops."""
    rows = peers.against_aum(SlowAum) + peers.against_cleanlab(slow_quality)
    assert [row.name.split(",")[0] for row in rows] == ["aum", "aum", "cleanlab", "cleanlab"]
    assert all(row.difference <= row.allowed <= 1e-6 for row in rows)
    assert [row.faster for row in rows] == [50, 50, 0, 0]
    assert all(row.ours > 0 < row.theirs for row in rows)
    assert peers.table(rows).count("\n") == 4


def test_the_benchmark_sees_what_is_not_equal_and_what_is_not_faster(peers: ModuleType) -> None:
    class Off(SlowAum):
        def update(self, *given: object) -> dict[int, SimpleNamespace]:
            return {i: SimpleNamespace(aum=r.aum + 1e-4) for i, r in super().update(*given).items()}  # type: ignore[arg-type]

    assert not any(row.holds for row in peers.against_aum(Off))
    assert not any(row.holds for row in peers.against_cleanlab(lambda *a, method: slow_quality(*a, method) * 0.999))
    assert peers.Row("x", 0.0, 0.0, 1.0, 50.0, 50).holds
    assert not peers.Row("x", 0.0, 0.0, 1.0, 49.0, 50).holds
    assert "NO" in peers.table([peers.Row("x", 1.0, 0.0, 1.0, 1.0)])


@pytest.mark.parametrize("missing", ["aum", "cleanlab"])
def test_the_benchmark_names_a_peer_that_is_not_installed(
    peers: ModuleType, missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("aum", "cleanlab", "cleanlab.rank"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(AUMCalculator=0, get_label_quality_scores=0))
    for name in (missing, f"{missing}.rank"):
        monkeypatch.setitem(sys.modules, name, None)
    assert peers.main([]) == 2
    said = capsys.readouterr().err
    assert missing in said
    assert "pip install 'tamis[peers]'" in said


def test_the_benchmark_names_a_device_that_is_not_there(peers: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert peers.main(["--device", "abacus"]) == 2
    assert "there is no device 'abacus' here" in capsys.readouterr().err


# --- neighbours -------------------------------------------------------------------------------------------------------


def slow_distances(h: list[list[float]], metric: str) -> list[list[float]]:
    if metric == "cosine":
        lengths = [math.sqrt(sum(v * v for v in row)) or 1.0 for row in h]
        h = [[v / length for v in row] for row, length in zip(h, lengths, strict=True)]
    return [[math.sqrt(sum((p - q) ** 2 for p, q in zip(a, b, strict=True))) for b in h] for a in h]


@settings(max_examples=60, deadline=None)
@given(data=st.data(), metric=st.sampled_from(["cosine", "euclidean"]))
def test_nearest_equals_its_twin_with_ties_and_duplicates(data: st.DataObject, metric: str) -> None:
    n, d = data.draw(st.integers(2, 12)), data.draw(st.integers(1, 3))
    k = data.draw(st.integers(1, n - 1))
    h = data.draw(st.lists(st.lists(st.integers(-2, 2).map(float), min_size=d, max_size=d), min_size=n, max_size=n))
    distance, index = nearest(torch.tensor(h), k, metric)  # type: ignore[arg-type]
    slow = slow_distances(h, metric)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        assert distance[i].tolist() == pytest.approx(sorted(slow[i][j] for j in others)[:k], abs=1e-5)
        assert i not in index[i].tolist()
        assert len(set(index[i].tolist())) == k
        assert [slow[i][j] for j in index[i].tolist()] == pytest.approx(distance[i].tolist(), abs=1e-5)
        assert all(a < b for a, b, same in zip(index[i], index[i][1:], distance[i].diff() == 0, strict=False) if same)


def test_an_exact_duplicate_is_at_distance_zero_however_far_from_the_origin() -> None:
    h = randn(40, 64) + 1000
    h[17] = h[3]
    distance, index = nearest(h, 3, "euclidean")
    assert float(distance[3, 0]) == float(distance[17, 0]) == 0
    assert (int(index[3, 0]), int(index[17, 0])) == (17, 3)


def test_more_duplicates_than_neighbours_crowd_nobody_in() -> None:
    distance, index = nearest(torch.ones(9, 2), 3)
    assert not bool((index == torch.arange(9)[:, None]).any())
    assert float(distance.max()) == 0


def test_neighbour_scores_by_hand_and_nan_for_who_was_never_seen() -> None:
    h = torch.tensor([[0.0], [1.0], [math.nan], [3.0], [7.0]])
    y = torch.tensor([0, 1, 0, 1, 1])
    agree = knn_agreement(h, y, k=2, metric="euclidean")
    assert agree.tolist() == pytest.approx([0.0, 0.5, math.nan, 0.5, 1.0], nan_ok=True)
    assert knn_distance(h, 2, "euclidean").tolist() == pytest.approx([2.0, 1.5, math.nan, 2.5, 5.0], nan_ok=True)
    assert knn_distance(h.double(), 2, "euclidean").dtype == torch.float32


def test_cosine_ignores_length_and_euclidean_does_not() -> None:
    h = torch.tensor([[1.0, 0.0], [9.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    assert nearest(h, 1)[1][0].tolist() == [1]
    assert nearest(h, 1, "euclidean")[1][0].tolist() == [3]
    assert float(nearest(h, 3)[0][0, 2]) == pytest.approx(math.sqrt(2))


def fake_faiss() -> ModuleType:
    """What is used of faiss, in three lines of NumPy."""

    class Flat:
        def __init__(self, d: int) -> None:
            self.rows = np.zeros((0, d), np.float32)

        def add(self, rows: np.ndarray) -> None:
            self.rows = np.concatenate([self.rows, rows])

        def search(self, rows: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
            square = ((rows[:, None] - self.rows[None]) ** 2).sum(2)
            index = square.argsort(1, kind="stable")[:, :k]
            return np.take_along_axis(square, index, 1), index

    return SimpleNamespace(IndexFlatL2=Flat)  # type: ignore[return-value]


def test_beyond_the_limit_faiss_is_asked_and_answers_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    h = randn(30, 4)
    want = nearest(h, 5)
    assert neighbours.EXACT_LIMIT == 100_000
    monkeypatch.setattr(neighbours, "EXACT_LIMIT", 29)
    monkeypatch.setattr(neighbours, "_scikit_learn", None)
    monkeypatch.setitem(sys.modules, "faiss", fake_faiss())
    got = nearest(h, 5)
    assert torch.equal(got[0], want[0])
    assert torch.equal(got[1], want[1])


def test_up_to_the_limit_faiss_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "EXACT_LIMIT", 30)
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert nearest(randn(30, 4), 5)[0].shape == (30, 5)


def test_without_faiss_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "EXACT_LIMIT", 3)
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(TamisError, match=r"4 examples \(more than 3\) need faiss; pip install 'tamis\[faiss\]'"):
        nearest(randn(4, 2), 1)


def slow_depth(layers: list[list[list[float]]], y: list[int], predicted: list[int], k: int) -> list[float]:
    votes = []
    for h in layers:
        distance = slow_distances(h, "euclidean")
        row = []
        for i in range(len(y)):
            near = sorted((j for j in range(len(y)) if j != i), key=lambda j, i=i: distance[i][j])[:k]
            count = [sum(y[j] == label for j in near) for label in range(max(y) + 1)]
            row.append(count.index(max(count)))
        votes.append(row)
    depth = []
    for i in range(len(y)):
        right = [votes[m][i] == predicted[i] for m in range(len(layers))]
        depth.append(next((float(m) for m in range(len(layers)) if all(right[m:])), float(len(layers))))
    return depth


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 4])
def test_prediction_depth_equals_its_twin(seed: int, k: int) -> None:
    draw = generator(seed, "layers")
    layers = [torch.randn(24, 2, generator=draw) for _ in range(3)]
    y, predicted = (torch.randint(3, (24,), generator=draw) for _ in range(2))
    got = prediction_depth(layers, y, predicted, k)
    want = slow_depth([h.tolist() for h in layers], y.tolist(), predicted.tolist(), k)
    assert got.tolist() == want
    assert set(want) >= {0.0, 3.0} or k == 1


# --- second split -----------------------------------------------------------------------------------------------------


def test_second_split_forgetting_by_hand() -> None:
    seen = torch.tensor([[1, 0, 0, 0, math.nan], [1, 1, 1, 0, math.nan], [1, 1, 0, 1, math.nan]])
    got = second_split.second_split_forgetting_time(seen)
    assert got.tolist() == pytest.approx([1, 2, math.inf, 3, math.nan], nan_ok=True)


# --- orientation: digits, a seventh of them relabelled ----------------------------------------------------------------


def fit(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, lr: float, seed: int = 0) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    model.train()
    for epoch in range(epochs):
        for part in torch.randperm(len(y), generator=generator(seed, "order", epoch)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(x[part]), y[part]).backward()
            optimizer.step()


@pytest.fixture(scope="module")
def hard_or_not() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Every score of the table on 600 digits, and which of them were relabelled."""
    from sklearn.datasets import load_digits

    images, true = load_digits(return_X_y=True)
    x, true = torch.tensor(images[:600] / 16, dtype=torch.float32), torch.tensor(true[:600]).long()
    flipped = torch.zeros(600, dtype=torch.bool)
    flipped[torch.randperm(600, generator=generator(0, "flip"))[:84]] = True
    shift = torch.randint(1, 10, (600,), generator=generator(0, "shift"))
    y = torch.where(flipped, (true + shift) % 10, true)
    holdout, held_label = torch.tensor(images[600:1200] / 16, dtype=torch.float32), None
    held_label = torch.tensor(load_digits(return_X_y=True)[1][600:1200]).long()

    model, checkpoints = build("mlp", (64,), 10, width=32, seed=0), []
    for stage in range(4):
        fit(model, x, y, 2, 0.02, seed=stage)
        checkpoints.append(build("mlp", (64,), 10, width=32))
        checkpoints[-1].load_state_dict(model.state_dict())
    early = checkpoints[:2]
    reference = build("mlp", (64,), 10, width=32, seed=1)
    fit(reference, holdout, held_label, 6, 0.05)

    def fold(x: torch.Tensor, y: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        fresh = build("mlp", (64,), 10, width=32, seed=2)
        fit(fresh, x, y, 5, 0.05)
        return logits(fresh, held).softmax(1)

    p = out_of_fold.out_of_fold(fold, x, y, 3, generator=generator(0, "folds"))
    half = torch.arange(600) < 300
    second = build("mlp", (64,), 10, width=128, seed=3)
    fit(second, x[half], y[half], 40, 0.05)
    wrong = torch.ones(12, 600).fill_(math.nan)
    for epoch in range(12):
        fit(second, x[~half], y[~half], 1, 0.2, seed=100 + epoch)
        wrong[epoch, half] = (logits(second, x[half]).argmax(1) != y[half]).float()
    h = penultimate(model, x)
    layers = [x, *activations(model, x, ["body.3", "body.6"])]
    needed = {
        "models": early, "checkpoints": checkpoints, "x": x, "y": y, "probabilities": p, "features": h,
        "layers": layers, "predicted": y, "wrong": wrong,
    }  # fmt: skip
    values = {}
    for name, row in MODEL_SCORES.items():
        given = {
            need: reference if (name, need) == ("irreducible_loss", "models") else needed[need] for need in row.needs
        }
        values[name] = row.function(**given) * (1 if row.higher_is_harder else -1)
    return values, flipped


def auroc(score: torch.Tensor, positive: torch.Tensor) -> float:
    above = (score[positive][:, None] > score[~positive][None]).double()
    ties = (score[positive][:, None] == score[~positive][None]).double()
    return float((above + ties / 2).mean())


LEAST = {
    "grand": 0.9, "grand_last_layer": 0.9, "irreducible_loss": 0.95, "out_of_fold_loss": 0.9,
    "self_confidence": 0.9, "normalized_margin": 0.9, "knn_agreement": 0.9, "prediction_depth": 0.9,
    "second_split_forgetting_time": 0.75,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(LEAST))
def test_relabelled_digits_are_harder(name: str, hard_or_not: tuple[dict[str, torch.Tensor], torch.Tensor]) -> None:
    values, flipped = hard_or_not
    score = values[name]
    seen = ~score.isnan()
    assert int(seen.sum()) == (300 if name == "second_split_forgetting_time" else 600)
    assert auroc(score[seen], flipped[seen]) > LEAST[name]


def test_what_lies_between_two_classes_is_harder_by_vog() -> None:
    assert set(MODEL_SCORES) - set(LEAST) == {"knn_distance", "vog"}, "the one reads no label, the other hardly"
    y = labels(200, 2)
    between = torch.arange(200) >= 160
    x = randn(200, 2) * 0.3
    x[:, 0] += torch.where(between, 0.4, 3.0) * (2 * y - 1)
    checkpoints = []
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
    for stage in range(4):
        fit(model, x, y, 2, 0.05, seed=stage)
        checkpoints.append(copy.deepcopy(model))
    assert auroc(gradients.vog(checkpoints, x, y), between) > 0.9


def test_what_is_far_away_is_harder_by_distance() -> None:
    h = torch.cat([randn(60, 8) * 0.1 + 1, randn(6, 8, stream="far") * 3])
    assert auroc(knn_distance(h, 5), torch.arange(66) >= 60) > 0.95


# --- recipes ----------------------------------------------------------------------------------------------------------


def claims(recipe: ModuleType) -> list[tuple[float, float]]:
    """The figures of a recipe's docstring: mean and standard deviation."""
    return [(float(m), float(s)) for m, s in re.findall(r"([\d.]+) ± ([\d.]+)", recipe.__doc__ or "")]


def test_the_recipe_of_the_threshold_class_finds_what_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = script("recipes/aum_threshold.py", monkeypatch)
    noisy, truth = injector("random_labels_exclusive", recipe.RATE)(load("digits").train, generator(0, "corrupt"))
    wrong, found = truth.label != noisy.y, recipe.flagged(noisy, 0)
    (recall, its_sd), (precision, sd), (spared, _) = claims(recipe)
    assert float(found[wrong].float().mean()) == pytest.approx(recall, abs=4 * its_sd)
    assert float(wrong[found].float().mean()) == pytest.approx(precision, abs=2.5 * sd)
    assert spared < 0.05


def test_the_recipe_of_second_split_forgetting_ranks_as_it_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = script("recipes/ssft.py", monkeypatch)
    monkeypatch.setattr(recipe, "NETWORKS", 1)  # of the three that it averages
    noisy, truth = injector("random_labels_exclusive", recipe.RATE)(load("digits").train, generator(0, "corrupt"))
    ((auroc_claimed, _),) = claims(recipe)
    score = recipe.scores(noisy, 0)
    assert auroc_claimed - 0.03 < recipe.auroc(-score, truth.label != noisy.y) <= 1
    assert recipe.auroc(-score, truth.label != noisy.y) == pytest.approx(auroc(-score, truth.label != noisy.y))
    assert float(score.min()) >= 1
    assert float(score.max()) <= recipe.SECOND + 1
