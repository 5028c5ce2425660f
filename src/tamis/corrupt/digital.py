"""What processing does to a picture: contrast, warps, blocks and compression."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tamis.corrupt.filters import box_matrix, gaussian, sampled
from tamis.corrupt.nested import Damage
from tamis.corrupt.pictures import Draw, at, pictures


def contrast(rate: float, severity: int = 5) -> Damage:
    """Contrast: too little of it.

    ``u' = m + c (u - m)``, m the mean of each channel of each picture, c .75, .5, .4, .3, .15.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> contrast(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the network normalises each picture; contrast alone is then invisible.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    factor = at(severity, (0.75, 0.5, 0.4, 0.3, 0.15))

    def change(u: Tensor, draw: Draw) -> Tensor:
        mean = u.mean((2, 3), keepdim=True)
        return (u - mean) * factor + mean

    return pictures(rate, "contrast", change)


def elastic_transform(rate: float, severity: int = 5) -> Damage:
    """Elastic transform: the picture is drawn on rubber.

    An affine map that moves three corners of the middle by uniform amounts up to ``t`` each way; then each pixel is
    read at ``a`` times uniform noise in (-1, 1), blurred by sigma ``s``, from where it was. In units of the shorter
    side, (a, s, t) (0, 0, .08), (.05, .2, .07), (.08, .06, .06), (.1, .04, .05), (.1, .03, .03).

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> elastic_transform(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: severities are compared: the first is the larger move of the whole, the last is the rougher.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: interpolation is exact, where the original's has 32 steps a pixel; the unit is
    the picture's side, where the original has 32 pixels.
    """
    stretch, smooth, corner = at(
        severity, ((0.0, 0.0, 0.08), (0.05, 0.2, 0.07), (0.08, 0.06, 0.06), (0.1, 0.04, 0.05), (0.1, 0.03, 0.03))
    )

    def change(u: Tensor, draw: Draw) -> Tensor:
        h, w = u.shape[2:]
        side = min(h, w)
        row, column = torch.meshgrid(torch.arange(float(h)), torch.arange(float(w)), indexing="ij")
        source = affine(corners(h, w), draw.uniform(-corner * side, corner * side, 3, 2), row, column)
        u = sampled(u, *source, edge=False)
        noise = gaussian(draw.uniform(-1, 1, 2, h, w), smooth * side, "reflect", 3.0) * (stretch * side)
        return sampled(u, row + noise[:, 1], column + noise[:, 0], edge=True)

    return pictures(rate, "elastic transform", change)


def corners(h: int, w: int) -> Tensor:
    """``[3, 2]``: three corners (x, y) of a square about the middle, two thirds of the shorter side wide.

    Example:
        >>> corners(32, 32).tolist()
        [[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]]
    """
    x, y, reach = w // 2, h // 2, min(h, w) // 3
    return torch.tensor([[x + reach, y + reach], [x + reach, y - reach], [x - reach, y - reach]]).float()


def affine(points: Tensor, moves: Tensor, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and columns ``[n, H, W]`` to read at, so that ``points`` ``[3, 2]`` appear ``moves`` ``[n, 3, 2]`` further.

    Example:
        >>> row, column = affine(corners(8, 8), torch.ones(1, 3, 2), torch.tensor([[3.0]]), torch.tensor([[5.0]]))
        >>> round(row.item(), 3), round(column.item(), 3)
        (2.0, 4.0)
    """
    moved = torch.cat([points + moves, torch.ones(len(moves), 3, 1)], 2)
    back = torch.linalg.solve(moved.double(), points.double().expand(len(moves), 3, 2))
    here = torch.stack([column, row, torch.ones_like(row)], -1).double()
    there = torch.einsum("hwk,nkc->nhwc", here, back).float()
    return there[..., 1], there[..., 0]


def pixelate(rate: float, severity: int = 5) -> Damage:
    """Pixelation: a picture blown up from fewer pixels.

    Down to .95, .9, .85, .75, .65 of each side and up again, both by Pillow's box filter.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> pixelate(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the picture is flat; it is then unchanged, and clean.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    share = at(severity, (0.95, 0.9, 0.85, 0.75, 0.65))

    def change(u: Tensor, draw: Draw) -> Tensor:
        return box_matrix(u.shape[2], share) @ u @ box_matrix(u.shape[3], share).T

    return pictures(rate, "pixelation", change)


def jpeg_compression(rate: float, severity: int = 5) -> Damage:
    """JPEG compression, at a quality that shows.

    Qualities 80, 65, 58, 50, 40, of the picture in 256 levels.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> jpeg_compression(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the data were JPEG files of a worse quality; little is lost a second time.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing; what Pillow's library makes of a quality is its own affair.
    """
    quality = at(severity, (80, 65, 58, 50, 40))

    def change(u: Tensor, draw: Draw) -> Tensor:
        levels = (u * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return torch.stack([_through_jpeg(picture, quality) for picture in levels])

    return pictures(rate, "JPEG compression", change)


def _through_jpeg(picture: np.ndarray, quality: int) -> Tensor:
    held = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(held, "JPEG", quality=quality)
    back = np.asarray(Image.open(held), dtype=np.float32) / 255
    return torch.from_numpy(back.reshape(picture.shape)).permute(2, 0, 1)
