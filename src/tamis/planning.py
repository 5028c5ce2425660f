"""Epoch-level selection: which examples an epoch holds, in which order, at which weights, and whom it looks at last."""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.drawing import Plan
from tamis.judging import Judge
from tamis.observe.scores import Score
from tamis.recorder import Recorder
from tamis.selection.schedules import Progress
from tamis.types import generator


def form_plan(
    judge: Judge,
    recorder: Recorder,
    within: Tensor,
    epoch: int,
    progress: Progress,
    allowed: bool = True,
    least: int = 1,
) -> Plan:
    """The plan of an epoch; a selection moves the judge's rule on.

    Args:
        recorder: holds the score that the policy goes by. within: ``[m]`` int64, ascending, whom it may draw.
        allowed: whether the policy's guard lets it select. least: where the priorities alone decide how many are kept,
            and they are fewer, those of the highest priority fill them up to this many.
    """
    policy, n, seed = judge.policy, recorder.n, judge.seed
    order = torch.randperm(n, generator=generator(seed, "order", epoch))
    place = torch.empty_like(order)
    place[order] = torch.arange(n)
    if len(within) < n:
        order = within[place[within].argsort()]
    selecting = allowed and judge.active(progress)
    if policy.seed_alone or not (selecting or policy.needs.refresh):
        return Plan(order)
    priority = torch.ones(len(within))
    if isinstance(policy.priority, Score):
        priority = recorder.compute(policy.priority).cpu()[within]
        unseen = priority.isnan()
        highest = torch.tensor(1.0) if bool(unseen.all()) else priority[~unseen].max()
        priority = torch.where(unseen, highest, priority)  # never seen: as important as the most important
    looks = _whom_to_look_at(judge, within, priority, progress)
    if not selecting:
        return Plan(order, looks=looks)
    rule = policy.rule_now(judge.schedule_state, progress)
    draw = generator(seed, "select", 0 if policy.fixed else epoch)
    size = max(1, round(rule.keep * len(within)))
    selection, judge.rule_state = rule.select(judge.rule_state, priority, size, draw)
    chosen, multiplier = selection.keep, selection.weight if policy.plain_mean else selection.multiplier
    if not rule.fixed_size and len(chosen) < least:
        out = torch.ones(len(within), dtype=torch.bool)
        out[chosen] = False
        others = out.nonzero().squeeze(1)
        fill = others[priority[others].argsort(descending=True, stable=True)[: least - len(chosen)]]
        chosen, multiplier = torch.cat([chosen, fill]), torch.cat([multiplier, multiplier.new_ones(len(fill))])
    kept = within[chosen]
    if len(kept.unique()) == len(kept):
        inside = place[kept].argsort(stable=True)  # a subset keeps the order of the whole
    else:  # drawn with replacement: in that order an example's copies would all come into one batch
        inside = torch.randperm(len(kept), generator=generator(seed, "deal", epoch))
    multiplier = multiplier[inside]
    plain = bool(((multiplier - 1).abs() < 1e-6).all())
    return Plan(kept[inside], None if plain else multiplier, True, looks)


def _whom_to_look_at(judge: Judge, within: Tensor, priority: Tensor, progress: Progress) -> Tensor | None:
    """The share of highest priority that a refresh looks at before the next epoch, if that one will select."""
    share = judge.policy.needs.refresh
    if not share or not judge.active(progress._replace(passes=progress.passes + 1)):
        return None
    return within[priority.argsort(descending=True, stable=True)[: round(share * len(within))]]
