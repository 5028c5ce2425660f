"""What separation is given: refused in a sentence before anything is trained, and a seed decides what is drawn."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tamis.loop import Recipe
from tamis.separation.evidence import Evidence
from tamis.separation.gathering import cross_fit, gather_evidence, one_run
from tamis.separation.one_run import plain_run, separate_one_run, watch_one_run
from tamis.separation.separate import _mostly_of_another, check, separate
from tamis.separation.student import Student
from tamis.types import Arrays, TamisError

RECIPE = Recipe(batch=10)
N, CLASSES = 60, 3


def draw(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


DATA = Arrays(torch.randn(N, 4, generator=draw(0)), torch.arange(N) % CLASSES, CLASSES)


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        return make()


def linear(seed: int) -> nn.Module:
    return seeded(seed, lambda: nn.Linear(4, CLASSES))


def dropping(seed: int) -> nn.Module:
    return seeded(seed, lambda: nn.Sequential(nn.Linear(4, 32), nn.Dropout(0.5), nn.Linear(32, CLASSES)))


class Ran(AssertionError):
    """A training step was taken."""


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(student: Student) -> Any:
        raise Ran

    monkeypatch.setattr(Student, "one_pass", refuse)


Entry = Callable[..., Any]


def gathered(data: Arrays, network: Any, **how: Any) -> Evidence:
    return gather_evidence(data, network, **{"recipe": RECIPE, "passes": 3, "fold_passes": 3, **how})


def alone(data: Arrays, network: Any, **how: Any) -> Evidence:
    return one_run(data, network, **{"recipe": RECIPE, "passes": 3, **how})


def crossed(data: Arrays, network: Any, **how: Any) -> Evidence:
    return cross_fit(data, network, torch.eye(CLASSES), **{"recipe": RECIPE, "passes": 3, **how})


def watched(data: Arrays, network: Any, **how: Any) -> Evidence:
    return watch_one_run(data, network, **{"recipe": RECIPE, "passes": 3, **how})


def plainly(data: Arrays, network: Any, **how: Any) -> Any:
    return plain_run(data, network(0), lambda number, said, order: None, **{"recipe": RECIPE, "passes": 3, **how})


ENTRIES = [gathered, alone, crossed, watched, plainly]
BY_NETWORK = [gathered, alone, crossed, watched]


def same(one: Evidence, other: Evidence) -> bool:
    pairs = [(getattr(one, f.name), getattr(other, f.name)) for f in dataclasses.fields(Evidence)]
    return all(
        torch.equal(a.nan_to_num(nan=-1), b.nan_to_num(nan=-1)) if isinstance(a, Tensor) else a == b for a, b in pairs
    )


# ---- What a network draws


@pytest.mark.parametrize("entry", BY_NETWORK)
def test_what_a_network_draws_in_training_is_decided_by_the_seed(entry: Entry) -> None:
    with torch.random.fork_rng([]):
        first = entry(DATA, dropping, seed=4)
        torch.rand(7)
        assert same(first, entry(DATA, dropping, seed=4)), "whatever the session drew before"
        assert not same(first, entry(DATA, dropping, seed=5))


def test_every_pass_draws_anew_and_every_fold_its_own() -> None:
    class Noting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                drawn.append(float(torch.rand(())))
            return super().forward(x)

    drawn: list[float] = []
    gathered(DATA, lambda seed: Noting(4, CLASSES), folds=2)
    assert len(set(drawn)) == len(drawn) == 3 * 6 + 2 * 3 * 3
    first = drawn.copy()
    drawn.clear()
    gathered(DATA, lambda seed: Noting(4, CLASSES), folds=2)
    assert drawn == first


@pytest.mark.usefixtures("unchanged_globals")
@pytest.mark.parametrize("entry", ENTRIES)
def test_the_callers_generator_is_left_where_it_was(entry: Entry) -> None:
    entry(DATA, dropping)


@pytest.mark.parametrize("entry", BY_NETWORK)
def test_trying_a_network_changes_no_number(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that draw their beginning from the session's generator get the draws that they always got."""

    def build(seed: int) -> nn.Module:
        net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))
        built.append([p.detach().clone() for p in net.parameters()])
        return net

    built: list[list[Tensor]] = []
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(9)
        expected = [build(0) for _ in range(5)]
        torch.default_generator.manual_seed(9)
        begun: list[list[Tensor]] = []
        init = Student.__init__

        def note(student: Student, data: Arrays, model: nn.Module, *given: Any, **how: Any) -> None:
            init(student, data, model, *given, **how)
            begun.append([value.clone() for value in model.state_dict().values()])

        monkeypatch.setattr(Student, "__init__", note)
        entry(DATA, build)
    assert begun
    for mine, net in zip(begun, expected, strict=False):
        assert all(torch.equal(a, b) for a, b in zip(mine, net.state_dict().values(), strict=True))


