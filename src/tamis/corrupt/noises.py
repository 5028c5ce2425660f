"""Noise of a sensor, pixel by pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.corrupt.nested import Damage
from tamis.corrupt.pictures import Draw, at, pictures


def gaussian_noise(rate: float, severity: int = 5) -> Damage:
    """Gaussian noise: what a sensor adds in poor light.

    ``u' = u + N(0, std²)`` in every value, std .04, .06, .08, .09, .10.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> gaussian_noise(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the picture is black and white alone; half of the noise is then cut off at 0 and 1.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    std = at(severity, (0.04, 0.06, 0.08, 0.09, 0.10))

    def change(u: Tensor, draw: Draw) -> Tensor:
        return u + std * draw.normal(*u.shape[1:])

    return pictures(rate, "gaussian noise", change)


def shot_noise(rate: float, severity: int = 5) -> Damage:
    """Shot noise: light comes in quanta.

    ``u' = Poisson(c u) / c`` in every value, c 500, 250, 100, 75, 50: a variance of u / c.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> shot_noise(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the picture is dark; black stays black.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    quanta = at(severity, (500.0, 250.0, 100.0, 75.0, 50.0))

    def change(u: Tensor, draw: Draw) -> Tensor:
        return torch.poisson(u * quanta, generator=draw.generator) / quanta

    return pictures(rate, "shot noise", change)


def impulse_noise(rate: float, severity: int = 5) -> Damage:
    """Impulse noise, or salt and pepper: values that are lost.

    Each value, of each channel on its own, becomes 0 or 1 with probability c / 2 each; c .01, .02, .03, .05, .07.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> impulse_noise(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: pictures are small; at severity 1 one of 8 x 8 grey pixels may come through unchanged, and is clean.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing.
    """
    share = at(severity, (0.01, 0.02, 0.03, 0.05, 0.07))

    def change(u: Tensor, draw: Draw) -> Tensor:
        level = draw.uniform(0, 1, *u.shape[1:])
        return torch.where(level < share / 2, 0.0, torch.where(level < share, 1.0, u))

    return pictures(rate, "impulse noise", change)
