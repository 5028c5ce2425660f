"""How unlike the rest of its class an input is, whatever its label: for damaged and foreign inputs."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from tamis.types import TamisError

LEADING = 16  # principal coefficients that are kept one by one
BANDS = 8  # of the others, by energy
CENTRAL = 0.75  # of a group is taken to be what it should be
STEPS = 10  # of trimming; it settles in fewer
ROWS = 16_384  # at a time
ROOM = 16  # times the squares of all inputs are to be numbers: what takes sums of them has some to spare
WIDEST = 1024  # inputs of more numbers are looked at through so many of their principal components


def profile(x: Tensor, once: Tensor | None = None) -> Tensor:
    """What an input is like in a few numbers: where it lies, and how much of it is fine detail.

    With ``z`` the principal coefficients of ``x``, each divided by its standard deviation: the first 16, and of eight
    bands from the broadest to the finest ``log mean z^2``. Noise and shuffled pixels show in the fine bands, blur in
    their lack. Of pictures also the log of the mean absolute and of the root mean square difference of neighbouring
    pixels, across and down.

    Args:
        x: ``[N, ...]`` floating, finite; pictures are ``[N, C, H, W]``. once: ``[N]`` bool, whom the axes are found
            from: without exact copies, since among few inputs a pair of them has an axis of its own. None: all.

    Returns:
        ``[N, F]`` float64, F at most 28.

    Raises:
        TamisError: fewer than two examples, numbers that are not finite, or so large that their squares are not.

    Example:
        >>> x = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> profile(x).shape, profile(x.flatten(1)).shape
        (torch.Size([50, 28]), torch.Size([50, 24]))

    Fails when: what is strange about an input is a matter of meaning and of neither place nor detail.

    Reference: ours; that the detail tells corruptions apart: Yin et al. 2019, arXiv:1906.08988.
    """
    if len(x) < 2 or not x[0].numel() or not bool(x.isfinite().all()):
        raise TamisError(f"a profile needs at least two finite inputs, and these are {list(x.shape)}.")
    several = once is not None and not bool(once.all()) and int(once.sum()) > 1
    mean, axes = _axes(x[once] if several else x)
    edges = torch.logspace(0, math.log2(axes.shape[1]), BANDS + 1, base=2.0).round().long().unique().tolist()
    edges[0] = 0
    return torch.cat([_profile(part.detach().cpu().float(), mean, axes, edges) for part in x.split(ROWS)])


def strangeness(profiles: Tensor, group: Tensor) -> Tensor:
    """Squared distance of an input from what is usual in its group; 1 is the median. Higher is stranger.

    Formula: ``m_i = (f_i - mu)^T C^-1 (f_i - mu) / median``, mu and C the mean and covariance of the three quarters
    of the group that are nearest by the same distance (concentration steps from the median and the median deviation).

    Args:
        profiles: ``[N, F]`` as :func:`profile` gives them. group: ``[N]`` int64, such as the predicted class; groups
            of fewer than 3 F are judged by everything.

    Returns:
        ``[N]`` float64, at least 0.

    Raises:
        TamisError: shapes that do not fit.

    Example:
        >>> f = torch.randn(200, 2, generator=torch.Generator().manual_seed(0))
        >>> f[7] = torch.tensor([9.0, -9.0])
        >>> int(strangeness(f, torch.zeros(200, dtype=torch.int64)).argmax())
        7

    Fails when: more than a quarter of a group is strange in one way: that is then usual.

    Reference: Rousseeuw & Van Driessen 1999, "A fast algorithm for the minimum covariance determinant estimator".
    """
    if profiles.ndim != 2 or group.shape != profiles.shape[:1]:
        raise TamisError(f"profiles must be [N, F] and group [N], and are {list(profiles.shape)}, {list(group.shape)}.")
    if len(profiles) < 2:  # whatever it is, it is usual
        return torch.ones(len(profiles), dtype=torch.float64)
    f, out = profiles.double(), torch.empty(len(profiles), dtype=torch.float64)
    small = torch.ones(len(f), dtype=torch.bool)
    for one in group.unique():
        mine = group == one
        if int(mine.sum()) >= 3 * f.shape[1]:
            out[mine], small = _trimmed(f[mine], f[mine]), small & ~mine
    if bool(small.any()):
        out[small] = _trimmed(f, f[small])
    return out


def _profile(x: Tensor, mean: Tensor, axes: Tensor, edges: list[int]) -> Tensor:
    z = (x.flatten(1) - mean) @ axes
    parts = [z[:, :LEADING]]
    for a, b in itertools.pairwise(edges):
        parts.append(z[:, a:b].square().mean(1, keepdim=True).clamp(min=1e-8).log())
    if x.ndim == 4 and min(x.shape[2:]) > 1:
        for step in (x.diff(dim=3).flatten(1), x.diff(dim=2).flatten(1)):
            size = torch.stack([step.abs().mean(1), step.square().mean(1).sqrt()], 1)
            parts.append(size.clamp(min=1e-6).log())
    return torch.cat(parts, 1).double()


def _axes(x: Tensor) -> tuple[Tensor, Tensor]:
    """The mean ``[D]`` and the principal axes ``[D, <= 1024]``, the largest variance first, each over its deviation."""
    wide = x[0].numel()
    mean = sum(part.flatten(1).double().sum(0) for part in x.split(ROWS)) / len(x)
    mean = torch.as_tensor(mean).cpu().float()
    mix = None
    if wide > WIDEST:  # what is seen through random axes keeps its distances, nearly
        mix = torch.randn(wide, WIDEST, generator=torch.Generator().manual_seed(0)) / WIDEST**0.5
    covariance = torch.zeros(min(wide, WIDEST), min(wide, WIDEST), dtype=torch.float64)
    for part in x.split(ROWS):
        centred = part.detach().cpu().float().flatten(1) - mean
        seen = centred if mix is None else centred @ mix
        covariance += (seen.T @ seen).double()
    spectral = x[0, 0].numel() if x.ndim == 4 else 1  # duplicates are sought in a picture's spectrum: larger by so much
    room = torch.finfo(torch.float32).max / (ROOM * spectral)
    if not float(covariance.trace()) < room:  # nor is it where it is no number
        raise TamisError(
            f"the inputs reach {float(x.detach().double().abs().max()):.2g}, and the squares of such numbers are too "
            "large to be added up; standardise them, or leave out what stands for a missing number."
        )
    variance, axes = torch.linalg.eigh(covariance / (len(x) - 1))
    variance, axes = variance.flip(0), axes.flip(1)
    kept = variance > 1e-6 * variance[0].clamp(min=1e-30)
    kept[0] = True
    axes = (axes[:, kept] / variance[kept].clamp(min=1e-30).sqrt()).float()
    return mean, axes if mix is None else mix @ axes


def _trimmed(f: Tensor, asked: Tensor) -> Tensor:
    """The distance of those ``asked`` about, by the central part of ``f``."""
    middle = f.median(0).values
    deviation = (f - middle).abs().median(0).values.clamp(min=1e-9)
    distance = ((f - middle) / deviation).square().sum(1)
    count = max(f.shape[1] + 2, int(CENTRAL * len(f)))
    for _ in range(STEPS):
        central = f[distance.topk(min(count, len(f)), largest=False).indices]
        mean, covariance = central.mean(0), torch.cov(central.T).reshape(f.shape[1], f.shape[1])
        ridge = 1e-6 * covariance.diagonal().mean().clamp(min=1e-12)
        root = torch.linalg.cholesky(covariance + ridge * torch.eye(f.shape[1], dtype=f.dtype))
        distance = _mahalanobis(f, mean, root)
    return _mahalanobis(asked, mean, root) / distance.median().clamp(min=1e-12)


def _mahalanobis(f: Tensor, mean: Tensor, root: Tensor) -> Tensor:
    out: Tensor = torch.linalg.solve_triangular(root, (f - mean).T, upper=False).square().sum(0)
    return out
