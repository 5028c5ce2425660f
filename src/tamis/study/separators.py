"""Separators: what says of every example how probably its label is wrong. Ours and its peers, a row each.

A further peer costs one function of a few lines and one row of :data:`SEPARATORS`. All are given the same labels, the
same network and recipe, and nothing that they are judged by. What a separator does not say, it leaves out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.loop import train
from tamis.observe import scores
from tamis.observe.features import penultimate
from tamis.observe.mixture import high_component
from tamis.observe.neighbours import nearest
from tamis.observe.out_of_fold import self_confidence
from tamis.observe.scores import Score
from tamis.selection.policies import uniform
from tamis.separation.gathering import gather_evidence
from tamis.separation.one_run import plain_run, separate_one_run, watch_one_run
from tamis.separation.separate import Verdicts, separate
from tamis.study.detection import FOLDS, Lab, cross_validated, second_split
from tamis.types import Arrays, Costs, TamisError, generator

LabOf = Callable[[Arrays], Lab]
NEIGHBOURS = 10
PERCENTILE = 0.99  # of the threshold class's AUM, below which an example is called mislabeled
PROBES, PROBE_NEIGHBOURS = 250, 20  # MAP-D's, in each suite


class Said(NamedTuple):
    """What a separator says of ``N`` examples.

    Attributes:
        score: ``[N]``, higher is more suspicious; infinities count as they stand. costs: what it took.
        probability: ``[N]`` of a wrong label.
        lists: its list ``[N]`` bool at any share of false discoveries that is accepted; None: by the probability.
        flagged: ``[N]`` bool, where the separator has one list of its own instead.
        suggested: ``[N]`` int64 labels. rate: the estimated share of wrong labels; interval: 95 %, of the rate.
    """

    score: Tensor
    costs: Costs
    probability: Tensor | None = None
    lists: Callable[[float], Tensor] | None = None
    flagged: Tensor | None = None
    suggested: Tensor | None = None
    rate: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Separator:
    """A row of the table.

    Attributes:
        ask: the separator itself: the lab with the labels as they were given, and how to set up another with other
            data. runs: what it costs, about, in runs of plain training. reference: who published it.
    """

    name: str
    ask: Callable[[Lab, LabOf], Said]
    runs: float
    reference: str


def ours(lab: Lab, of: LabOf) -> Said:
    """One run through a transition matrix and four folds, read by Bayes: ``gather_evidence`` and ``separate``."""
    evidence = gather_evidence(lab.data, lab.network, recipe=lab.recipe, passes=round(lab.passes), seed=lab.seed)
    return _verdicts(separate(evidence), evidence.costs)


def ours_in_one_run(lab: Lab, of: LabOf) -> Said:
    """A plain run whose passes are read by Bayes: ``watch_one_run`` and ``separate_one_run``."""
    evidence = watch_one_run(lab.data, lab.network, recipe=lab.recipe, passes=round(lab.passes), seed=lab.seed)
    return _verdicts(separate_one_run(evidence), evidence.costs)


def aum(lab: Lab, of: LabOf) -> Said:
    """The mean margin over a plain run. It has no list of its own without a threshold class."""
    _, columns, costs = _plain(lab, scores.aum())
    return Said(-columns["aum"], costs)


def aum_threshold(lab: Lab, of: LabOf) -> Said:
    """AUM of two runs with a class that does not exist, whose members show how low a label by chance lies.

    In each run another part of the data, as many as a class has, is given the extra label; the others are flagged below
    the 99th percentile of its AUM. Who was in neither part has the mean of both runs.
    """
    data, n = lab.data, len(lab.data.y)
    order = torch.randperm(n, generator=generator(lab.seed, "threshold"))
    fake = order[: 2 * (n // (data.classes + 1))].tensor_split(2)
    total, judged, flagged, costs = torch.zeros(n), torch.zeros(n), torch.zeros(n, dtype=torch.bool), Costs()
    for part in fake:
        y = data.y.clone().index_fill_(0, part.to(data.y.device), data.classes)
        _, columns, spent = _plain(of(Arrays(data.x, y, data.classes + 1)), scores.aum())
        own, free = columns["aum"], torch.ones(n, dtype=torch.bool).index_fill_(0, part, False)
        free &= own.isfinite()
        total[free] += own[free]
        judged[free] += 1
        flagged |= free & (own <= own[part].nanquantile(PERCENTILE))
        costs += spent
    return Said(-total / judged, costs, flagged=flagged)


def confident_learning(lab: Lab, of: LabOf) -> Said:
    """cleanlab itself on probabilities of five folds: its list and its rate by default, its order by its margin."""
    try:
        count, filtering, rank = (import_module(f"cleanlab.{name}") for name in ("count", "filter", "rank"))
    except ImportError as error:
        raise TamisError("cleanlab is not installed; pip install cleanlab.") from error
    probabilities, costs = _folds(lab)
    y, p = lab.data.y.cpu().numpy(), probabilities.numpy()
    quality = rank.get_label_quality_scores(y, p, method="normalized_margin")
    flagged = torch.as_tensor(filtering.find_label_issues(y, p, n_jobs=1))
    rate = float(1 - count.estimate_joint(y, p).trace())
    return Said(-torch.as_tensor(quality), costs, flagged=flagged, suggested=probabilities.argmax(1), rate=rate)


def own_probability(lab: Lab, of: LabOf) -> Said:
    """The probability of the given label by networks of five folds: the simplest use of them."""
    probabilities, costs = _folds(lab)
    return Said(-self_confidence(probabilities, lab.data.y.cpu()), costs, suggested=probabilities.argmax(1))


def knn_agreement(lab: Lab, of: LabOf) -> Said:
    """Neighbours in the penultimate features of a plain run that bear another label; flagged where they outvote it."""
    model, _columns, costs = _plain(lab)
    y = lab.data.y.cpu()
    _, index = nearest(penultimate(model, lab.data.x), NEIGHBOURS)
    votes = F.one_hot(y[index], lab.data.classes).sum(1)
    own = votes.gather(1, y[:, None])[:, 0]
    winner = votes.argmax(1)
    return Said(-own.float(), costs + Costs(forwards=len(y)), flagged=winner != y, suggested=winner)


def loss_mixture(lab: Lab, of: LabOf) -> Said:
    """Two normals over the mean loss of a plain run: the probability of the upper one."""
    _, columns, costs = _plain(lab, scores.mean_loss())
    loss = columns["mean_loss"].double()
    known = loss.isfinite()
    p = torch.full_like(loss, torch.nan)
    p[known] = high_component(loss[known], "gaussian")
    return Said(loss, costs, probability=p.nan_to_num(nan=float(p[known].mean())), rate=float(p[known].mean()))


def map_d(lab: Lab, of: LabOf) -> Said:
    """Loss trajectories whose neighbours among two suites of probes are mostly the mislabeled suite's.

    The suites are copies of examples of the set with a label by chance that they do not bear, and examples as they were
    given. Differs from the paper in that: with no clean data at hand it has no typical and no atypical suite.
    """
    data, n = lab.data, len(lab.data.y)
    size = min(PROBES, n // 10)
    chosen = torch.randperm(n, generator=generator(lab.seed, "probes"))[: 2 * size]
    wrong, given = chosen.to(data.y.device).tensor_split(2)
    shift = torch.randint(1, data.classes, (len(wrong),), generator=generator(lab.seed, "probes", 1))
    label = (data.y[wrong] + shift.to(data.y.device)) % data.classes
    both = Arrays(torch.cat([data.x, data.x[wrong]]), torch.cat([data.y, label]), data.classes)
    target, course = both.y.cpu(), []

    def see(_: int, said: Tensor, order: Tensor) -> None:
        course.append(F.cross_entropy(said, target, reduction="none"))

    costs = plain_run(both, lab.network(lab.seed), see, recipe=lab.recipe, passes=round(lab.passes), seed=lab.seed)
    trajectory = torch.stack(course, 1)
    trajectory = torch.where(trajectory.isfinite(), trajectory, trajectory.nanmedian(0).values)  # a pass it was not in
    suites = torch.cat([trajectory[n:], trajectory[given.cpu()]])
    near = torch.cdist(trajectory[:n], suites).topk(min(PROBE_NEIGHBOURS, len(suites)), largest=False).indices
    share = (near < len(wrong)).float().mean(1)
    return Said(share, costs, flagged=share > 0.5)


def second_split_forgetting(lab: Lab, of: LabOf) -> Said:
    """How soon an example of one half is forgotten while training goes on with the other; both halves in turn."""
    n, passes = len(lab.data.y), round(lab.passes)
    return Said(-second_split(lab), Costs(backwards=2 * passes * n, forwards=passes * n))


def _verdicts(found: Verdicts, costs: Costs) -> Said:
    p = torch.from_numpy(found.table["p_mislabeled"].to_numpy().copy())
    suggested = torch.from_numpy(found.table["suggested_label"].to_numpy().copy())
    return Said(p, costs, p, found.flag, None, suggested, found.noise_rate, found.interval)


def _plain(lab: Lab, *recorded: Score) -> tuple[nn.Module, dict[str, Tensor], Costs]:
    """A plain run: the network, what was recorded ``[N]`` by name, and the costs."""
    model = lab.network(lab.seed)
    record = train(
        model, lab.data, lab.data.take(torch.arange(1)), uniform(), budget=lab.passes, unit="passes",
        recipe=lab.recipe, seed=lab.seed, points=1, record=recorded,
    )  # fmt: skip
    columns = {name: torch.from_numpy(values).float() for name, values in record.examples.items()}
    return model, columns, record.points[-1].costs


def _folds(lab: Lab) -> tuple[Tensor, Costs]:
    """Probabilities ``[N, K]`` by networks of the other folds, and what they cost."""
    n = len(lab.data.y)
    return cross_validated(lab), Costs(backwards=round((FOLDS - 1) * lab.passes * n), forwards=n)


SEPARATORS: dict[str, Separator] = {
    row.name: row
    for row in (
        Separator("separate", ours, 2.7, "tamis.separate"),
        Separator("separate_one_run", ours_in_one_run, 1.0, "tamis.separation.one_run"),
        Separator("aum", aum, 1.0, "Pleiss et al. 2020, arXiv:2001.10528"),
        Separator("aum_threshold", aum_threshold, 2.0, "Pleiss et al. 2020, arXiv:2001.10528"),
        Separator("confident_learning", confident_learning, 4.1, "Northcutt et al. 2021, arXiv:1911.00068; cleanlab"),
        Separator("self_confidence", own_probability, 4.1, "Northcutt et al. 2021, arXiv:1911.00068"),
        Separator("knn_agreement", knn_agreement, 1.0, "Zhu et al. 2022 (SimiFeat), arXiv:2110.06283"),
        Separator("loss_mixture", loss_mixture, 1.0, "Li et al. 2020 (DivideMix), arXiv:2002.07394"),
        Separator("map_d", map_d, 1.1, "Siddiqui et al. 2022 (MAP-D), arXiv:2209.10015"),
        Separator("ssft", second_split_forgetting, 2.4, "Maini et al. 2022, arXiv:2210.15031"),
    )
}
