"""Difficulty by models that never saw the example: confident learning's scores, irreducible and out-of-fold losses."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tamis.observe.features import Models, check_labels, logits, several
from tamis.types import TamisError

Fit = Callable[[Tensor, Tensor, Tensor], Tensor]
"""``(x, y, held) -> probabilities [H, K]``: trains a fresh model on ``x``, ``y`` and predicts what was held out."""


def self_confidence(probabilities: Tensor, y: Tensor) -> Tensor:
    """Out-of-sample probability of the given label. Lower is harder.

    Formula: ``p_hat(y | x)``; cleanlab's ``self_confidence``, to the bit.

    Args:
        probabilities: ``[N, K]``, rows sum to 1, by models that did not train on the row's example; NaN = none.
        y: ``[N]`` int64, the given labels.

    Returns:
        ``[N]`` in [0, 1], of the probabilities' dtype; NaN where there was no prediction.

    Raises:
        TamisError: rows that are no probabilities (logits?), or labels of a wrong shape, dtype or range.

    Example:
        >>> self_confidence(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([1, 1]))
        tensor([0.2500, 0.5000])

    Fails when: rare examples are among them: their fold's models hardly saw their like.

    Reference: Northcutt et al. 2021, arXiv:1911.00068.
    """
    _check(probabilities, y)
    return probabilities.gather(1, y[:, None])[:, 0]


def normalized_margin(probabilities: Tensor, y: Tensor) -> Tensor:
    """Out-of-sample probability of the given label less that of the best other, scaled to [0, 1]. Lower is harder.

    Formula: ``(p_hat(y | x) - max_{k != y} p_hat(k | x) + 1) / 2``; cleanlab's ``normalized_margin``, to the bit.

    Args:
        probabilities: ``[N, K]`` as for :func:`self_confidence`, K >= 2. y: ``[N]`` int64.

    Returns:
        ``[N]`` in [0, 1], of the probabilities' dtype; below 1/2 another class wins; NaN where none was predicted.

    Raises:
        TamisError: as for :func:`self_confidence`, or a single class.

    Example:
        >>> normalized_margin(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([1, 1]))
        tensor([0.2500, 0.5000])

    Fails when: as for :func:`self_confidence`.

    Reference: Northcutt et al. 2021, arXiv:1911.00068.
    """
    _check(probabilities, y)
    if probabilities.shape[1] < 2:
        raise TamisError("a margin needs probabilities of at least two classes, but they are of one.")
    label = y[:, None]
    best = probabilities.scatter(1, label, -torch.inf).amax(1)
    return (probabilities.gather(1, label)[:, 0] - best + 1) / 2


def out_of_fold_loss(probabilities: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the given label by models that never saw the example, in nats. Higher is harder.

    Formula: ``-log p_hat(y | x)``.

    Args:
        probabilities: ``[N, K]`` as for :func:`self_confidence`. y: ``[N]`` int64.

    Returns:
        ``[N]``, of the probabilities' dtype, at least 0; NaN where there was no prediction.

    Raises:
        TamisError: as for :func:`self_confidence`.

    Example:
        >>> out_of_fold_loss(torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([1, 1]))
        tensor([1.3863, 0.6931])

    Fails when: as for :func:`self_confidence`; it ranks exactly as that does, turned round.

    Reference: cross-validated loss, cf. Chen et al. 2019 (INCV), arXiv:1905.05040.
    """
    p = self_confidence(probabilities, y)
    return -p.clamp(min=torch.finfo(p.dtype).tiny).log()


def irreducible_loss(models: Models, x: Tensor, y: Tensor, batch: int = 256) -> Tensor:
    """Cross-entropy by models that never saw the example, in nats; the mean over ``models``. Higher is harder.

    Formula: ``L[y | x; D_ho]`` of a model trained on held-out data, or ``(1/T) sum_t`` of it over checkpoints of one.

    Args:
        models: one (its last loss), or several checkpoints or seeds (the mean), in eval mode while this lasts.
        x: ``[N, ...]``. y: ``[N]`` int64. batch: examples a forward.

    Returns:
        ``[N]`` float32 on the CPU, at least 0.

    Raises:
        TamisError: no model, an output that is not ``[B, K]``, or labels of a wrong shape, dtype or range.

    Example:
        >>> class Ignorant(torch.nn.Module):
        ...     def forward(self, x):
        ...         return torch.zeros(len(x), 4)
        >>> irreducible_loss(Ignorant(), torch.zeros(2, 3), torch.tensor([0, 3]))
        tensor([1.3863, 1.3863])

    Fails when: the model has trained on the example after all; or the held-out data lacks a kind of example, which is
    then as dear as noise.

    Reference: Mindermann et al. 2022 (RHO-LOSS), arXiv:2206.07137.
    """
    check_labels(x, y)
    if not len(x):
        return torch.zeros(0)
    losses = []
    for model in several(models):
        z = logits(model, x, batch)
        check_labels(x, y, z.shape[1])
        losses.append(F.cross_entropy(z, y.cpu(), reduction="none"))
    return torch.stack(losses).mean(0)


