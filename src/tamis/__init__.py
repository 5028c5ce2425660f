"""Tamis: sieve training examples while a network trains on them.

The public names, grouped by concept; nothing is computed here.
"""

from tamis.data.indexed import Indexed
from tamis.observe import reducers, scores, signals
from tamis.observe.scores import Score
from tamis.selection import policies, rules, schedules
from tamis.selection.cost import PriceList, measure_prices
from tamis.selection.policy import Policy
from tamis.separation.evidence import Evidence, gather_evidence
from tamis.separation.separate import Verdicts, separate
from tamis.sieve import Sieve
from tamis.types import Arrays, Costs, Kind, Observation, Record, Selection, TamisError, Truth

__version__ = "0.1.0"

__all__ = [
    "Arrays",
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
    "gather_evidence",
    "measure_prices",
    "policies",
    "reducers",
    "rules",
    "schedules",
    "scores",
    "separate",
    "signals",
]