# ---- Data


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d._replace(y=d.y - 1), r"labels must lie in 0\.\.2, but they reach from -1 to 1"),
        (lambda d: d._replace(y=d.y + 1), r"labels must lie in 0\.\.2, but they reach from 1 to 3"),
        (lambda d: d._replace(y=d.y.to(torch.uint8)), r"labels must be \[60\] int64, .* torch\.uint8"),
        (lambda d: d._replace(y=d.y.int()), r"labels must be \[60\] int64"),
        (lambda d: d._replace(y=d.y.float()), r"labels must be \[60\] int64"),
        (lambda d: d._replace(y=d.y[:50]), r"labels must be \[60\] int64, but they are \[50\]"),
        (lambda d: d._replace(y=d.y.repeat(2)), r"labels must be \[60\] int64, but they are \[120\]"),
        (lambda d: d._replace(y=d.y[:, None]), r"labels must be \[60\] int64"),
        (lambda d: d._replace(y=d.y.numpy()), r"y is numpy\.ndarray; .*from_numpy"),
        (lambda d: d._replace(x=d.x.numpy()), r"x is numpy\.ndarray.*from_numpy"),
        (lambda d: d._replace(x=d.x[0, 0], y=d.y[0]), r"x \[N, \.\.\.\] .* x is \[\]"),
        (tuple, r"Arrays.* they are tuple"),
        (lambda d: Arrays(d.x, d.y * 0, 1), "classes is 1, .* at least 2"),
    ],
    ids=["-1", "1..K", "uint8", "int32", "float", "short", "long", "column", "numpy y", "numpy x", "scalar", "tuple",
         "one class"],
)  # fmt: skip
def test_data_that_do_not_fit_are_refused_before_the_first_step(
    entry: Entry, change: Callable[[Arrays], Any], says: str
) -> None:
    with pytest.raises(TamisError, match=says):
        entry(change(DATA), linear)


@pytest.mark.usefixtures("no_training")
def test_less_than_a_batch_is_refused_and_says_to_lower_it() -> None:
    for entry in (alone, watched, plainly):
        with pytest.raises(TamisError, match=r"60 examples are less than a batch of 61.*lower the batch"):
            entry(DATA, linear, recipe=Recipe(batch=61))
        with pytest.raises(Ran):
            entry(DATA, linear, recipe=Recipe(batch=60))
    for entry in (gathered, crossed):
        with pytest.raises(TamisError, match=r"60 examples in 4 folds leave less than a batch of 46.*lower the batch"):
            entry(DATA, linear, recipe=Recipe(batch=46))
        with pytest.raises(Ran):
            entry(DATA, linear, recipe=Recipe(batch=45))
    with pytest.raises(TamisError, match=r"7 examples are less than a batch of 16"):
        gathered(DATA.take(torch.arange(7)), linear, recipe=None, folds=0)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("folds", [1, -1, 61, True, 4.0])
def test_folds_that_are_none_are_refused_before_the_first_run(folds: Any) -> None:
    with pytest.raises(TamisError, match=f"folds is {folds}, but it must be a whole number between 2 and .* 60"):
        gathered(DATA, linear, folds=folds)
    with pytest.raises(TamisError, match=f"folds is {folds}, but"):
        crossed(DATA, linear, folds=folds)
    with pytest.raises(TamisError, match="folds is 0, but"):
        crossed(DATA, linear, folds=0)


@pytest.mark.usefixtures("no_training")
def test_too_few_passes_are_named_as_what_they_were_given_as() -> None:
    with pytest.raises(TamisError, match=r"^passes is 2,"):
        gathered(DATA, linear, passes=2)
    with pytest.raises(TamisError, match=r"^fold_passes is 2, .* at least 3"):
        gathered(DATA, linear, fold_passes=2)
    with pytest.raises(TamisError, match=r"^fold_passes is 3\.5"):
        gathered(DATA, linear, fold_passes=3.5)
    with pytest.raises(TamisError, match=r"^passes is 10\.0"):
        alone(DATA, linear, passes=10.0)
    with pytest.raises(TamisError, match=r"^passes is 2,"):
        crossed(DATA, linear, passes=2)
    with pytest.raises(Ran):
        gathered(DATA, linear, folds=0, fold_passes=2)  # nobody asks for it then


