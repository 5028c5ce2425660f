"""The rule of pairs: against explicit gradients, orthogonalised one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tamis.observe.relative import gradient_gram
from tamis.selection.rules import OrthogonalDraw
from tamis.types import Observation, TamisError


def slow(gradients: np.ndarray, size: int, uniforms: np.ndarray) -> list[int]:
    """Gram-Schmidt on the gradients themselves."""
    total, basis, kept = gradients.sum(0), [], []
    for number in range(size):
        says = np.zeros(len(gradients))
        for i, gradient in enumerate(gradients):
            left = gradient - sum((gradient @ b) * b for b in basis)
            if i not in kept and left @ left > 1e-9:
                says[i] = abs(left @ total) / np.linalg.norm(left)
        if says.sum() <= 1e-9:
            says = np.array([float(i not in kept) for i in range(len(gradients))])
        pick = int(np.searchsorted(says.cumsum(), uniforms[number] * says.sum(), side="right"))
        left = gradients[pick] - sum((gradients[pick] @ b) * b for b in basis)
        if left @ left > 1e-9:
            basis.append(left / np.linalg.norm(left))
        kept.append(pick)
    return kept


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("m", "d"), [(12, 20), (12, 3)])
def test_it_draws_as_explicit_orthogonalisation_does(seed: int, m: int, d: int) -> None:
    gradients = torch.randn(m, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients /= (gradients @ gradients.T).diagonal().mean().sqrt()
    selection, _ = OrthogonalDraw(0.5).select({}, gradients @ gradients.T, 6, torch.Generator().manual_seed(seed))
    uniforms = torch.rand(6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).numpy()
    assert selection.keep.tolist() == slow(gradients.numpy(), 6, uniforms)
    assert torch.allclose(selection.multiplier, torch.ones(6))


def test_a_twin_says_nothing_new() -> None:
    gradients = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.1]])
    for seed in range(20):
        selection, _ = OrthogonalDraw(0.5).select({}, gradients @ gradients.T, 2, torch.Generator().manual_seed(seed))
        assert 3 in selection.keep.tolist(), "after one of the twins the fourth alone says something new"


def test_it_refuses_a_vector() -> None:
    with pytest.raises(TamisError, match="Gram matrix"):
        OrthogonalDraw().select({}, torch.rand(4), 2, torch.Generator())


def test_the_gram_matrix_is_that_of_the_last_layers_gradients() -> None:
    h, y = torch.randn(5, 7), torch.tensor([0, 2, 1, 1, 0])
    weight = torch.randn(3, 7, requires_grad=True)
    gradients = []
    for i in range(5):
        (gradient,) = torch.autograd.grad(F.cross_entropy(h[i : i + 1] @ weight.T, y[i : i + 1]), weight)
        gradients.append(gradient.flatten())
    stacked = torch.stack(gradients)
    seen = Observation(torch.arange(5), torch.zeros(5), (h @ weight.T).detach(), y, h)
    assert torch.allclose(gradient_gram(seen), stacked @ stacked.T, atol=1e-5)
    with pytest.raises(TamisError, match="features"):
        gradient_gram(seen._replace(features=None))
