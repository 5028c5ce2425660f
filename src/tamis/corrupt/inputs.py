"""Damaged inputs: the image changes, the label stays."""

from __future__ import annotations

import torch

from tamis.corrupt.nested import Injector, check_rate, touched, truth_of
from tamis.types import Arrays, Kind, Truth, generator as stream


def shuffled_pixels(rate: float) -> Injector:
    """Apply one fixed random permutation of the pixels to ``rate`` of the images (Hu et al. 2021).

    Positions are permuted; the channels of a pixel stay together. Data without positions has its features permuted.
    """
    share = check_rate(rate)

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        where = touched(len(data.y), share, generator)
        spatial = data.x.ndim > 2
        x = data.x.clone()
        flat = x.flatten(2) if spatial else x
        permutation = torch.randperm(flat.shape[-1], generator=generator)
        flat[where] = flat[where][..., permutation]
        after = data._replace(x=flat.view_as(x))
        return after, truth_of(data, after, where, Kind.CORRUPTED, share)

    return inject


def gaussian_pixels(rate: float) -> Injector:
    """Replace ``rate`` of the images by Gaussian pixels of the same mean and variance (Hu et al. 2021).

    Mean and variance are those of the whole training set, per channel. Every example has a draw of its own, whatever
    the rate.
    """
    share = check_rate(rate)

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        where = touched(len(data.y), share, generator)
        over = [0, *range(2, data.x.ndim)]
        std, mean = torch.std_mean(data.x, dim=over, keepdim=True, correction=0)
        x = data.x.clone()
        seed = int(torch.randint(0, 2**31, (1,), generator=generator))
        for index in where.tolist():
            noise = torch.randn(data.x.shape[1:], generator=stream(seed, "pixels", index))
            x[index] = noise * std[0] + mean[0]
        after = data._replace(x=x)
        return after, truth_of(data, after, where, Kind.CORRUPTED, share)

    return inject
