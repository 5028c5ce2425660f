"""Networks trained anew through the matrix that one run found: separate(..., refit=...)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import tamis
from tamis.loop import Recipe
from tamis.separation.evidence import Evidence, refitted
from tamis.separation.gathering import one_run
from tamis.separation.one_run import watch_one_run
from tamis.types import Arrays, TamisError

RECIPE, CLASSES = Recipe(batch=32), 3


def blobs(wrong: float) -> tuple[Arrays, Tensor]:
    """Three clouds that overlap a little; some of the first class's labels say the second; and which."""
    draw = torch.Generator().manual_seed(1)
    true = torch.arange(600) % CLASSES
    x = 3 * torch.eye(CLASSES, 6)[true] + torch.randn(600, 6, generator=draw)
    noisy = (true == 0) & (torch.rand(600, generator=draw) < wrong)
    return Arrays(x, torch.where(noisy, 1, true), CLASSES), noisy


DATA, WRONG = blobs(0.3)


def network(seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, CLASSES))


def refit(matrix: Tensor, **how: Any) -> Evidence:
    return tamis.cross_fit(DATA, network, matrix, **{"recipe": RECIPE, "seed": 1, **how})


def test_one_run_and_a_refit_are_what_gather_evidence_makes_of_both() -> None:
    whole = tamis.separate(tamis.gather_evidence(DATA, network, recipe=RECIPE), fdr=0.2)
    parts = tamis.separate(one_run(DATA, network, recipe=RECIPE), refit=refit, fdr=0.2)
    assert parts.table.equals(whole.table)
    assert parts.interval == whole.interval
    assert parts.missing == whole.missing


def test_a_watch_beside_a_plain_loop_is_a_first_run_too() -> None:
    first = watch_one_run(DATA, network, recipe=RECIPE)
    alone, both = tamis.separate(first), tamis.separate(first, refit=refit)
    assert alone.interval is None
    assert any("refit=" in sentence for sentence in alone.missing)
    assert both.interval is not None
    assert both.interval[0] <= 0.1 <= both.interval[1], "a third of the classes, of which .3 are wrong"
    assert not any("refit=" in sentence for sentence in both.missing)
    p = torch.from_numpy(both.table["p_mislabeled"].to_numpy().copy())
    assert float(p[WRONG].median()) > 0.8
    assert float(p[~WRONG].median()) < 0.05


def test_refit_learns_through_what_the_first_run_found_and_pays_for_both() -> None:
    first, seen = one_run(DATA, network, recipe=RECIPE, passes=4), []

    def noting(matrix: Tensor) -> Evidence:
        seen.append(matrix)
        return refit(matrix, passes=3)

    both = refitted(first, noting)
    assert first.found is not None
    assert torch.equal(seen[0], first.found)
    assert both.costs == first.costs + refit(first.found, passes=3).costs
    assert both.views is not None
    assert first.views is not None
    assert torch.equal(both.views[-1], first.views[0]), "the first run is one opinion more, after the folds' own"
    assert both.weights is not None
    assert first.weights is not None
    assert both.weights[-1] == first.weights[0]
    assert len(both.weights) == len(both.views)
    refitted(dataclasses.replace(first, found=None), noting)
    assert first.matrix is not None
    assert not torch.equal(seen[1], first.matrix), "classes are pooled"
    assert torch.allclose(seen[1].sum(1), torch.ones(CLASSES, dtype=torch.float64))


def test_views_without_weights_are_all_heard_alike() -> None:
    first = dataclasses.replace(one_run(DATA, network, recipe=RECIPE, passes=4), weights=None)
    both = refitted(first, lambda matrix: dataclasses.replace(refit(matrix, passes=3), weights=None))
    assert both.views is not None
    assert both.weights is not None
    assert both.weights.tolist() == [1.0] * len(both.views)


def test_a_first_run_is_no_fold_of_networks_that_have_no_views() -> None:
    def bare(matrix: Tensor) -> Evidence:
        return dataclasses.replace(refit(matrix, passes=3), views=None, weights=None)

    first = one_run(DATA, network, recipe=RECIPE, passes=4)
    assert first.found is not None
    assert refitted(first, bare).views is None
    assert tamis.separate(first, refit=bare).table.equals(tamis.separate(bare(first.found)).table)


def test_a_refit_that_cannot_be_is_refused_before_it_is_paid() -> None:
    def never(matrix: Tensor) -> Evidence:
        raise AssertionError("it was called")

    first = watch_one_run(DATA, network, recipe=RECIPE, passes=3)
    n = len(DATA.y)
    losses = Evidence(DATA.y, torch.zeros(n), torch.full((n,), 3.0))
    with pytest.raises(TamisError, match="this evidence has none"):
        tamis.separate(losses, refit=never)
    with pytest.raises(TamisError, match="of folds already"):
        tamis.separate(refit(torch.eye(CLASSES), passes=3), refit=never)
    with pytest.raises(TamisError, match="inside"):
        tamis.separate(first, refit=never, fdr=0)
    with pytest.raises(TamisError, match="features must be"):
        tamis.separate(first, refit=never, features=torch.zeros(3, 2))
    with pytest.raises(TamisError, match="refit is True, but"):
        tamis.separate(first, refit=True)  # type: ignore[arg-type]
    for wrong in (None, first, dataclasses.replace(refit(torch.eye(CLASSES), passes=3), label=DATA.y.flip(0))):
        with pytest.raises(TamisError, match="refit must give"):
            tamis.separate(first, refit=lambda matrix, wrong=wrong: wrong)  # type: ignore[misc]


def test_what_a_refit_gives_is_checked_like_any_evidence() -> None:
    first, second = watch_one_run(DATA, network, recipe=RECIPE, passes=3), refit(torch.eye(CLASSES), passes=3)
    with pytest.raises(TamisError, match="two looks"):
        tamis.separate(first, refit=lambda matrix: dataclasses.replace(second, looks=torch.ones(len(DATA.y))))
    with pytest.raises(TamisError, match="probabilities that sum to 1"):
        tamis.separate(first, refit=lambda matrix: dataclasses.replace(second, probabilities=torch.ones(600, CLASSES)))


@pytest.mark.parametrize(
    "matrix", [torch.eye(2), torch.eye(4), torch.ones(3), 5 * torch.eye(3), torch.full((3, 3), torch.nan), "x"]
)
def test_a_matrix_that_is_none_is_refused_before_the_first_step(matrix: Any) -> None:
    with pytest.raises(TamisError, match=r"matrix must be \[3, 3\]"):
        tamis.cross_fit(DATA, network, matrix, recipe=RECIPE)
