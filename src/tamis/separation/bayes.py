"""Bayes on evidence: how probably each label is wrong, how many are, and whom a list holds."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tamis.observe.calibration import (
    AT_MOST,
    anchored,
    confusion,
    doubted,
    pooled,
    scale_and_transition,
    sureness,
)
from tamis.observe.posterior import flag, sample, transition, true_label
from tamis.observe.rate import at_rate, rate_at_most, rate_error, rate_of
from tamis.separation.evidence import Evidence

CAUTION = 0.4  # of the way from the rate to the low end of its interval: to a list, a rate too high does more harm


class Judged(NamedTuple):
    """What the labels are held for.

    Attributes:
        wrong: ``[N]`` float64, the probability of a wrong label. posterior: ``[N, K]`` of the true one. matrix: ``[K,
            K]`` P(given | true). interval: of the rate, 95 %, or None where nothing says how sure it is. error: the
            standard error of the rate by the number of its anchors.
    """

    wrong: Tensor
    posterior: Tensor
    matrix: Tensor
    interval: tuple[float, float] | None
    error: float


def judged(evidence: Evidence, p: Tensor) -> Judged:
    """The evidence read by Bayes, with its probabilities ``p`` ``[N, K]`` of the true class.

    Out of fold: as far as the rate's standard error lets it say something. In training: the rate is met at any price.

    Reference: docs/guides/separation.md, steps 3 to 6.
    """
    given = evidence.label
    if evidence.fold is None:  # in training: the likelihood would find the networks not sure enough, and no noise
        matrix = transition(p, given, evidence.matrix)
        matrix = pooled(matrix, true_label(p, matrix, given).sum(0))
        posterior = true_label(doubted(p, confusion(p)), matrix, given)
        rate = rate_of(p, anchored(p, given, rounds=0))  # met at any price: by heart the networks know no noise
        return Judged(at_rate(_wrong(posterior, given), rate), posterior, matrix, None, 0.0)
    scale, matrix = scale_and_transition(p.clamp(min=1e-12).log(), given, evidence.matrix)
    p = p.double().clamp(min=1e-12).pow(scale)
    p = p / p.sum(1, keepdim=True)
    matrix = pooled(matrix, true_label(p, matrix, given).sum(0))
    alone = true_label(p, matrix, given)
    if evidence.views is None:
        posterior, surer = true_label(doubted(p, confusion(p)), matrix, given), 1.0
    else:
        posterior, surer = _heard(evidence, evidence.views, evidence.fold, scale, p, matrix, _wrong(alone, given))
    sure = anchored(p, given)
    rate, error = rate_of(p, sure), rate_error(p, sure)
    parts = [(p[mine], given[mine]) for mine in (evidence.fold == k for k in evidence.fold.unique())]
    folds = [rate_of(part, anchored(part, labels)) for part, labels in parts]
    low, high = _interval(rate, folds, float(_wrong(alone, given).mean()))
    interval = low, high if error > 0 else max(high, rate_at_most(p))
    return Judged(at_rate(_wrong(posterior, given), rate, surer, error), posterior, matrix, interval, error)


def listed(p: Tensor, interval: tuple[float, float] | None, fdr: float, error: float = 0.0) -> Tensor:
    """``[N]`` bool, the list at the share ``fdr`` by probabilities ``[N]`` whose mean is the rate.

    Where the rate has an ``interval``, the list goes by one two fifths of the way to its low end, as far as a rate with
    this standard ``error`` can say.

    Raises:
        TamisError: a target outside (0, 1).
    """
    if interval is not None:
        rate = float(p.mean())
        p = at_rate(p, rate - CAUTION * max(0.0, rate - interval[0]), error=error)
    return flag(p, fdr)


def _heard(
    evidence: Evidence, views: Tensor, fold: Tensor, scale: float, p: Tensor, matrix: Tensor, witness: Tensor
) -> tuple[Tensor, float]:
    """The posterior ``[N, K]`` as all networks see it, by their weights, and how much surer it may be.

    The ``witness`` ``[N]`` is what the network that did not train on an example says of its label; what the others say
    is judged by it.
    """
    given, usual = evidence.label, confusion(p)
    weights = torch.ones(len(views)) if evidence.weights is None else evidence.weights
    posterior, others, heard = torch.zeros_like(p), torch.zeros_like(witness), torch.zeros_like(witness)
    for k, (view, weight) in enumerate(zip(views, (weights.double() / weights.double().sum()).tolist(), strict=True)):
        said = true_label(doubted((scale * view.double()).softmax(1), usual), matrix, given)
        counts = weight * (fold != k).double()
        posterior += weight * said
        others += counts * _wrong(said, given)
        heard += counts
    asked = sample(given, AT_MOST)
    asked = asked[heard[asked] > 0]
    return posterior, sureness((others / heard)[asked], witness[asked])


def _wrong(posterior: Tensor, given: Tensor) -> Tensor:
    """``[N]``, how probably the given label is not the true one."""
    return 1 - posterior.gather(1, given[:, None])[:, 0]


def _interval(rate: float, folds: list[float], other: float) -> tuple[float, float]:
    """A t interval over the folds' own estimates, drawn out to the other way of estimating, by the likelihood."""
    from scipy.stats import t as student_t  # heavy to import

    spread = float(torch.tensor(folds, dtype=torch.float64).std()) / len(folds) ** 0.5
    half = float(student_t.ppf(0.975, len(folds) - 1)) * spread
    return max(0.0, min(rate, other) - half), min(1.0, max(rate, other) + half)
