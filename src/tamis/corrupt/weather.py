"""Snow, frost, fog and light."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.corrupt.filters import luma, motion, zoomed
from tamis.corrupt.nested import Damage
from tamis.corrupt.pictures import Draw, at, pictures

_ICE = (0.82, 0.92, 1.0)  # frost is bluish; its luma is that of a grey picture


def snow(rate: float, severity: int = 5) -> Damage:
    """Snow: flakes that fall, before a paler picture.

    ``u' = k u + (1 - k) max(u, 1.5 luma + .5) + s + s turned by 180°``, s normal noise N(m, d²), zoomed, set to 0 below
    a threshold, and in motion along an angle uniform in (-135, -45) degrees. The seven constants stand in the code.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> snow(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the picture is white already.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels. A grey picture is its own luma.
    """
    mean, std, zoom, threshold, radius, sigma, keep = at(
        severity,
        (
            (0.1, 0.2, 1.0, 0.6, 8.0, 3.0, 0.95),
            (0.1, 0.2, 1.0, 0.5, 10.0, 4.0, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10.0, 4.0, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12.0, 6.0, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14.0, 12.0, 0.8),
        ),
    )

    def change(u: Tensor, draw: Draw) -> Tensor:
        flakes = zoomed(mean + std * draw.normal(1, *u.shape[2:]), zoom)
        flakes = torch.where(flakes < threshold, 0.0, flakes).clamp(0, 1)
        flakes = motion(flakes, radius, sigma, draw.uniform(-135, -45))
        pale = keep * u + (1 - keep) * torch.maximum(u, luma(u) * 1.5 + 0.5)
        return pale + flakes + flakes.flip(2, 3)

    return pictures(rate, "snow", change)


def frost(rate: float, severity: int = 5) -> Damage:
    """Frost: ice crystals on the window.

    ``u' = a u + b ice``, (a, b) (1, .2), (1, .3), (.9, .4), (.85, .4), (.75, .45).

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> frost(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: numbers are compared with those of CIFAR-10-C: the ice is another.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: the ice is made, not cut from photographs: ridges ``1 - |2 p - 1|`` of a
    fractal field p (:func:`plasma`), bluish in colour.
    """
    keep, ice = at(severity, ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)))

    def change(u: Tensor, draw: Draw) -> Tensor:
        ridge = 1 - (2 * plasma(draw, u.shape[2], u.shape[3], 2.0) - 1).abs()
        tint = u.new_tensor(_ICE)[:, None, None]
        crystals = ridge[:, None] * (tint if u.shape[1] == 3 else luma(tint[None])[0])
        return keep * u + ice * crystals

    return pictures(rate, "frost", change)


def fog(rate: float, severity: int = 5) -> Damage:
    """Fog, thicker here and thinner there.

    ``u' = (u + c p) max(u) / (max(u) + c)``, p a fractal field (:func:`plasma`), (c, decay) (.2, 3), (.5, 3),
    (.75, 2.5), (1, 2), (1.5, 1.75).

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> fog(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the picture is black; fog that is lit by nothing is black too.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    thickness, decay = at(severity, ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75)))

    def change(u: Tensor, draw: Draw) -> Tensor:
        top = u.amax((1, 2, 3), keepdim=True)
        return (u + thickness * plasma(draw, u.shape[2], u.shape[3], decay)[:, None]) * top / (top + thickness)

    return pictures(rate, "fog", change)


def brightness(rate: float, severity: int = 5) -> Damage:
    """Brightness: too much light.

    The V of HSV grows by .05, .1, .15, .2, .3, up to 1; hue and saturation stay, so that a pixel's channels grow by one
    factor. For a grey picture it is addition.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> from tamis.types import Arrays
        >>> data = Arrays(torch.rand(20, 3, 32, 32), torch.zeros(20, dtype=torch.int64), 2)
        >>> brightness(0.25)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.25

    Fails when: the network normalises each picture; brightness alone is then invisible.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261, with the constants of CIFAR-10-C.
    Differs from the original in: nothing but the rounding to 256 levels.
    """
    light = at(severity, (0.05, 0.1, 0.15, 0.2, 0.3))

    def change(u: Tensor, draw: Draw) -> Tensor:
        value = u.amax(1, keepdim=True)
        lit = (value + light).clamp(max=1)
        return torch.where(value > 0, u * (lit / value.clamp(min=1e-12)), lit)

    return pictures(rate, "brightness", change)


def plasma(draw: Draw, h: int, w: int, decay: float) -> Tensor:
    """``[n, h, w]``: fractal fields from 0 to 1, by the diamond-square algorithm on a torus.

    On a square of the next power of two: the middle of each square, then of each diamond, is the mean of its four
    corners plus noise uniform in (-a², a²), where a starts at 100 and is divided by ``decay`` at each halving. The
    whole is stretched to [0, 1] before it is cut to size.

    Example:
        >>> fields = plasma(Draw(2, torch.Generator().manual_seed(0)), 8, 8, decay=2.0)
        >>> fields.shape, float(fields.min()), float(fields.max())
        (torch.Size([2, 8, 8]), 0.0, 1.0)

    Reference: Fournier, Fussell & Carpenter 1982.
    """
    side = 1 << (max(h, w) - 1).bit_length()
    field, step, wibble = torch.zeros(draw.n, side, side), side, 100.0
    while step >= 2:
        half, parts = step // 2, side // step

        def noise(parts: int = parts, reach: float = wibble**2) -> Tensor:
            return draw.uniform(-reach, reach, parts, parts)

        corner = field[:, ::step, ::step]
        pair = corner + corner.roll(-1, 1)
        field[:, half::step, half::step] = (pair + pair.roll(-1, 2)) / 4 + noise()
        middle, corner = field[:, half::step, half::step], field[:, ::step, ::step]
        sideways = middle + middle.roll(1, 1) + corner + corner.roll(-1, 2)
        upright = middle + middle.roll(1, 2) + corner + corner.roll(-1, 1)
        field[:, ::step, half::step] = sideways / 4 + noise()
        field[:, half::step, ::step] = upright / 4 + noise()
        step, wibble = half, wibble / decay
    field = field - field.amin((1, 2), keepdim=True)
    return (field / field.amax((1, 2), keepdim=True))[:, :h, :w]
