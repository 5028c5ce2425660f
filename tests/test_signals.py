"""Signals against their slow twins, and one table of contract checks over all of them."""

from __future__ import annotations

import math
import random
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tamis.observe import signals
from tamis.observe.signals import SIGNALS
from tamis.types import Observation, TamisError, generator

oracles = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("oracles.py"))))
torch.set_num_threads(1)
ALL = pytest.mark.parametrize("name", sorted(SIGNALS))
OF_LOGITS = pytest.mark.parametrize("name", sorted(set(SIGNALS) - {"loss"}))
HALF = [torch.float16, torch.bfloat16]


def randn(*shape: int, requires_grad: bool = False) -> torch.Tensor:
    return torch.randn(shape, generator=generator(0, "tests"), requires_grad=requires_grad)


def labels(n: int, classes: int) -> torch.Tensor:
    return torch.randint(classes, (n,), generator=generator(0, "labels"))


def observe(z: torch.Tensor, y: torch.Tensor, loss: torch.Tensor | None = None) -> Observation:
    return Observation(torch.arange(len(y)), randn(len(y)) if loss is None else loss, z, y)


def test_the_table_is_the_public_list() -> None:
    public = {
        k
        for k, v in vars(signals).items()
        if not k.startswith("_") and getattr(v, "__module__", "") == signals.__name__
    }
    assert public == set(SIGNALS)
    assert len(SIGNALS) == 8
    assert all(SIGNALS[name] is getattr(signals, name) for name in SIGNALS)
    assert set(oracles.SIGNALS) == set(SIGNALS) - {"loss"}


@OF_LOGITS
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_equals_its_twin(name: str, data: st.DataObject) -> None:
    classes, batch = data.draw(st.integers(2, 6)), data.draw(st.integers(0, 5))
    # Quarters make ties common and are exact in float32.
    logits = st.lists(st.integers(-200, 200).map(lambda v: v / 4), min_size=classes, max_size=classes)
    z = data.draw(st.lists(logits, min_size=batch, max_size=batch))
    y = data.draw(st.lists(st.integers(0, classes - 1), min_size=batch, max_size=batch))
    got = SIGNALS[name](observe(torch.tensor(z).reshape(batch, classes), torch.tensor(y, dtype=torch.int64)))
    assert got.tolist() == pytest.approx([oracles.SIGNALS[name](a, b) for a, b in zip(z, y, strict=True)], abs=2e-6)


@ALL
@pytest.mark.parametrize("batch", [0, 1, 7])
def test_one_float32_per_example_and_inputs_untouched(name: str, batch: int) -> None:
    seen = observe(randn(batch, 5), labels(batch, 5))
    before = [t.clone() for t in seen[:4] if t is not None]
    out = SIGNALS[name](seen)
    assert out.shape == (batch,)
    assert out.dtype == torch.float32
    assert all(torch.equal(a, b) for a, b in zip(before, seen[:4], strict=True))


@ALL
@pytest.mark.parametrize("dtype", [*HALF, torch.float64])
def test_other_dtypes_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    z, y, loss = randn(64, 30).to(dtype) * 8, labels(64, 30), randn(64).to(dtype)
    out = SIGNALS[name](observe(z, y, loss))
    assert out.dtype == torch.float32
    assert torch.equal(out, SIGNALS[name](observe(z.float(), y, loss.float())))


@ALL
def test_nothing_waits_for_the_device(name: str) -> None:
    # On the meta device there are no numbers: whatever asks for one raises.
    floats, ints = torch.zeros(4, 3, device="meta"), torch.zeros(4, dtype=torch.int64, device="meta")
    assert SIGNALS[name](Observation(ints, floats[:, 0], floats, ints)).shape == (4,)


@ALL
def test_no_graph_comes_out(name: str) -> None:
    seen = observe(randn(3, 4, requires_grad=True), torch.tensor([0, 1, 2]), randn(3, requires_grad=True))
    assert not SIGNALS[name](seen).requires_grad


@ALL
def test_global_random_states_are_left_alone(name: str) -> None:
    seen = observe(randn(3, 4), torch.tensor([0, 1, 2]))
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    SIGNALS[name](seen)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002


