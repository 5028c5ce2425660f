"""Where a run's Record meets its Truth: the share of noise in what was trained on, measured and predicted."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from tamis import theory
from tamis.observe import signals
from tamis.selection.policy import Policy
from tamis.selection.schedules import Progress
from tamis.types import Kind, Point, Record, Truth

Row = dict[str, Any]
FEW = 0.1  # of the watched: too few to take a rule's ranks from, and the next pass is near


def curve(record: Record, truth: Truth, policy: Policy, batch: int, warmup: float) -> list[Row]:
    """One row a point: costs, errors, and the noise share since the previous point, measured and predicted.

    The prediction is closed-loop: from the method's own priorities, as looked at from the previous point on, by the
    rule exactly as it selects, mixed with the base rate for the steps on which it did not select. ``warmup`` marks the
    points whose interval lies in the first part of the budget, while the learning rate still rises.
    """
    noisy = truth.noisy.numpy()
    steps = len(record.points) - 1
    rate = float(noisy.mean())
    rows = []
    for number, point in enumerate(record.points):
        share = rule_share(policy, point, noisy, record.watched, batch) if point.selecting else rate
        rows.append(
            {
                "point": number,
                "passes": point.passes,
                "candidates": point.costs.candidates,
                "forwards": point.costs.forwards,
                "backwards": point.costs.backwards,
                "steps": point.costs.steps,
                "cost": point.cost,
                "test_error": point.test_error,
                "worst_class_error": point.worst_class_error,
                "warmup": (number - 1) / steps < warmup - 1e-9,
                "selecting": point.selecting if number else None,
                "noise_share": _measured(point.trained, noisy) if number else None,
                "noise_share_predicted": mix(share, point.selecting, rate) if number else None,
                "noise_share_open_loop": None,
                "noise_fitted": _fitted(record, number, truth),
            }
        )
    return rows


def open_loop(record: Record, truth: Truth, policies: Iterable[Policy], batch: int) -> dict[str, list[float | None]]:
    """What each policy would train on if it saw the standard run's losses: a true prediction, one share a point.

    Unmixed: the share while selecting. The first point, before training, has none.
    """
    noisy = truth.noisy.numpy()
    return {
        policy.label: [
            None,
            *(rule_share(policy, point, noisy, record.watched, batch) for point in record.points[1:]),
        ]
        for policy in policies
    }


def rule_share(policy: Policy, point: Point, noisy: np.ndarray, watched: np.ndarray, batch: int) -> float | None:
    """The share of noise that the policy's rule trains on up to ``point``: the mean over its looks.

    A look counts those that may come next alone. They have waited longest, and what was learnt of noise is forgotten
    first: who has just been trained on has a low loss, but comes again only when it has risen.

    Args:
        noisy: ``[N]`` bool. watched: ``[W]`` who of them was looked at. batch: the trained size.

    Returns:
        None where the theory cannot say: a rule it does not cover, a guard, a priority that was not looked at.
    """
    if policy.guard is not None:
        return None
    if policy.priority is None:
        return float(noisy.mean())
    if not _covered(policy) or not callable(policy.priority):
        return None
    name, scale = policy.priority.__name__, len(noisy) / max(1, len(watched))
    shares = []
    for look in point.looks:
        if name in look:
            coming = may_come(look["waiting"])
            population = round(scale * coming.sum())  # of whom those who come and were watched are a sample
            at = in_proportion(coming, noisy[watched], float(noisy.mean()))
            included = theory.inclusion(policy.rule, look[name][at], batch, population=population)
            shares.append(theory.noise_share(included, noisy[watched][at]))
    return float(np.nanmean(shares)) if np.isfinite(shares).any() else None


def may_come(waiting: np.ndarray) -> np.ndarray:
    """``[W]`` bool, who may be a candidate next: those ``waiting`` ``[W]`` bool in this pass, or all again where less
    than a tenth of them is left.

    Example:
        >>> may_come(np.array([True, False, False])).tolist(), may_come(np.array([False, False])).tolist()
        ([True, False, False], [True, True])
    """
    return waiting if waiting.mean() >= FEW else np.ones_like(waiting)


def in_proportion(coming: np.ndarray, noisy: np.ndarray, rate: float) -> np.ndarray:
    """``[m]`` places of as many of those ``coming`` ``[W]`` as hold the share ``rate`` of noise, which chance gives a
    sample only about: of noise or of the others some are passed over, evenly. All, where one of the two is not there.

    Args:
        noisy: ``[W]`` bool, of the watched. rate: share of noise in the training set, in [0, 1].

    Example:
        >>> noisy = np.array([True, True, True, False, False, False])
        >>> in_proportion(np.array([True, True, True, True, True, False]), noisy, 0.5).tolist()
        [0, 2, 3, 4]
    """
    groups, shares = (np.flatnonzero(coming & noisy), np.flatnonzero(coming & ~noisy)), (rate, 1 - rate)
    if not all(map(len, groups)):
        return np.flatnonzero(coming)
    whole = min(len(group) / share for group, share in zip(groups, shares, strict=True) if share)
    kept = [np.linspace(0, len(group) - 1, round(whole * share)) for group, share in zip(groups, shares, strict=True)]
    return np.sort(np.concatenate([group[at.round().astype(int)] for group, at in zip(groups, kept, strict=True)]))


def worst_case(policy: Policy, rate: float, batch: int, selecting: float) -> float | None:
    """The share if every noisy example ranked above every clean one, on the steps on which the policy selected.

    None for a rule that the theory does not cover, and for a policy that does not go by high losses.
    """
    if policy.guard is not None:
        return None
    if policy.priority is not None and not (_covered(policy) and policy.priority in (signals.loss, signals.el2n)):
        return None
    try:
        worst = theory.worst_case_share(policy.rule, rate, batch)
    except (ArithmeticError, ValueError):  # numerics at the end of a setting's range: no reason to lose a trained run
        return None
    return selecting * worst + (1 - selecting) * rate


def _covered(policy: Policy) -> bool:
    """Whether the rule that selects is one of the theory's, with its own settings all through the run."""
    return type(policy.rule).__name__ in theory.INCLUSION and not policy.schedule.settings(
        policy.schedule.init(), Progress(0.0, 0.0, 0)
    )


def mix(share: float | None, selecting: float, rate: float) -> float | None:
    """A policy that selects on a part of its steps trains on a mixture with the base rate."""
    return None if share is None else float(selecting * share + (1 - selecting) * rate)


def while_selecting(curve: list[Row], column: str) -> float | None:
    """Mean of a share over what was trained on while the policy selected, after the warm-up; None if it never did."""
    total = weighted = 0.0
    for before, point in itertools.pairwise(curve):
        if point["selecting"] and not point["warmup"] and point[column] is not None:
            weight = (point["backwards"] - before["backwards"]) * point["selecting"]
            total, weighted = total + weight, weighted + weight * point[column]
    return weighted / total if total else None


def _measured(trained: np.ndarray, noisy: np.ndarray) -> float | None:
    total = int(trained.sum())
    return float(trained[noisy].sum() / total) if total else None


def _fitted(record: Record, number: int, truth: Truth) -> float | None:
    """The share of mislabeled examples whose *given* label is predicted here (the next point's first look)."""
    mislabeled = (truth.kind.numpy()[record.watched] & int(Kind.MISLABELED)) != 0
    following = record.points[number + 1].looks if number + 1 < len(record.points) else ()
    if not following or not mislabeled.any() or "correct" not in following[0]:
        return None
    return float(following[0]["correct"][mislabeled].mean())
