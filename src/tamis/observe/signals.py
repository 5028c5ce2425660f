"""Signals: one number per example, now. Each is a pure function ``Observation -> [B]`` float32.

Logits in half precision are computed in float32. Nothing here waits for the device, edits what it is given or draws
a random number. A value that is not finite is handed on as it is: the reducers drop and count it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tamis.types import Observation, TamisError

Signal = Callable[[Observation], Tensor]


def loss(observation: Observation) -> Tensor:
    """Per-example loss, in the unit of the loss function (nats for cross-entropy).

    Formula: ``l_i``, as the training loop computed it, with no reduction.

    Args:
        observation: reads ``loss`` ``[B]``, any float dtype.

    Returns:
        ``[B]`` float32; higher is harder.

    Raises:
        TamisError: the loss is not one number per example.

    Example:
        >>> loss(Observation(torch.tensor([7]), torch.tensor([0.5])))
        tensor([0.5000])

    Fails when: used once, late: a memorised wrong label has a low loss.

    Reference: Loshchilov & Hutter 2015, arXiv:1511.06343.
    """
    if observation.loss is None or observation.loss.shape != observation.index.shape:
        found = "none" if observation.loss is None else list(observation.loss.shape)
        raise TamisError(
            f"loss needs one loss per example, {list(observation.index.shape)}, but the observation's is {found}; "
            'compute it with reduction="none".'
        )
    return observation.loss.detach().float()


def margin(observation: Observation) -> Tensor:
    """Logit of the label minus the best other logit.

    Formula: ``M_i = z_y - max_{k != y} z_k``, before the softmax.

    Args:
        observation: reads ``logits`` ``[B, K]``, any float dtype, K >= 2, and ``target`` ``[B]`` int64.

    Returns:
        ``[B]`` float32, in logits; lower is harder, below 0 another class wins.

    Raises:
        TamisError: logits or target are missing or of the wrong shape, or there are fewer than two classes.

    Example:
        >>> margin(Observation(torch.tensor([0]), torch.zeros(1), torch.tensor([[1.0, 3.0]]), torch.tensor([1])))
        tensor([2.])

    Fails when: logits of different scale are compared (weight decay, label smoothing, different runs).

    Reference: Pleiss et al. 2020, arXiv:2001.10528.
    """
    return _gap(observation, "margin")


def correct(observation: Observation) -> Tensor:
    """Whether the model gives the label the highest logit: 1 or 0.

    Formula: ``1[margin_i > 0]``. A tie is not correct, so a model that says the same of every class is right nowhere.

    Args:
        observation: as for :func:`margin`.

    Returns:
        ``[B]`` float32 of 0 and 1 (NaN where a logit is NaN); lower is harder.

    Raises:
        TamisError: as for :func:`margin`, naming correct.

    Example:
        >>> correct(Observation(torch.tensor([0]), torch.zeros(1), torch.tensor([[1.0, 3.0]]), torch.tensor([1])))
        tensor([1.])

    Fails when: everything is fitted: it says nothing among what is correct.

    Reference: Toneva et al. 2019, arXiv:1812.05159.
    """
    return _above_zero(_gap(observation, "correct"))


def confidence(observation: Observation) -> Tensor:
    """Softmax probability of the label.

    Formula: ``p_y = exp(z_y) / sum_k exp(z_k)``, from the logits and not from the loss, which may be no cross-entropy.

    Args:
        observation: reads ``logits`` ``[B, K]``, any float dtype, and ``target`` ``[B]`` int64.

    Returns:
        ``[B]`` float32 in [0, 1]; lower is harder.

    Raises:
        TamisError: logits or target are missing or of the wrong shape.

    Example:
        >>> confidence(Observation(torch.tensor([0]), torch.zeros(1), torch.zeros(1, 4), torch.tensor([1])))
        tensor([0.2500])

    Fails when: the model is over-confident: nearly all values are then at 0 or 1. Costs a softmax.

    Reference: Swayamdipta et al. 2020, arXiv:2009.10795.
    """
    z, y = _classifier(observation, "confidence")
    return z.softmax(1).gather(1, y[:, None])[:, 0]


def wrong(observation: Observation) -> Tensor:
    """Whether another class than the label has the highest logit, or one as high: 1 or 0.

    Formula: ``1 - correct_i``; summed over visits it counts the wrong events.

    Args:
        observation: as for :func:`margin`.

    Returns:
        ``[B]`` float32 of 0 and 1 (NaN where a logit is NaN); higher is harder.

    Raises:
        TamisError: as for :func:`margin`, naming wrong.

    Example:
        >>> wrong(Observation(torch.tensor([0]), torch.zeros(1), torch.tensor([[1.0, 3.0]]), torch.tensor([1])))
        tensor([0.])

    Fails when: everything is fitted, as for :func:`correct`.

    Reference: the wrong event of IDO, github.com/zzzbitz/IDO.
    """
    return _not_above_zero(_gap(observation, "wrong"))


def label_gap(observation: Observation) -> Tensor:
    """Probability of the label minus that of the best other class.

    Formula: ``p_y - max_{k != y} p_k`` with ``p = softmax(z)``: the smallest of the K - 1 confidence gaps.

    Args:
        observation: as for :func:`margin`.

    Returns:
        ``[B]`` float32 in [-1, 1]; lower is harder, below 0 another class wins.

    Raises:
        TamisError: as for :func:`margin`, naming label_gap.

    Example:
        >>> z = torch.tensor([[1.0, 3.0, 1.0]]).log()
        >>> label_gap(Observation(torch.tensor([0]), torch.zeros(1), z, torch.tensor([0])))  # 1/5 - 3/5
        tensor([-0.4000])

    Fails when: the model is over-confident: nearly all values are then at -1 or 1. Costs a softmax.

    Reference: Pan et al. 2025 (ConfidenceTracking), arXiv:2504.17474.
    """
    return _gap(observation, "label_gap", softmax=True)


def entropy(observation: Observation) -> Tensor:
    """Entropy of the predicted distribution, in nats. It does not read the label.

    Formula: ``H_i = -sum_k p_k log p_k`` with ``p = softmax(z)``.

    Args:
        observation: reads ``logits`` ``[B, K]``, any float dtype.

    Returns:
        ``[B]`` float32 in [0, log K]; higher is harder.

    Raises:
        TamisError: logits are missing or of the wrong shape.

    Example:
        >>> entropy(Observation(torch.tensor([0]), torch.zeros(1), torch.zeros(1, 2)))
        tensor([0.6931])

    Fails when: the model is sure and wrong: a mislabeled example then looks easy. Costs a softmax.

    Reference: Shannon 1948; as uncertainty sampling, Settles 2009.
    """
    # The clamp keeps 0 log 0 at 0. In place, on copies of our own: fresh megabytes cost more than the arithmetic.
    p = _logits(observation, "entropy").softmax(1).clamp_(min=torch.finfo(torch.float32).tiny)
    return -p.log().mul_(p).sum(1)


def el2n(observation: Observation) -> Tensor:
    """Length of the error vector (EL2N); also the upper bound of the gradient norm in importance sampling.

    Formula: ``||softmax(z) - onehot(y)||_2``. Katharopoulos & Fleuret bound the norm of an example's gradient by this
    same number (the gradient of cross-entropy with respect to the logits), up to a factor shared by the batch.

    Args:
        observation: reads ``logits`` ``[B, K]``, any float dtype, and ``target`` ``[B]`` int64.

    Returns:
        ``[B]`` float32 in [0, sqrt 2]; higher is harder.

    Raises:
        TamisError: logits or target are missing or of the wrong shape.

    Example:
        >>> el2n(Observation(torch.tensor([0]), torch.zeros(1), torch.zeros(1, 2), torch.tensor([1])))
        tensor([0.7071])

    Fails when: labels are wrong: the highest values are noise first. Costs a softmax.

    Reference: Paul et al. 2021, arXiv:2107.07075; Katharopoulos & Fleuret 2018, arXiv:1803.00942.
    """
    z, y = _classifier(observation, "el2n")
    p = z.softmax(1)  # a copy of our own, so it may be edited
    p.scatter_add_(1, y[:, None], p.new_full((len(y), 1), -1.0))
    return p.square_().sum(1).sqrt()


def _above_zero(gap: Tensor) -> Tensor:
    """1 above 0, else 0; a NaN stays one, to be dropped later instead of passing for a mistake."""
    return gap.clamp(0, 1).ceil()


def _not_above_zero(gap: Tensor) -> Tensor:
    """1 at 0 and below, else 0; a NaN stays one."""
    return 1 - _above_zero(gap)


DERIVED: dict[Signal, tuple[Signal, Callable[[Tensor], Tensor]]] = {
    correct: (margin, _above_zero),
    wrong: (margin, _not_above_zero),
}
"""Signals that are a function of another one's values: where both are recorded, the other is computed once."""

