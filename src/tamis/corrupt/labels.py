"""Label noise: one function per kind, each a proposal of labels handed to :func:`~tamis.corrupt.nested.relabel`."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.corrupt.nested import Injector, relabel
from tamis.types import Arrays, TamisError


def random_labels(rate: float, exclusive: bool = False) -> Injector:
    """Symmetric label noise: ``round(rate * N)`` examples get a label drawn uniformly.

    Inclusive (the paper's): ``y' ~ U{0..K-1}``. The own label can come back, and that example is clean: the expected
    realised rate is ``rate (K-1)/K``. Exclusive: ``y' ~ U({0..K-1} without y)``; the realised rate is ``rate``.

    Args:
        rate: share of the examples whose label is redrawn, in [0, 1].
        exclusive: draw from the K-1 other classes.

    Raises:
        TamisError: if the rate is outside [0, 1], or ``exclusive`` and there is only one class.

    Example:
        >>> data = Arrays(torch.zeros(1000, 1), torch.zeros(1000, dtype=torch.int64), 10)
        >>> random_labels(0.2, exclusive=True)(data, torch.Generator().manual_seed(0))[1].realised_rate
        0.2
        >>> random_labels(0.2)(data, torch.Generator().manual_seed(0))[1].realised_rate < 0.2
        True

    Fails when: it stands for human error, which prefers look-alike classes; uniform noise is easier to find.

    Reference: Hu et al. 2021, arXiv:2107.07741 (inclusive; as its text reads); exclusive as in Co-teaching, Han et al.
    2018, arXiv:1804.06872.
    """

    def draw(data: Arrays, generator: torch.Generator) -> Tensor:
        if not exclusive:
            return torch.randint(data.classes, data.y.shape, generator=generator)
        if data.classes < 2:
            raise TamisError("exclusive random labels need at least two classes; the data have one.")
        return (data.y.cpu() + torch.randint(1, data.classes, data.y.shape, generator=generator)) % data.classes

    return relabel(rate, draw)
