"""Where a run's Record meets its Truth: the share of noise in what was trained on, measured and predicted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from tamis import theory
from tamis.selection.policies import Policy
from tamis.types import Kind, Point, Record, Truth

Row = dict[str, Any]


def curve(record: Record, truth: Truth, policy: Policy, batch: int) -> list[Row]:
    """One row a point: costs, errors, and the noise share since the previous point, measured and predicted.

    The prediction is closed-loop: from the method's own priorities at the point *before*, by the rule exactly as it
    selects, mixed with the base rate for the steps on which it did not select.
    """
    noisy = truth.noisy.numpy()
    mislabeled = (truth.kind.numpy() & int(Kind.MISLABELED)) != 0
    rows = []
    for number, point in enumerate(record.points):
        before = record.points[number - 1] if number else None
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
                "selecting": point.selecting if before else None,
                "noise_share": _share(point.trained, noisy) if before else None,
                "noise_share_predicted": _predicted(policy, before, point, noisy, batch) if before else None,
                "noise_share_open_loop": None,
                "noise_fitted": _fitted(point, truth, mislabeled),
            }
        )
    return rows


def open_loop(record: Record, truth: Truth, policies: Iterable[Policy], batch: int) -> dict[str, list[float | None]]:
    """What each policy would train on if it saw the standard run's losses: a true prediction, one share a point.

    Unmixed: the share while selecting. The first point, before training, has none.
    """
    noisy = truth.noisy.numpy()
    shares: dict[str, list[float | None]] = {}
    for policy in policies:
        parts = [rule_share(policy, point, noisy, batch) for point in record.points[:-1]]
        shares[policy.label] = [None, *parts]
    return shares


def rule_share(policy: Policy, point: Point, noisy: np.ndarray, batch: int) -> float | None:
    """The share of noise that the policy's rule trains on, given the priorities ``[N]`` watched at ``point``."""
    rule = policy.rule
    if policy.level == "epoch" and not callable(policy.priority):
        return float(noisy.mean())
    priority = point.watched.get(getattr(policy.priority, "__name__", ""))
    return None if priority is None else theory.noise_share(theory.inclusion(rule, priority, batch), noisy)


def worst_case(policy: Policy, rate: float, batch: int, selecting: float) -> float:
    """The share if every noisy example ranked above every clean one, on the steps on which the policy selected."""
    return selecting * theory.worst_case_share(policy.rule, rate, batch) + (1 - selecting) * rate


def _predicted(policy: Policy, before: Point, point: Point, noisy: np.ndarray, batch: int) -> float | None:
    share = rule_share(policy, before, noisy, batch) if point.selecting else float(noisy.mean())
    return None if share is None else float(point.selecting * share + (1 - point.selecting) * noisy.mean())


def _share(trained: np.ndarray, noisy: np.ndarray) -> float | None:
    total = int(trained.sum())
    return float(trained[noisy].sum() / total) if total else None


def _fitted(point: Point, truth: Truth, mislabeled: np.ndarray) -> float | None:
    """The share of mislabeled examples whose *given* label is predicted; it needs the label, which Truth does not hold."""
    if point.predicted is None or not mislabeled.any() or "correct" not in point.watched:
        return None
    return float(point.watched["correct"][mislabeled].mean())
