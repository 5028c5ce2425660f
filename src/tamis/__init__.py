"""Tamis: sieve training examples while a network trains on them.

The public names, grouped by concept; nothing is computed here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tamis.data.indexed import Indexed
from tamis.observe import reducers, scores, signals
from tamis.observe.scores import Score
from tamis.selection import policies, rules, schedules
from tamis.selection.cost import PriceList, measure_prices
from tamis.selection.policy import Policy
from tamis.separation.evidence import Evidence
from tamis.separation.gathering import cross_fit, gather_evidence
from tamis.separation.one_run import separate_one_run
from tamis.separation.separate import Verdicts, separate
from tamis.separation.watch import Watch
from tamis.sieve import Sieve
from tamis.types import Arrays, Costs, Kind, Observation, Record, Selection, TamisError, Truth

if TYPE_CHECKING:
    from tamis.auditing.audit import Audit, audit

__version__ = "0.1.0"

__all__ = [
    "Arrays",
    "Audit",
    "Costs",
    "Evidence",
    "Indexed",
    "Kind",
    "Observation",
    "Policy",
    "PriceList",
    "Record",
    "Score",
    "Selection",
    "Sieve",
    "TamisError",
    "Truth",
    "Verdicts",
    "Watch",
    "audit",
    "cross_fit",
    "gather_evidence",
    "measure_prices",
    "policies",
    "reducers",
    "rules",
    "schedules",
    "scores",
    "separate",
    "separate_one_run",
    "signals",
]


def __getattr__(name: str) -> Any:
    """``audit`` and ``Audit`` bring tables and pages along, so they are loaded when they are asked for."""
    if name in ("audit", "Audit"):
        from tamis.auditing import audit as module

        return getattr(module, name)
    raise AttributeError(f"module 'tamis' has no attribute {name!r}")
