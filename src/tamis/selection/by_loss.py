"""Published methods that go by the loss: each a priority, a rule and a schedule, in one expression."""

from __future__ import annotations

from tamis.observe import signals
from tamis.observe.reducers import Ema, Last
from tamis.observe.relative import batch_loss
from tamis.observe.scores import Score, last_loss
from tamis.selection.policy import Focal, Look, Needs, Policy, said
from tamis.selection.rules import (
    Everything,
    PowerDraw,
    ProportionalDraw,
    PruneBelowMean,
    RankDraw,
    StreamingPower,
    TopK,
)
from tamis.selection.schedules import AfterPasses, ByAccuracy, Ramp, VarianceGate, Window
from tamis.types import TamisError


def selective_backprop(beta: float = 1.0, history: int = 1024, stale: int = 1) -> Policy:
    """Selective-Backprop: keep each example with probability percentile(loss)^beta among the last ``history`` losses.

    Expected share kept 1 / (beta + 1): beta 1, 2, 3 = 50, 33, 25 %. The first pass is unfiltered, as published. With
    ``stale`` 2 or 3 the candidates are forwarded in one pass out of so many; between, the loss last seen there holds.

    Cost: forward / (keep stale) + step per trained example. Knobs: beta 1; more only on data known to be clean.
    Fails when: mislabeled or corrupted examples keep a high loss: up to 1 - (1 - eps)^(beta + 1) of what it trains on.

    Reference: Jiang et al. 2019, arXiv:1910.00762.

    Example:
        >>> round(selective_backprop(beta=2).keep, 2)
        0.33
    """
    settings = (
        {"beta": beta} | ({"history": history} if history != 1024 else {}) | ({"stale": stale} if stale != 1 else {})
    )
    rule, reference = StreamingPower(beta, history), "Jiang et al. 2019, arXiv:1910.00762"
    label = said("selective_backprop", **settings)
    return Policy(label, rule, reference, signals.loss, AfterPasses(1), level="batch", look=Look(every=stale))


def selective_backprop_inbatch(keep: float = 0.5) -> Policy:
    """Selective-Backprop by composer's rule: draw inside the batch, without replacement, by percentile^(1/keep - 1).

    Differs from the streaming original: no history, and every batch keeps exactly the same number. Composer's
    production schedule is :func:`selective_backprop_composer`.

    Cost: forward / keep + step per trained example. Fails when: as :func:`selective_backprop`.

    Reference: MosaicML composer, SelectiveBackprop.

    Example:
        >>> selective_backprop_inbatch(keep=0.5).candidates(128)
        256
    """
    label = said("selective_backprop_inbatch", keep=keep)
    return Policy(label, PowerDraw(keep), "MosaicML composer, SelectiveBackprop", signals.loss, level="batch")


def selective_backprop_composer(
    keep: float = 0.5, start: float = 0.5, end: float = 0.9, interrupt: int = 2, scale: float = 0.5
) -> Policy:
    """Composer's production form of Selective-Backprop: in a window of the run, every other step, at half resolution.

    Inside [start, end) of the budget its in-batch rule draws ``keep`` of the candidates, looked at with pictures scaled
    by ``scale``; every ``interrupt``-th step is plain. Models of a fixed input size, such as an MLP, need scale=1.

    Cost: forward / keep + step per example trained on while it selects, about a quarter of the steps; a look at a
    smaller picture is charged as a whole one. Fails when: as :func:`selective_backprop`, only for a shorter time.

    Reference: MosaicML composer, SelectiveBackprop.

    Example:
        >>> selective_backprop_composer().schedule
        Window(start=0.5, end=0.9, interrupt=2)
    """
    label = said("selective_backprop_composer", keep=keep, start=start, end=end, interrupt=interrupt, scale=scale)
    reference, window = "MosaicML composer, SelectiveBackprop", Window(start, end, interrupt)
    return Policy(label, PowerDraw(keep), reference, signals.loss, window, level="batch", look=Look(scale=scale))


