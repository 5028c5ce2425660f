"""Looking at examples: what one forward pass said of them, with what the policy was given beside the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.nested import Batch
from tamis.observe.features import first
from tamis.types import Observation, Phase, TamisError

LossFn = Callable[[Any, Any], Tensor]


class Looking:
    """Makes observations: knows the loss function, and the values that the policy was ``given``.

    Args:
        classifier: logits and targets are observed where they are a classifier's; else losses alone.
        given: by name, ``[n]`` values of the training examples, or values that hold for all.
    """

    def __init__(self, n: int, loss_fn: LossFn | None, classifier: bool, given: Mapping[str, Tensor]) -> None:
        self._loss_fn, self._classifier, self.given = loss_fn or _cross_entropy, classifier, dict(given)
        self._each = {name for name, value in given.items() if value.ndim and len(value) == n}

    def losses(self, index: Tensor, outputs: Any, y: Batch) -> Tensor:
        """One loss per example of ``index`` ``[b]``, with its graph."""
        losses = self._loss_fn(outputs, y)
        if losses.ndim != 1:
            raise TamisError(
                f"the loss has shape {tuple(losses.shape)}, but it must be one number per example, [b]; "
                "use reduction='none'."
            )
        if index.ndim and len(losses) != len(index):
            raise TamisError(f"there are {len(losses)} losses for a batch of {len(index)}, but each example has one.")
        return losses

    def observation(
        self, index: Tensor, losses: Tensor, outputs: Any, y: Any, *, step: int, phase: Phase, features: Any = None
    ) -> Observation:
        """Logits and targets are observed where they are a classifier's: ``[b, K]`` and ``[b]`` whole numbers."""
        given = {name: self._of(name, index).to(losses.device) for name in self.given} or None
        if not self.classifies(outputs, y):
            return Observation(index, losses, None, None, features, step, phase, given)
        return Observation(index, losses, outputs.detach(), y, features, step, phase, given)

    def classifies(self, outputs: Any, y: Any) -> bool:
        """Whether logits ``[b, K]`` and labels ``[b]`` are seen."""
        scored = isinstance(outputs, Tensor) and outputs.ndim == 2 and outputs.shape[1] >= 2
        labels = isinstance(y, Tensor) and y.ndim == 1 and y.dtype == torch.int64
        return self._classifier and scored and labels

    def look(
        self, model: nn.Module, index: Tensor, x: Batch, y: Batch, *, step: int, scale: float = 1.0, tap: bool = False
    ) -> Observation:
        """One forward in eval mode that leaves no trace: buffers, modes and generators stay as they are.

        Args:
            scale: of a picture's side, in (0, 1]. tap: observe the input of the last linear layer as features.
        """
        if not isinstance(model, nn.Module):
            raise TamisError(f"a look needs the model itself, an nn.Module in eval mode, but this is {model!r}.")
        modes = [(module, module.training) for module in model.modules()]
        cuda = sorted({p.device.index for p in model.parameters() if p.is_cuda})
        caching = torch.is_autocast_cache_enabled()
        model.eval()
        torch.set_autocast_cache_enabled(False)  # older torch would keep weights cast without a gradient for the step
        try:
            with torch.no_grad(), torch.random.fork_rng(cuda), _tapped(model, tap) as features:
                outputs = model(x if scale == 1 else _smaller(x, scale))
                losses = self.losses(index, outputs, y)
        finally:
            torch.set_autocast_cache_enabled(caching)
            for module, training in modes:
                module.training = training
        seen = features[-1] if features else None
        return self.observation(index, losses, outputs, y, step=step, phase="select", features=seen)

    def refer(self, model: nn.Module, x: Batch, y: Tensor) -> int:
        """Look at the clean reference set: its mean loss, and each class's, summed over looks; how many were seen."""
        apart = Looking(0, self._loss_fn, self._classifier, {})  # these are no training examples
        seen = apart.look(model, torch.arange(len(y)), x, y, step=0)
        if seen.logits is None:
            raise TamisError(
                "a reference set needs logits [b, K] and labels [b], but the model's outputs are not these."
            )
        self.given["reference_loss"] = seen.loss.mean()
        sums = seen.loss.new_zeros(seen.logits.shape[1]).index_add_(0, y, seen.loss)
        mean = sums / torch.bincount(y, minlength=len(sums)).clamp(min=1)
        self.given["class_loss"] = mean + self.given.get("class_loss", torch.zeros(())).to(mean.device)
        return len(y)

    def _of(self, name: str, index: Tensor) -> Tensor:
        value = self.given[name]
        return value[index.to(value.device)] if name in self._each else value


@contextmanager
def _tapped(model: nn.Module, tap: bool) -> Iterator[list[Tensor]]:
    """What goes into the linear layer that the model calls last while this is open."""
    caught: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Tensor, ...], named: Mapping[str, Tensor]) -> None:
        caught[:] = [first(given, named).detach()]  # the last one called is the classifier's

    if not tap:
        yield caught
        return
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise TamisError("this policy needs penultimate features, but the model has no linear layer to take them from.")
    handles = [layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


def _smaller(x: Batch, scale: float) -> Tensor:
    if not (isinstance(x, Tensor) and x.ndim == 4):
        raise TamisError(f"a look at scale {scale} needs pictures [b, c, h, w]; use scale=1 for anything else.")
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


NOBODY = -(1 << 62)
"""No label: what torch leaves out of a loss unless it is told not to would be a step over fewer examples, unsaid."""


def _cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    if not isinstance(outputs, Tensor) or not isinstance(y, Tensor):
        raise TamisError(
            f"cross-entropy needs tensors of logits and labels, but these are {type(outputs).__name__} and "
            f"{type(y).__name__}; hand over the logits alone, or give the Sieve a loss_fn=(outputs, y) -> [b]."
        )
    if not y.is_floating_point() and y.dtype != torch.int64:
        raise TamisError(f"the labels are {y.dtype}, but cross-entropy needs int64; use y.long().")
    if outputs.ndim > 1 and outputs.shape[1] == 1:
        raise TamisError(
            f"the outputs are {list(outputs.shape)}, a single logit, but cross-entropy needs one for each class; give "
            "the Sieve a loss_fn such as binary cross-entropy with reduction='none'."
        )
    labels = y.shape == outputs.shape[:1] + outputs.shape[2:] and not y.is_floating_point()
    if outputs.ndim == 1 or not (labels or y.shape == outputs.shape):
        raise TamisError(
            f"cross-entropy needs logits [b, K] and labels [b] int64, but these are {list(outputs.shape)} and "
            f"{list(y.shape)} {y.dtype}{'; use y.squeeze(1)' if y.ndim > 1 and y.shape[1] == 1 else ''}. For another "
            "loss give the Sieve a loss_fn=(outputs, y) -> [b]."
        )
    if y.shape == outputs.shape and not y.is_floating_point():
        raise TamisError(
            f"the labels are {list(y.shape)} whole numbers; use y.argmax(1), or y.float() for soft labels."
        )
    try:
        return F.cross_entropy(outputs, y, reduction="none", ignore_index=NOBODY)
    except IndexError:
        raise TamisError(
            f"the labels reach from {int(y.min())} to {int(y.max())}, but with {outputs.shape[1]} logits they lie in "
            f"0..{outputs.shape[1] - 1}; leave out who has none (exclude=), as nothing is ignored here."
        ) from None
