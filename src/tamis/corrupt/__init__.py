"""Corruption: injectors that damage a data set on purpose and say exactly what they did.

A new kind of damage is one function in the room it belongs to and one row of :data:`INJECTORS`.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from tamis.corrupt.copies import ambiguous, duplicates, look_alikes
from tamis.corrupt.fifteen import CORRUPTIONS, fifteen_corruptions
from tamis.corrupt.files import labels_from_file
from tamis.corrupt.foreign import out_of_distribution
from tamis.corrupt.inputs import gaussian_pixels, shuffled_pixels
from tamis.corrupt.instance import instance_dependent
from tamis.corrupt.labels import (
    CIFAR10_MAP,
    LOOK_ALIKE,
    asymmetric_labels,
    class_conditional,
    confusion_map,
    pair_flip,
    random_labels,
)
from tamis.corrupt.mixed import mixed, six_kinds
from tamis.corrupt.nested import Injector, check_rate
from tamis.corrupt.structure import long_tail, rare_subgroup
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


INJECTORS: dict[str, Callable[..., Injector]] = {
    "none": none,
    "random_labels": random_labels,
    "random_labels_exclusive": partial(random_labels, exclusive=True),
    "pair_flip": pair_flip,
    "asymmetric_labels": asymmetric_labels,
    "class_conditional": class_conditional,
    "instance_dependent": instance_dependent,
    "labels_from_file": labels_from_file,
    "shuffled_pixels": shuffled_pixels,
    "gaussian_pixels": gaussian_pixels,
    **CORRUPTIONS,
    "fifteen_corruptions": fifteen_corruptions,
    "long_tail": long_tail,
    "rare_subgroup": rare_subgroup,
    "duplicates": duplicates,
    "ambiguous": ambiguous,
    "out_of_distribution": out_of_distribution,
    "six_kinds": six_kinds,
}


def injector(label: str, rate: float = 0.0) -> Injector:
    """The injector of that label at that rate: a name of the table, with literal settings where it takes some.

    Args:
        label: such as ``"random_labels"``, ``"fog(severity=3)"`` or
            ``"class_conditional(matrix=[[1, 0], [0.2, 0.8]])"``.
        rate: in [0, 1]; what it is a share of stands in the injector's own description.

    Raises:
        TamisError: if the name is unknown (with the nearest known one), the settings cannot be read or are none of
            its own, or the rate is not in [0, 1].

    Example:
        >>> data = Arrays(torch.rand(10, 1, 2, 2), torch.zeros(10, dtype=torch.int64), 2)
        >>> noisy, truth = injector("gaussian_pixels", 0.2)(data, torch.Generator().manual_seed(0))
        >>> truth.asked_rate, truth.realised_rate
        (0.2, 0.2)
        >>> injector("asymmetric_labels(mapping=[1, 0])", 1.0)(data, torch.Generator())[0].y.unique()
        tensor([1])
    """
    name, values = _read(label)
    try:
        return INJECTORS[name](rate, **values)
    except TamisError:
        raise
    except (TypeError, ValueError) as error:
        raise _unreadable(label, error) from error


def corruption_label(label: str) -> str:
    """The same corruption in the one spelling that tables and records use: ``name`` or ``name(key=value, ..)``.

    Raises:
        TamisError: as for :func:`injector`, but the values of the settings are not looked at.

    Example:
        >>> corruption_label(" fog( severity = 3 )"), corruption_label("fog()")
        ('fog(severity=3)', 'fog')
    """
    name, values = _read(label)
    settings = ", ".join(f"{key}={value!r}" for key, value in values.items())
    return f"{name}({settings})" if settings else name


def _read(label: str) -> tuple[str, dict[str, Any]]:
    """Name and settings of a label; the name is a row of the table."""
    if not isinstance(label, str):
        raise TamisError(f'the corruption is {label!r}, but it must be a label, such as "random_labels".')
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", label, re.DOTALL)
    if match is None:
        raise TamisError(f'"{label}" is not a corruption; write a name with settings, such as "fog(severity=3)".')
    name, settings = match[1], match[2] or ""
    if name not in INJECTORS:
        near = difflib.get_close_matches(name, INJECTORS, 1, 0)[0]
        raise TamisError(f'there is no corruption "{name}"; did you mean "{near}"? (known: {", ".join(INJECTORS)})')
    try:
        call = ast.parse(f"f({settings})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(k.arg in (None, "rate") for k in call.keywords):
            raise ValueError(settings)
        return name, {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, TypeError, ValueError) as error:
        raise _unreadable(label, error) from error


def _unreadable(label: str, error: Exception) -> TamisError:
    return TamisError(f'the settings of "{label}" cannot be read ({error}); write them as name=value.')


__all__ = [
    "CIFAR10_MAP",
    "CORRUPTIONS",
    "INJECTORS",
    "LOOK_ALIKE",
    "Injector",
    "ambiguous",
    "asymmetric_labels",
    "class_conditional",
    "confusion_map",
    "corruption_label",
    "duplicates",
    "fifteen_corruptions",
    "gaussian_pixels",
    "injector",
    "instance_dependent",
    "labels_from_file",
    "long_tail",
    "look_alikes",
    "mixed",
    "none",
    "out_of_distribution",
    "pair_flip",
    "random_labels",
    "rare_subgroup",
    "shuffled_pixels",
    "six_kinds",
]