@pytest.mark.parametrize(
    ("name", "field"),
    [(n, "logits") for n in sorted(set(SIGNALS) - {"loss"})]
    + [(n, "target") for n in sorted(set(SIGNALS) - {"loss", "entropy"})],
)
def test_what_is_missing_is_named(name: str, field: str) -> None:
    with pytest.raises(TamisError, match=f"^{name} needs {field}"):
        SIGNALS[name](observe(randn(2, 3), torch.tensor([0, 1]))._replace(**{field: None}))


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("loss", {"loss": torch.tensor(0.5)}, "one loss per example"),
        ("margin", {"logits": randn(2)}, "margin needs logits"),
        ("el2n", {"logits": randn(3, 3)}, "el2n needs logits"),
        ("wrong", {"logits": randn(2, 1)}, "wrong needs logits of at least two classes"),
        ("label_gap", {"logits": randn(2, 1)}, "label_gap needs logits of at least two classes"),
        ("correct", {"logits": randn(2, 1)}, "correct needs logits of at least two classes"),
        ("confidence", {"target": randn(2, 3)}, "confidence needs target"),
        ("confidence", {"target": torch.zeros(2)}, "confidence needs target"),
    ],
)
def test_wrong_shapes_are_named(name: str, change: dict[str, torch.Tensor], says: str) -> None:
    with pytest.raises(TamisError, match=says):
        SIGNALS[name](observe(randn(2, 3), torch.tensor([0, 1]))._replace(**change))


def test_a_tie_is_not_correct() -> None:
    assert signals.correct(observe(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([0, 1]))).tolist() == [0, 0]
    assert signals.wrong(observe(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), torch.tensor([0, 1]))).tolist() == [1, 1]


def test_derived_signals_are_what_they_say_on_the_values_they_are_derived_from() -> None:
    seen = observe(torch.cat([randn(30, 3), torch.zeros(1, 3), torch.full((1, 3), math.nan)]), labels(32, 3))
    assert set(signals.DERIVED) == {signals.correct, signals.wrong}
    for signal, (base, function) in signals.DERIVED.items():
        assert torch.equal(function(base(seen)).nan_to_num(9), signal(seen).nan_to_num(9))


@OF_LOGITS
def test_nan_logits_do_not_pass_for_a_value(name: str) -> None:
    z = torch.tensor([[math.nan, 0.0, 1.0], [0.0, 0.0, 1.0]])
    out = SIGNALS[name](observe(z, torch.tensor([2, 2])))
    assert out.isnan().tolist() == [True, False]


@OF_LOGITS
def test_extreme_and_masked_logits_stay_in_range(name: str) -> None:
    z = torch.tensor([[1e4, -1e4, -math.inf], [-1e4, 1e4, -math.inf]])
    out = SIGNALS[name](observe(z, torch.tensor([0, 0])))
    want = [oracles.SIGNALS[name](row[:2], 0) for row in z.tolist()]
    assert out.tolist() == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "higher_is_harder"),
    [
        ("loss", 1),
        ("margin", 0),
        ("correct", 0),
        ("wrong", 1),
        ("confidence", 0),
        ("label_gap", 0),
        ("entropy", 1),
        ("el2n", 1),
    ],
)
def test_orientation_on_an_easy_and_a_hard_example(name: str, higher_is_harder: int) -> None:
    z, y = torch.tensor([[4.0, 0.0, 0.0], [0.0, 0.5, 0.0]]), torch.tensor([0, 0])
    easy, hard = SIGNALS[name](observe(z, y, torch.nn.functional.cross_entropy(z, y, reduction="none"))).tolist()
    assert (hard > easy) is bool(higher_is_harder)


def test_el2n_is_the_gradient_of_cross_entropy_with_respect_to_the_logits() -> None:
    z, y = randn(6, 5, requires_grad=True), labels(6, 5)
    torch.nn.functional.cross_entropy(z, y, reduction="sum").backward()
    assert z.grad is not None
    torch.testing.assert_close(signals.el2n(observe(z, y)), z.grad.norm(dim=1))
