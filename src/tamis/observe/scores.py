"""Published difficulty scores: a signal, a reducer and an orientation, in one expression each.

A further score costs one expression, one docstring and one row of :data:`SCORES`. All are taken from the passes that
train (train mode, before the pass's own update) and cost no pass of their own. ``T`` is an example's visits.

Scores that need a model, its features or out-of-fold probabilities stand in :mod:`tamis.observe.model_scores`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tamis.observe import signals
from tamis.observe.reducers import (
    Count,
    Drops,
    Ema,
    First,
    Last,
    Mean,
    Reducer,
    Settled,
    Slope,
    Std,
    Total,
    Trend,
)
from tamis.observe.signals import Signal
from tamis.types import Phase

LABELS = ("logits", "target")


@dataclass(frozen=True)
class Score:
    """A difficulty score: one number per example over a run.

    Attributes:
        name: of its column in a table.
        signal: what is read off an observation, ``[B]``.
        reducer: what is made of it over time, ``[N]``.
        higher_is_harder: its orientation; False where the lowest values are the hardest or most suspicious.
        reference: who published it.
        needs: fields of an :class:`~tamis.types.Observation` it reads beside the loss.
        phase: the passes it is taken from; one score never mixes them, but for what was published so ("any").

    Example:
        >>> import torch
        >>> from tamis.types import Observation
        >>> score = mean_loss()
        >>> state = score.reducer.init(2)
        >>> for value in (1.0, 3.0):
        ...     seen = Observation(torch.tensor([0]), torch.tensor([value]))
        ...     score.reducer.update(state, seen.index, score.signal(seen))
        >>> score.reducer.compute(state)
        tensor([2., nan])
    """

    name: str
    signal: Signal
    reducer: Reducer
    higher_is_harder: bool
    reference: str
    needs: tuple[str, ...] = ()
    phase: Phase | Literal["any"] = "train"


def last_loss() -> Score:
    """The latest per-example loss, in the loss's unit: ``l_i(T)``. Higher is harder.

    Fails when: wrong labels have been memorised; then their loss is as low as any.

    Reference: Loshchilov & Hutter 2015, arXiv:1511.06343.
    """
    return Score("last_loss", signals.loss, Last(), True, "Loshchilov & Hutter 2015, arXiv:1511.06343")


def mean_loss() -> Score:
    """Mean per-example loss over all visits, in the loss's unit: ``(1/T) sum_t l_i(t)``. Higher is harder.

    It remembers the time before memorisation, which the latest loss does not.

    Fails when: examples are seen unevenly: who is seen early alone keeps the high loss of an untrained model.

    Reference: Huang et al. 2019 (O2U-Net).
    """
    return Score("mean_loss", signals.loss, Mean(), True, "Huang et al. 2019 (O2U-Net)")


def ema_loss(momentum: float = 0.9) -> Score:
    """Exponential average of the per-example loss, in its unit: ``e <- m e + (1 - m) l_i(t)``. Higher is harder.

    Args:
        momentum: m, the share of the past, in [0, 1).

    Fails when: ``1 / (1 - m)`` visits are longer than memorisation takes (see :func:`last_loss`), or than the run.

    Reference: common practice; no paper claims it.
    """
    return Score("ema_loss", signals.loss, Ema(momentum), True, "common practice")


def loss_slope() -> Score:
    """Least-squares slope of the loss over visits, in the loss's unit per visit. Higher (falls less) is harder.

    Formula: ``sum_t (t - t_mean)(l_i(t) - l_mean) / sum_t (t - t_mean)^2``.

    Fails when: the example was easy from the start (nothing left to fall), or memorised on a steep way down.

    Reference: a trend statistic in the spirit of ConfidenceTracking, arXiv:2504.17474, which tests label gaps instead.
    """
    return Score("loss_slope", signals.loss, Slope(), True, "trend statistic, cf. arXiv:2504.17474")


def el2n() -> Score:
    """Mean length of the error vector (EL2N): ``(1/T) sum_t ||p(x_i) - y_i||_2``, in [0, sqrt 2]. Higher is harder.

    Differs from the paper in that it averages over the visits of one run; as published it is one early epoch, averaged
    over several initialisations (record few epochs of several seeds, then ``reducer.average``).

    Fails when: it is read as "worth learning": mislabeled examples score highest.

    Reference: Paul et al. 2021, arXiv:2107.07075.
    """
    return Score("el2n", signals.el2n, Mean(), True, "Paul et al. 2021, arXiv:2107.07075", LABELS)


def entropy() -> Score:
    """Mean entropy of the prediction, in nats: ``(1/T) sum_t -sum_k p_k log p_k``. Higher is harder.

    Fails when: the model is sure of another class than the label: it does not read the label.

    Reference: uncertainty sampling, Settles 2009.
    """
    return Score("entropy", signals.entropy, Mean(), True, "uncertainty sampling, Settles 2009", ("logits",))


def margin() -> Score:
    """The latest margin, in logits: ``z_y - max_{k != y} z_k``. Lower is harder; below 0 another class wins.

    Fails when: wrong labels have been memorised (see :func:`last_loss`); :func:`aum` is its mean over visits.

    Reference: the margin of Pleiss et al. 2020, arXiv:2001.10528, at one moment.
    """
    return Score("margin", signals.margin, Last(), False, "Pleiss et al. 2020, arXiv:2001.10528", LABELS)


def label_gap_trend() -> Score:
    """Mann-Kendall trend of the label's gap, in standard deviations under "no trend". Lower (does not rise) is harder.

    Formula: ``Z = (S - sign S) / sqrt(Var S)``, ``S = sum_{s < t} sign(d_t - d_s)``, ``d_t = p_y - max_{k != y} p_k``.

    Differs from the paper in that it tests the smallest of the K - 1 gaps ``p_y - p_k`` instead of each (K times the
    memory) to ask whether all of them rise; and over at most 16 evenly spaced visits, see
    :class:`~tamis.observe.trend.Trend`.

    Fails when: the example was easy from the start (nothing left to rise), or wrong labels are being memorised: their
    gap rises then, too.

    Reference: Pan et al. 2025 (ConfidenceTracking), arXiv:2504.17474.
    """
    reference = "Pan et al. 2025 (ConfidenceTracking), arXiv:2504.17474"
    return Score("label_gap_trend", signals.label_gap, Trend(), False, reference, LABELS)


def aum() -> Score:
    """Area under the margin, in logits: ``AUM_i = (1/T) sum_t (z_y - max_{k != y} z_k)``. Lower is harder.

    Fails when: a mislabeled example is to be told from an outlier or a rare one: all are low. As published the
    learning rate does not decay, which keeps memorisation slow.

    Reference: Pleiss et al. 2020, arXiv:2001.10528.
    """
    return Score("aum", signals.margin, Mean(), False, "Pleiss et al. 2020, arXiv:2001.10528", LABELS)


def confidence() -> Score:
    """Mean probability of the label, in [0, 1]: ``mu_i = (1/T) sum_t p_t(y_i | x_i)``. Lower is harder.

    Fails when: hard-to-learn is read as mislabeled: rare and ambiguous examples are low too.

    Reference: Swayamdipta et al. 2020, arXiv:2009.10795.
    """
    return Score("confidence", signals.confidence, Mean(), False, "Swayamdipta et al. 2020, arXiv:2009.10795", LABELS)


def variability() -> Score:
    """Standard deviation of the label's probability: ``sigma_i = sqrt((1/T) sum_t (p_t - mu_i)^2)``, in [0, 1/2].

    Higher is more ambiguous, and counts as harder.

    Fails when: it is used to find wrong labels: those that are never learnt have a low one, like the easy.

    Reference: Swayamdipta et al. 2020, arXiv:2009.10795.
    """
    return Score("variability", signals.confidence, Std(), True, "Swayamdipta et al. 2020, arXiv:2009.10795", LABELS)


def correctness() -> Score:
    """Share of visits with the label predicted, in [0, 1]: ``(1/T) sum_t 1[argmax_k z_k = y_i]``. Lower is harder.

    Fails when: T is small: it has T + 1 values, and most examples tie. A tie of logits is not correct.

    Reference: Swayamdipta et al. 2020, arXiv:2009.10795.
    """
    return Score("correctness", signals.correct, Mean(), False, "Swayamdipta et al. 2020, arXiv:2009.10795", LABELS)


def forgetting() -> Score:
    """Forgetting events: ``sum_t 1[acc_i(t) > acc_i(t + 1)]``, a count. Higher is harder; never learnt is infinite.

    Fails when: wrong labels are learnt late and then kept: they have few events, like clean ones.

    Reference: Toneva et al. 2019, arXiv:1812.05159.
    """
    return Score("forgetting", signals.correct, Drops(), True, "Toneva et al. 2019, arXiv:1812.05159", LABELS)


def wrong_event() -> Score:
    """Cumulative wrong event: visits on which another class was predicted, a count. Higher is harder.

    Formula: ``sum_t 1[argmax_k z_k != y_i]``, with a tie counted as wrong.

    Fails when: examples are seen unevenly often: who is seen more can be wrong more; :func:`correctness` is the share.

    Reference: IDO, github.com/zzzbitz/IDO.
    """
    return Score("wrong_event", signals.wrong, Total(), True, "IDO, github.com/zzzbitz/IDO", LABELS)


def first_learnt() -> Score:
    """The visit (1, 2, ..) at which the example was first correct. Higher is harder; never is infinite.

    Formula: ``min {t : acc_i(t) = 1}``.

    Fails when: a model that guesses is right by chance: one lucky early visit decides; see :func:`learning_time`.

    Reference: the learning time of Toneva et al. 2019, arXiv:1812.05159 (its first learning event).
    """
    return Score("first_learnt", signals.correct, First(), True, "Toneva et al. 2019, arXiv:1812.05159", LABELS)


def learning_time() -> Score:
    """The visit (1, 2, ..) from which on the example stayed correct. Higher is harder; not so at the end is infinite.

    Formula: ``min {t : acc_i(s) = 1 for all s >= t}``.

    Fails when: the run is cut short, or one slip at the end undoes a long correct stretch. Visits, not epochs: under a
    policy they are not the same time for two examples.

    Reference: first-split learning time, Maini et al. 2022, arXiv:2210.15031.
    """
    return Score("learning_time", signals.correct, Settled(), True, "Maini et al. 2022, arXiv:2210.15031", LABELS)


def times_observed() -> Score:
    """Visits of the example, a count; 0 where never observed. Higher is harder in the eyes of the policy that chose.

    Fails when: training is uniform: then it says nothing.

    Reference: bookkeeping.
    """
    return Score("times_observed", signals.loss, Count(), True, "bookkeeping")


SCORES: dict[str, Callable[[], Score]] = {
    "last_loss": last_loss,
    "mean_loss": mean_loss,
    "ema_loss": ema_loss,
    "loss_slope": loss_slope,
    "el2n": el2n,
    "entropy": entropy,
    "margin": margin,
    "label_gap_trend": label_gap_trend,
    "aum": aum,
    "confidence": confidence,
    "variability": variability,
    "correctness": correctness,
    "forgetting": forgetting,
    "wrong_event": wrong_event,
    "first_learnt": first_learnt,
    "learning_time": learning_time,
    "times_observed": times_observed,
}


def default() -> list[Score]:
    """What a Sieve records unless told otherwise: last and mean loss, AUM and correctness. No softmax."""
    return [last_loss(), mean_loss(), aum(), correctness()]
