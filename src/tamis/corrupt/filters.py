"""What the picture corruptions are made of: pure operations on ``[n, C, H, W]``, without a draw."""

from __future__ import annotations

import math

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional


def gaussian_matrix(side: int, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """``[side, side]``: the Gaussian filter along one axis as a matrix, borders included (modes of scipy's filter).

    Example:
        >>> torch.allclose(gaussian_matrix(8, 1.0).sum(1), torch.ones(8))
        True
    """
    eye = np.eye(side, dtype=np.float64)
    return torch.from_numpy(ndimage.gaussian_filter1d(eye, sigma, axis=0, mode=mode, truncate=truncate)).float()


def gaussian(u: Tensor, sigma: float, mode: str = "nearest", truncate: float = 4.0) -> Tensor:
    """``u`` ``[..., H, W]`` blurred along both axes.

    Example:
        >>> flat = torch.full((1, 1, 8, 8), 0.5)
        >>> torch.allclose(gaussian(flat, 2.0), flat)
        True
    """
    if sigma == 0:
        return u
    rows, columns = (gaussian_matrix(side, sigma, mode, truncate) for side in u.shape[-2:])
    return rows @ u @ columns.T


def lens(u: Tensor, radius: float, alias: float) -> Tensor:
    """``u`` through an unfocused lens: a disk of ``radius`` pixels, its edge softened by a 3 x 3 Gaussian ``alias``.

    Borders reflect without the edge itself.

    Example:
        >>> point = torch.zeros(1, 1, 9, 9).index_fill(2, torch.tensor(4), 1.0)
        >>> round(float(lens(point, 1, 0.01)[0, 0, 4, 4]), 6)
        0.6
    """
    reach = int(radius) + 1
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).double()
    soft = torch.exp(-torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64) / (2 * alias**2))
    kernel = functional.conv2d(
        (disk / disk.sum())[None, None], torch.outer(soft, soft)[None, None] / soft.sum() ** 2, padding=1
    )
    wide = functional.pad(u, (reach,) * 4, mode="reflect")
    channels = u.shape[1]
    return functional.conv2d(wide, kernel.float().expand(channels, 1, -1, -1), groups=channels)


def motion(u: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """Each picture moved along its own ``angle`` while it was taken: a one-sided Gaussian, as ImageMagick has it.

    ``u'(x, y) = sum_{i < 2r+1} k_i u(x + ceil(i cos a - 1/2), y + ceil(i sin a - 1/2))``, ``k_i ~ exp(-i²/2σ²)``;
    borders repeat the edge.

    Args:
        u: ``[n, C, H, W]``. radius, sigma: in pixels. angle: ``[n]`` in degrees.

    Example:
        >>> point = torch.zeros(1, 1, 5, 5).index_fill(3, torch.tensor(4), 1.0)
        >>> motion(point, 1, 1.0, torch.zeros(1))[0, 0, 0].gt(0).tolist()
        [False, False, True, True, True]
    """
    n, _, h, w = u.shape
    taps = torch.arange(2 * math.ceil(radius) + 1, dtype=torch.float64)
    k = torch.exp(-(taps**2) / (2 * sigma**2))
    k /= k.sum()
    turn = torch.deg2rad(angle.double())[:, None]
    right = (taps * turn.cos() - 0.5).ceil().long()
    down = (taps * turn.sin() - 0.5).ceil().long()
    each, out = torch.arange(n)[:, None, None], torch.zeros_like(u).permute(0, 2, 3, 1)
    for i, weight in enumerate(k.tolist()):
        row = (torch.arange(h) + down[:, i : i + 1]).clamp_(0, h - 1)
        column = (torch.arange(w) + right[:, i : i + 1]).clamp_(0, w - 1)
        out = out + weight * u[each, :, row[:, :, None], column[:, None, :]]
    return out.permute(0, 3, 1, 2).contiguous()


def zoomed(u: Tensor, factor: float) -> Tensor:
    """The middle of ``u`` ``[n, C, H, W]``, ``factor`` times larger, at the same size: bilinear, corners aligned.

    Example:
        >>> u = torch.rand(1, 1, 8, 8)
        >>> torch.allclose(zoomed(u, 1.0), u)
        True
    """
    sides, size = u.shape[2:], []
    for axis, side in enumerate(sides):
        part = math.ceil(side / factor)
        u = u.narrow(2 + axis, (side - part) // 2, part)
        size.append(round(part * factor))
    u = functional.interpolate(u, size, mode="bilinear", align_corners=True)
    for axis, side in enumerate(sides):
        u = u.narrow(2 + axis, (size[axis] - side) // 2, side)
    return u


def sampled(u: Tensor, row: Tensor, column: Tensor, edge: bool) -> Tensor:
    """``u`` ``[n, C, H, W]`` read at ``row``, ``column`` ``[n, H, W]`` in pixels, bilinear; borders reflect.

    Args:
        edge: whether the edge pixel is repeated by the reflection (scipy's "reflect") or not (its "mirror").

    Example:
        >>> u = torch.tensor([0.0, 1.0, 2.0]).view(1, 1, 1, 3)
        >>> at = torch.tensor([-1.0, 0.5, 3.0]).view(1, 1, 3)
        >>> sampled(u, torch.zeros(1, 1, 3), at, edge=True).flatten().tolist()
        [0.0, 0.5, 2.0]
    """

    def inside(i: Tensor, side: int) -> Tensor:
        period = 2 * side if edge else max(2 * side - 2, 1)
        i = i.remainder(period)
        return torch.minimum(i, period - i - int(edge))

    h, w = u.shape[2:]
    top, left = row.floor(), column.floor()
    out = torch.zeros_like(u)
    for down in (0, 1):
        for right in (0, 1):
            weight = ((row - top - (1 - down)).abs() * (column - left - (1 - right)).abs())[:, None]
            at = inside(top.long() + down, h) * w + inside(left.long() + right, w)
            here = u.flatten(2).gather(2, at.flatten(1)[:, None].expand(-1, u.shape[1], -1)).view_as(u)
            out = out + weight.to(u) * here
    return out


def box_matrix(side: int, share: float) -> Tensor:
    """``[side, side]``: down to ``int(side * share)`` pixels and up again with Pillow's box filter, as a matrix.

    Example:
        >>> box_matrix(4, 0.5).tolist()[0]
        [0.5, 0.5, 0.0, 0.0]
    """
    few = int(side * share)
    down = Image.fromarray(np.eye(side, dtype=np.float32)).resize((side, few), Image.Resampling.BOX)
    up = Image.fromarray(np.eye(few, dtype=np.float32)).resize((few, side), Image.Resampling.BOX)
    return torch.from_numpy(np.array(up) @ np.array(down))


def luma(u: Tensor) -> Tensor:
    """``[n, 1, H, W]``: the brightness of ``u``; a grey picture is its own.

    Example:
        >>> luma(torch.ones(1, 3, 1, 1)).allclose(torch.ones(1))
        True
    """
    return u if u.shape[1] == 1 else (u * u.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
