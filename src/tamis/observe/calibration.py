"""How far to trust what networks say of the true labels, judged by the given labels alone.

No example is known to be right. What is known: wrong labels are spread by a transition that holds for a whole class,
and networks that did not train on an example are wrong about it in ways that their confidence and their class foretell.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from tamis.observe.posterior import checked, joint, sample, transition
from tamis.types import TamisError

ANCHORS = 0.2  # of the examples predicted as a class, the surest
LEAST = 50  # anchors of a class, where there are so many
POOLING = 10.0  # sampling variances that the off-diagonal entries of a row must differ by to count as different
DOUBT = 0.1  # the share of a network's word that is replaced by what is usual in its predicted class
AT_MOST = 100_000  # examples that scale and transition are fitted to


def anchored(
    probabilities: Tensor, given: Tensor, share: float = ANCHORS, least: int = LEAST, rounds: int = 30
) -> Tensor:
    """The transition matrix by the surest examples alone, where a network is hardly ever wrong.

    For each class i the anchors are the ``share`` of the examples predicted as i that are predicted with the highest
    probability (ties: the first). Were they certain, ``T[i, j]`` would be the share of given label j among them; what
    doubt is left is taken out by EM over all anchors, from those shares.

    Args:
        probabilities: ``[N, K]`` of the true class. given: ``[N]`` int64. share: in (0, 1]. least: anchors of a class,
            or all that there are. rounds: of EM; 0 takes the shares as they are, which is right for networks that
            trained on the examples, since their doubt has taken the given labels' side already.

    Returns:
        ``[K, K]`` float64, rows summing to 1. A class that is never predicted has the row of the identity.

    Raises:
        TamisError: shapes that do not fit, labels out of range, a share outside (0, 1].

    Example:
        >>> p = torch.tensor([[1.0, 0.0], [0.999, 0.001], [0.6, 0.4], [0.001, 0.999]])
        >>> anchored(p, torch.tensor([0, 1, 1, 1]), share=0.7, least=1).round(decimals=2)
        tensor([[0.5000, 0.5000],
                [0.0000, 1.0000]], dtype=torch.float64)

    Fails when: wrong labels avoid or seek the examples that are easiest to predict.

    Reference: anchor points: Liu & Tao 2016, arXiv:1411.7718; Patrini et al. 2017, arXiv:1609.03683.
    Differs from the paper in: the likelihood of a share of the surest, not the probabilities at the one surest.
    """
    p, classes = checked(probabilities, given)
    if not 0 < share <= 1:
        raise TamisError(f"share is {share!r}, but the share of examples that are anchors lies in (0, 1].")
    sure, predicted = p.max(1)
    shares, chosen = torch.eye(classes, dtype=torch.float64, device=p.device), []
    for i in predicted.unique():
        mine = (predicted == i).nonzero().squeeze(1)
        count = min(len(mine), max(least, int(share * len(mine))))
        chosen.append(mine[sure[mine].argsort(descending=True, stable=True)[:count]])
        shares[i] = torch.bincount(given[chosen[-1]], minlength=classes).double() / count
    if not chosen:
        return shares
    anchors = torch.cat(chosen)
    return transition(p[anchors], given[anchors], shares, rounds)  # EM leaves a row of the identity as it is


def pooled(matrix: Tensor, mass: Tensor, strength: float = POOLING) -> Tensor:
    """Draw the classes' shares of right labels together, and then the ways of erring within each class: as far as
    chance can explain that they differ.

    By James and Stein, ``x' = m + w (x - m)`` with m the mean, v the variance and ``w = max(0, 1 - strength c / v)``.
    Of the diagonal m and v are over classes, weighted by n_i, and class i has ``c = m (1 - m) / n_i``. Of the
    off-diagonal entries of row i they are over that row, with ``c = m (1 - m) / n_i`` again; the row then keeps the sum
    of 1 with its new diagonal.

    Args:
        matrix: ``[K, K]``, rows summing to 1. mass: ``[K]``, n_i, examples of each true class. strength: 0 leaves all.

    Returns:
        ``[K, K]`` float64, rows summing to 1; with fewer than three classes as it was.

    Example:
        >>> t = torch.tensor([[0.8, 0.11, 0.09], [0.0, 1.0, 0.0], [0.0, 0.4, 0.6]])
        >>> pooled(t, torch.tensor([1000.0, 1000.0, 1000.0])).round(decimals=2)
        tensor([[0.8000, 0.1000, 0.1000],
                [0.0100, 0.9900, 0.0100],
                [0.0100, 0.3800, 0.6100]], dtype=torch.float64)

    Fails when: one class of a hundred is what all errors go to and the row has few examples: that is pooled away. So is
    the one class of many whose labels are worse, where it is small.

    Reference: James & Stein 1961.
    """
    t = matrix.double()
    classes = len(t)
    if classes < 3:
        return t.clone()
    n, own = mass.double().clamp(min=1.0), torch.eye(classes, dtype=torch.bool, device=t.device)
    right, usual = t.diagonal(), float(n @ t.diagonal() / n.sum())
    spread = n @ (right - usual) ** 2 / n.sum()
    diagonal = usual + _kept(strength * usual * (1 - usual) / n, spread) * (right - usual)
    mean = ((1 - right) / (classes - 1))[:, None]
    apart = torch.where(own, 0.0, t - mean)
    variance = (apart**2).sum(1, keepdim=True) / (classes - 1)
    beside = mean + _kept(strength * mean * (1 - mean) / n[:, None], variance) * apart
    beside = torch.where(mean > 1e-12, beside / mean.clamp(min=1e-12), 1.0)  # who never errs, errs evenly if at all
    beside = beside * ((1 - diagonal) / (classes - 1))[:, None]
    return torch.where(own, diagonal[:, None], beside)


def _kept(chance: Tensor, variance: Tensor) -> Tensor:
    """The share of a deviation that is kept, in [0, 1]."""
    return (1 - chance / variance.clamp(min=1e-12)).clamp(min=0.0)


def scale_and_transition(
    log_probabilities: Tensor, given: Tensor, start: Tensor | None = None, rounds: int = 20
) -> tuple[float, Tensor]:
    """How sure the networks should have been, and the transition, by the likelihood of the given labels.

    Maximises ``sum_n log sum_i p_n(i) T[i, y_n]`` with ``p_n = softmax(s log p)`` over the scale s and T in turn: five
    rounds of EM for T, then s a step up or down if that is likelier; the step begins at a fifth and halves.

    Args:
        log_probabilities: ``[N, K]`` of the true class up to a constant per row, by networks that did not train on the
            example. given: ``[N]`` int64. start: ``[K, K]`` as in :func:`~tamis.observe.posterior.transition`.

    Returns:
        s > 0 (below 1: the networks were too sure) and T ``[K, K]`` float64. Beyond 100,000 examples every m-th counts.

    Raises:
        TamisError: shapes that do not fit, labels out of range.

    Example:
        >>> p = torch.tensor([[0.999, 0.001]] * 30 + [[0.001, 0.999]] * 30)
        >>> given = torch.tensor(([0] * 9 + [1]) * 3 + ([1] * 9 + [0]) * 3)
        >>> scale, found = scale_and_transition(p.log(), given)
        >>> bool((found.diagonal() - 0.9).abs().max() < 0.05)
        True

    Fails when: the networks trained on the examples themselves: it then finds them not sure enough, and no noise.

    Reference: temperature: Guo et al. 2017, arXiv:1706.04599; the mixture: Dawid & Skene 1979.
    Differs from the paper in: no held-out set with true labels; the given ones are explained through T.
    """
    x, _ = checked(log_probabilities, given)
    fitted = sample(given, AT_MOST)
    x, y = x[fitted], given[fitted]
    scale, step, t, p = 1.0, 0.2, start, _softmax(x)
    for _ in range(rounds):
        t = transition(p, y, t, rounds=5)
        here, likeliest = scale, _likelihood(p, t, y)
        for other in (here * (1 + step), here / (1 + step)):
            q = _softmax(other * x)
            if (likelihood := _likelihood(q, t, y)) > likeliest:
                scale, p, likeliest = other, q, likelihood
        step = step / 2 if scale == here else step
    return scale, transition(p, y, t, rounds=20)


def _softmax(x: Tensor) -> Tensor:
    """The softmax of rows: torch's own takes up to four times as long where they are short."""
    p = (x - x.amax(1, keepdim=True)).exp_()
    return p.div_(p.sum(1, keepdim=True))


