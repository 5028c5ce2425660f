"""Augmentation in torch, on the device, for batches of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def augment(x: Tensor, generator: torch.Generator, pad: int = 4, flip: bool = True) -> Tensor:
    """A random crop after reflecting ``pad`` pixels around, and a left-right flip, each image its own.

    Args:
        x: ``[B, C, H, W]``; not edited. generator: on the CPU, so that a seed decides on any device.

    Returns:
        ``[B, C, H, W]`` in the memory format of ``x``.

    Example:
        >>> augment(torch.zeros(2, 3, 8, 8), torch.Generator().manual_seed(0)).shape
        torch.Size([2, 3, 8, 8])
    """
    b, _, h, w = x.shape
    top, left = torch.randint(0, 2 * pad + 1, (2, b), generator=generator).to(x.device)
    mirrored = torch.randint(0, 2, (b,), generator=generator).to(x.device).bool() & flip
    rows = top[:, None] + torch.arange(h, device=x.device)
    columns = torch.arange(w, device=x.device).expand(b, w)
    columns = left[:, None] + torch.where(mirrored[:, None], columns.flip(1), columns)
    padded = F.pad(x, (pad,) * 4, mode="reflect").permute(0, 2, 3, 1)  # indexing pixels keeps their channels together
    batch = torch.arange(b, device=x.device)[:, None, None]
    return padded[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
