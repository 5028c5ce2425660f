"""A study that nobody ran: gathered frames made from formulas, so that every number of an evaluation is known.

Uniform training's error is ``level(cell) + FALL * ln(EPOCHS / cost)``, linear in log cost, and a random subset's lies
``SUBSET`` above it below the full budget. A method's error is uniform's at the method's own cost plus ``effect(rate)``.
Every seed shifts all its runs by the same amount, so that paired differences know nothing of it; what a method's seeds
differ by is drawn and centred, so that means over seeds are exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from tamis.study.record import CURVE_COLUMNS, RUN_COLUMNS

EPOCHS, LADDER, POINTS, FALL, SUBSET, SIZE = 10.0, (0.3, 0.5, 0.7), 10, 0.02, 0.03, 1000
CELLS = (("none", 0.0), ("random_labels", 0.2), ("random_labels", 0.4), ("gaussian_pixels", 0.4))


Row = dict[str, Any]


@dataclass(frozen=True)
class Method:
    """A made-up method: its cost per candidate epoch, the share it trains on, and its effect on the error by rate."""

    cost: float = 0.6
    keep: float = 0.5
    effect: Callable[[float], float] = lambda rate: 0.1 * (rate - 0.1)


METHODS: dict[str, Method] = {
    "selective_backprop(beta=1)": Method(0.8, 0.5, lambda rate: -0.01),
    "selective_backprop(beta=2)": Method(0.6, 1 / 3),
    "top_k(keep=1/3)": Method(0.62, 1 / 3, lambda rate: 0.0),
}


@dataclass(frozen=True)
class Fake:
    """The four files of a study, as they are read."""

    runs: pl.DataFrame
    curves: pl.DataFrame
    plan: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)


def uniform_error(corruption: str, rate: float, cost: float, fall: float = FALL) -> float:
    """Uniform training's mean error at a cost."""
    return 0.1 + 0.2 * rate + (0.05 if corruption == "gaussian_pixels" else 0.0) + fall * math.log(EPOCHS / cost)


def fake_study(
    seeds: int = 5,
    methods: Mapping[str, Method] = METHODS,
    cells: Sequence[tuple[str, float]] = CELLS,
    dataset: str = "toy",
    jitter: float = 0.002,
    fall: float = FALL,
    note: str = "",
) -> Fake:
    """Runs and curves of one setting. ``jitter``: standard deviation of a method's effect over seeds."""
    draw = np.random.default_rng(7)
    shift = draw.normal(0, 0.01, seeds)
    made: list[tuple[Row, list[Row]]] = []
    for corruption, rate in cells:
        place = {"dataset": dataset, "corruption": corruption, "rate": rate}
        for seed in range(seeds):
            error = uniform_error(corruption, rate, EPOCHS, fall) + shift[seed]
            made.append(_run(place, "uniform", "standard", seed, EPOCHS, EPOCHS, error))
            for control, part in [(c, p) for c in ("uniform", "random_subset") for p in LADDER]:
                label = "uniform" if control == "uniform" else f"random_subset(keep={part:g})"
                error = uniform_error(corruption, rate, part * EPOCHS, fall) + shift[seed]
                error += SUBSET if control == "random_subset" else 0.0
                made.append(_run(place, label, "control", seed, part * EPOCHS, part * EPOCHS, error, control=control))
        for policy, method in methods.items():
            own = draw.normal(0, jitter, seeds) if seeds > 1 else np.zeros(1)
            for seed, more in enumerate(own - own.mean()):
                cost = method.cost * EPOCHS
                error = uniform_error(corruption, rate, cost, fall) + method.effect(rate) + shift[seed] + more
                made.append(_run(place, policy, "method", seed, EPOCHS, cost, error, method.keep))
    runs = pl.DataFrame([row for row, _ in made], schema=RUN_COLUMNS)
    curves = pl.DataFrame([point for _, points in made for point in points], schema=CURVE_COLUMNS)
    return Fake(runs, curves, _plan(dataset, seeds, methods, cells, note), _environment(dataset))