def importance_sampling(presample: float = 3, unbiased: bool = False) -> Policy:
    """Variance-reduction importance sampling with its gate: draw a batch from ``presample`` times as many candidates.

    By default as Hu et al. ran it: the loss as score, no importance weights, no warm-up, "max 33 %" (presample 3) or
    "max 50 %" (presample 2). ``unbiased=True`` gives weights 1/(B g_i) and the gradient's upper bound
    ||softmax(z) - onehot(y)||_2 as score, as published. The gate opens while tau > (presample + 3) / 3.

    Cost: (presample forwards + 1 step) per trained example while the gate is open, 1 step while it is not.
    Fails when: without weights, it trains on what has a high loss, noise first; with them, noise inflates the
    variance, and the gate seldom opens.

    Reference: Katharopoulos & Fleuret 2018, arXiv:1803.00942; as used in Hu et al. 2021, arXiv:2107.07741.

    Example:
        >>> importance_sampling(presample=2).label
        'importance_sampling(presample=2)'
    """
    label = said("importance_sampling", presample=presample, **({"unbiased": True} if unbiased else {}))
    rule = ProportionalDraw(_kept(presample), weighted=unbiased)
    signal = signals.el2n if unbiased else signals.loss
    gate = VarianceGate(presample)
    return Policy(label, rule, "Katharopoulos & Fleuret 2018, arXiv:1803.00942", signal, gate, level="batch")


def biased_importance(presample: float = 3, power: float = 0.5) -> Policy:
    """Importance sampling by the loss with weights raised to the power k: k = 1 is unbiased, below it favours the hard.

    Cost: presample forwards + 1 step per trained example, always: it has no gate.
    Knobs: power, in (-inf, 1]. Fails when: labels are noisy: half of the weight that would make up for it is missing.

    Reference: Katharopoulos & Fleuret 2017, arXiv:1706.00043.

    Example:
        >>> biased_importance().rule.unbiased
        False
    """
    label, rule = (
        said("biased_importance", presample=presample, power=power),
        ProportionalDraw(_kept(presample), power=power),
    )
    return Policy(label, rule, "Katharopoulos & Fleuret 2017, arXiv:1706.00043", signals.loss, level="batch")


def loss_proportional(keep: float = 1 / 3) -> Policy:
    """Draw the batch from 1/keep times as many candidates in proportion to their losses, with no weights and no gate.

    Cost: forward / keep + step per trained example.
    Fails when: noise keeps a high loss: its share becomes eps L_noisy / (eps L_noisy + (1 - eps) L_clean).

    Reference: the biased form of Katharopoulos & Fleuret 2018, arXiv:1803.00942.

    Example:
        >>> loss_proportional(keep=0.5).candidates(128)
        256
    """
    label, rule = said("loss_proportional", keep=keep), ProportionalDraw(keep, weighted=False)
    return Policy(label, rule, "Katharopoulos & Fleuret 2018, arXiv:1803.00942", signals.loss, level="batch")


def focal(gamma: float = 2.0) -> Policy:
    """Focal loss: every example is trained on, and weighs less the surer the model is of it: -(1 - p_y)^gamma log p_y.

    Cost: 1 per epoch, as plain training. Knobs: gamma, 0 is plain cross-entropy.
    Fails when: labels are noisy: what the model is least sure of weighs most.

    Reference: Lin et al. 2017, arXiv:1708.02002.

    Example:
        >>> import torch
        >>> focal().reshape(torch.tensor([0.0, 2.0])).round(decimals=3)
        tensor([0.0000, 1.4950])
    """
    reference = "Lin et al. 2017, arXiv:1708.02002"
    return Policy(said("focal", gamma=gamma), Everything(), reference, reshape=Focal(gamma))


def online_batch_selection(pressure: float = 100.0, refresh: float = 0.1) -> Policy:
    """Online Batch Selection: draw by the rank of the latest known loss, with a pressure that anneals to 1.

    p_i proportional to exp(-log(s_e) i / N), s_e from ``pressure`` exponentially down to 1 over the budget. At the end
    of every pass the share ``refresh`` with the highest known losses is looked at anew.

    Cost: 1 per epoch, and a forward for each example refreshed. Knobs: pressure; the paper tries 1 to 10^8.
    Fails when: labels are noisy early, while the pressure is high.

    Differs from the paper in that the ranks are taken once an epoch, and that a refresh is in eval mode.

    Reference: Loshchilov & Hutter 2015, arXiv:1511.06343.

    Example:
        >>> online_batch_selection().schedule.end
        1.0
    """
    label, reference = (
        said("online_batch_selection", pressure=pressure, refresh=refresh),
        "Loshchilov & Hutter 2015, arXiv:1511.06343",
    )
    known = Score("latest_known_loss", signals.loss, Last(), True, reference, phase="any")
    ramp = Ramp("pressure", pressure, 1.0, exponential=True)
    return Policy(label, RankDraw(pressure), reference, known, ramp, needs=Needs(refresh=refresh))


