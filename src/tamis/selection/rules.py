"""Rules: the ways of turning priorities into a selection, and the table of them all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from tamis.selection.filters import MixtureFilter, PruneBelowMean
from tamis.selection.orthogonal import OrthogonalDraw
from tamis.selection.rule import Rule, State, check_keep, mean_over_kept, rand, told
from tamis.types import Selection, TamisError

__all__ = [
    "RULES",
    "Everything",
    "MixtureFilter",
    "OrthogonalDraw",
    "PowerDraw",
    "ProportionalDraw",
    "PruneBelowMean",
    "RankDraw",
    "Rule",
    "State",
    "StreamingPower",
    "TopK",
    "UniformDraw",
    "check_keep",
]


@dataclass(frozen=True)
class Everything:
    """Keep every candidate once, with weight 1: plain SGD.

    Example:
        >>> selection, _ = Everything().select({}, torch.zeros(3), 3, torch.Generator())
        >>> selection.keep.tolist(), selection.weight.tolist()
        ([0, 1, 2], [1.0, 1.0, 1.0])
    """

    unbiased: ClassVar[bool] = True
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    @property
    def keep(self) -> float:
        return 1.0

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        return Selection(torch.arange(m, device=priority.device), torch.ones(m, device=priority.device), m), state


@dataclass(frozen=True)
class TopK:
    """Keep the ``size`` candidates of the highest priority (OHEM; Ordered SGD with a fixed q). Ties go to the earlier.

    Share of noise among the kept, all noisy above all clean: min(1, eps / keep).

    Example:
        >>> selection, _ = TopK(keep=0.5).select({}, torch.tensor([1.0, 3.0, 2.0, 0.0]), 2, torch.Generator())
        >>> sorted(selection.keep.tolist())
        [1, 2]

    Fails when: labels or inputs are noisy; a batch can be all noise as soon as the noise rate exceeds ``keep``.
    """

    keep: float = 1 / 3
    unbiased: ClassVar[bool] = False
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_keep(self.keep)

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        order = told(priority).argsort(descending=True, stable=True)
        return mean_over_kept(order[:size], priority.shape[0]), state


@dataclass(frozen=True)
class PowerDraw:
    """Draw ``size`` candidates without replacement with probability proportional to percentile^(1/keep - 1).

    percentile_i = (rank_i + 1/2) / M with ranks 0..M-1 from the lowest priority up, inside the batch of candidates; the
    draw is successive (an exponential race: the ``size`` largest of w_i / E_i, E_i ~ Exp(1), which is the same law and
    needs no host synchronisation). The in-batch rule of composer's SelectiveBackprop.

    Fails when: noise keeps a high loss, as for every rule that prefers it.
    """

    keep: float = 0.5
    unbiased: ClassVar[bool] = False
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_keep(self.keep)

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        rank = torch.empty(m, dtype=torch.float64, device=priority.device)
        rank[told(priority).argsort(stable=True)] = torch.arange(m, dtype=torch.float64, device=priority.device)
        log_weight = (1 / self.keep - 1) * ((rank + 0.5) / m).log()
        race = log_weight - (-rand(m, priority, generator).log()).log()
        return mean_over_kept(race.argsort(descending=True, stable=True)[:size], m), state


@dataclass(frozen=True)
class StreamingPower:
    """Keep each candidate on its own with probability percentile^beta among the last ``history`` losses.

    Selective-Backprop's rule, as streamed by its authors: a loss enters the history, then
    percentile = #(history < loss) / len(history), then one Bernoulli draw. Expected share kept: 1 / (beta + 1).
    The percentile counts strictly smaller losses, so among equal losses nothing is kept.

    Share of noise among the kept, all noisy above all clean: 1 - (1 - eps)^(beta + 1).

    Reference: Jiang et al. 2019, arXiv:1910.00762.
    """

    beta: float = 1.0
    history: int = 1024
    unbiased: ClassVar[bool] = False
    fixed_size: ClassVar[bool] = False
    streaming: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not self.beta >= 0 or math.isinf(self.beta):
            raise TamisError(f"beta is {self.beta!r}, but the selectivity must be a finite number of at least 0.")
        if type(self.history) is not int or self.history < 1:
            raise TamisError(f"history is {self.history!r}, but a whole number of losses, at least 1, is remembered.")

    @property
    def keep(self) -> float:
        return 1 / (self.beta + 1)

    def init(self) -> State:
        return {"history": torch.full((self.history,), torch.nan)}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        if m == 0:
            return mean_over_kept(torch.empty(0, dtype=torch.int64, device=priority.device), 0), state
        seen = torch.cat([state["history"].to(priority.device), priority.float()])
        window = seen[1:].unfold(0, self.history, 1)  # [M, history], each ending with its own candidate
        # NaN, the not-yet-filled part, is smaller than nothing and is not counted in the length.
        percentile = (window < priority.float()[:, None]).sum(1) / (~window.isnan()).sum(1).clamp(min=1)
        drawn = rand(m, priority, generator) < percentile.double() ** self.beta
        return mean_over_kept(drawn.nonzero().squeeze(1), m), {"history": seen[-self.history :].clone()}


@dataclass(frozen=True)
class ProportionalDraw:
    """Draw ``size`` candidates with replacement with probability g_i = priority_i / sum(priority).

    With ``weighted`` the kept weigh 1 / (size * g_i) = 1 / E[times drawn], and the batch gradient is unbiased;
    without, they weigh alike, and the rule trains on what has a high priority. A ``power`` k below 1 lies between:
    a kept loss is multiplied by (1 / (M g_i))^k, which leans towards high priorities. Negative priorities count as 0,
    infinite ones as the largest finite one; if all are 0 the draw is uniform.

    Reference: Katharopoulos & Fleuret 2018, arXiv:1803.00942; with a power, 2017, arXiv:1706.00043.
    """

    keep: float = 1 / 3
    weighted: bool = True
    power: float = 1.0
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if not -math.inf < self.power <= 1:
            raise TamisError(f"power is {self.power!r}, but weights are raised to a finite power of at most 1.")

    @property
    def unbiased(self) -> bool:
        return self.weighted and self.power == 1

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        g = told(priority.double()).clamp(min=0)
        g = g.clamp(max=torch.where(g.isfinite(), g, 0.0).max())  # an infinite one counts as the largest finite one
        total = g.sum()
        g = torch.where(total > 0, g / total.clamp(min=torch.finfo(torch.float64).tiny), torch.full_like(g, 1 / m))
        cumulative = g.cumsum(0)
        # side="right" and a draw below the last sum: an example of probability 0 is never drawn.
        drawn = torch.searchsorted(cumulative, rand(size, priority, generator) * cumulative[-1], right=True)
        drawn = drawn.clamp(max=m - 1)
        if not self.weighted:
            return mean_over_kept(drawn, m), state
        weight = 1 / (size * g[drawn])
        if self.power != 1:
            weight = (weight * size / m) ** self.power * m / size
        return Selection(drawn, weight.float(), m), state


@dataclass(frozen=True)
class RankDraw:
    """Draw ``size`` candidates with replacement, with a probability that falls exponentially over the ranks.

    p_i proportional to exp(-log(s_e) i / M), i = 1..M from the highest priority down, so that the first is drawn s_e
    times as often as the last: the selection pressure. The kept weigh alike.

    Share of noise among the kept, all noisy above all clean: (1 - s_e^-eps) / (1 - 1 / s_e).

    Fails when: noise keeps a high loss: at s_e = 100 and a quarter of noise it makes up .69 of what is trained on.

    Reference: Loshchilov & Hutter 2015, arXiv:1511.06343.
    """

    pressure: float = 100.0
    keep: float = 1.0
    unbiased: ClassVar[bool] = False
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_keep(self.keep)
        if not 1 <= self.pressure < math.inf:
            raise TamisError(f"pressure is {self.pressure!r}, but the selection pressure is a number of at least 1.")

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        place = torch.arange(1, m + 1, dtype=torch.float64, device=priority.device)
        cumulative = (-math.log(self.pressure) / m * place).exp().cumsum(0)
        drawn = torch.searchsorted(cumulative, rand(size, priority, generator) * cumulative[-1], right=True)
        order = told(priority).argsort(descending=True, stable=True)
        return mean_over_kept(order[drawn.clamp(max=m - 1)], m), state


@dataclass(frozen=True)
class UniformDraw:
    """Draw ``size`` candidates without replacement, whatever their priority: the random control of every rule.

    Example:
        >>> selection, _ = UniformDraw(keep=0.5).select({}, torch.zeros(4), 2, torch.Generator().manual_seed(0))
        >>> len(set(selection.keep.tolist()))
        2
    """

    keep: float = 0.5
    unbiased: ClassVar[bool] = True
    fixed_size: ClassVar[bool] = True
    streaming: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_keep(self.keep)

    def init(self) -> State:
        return {}

    def select(self, state: State, priority: Tensor, size: int, generator: torch.Generator) -> tuple[Selection, State]:
        m = priority.shape[0]
        return mean_over_kept(rand(m, priority, generator).argsort(stable=True)[:size], m), state


RULES: dict[str, Callable[..., Rule]] = {
    "everything": Everything,
    "top_k": TopK,
    "power_draw": PowerDraw,
    "streaming_power": StreamingPower,
    "proportional_draw": ProportionalDraw,
    "rank_draw": RankDraw,
    "uniform_draw": UniformDraw,
    "prune_below_mean": PruneBelowMean,
    "mixture_filter": MixtureFilter,
    "orthogonal_draw": OrthogonalDraw,
}
