"""Pictures in [0, 1]: the units that picture corruptions are defined in, from whatever units the data are in."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tamis.types import Arrays, TamisError


class Units(NamedTuple):
    """The values that stand for 0 and for 1, per channel, ``[C, 1, 1]`` float32."""

    low: Tensor
    span: Tensor

    def to_unit(self, x: Tensor) -> Tensor:
        """``(x - low) / span``, in [0, 1] for the data that the units were read from."""
        return ((x.cpu() - self.low) / self.span).clamp_(0, 1)

    def from_unit(self, u: Tensor) -> Tensor:
        """``low + span u``, the way back."""
        return u * self.span + self.low


def units(data: Arrays, what: str) -> Units:
    """The units of the pictures of ``data``: each channel's smallest value in the whole set is 0, its largest is 1.

    Normalisation is affine per channel, and a training set of pictures has black and white in every channel; so this
    undoes it, whatever mean and deviation it used, and is the identity for data that are in [0, 1] already. A channel
    that never varies is 0.

    Args:
        data: ``x`` ``[N, C, H, W]``, clean.
        what: how an error calls what needs pictures.

    Raises:
        TamisError: if the data are no pictures of 1 or 3 channels, of at least 8 x 8 pixels.

    Example:
        >>> x = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 8, 8)
        >>> read = units(Arrays(x * 4 - 3, torch.zeros(3), 2), "this")
        >>> read.to_unit(x * 4 - 3)[:, 0, 0, 0].tolist(), read.from_unit(x)[:, 0, 0, 0].tolist()
        ([0.0, 0.5, 1.0], [-3.0, -1.0, 1.0])

    Fails when: no picture of the set is black, or none white, in some channel; contrast is then stretched.
    """
    x = data.x
    if x.ndim != 4 or x.shape[1] not in (1, 3) or min(x.shape[2:]) < 8:
        raise TamisError(
            f"{what} needs pictures [N, C, H, W] of 1 or 3 channels and at least 8 x 8 pixels; these are "
            f"{list(x.shape)}."
        )
    low, high = x.amin((0, 2, 3)).cpu()[:, None, None], x.amax((0, 2, 3)).cpu()[:, None, None]
    return Units(low, torch.where(high > low, high - low, 1.0))
