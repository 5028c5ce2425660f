"""Policies: a published method is a priority, a rule and a schedule, in one expression."""

from __future__ import annotations

import ast
import difflib
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from tamis.observe import signals
from tamis.observe.scores import Score
from tamis.observe.signals import Signal
from tamis.selection.rules import (
    Everything,
    PowerDraw,
    ProportionalDraw,
    Rule,
    StreamingPower,
    TopK,
    UniformDraw,
)
from tamis.selection.schedules import AfterPasses, Always, Schedule, VarianceGate
from tamis.types import TamisError


@dataclass(frozen=True)
class Policy:
    """What to train on, said in three words: priority, rule, schedule.

    Attributes:
        label: the method with its settings, as tables print it; :func:`policy` reads it back.
        rule: priorities to a selection.
        reference: who published it.
        priority: a Signal for a batch-level policy (fresh, from a forward of the candidates in eval mode without a
            graph); a Score for an epoch-level one (what has been recorded; an example never observed ranks with the
            highest); None where the rule does not ask.
        schedule: when it selects at all.
        level: ``batch``: candidates are a few batches; ``epoch``: candidates are the whole training set, once an epoch.
        fixed: an epoch-level draw made once for the whole run instead of anew each epoch.
    """

    label: str
    rule: Rule
    reference: str
    priority: Signal | Score | None = None
    schedule: Schedule = Always()
    level: Literal["batch", "epoch"] = "epoch"
    fixed: bool = False

    def __post_init__(self) -> None:
        wants_signal = self.level == "batch" or isinstance(self.schedule, VarianceGate)
        if wants_signal and (self.priority is None or isinstance(self.priority, Score)):
            raise TamisError(
                f"{self.label} selects inside a batch, so its priority must be a signal, such as the loss."
            )
        if self.level == "epoch" and self.rule.streaming:
            raise TamisError(f"{self.label} selects once an epoch, but its rule judges a stream; choose another rule.")

    @property
    def keep(self) -> float:
        """Expected share of the candidates that is trained on while the policy selects, in (0, 1]."""
        return self.rule.keep

    def candidates(self, batch: int) -> int:
        """How many candidates one selection for a trained batch of ``batch`` looks at: ceil(batch / keep)."""
        return batch if self.rule.streaming else math.ceil(batch / self.keep - 1e-9)


def _ratio(keep: float) -> str:
    """A keep ratio as a label that reads back to the same number: 0.5, 1/3."""
    if not 0 < keep <= 1:
        return repr(keep)  # the rule will refuse it
    decimal, fraction = f"{keep:g}", Fraction(keep).limit_denominator(100)
    if float(decimal) == keep:
        return decimal
    return str(fraction) if float(fraction) == keep else repr(keep)


