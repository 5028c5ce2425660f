"""How an audit's effort meets small classes: folds are a matter of the whole set, and no class may cut them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tamis.auditing.effort import PLANS, plan_effort
from tamis.loop import Recipe
from tamis.observe.out_of_fold import folds_of
from tamis.own.reading import from_arrays
from tamis.selection.cost import PriceList
from tamis.separation.gathering import gather_evidence
from tamis.separation.separate import separate
from tamis.types import Arrays, TamisError, generator


def test_more_classes_than_fit_are_refused_before_anything_is_trained() -> None:
    """Ten million rows whose "label" is an identifier that each two of them share."""
    own: Any = SimpleNamespace(kind="table", data=Arrays(
        torch.zeros(1, 1).expand(10**7, 1), torch.zeros(1, dtype=torch.int64).expand(10**7), 5 * 10**6
    ))  # fmt: skip
    with pytest.raises(TamisError, match=r"4 networks say of 10,000,000 examples and 5,000,000 classes would take "
                       r".* GiB of memory .*; so many classes .*: name another column as label="):  # fmt: skip
        plan_effort(own, 10)


def blobs(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    """A cloud for each class, of so many examples."""
    y = np.repeat(np.arange(len(sizes)), sizes)
    at = np.random.default_rng(0).normal(0, 0.3, (len(y), 3))
    at[:, 0] += 2 * y
    return at, y


@pytest.mark.parametrize("sizes", [(60, 60, 2), (60, 60, 3), (2, 2), (2, 3)])
def test_a_tiny_class_leaves_the_folds_of_the_whole_set(sizes: tuple[int, ...]) -> None:
    own = from_arrays(*blobs(*sizes))
    effort, _ = plan_effort(own, 10, price=lambda effort: PriceList(forward=1e-9, step=3e-9))
    assert effort.folds == PLANS[0][1] == 4
    fold = folds_of(own.data.y, effort.folds, generator(0, "folds"))
    last = fold[own.data.y == len(sizes) - 1]
    assert len(set(last.tolist())) == len(last), "each network learns from all of them but one"


@pytest.mark.parametrize("sizes", [(30, 30, 2), (2, 2)])
def test_a_class_absent_from_held_parts_is_separated_all_the_same(sizes: tuple[int, ...]) -> None:
    data = from_arrays(*blobs(*sizes)).data
    evidence = gather_evidence(
        data, lambda seed: nn.Linear(3, len(sizes)), recipe=Recipe.scaled(2), passes=3, folds=4, fold_passes=3
    )
    found = separate(evidence, features=data.x)
    assert found.table["p_mislabeled"].is_between(0, 1).all()
    assert found.interval is not None
    assert np.isfinite([found.noise_rate, *found.interval]).all()
    assert found.transition is not None
    assert found.transition.sum(1).allclose(torch.ones(len(sizes), dtype=torch.float64))
