"""What a rule trains on, predicted from priorities alone; the worst it can do; and what selecting costs.

The primitive is the *inclusion* ``[N]`` of the training examples: the expected number of times each is trained on, per
time it is a candidate, by the rule exactly as it is implemented, when candidates arrive uniformly from the training
set. Applied to a method's own priorities the prediction is *closed-loop*; to those of uniform training, *open-loop*.
Rules are known here by the name of their class; nothing is imported from them. ``docs/theory.md`` derives it all.
"""

from tamis.theory.inclusions import (
    INCLUSION,
    average_inclusion,
    inclusion,
    inclusion_alike,
    inclusion_power_draw,
    inclusion_proportional_draw,
    inclusion_streaming_power,
    inclusion_top_k,
    noise_share,
    share,
    share_gated,
    shares_proportional_draw,
)
from tamis.theory.limits import WORST_CASE, break_even, crossover_rate, max_gain, worst_case_share

__all__ = [
    "INCLUSION",
    "WORST_CASE",
    "average_inclusion",
    "break_even",
    "crossover_rate",
    "inclusion",
    "inclusion_alike",
    "inclusion_power_draw",
    "inclusion_proportional_draw",
    "inclusion_streaming_power",
    "inclusion_top_k",
    "max_gain",
    "noise_share",
    "share",
    "share_gated",
    "shares_proportional_draw",
    "worst_case_share",
]
