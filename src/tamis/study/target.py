"""Time to target: what is the least budget at which a method is as good as plain training ever gets?"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from tamis.study.statistics import PLACE, finished, t_interval


def time_to_target(runs: pl.DataFrame, column: str = "test_error") -> pl.DataFrame:
    """Per place and policy that was run at several budgets, the least one whose mean error reaches the target.

    The target is the lowest mean error over seeds that plain training has at any of its budgets, chosen on the test
    set, to its advantage. Every run is fully decayed; nothing is read off between budgets.

    Only budgets in cost are compared; plain training's are that in passes, too, as it looks at nothing that it does not
    train on. A method that is budgeted in passes has its own cost, and no place among them.

    Errors are fractions, lower is better. A policy with one budget is no curve and has no row.

    Args:
        runs: gathered; with policies among the controls, so that they have been run over the ladder.

    Returns:
        ``PLACE``, ``policy``; ``target``; ``budget``, the least that reaches it, in epochs of cost (null: none does);
        ``difference`` (policy - uniform at that same budget) with ``low`` and ``high``, the paired 95 % t-interval;
        ``lowest``, the policy's lowest mean error at any budget, and ``at``, which; ``n`` seeds.

    Raises:
        TamisError: two finished runs stand for the same place, policy, budget and seed.
    """
    in_cost = pl.col("budget_unit").ne_missing("passes") | (pl.col("policy") == "uniform")
    ok = finished(runs).filter(pl.col(column).is_finite() & (pl.col("control") != "oracle") & in_cost)
    rows: list[dict[str, Any]] = []
    for place, here in ok.partition_by(PLACE, maintain_order=True, as_dict=True).items():
        curves = {
            str(name): _curve(mine, column)
            for (name,), mine in here.partition_by("policy", maintain_order=True, as_dict=True).items()
        }
        plain = curves.get("uniform", {})
        target = min((float(np.mean(list(errors.values()))) for errors in plain.values()), default=np.nan)
        for name, curve in curves.items():
            if len(curve) < 2 or not plain:
                continue
            means = {budget: float(np.mean(list(errors.values()))) for budget, errors in sorted(curve.items())}
            lowest = min(means, key=means.__getitem__)
            reached = next((budget for budget, error in means.items() if error <= target), None)
            mine, theirs = ({} if reached is None else one.get(reached, {}) for one in (curve, plain))
            pairs = t_interval([mine[seed] - theirs[seed] for seed in mine if seed in theirs])
            rows.append({
                **dict(zip(PLACE, place, strict=True)), "policy": name, "target": target, "budget": reached,
                "difference": pairs.mean, "low": pairs.low, "high": pairs.high, "lowest": means[lowest], "at": lowest,
                "n": len(curve[lowest]),
            })  # fmt: skip
    numbers = dict.fromkeys(("target", "budget", "difference", "low", "high", "lowest", "at"), pl.Float64)
    schema: dict[str, Any] = {key: runs.schema[key] for key in PLACE}
    return pl.DataFrame(rows, schema={**schema, "policy": pl.String, **numbers, "n": pl.Int64}, orient="row")


def _curve(runs: pl.DataFrame, column: str) -> dict[float, dict[int, float]]:
    """Error by budget and seed."""
    curve: dict[float, dict[int, float]] = {}
    for budget, seed, error in runs.select("budget", "seed", column).iter_rows():
        curve.setdefault(budget, {})[seed] = error
    return curve