def _literal(node: ast.expr) -> object:
    """A literal, or a fraction of two numbers."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return ast.literal_eval(node.left) / ast.literal_eval(node.right)
    return ast.literal_eval(node)


def uniform() -> Policy:
    """Plain training: every example once an epoch, in a new order each time.

    Cost: 1 per epoch, by definition. Fails when: many examples are noise and training is long enough to learn them.

    Example:
        >>> uniform().keep
        1.0
    """
    return Policy("uniform", Everything(), "Robbins & Monro 1951")


def random_subset(keep: float = 0.5) -> Policy:
    """A random share ``keep`` of the training set, drawn once, and no other example ever: the control of data pruning.

    Cost: ``keep`` per epoch. Fails when: the data left out is missed; then so does every pruning method.

    Example:
        >>> random_subset(keep=0.3).label
        'random_subset(keep=0.3)'
    """
    return Policy(
        f"random_subset(keep={_ratio(keep)})", UniformDraw(keep), "the random baseline of Paul et al. 2021", fixed=True
    )


def selective_backprop(beta: float = 1.0, history: int = 1024) -> Policy:
    """Selective-Backprop: keep each example with probability percentile(loss)^beta among the last ``history`` losses.

    Expected share kept 1 / (beta + 1): beta 1, 2, 3 = 50, 33, 25 %. The first pass is unfiltered, as published.

    Cost: forward / keep + step per trained example. Knobs: beta 1; more only on data known to be clean.
    Fails when: mislabeled or corrupted examples keep a high loss: up to 1 - (1 - eps)^(beta + 1) of what it trains on.

    Reference: Jiang et al. 2019, arXiv:1910.00762.

    Example:
        >>> round(selective_backprop(beta=2).keep, 2)
        0.33
    """
    label = f"selective_backprop(beta={beta:g}" + (f", history={history}" if history != 1024 else "") + ")"
    rule = StreamingPower(beta, history)
    reference = "Jiang et al. 2019, arXiv:1910.00762"
    return Policy(label, rule, reference, signals.loss, AfterPasses(1), level="batch")


def selective_backprop_inbatch(keep: float = 0.5) -> Policy:
    """Selective-Backprop by composer's rule: draw inside the batch, without replacement, by percentile^(1/keep - 1).

    Differs from the streaming original: no history, and every batch keeps exactly the same number. Composer's
    production schedule (a window of the run, a plain step in between) is not part of this rule.

    Cost: forward / keep + step per trained example. Fails when: as :func:`selective_backprop`.

    Reference: MosaicML composer, SelectiveBackprop.

    Example:
        >>> selective_backprop_inbatch(keep=0.5).candidates(128)
        256
    """
    label = f"selective_backprop_inbatch(keep={_ratio(keep)})"
    return Policy(label, PowerDraw(keep), "MosaicML composer, SelectiveBackprop", signals.loss, level="batch")


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
    label = f"importance_sampling(presample={presample:g}" + (", unbiased=True)" if unbiased else ")")
    rule = ProportionalDraw(1 / presample, weighted=unbiased)
    signal = signals.el2n if unbiased else signals.loss
    gate = VarianceGate(presample)
    return Policy(label, rule, "Katharopoulos & Fleuret 2018, arXiv:1803.00942", signal, gate, level="batch")


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
    return Policy(f"top_k(keep={_ratio(keep)})", TopK(keep), reference, signals.loss, level="batch")


POLICIES: dict[str, Callable[..., Policy]] = {
    "uniform": uniform,
    "random_subset": random_subset,
    "selective_backprop": selective_backprop,
    "selective_backprop_inbatch": selective_backprop_inbatch,
    "importance_sampling": importance_sampling,
    "top_k": top_k,
}


def policy(text: str) -> Policy:
    """Read a policy from its label, such as ``"selective_backprop(beta=2)"``: a name of the table and literal settings.

    Raises:
        TamisError: an unknown name (with the nearest known one), or settings that the method does not take.

    Example:
        >>> policy("top_k(keep=1/3)") == top_k(keep=1 / 3)
        True
    """
    match = re.fullmatch(r"\s*(\w+)\s*(?:\((.*)\))?\s*", text)
    if match is None:
        raise TamisError(f"{text!r} is not a policy; write a name with settings, such as 'selective_backprop(beta=2)'.")
    name, settings = match[1], match[2] or ""
    if name not in POLICIES:
        near = difflib.get_close_matches(name, POLICIES, 1, cutoff=0)[0]
        raise TamisError(f"there is no policy {name!r}; did you mean {near!r}? 'tamis list policies' names them all.")
    try:
        call = ast.parse(f"f({settings})", mode="eval").body
        assert isinstance(call, ast.Call)
        assert not call.args
        values = {str(keyword.arg): _literal(keyword.value) for keyword in call.keywords}
        return POLICIES[name](**values)
    except TamisError:
        raise
    except (SyntaxError, AssertionError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = f" ({error})" if isinstance(error, TypeError) else ""
        raise TamisError(f"the settings of {text!r} cannot be read{reason}; write them as name=number.") from error
