"""A data set as two splits, and the pure functions on it: validate, normalise, subset."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tamis.types import Arrays, TamisError


@dataclass(frozen=True, eq=False)
class Dataset:
    """A training and a test split, and what has to be said beside every number that comes from them.

    Attributes:
        name: its name in :data:`tamis.data.DATASETS`.
        train, test: the splits; ``x`` ``[N, C, H, W]`` float32, in [0, 1] as loaded raw, in units of the training
            split's standard deviation once normalised; ``y`` ``[N]`` int64.
        note: what a reader must know beside a number ("JPEG-recompressed"); empty when there is nothing.
        source: where it came from, in words.
        class_names: ``K`` names, or empty.
    """

    name: str
    train: Arrays
    test: Arrays
    note: str = ""
    source: str = ""
    class_names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example, ``(C, H, W)``."""
        return tuple(self.train.x.shape[1:])

    @property
    def classes(self) -> int:
        """``K``."""
        return self.train.classes


def validate(arrays: Arrays, where: str = "the data") -> Arrays:
    """Returns ``arrays`` as they are if they are fit for training, and otherwise says the first thing that is not.

    Args:
        arrays: ``x`` ``[N, ...]`` float32 and finite, ``y`` ``[N]`` int64 in 0..K-1, N >= 1, K >= 1.
        where: how an error calls them.

    Raises:
        TamisError: what is wrong, the index of the first bad example, and what would be right.

    Example:
        >>> good = Arrays(torch.zeros(3, 2), torch.tensor([0, 1, 1]), 2)
        >>> validate(good) is good
        True
        >>> validate(good._replace(y=torch.tensor([0, 1, 2])))
        Traceback (most recent call last):
        ...
        tamis.errors.TamisError: the data: label 2 at index 2 is outside 0..1.

    Fails when: it cannot know whether labels are *right*, nor whether ``x`` has been normalised.
    """
    x, y, classes = arrays
    if not isinstance(x, Tensor) or x.dtype != torch.float32:
        raise TamisError(f"{where}: x is {_kind(x)}, and must be a float32 tensor.")
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        raise TamisError(f"{where}: y is {_kind(y)}, and must be an int64 tensor.")
    if x.ndim < 2 or y.ndim != 1:
        raise TamisError(f"{where}: x {list(x.shape)} and y {list(y.shape)} must be [N, ...] and [N].")
    if len(x) != len(y):
        raise TamisError(f"{where}: {len(x)} examples but {len(y)} labels; there must be one label per example.")
    if len(x) == 0 or x[0].numel() == 0:
        raise TamisError(f"{where}: x {list(x.shape)} is empty; at least one example with one value is needed.")
    if classes < 1:
        raise TamisError(f"{where}: {classes} classes; at least one is needed.")
    if (at := _first((y < 0) | (y >= classes))) is not None:
        raise TamisError(f"{where}: label {int(y[at])} at index {at} is outside 0..{classes - 1}.")
    if not torch.isfinite(x.sum()) and (at := _first(~torch.isfinite(x).flatten(1).all(1))) is not None:
        raise TamisError(f"{where}: x holds NaN or an infinity at index {at}; every value must be finite.")
    return arrays


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of ``x`` ``[N, C, ...]`` per channel, ``[C]`` float64 each.

    Summed in float64 over slices of the data, and the squares about the mean: no copy of the whole is made.

    Example:
        >>> mean, std = moments(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
        >>> mean.tolist(), std.tolist()
        ([1.0, 5.0], [1.0, 0.0])
    """
    over = [d for d in range(x.ndim) if d != 1]
    count = x.numel() / x.shape[1]
    mean = torch.stack([part.sum(over, dtype=torch.float64) for part in x.split(1024)]).sum(0) / count
    centre = mean.to(x.dtype).view(-1, *[1] * (x.ndim - 2))
    squares = [(part - centre).square_().sum(over, dtype=torch.float64) for part in x.split(1024)]
    return mean, (torch.stack(squares).sum(0) / count).sqrt()


def normalise(train: Arrays, test: Arrays) -> tuple[Arrays, Arrays]:
    """Both splits minus the mean and over the standard deviation of the *training* split, per channel.

    ``x' = (x - mean_c) / std_c``, with ``std_c = 1`` for a channel that never varies. Pure: new tensors come back.
    Applied twice it is the identity, up to float32 rounding.

    Args:
        train, test: ``x`` ``[N, C, ...]``; for tables ``[N, D]`` every column is a channel.

    Returns:
        The splits, in units of the training split's standard deviation.

    Example:
        >>> train = Arrays(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]), 2)
        >>> test = Arrays(torch.tensor([[3.0]]), torch.tensor([1]), 2)
        >>> a, b = normalise(train, test)
        >>> a.x.flatten().tolist(), b.x.flatten().tolist()
        ([-1.0, 1.0], [2.0])

    Fails when: one outlier carries the variance of a channel; the rest is then squeezed to nothing.
    """
    mean, std = moments(train.x)
    std = torch.where(std > 1e-7, std, torch.ones_like(std))
    view = (-1, *[1] * (train.x.ndim - 2))
    mean, std = mean.float().view(view), std.float().view(view)
    return train._replace(x=(train.x - mean).div_(std)), test._replace(x=(test.x - mean).div_(std))


def subset_index(n: int, size: int, seed: int) -> Tensor:
    """``[size]`` int64: which of ``n`` training examples a subset holds, in its order.

    ``randperm(n)`` of a torch generator seeded with ``seed``, the first ``size`` of it: what anyone can write down and
    draw again without this package. Smaller subsets are prefixes of larger ones.

    Raises:
        TamisError: if ``size`` is not in 1..n.

    Example:
        >>> a, b = subset_index(100, 10, seed=0), subset_index(100, 20, seed=0)
        >>> torch.equal(a, b[:10])
        True
    """
    if not 1 <= size <= n:
        raise TamisError(f"a subset of {size} examples was asked of {n}; the size must be in 1..{n}.")
    return torch.randperm(n, generator=torch.Generator().manual_seed(seed))[:size]


def subset(dataset: Dataset, size: int, seed: int) -> Dataset:
    """``size`` training examples drawn without replacement, normalised by their own statistics; the test split whole.

    Example ``i`` of the result is example ``subset_index(N, size, seed)[i]`` of ``dataset.train``. A subset of the
    whole size is a permutation of it.

    Raises:
        TamisError: if ``size`` is not in 1..N.

    Example:
        >>> from tamis.data import load
        >>> subset(load("digits"), 100, seed=0).train.x.shape
        torch.Size([100, 1, 8, 8])

    Fails when: ``size`` is a few times the number of classes; the draw is not stratified, and a class may be missing.
    """
    train = dataset.train.take(subset_index(len(dataset.train.y), size, seed))
    train, test = normalise(train, dataset.test)
    return replace(dataset, train=train, test=test)


def _first(bad: Tensor) -> int | None:
    where = bad.nonzero()
    return int(where[0, 0]) if len(where) else None


def _kind(value: object) -> str:
    return f"a {str(value.dtype).removeprefix('torch.')} tensor" if isinstance(value, Tensor) else type(value).__name__
