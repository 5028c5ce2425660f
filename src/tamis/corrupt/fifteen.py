"""The fifteen kinds of Hendrycks & Dietterich, as a table, and all of them in one set."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tamis.corrupt.blurs import defocus_blur, glass_blur, motion_blur, zoom_blur
from tamis.corrupt.digital import contrast, elastic_transform, jpeg_compression, pixelate
from tamis.corrupt.nested import Change, Damage, check_rate
from tamis.corrupt.noises import gaussian_noise, impulse_noise, shot_noise
from tamis.corrupt.weather import brightness, fog, frost, snow
from tamis.types import Arrays, Kind

CORRUPTIONS: dict[str, Callable[..., Damage]] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}


def fifteen_corruptions(rate: float, severity: int = 5) -> Damage:
    """All fifteen kinds in one set: ``round(rate * N)`` pictures, each corrupted in one way, the kinds in turn.

    The i-th chosen bears kind ``i mod 15`` of :data:`CORRUPTIONS`, so that each kind has its fifteenth at every rate.

    Args:
        rate: share of the examples, in [0, 1]. severity: 1 to 5.

    Raises:
        TamisError: if the rate or the severity is out of range, or the data are no pictures of at least 8 x 8 pixels.

    Example:
        >>> data = Arrays(torch.rand(60, 1, 16, 16), torch.zeros(60, dtype=torch.int64), 2)
        >>> fifteen_corruptions(0.5)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.5

    Fails when: one number should say how bad it is; at one severity some kinds are barely seen and others spoil all.

    Reference: Hendrycks & Dietterich 2019, arXiv:1903.12261.
    """
    kinds = [make(rate, severity) for make in CORRUPTIONS.values()]

    def change(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        done = [
            kind.change(data, order[i :: len(kinds)], len(range(i, count, len(kinds))), generator)
            for i, kind in enumerate(kinds)
        ]
        x = torch.cat([part.x for part in done if part.x is not None])
        return Change(torch.cat([part.at for part in done]), x=x, kind=Kind.CORRUPTED)

    return Damage(check_rate(rate), change, "fifteen corruptions")
