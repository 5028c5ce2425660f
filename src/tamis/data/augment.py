"""Random crop and flip, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.types import TamisError


def augment(x: Tensor, generator: torch.Generator, pad: int = 4, flip: bool = True) -> Tensor:
    """Each picture shifted by up to ``pad`` pixels both ways, with reflected borders, and mirrored half the time.

    The same as padding by reflection, cropping ``H x W`` at a uniform offset in 0..2 pad, and flipping left to right
    with probability 1/2; done as one gather, where ``x`` lives. The same generator state gives the same pictures on
    every device, and the draws depend on B alone.

    Args:
        x: ``[B, C, H, W]``; never edited.
        generator: the source of every draw. It moves on by the same amount for every ``pad`` and ``flip``.
        pad: the largest shift, in pixels, less than H and W.
        flip: whether to mirror at all.

    Returns:
        ``[B, C, H, W]``, a new tensor.

    Raises:
        TamisError: if ``x`` is not ``[B, C, H, W]`` or ``pad`` is not in 0..min(H, W)-1.

    Example:
        >>> x = torch.arange(3.0).view(1, 1, 1, 3)
        >>> augment(x, torch.Generator().manual_seed(0), pad=0, flip=False)
        tensor([[[[0., 1., 2.]]]])

    Fails when: left and right matter (digits, text): set ``flip=False``.

    Reference: the standard augmentation of CIFAR-10, He et al. 2016, arXiv:1512.03385, with reflection for zeros.
    """
    if x.ndim != 4:
        raise TamisError(f"augment needs pictures [B, C, H, W]; it was given {list(x.shape)}.")
    batch, channels, height, width = x.shape
    if not 0 <= pad < min(height, width):
        raise TamisError(f"augment: pad is {pad}, and must be in 0..{min(height, width) - 1} for {height} x {width}.")
    draws = torch.rand(3, batch, generator=generator, device=generator.device).to(x.device)
    shift = (draws[:2] * (2 * pad + 1)).long().clamp_(max=2 * pad) - pad
    rows = _reflect(torch.arange(height, device=x.device) + shift[0, :, None], height)
    columns = torch.arange(width, device=x.device).expand(batch, width)
    if flip:
        columns = torch.where(draws[2, :, None] < 0.5, columns.flip(1), columns)
    columns = _reflect(columns + shift[1, :, None], width)
    source = (rows[:, :, None] * width + columns[:, None, :]).view(batch, 1, height * width)
    return x.flatten(2).gather(2, source.expand(-1, channels, -1)).view(x.shape)


def _reflect(position: Tensor, size: int) -> Tensor:
    """Positions beyond the border, mirrored back at it; the border itself is not repeated."""
    position = position.abs()
    return size - 1 - (size - 1 - position).abs()
