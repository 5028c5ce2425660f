"""Label noise: one function per kind, each a proposal of labels handed to :func:`~tamis.corrupt.nested.relabel`."""

from __future__ import annotations

from collections.abc import Sequence

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


LOOK_ALIKE = (6, 3, 4, 1, 2, 7, 0, 5, 9, 8)
"""What each class of Fashion-MNIST is taken for: shirt and T-shirt, trouser and dress, pullover and coat, ..."""


def asymmetric_labels(rate: float, mapping: Sequence[int] | None = None) -> Injector:
    """Class-conditional label noise: ``round(rate * N)`` examples get the label that their class is mistaken for.

    ``y' = map(y)``. Where ``map(c) = c`` the class does not move, and the realised rate is below ``rate``.

    Args:
        rate: share of *all* examples that are drawn, in [0, 1].
        mapping: ``[K]``, a class for every class; None is the look-alike map of Fashion-MNIST's ten classes.

    Raises:
        TamisError: a rate outside [0, 1]; a map that is not one class for every class of the data.

    Example:
        >>> data = Arrays(torch.zeros(1000, 1), torch.arange(1000) % 10, 10)
        >>> noisy, truth = asymmetric_labels(0.3)(data, torch.Generator().manual_seed(0))
        >>> truth.realised_rate, set(noisy.y[truth.label == 0].tolist())
        (0.3, {0, 6})

    Fails when: the rate reaches 1/2: a class is then more often called another than itself.

    Reference: Patrini et al. 2017, arXiv:1609.03683. Differs from DivideMix's code, which draws among all examples and
    flips the half of the classes that move, in saying the rate that is realised.
    """
    moves = tuple(LOOK_ALIKE if mapping is None else mapping)

    def draw(data: Arrays, generator: torch.Generator) -> Tensor:
        if len(moves) != data.classes or any(not 0 <= move < data.classes for move in moves):
            raise TamisError(
                f"the map of asymmetric labels has {len(moves)} classes ({list(moves)}), but the data have "
                f"{data.classes}; give one class for each as mapping."
            )
        return torch.tensor(moves)[data.y.cpu()]

    return relabel(rate, draw)


def pair_flip(rate: float) -> Injector:
    """Pair-flip noise: ``round(rate * N)`` examples get the next class's label, ``y' = (y + 1) mod K``.

    Raises:
        TamisError: a rate outside [0, 1]; data of one class.

    Example:
        >>> data = Arrays(torch.zeros(4, 1), torch.tensor([0, 1, 2, 2]), 3)
        >>> pair_flip(1.0)(data, torch.Generator())[0].y.tolist()
        [1, 2, 0, 0]

    Fails when: it stands for look-alike classes: the next class is next by its number alone.

    Reference: Han et al. 2018 (Co-teaching), arXiv:1804.06872.
    """

    def draw(data: Arrays, generator: torch.Generator) -> Tensor:
        if data.classes < 2:
            raise TamisError("a pair flip needs at least two classes; the data have one.")
        return (data.y.cpu() + 1) % data.classes

    return relabel(rate, draw)