def _likelihood(p: Tensor, matrix: Tensor, given: Tensor) -> float:
    return float(joint(p, matrix, given).sum(1).clamp_(min=1e-12).log_().sum())


def sureness(wrong: Tensor, witness: Tensor) -> float:
    """By what log-odds are to be multiplied so that they are as sure as they may be, judged by one who had no part.

    The slope a of ``s = sigmoid(a logit w + b)`` lies between two readings of the witness q. Either the networks behind
    w doubt just what the witness doubts, ``E[q | w] = s``: the least slope. Or they doubt independently of it, ``E[q |
    w] = c + (d - c) s``, where ``d = m2 / m1`` is its mean word on wrong labels and ``c = (m1 - m2) / (1 - m1)`` on
    right ones, as a calibrated witness has it (m1, m2, m3: the means of q, q^2, q^3): the greatest. Which of them is
    nearer, its spread about w tells: ``f^2 = mean (q - s)^2 / mean v``, s of the first reading and v the variance of q
    given w in the second. Of the temperatures 1/a the share f is the second's: 0 where all are one network's echo.

    Args:
        wrong: ``[N]`` in [0, 1], w. witness: ``[N]`` in [0, 1], calibrated, of the same labels.

    Returns:
        In [1/4, 4]; 1 where the witness tells nobody from anybody.

    Example:
        >>> right = torch.tensor([-3.0] * 9 + [3.0]).repeat(200)
        >>> draw = torch.Generator().manual_seed(0)
        >>> one, other = (right + torch.randn(2000, generator=draw) - 1 for _ in range(2))
        >>> sureness((one / 4).sigmoid(), other.sigmoid()) > 1.5  # too shy by far
        True

    Fails when: the witness is badly calibrated; or what is hard for one is easy for another in ways that depend on
    whether the label is wrong.

    Reference: temperature: Guo et al. 2017, arXiv:1706.04599; regression on noisy answers: Natarajan et al. 2013.
    """
    odds = wrong.double().clamp(1e-9, 1 - 1e-9).logit().cpu().numpy()
    q = witness.double().cpu().numpy()
    m1, m2, m3 = (float((q**power).mean()) if len(q) else 0.0 for power in (1, 2, 3))
    if not 0 < m1 < 1 or m2 - m1**2 < 1e-6 * m1 * (1 - m1):
        return 1.0
    on_wrong, on_right = m2 / m1, (m1 - m2) / (1 - m1)
    least, echoed = _slope(odds, q, 0.0, 1.0)
    most, s = _slope(odds, q, on_right, on_wrong)
    apart = s * (m3 / m1 - on_wrong**2) + (1 - s) * ((m2 - m3) / (1 - m1) - on_right**2)
    apart += s * (1 - s) * (on_wrong - on_right) ** 2
    share = float(np.sqrt(min(1.0, np.mean((q - echoed) ** 2) / max(np.mean(apart), 1e-12))))
    return 1 / ((1 - share) / least + share / most)


