"""Where what a separator says meets the Truth: its order, its rate, its probabilities and its lists."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from tamis.observe.posterior import flag
from tamis.study.detection import auroc
from tamis.study.separators import Said
from tamis.types import Kind, TamisError, Truth

Row = dict[str, Any]
TARGETS = (0.05, 0.1, 0.2)  # shares of false discoveries that are asked for
BINS = 15


def measure(said: Said, truth: Truth, hard: np.ndarray) -> tuple[Row, list[Row]]:
    """The numbers of one separator on one set, and its reliability bins; what it does not say is None.

    ``auroc``, ``auroc_hardest``: of mislabeled examples against all clean ones, and against the clean among ``hard``.
    ``rate_estimated``, ``rate_low``, ``rate_high``, ``rate_covered`` (1.0 or 0.0: whether the realised rate lies in
    between). ``calibration_error``: see :func:`reliability`. ``suggested_right``: among the mislabeled, the share whose
    suggested label is the true one. For each target, as in ``fdr_05``: ``flagged`` (of all), ``fdr`` (of the flagged,
    those that are not mislabeled; 0 where none is flagged) and ``recall`` (of the mislabeled, those flagged).

    Args:
        hard: ``[N]`` bool.

    Raises:
        TamisError: the separator does not speak of as many examples as there are.
    """
    kind = truth.kind.cpu().numpy()
    wrong, clean = (kind & int(Kind.MISLABELED)) != 0, kind == int(Kind.CLEAN)
    score = said.score.double().cpu().numpy()
    if score.shape != wrong.shape:
        raise TamisError(f"the separator speaks of {list(score.shape)} examples, but there are {list(wrong.shape)}.")
    low, high = said.interval or (None, None)
    realised = float(wrong.mean())
    row: Row = {
        "auroc": auroc(score, wrong, clean, True),
        "auroc_hardest": auroc(score, wrong, clean & hard, True),
        "rate_estimated": said.rate,
        "rate_low": low,
        "rate_high": high,
        "rate_covered": None if low is None or high is None else float(low <= realised <= high),
        "calibration_error": None,
        "suggested_right": None,
    }
    if said.suggested is not None and wrong.any():
        row["suggested_right"] = float((said.suggested.cpu().numpy() == truth.label.cpu().numpy())[wrong].mean())
    bins: list[Row] = []
    if said.probability is not None:
        row["calibration_error"], bins = reliability(said.probability.double().cpu().numpy(), wrong)
    for target in TARGETS:
        flagged = _flagged(said, target)
        mine = None if flagged is None else flagged.cpu().numpy()
        row |= {f"{name}_{100 * target:02.0f}": value for name, value in _list(mine, wrong).items()}
    return row, bins


def reliability(p: np.ndarray, wrong: np.ndarray, bins: int = BINS) -> tuple[float, list[Row]]:
    """Expected calibration error over bins of equally many examples, and the bins: mean ``predicted``, ``realised``.

    Formula: ``sum_b (n_b / N) |mean of p in b - share of wrong in b|``, the bins by rising p, ties as they stand.

    Example:
        >>> error, found = reliability(np.array([0.1, 0.3, 0.8, 1.0]), np.array([0, 0, 1, 1], bool), bins=2)
        >>> round(error, 3), [round(b["predicted"], 3) for b in found], [b["realised"] for b in found]
        (0.15, [0.2, 0.9], [0.0, 1.0])

    Reference: Naeini et al. 2015; bins of equal mass: Nguyen & O'Connor 2015.
    """
    parts = [part for part in np.array_split(p.argsort(kind="stable"), bins) if len(part)]
    found = [
        {"bin": k, "count": len(part), "predicted": float(p[part].mean()), "realised": float(wrong[part].mean())}
        for k, part in enumerate(parts)
    ]
    return sum(b["count"] * abs(b["predicted"] - b["realised"]) for b in found) / len(p), found


def _flagged(said: Said, target: float) -> Tensor | None:
    """Its list at the target: as it makes one itself, by its probability, or the only one it has."""
    if said.lists is not None:
        return said.lists(target)
    return said.flagged if said.probability is None else flag(said.probability, target)


def _list(flagged: np.ndarray | None, wrong: np.ndarray) -> Row:
    """What a list of suspects holds."""
    if flagged is None:
        return {"flagged": None, "fdr": None, "recall": None}
    return {
        "flagged": float(flagged.mean()),
        "fdr": float((~wrong)[flagged].mean()) if flagged.any() else 0.0,
        "recall": float(flagged[wrong].mean()) if wrong.any() else None,
    }