# ---- Networks

ONE = linear(0)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("entry", BY_NETWORK)
@pytest.mark.parametrize(
    ("network", "says"),
    [
        (ONE, r"network is torch\.Linear, but it must be a function of the seed.*lambda seed"),
        (3, r"network is int, but it must be a function of the seed"),
        (lambda: ONE, r"network .* function of the seed"),
        (nn.Linear, r"network .* function of the seed"),
        (lambda seed: None, r"gave NoneType for seed 0, but .*torch\.nn\.Module"),
        (lambda seed: lambda x: x, r"gave function for seed 0, but .*torch\.nn\.Module"),
        (lambda seed: nn.Flatten(), r"nothing to train"),
        (lambda seed: nn.Linear(4, 3).requires_grad_(False), r"nothing to train"),
        (lambda seed: nn.Linear(4, 5), r"logits \[10, 3\].* gave \[10, 5\]"),
        (lambda seed: nn.Linear(4, 2), r"logits \[10, 3\].* gave \[10, 2\]"),
        (lambda seed: nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))), r"gave \[10, 3, 1\]"),
        (lambda seed: nn.LSTM(4, 3), r"logits \[10, 3\].* gave tuple"),
        (lambda seed: nn.Linear(5, 3), r"takes no inputs \[10, 4\] torch\.float32 .*: mat1"),
        (lambda seed: nn.Conv2d(1, 3, 3), r"takes no inputs \[10, 4\] torch\.float32"),
    ],
    ids=["module", "number", "no seed", "class", "None", "function", "no parameters", "frozen", "wide", "narrow",
         "three dimensions", "tuple", "other inputs", "pictures"],
)  # fmt: skip
def test_networks_that_do_not_fit_are_refused_before_the_first_step(entry: Entry, network: Any, says: str) -> None:
    with pytest.raises(TamisError, match=says):
        entry(DATA, network)


@pytest.mark.usefixtures("no_training")
def test_a_plain_run_tries_the_model_it_is_given() -> None:
    for model, says in ((nn.Linear(4, 5), r"logits \[10, 3\]"), ("net", r"torch\.nn\.Module"), (nn.ReLU(), "to train")):
        with pytest.raises(TamisError, match=says):
            plainly(DATA, lambda seed, model=model: model)


@pytest.mark.usefixtures("no_training")
@pytest.mark.parametrize("entry", [gathered, crossed])
@pytest.mark.parametrize("network", [lambda seed: ONE, lambda seed: nn.Sequential(ONE, nn.Softplus())])
def test_one_network_for_all_folds_is_refused(entry: Entry, network: Any) -> None:
    with pytest.raises(TamisError, match=r"for seeds 0 and 1 .* same .* out of fold"):
        entry(DATA, network)


@pytest.mark.usefixtures("no_training")
def test_what_is_shared_and_not_trained_is_no_matter_nor_is_one_network_alone() -> None:
    body = linear(1).requires_grad_(False)
    with pytest.raises(Ran):
        gathered(DATA, lambda seed: nn.Sequential(body, nn.Linear(CLASSES, CLASSES)))
    for entry in (alone, watched):
        with pytest.raises(Ran):
            entry(DATA, lambda seed: ONE)
    with pytest.raises(Ran):
        gathered(DATA, lambda seed: ONE, folds=0)


@pytest.mark.parametrize("entry", BY_NETWORK)
def test_a_network_that_learns_its_width_from_its_first_input_begins_where_the_seed_says(entry: Entry) -> None:
    with torch.random.fork_rng([]):
        first = entry(DATA, lambda seed: nn.LazyLinear(CLASSES))
        torch.rand(7)
        assert same(first, entry(DATA, lambda seed: nn.LazyLinear(CLASSES)))


