"""The alignment score: Pearson's correlation over the last visits, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tamis.observe.alignment import WINDOW, Alignment, loss_beside_reference
from tamis.types import Observation, TamisError


@pytest.mark.parametrize("visits", [2, 5, 10, 17])
def test_it_is_pearsons_correlation_over_the_last_visits(visits: int) -> None:
    reducer, n = Alignment(), 6
    state, history = reducer.init(n), [[] for _ in range(n)]  # type: ignore[var-annotated]
    draw = np.random.default_rng(0)
    for _ in range(visits):
        index = draw.permutation(n - 1)[: draw.integers(2, n)]  # unevenly often; the last one never
        value = draw.normal(size=(len(index), 2)).astype(np.float32)
        reducer.update(state, torch.from_numpy(index), torch.from_numpy(value))
        for i, pair in zip(index, value, strict=True):
            history[i].append(pair)
    found = reducer.compute(state)
    assert found[-1].isnan()
    for i, pairs in enumerate(history[:-1]):
        own, reference = np.array(pairs[-WINDOW:]).reshape(-1, 2).T
        if len(own) > 1:
            assert float(found[i]) == pytest.approx(np.corrcoef(own, reference)[0, 1], abs=1e-5)
        elif len(own) == 1:
            assert float(found[i]) == 0


def test_one_value_that_is_not_finite_is_no_observation() -> None:
    state = Alignment().init(2)
    Alignment().update(state, torch.tensor([0, 1]), torch.tensor([[1.0, 2.0], [torch.nan, 2.0]]))
    assert state["count"].tolist() == [1, 0]
    assert int(state["dropped"]) == 1
    with pytest.raises(TamisError, match="value must be"):
        Alignment().update(state, torch.tensor([0, 1]), torch.zeros(2))


def test_the_signal_needs_a_reference() -> None:
    with pytest.raises(TamisError, match="reference set"):
        loss_beside_reference(Observation(torch.arange(1), torch.zeros(1)))