def _run(
    place: Row,
    policy: str,
    role: str,
    seed: int,
    budget: float,
    cost: float,
    error: float,
    keep: float = 1.0,
    control: str = "",
) -> tuple[Row, list[Row]]:
    """One run's row and its curve: a straight way from an error of 90 % to its own, and a noise share that stays."""
    budget = round(budget, 6)
    run = "/".join(map(str, [*place.values(), policy, role, budget, seed]))
    share = min(1.0, place["rate"] / keep)
    work = {"candidates": int(budget * SIZE), "backwards": int(budget * SIZE * keep), "steps": int(budget * 10)}
    work |= {"forwards": int(budget * SIZE) if role == "method" else 0}
    shares = {"noise_share": share, "noise_share_predicted": share + 0.01, "noise_share_open_loop": share + 0.02}
    row = {
        **place, **work, **shares, "run": run, "plan": "fake", "size": SIZE, "model": "mlp",
        "realised_rate": place["rate"],
        "policy": policy, "role": role, "control": control, "seed": seed, "budget": budget,
        "budget_unit": "cost" if control else "passes", "batch": 100, "test_error": error,
        "worst_class_error": 2 * error,
        "best_test_error": error, "selections": 0, "cost": cost, "noise_share_worst_case": min(1.0, share + 0.1),
        "status": "ok", "error": "",
    }  # fmt: skip
    points: list[Row] = []
    last = POINTS if role != "control" else 1
    for point in range(last + 1):
        done = point / last
        spent = {name: int(value * done) for name, value in work.items()}
        now = {**shares, "noise_share_predicted": share + 0.01 * point}  # a gap that grows: its largest is at the end
        points.append(
            {"run": run, "point": point, "passes": budget * done, "cost": cost * done, "noise_fitted": None,
             "test_error": 0.9 + (error - 0.9) * done, "worst_class_error": 1.0 + (2 * error - 1.0) * done,
             "warmup": point == 1, "selecting": float(role == "method") if point else None,
             **spent, **(now if point else dict.fromkeys(now))}
        )  # fmt: skip
    return row, points


def fail(runs: pl.DataFrame, where: pl.Expr, reason: str = "Traceback\nRuntimeError: loss is nan") -> pl.DataFrame:
    """The same records with these runs failed, as a study gathers them: an identity, a reason, no numbers."""
    numbers = ["realised_rate", *runs.columns[runs.columns.index("test_error") : runs.columns.index("status")]]
    return runs.with_columns(
        pl.when(where).then(pl.lit("failed")).otherwise("status").alias("status"),
        pl.when(where).then(pl.lit(reason)).otherwise("error").alias("error"),
        *(pl.when(where).then(None).otherwise(name).alias(name) for name in numbers),
    )


def _plan(
    dataset: str, seeds: int, methods: Mapping[str, Method], cells: Sequence[tuple[str, float]], note: str
) -> dict[str, Any]:
    setting: dict[str, Any] = {"dataset": dataset, "model": "mlp", "epochs": EPOCHS, "size": SIZE}
    setting |= {"seeds": list(range(seeds)), "ladder": list(LADDER)}
    content = {"settings": [setting], "cells": [list(cell) for cell in cells], "methods": list(methods)}
    return {
        "name": "fake",
        "title": "A study that nobody ran",
        "controls": ["uniform", "random_subset"],
        "note": note,
        **content,
    }


def _environment(dataset: str) -> dict[str, Any]:
    prices = {"dataset": dataset, "model": "mlp", "forward": 1e-5, "step": 3e-5, "select": 1e-4, "measured": True}
    return {"versions": {"python": "3.11", "torch": "2.5"}, "device": "cpu", "commit": "abc123", "prices": [prices]}
