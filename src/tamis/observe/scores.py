"""Published difficulty scores: a signal, a reducer and an orientation, in one expression each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tamis.observe import signals
from tamis.observe.reducers import Count, Drops, Ema, Last, Mean, Reducer, Settled, Slope, Std
from tamis.observe.signals import Signal
from tamis.types import Phase

LABELS = ("logits", "target")


@dataclass(frozen=True)
class Score:
    """One number per example over a run.

    Attributes:
        name: of its column. higher_is_harder: orientation. needs: parts of an Observation beside the loss.
        phase: the passes it is taken from; one score never mixes them.
    """

    name: str
    signal: Signal
    reducer: Reducer
    higher_is_harder: bool
    reference: str
    needs: tuple[str, ...] = ()
    phase: Phase = "train"


def last_loss() -> Score:
    """The latest per-example loss, in nats; higher is harder.

    Fails when: noise has been memorised; then it is as low as any.
    """
    return Score("last_loss", signals.loss, Last(), True, "Loshchilov & Hutter 2015, arXiv:1511.06343")


def mean_loss() -> Score:
    """The mean per-example loss over all visits, in nats; higher is harder. Cumulative, so it outlives memorisation."""
    return Score("mean_loss", signals.loss, Mean(), True, "Huang et al. 2019 (O2U-Net)")


def ema_loss(momentum: float = 0.9) -> Score:
    """An exponential mean of the per-example loss, in nats; higher is harder."""
    return Score("ema_loss", signals.loss, Ema(momentum), True, "momentum loss, common practice")


def loss_slope() -> Score:
    """Least-squares slope of the loss over visits, in nats per visit; higher (not falling) is harder."""
    return Score("loss_slope", signals.loss, Slope(), True, "trend statistics, as in arXiv:2504.17474")


def el2n() -> Score:
    """Mean over visits of ||softmax(z) - onehot(y)||_2; higher is harder. As published: early epochs, several seeds.

    Fails when: read as "worth learning"; mislabeled examples score highest.
    """
    return Score("el2n", signals.el2n, Mean(), True, "Paul et al. 2021, arXiv:2107.07075", LABELS)


def entropy() -> Score:
    """Mean over visits of the entropy of the prediction, in nats; higher is harder. It does not look at the label."""
    return Score("entropy", signals.entropy, Mean(), True, "uncertainty sampling, Settles 2009", LABELS)


def aum() -> Score:
    """Area under the margin: mean over visits of z_y - max_{k != y} z_k, in logits; lower is harder.

    Fails when: telling a mislabeled example from an outlier: both are low.
    """
    return Score("aum", signals.margin, Mean(), False, "Pleiss et al. 2020, arXiv:2001.10528", LABELS)


def confidence() -> Score:
    """Mean over visits of the label's probability; lower is harder."""
    return Score("confidence", signals.confidence, Mean(), False, "Swayamdipta et al. 2020, arXiv:2009.10795", LABELS)


def variability() -> Score:
    """Standard deviation over visits of the label's probability; higher is more ambiguous."""
    return Score("variability", signals.confidence, Std(), True, "Swayamdipta et al. 2020, arXiv:2009.10795", LABELS)


def correctness() -> Score:
    """Share of visits on which the label was predicted, in [0, 1]; lower is harder."""
    return Score("correctness", signals.correct, Mean(), False, "Swayamdipta et al. 2020, arXiv:2009.10795", LABELS)


def forgetting() -> Score:
    """Forgetting events: falls from correct to incorrect; higher is harder; never learnt is infinity."""
    return Score("forgetting", signals.correct, Drops(), True, "Toneva et al. 2019, arXiv:1812.05159", LABELS)


def learning_time() -> Score:
    """The visit from which on the example stayed correct; higher is harder; not yet learnt is infinity."""
    return Score("learning_time", signals.correct, Settled(), True, "Maini et al. 2022 (FSLT)", LABELS)


def times_observed() -> Score:
    """How often the example was observed; under prioritised training, higher is harder by the policy's own measure."""
    return Score("times_observed", signals.loss, Count(), True, "bookkeeping")


SCORES: dict[str, Callable[..., Score]] = {
    "last_loss": last_loss, "mean_loss": mean_loss, "ema_loss": ema_loss, "loss_slope": loss_slope, "el2n": el2n,
    "entropy": entropy, "aum": aum, "confidence": confidence, "variability": variability,
    "correctness": correctness, "forgetting": forgetting, "learning_time": learning_time,
    "times_observed": times_observed,
}  # fmt: skip


def default() -> list[Score]:
    """What a Sieve records unless told otherwise: last and mean loss, AUM, correctness."""
    return [last_loss(), mean_loss(), aum(), correctness()]