def folds_of(y: Tensor, folds: int, generator: torch.Generator) -> Tensor:
    """A fold in 0..folds-1 for every example, drawn, with every label spread evenly over them.

    Args:
        y: ``[N]`` int64. folds: at least 2, at most N. generator: a CPU generator.

    Returns:
        ``[N]`` int64; two folds differ by one example at most, of a label and in all.

    Raises:
        TamisError: a number of folds that does not fit.

    Example:
        >>> folds_of(torch.tensor([0, 0, 1, 1]), 2, torch.Generator().manual_seed(0)).tolist() in (
        ...     [0, 1, 0, 1], [0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 1, 0])
        True
    """
    n = len(y)
    if not 2 <= folds <= n:
        raise TamisError(f"folds is {folds}, but it must lie between 2 and the number of examples, {n}.")
    drawn = torch.randperm(n, generator=generator)
    order = drawn[y.cpu()[drawn].argsort(stable=True)]  # by label, at random within it
    return torch.empty(n, dtype=torch.int64).index_put_((order,), torch.arange(n) % folds)


def out_of_fold(fit: Fit, x: Tensor, y: Tensor, folds: int = 5, *, generator: torch.Generator) -> Tensor:
    """Probabilities ``[N, K]`` of every example by a model that was fitted without it: K-fold cross-validation.

    Args:
        fit: ``(x, y, held) -> [H, K]`` probabilities; called once a fold, with a fresh model each time.
        x: ``[N, ...]``. y: ``[N]`` int64, the given labels. folds: see :func:`folds_of`. generator: draws the folds.

    Returns:
        ``[N, K]``, of the dtype and on the device that ``fit`` gave.

    Raises:
        TamisError: a number of folds that does not fit, labels of a wrong shape or dtype, or ``fit`` gave no
            probabilities ``[H, K]``.

    Example:
        >>> def majority(x, y, held):
        ...     return torch.nn.functional.one_hot(y.bincount(minlength=2).argmax(), 2).double().expand(len(held), 2)
        >>> y = torch.tensor([0, 1, 1, 1, 1, 1])
        >>> out_of_fold(majority, torch.zeros(6, 1), y, 2, generator=torch.Generator().manual_seed(0)).argmax(1)
        tensor([1, 1, 1, 1, 1, 1])

    Fails when: duplicates fall into different folds: then the model has seen the example after all. It costs
    ``folds - 1`` trainings.

    Reference: Stone 1974; for labels, Northcutt et al. 2021, arXiv:1911.00068.
    """
    check_labels(x, y)
    fold = folds_of(y, folds, generator)
    out: Tensor | None = None
    for number in range(folds):
        held = (fold == number).nonzero()[:, 0].to(x.device)
        rest = (fold != number).nonzero()[:, 0].to(x.device)
        p = fit(x[rest], y[rest.to(y.device)], x[held]).detach()
        if out is None and p.ndim == 2:
            out = p.new_full((len(x), p.shape[1]), torch.nan)
        if out is None or p.shape != (len(held), out.shape[1]):
            wanted = "K" if out is None else out.shape[1]
            raise TamisError(f"fit must give probabilities [{len(held)}, {wanted}], but it gave {list(p.shape)}.")
        _check_rows(p)
        out[held.to(out.device)] = p
    assert out is not None
    return out


def _check(probabilities: Tensor, y: Tensor) -> None:
    if probabilities.ndim != 2 or not probabilities.is_floating_point():
        shape = f"{list(probabilities.shape)} {probabilities.dtype}"
        raise TamisError(f"probabilities must be [N, K] floating, but they are {shape}.")
    check_labels(probabilities, y, probabilities.shape[1])
    _check_rows(probabilities)


def _check_rows(p: Tensor) -> None:
    astray = ((p.sum(1) - 1).abs() > 1e-2) | (p.amin(1) < 0) if p.numel() else p.new_zeros(0, dtype=torch.bool)
    if bool(astray.any()):
        row = int(astray.nonzero()[0, 0])
        raise TamisError(
            f"rows must be probabilities that sum to 1, but row {row} sums to {float(p[row].sum()):.3g} with "
            f"{float(p[row].min()):.3g} in it; give logits a softmax(1) first."
        )
