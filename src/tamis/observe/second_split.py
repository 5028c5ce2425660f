"""Second-split forgetting: how soon what was learnt on one half is lost while training goes on with the other."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.observe.reducers import Settled
from tamis.types import TamisError


def second_split_forgetting_time(wrong: Tensor) -> Tensor:
    """The epoch (1, 2, ..) on the second split from which on an example of the first stayed wrong. Lower is harder.

    Formula: ``SSFT_i = min {t : argmax_k z_k(s) != y_i for all s >= t}``; never forgotten is infinite.

    Args:
        wrong: ``[T, N]`` of 0 and 1, after each of T epochs of fine-tuning on the *other* half, in eval mode: whether
            the label was not predicted. NaN = not observed.

    Returns:
        ``[N]`` float32; mislabeled examples are forgotten first, rare ones late, typical ones never.

    Raises:
        TamisError: not ``[T, N]``.

    Example:
        >>> second_split_forgetting_time(torch.tensor([[1.0, 0.0, 0.0, 1.0], [1.0, 1.0, 0.0, 0.0]]))
        tensor([1., 2., inf, inf])

    Fails when: the second stage's learning rate is low (nothing is forgotten), or the example was not learnt in the
    first stage: it then counts as forgotten in the first epoch.

    Reference: Maini et al. 2022, arXiv:2210.15031. ``recipes/ssft.py`` trains both stages and swaps the halves.
    """
    if wrong.ndim != 2:
        raise TamisError(f"wrong must be [T, N], but it is {list(wrong.shape)}.")
    reducer, n = Settled(), wrong.shape[1]
    state = reducer.init(n, wrong.device)
    for epoch in wrong:
        reducer.update(state, torch.arange(n, device=wrong.device), epoch)
    return reducer.compute(state)