SIGNALS: dict[str, Signal] = {
    "loss": loss,
    "margin": margin,
    "correct": correct,
    "wrong": wrong,
    "confidence": confidence,
    "label_gap": label_gap,
    "entropy": entropy,
    "el2n": el2n,
}
"""Each reads an example for itself: of a batch it says what it says of its examples one by one, to the bit."""


def _logits(observation: Observation, name: str) -> Tensor:
    z = observation.logits
    if z is None:
        raise TamisError(f"{name} needs logits, but the observation has none; record it where there is a classifier.")
    if z.ndim != 2 or z.shape[0] != observation.index.shape[0]:
        raise _wrong(name, "logits", f"[{len(observation.index)}, K]", z)
    return z.detach().float()


def _classifier(observation: Observation, name: str) -> tuple[Tensor, Tensor]:
    z, y = _logits(observation, name), observation.target
    if y is None:
        raise TamisError(f"{name} needs target, the given labels, but the observation has none.")
    if y.shape != observation.index.shape or y.dtype != torch.int64:
        raise _wrong(name, "target", f"{list(observation.index.shape)} int64", y)
    return z, y


def _gap(observation: Observation, name: str, softmax: bool = False) -> Tensor:
    z, y = _classifier(observation, name)
    if z.shape[1] < 2:
        raise TamisError(f"{name} needs logits of at least two classes, but they are {list(z.shape)}.")
    if softmax:
        z = z.softmax(1)
    label = y.unsqueeze(1)  # dearer to call when written as an index, and small batches are all calls
    # One masked maximum: a fifth of the time of a top-2, and no softmax.
    return z.gather(1, label).squeeze(1) - z.scatter(1, label, -torch.inf).amax(1)


def _wrong(name: str, what: str, wanted: str, found: Any) -> TamisError:
    return TamisError(f"{name} needs {what} {wanted}, but the observation's is {list(found.shape)} {found.dtype}.")
