"""Stable indices without rewriting the data set."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from tamis.types import TamisError


class Indexed(Dataset[Any]):
    """Any map-style data set, with each item's position in front of it: item ``i`` becomes ``(i, *item)``.

    Tuples, lists and named tuples become a tuple ``(i, *item)``; mappings become a dict with a further key ``index``;
    anything else becomes ``(i, item)``. Length, workers and batched fetching (``__getitems__``) are the wrapped data
    set's own; it stays reachable as ``.dataset``. Under the default collation the indices are an int64 tensor.

    Raises:
        TamisError: if the data set has no length or no items by position, or an item has a key ``index`` already.

    Example:
        >>> from torch.utils.data import DataLoader
        >>> for index, x, y in DataLoader(Indexed([(0.5, 1), (1.5, 0), (2.5, 1)]), batch_size=2):
        ...     print(index.tolist(), x.tolist(), y.tolist())
        [0, 1] [0.5, 1.5] [1, 0]
        [2] [2.5] [1]

    Fails when: the wrapped data set is itself a subset or a shuffled view: the index is the position in *that*. Wrap
    the full training set, and let the batch sampler choose.
    """

    def __init__(self, dataset: Any) -> None:
        by_position = hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")
        if isinstance(dataset, IterableDataset) or not by_position:
            kind = type(dataset).__name__
            raise TamisError(f"Indexed needs a data set with a length and items by position; a {kind} has none.")
        if isinstance(dataset, Mapping):
            raise TamisError("Indexed needs items by position 0..N-1; a mapping of keys has none.")
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: Any) -> Any:
        i = self._position(index)
        return _with_index(i, self.dataset[i])

    def __getitems__(self, indices: Sequence[Any]) -> list[Any]:
        positions = [self._position(index) for index in indices]
        fetch = getattr(self.dataset, "__getitems__", None)
        items = fetch(positions) if fetch else [self.dataset[i] for i in positions]
        return [_with_index(i, item) for i, item in zip(positions, items, strict=True)]

    def _position(self, index: Any) -> int:
        i, n = operator.index(index), len(self)
        if not -n <= i < n:
            raise IndexError(f"index {i} is outside a data set of {n} items.")
        return i % n


def _with_index(i: int, item: Any) -> Any:
    if isinstance(item, Mapping):
        if "index" in item:
            raise TamisError(f'item {i} has a key "index" already; rename it, and Indexed can add its own.')
        return {"index": i, **item}
    return (i, *item) if isinstance(item, tuple | list) else (i, item)
