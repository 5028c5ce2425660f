"""Label noise: one function per kind, each a proposal of labels handed to :func:`~tamis.corrupt.nested.relabel`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from tamis.corrupt.nested import Damage, check_rate, relabel
from tamis.types import Arrays, TamisError

LOOK_ALIKE = (6, 3, 4, 1, 2, 7, 0, 5, 9, 8)
"""What each class of Fashion-MNIST is taken for: shirt and T-shirt, trouser and dress, pullover and coat, ..."""

CIFAR10_MAP = (0, 1, 0, 5, 7, 3, 6, 7, 8, 1)
"""The published map of CIFAR-10: truck to automobile, bird to airplane, cat and dog to each other, deer to horse. Five
of ten classes move, so the realised rate is about half of the rate asked for (Patrini et al. 2017)."""


def random_labels(rate: float, exclusive: bool = False) -> Damage:
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


def asymmetric_labels(rate: float, mapping: Sequence[int] | None = None) -> Damage:
    """Class-conditional label noise: ``round(rate * N)`` examples get the label that their class is mistaken for.

    ``y' = map(y)``. Where ``map(c) = c`` the class does not move, and the realised rate is below ``rate``.

    Args:
        rate: share of *all* examples that are drawn, in [0, 1].
        mapping: ``[K]``, a class for every class, such as :data:`CIFAR10_MAP` or what :func:`confusion_map` makes; None
            is :data:`LOOK_ALIKE`, the map of Fashion-MNIST's ten classes, and is refused where there are not ten.

    Raises:
        TamisError: a rate outside [0, 1]; a map that is not one class for every class of the data.

    Example:
        >>> data = Arrays(torch.zeros(1000, 1), torch.arange(1000) % 10, 10)
        >>> noisy, truth = asymmetric_labels(0.3)(data, torch.Generator().manual_seed(0))
        >>> truth.realised_rate, set(noisy.y[truth.label == 0].tolist())
        (0.3, {0, 6})

    Fails when: the rate reaches 1/2: a class is then more often called another than itself.

    Reference: Patrini et al. 2017, arXiv:1609.03683.
    Differs from the paper in: exactly ``round(rate * N)`` of all examples are drawn and flipped where their class
    moves, where the paper flips each with that probability. DivideMix's code draws ``int(rate * N)`` of all and calls
    the result by that rate, also where half of the classes stay; here the truth says the rate that is realised.
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


def pair_flip(rate: float) -> Damage:
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


def confusion_map(confusion: Tensor | Sequence[Sequence[float]]) -> list[int]:
    """The class that each class is most often mistaken for, as a map for :func:`asymmetric_labels`.

    ``map[i] = argmax_{j != i} C[i, j]``; the lowest j of equals; i itself where it is never mistaken.

    Args:
        confusion: ``[K, K]``, counts or probabilities of predicting j (column) for examples of class i (row).

    Returns:
        ``K`` classes.

    Raises:
        TamisError: if it is not a square matrix of finite numbers of at least 0.

    Example:
        >>> confusion_map([[90, 2, 8], [0, 100, 0], [5, 5, 90]])
        [2, 1, 0]

    Fails when: the confusion matrix was measured on examples that the model was trained on; it is then empty beside
    the diagonal, and what is left is chance.
    """
    counts = torch.as_tensor(confusion, dtype=torch.float64).clone()
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise TamisError(f"the confusion matrix is {list(counts.shape)}, and must be [K, K].")
    if not (torch.isfinite(counts) & (counts >= 0)).all():
        raise TamisError("the confusion matrix must hold finite numbers of at least 0; one of its entries is not.")
    counts.fill_diagonal_(0)
    own = torch.arange(len(counts))
    return torch.where(counts.sum(1) > 0, counts.argmax(1), own).tolist() if len(counts) else []


def class_conditional(rate: float, matrix: Tensor | Sequence[Sequence[float]] | None = None) -> Damage:
    """Class-conditional label noise: ``round(rate * N)`` examples get a label drawn from their class's row of T.

    ``P(y' = j | y = i) = T[i, j]``. The rate says how much of the set is redrawn, so that the transition matrix of
    the whole set is ``(1 - rate) I + rate T``: at rate 1 it is T itself, below it the same confusions, thinned. Where
    the own label comes back the example is clean.

    Args:
        rate: share of the examples whose label is redrawn, in [0, 1].
        matrix: ``T`` ``[K, K]``; rows are *true* classes and sum to 1 (the transpose of cleanlab's noise matrix).

    Returns:
        An injector. The expected realised rate is ``rate * (1 - sum_i pi_i T[i, i])``, ``pi_i`` the class shares.

    Raises:
        TamisError: if the rate is outside [0, 1], or the matrix is left out, is not ``[K, K]`` for the K of the data,
            or has a row that is no distribution.

    Example:
        >>> data = Arrays(torch.zeros(1000, 1), torch.zeros(1000, dtype=torch.int64), 2)
        >>> noisy, _ = class_conditional(1.0, [[0.7, 0.3], [0.0, 1.0]])(data, torch.Generator().manual_seed(0))
        >>> abs(float(noisy.y.double().mean()) - 0.3) < 0.05
        True

    Fails when: whether a label is wrong depends on the input and not on its class alone.

    Reference: Natarajan et al. 2013; Patrini et al. 2017, arXiv:1609.03683.
    Differs from the papers in: the rate; they know T alone, which is ours at rate 1.
    """
    check_rate(rate)
    if matrix is None:
        raise TamisError("class-conditional noise needs its transition matrix; give matrix=[[...], ...], rows true.")
    t = torch.as_tensor(matrix, dtype=torch.float64)
    if t.ndim != 2 or t.shape[0] != t.shape[1]:
        raise TamisError(f"the transition matrix is {list(t.shape)}, and must be [K, K].")
    bad = ~((t >= 0).all(1) & ((t.sum(1) - 1).abs() < 1e-6))
    if bad.any():
        row = int(bad.nonzero()[0])
        raise TamisError(
            f"row {row} of the transition matrix is {t[row].tolist()}; rows must be at least 0 and sum to 1."
        )

    def draw(data: Arrays, generator: torch.Generator) -> Tensor:
        if len(t) != data.classes:
            raise TamisError(f"the transition matrix is for {len(t)} classes, and the data have {data.classes}.")
        level = torch.rand(len(data.y), generator=generator, dtype=torch.float64)
        return by_level(t[data.y.cpu()], level)

    return relabel(rate, draw)


def by_level(p: Tensor, level: Tensor) -> Tensor:
    """``[n]`` int64: the class of each row of ``p`` ``[n, K]`` at its ``level`` ``[n]`` in [0, 1), by the inverse of
    its distribution function. A class of probability 0 is never drawn, rounding or not.

    Example:
        >>> by_level(torch.tensor([[0.5, 0.0, 0.5], [0.2, 0.8, 0.0]]), torch.tensor([0.4, 0.999])).tolist()
        [0, 1]
    """
    heights = p.cumsum(1)
    return torch.searchsorted(heights, (level * heights[:, -1])[:, None], right=True)[:, 0]
