"""Label noise. Labels are drawn for every example before the rate is looked at, so that rates nest."""

from __future__ import annotations

import torch

from tamis.corrupt.nested import Injector, check_rate, touched, truth_of
from tamis.types import Arrays, Kind, TamisError, Truth


def random_labels(rate: float) -> Injector:
    """Redraw the labels of ``rate`` of the examples from all K classes, their own included (Hu et al. 2021).

    The realised rate is about rate (K - 1) / K: at 50 % and ten classes 45 % of the labels are wrong. An example that
    draws its own label is clean.

    Reference: Hu et al. 2021, arXiv:2107.07741; *symmetric, inclusive* noise.
    """
    return _redraw(check_rate(rate), exclusive=False)


def random_labels_exclusive(rate: float) -> Injector:
    """Redraw the labels of ``rate`` of the examples from the K - 1 others: *symmetric, exclusive* noise.

    The realised rate equals the rate.
    """
    return _redraw(check_rate(rate), exclusive=True)


def _redraw(rate: float, exclusive: bool) -> Injector:
    def inject(data: Arrays, generator: torch.Generator) -> tuple[Arrays, Truth]:
        n, k = len(data.y), data.classes
        if k < 2:
            raise TamisError(f"labels cannot be redrawn among {k} class: label noise needs at least two.")
        where = touched(n, rate, generator)
        drawn = torch.randint(0, k - exclusive, (n,), generator=generator)
        drawn = (data.y + 1 + drawn) % k if exclusive else drawn
        y = data.y.clone()
        y[where] = drawn[where]
        after = data._replace(y=y)
        return after, truth_of(data, after, where, Kind.MISLABELED, rate)

    return inject
