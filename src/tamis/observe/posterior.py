"""What the given labels say of the true ones: class transition, posterior, and how many may be called wrong.

Three kernels on one model: an example of true class i is given label j with probability ``T[i, j]``, whatever it looks
like otherwise; a model says ``p(i | x)``. Then ``p(i | x, j) ~ p(i | x) T[i, j]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tamis.types import TamisError, generator

KNOWING = 3  # power of the nats that a pass explains, by which it counts: one that knows little is hardly heard
WRONG_AT_FIRST, BELOW_CHANCE = 0.4, 0.8  # of a matrix before anything is known: see :func:`beginning`
DOUBTFUL = 0.1  # how probably a label on a list is wrong at least, whatever share of right ones the list may hold
LEAST = 0.01  # nats that a pass counts as having explained: where all know nothing, all are heard alike


def transition(probabilities: Tensor, given: Tensor, start: Tensor | None = None, rounds: int = 100) -> Tensor:
    """The class transition matrix ``T[i, j] = P(given = j | true = i)``, rows summing to 1, by EM.

    E: ``q_n(i) ~ p_n(i) T[i, y_n]``; M: ``T[i, j] ~ sum_n q_n(i) 1[y_n = j]``. The likelihood never falls.

    Args:
        probabilities: ``[N, K]`` of the true class, by models that did not train on the row's example: in-sample ones
            agree with the given labels too often, and EM then finds no noise. given: ``[N]`` int64.
        start: ``[K, K]``; None is :func:`beginning` of the given labels.
        rounds: of EM.

    Returns:
        ``[K, K]`` float64. A class that nobody seems to belong to keeps its row of the start; one whose label nobody
        bears explains nothing: its row is the identity's, and its column is empty.

    Raises:
        TamisError: shapes that do not fit, labels out of range.

    Example:
        >>> p = torch.tensor([[0.9, 0.1]] * 3 + [[0.1, 0.9]] * 3)
        >>> transition(p, torch.tensor([0, 0, 1, 1, 1, 1])).round(decimals=2)
        tensor([[0.7100, 0.2900],
                [0.0000, 1.0000]], dtype=torch.float64)

    Fails when: more than half of a class bears another label; or the model's probabilities are far from calibrated.

    Reference: Dawid & Skene 1979; Patrini et al. 2017, arXiv:1609.03683.
    """
    p, classes = checked(probabilities, given)
    counts = torch.bincount(given, minlength=classes)
    t, borne = (beginning(counts) if start is None else start).to(p), counts > 0
    if rounds and bool(borne.any()) and not bool(borne.all()):
        t = _of_labels(t, borne)
    for _ in range(rounds):
        q = joint(p, t, given)
        q /= q.sum(1, keepdim=True).clamp(min=1e-12)
        counts = torch.zeros_like(t).index_add_(1, given, q.T)
        mass = counts.sum(1, keepdim=True)
        t = torch.where(mass > 1e-9, counts / mass.clamp(min=1e-9), t)
    return t


def beginning(labels: Tensor, wrong: float = WRONG_AT_FIRST) -> Tensor:
    """The matrix before anything is known of the classes: .6 on the diagonal and the rest spread over the others.

    That breaks the tie between a class and its permutations. But no class is taken to bear a rare label j more often
    than four fifths of ``P(given = j)``, and the diagonal rises by what is spared: were a rare label a common mistake
    of a large class, the large class would explain it, and nobody would be of the rare one. Rare is a label of count c
    with ``c + 4.5 + 3 sqrt(c + 2.25) < N / (2 (K - 1))``: surely below half of an even share of the other classes.

    Args:
        labels: ``[K]``, how many bear each label, as far as is known. wrong: the share of wrong labels, off the
            diagonal; .4 where it is not known.

    Returns:
        ``[K, K]`` float64, rows summing to 1.

    Example:
        >>> beginning(torch.tensor([500, 500]))
        tensor([[0.6000, 0.4000],
                [0.4000, 0.6000]], dtype=torch.float64)
        >>> beginning(torch.tensor([950, 50])).round(decimals=2)
        tensor([[0.9600, 0.0400],
                [0.4000, 0.6000]], dtype=torch.float64)

    Fails when: few are of a class and many others bear its label by mistake: it then passes for no rare one.

    Reference: of this package; how it was found: docs/notes/guard.md.
    """
    counts, classes = labels.double(), len(labels)
    full, total = wrong / max(1, classes - 1), counts.sum()
    at_most = counts + 4.5 + 3 * (counts + 2.25).sqrt()  # of a Poisson mean
    rare = at_most * BELOW_CHANCE < full * total
    beside = torch.where(rare, BELOW_CHANCE * (counts + 1) / (total + classes), full)
    spared = (full - beside).expand(classes, classes).clone().fill_diagonal_(0.0).sum(1)
    t = beside.expand(classes, classes).clone()
    t.diagonal().copy_(1 - wrong + spared)
    return t if classes > 1 else torch.ones_like(t)


def true_label(probabilities: Tensor, matrix: Tensor, given: Tensor) -> Tensor:
    """``[N, K]`` float64 posterior of the true label: ``p(i | x, y) ~ p(i | x) T[i, y]``.

    ``1 - p(y | x, y)`` is the probability that the given label is wrong.

    Args:
        probabilities: ``[N, K]``. matrix: ``[K, K]`` as :func:`transition` gives. given: ``[N]`` int64.

    Example:
        >>> true_label(torch.tensor([[0.8, 0.2]]), torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([1]))
        tensor([[0.4000, 0.6000]], dtype=torch.float64)

    Fails when: noise depends on the example and not on its class alone: it is too low where labels are often wrong.

    Reference: Bayes' rule.
    """
    p, _ = checked(probabilities, given)
    together = joint(p, matrix.to(p), given)
    total = together.sum(1, keepdim=True)
    own = torch.nn.functional.one_hot(given, p.shape[1]).double()
    return torch.where(total > 1e-12, together / total.clamp(min=1e-12), own)  # nothing explains it: as it was given


def mislabeled(probabilities: Tensor, matrix: Tensor, given: Tensor) -> Tensor:
    """``[N]`` float32, how probably each given label is wrong: ``1 - p(y | x, y)`` by Bayes' rule.

    Example:
        >>> mislabeled(torch.tensor([[0.8, 0.2]]), torch.tensor([[0.9, 0.1], [0.4, 0.6]]), torch.tensor([1]))
        tensor([0.4000])
    """
    return (1 - true_label(probabilities, matrix, given).gather(1, given[:, None])[:, 0]).float().clamp(0, 1)


def corrected_loss(logits: Tensor, matrix: Tensor, given: Tensor, heard: Tensor | None = None) -> Tensor:
    """Forward-corrected cross-entropy ``[B]``, in nats: ``-log sum_i p(i | x) h_i T[i, y]``, with its graph.

    What is minimised is the loss of the *given* label through the transition, so the model itself learns the true one
    and need not memorise a wrong label to explain it.

    Args:
        heard: ``[B, K]`` log h, what else speaks for each true class of each example; None: nothing, h = 1. A constant
            added to a row is added to its loss and changes no gradient.

    Example:
        >>> corrected_loss(torch.zeros(1, 2), torch.eye(2), torch.tensor([0]))
        tensor([0.6931])

    Reference: Patrini et al. 2017, arXiv:1609.03683; h is of this package.
    """
    column = matrix.to(logits.device).T[given].to(torch.float32)  # of a thousand classes most rows are not asked for
    terms = logits.float().log_softmax(1) + column.log().clamp(min=-30)
    return -torch.logsumexp(terms if heard is None else terms + heard, 1)


def explained(probabilities: Tensor, given: Tensor, matrix: Tensor | None = None) -> float:
    """How many nats of the given labels a network explains, through the matrix: H(y) less their mean loss.

    What several passes or networks say counts by its cube: the power :data:`KNOWING`.

    Args:
        probabilities: ``[N, K]`` of the true class. given: ``[N]`` int64. matrix: ``[K, K]`` P(given | true); None:
            nothing is wrong.

    Returns:
        Nats, higher knows more: at most log K, and at least :data:`LEAST`.

    Example:
        >>> round(explained(torch.eye(2), torch.tensor([0, 1])), 3)  # log 2
        0.693

    Fails when: wrong labels have been learnt by heart: it counts them as explained.
    """
    if not len(given):
        return LEAST
    classes = probabilities.shape[1]
    share = torch.bincount(given, minlength=classes).double() / len(given)
    entropy = -float(torch.special.xlogy(share, share).sum())
    right = (probabilities if matrix is None else probabilities @ matrix.to(probabilities)).gather(1, given[:, None])
    return max(LEAST, entropy + float(right.clamp(min=1e-12).log().double().mean()))


def knowable(matrix: Tensor, share: Tensor) -> float:
    """How many nats of the given labels the true classes explain: ``I(y; i) = H(y) - sum_i P(i) H(T[i])``.

    What :func:`explained` reaches, in the mean, where a network knows every true class and nothing by heart.

    Args:
        matrix: ``[K, K]`` P(given | true). share: ``[K]`` P(true), or counts.

    Example:
        >>> round(knowable(torch.eye(2), torch.tensor([1.0, 1.0])), 3)  # log 2
        0.693
        >>> knowable(torch.full((2, 2), 0.5), torch.tensor([1.0, 1.0]))
        0.0
    """
    t = matrix.double()
    of_classes = share.to(t) / share.sum().to(t).clamp(min=1e-12)
    of_labels = of_classes @ t
    noise = -(of_classes @ torch.special.xlogy(t, t).sum(1))
    return max(0.0, float(-torch.special.xlogy(of_labels, of_labels).sum() - noise))


def flag(p: Tensor, fdr: float) -> Tensor:
    """``[N]`` bool: the most examples, highest ``p`` first, of which at most the share ``fdr`` is expected to be clean.

    The largest k with ``(1/k) sum_{i <= k} (1 - p_(i)) <= fdr`` and ``p_(k) > .1``; holds as far as ``p`` is
    calibrated. Where most of a list is certain, the target alone would leave room for labels that are surely right.
    NaN, who was never observed, is never flagged.

    Example:
        >>> flag(torch.tensor([0.99, 0.2, 0.91, 0.6]), 0.05)
        tensor([ True, False,  True, False])

    Raises:
        TamisError: a target outside (0, 1).

    Reference: Efron et al. 2001 (local false discovery rate); Sun & Cai 2007.
    """
    check_target(fdr)
    p = p.nan_to_num(0.0)
    order = p.argsort(descending=True, stable=True)
    expected = (1 - p[order].double()).cumsum(0) / torch.arange(1, len(p) + 1, device=p.device)
    count = int(((expected <= fdr) & (p[order] > DOUBTFUL)).sum())  # the running mean of rising numbers rises
    flagged = torch.zeros(len(p), dtype=torch.bool, device=p.device)
    flagged[order[:count]] = True
    return flagged


def check_target(fdr: float) -> None:
    """That a share of false discoveries can be asked for.

    Raises:
        TamisError: it is outside (0, 1).
    """
    if not 0 < fdr < 1:
        raise TamisError(f"fdr is {fdr!r}, but the share of false discoveries to accept lies inside (0, 1).")


def sample(given: Tensor, at_most: int) -> Tensor:
    """Which examples to fit to where there are more than ``at_most``: drawn alike from every label.

    Args:
        given: ``[N]`` int64.

    Returns:
        ``[M]`` int64; all, in their order, where N is at most ``at_most``; else about that many, some of each label.

    Example:
        >>> sample(torch.tensor([0, 0, 0, 0, 1, 1]), 3).sort().values.shape
        torch.Size([3])
    """
    n = len(given)
    if n <= at_most:
        return torch.arange(n, device=given.device)
    drawn = torch.randperm(n, generator=generator(0, "sample")).to(given.device)
    by_label = drawn[given[drawn].argsort(stable=True)]
    first = torch.ones(n, dtype=torch.bool, device=given.device)
    first[1:] = given[by_label[1:]] != given[by_label[:-1]]
    return by_label[first | (torch.arange(n, device=given.device) % -(-n // at_most) == 0)]


def _of_labels(t: Tensor, borne: Tensor) -> Tensor:
    """``t`` where only the labels ``borne`` ``[K]`` are given, and only classes of theirs explain them."""
    kept = t * borne
    kept = kept / kept.sum(1, keepdim=True).clamp(min=1e-12)
    return torch.where(borne[:, None], kept, torch.eye(len(t), dtype=t.dtype, device=t.device))


def joint(p: Tensor, t: Tensor, given: Tensor) -> Tensor:
    """``[N, K]``: ``p_n(i) T[i, y_n]``, how probably the true class is i and the given label came of it."""
    return t.T[given].mul_(p)


def checked(probabilities: Tensor, given: Tensor) -> tuple[Tensor, int]:
    """The probabilities in float64 and K, if they and the given labels are what they should be."""
    if probabilities.ndim != 2 or given.dtype != torch.int64 or given.shape != probabilities.shape[:1]:
        raise TamisError(
            f"probabilities must be [N, K] and given labels [N] int64, but they are {list(probabilities.shape)} and "
            f"{list(given.shape)} {given.dtype}."
        )
    classes = probabilities.shape[1]
    if len(given) and not 0 <= int(given.min()) <= int(given.max()) < classes:
        raise TamisError(f"given labels must lie in 0..{classes - 1}, but reach from {given.min()} to {given.max()}.")
    return probabilities.double(), classes
