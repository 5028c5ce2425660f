"""Duplicates: examples that are copies of others, exact or nearly so."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tamis.observe.neighbours import EXACT_LIMIT, nearest
from tamis.types import TamisError

CANDIDATES = 5
AXES = 64  # principal components in which candidates are sought
SAMPLE = 5_000  # examples that say which these are
NEAR = 0.13  # of the typical distance between neighbours
SHIFTS = tuple((down, right) for down in (-1, 0, 1) for right in (-1, 0, 1))


class Duplicates(NamedTuple):
    """For each example: how far its most alike other example is, and which that is.

    Attributes:
        distance: ``[N]`` float64 in units of the median distance between nearest neighbours; 0 is an exact copy, inf
            where there is no other.
        other: ``[N]`` int64, -1 where there is none.
        searched: False where the set was too large to look for more than exact copies.
    """

    distance: Tensor
    other: Tensor
    searched: bool


def find_duplicates(x: Tensor, exact: Tensor | None = None) -> Duplicates:
    """The most alike other example of each: exact copies by their numbers, near ones among nearest neighbours.

    The distance is Euclidean; of pictures ``[N, C, H, W]`` it is the least over shifts by a pixel, of what overlaps,
    per pixel. A distance below .13 of the median is a near duplicate.

    Args:
        x: ``[N, ...]`` floating, finite. exact: what :func:`exact_copies` says of them, where that is known.

    Raises:
        TamisError: as for :func:`~tamis.observe.neighbours.nearest`.

    Example:
        >>> x = torch.rand(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> x[30] = x[4]
        >>> x[31, :, 1:] = x[5, :, :-1]
        >>> found = find_duplicates(x)
        >>> found.other[30].item(), found.distance[30].item(), found.other[31].item(), found.distance[31].item() < 0.01
        (4, 0.0, 5, True)

    Fails when: copies were turned, scaled or recoloured; or plain inputs, such as blank ones, are alike by nature.

    Reference: the threshold of cleanlab's Datalab (Northcutt et al. 2021, arXiv:1911.00068 and its software).
    """
    n = len(x)
    if n < 2:
        raise TamisError(f"duplicates need at least two examples, and there are {n}.")
    x = x.detach().cpu().float()
    exact = exact_copies(x) if exact is None else exact
    if n > EXACT_LIMIT and not faiss_is_there():
        return Duplicates(torch.where(exact >= 0, 0.0, torch.inf).double(), exact, False)
    wide = min(CANDIDATES, n - 1)
    index = nearest(_descriptor(x), wide, "euclidean")[1]
    distance = torch.cat(
        [_apart(x, mine, index[mine]) for mine in torch.arange(n).split(max(1, 2**22 // max(1, x[0].numel())))]
    )
    best = distance.min(1)
    typical = best.values[best.values > 0]
    unit = typical.median() if len(typical) else torch.tensor(1.0, dtype=torch.float64)
    other = index.gather(1, best.indices[:, None])[:, 0]
    found = exact >= 0
    return Duplicates(torch.where(found, 0.0, best.values / unit), torch.where(found, exact, other), True)


def exact_copies(x: Tensor) -> Tensor:
    """``[N]`` the first other example with the same numbers (as float32), -1 where there is none.

    Example:
        >>> exact_copies(torch.tensor([[1.0], [2.0], [1.0], [1.0]])).tolist()
        [2, -1, 0, 0]
    """
    import numpy as np

    if len(x) and not x[0].numel():
        raise TamisError(f"duplicates are sought by numbers, and inputs of shape {list(x.shape)} have none.")
    flat = np.ascontiguousarray((x.detach().cpu().float().flatten(1) + 0.0).numpy())  # -0 is 0
    rows = flat.view(np.dtype((np.void, flat.dtype.itemsize * flat.shape[1]))).ravel()
    _, first, group = np.unique(rows, return_index=True, return_inverse=True)
    lead, at = torch.from_numpy(first)[torch.from_numpy(group.ravel())], torch.arange(len(x))
    other = torch.where(lead < at, lead, -1)
    follower = torch.full((len(x),), len(x))
    follower.scatter_reduce_(0, lead[lead < at], at[lead < at], "amin")
    return torch.where((other < 0) & (follower < len(x)), follower, other)


def _descriptor(x: Tensor) -> Tensor:
    """What candidates are sought by; of pictures the modulus of their spectrum, which a shift leaves as it is."""
    if _pictures(x):
        h, w = x.shape[2:]
        window = (
            torch.hann_window(h + 2)[1:-1, None] * torch.hann_window(w + 2)[1:-1]
        )  # what enters at an edge is faint
        x = torch.cat(
            [
                torch.fft.rfft2((part - part.mean((2, 3), keepdim=True)) * window).abs().flatten(1)
                for part in x.split(4096)
            ]
        )
    flat = x.flatten(1)
    if flat.shape[1] <= AXES:
        return flat
    sample = flat[torch.linspace(0, len(x) - 1, min(len(x), SAMPLE)).long()]
    centred = sample - sample.mean(0)
    out: Tensor = flat @ torch.linalg.eigh((centred.T @ centred).double()).eigenvectors[:, -AXES:].float()
    return out


def _pictures(x: Tensor) -> bool:
    return x.ndim == 4 and min(x.shape[2:]) >= 8


def _apart(x: Tensor, mine: Tensor, others: Tensor) -> Tensor:
    """``[m, k]`` float64, root mean square differences; of pictures the least over shifts."""
    out = torch.full(others.shape, torch.inf, dtype=torch.float64)
    for k in range(others.shape[1]):
        a, b = x[mine], x[others[:, k]]
        if not _pictures(x):
            out[:, k] = (a - b).flatten(1).double().square().mean(1).sqrt()
            continue
        h, w = x.shape[2:]
        for down, right in SHIFTS:
            gap = a[:, :, 1 : h - 1, 1 : w - 1] - b[:, :, 1 + down : h - 1 + down, 1 + right : w - 1 + right]
            out[:, k] = torch.minimum(out[:, k], gap.flatten(1).square().mean(1).sqrt().double())
    return out


def faiss_is_there() -> bool:
    import importlib.util

    return importlib.util.find_spec("faiss") is not None
