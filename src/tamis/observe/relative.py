"""Signals that turn a loss round or set it against something the policy was given. Each is ``Observation -> [B]``."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from tamis.observe.signals import loss
from tamis.types import Observation, TamisError


def small_loss(observation: Observation) -> Tensor:
    """Minus the per-example loss, in its unit: what small-loss selection prefers. Higher is easier.

    Example:
        >>> import torch
        >>> small_loss(Observation(torch.tensor([7]), torch.tensor([0.5])))
        tensor([-0.5000])

    Fails when: the easy examples have been learnt: it then trains on what it knows.

    Reference: Han et al. 2018, arXiv:1804.06872.
    """
    return -loss(observation)


def batch_loss(observation: Observation) -> Tensor:
    """The mean loss of the batch an example came in, in its unit, as a stand-in for its own.

    Example:
        >>> import torch
        >>> batch_loss(Observation(torch.tensor([7, 8]), torch.tensor([1.0, 3.0])))
        tensor([2., 2.])

    Fails when: it is averaged over few visits: in one batch all examples look alike.

    Reference: Batch Loss Score, arXiv:2604.04681.
    """
    losses = loss(observation)
    return losses.mean().expand_as(losses) if len(losses) else losses


def reducible_loss(observation: Observation) -> Tensor:
    """Loss minus irreducible loss, in its unit: ``L(y | x; D_t) - L(y | x; D_ho)``. Higher is more worth learning.

    Args:
        observation: reads ``loss`` ``[B]`` and ``given["irreducible_loss"]`` ``[B]``.

    Raises:
        TamisError: no irreducible loss was given.

    Example:
        >>> import torch
        >>> seen = Observation(torch.tensor([7]), torch.tensor([2.0]), given={"irreducible_loss": torch.tensor([1.5])})
        >>> reducible_loss(seen)
        tensor([0.5000])

    Fails when: a class is rare in the holdout set: its irreducible loss is high, and it is never chosen.

    Reference: Mindermann et al. 2022 (RHO-LOSS), arXiv:2206.07137.
    """
    return loss(observation) - _given(observation, "irreducible_loss", "reducible_loss")


@dataclass(frozen=True)
class ClassWeightedReducibleLoss:
    """Reducible loss, not below 0, times its class's weight: ``w_y max(0, L - L_ho)``. Higher is more worth learning.

    ``w_c`` is proportional to ``exp(eta sum_t L_c(t))``, L_c the loss of class c on the reference set at each look, and
    has the mean 1: the multiplicative update, which lifts the classes that the model serves worst.

    Args:
        eta: its rate, for one look. Reads ``target`` and, of what was given, ``irreducible_loss`` ``[B]`` and
            ``class_loss`` ``[K]``, summed over looks.

    Example:
        >>> import torch
        >>> given = {"irreducible_loss": torch.zeros(2), "class_loss": torch.tensor([0.0, 1.0])}
        >>> seen = Observation(torch.arange(2), torch.ones(2), None, torch.tensor([0, 1]), given=given)
        >>> ClassWeightedReducibleLoss(1.0)(seen)
        tensor([0.5379, 1.4621])

    Fails when: the reference set has a few examples of a class: chance decides its weight.

    Reference: Bankes et al. 2024 (REDUCR), arXiv:2312.00486.
    """

    eta: float = 0.1

    @property
    def __name__(self) -> str:
        return "class_weighted_reducible_loss"

    def __call__(self, observation: Observation) -> Tensor:
        excess = reducible_loss(observation).clamp(min=0)
        class_loss = _given(observation, "class_loss", self.__name__)
        if observation.target is None:
            raise TamisError(f"{self.__name__} needs target, the given labels, but the observation has none.")
        weight = (self.eta * class_loss).softmax(0) * len(class_loss)
        return excess * weight[observation.target]


def gradient_gram(observation: Observation) -> Tensor:
    """Inner products ``[B, B]`` of the examples' last-layer gradients: ``<p_i - y_i, p_j - y_j> <h_i, h_j>``.

    The gradient of cross-entropy with respect to the last weight matrix is (p - y) h^T, so the products need no
    gradient. The only signal that is a number for each *pair*; :class:`~tamis.rules.OrthogonalDraw` takes it.

    Args:
        observation: reads ``logits`` ``[B, K]``, ``target`` ``[B]`` and ``features`` ``[B, D]``.

    Raises:
        TamisError: one of them is missing.

    Example:
        >>> import torch
        >>> seen = Observation(torch.arange(1), torch.zeros(1), torch.zeros(1, 2), torch.tensor([0]), torch.ones(1, 4))
        >>> gradient_gram(seen)  # (1/4 + 1/4) * 4
        tensor([[2.]])

    Reference: Hong et al. 2024 (DivBS), arXiv:2406.04872.
    """
    z, y, h = observation.logits, observation.target, observation.features
    if z is None or y is None or h is None:
        raise TamisError("gradient_gram needs logits, labels and features, but the observation lacks one of them.")
    error = z.detach().float().softmax(1)
    error = error.scatter_add(1, y[:, None], error.new_full((len(y), 1), -1.0))
    h = h.detach().float().flatten(1)
    return (error @ error.T) * (h @ h.T)


def _given(observation: Observation, what: str, name: str) -> Tensor:
    if observation.given is None or what not in observation.given:
        raise TamisError(f"{name} needs {what.replace('_', ' ')}, but the Sieve was not given any.")
    return observation.given[what]
