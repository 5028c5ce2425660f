"""The table of published methods, how a label is read, and the controls that every method is held against."""

from __future__ import annotations

import ast
import difflib
import inspect
import re
from collections.abc import Callable
from typing import Any

from tamis.observe.scores import last_loss
from tamis.selection.by_loss import (
    batch_loss_score,
    biased_importance,
    focal,
    importance_sampling,
    infobatch,
    loss_proportional,
    online_batch_selection,
    ordered_sgd,
    selective_backprop,
    selective_backprop_composer,
    selective_backprop_inbatch,
    top_k,
)
from tamis.selection.guard import Guard
from tamis.selection.hurry import Hurry
from tamis.selection.policy import Policy, said
from tamis.selection.robust import (
    align_prune,
    co_teaching,
    divbs,
    mixture_filter,
    reducr,
    rho_loss,
    self_paced,
    small_loss_selection,
)
from tamis.selection.rules import Everything, PruneBelowMean, UniformDraw
from tamis.selection.schedules import Window
from tamis.types import TamisError

__all__ = [
    "POLICIES",
    "Policy",
    "align_prune",
    "batch_loss_score",
    "biased_importance",
    "brief",
    "co_teaching",
    "divbs",
    "focal",
    "guarded",
    "importance_sampling",
    "infobatch",
    "loss_proportional",
    "mixture_filter",
    "online_batch_selection",
    "ordered_sgd",
    "policy",
    "random_subset",
    "reducr",
    "rho_loss",
    "rs2",
    "selective_backprop",
    "selective_backprop_composer",
    "selective_backprop_inbatch",
    "self_paced",
    "small_loss_selection",
    "top_k",
    "uniform",
]


