"""Stable indices without rewriting a data set."""

from __future__ import annotations

from typing import Any

from torch.utils.data import Dataset


class Indexed(Dataset[Any]):
    """Wrap a map-style data set so that every item carries its index first: ``(i, *item)``.

    An item that is a dict gains the key ``index``; an item that is neither a tuple, a list nor a dict becomes
    ``(i, item)``. The data set itself is not touched.

    Example:
        >>> Indexed([("a", 0), ("b", 1)])[1]
        (1, 'b', 1)
    """

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return _with_index(int(index), self.dataset[index])

    def __getitems__(self, indices: list[int]) -> list[Any]:
        fetch = getattr(self.dataset, "__getitems__", None)
        items = fetch(indices) if callable(fetch) else [self.dataset[index] for index in indices]
        return [_with_index(int(index), item) for index, item in zip(indices, items, strict=True)]


def _with_index(index: int, item: Any) -> Any:
    if isinstance(item, dict):
        return {"index": index, **item}
    if isinstance(item, (tuple, list)):
        return (index, *item)
    return (index, item)
