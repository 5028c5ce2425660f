"""Whom a guard leaves out: the surest, of no class more than it has wrong labels; and labels that are not judged."""

from __future__ import annotations

import torch
from torch import Tensor


def left_out(wrong: Tensor, given: Tensor, classes: int, above: float, *, protect: bool = True) -> Tensor:
    """``[n]`` bool: whose label is wrong with more than ``above``, but of no class more than it has wrong labels.

    Of a class whose ``wrong`` sums to s, the surest floor(s) at most.

    Args:
        wrong: ``[n]`` p(label is wrong), in [0, 1]. given: ``[n]`` int64; below 0: never seen. classes: K. above: in
            (0, 1). protect: False leaves out all who are wrong with more than ``above``.

    Example:
        >>> left_out(torch.tensor([0.6, 0.7, 0.9, 0.2]), torch.tensor([0, 0, 1, 1]), 2, 0.5)
        tensor([False,  True,  True, False])

    Fails when: ``wrong`` is too high for a whole class: its count is, too. See :func:`spared`.

    Reference: of this package.
    """
    if not protect:
        return wrong > above
    out = torch.zeros_like(wrong, dtype=torch.bool)
    for label in range(classes):
        mine = (given == label).nonzero().squeeze(1)
        p = wrong[mine].double()
        at_most = min(int((p > above).sum()), int(p.sum() + 1e-9))
        out[mine[p.argsort(descending=True, stable=True)[:at_most]]] = True
    return out


def most_wrong(wrong: Tensor, given: Tensor, rate: float) -> Tensor:
    """``[n]`` bool: the share ``rate`` of all that were seen whose labels are most probably wrong.

    Args:
        wrong: ``[n]`` p(label is wrong), in [0, 1]. given: ``[n]`` int64; below 0: never seen. rate: in (0, 1), for
            whoever knows how many are wrong.

    Example:
        >>> most_wrong(torch.tensor([0.6, 0.7, 0.9, 0.2]), torch.tensor([0, 0, 1, 1]), 0.25)
        tensor([False, False,  True, False])
    """
    out = torch.zeros_like(wrong, dtype=torch.bool)
    out[wrong.argsort(descending=True, stable=True)[: int(rate * int((given >= 0).sum()))]] = True
    return out


def spared(wrong: Tensor, given: Tensor, classes: int) -> Tensor:
    """``[K]`` bool: labels of which more than half of those who bear them are held for wrong.

    Where that is so the matrix says less of the labels than of itself: a rare class may have been taken for mistakes of
    common ones, as a whole. Nobody is to be left out under such a label.

    Args:
        wrong: ``[m]`` p(label is wrong), in [0, 1]. given: ``[m]`` int64. classes: K.

    Example:
        >>> spared(torch.tensor([0.1, 0.9, 0.8]), torch.tensor([0, 1, 1]), 2)
        tensor([False,  True])

    Fails when: more than half of those who bear a label do so by mistake: they are then trained on.

    Reference: of this package; how it was found: docs/notes/guard.md, Rare classes.
    """
    bear = torch.bincount(given, minlength=classes)
    held = torch.zeros(classes, dtype=torch.float64, device=wrong.device).index_add_(0, given, wrong.double())
    return held > 0.5 * bear


def without(matrix: Tensor, labels: Tensor) -> Tensor:
    """``[K, K]``, rows summing to 1: the matrix where no class but its own explains one of the ``labels``.

    Args:
        matrix: ``[K, K]`` P(given | true). labels: ``[K]`` bool.

    Example:
        >>> without(torch.tensor([[0.7, 0.3], [0.1, 0.9]]), torch.tensor([False, True]))
        tensor([[1.0000, 0.0000],
                [0.1000, 0.9000]])
    """
    if not bool(labels.any()):
        return matrix
    own = torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)
    kept = torch.where(labels[None, :] & ~own, 0.0, matrix)
    return kept + torch.diag(1 - kept.sum(1))
