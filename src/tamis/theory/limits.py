"""The most noise that a rule can train on, and the least that selecting must gain to pay for itself."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from scipy.optimize import brentq
from scipy.special import gamma, gammainc, hyp1f1

from tamis.theory.epochs import worst_prune_below_mean, worst_rank_draw
from tamis.theory.inclusions import resolve
from tamis.types import TamisError

RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "keep": (lambda keep: 0 < keep <= 1, "is a share in (0, 1]"),
    "beta": (lambda beta: 0 <= beta < math.inf, "is a finite number of at least 0"),
    "drop": (lambda drop: 0 <= drop < 1, "is a probability in [0, 1)"),
    "pressure": (lambda pressure: 1 <= pressure < math.inf, "is a finite number of at least 1"),
    "ratio": (lambda ratio: ratio >= 0, "is a number of at least 0"),
}
OVERFLOWS = 30.0  # 1/p above which Γ(1 + 1/p) t^(-1/p) is no float at the least t that is tried, 1e-9


def worst_case_share(rule: object | str, rate: float, batch: int = 128, **parameters: Any) -> float:
    """The share of noise if every noisy example ranked above every clean one, for many candidates.

    Streaming power rule: ``1 - (1 - eps)^(beta + 1)``. Top-k: ``min(1, eps / keep)``. Power draw: ``(1 / keep) ∫ over
    the top eps of 1 - exp(-t q^p) dq``, p = 1/keep - 1. Draws in proportion: ``eps ratio / (eps ratio + 1 - eps)``.

    Args:
        rule, parameters: as for :func:`inclusion`; ``ratio``: mean noisy over mean clean loss, inf unless given.
        rate: eps, in [0, 1]. batch: not used, as candidates are many.

    Returns:
        In [0, 1], at least ``rate``.

    Raises:
        TamisError: a rule that the theory does not cover; a rate outside [0, 1]; a parameter that no such rule has.

    Example:
        >>> round(worst_case_share("StreamingPower", 0.25, beta=2), 3), worst_case_share("TopK", 0.25, keep=0.5)
        (0.578, 0.5)
    """
    if not 0 <= rate <= 1:
        raise TamisError(f"the noise rate is {rate!r}, but it is a share of the examples and lies in [0, 1].")
    name, parameters = resolve(rule, WORST_CASE, batch, parameters)
    _check(parameters)
    return WORST_CASE[name](rate, **parameters)


def crossover_rate(rule: object | str, share: float = 0.5, **parameters: Any) -> float:
    """The noise rate at which, in the worst case, ``share`` of what a rule trains on is noise.

    Above it a rule of high losses *can* train on more noise than that: streaming ``1 - (1 - share)^(1 / (beta + 1))``,
    top-k ``keep share``. In [0, ``share``]; lower is a more fragile rule; 0 where any noise may be enough, ``share``
    where nothing less is.

    Raises:
        TamisError: a rule that the theory does not cover; a share outside (0, 1).

    Example:
        >>> round(crossover_rate("StreamingPower", beta=2), 3), round(crossover_rate("TopK", keep=0.1), 3)
        (0.206, 0.05)
    """
    if not 0 < share < 1:
        raise TamisError(f"the share of noise is {share!r}, but a crossover lies strictly between 0 and 1.")
    tiny = min(1e-12, share / 2)
    if worst_case_share(rule, tiny, **parameters) >= share:
        return 0.0
    if worst_case_share(rule, share, **parameters) <= share:  # a rule that keeps nearly all, and rounding
        return share
    return float(brentq(lambda rate: worst_case_share(rule, rate, **parameters) - share, tiny, share, xtol=1e-12))


def break_even(
    keep: float, forward: float, step: float, data: float = 0.0, select: float = 0.0, gate: float = 1.0
) -> float:
    """What a trained example costs, in plain ones: by this factor selection must reduce the number of steps to pay.

    ``g ((f + d + r) / keep + s) / (s + d) + 1 - g``.

    Args:
        keep: share of the candidates that is kept, in (0, 1]. forward, step, data, select: prices f, s, d, r in one
            unit; ``step`` per trained example, the others per candidate (one call of a rule on M candidates: M r).
        gate: share g of the steps on which the policy selects.

    An epoch-level policy forwards nothing and loads only what it keeps: forward 0, and d counted within ``step``.

    Example:
        >>> round(break_even(0.5, forward=1, step=3), 3), break_even(0.5, forward=0, step=3)
        (1.667, 1.0)
    """
    _check({"keep": keep})
    return gate * ((forward + data + select) / keep + step) / (step + data) + 1 - gate


def max_gain(
    keep: float, forward: float, step: float, data: float = 0.0, select: float = 0.0, gate: float = 1.0
) -> float:
    """The most a policy can gain: the cost of plain training on as many candidates, over its own cost.

    ``(g / keep + 1 - g) / break_even``; with gate 1 ``(s + d) / (f + keep s + d + r)``. Reached if what is dropped was
    worth nothing; below 1 a policy cannot pay. Args: as for :func:`break_even`.

    Example:
        >>> [round(max_gain(keep, forward=1, step=3), 2) for keep in (1 / 2, 1 / 3, 1 / 4)]
        [1.2, 1.5, 1.71]
    """
    _check({"keep": keep})
    return (gate / keep + 1 - gate) / break_even(keep, forward, step, data, select, gate)


def _check(parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        inside, what = RANGES.get(name, (None, ""))
        if inside is not None and not inside(value):
            raise TamisError(f"{name} is {value!r}, but it {what}.")


def _worst_power_draw(rate: float, keep: float = 0.5) -> float:
    """G(x) = ∫_0^x exp(-t q^p) dq = Γ(1 + 1/p) P(1/p, t x^p) t^(-1/p), P the regularised incomplete gamma function.

    Where 1/p is large, Γ and the power overflow against each other; there G(x) = x e^-u M(1, 1 + 1/p, u), u = t x^p, M
    Kummer's function.
    """
    if keep == 1:
        return rate
    a = keep / (1 - keep)  # 1 / p

    def passed_over(x: float, t: float) -> float:
        u = t * x ** (1 / a)
        if u < 1e-280:  # P of a number that underflows is 0, but nothing of [0, x] is drawn
            return x
        if a > OVERFLOWS:
            return float(x * math.exp(-u) * hyp1f1(1, 1 + a, u))
        return float(gamma(1 + a) * gammainc(a, u) * t**-a)

    high = 1.0
    while passed_over(1, high) > 1 - keep:
        high *= 2
    t = brentq(lambda t: passed_over(1, t) - (1 - keep), 1e-9, high)
    return (rate - passed_over(1, t) + passed_over(1 - rate, t)) / keep


def _worst_proportional(rate: float, ratio: float = math.inf) -> float:
    if math.isinf(ratio):
        return float(rate > 0)
    return rate * ratio / (rate * ratio + 1 - rate)


WORST_CASE: dict[str, Callable[..., float]] = {
    "Everything": lambda rate: rate,
    "UniformDraw": lambda rate, keep=1.0: rate,
    "StreamingPower": lambda rate, beta=1.0: 1 - (1 - rate) ** (beta + 1),
    "PowerDraw": _worst_power_draw,
    "TopK": lambda rate, keep=1 / 3: min(1.0, rate / keep),
    "ProportionalDraw": _worst_proportional,
    "RankDraw": worst_rank_draw,
    "PruneBelowMean": worst_prune_below_mean,
}
