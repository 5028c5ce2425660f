"""One plain run, read by Bayes: which labels are probably wrong, for the cost of the training that is done anyway.

AUM takes the mean margin of such a run. The mean logits say more: which class the example looks like, by the passes
that do not yet know its label by heart; and the surest examples of the passes that know most and have learnt least by
heart say how often the labels of a class are wrong, and which they become. Both together give a probability, a
suggested label and a rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tamis.loop import Recipe
from tamis.observe.calibration import confusion, doubted, pooled
from tamis.observe.posterior import flag, true_label
from tamis.observe.rate import at_rate
from tamis.separation.evidence import Evidence
from tamis.separation.ready import Network, ready
from tamis.separation.separate import Verdicts, check
from tamis.separation.student import Student
from tamis.separation.watch import Watch
from tamis.separation.words import SHOWN, named
from tamis.types import Arrays, Costs, TamisError

DOUBT = 0.5  # of the network's word, which it was told in part: see tamis.observe.calibration.doubted
SURER = 1.5  # of the log-odds: so much doubt ranks best and leaves every probability too near to the rate


def plain_run(
    data: Arrays,
    model: nn.Module,
    see: Callable[[int, Tensor, Tensor], None],
    *,
    recipe: Recipe | None = None,
    passes: int = 10,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Costs:
    """Train ``model`` in place, plainly, and show each pass's logits, as every example was met before its own update.

    Args:
        see: called after each pass with its number, from 0, with ``[N, K]`` float32, NaN where an example was not met,
            and with the indices ``[M]`` of the others in the order in which they were met.

    Returns:
        What it took: training and nothing else.

    Raises:
        TamisError: data or labels that do not fit, fewer examples than a batch, a model that gives no logits for them.
    """
    recipe, tried = ready(data, lambda _: model, recipe, seed)
    student = Student(data, tried(seed), recipe, passes, seed)
    for number in range(passes):
        said, met = student.one_pass()
        see(number, torch.where(met[:, None] > 0, said, torch.nan), student.order)
        if progress is not None:
            progress((number + 1) / passes)
    return student.sieve.costs


def watch_one_run(
    data: Arrays,
    network: Network,
    *,
    recipe: Recipe | None = None,
    passes: int = 10,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Evidence:
    """One plain run as evidence for :func:`separate_one_run`: mean logits, and a transition matrix.

    The probabilities are ``softmax(1.5 m)``, m the mean over passes of an example's logits, each pass by the share
    ``1 - rho`` of what it explains that it does not know by heart. The matrix is that of the surest fifth of every
    class, by the mean probabilities of the passes, each by ``(n (1 - rho)^2)^3`` with n the nats that it explains of
    examples that were never met: then a network is right about them and has not yet learnt their wrong labels. Both are
    found as :mod:`tamis.observe.memorization` says. The first half of the first pass is not heard for the matrix.

    Args:
        data: with the labels as they were given. network: seed to a fresh network that gives logits ``[B, K]``.
        recipe: how it is trained; None is :meth:`~tamis.loop.Recipe.sized`. progress: called with the fraction done.

    Raises:
        TamisError: fewer than 2 passes; as for :func:`~tamis.separation.gathering.gather_evidence`.

    Example:
        >>> data = Arrays(torch.randn(60, 4), torch.arange(60) % 2, 2)
        >>> found = watch_one_run(data, lambda seed: nn.Linear(4, 2), recipe=Recipe(batch=10), passes=3)
        >>> found.probabilities.shape, found.looks[0].item(), found.costs.backwards
        (torch.Size([60, 2]), 3.0, 180)

    Fails when: the run is so short that no pass knows anything, or the network learns labels by heart before it has
    learnt what examples have in common.
    """
    recipe, tried = ready(data, network, recipe, seed)
    if passes < 2:
        raise TamisError(f"passes is {passes}, but what is known by heart shows from one pass to the next: at least 2.")
    watch, y, model = Watch(len(data.y), data.classes), data.y.cpu(), tried(seed)

    def see(_: int, said: Tensor, order: Tensor) -> None:
        index = torch.cat([order, said[:, 0].isnan().nonzero()[:, 0]])  # who was not met says nothing
        watch.see(index, said[index], y[index])

    return watch.evidence(plain_run(data, model, see, recipe=recipe, passes=passes, seed=seed, progress=progress))


def separate_one_run(evidence: Evidence, *, fdr: float = 0.05) -> Verdicts:
    """Which labels are probably wrong, by one plain run: a better list than AUM's at the same cost, and a rate.

    ``p(i | x, y) ~ p(i | x) T[i, y]``, where half of the network's word p is replaced by what is usual among the
    examples that it predicts as that class, and T is the evidence's matrix. ``p_mislabeled`` is ``1 - p(y | x, y)``
    with its log-odds times 1.5, moved by one constant until its mean is the rate ``sum_i P(true = i) (1 - T[i, i])``.

    Args:
        evidence: as :func:`watch_one_run` gives. fdr: in (0, 1).

    Returns:
        Verdicts as :func:`~tamis.separation.separate.separate` gives them, without an interval and the other kinds.

    Raises:
        TamisError: evidence without probabilities or matrix, rows that are no probabilities or of a single class, a
            target outside (0, 1).

    Example:
        >>> p = torch.tensor([[0.95, 0.05]] * 6 + [[0.05, 0.95]] * 5 + [[0.97, 0.03]])
        >>> given, noisy = torch.tensor([0] * 6 + [1] * 6), torch.tensor([[0.8, 0.2], [0.1, 0.9]])
        >>> found = separate_one_run(Evidence(given, torch.zeros(12), torch.ones(12), None, p, noisy))
        >>> found.table.sort("p_mislabeled", descending=True)["index", "suggested_label"].row(0)
        (11, 0)

    Fails when: noise goes from class to class: the network has trained on the labels it is asked about, so the list is
    good and its probabilities are too low at the top (few are flagged at a low target). Several networks that did not
    see the example do better, for 2.6 runs: :func:`~tamis.separation.gathering.gather_evidence`.

    Reference: the run and its margin: Pleiss et al. 2020, arXiv:2001.10528; anchors: Liu & Tao 2016, arXiv:1411.7718.
    """
    import polars as pl

    if evidence.probabilities is None or evidence.matrix is None:
        raise TamisError("one run is read by its probabilities and its matrix, and this evidence lacks one of them.")
    check(evidence)
    given, p = evidence.label, evidence.probabilities.double()
    matrix = pooled(evidence.matrix, true_label(p, evidence.matrix, given).sum(0))
    posterior = true_label(doubted(p, confusion(p), DOUBT), matrix, given)
    own = posterior.gather(1, given[:, None])[:, 0]
    share = torch.bincount(p.argmax(1), minlength=p.shape[1]).double() / max(1, len(p))
    wrong = at_rate(1 - own, float(share @ (1 - matrix.diagonal())), SURER)
    best = posterior.scatter(1, given[:, None], -1.0).max(1)
    n, chance = len(given), best.values.clamp(min=0) * wrong / (1 - own).clamp(min=1e-12)
    flagged = flag(wrong, fdr)
    columns: dict[str, Any] = {
        "index": torch.arange(n).numpy(),
        "label": given.numpy(),
        **{f"p_{name}": [None] * n for name in SHOWN},
        "p_mislabeled": wrong.numpy(),
        "kind": named({"mislabeled": torch.where(flagged, 1.0, wrong)}),  # what is flagged is called so
        "suggested_label": best.indices.numpy(),
        "p_suggested": chance.clamp(max=1).numpy(),
        "flagged": flagged.numpy(),
        "reasons": [
            f"p(label) {mine:.2f}; p(class {other}) {high:.2f}"
            for mine, other, high in zip(
                p.gather(1, given[:, None])[:, 0].tolist(), best.indices.tolist(),
                p.gather(1, best.indices[:, None])[:, 0].tolist(), strict=True,
            )
        ],
        **{name: [None] * n for name in ("neighbour", "confidence", "variability")},
    }  # fmt: skip
    real = dict.fromkeys((*(f"p_{name}" for name in SHOWN), "confidence", "variability"), pl.Float64)
    table = pl.DataFrame(columns, schema_overrides={**real, "neighbour": pl.Int64})
    missing = (
        "Only mislabeled examples are told from clean ones.",
        "One network was asked about examples that it trained on: the noise rate has no interval and may come out low.",
    )
    return Verdicts(table, float(wrong.mean()), None, matrix, fdr, missing)