def test_a_sentence_of_the_network_itself_is_left_as_it_is() -> None:
    class Picky(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            raise TamisError("this network wants pictures.")

    with pytest.raises(TamisError, match=r"^this network wants pictures\.$"):
        alone(DATA, lambda seed: Picky(4, 3))


@pytest.mark.usefixtures("unchanged_globals")
def test_trying_a_network_leaves_no_trace_in_it() -> None:
    net = seeded(0, lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, CLASSES)))
    net[2].eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    Student(DATA, net, RECIPE, 3, 0)
    assert [module.training for module in net.modules()] == [True, True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


# ---- Evidence

LABEL = torch.arange(120) % CLASSES
SURE = torch.full((120, CLASSES), 0.02).index_put((torch.arange(120), LABEL), torch.tensor(0.96))
X = torch.randn(120, 5, generator=draw(0))


def told(p: Tensor | None = SURE, fold: Tensor | None = torch.arange(120) % 2, **more: Any) -> Evidence:
    matrix = 0.8 * torch.eye(CLASSES, dtype=torch.float64) + 0.2 / 3
    whole = {"looks": torch.full((120,), 4.0), "loss": torch.rand(120, generator=draw(1)), "matrix": matrix, **more}
    return Evidence(LABEL, fold=fold, probabilities=p, **whole)


def row(value: float, at: int = 5) -> Tensor:
    return SURE.clone().index_fill_(0, torch.tensor([at]), value)


@pytest.mark.parametrize("read", [separate, separate_one_run])
@pytest.mark.parametrize("fold", [None, torch.arange(120) % 2], ids=["in training", "out of fold"])
@pytest.mark.parametrize(
    ("p", "says"),
    [
        (SURE.log(), r"row 0 sums to -7.86 .* softmax\(1\)"),
        (10 * SURE, r"row 0 sums to 10 "),
        (row(torch.nan), r"row 5 sums to nan"),
        (row(torch.inf), r"row 5 sums to inf"),
        (row(0.0), r"row 5 sums to 0 "),
        (SURE + torch.tensor([-0.1, 0.05, 0.05]), r"row 1 sums to 1 with -0\.08 in it"),
        (SURE[:, :1] * 0 + 1, r"one class"),
        (SURE[:60], r"\[N, K\]"),
    ],
    ids=["logarithms", "tenfold", "nan", "inf", "nothing", "negative", "one class", "half of them"],
)
def test_what_are_no_probabilities_is_refused(read: Any, fold: Tensor | None, p: Tensor, says: str) -> None:
    evidence = told(p, fold)
    if p.shape[1] == 1:
        evidence = dataclasses.replace(evidence, label=torch.zeros_like(LABEL), matrix=torch.ones(1, 1))
    with pytest.raises(TamisError, match=says):
        read(evidence)


@pytest.mark.parametrize("fold", [None, torch.arange(120) % 2], ids=["in training", "out of fold"])
def test_rounding_and_rows_never_looked_at_are_no_matter(fold: Tensor | None) -> None:
    for p in (SURE.half(), SURE.bfloat16(), SURE.double(), SURE + torch.tensor([1e-4, -1e-4, 0.0])):
        assert separate(told(p, fold)).noise_rate < 0.05
    for size in (2, 1000, 30_000):
        many = torch.randn(120, size, generator=draw(3)).softmax(1)
        for p in (many, many.half(), many.bfloat16(), torch.full_like(many, 1 / size).half()):
            check(told(p, fold))
    looks = torch.full((120,), 4.0).index_fill_(0, torch.tensor([5]), 0.0)
    for value in (0.0, 1 / 3):
        assert separate(told(row(value), fold, looks=looks)).noise_rate < 0.05
    with pytest.raises(TamisError, match="row 5 sums to nan"):
        separate(told(row(torch.nan), fold, looks=looks))


def test_what_is_gathered_is_separated() -> None:
    for entry in BY_NETWORK:
        if entry is not crossed:
            separate(entry(DATA, linear), features=DATA.x)


def test_a_single_fold_is_refused() -> None:
    with pytest.raises(TamisError, match=r"all 120 examples are of fold 0.*at least two folds.*None"):
        separate(told(fold=torch.zeros(120, dtype=torch.int64)))
    losses = told(None, torch.zeros(120, dtype=torch.int64), matrix=None)
    assert separate(losses).interval is None, "losses alone are read without folds"


# ---- Features


def frozen(x: np.ndarray) -> np.ndarray:
    x.flags.writeable = False
    return x


PIXELS = (torch.rand(120, 1, 8, 8, generator=draw(1)) * 255).to(torch.uint8)


@pytest.mark.parametrize(
    ("given", "like"),
    [
        (X.numpy(), X),
        (X.double().numpy(), X.double()),
        (frozen(X.numpy().copy()), X),
        (X.flip(1).numpy()[:, ::-1], X),
        (X.tolist(), X.double()),
        (PIXELS.numpy(), PIXELS),
        (PIXELS.numpy().astype(np.uint16), PIXELS),
        (X.clone().requires_grad_(), X),
    ],
    ids=["array", "double", "read-only", "reversed", "list", "pixels", "wide pixels", "with a gradient"],
)
def test_features_may_be_an_array_or_have_a_graph(given: Any, like: Tensor) -> None:
    assert separate(told(), features=given).table.equals(separate(told(), features=like).table)


@pytest.mark.parametrize(
    ("features", "says"),
    [
        (X[:, 0], r"\[120\].* a single number for each is \[N, 1\]"),
        (X.numpy()[:, 0], r"\[120\].* a single number for each is \[N, 1\]"),
        (np.array([["a"] * 2] * 120), r"features must be numbers"),
        ([[1.0], [2.0, 3.0]], r"features must be numbers"),
        (X + 0j, r"features must be numbers"),
        (X.numpy()[:60], r"finite and of all 120 examples"),
        (torch.tensor(1.0), r"finite and of all 120 examples"),
        (np.full((120, 2), np.nan), r"finite and of all 120 examples"),
    ],
    ids=["flat", "flat array", "text", "ragged", "complex", "half of them", "scalar", "nan"],
)
def test_features_that_do_not_fit_are_refused(features: Any, says: str) -> None:
    with pytest.raises(TamisError, match=says):
        separate(told(), features=features)


@pytest.mark.parametrize("size", [1e20, 1e37, 1e300])
@pytest.mark.parametrize("shape", [(5,), (2000,), (1, 12, 12)])
def test_huge_features_are_refused_with_a_sentence(shape: tuple[int, ...], size: float) -> None:
    x = torch.randn(120, *shape, generator=draw(2), dtype=torch.float64)
    one = x.clone()
    one.view(120, -1)[7, 2] = size
    for huge in (size * x, one):
        with pytest.raises(TamisError, match=r"inputs reach .*e\+.*standardise"):
            separate(told(), features=huge)


@pytest.mark.parametrize("shape", [(5,), (1100,), (1, 12, 12)])
def test_large_features_are_read_as_ever(shape: tuple[int, ...]) -> None:
    x = torch.randn(120, *shape, generator=draw(2))
    small, large = (separate(told(), features=size * x).table for size in (1.0, 2.0**40))
    for name in ("p_corrupted", "p_duplicate", "p_rare"):
        assert np.allclose(small[name], large[name], atol=1e-3)
    far = x.double()
    far[:, 0] += 1e18  # moments in nanoseconds
    separate(told(), features=far)


# ---- Classes taken for each other


def test_a_class_that_mostly_bears_another_label_is_said() -> None:
    true = torch.arange(300) % CLASSES
    p = torch.full((300, CLASSES), 0.01).index_put((torch.arange(300), true), torch.tensor(0.98))
    wrong = (true == 2) & (torch.arange(300) % 10 < 7)
    label = torch.where(wrong, 1, true)
    whole = Evidence(label, torch.zeros(300), torch.full((300,), 4.0), torch.arange(300) // 3 % 2, p)
    found = [s for s in separate(whole).missing if "taken for each other" in s]
    assert len(found) == 1
    assert "class 2 is 1" in found[0]
    assert "class 0" not in found[0]
    assert "by hand" in found[0]
    straight = separate(dataclasses.replace(whole, label=true))
    assert not any("taken for each other" in s for s in straight.missing)
    losses = dataclasses.replace(whole, probabilities=None, fold=None, loss=torch.arange(300.0))
    assert not any("taken for each other" in s for s in separate(losses).missing)


def test_many_such_classes_are_counted_and_one_that_nobody_is_of_is_not_named() -> None:
    matrix, everybody = 0.7 * torch.eye(9).roll(1, 1) + 0.3 * torch.eye(9), torch.eye(9)
    matrix[2] = everybody[2]
    assert _mostly_of_another(matrix, everybody[[0, 1, 2, 8]]) == "class 0 is 1, of class 1 is 2, of class 8 is 0"
    found = _mostly_of_another(matrix, everybody)
    assert found.endswith("of class 5 is 6, of 3 more that of others")
    assert _mostly_of_another(torch.full((2, 2), 0.5), torch.eye(2)) == "", "as often its own as the other's"
