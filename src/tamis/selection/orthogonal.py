"""A rule that looks at pairs: keep examples whose gradients are not said by those already kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tamis.selection.rule import State, check_keep, mean_over_kept, rand
from tamis.types import Selection, TamisError

_TINY = 1e-9


@dataclass(frozen=True)
class OrthogonalDraw:
    """Draw ``size`` candidates one by one, each in proportion to how much of the batch's gradient it newly says.

    The priority is the Gram matrix G ``[M, M]`` of the candidates' gradients g_i. With g_i^ = g_i less its projection
    on those drawn so far, the next is drawn with probability proportional to |<g_i^, sum_j g_j>| / ||g_i^||. In terms
    of G this is a pivoted Cholesky decomposition that stops after ``size`` pivots: O(M size^2). What is drawn is not
    drawn again; once nothing is left to say, the rest is drawn uniformly.

    Differs from the paper in that it works on the Gram matrix and never forms a gradient.

    Fails when: outliers and wrong labels have gradients like no other: they are what is most new.

    Reference: Hong et al. 2024 (DivBS), arXiv:2406.04872.
    """

    keep: float = 0.1
    unbiased: ClassVar[bool] = False
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_keep(self.keep)

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        if priority.shape != (m, m):
            raise TamisError(f"OrthogonalDraw needs the Gram matrix [M, M] of gradients, not {list(priority.shape)}.")
        gram = priority.double()
        scale = gram.diagonal().mean().clamp(min=torch.finfo(torch.float64).tiny)
        left = gram.diagonal() / scale  # ||g_i^||^2
        said = gram.sum(1) / scale  # <g_i^, sum_j g_j>
        columns = torch.zeros(m, size, dtype=torch.float64, device=gram.device)
        free = torch.ones(m, dtype=torch.bool, device=gram.device)
        kept, draws = [], rand(size, gram, generator)
        for number in range(size):
            new = torch.where(free & (left > _TINY), said.abs() / left.clamp(min=_TINY).sqrt(), 0.0)
            chance = torch.where(new.sum() > _TINY, new, free.double())
            cumulative = chance.cumsum(0)
            pivot = torch.searchsorted(cumulative, draws[number] * cumulative[-1], right=True).clamp(max=m - 1)
            kept.append(pivot)
            free = free.index_fill(0, pivot[None], False)
            root = left[pivot].clamp(min=_TINY).sqrt()
            column = (gram[:, pivot] / scale - columns @ columns[pivot]) / root
            column = torch.where(left[pivot] > _TINY, column, 0.0)
            columns[:, number] = column
            left = (left - column**2).clamp(min=0)
            said = said - column * (said[pivot] / root)
        return mean_over_kept(torch.stack(kept), m), state
