"""Evidence: what is known of every example, from one run or from several networks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tamis.observe.calibration import pooled
from tamis.observe.posterior import true_label
from tamis.types import Costs, TamisError


@dataclass(frozen=True)
class Evidence:
    """What is known of ``N`` examples.

    Attributes:
        label: ``[N]`` int64, as given. loss: ``[N]`` float32, the mean over looks of ``-log p(label | x)``, in nats.
        looks: ``[N]`` how often each was looked at. fold: ``[N]``, whose network looked; None: one that trained on it.
        probabilities: ``[N, K]`` float32, p(true class | x), averaged over looks; None where losses alone are known.
        views: ``[F, N, K]`` float16, what each network says: the mean of log p(true class | x) over its looks, each by
            what its pass knew; out of fold where the fold is its own, in training elsewhere. Or None.
        weights: ``[F]``, how much each of them is to be heard; None: all alike.
        matrix: ``[K, K]`` float64, P(given | true) as the networks trained through it, or None.
        found: ``[K, K]`` float64, the same as further networks are to learn through it, or None: see
            :func:`~tamis.separation.gathering.one_run`.
        costs: what it took, in examples.
        confidence, variability: ``[N]`` float32, mean and standard deviation over looks of p(given label) in [0, 1], as
            the networks say it of the true class: the axes of a data map; or None.
    """

    label: Tensor
    loss: Tensor
    looks: Tensor
    fold: Tensor | None = None
    probabilities: Tensor | None = None
    matrix: Tensor | None = None
    costs: Costs = Costs()
    views: Tensor | None = None
    confidence: Tensor | None = None
    variability: Tensor | None = None
    weights: Tensor | None = None
    found: Tensor | None = None


@dataclass(frozen=True)
class Fold:
    """What the network of one fold said.

    Attributes:
        held: ``[m]`` int64, the examples that it did not train on.
        view: ``[N, K]`` float16, the mean of log p(true class | x) over its looks, each by what its pass knew.
        own: ``[4, m]`` float32: of the held, how many looks, and the sums of log p, p and p^2 of the given label.
        costs: of training and looking. weight: ``[]``, how much the network is to be heard.
    """

    held: Tensor
    view: Tensor
    own: Tensor
    costs: Costs
    weight: Tensor


Refit = Callable[[Tensor], Evidence]
"""Trains networks through a matrix P(given | true); gives what each says of whom it did not train on."""


def refitted(first: Evidence, refit: Refit) -> Evidence:
    """Evidence of networks that ``refit`` trains through the matrix which the ``first`` found; and of the first beside
    theirs, where both have views.

    Args:
        first: of one run, with the matrix ``[K, K]`` that it found. refit: is given that matrix.

    Returns:
        What ``refit`` gave, with the ``costs`` of both and, where both have them, F + 1 ``views`` ``[F + 1, N, K]``.

    Raises:
        TamisError: the first has no matrix or is of folds itself, what comes back is not of its examples or not out of
            fold, or ``refit`` is no function.

    Example:
        >>> from torch import nn
        >>> from tamis.loop import Recipe
        >>> from tamis.separation.gathering import cross_fit, one_run
        >>> from tamis.types import Arrays
        >>> data, small = Arrays(torch.randn(60, 4), torch.arange(60) % 2, 2), Recipe(batch=10)
        >>> network = lambda seed: nn.Linear(4, 2)
        >>> first = one_run(data, network, recipe=small, passes=3)
        >>> both = refitted(first, lambda matrix: cross_fit(data, network, matrix, recipe=small, passes=3, folds=2))
        >>> both.views.shape
        torch.Size([3, 60, 2])
    """
    if not callable(refit):
        raise TamisError(
            f"refit is {refit!r}, but it must train through a matrix, as in refit=lambda matrix: "
            "tamis.cross_fit(data, network, matrix)."
        )
    if first.fold is not None:
        raise TamisError(
            "this evidence is of folds already, as gather_evidence and cross_fit give it; refit is for that of one run."
        )
    matrix = first.found
    if matrix is None:
        if first.matrix is None or first.probabilities is None:
            raise TamisError(
                "refit trains through the transition matrix that the first run found, and this evidence has none; "
                "gather it by gather_evidence, one_run or a Watch."
            )
        matrix = pooled(first.matrix, true_label(first.probabilities, first.matrix, first.label).sum(0))
    second = refit(matrix)
    if (
        not isinstance(second, Evidence)
        or second.fold is None
        or second.probabilities is None
        or not torch.equal(second.label, first.label)
    ):
        raise TamisError(
            "refit must give the evidence of networks that did not train on what they look at, with the labels of the "
            "first run, as in refit=lambda matrix: tamis.cross_fit(data, network, matrix)."
        )
    both = replace(second, costs=first.costs + second.costs)
    if first.views is None or second.views is None:
        return both  # the first's view alone would pass for that of the first fold's network
    if first.views.shape[1:] != second.views.shape[1:]:
        raise TamisError(
            f"views must be [F, N, K] of the same examples and classes, but refit gave {list(second.views.shape)} "
            f"beside {list(first.views.shape)}."
        )
    return replace(
        both, views=torch.cat([second.views, first.views]),
        weights=torch.cat([_weights(second, second.views), _weights(first, first.views)]),
    )  # fmt: skip


def _weights(evidence: Evidence, views: Tensor) -> Tensor:
    return torch.ones(len(views)) if evidence.weights is None else evidence.weights
