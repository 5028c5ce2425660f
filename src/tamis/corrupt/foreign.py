"""Examples from elsewhere: pictures of another data set, or fields that no camera has seen."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from tamis.corrupt.nested import Change, Damage, check_rate
from tamis.corrupt.units import units
from tamis.data import load
from tamis.types import Arrays, Kind, TamisError

_BLOCK = 256  # pictures per draw; every block is drawn whole, so that a shorter run is a head of a longer one
_GRID = 4  # points a side between which a smooth field is interpolated


def out_of_distribution(rate: float, foreign: Tensor | Arrays | str | None = None) -> Damage:
    """Out-of-distribution examples: ``round(rate * N)`` pictures are replaced by foreign ones, with random labels.

    The labels are uniform over the K classes. None of them is right, so that the truth's label is the one that is
    given: ``OUT_OF_DISTRIBUTION``, noisy, and not ``MISLABELED``. Foreign pictures are used once each, in random
    order, and again when there are too few; they are made to fit by :func:`fitted` and put into the units of the data
    (:func:`~tamis.corrupt.units.units`).

    Args:
        rate: share of the examples, in [0, 1].
        foreign: pictures ``[F, C, H, W]`` in [0, 1] of any size and of 1 or 3 channels, or a data set of them, or the
            name of one of :data:`tamis.data.DATASETS`; None is a smooth random field for each
            (:func:`smooth_fields`).

    Raises:
        TamisError: if the rate is outside [0, 1], the data are no pictures, or what is foreign is none, is empty, or
            is not in [0, 1].

    Example:
        >>> data = Arrays(torch.rand(50, 1, 8, 8), torch.zeros(50, dtype=torch.int64), 2)
        >>> truth = out_of_distribution(0.2)(data, torch.Generator().manual_seed(0))[1]
        >>> truth.kind.unique().tolist(), truth.realised_rate
        ([0, 4], 0.2)

    Fails when: foreign and own pictures differ in something trivial, such as smoothness; they are then found by that.

    Reference: the far out-of-distribution setting of Seedat et al. 2024, arXiv:2403.04551.
    """

    def change(data: Arrays, order: Tensor, count: int, generator: torch.Generator) -> Change:
        into = units(data, "out-of-distribution replacement")
        shape = (int(data.x.shape[1]), int(data.x.shape[2]), int(data.x.shape[3]))
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        label = torch.randint(data.classes, (len(order),), generator=generator)[:count]
        if foreign is None:
            fields = smooth_fields(count, shape, own)
        else:
            pictures = _pictures(foreign)
            turn = torch.randperm(len(pictures), generator=own)
            fields = fitted(pictures[turn[torch.arange(count) % len(turn)]], shape)
        return Change(order[:count], into.from_unit(fields), label, label, Kind.OUT_OF_DISTRIBUTION)

    return Damage(check_rate(rate), change, "out-of-distribution replacement")


def smooth_fields(count: int, shape: tuple[int, int, int], generator: torch.Generator) -> Tensor:
    """``[count, C, H, W]`` smooth random fields, each channel from exactly 0 to exactly 1.

    Independent normal values on a 4 x 4 grid, bicubic between them, stretched to [0, 1]. The first of more are the
    same as those of fewer.

    Example:
        >>> fields = smooth_fields(2, (1, 8, 8), torch.Generator().manual_seed(0))
        >>> fields.shape, float(fields.min()), float(fields.max())
        (torch.Size([2, 1, 8, 8]), 0.0, 1.0)
    """
    channels, h, w = shape
    out = torch.empty(count, *shape)
    for part in out.split(_BLOCK):
        grid = torch.randn(_BLOCK, channels, _GRID, _GRID, generator=generator)[: len(part)]
        field = functional.interpolate(grid, (h, w), mode="bicubic", align_corners=True)
        low, high = field.amin((2, 3), keepdim=True), field.amax((2, 3), keepdim=True)
        part.copy_((field - low) / (high - low))
    return out


def fitted(pictures: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """``pictures`` ``[n, C', H', W']`` in [0, 1] as ``[n, C, H, W]``: colours become luma, grey is repeated, and the
    size is changed by antialiased bilinear interpolation.

    Example:
        >>> fitted(torch.ones(2, 3, 32, 32), (1, 28, 28)).shape
        torch.Size([2, 1, 28, 28])
    """
    channels, h, w = shape
    if pictures.shape[1] == 3 and channels == 1:
        pictures = (pictures * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    pictures = pictures.expand(-1, channels, -1, -1)
    if pictures.shape[2:] != (h, w):
        pictures = functional.interpolate(pictures, (h, w), mode="bilinear", antialias=True)
    return pictures.clamp(0, 1)


def _pictures(foreign: Tensor | Arrays | str) -> Tensor:
    if isinstance(foreign, str):
        foreign = load(foreign, normalised=False).train
    x = foreign.x if isinstance(foreign, Arrays) else foreign
    if not isinstance(x, Tensor) or x.ndim != 4 or not len(x) or x.shape[1] not in (1, 3):
        shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise TamisError(f"foreign pictures must be [F, C, H, W] with 1 or 3 channels; these are {shape}.")
    if not (float(x.min()) >= 0 and float(x.max()) <= 1):
        raise TamisError("foreign pictures must be in [0, 1], as they are loaded raw; these go beyond it.")
    return x.cpu().float()