def _literal(node: ast.expr) -> object:
    """A literal, or a fraction of two numbers."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return ast.literal_eval(node.left) / ast.literal_eval(node.right)
    return ast.literal_eval(node)


def _whole(name: str, values: dict[str, object]) -> None:
    """That what a method counts is given in whole numbers."""
    for key, parameter in inspect.signature(POLICIES[name]).parameters.items():
        if parameter.annotation == "int" and key in values and type(values[key]) is not int:
            raise TamisError(f"{key} of {name} is {values[key]!r}, but it must be a whole number.")


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
    reference = "the random baseline of Paul et al. 2021"
    return Policy(said("random_subset", keep=keep), UniformDraw(keep), reference, fixed=True)


def rs2(keep: float = 0.5) -> Policy:
    """Repeated random subsets: a new random share ``keep`` of the training set for each epoch.

    Cost: ``keep`` per epoch. Knobs: keep; at one budget it sees every example about as often as plain training does.
    Fails when: never badly, which makes it the control that a method must beat at its own cost.

    Differs from the paper in that an epoch's subset is drawn anew, not cut from one order until it is used up.

    Reference: Okanovic et al. 2023, arXiv:2305.18424.

    Example:
        >>> rs2(keep=0.3).fixed
        False
    """
    return Policy(said("rs2", keep=keep), UniformDraw(keep), "Okanovic et al. 2023, arXiv:2305.18424")


def guarded(
    settle: int = 3,
    slowing: float = 0.15,
    wrong: float = 0.5,
    relook: float = 0.1,
    floor: float = 0.03,
    heard: float = 0.5,
    *,
    protect: bool = True,
    rate: float | None = None,
    drop: float = 0.75,
    until: float = 0.7,
    short: float = Hurry.short,
    memorized: float = Hurry.memorized,
) -> Policy:
    """Guarded training: learn through a class transition matrix, find the true labels meanwhile, and learn those.

    The network minimises ``-log sum_i p(i | x) T[i, y]``; T is estimated by EM from what the passes say of each example
    before their own update (spread evenly, from the first quarter of a pass on, while few labels seem wrong), and held
    after the first, of at least ``settle``, that leaves less than the share ``slowing`` more explained of the given
    labels than the pass before, or raises that share again. From then on the loss hears what these passes said,
    ``-(1 - a) log sum_i p(i | x) m_i^t T[i, y] - a sum_i q_i log p(i | x)``: m is their mean word of the true class,
    calibrated, and t the trust in it, ``max(0, k - 1 + heard)`` with k the share that they knew of what true classes
    tell of given labels; q is the posterior by m and the given label, and a how much of it is learnt, ``t / heard``,
    falling to 0 as the network is a tenth less sure than it was right. As far as a is below .5, an epoch leaves out
    whose label is ``wrong`` with more than that probability, of no class more than it has wrong labels, but for a share
    of them, ``relook`` at a = 0; else they are trained on, and teach q. Where less than ``floor`` of the labels is
    surely wrong when T is held, the rest is plain training.

    Where the first pass, which looks at nothing that was trained on before, says that labels are right and are soon
    learnt, epochs drop an example whose last loss is below the mean with probability ``drop``, up to ``until`` of the
    budget and unless the guard opens: the second to the fourth if the budget holds at most ``short`` passes, and in a
    longer one those from the third on, if less than the share ``memorized`` of what would be unexplained after two is
    explained by heart. What is hard is trained on more often. That is the loss-based prioritisation that fails on
    noise, done where there is none.

    Cost: 1 per epoch, and less where it leaves examples out: it forwards nothing of its own.
    Knobs: none to set; there is no noise rate. To measure what each part is good for: ``protect=False`` protects no
    class, ``rate`` lists so large a share to leave out, whatever is probable, ``drop=0`` drops nobody who is learnt.
    Fails when: more than half of a class bears one other label; or all that the budget holds teaches the network little
    (few examples, many classes, slow learning and few epochs): the hard and rare are then left out. It does not know
    corrupted inputs.

    Reference: forward correction: Patrini et al. 2017, arXiv:1609.03683; EM: Dawid & Skene 1979; below the mean: Qin et
    al. 2024, arXiv:2303.04947, here without its weights.

    Example:
        >>> guarded().label
        'guarded(settle=3, slowing=0.15, wrong=0.5, relook=0.1, floor=0.03, heard=0.5)'
    """
    hurry = Hurry(short=short, memorized=memorized)
    guard = Guard(settle, slowing, wrong, relook, floor, heard, protect, rate, hurry if drop else None)
    settings: dict[str, object] = {
        "settle": settle, "slowing": slowing, "wrong": wrong, "relook": relook, "floor": floor, "heard": heard,
    }  # fmt: skip
    unusual = {
        "protect": (protect, True), "rate": (rate, None), "drop": (drop, 0.75), "until": (until, 0.7),
        "short": (short, Hurry.short), "memorized": (memorized, Hurry.memorized),
    }  # fmt: skip
    settings |= {name: value for name, (value, usual) in unusual.items() if value != usual}
    label = said("guarded", **settings)
    reference = "Tamis, on the forward correction of Patrini et al. 2017, arXiv:1609.03683"
    if not drop:
        return Policy(label, Everything(), reference, guard=guard)
    return Policy(label, PruneBelowMean(drop, rescale=False), reference, last_loss(), Window(0.0, until), guard=guard)


POLICIES: dict[str, Callable[..., Policy]] = {
    "uniform": uniform,
    "guarded": guarded,
    "random_subset": random_subset,
    "rs2": rs2,
    "selective_backprop": selective_backprop,
    "selective_backprop_inbatch": selective_backprop_inbatch,
    "selective_backprop_composer": selective_backprop_composer,
    "importance_sampling": importance_sampling,
    "biased_importance": biased_importance,
    "loss_proportional": loss_proportional,
    "focal": focal,
    "online_batch_selection": online_batch_selection,
    "top_k": top_k,
    "ordered_sgd": ordered_sgd,
    "infobatch": infobatch,
    "batch_loss_score": batch_loss_score,
    "rho_loss": rho_loss,
    "reducr": reducr,
    "small_loss_selection": small_loss_selection,
    "self_paced": self_paced,
    "co_teaching": co_teaching,
    "mixture_filter": mixture_filter,
    "align_prune": align_prune,
    "divbs": divbs,
}


def policy(text: str) -> Policy:
    """Read a policy from its label, such as ``"selective_backprop(beta=2)"``: a name of the table and literal settings.

    Raises:
        TamisError: an unknown name (with the nearest known one), or settings that the method does not take.

    Example:
        >>> policy("top_k(keep=1/3)") == top_k(keep=1 / 3)
        True
    """
    name, values = _read(text)
    try:
        return POLICIES[name](**values)
    except TamisError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        raise _unreadable(text, error) from error


def brief(text: str) -> str:
    """A label without the settings that its method has by default; what is no policy's label as it is.

    Example:
        >>> brief("infobatch(drop=0.5, until=0.9)"), brief("guarded(settle=3)"), brief("separate")
        ('infobatch(until=0.9)', 'guarded', 'separate')
    """
    try:
        name, values = _read(text)
    except TamisError:
        return text
    usual = inspect.signature(POLICIES[name]).parameters
    return said(name, **{word: value for word, value in values.items() if usual[word].default != value})


def _read(text: str) -> tuple[str, dict[str, Any]]:
    """A label's name and settings, which the name's function takes."""
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
        _whole(name, values)
        inspect.signature(POLICIES[name]).bind(**values)
    except TamisError:
        raise
    except (SyntaxError, AssertionError, TypeError, ValueError, ArithmeticError) as error:
        raise _unreadable(text, error) from error
    return name, values


def _unreadable(text: str, error: Exception) -> TamisError:
    reason = f" ({error})" if isinstance(error, TypeError) else ""
    return TamisError(f"the settings of {text!r} cannot be read{reason}; write them as name=number.")
