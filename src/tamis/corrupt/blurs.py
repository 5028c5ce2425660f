"""Pictures out of focus, in motion, through frosted glass."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tamis.corrupt.filters import gaussian, lens, motion, zoomed
from tamis.corrupt.nested import Damage
from tamis.corrupt.pictures import Draw, at, pictures


def defocus_blur(rate: float, severity: int = 5) -> Damage:
    """Defocus blur: the lens is not in focus.

    :func:`~tamis.corrupt.filters.lens` with (radius, alias) (.3, .4), (.4, .5), (.5, .6), (1, .2), (1.5, .1) in pixels.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> defocus_blur(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: pictures are larger than 32 x 32; the disk is as wide in pixels, and does less.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    radius, alias = at(severity, ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1)))

    def change(u: Tensor, draw: Draw) -> Tensor:
        return lens(u, radius, alias)

    return pictures(rate, "defocus blur", change)


def glass_blur(rate: float, severity: int = 5) -> Damage:
    """Glass blur: frosted glass, which moves pixels about locally.

    A Gaussian blur; then each pixel but those at the border, from the last to the first, is swapped with one that is 0
    or ``reach`` up and 0 or ``reach`` left of it; then the blur again. (sigma, reach, turns) (.05, 1, 1), (.25, 1, 1),
    (.4, 1, 1), (.25, 1, 2), (.4, 1, 2).

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> glass_blur(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: fine detail is what the label is about, and pictures are small: much is left of a large shape.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: pixels are swapped, as the paper says; the original's assignment between
    views copies one of the two over the other. No rounding to 256 levels.
    """
    sigma, reach, turns = at(severity, ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)))

    def change(u: Tensor, draw: Draw) -> Tensor:
        h, w = u.shape[2:]
        steps = max(h - 2 * reach, 0) * max(w - 2 * reach, 0)
        level = draw.uniform(0, 2 * reach, turns, steps, 2).floor().long().clamp_(max=2 * reach - 1) - reach
        order = torch.from_numpy(swapped(level.numpy(), h, w, reach))
        u = gaussian(u, sigma).flatten(2).gather(2, order[:, None].expand(-1, u.shape[1], -1)).view_as(u)
        return gaussian(u, sigma)

    return pictures(rate, "glass blur", change)


def swapped(move: np.ndarray, h: int, w: int, reach: int) -> np.ndarray:
    """``[n, h w]``: which pixel stands where after the swaps of :func:`glass_blur`.

    Args:
        move: ``[n, turns, steps, 2]`` int, rows and columns to go, a step a pixel, the last pixel first.

    Example:
        >>> swapped(np.full((1, 1, 1, 2), -1), 3, 3, 1)[0].tolist()
        [0, 1, 2, 3, 8, 5, 6, 7, 4]
    """
    n = len(move)
    order, each = np.tile(np.arange(h * w), (n, 1)), np.arange(n)
    for turn in range(move.shape[1]):
        step = 0
        for row in range(h - reach, reach, -1):
            for column in range(w - reach, reach, -1):
                here = row * w + column
                there = here + move[:, turn, step, 0] * w + move[:, turn, step, 1]
                first = order[:, here].copy()
                order[:, here] = order[each, there]
                order[each, there] = first
                step += 1
    return order


def motion_blur(rate: float, severity: int = 5) -> Damage:
    """Motion blur: the camera moves.

    :func:`~tamis.corrupt.filters.motion` at an angle uniform in (-45, 45) degrees, (radius, sigma) (6, 1), (6, 1.5),
    (6, 2), (8, 2), (9, 2.5) in pixels.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> motion_blur(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: a stripe lies along the motion; it stays as it was.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: the filter is written anew after ImageMagick's, without its 256 levels.
    """
    radius, sigma = at(severity, ((6.0, 1.0), (6.0, 1.5), (6.0, 2.0), (8.0, 2.0), (9.0, 2.5)))

    def change(u: Tensor, draw: Draw) -> Tensor:
        return motion(u, radius, sigma, draw.uniform(-45, 45))

    return pictures(rate, "motion blur", change)


def zoom_blur(rate: float, severity: int = 5) -> Damage:
    """Zoom blur: the camera approaches.

    The mean of the picture and of its :func:`~tamis.corrupt.filters.zoomed` by 1, 1.01, 1.02 … up to 1.06, 1.11, 1.15,
    1.20, 1.25.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> zoom_blur(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: what matters is in the middle, which hardly moves; and 8 x 8 pixels at severity 1 do not grow by half of
    one, so that every picture stays as it was.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels. The factors end where the original's
    do by the rounding of its steps, which is twice one step late.
    """
    count = at(severity, (7, 12, 16, 21, 26))

    def change(u: Tensor, draw: Draw) -> Tensor:
        return (u + sum((zoomed(u, 1 + i / 100) for i in range(count)), torch.zeros_like(u))) / (count + 1)

    return pictures(rate, "zoom blur", change)
