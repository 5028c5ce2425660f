"""Batches as they come: a tensor, or dicts, lists and tuples of tensors. Four operations are all we need of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from tamis.types import TamisError

Batch = Any


def map_leaves(function: Callable[..., Any], *batches: Batch) -> Batch:
    """Apply ``function`` to the tensors at the same place of each batch, keeping the structure."""
    first = batches[0]
    if isinstance(first, Tensor):
        return function(*batches)
    if isinstance(first, Mapping):  # a dict, or what passes for one, such as a tokenizer's batch
        return {key: map_leaves(function, *(batch[key] for batch in batches)) for key in first}
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(map_leaves(function, *parts) for parts in zip(*batches, strict=True)))
    if isinstance(first, (list, tuple)):
        return type(first)(map_leaves(function, *parts) for parts in zip(*batches, strict=True))
    raise TamisError(
        f"a batch holds a {type(first).__name__}; what is selected from must be tensors, "
        "or dicts, lists or tuples of them."
    )


def take(batch: Batch, index: Tensor) -> Batch:
    """The examples at ``index`` ``[k]`` of every tensor."""
    return map_leaves(lambda leaf: leaf[index.to(leaf.device)], batch)


def cut(batch: Batch, start: int, stop: int | None = None) -> Batch:
    """The examples from ``start`` up to ``stop`` of every tensor."""
    return map_leaves(lambda leaf: leaf[start:stop], batch)


def join(batches: Sequence[Batch]) -> Batch:
    """One batch after the other.

    Raises:
        TamisError: examples of different shapes, such as texts padded to the longest of their batch.
    """

    def glue(*leaves: Tensor) -> Tensor:
        if len({leaf.shape[1:] for leaf in leaves}) > 1:
            shapes = " and ".join(str(list(leaf.shape[1:])) for leaf in leaves[:2])
            raise TamisError(
                f"examples of shapes {shapes} cannot wait in one pool; give every batch the same shape, "
                "such as by padding to one length."
            )
        return torch.cat(leaves)

    return batches[0] if len(batches) == 1 else map_leaves(glue, *batches)