def _slope(odds: np.ndarray, q: np.ndarray, low: float, high: float) -> tuple[float, np.ndarray]:
    """The a in [1/4, 4] with which ``low + (high - low) sigmoid(a odds + b)`` foretells q best; and those sigmoids."""
    from scipy.optimize import minimize  # heavy to import

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        """Cross-entropy, and its gradient by log a and b."""
        scaled = np.exp(x[0]) * odds
        s = 1 / (1 + np.exp(-np.clip(scaled + x[1], -40, 40)))
        said = np.clip(low + (high - low) * s, 1e-9, 1 - 1e-9)
        pull = (high - low) * s * (1 - s) * (said - q) / (said * (1 - said))
        value = -np.mean(q * np.log(said) + (1 - q) * np.log(1 - said))
        return float(value), np.array([np.mean(pull * scaled), np.mean(pull)])

    edge = np.log(4.0)
    log_a, b = minimize(loss, np.zeros(2), jac=True, method="L-BFGS-B", bounds=[(-edge, edge), (None, None)]).x
    return float(np.exp(log_a)), 1 / (1 + np.exp(-np.clip(np.exp(log_a) * odds + b, -40, 40)))


class Agreement(NamedTuple):
    """The ``share`` of examples on which networks agree, and what it would be by ``chance``, from how often each says
    each class."""

    share: float
    chance: float

    @property
    def beyond(self) -> float:
        """How far the share lies on the way from chance to all: 0 by chance, and where all say one class; 1 always."""
        return (self.share - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0


def agreement(views: Tensor, fold: Tensor) -> Agreement:
    """On how many examples the network that never trained on them says the same class as those that did.

    Low where networks learnt each example by heart and little of what examples have in common.

    Args:
        views: ``[F, N, K]``, what each of F networks says. fold: ``[N]`` int64, which of them did not train on it.

    Returns:
        Both shares in [0, 1]; 1 and 0 where there is nobody to disagree.

    Example:
        >>> views = torch.tensor([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [0.0, 1.0]]])
        >>> found = agreement(views, torch.tensor([0, 1]))
        >>> found, found.beyond
        (Agreement(share=0.5, chance=0.5), 0.0)

    Fails when: all networks make the same mistake: then they agree on it.

    Reference: beyond chance: Cohen 1960, kappa.
    """
    count, n = views.shape[:2]
    if count < 2 or n == 0:
        return Agreement(1.0, 0.0)
    said, own = views.float(), fold[None, :, None] == torch.arange(count, device=fold.device)[:, None, None]
    outside = torch.where(own, said, 0.0).sum(0).argmax(1)
    inside = torch.where(own, 0.0, said).sum(0).argmax(1)
    shares = [torch.bincount(of, minlength=views.shape[2]).double() / n for of in (outside, inside)]
    return Agreement(float((outside == inside).double().mean()), float((shares[0] * shares[1]).sum()))


def confusion(probabilities: Tensor) -> Tensor:
    """``[K, K]`` float64: the mean probabilities of the examples predicted as each class; identity rows for none.

    Example:
        >>> confusion(torch.tensor([[0.9, 0.1], [0.7, 0.3]]))
        tensor([[0.8000, 0.2000],
                [0.0000, 1.0000]], dtype=torch.float64)
    """
    p = probabilities.double()
    classes = p.shape[1]
    predicted = p.argmax(1)
    sums = torch.zeros(classes, classes, dtype=torch.float64, device=p.device).index_add_(0, predicted, p)
    count = torch.bincount(predicted, minlength=classes)[:, None]
    return torch.where(count > 0, sums / count.clamp(min=1), torch.eye(classes, dtype=torch.float64, device=p.device))


def doubted(probabilities: Tensor, usual: Tensor, share: float = DOUBT) -> Tensor:
    """A network's word, less sure than it sounds: ``(1 - share) p + share C[argmax p]``.

    However sure a network is of one example, it is sometimes wrong, and then as it is in general: the true class is one
    that is often taken for the predicted one.

    Args:
        probabilities: ``[N, K]``. usual: ``[K, K]``, C as :func:`confusion` gives. share: in [0, 1].

    Returns:
        ``[N, K]`` float64, rows summing to 1.

    Example:
        >>> doubted(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.8, 0.2], [0.0, 1.0]]), 0.5)
        tensor([[0.9000, 0.1000]], dtype=torch.float64)
    """
    p = probabilities.double()
    return (1 - share) * p + share * usual.to(p)[p.argmax(1)]