def top_k(keep: float = 1 / 3) -> Policy:
    """Online hard example mining: of 1/keep batches of candidates train on the one batch with the highest losses.

    Cost: forward / keep + step per trained example.
    Fails when: the noise rate nears ``keep``: then whole batches are noise, min(1, eps / keep).

    Reference: Shrivastava et al. 2016, arXiv:1604.03540; Ordered SGD with a fixed q, Kawaguchi & Lu 2020.

    Example:
        >>> top_k(keep=0.25).candidates(128)
        512
    """
    reference = "Shrivastava et al. 2016, arXiv:1604.03540"
    return Policy(said("top_k", keep=keep), TopK(keep), reference, signals.loss, level="batch")


def ordered_sgd() -> Policy:
    """Ordered SGD: of each batch's candidates the q with the highest losses, q / b = 1, 1/2, 1/4, 1/8, 1/16.

    q falls as the running training accuracy rises past .8, .9, .95 and .995.

    Cost: forward / keep + step per trained example. Fails when: labels are noisy, worst at the end, when what still has
    a high loss is noise.

    Differs from the paper in that the trained batch keeps its size while the candidates grow, and in looking first.

    Reference: Kawaguchi & Lu 2020, arXiv:1907.04371.

    Example:
        >>> ordered_sgd().schedule.steps[0]
        (0.8, 0.5)
    """
    reference = "Kawaguchi & Lu 2020, arXiv:1907.04371"
    return Policy("ordered_sgd", TopK(1.0), reference, signals.loss, ByAccuracy(), level="batch")


def infobatch(drop: float = 0.5, until: float = 0.875) -> Policy:
    """InfoBatch: each epoch leave out an example whose last loss is below the mean with probability ``drop``; rescale.

    Those that stay weigh 1 / (1 - drop), so the expected gradient is that of all. No pruning after ``until`` of the
    budget. The step's loss is the plain mean of weight times loss, as published.

    Cost: 1 - drop P(loss < mean) per epoch; no selection forward. Knobs: drop .5, until .875.
    Fails when: it is compared at equal epochs: the fair control is plain training of the same cost. Step scale: because
    of the plain mean a step is longer than a plain one by the factor M/k, 1.4 where .3 is pruned.

    Reference: Qin et al. 2024, arXiv:2303.04947.

    Example:
        >>> infobatch().rule.unbiased
        True
    """
    label, reference = said("infobatch", drop=drop, until=until), "Qin et al. 2024, arXiv:2303.04947"
    return Policy(label, PruneBelowMean(drop), reference, last_loss(), Window(0.0, until), plain_mean=True)


def batch_loss_score(drop: float = 0.5, until: float = 0.875, momentum: float = 0.7) -> Policy:
    """InfoBatch with the batch's mean loss as a stand-in for the example's own, averaged over its visits.

    Cost: as :func:`infobatch`; it needs no per-example loss. Fails when: epochs are few: the stand-ins are then mostly
    chance, and it prunes at random.

    Reference: Batch Loss Score, arXiv:2604.04681.

    Example:
        >>> batch_loss_score().priority.name
        'batch_loss'
    """
    label, reference = said("batch_loss_score", drop=drop, until=until, momentum=momentum), "arXiv:2604.04681"
    score = Score("batch_loss", batch_loss, Ema(momentum), True, reference)
    return Policy(label, PruneBelowMean(drop), reference, score, Window(0.0, until), plain_mean=True)


def _kept(presample: float) -> float:
    """The share that is kept of so many times the batch."""
    if not presample >= 1:
        raise TamisError(f"presample is {presample!r}, but candidates come in at least 1 times the batch.")
    return 1 / presample
