"""Tamis: sieve training examples while a network trains on them.

The public names, grouped by concept; nothing is computed here, and nothing is loaded before it is asked for: the
command says what is wrong with its arguments before torch is there.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tamis.auditing.audit import Audit, audit
    from tamis.data.indexed import Indexed
    from tamis.errors import TamisError
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
    from tamis.types import Arrays, Costs, Kind, Observation, Record, Selection, Truth

__version__ = "0.1.0"

_HOMES = {
    "auditing.audit": ("Audit", "audit"),
    "data.indexed": ("Indexed",),
    "errors": ("TamisError",),
    "observe": ("reducers", "scores", "signals"),
    "observe.scores": ("Score",),
    "selection": ("policies", "rules", "schedules"),
    "selection.cost": ("PriceList", "measure_prices"),
    "selection.policy": ("Policy",),
    "separation.evidence": ("Evidence",),
    "separation.gathering": ("cross_fit", "gather_evidence"),
    "separation.one_run": ("separate_one_run",),
    "separation.separate": ("Verdicts", "separate"),
    "separation.watch": ("Watch",),
    "sieve": ("Sieve",),
    "types": ("Arrays", "Costs", "Kind", "Observation", "Record", "Selection", "Truth"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

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
    if name in _HOME:
        home = import_module(f"tamis.{_HOME[name]}")
        found = getattr(home, name, None) or import_module(f"{home.__name__}.{name}")
    elif not name.startswith("_") and find_spec(f"tamis.{name}") is not None:  # tamis.data and its like
        found = import_module(f"tamis.{name}")
    else:
        raise AttributeError(f"module 'tamis' has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
