"""Corruption: injectors that damage a data set on purpose and say exactly what they did.

A new kind of damage is one function in ``labels`` or ``inputs`` and one row of :data:`INJECTORS`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial

import torch

from tamis.corrupt.inputs import gaussian_pixels, shuffled_pixels
from tamis.corrupt.labels import asymmetric_labels, pair_flip, random_labels
from tamis.corrupt.nested import Injector, check_rate
from tamis.types import Arrays, TamisError, Truth


def none(rate: float = 0.0) -> Injector:
    """The injector that does nothing; its rate can only be 0.

    Raises:
        TamisError: if another rate is asked for.

    Example:
        >>> data = Arrays(torch.rand(4, 1), torch.zeros(4, dtype=torch.int64), 2)
        >>> none()(data, torch.Generator())[0] is data
        True
    """
    if check_rate(rate) != 0:
        raise TamisError(f'the corruption "none" was asked for at rate {rate}; its rate can only be 0.')

    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        return data, Truth(torch.zeros_like(data.y), data.y.clone(), 0.0)

    return inject


INJECTORS: dict[str, Callable[[float], Injector]] = {
    "none": none,
    "random_labels": random_labels,
    "random_labels_exclusive": partial(random_labels, exclusive=True),
    "pair_flip": pair_flip,
    "asymmetric_labels": asymmetric_labels,
    "shuffled_pixels": shuffled_pixels,
    "gaussian_pixels": gaussian_pixels,
}


def injector(name: str, rate: float = 0.0) -> Injector:
    """The injector of that name at that rate.

    Raises:
        TamisError: if the name is unknown (with the nearest known one), or the rate is not in [0, 1].

    Example:
        >>> data = Arrays(torch.rand(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64), 2)
        >>> noisy, truth = injector("gaussian_pixels", 0.2)(data, torch.Generator().manual_seed(0))
        >>> truth.asked_rate, truth.realised_rate
        (0.2, 0.2)
    """
    if name not in INJECTORS:
        near = difflib.get_close_matches(name, INJECTORS, 1, 0)[0]
        raise TamisError(f'there is no corruption "{name}"; did you mean "{near}"? (known: {", ".join(INJECTORS)})')
    return INJECTORS[name](rate)


__all__ = [
    "INJECTORS",
    "Injector",
    "asymmetric_labels",
    "gaussian_pixels",
    "injector",
    "none",
    "pair_flip",
    "random_labels",
    "shuffled_pixels",
]
