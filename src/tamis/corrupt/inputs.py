"""Damaged inputs: one function per kind, each handed to :func:`~tamis.corrupt.nested.rewrite`. Labels stay."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.corrupt.nested import Damage, rewrite
from tamis.types import Arrays

_BLOCK = 256  # examples per draw of noise; every block is drawn whole, so that a shorter run is a head of a longer one


def shuffled_pixels(rate: float) -> Damage:
    """``round(rate * N)`` pictures with their pixels shuffled, all by *one* permutation of the H x W positions.

    ``x'[n, c, p] = x[n, c, pi(p)]``: the channels of a pixel move together, so that colours survive and places do
    not. A picture the permutation leaves as it was (one flat colour) is clean. Tables ``[N, D]`` have their columns
    shuffled.

    Args:
        rate: share of the examples, in [0, 1].

    Raises:
        TamisError: if the rate is outside [0, 1].

    Example:
        >>> data = Arrays(torch.rand(10, 3, 4, 4), torch.zeros(10, dtype=torch.int64), 2)
        >>> noisy, truth = shuffled_pixels(0.5)(data, torch.Generator().manual_seed(0))
        >>> truth.realised_rate, torch.equal(noisy.x.sum((2, 3)).sort().values, data.x.sum((2, 3)).sort().values)
        (0.5, False)

    Fails when: the model does not look at places (an MLP can learn one fixed permutation as well as none).

    Reference: Hu et al. 2021, arXiv:2107.07741; Zhang et al. 2017, arXiv:1611.03530. The paper does not say whether
    channels move together; here they do.
    """

    def change(data: Arrays, chosen: Tensor, generator: torch.Generator) -> Tensor:
        flat = data.x.flatten(2) if data.x.ndim > 2 else data.x
        order = torch.randperm(flat.shape[-1], generator=generator).to(flat.device)
        return flat[chosen][..., order].view(-1, *data.x.shape[1:])

    return rewrite(rate, change)


def gaussian_pixels(rate: float) -> Damage:
    """``round(rate * N)`` pictures replaced by Gaussian noise with the mean and variance of the clean training set.

    ``x'[n, c, p] ~ N(mean_c, var_c)``, independent over pixels and channels; the moments are taken per channel over
    all N clean pictures. Nothing of the picture is left; its label is. Values are not clipped.

    Args:
        rate: share of the examples, in [0, 1].

    Raises:
        TamisError: if the rate is outside [0, 1].

    Example:
        >>> data = Arrays(torch.rand(10, 1, 4, 4), torch.zeros(10, dtype=torch.int64), 2)
        >>> gaussian_pixels(0.3)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.3

    Fails when: a channel never varies; its noise has no variance either.

    Reference: Hu et al. 2021, arXiv:2107.07741; Zhang et al. 2017, arXiv:1611.03530. The paper does not say over what
    mean and variance are taken; here over the training set, per channel.
    """

    def change(data: Arrays, chosen: Tensor, generator: torch.Generator) -> Tensor:
        own = torch.Generator().manual_seed(int(torch.randint(2**62, (), generator=generator)))
        over = [d for d in range(data.x.ndim) if d != 1]
        std, mean = (m[0].cpu() for m in torch.std_mean(data.x, over, correction=0, keepdim=True))
        noise = torch.empty(len(chosen), *data.x.shape[1:])
        for part in noise.split(_BLOCK):
            part.copy_(torch.randn(_BLOCK, *data.x.shape[1:], generator=own)[: len(part)])
        return noise.mul_(std).add_(mean)

    return rewrite(rate, change)
