"""Whether labels are right: what allows a policy to hurry past what is learnt, and what opens its guard."""

from __future__ import annotations

from torch import Tensor

from tamis.observe.calibration import confusion, doubted
from tamis.observe.posterior import explained, knowable, mislabeled, true_label

SURE = 0.9
SEEM_WRONG, SURELY_WRONG, KNOWN = 0.05, 0.01, 0.6
DOUBT, SURE_IN_DOUBT = 0.3, 0.8


def labels_seem_right(p: Tensor, matrix: Tensor, given: Tensor) -> bool:
    """Whether probabilities of true classes say that the given labels are right, and know enough to say so.

    That is: at most .05 of the labels seem wrong and .01 surely (above .9), and of what can be known of them .6 are
    known, in nats.

    Args:
        p: ``[m, K]`` of looks at examples that were never trained on. matrix: ``[K, K]`` P(given | true). given:
            ``[m]`` int64.

    Example:
        >>> import torch
        >>> p, sure = torch.eye(2, dtype=torch.float64) * 0.98 + 0.01, torch.eye(2, dtype=torch.float64)
        >>> labels_seem_right(p, sure, torch.tensor([0, 1])), labels_seem_right(p * 0 + 0.5, sure, torch.tensor([0, 1]))
        (True, False)

    The three limits were chosen on development pictures: ``docs/guides/guard.md``, Constants.

    Fails when: examples were trained on before; what is learnt by heart seems right.
    """
    wrong = mislabeled(p, matrix, given)
    knew = explained(p, given, matrix) / max(knowable(matrix, true_label(p, matrix, given).sum(0)), 1e-12)
    seem, surely = float(wrong.mean()), float((wrong > SURE).float().mean())
    return seem <= SEEM_WRONG and surely <= SURELY_WRONG and knew >= KNOWN


def surely_wrong(p: Tensor, matrix: Tensor, given: Tensor) -> Tensor:
    """``[m]`` bool: labels that are wrong with more than .8, even if three tenths of what the network says of an
    example are only what is usual in its predicted class.

    A network that is taken for surer than it is, since much of what it was trained on is damaged, calls hard examples
    wrong; but those are of classes that it often takes for each other, and wrong labels need not be.

    Args:
        p: ``[m, K]`` of true classes. matrix: ``[K, K]`` P(given | true). given: ``[m]`` int64.

    Example:
        >>> import torch
        >>> p = torch.tensor([[0.6, 0.4, 0.0], [0.99, 0.01, 0.0], [0.0, 0.0, 1.0]])
        >>> surely_wrong(p, torch.full((3, 3), 0.1) + 0.7 * torch.eye(3), torch.tensor([0, 1, 0]))
        tensor([False, False,  True])

    Both limits were chosen on development pictures: ``docs/guides/guard.md``, Constants.

    Fails when: mistakes in labels are the network's own, as between two kinds that look alike: it is then sure of few.

    Reference: of this package; what else was tried: docs/notes/guard.md.
    """
    return mislabeled(doubted(p, confusion(p), DOUBT), matrix, given) > SURE_IN_DOUBT
