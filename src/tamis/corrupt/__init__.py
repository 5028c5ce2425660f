"""Injectors: known damage to labels and inputs, with the truth about every example.

An injector is a function ``(Arrays, generator) -> (Arrays, Truth)``: pure, its rates nested (at one seed what 10 % touches
is touched in the same way at 20 %), its Truth the difference between what went in and what came out.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable

from tamis.corrupt.inputs import gaussian_pixels, shuffled_pixels
from tamis.corrupt.labels import random_labels, random_labels_exclusive
from tamis.corrupt.nested import Injector, untouched
from tamis.types import TamisError

INJECTORS: dict[str, Callable[[float], Injector]] = {
    "none": untouched,
    "random_labels": random_labels,
    "random_labels_exclusive": random_labels_exclusive,
    "shuffled_pixels": shuffled_pixels,
    "gaussian_pixels": gaussian_pixels,
}


def injector(name: str, rate: float = 0.0) -> Injector:
    """The injector of that name at ``rate``, the share of examples touched, in [0, 1].

    Raises:
        TamisError: an unknown name (with the nearest known one), a rate outside [0, 1].

    Example:
        >>> import torch
        >>> from tamis.types import Arrays
        >>> clean = Arrays(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64), 3)
        >>> noisy, truth = injector("random_labels_exclusive", 0.5)(clean, torch.Generator().manual_seed(0))
        >>> truth.realised_rate, int((noisy.y != clean.y).sum())
        (0.5, 2)
    """
    if name not in INJECTORS:
        near = difflib.get_close_matches(name, INJECTORS, 1, cutoff=0)[0]
        raise TamisError(f"there is no corruption {name!r}; did you mean {near!r}? 'tamis list corruptions' names them all.")
    return INJECTORS[name](rate)


__all__ = ["INJECTORS", "Injector", "injector"]
