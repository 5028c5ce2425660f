"""What an example's loss is beside the sum over the candidates it happens to meet."""

from __future__ import annotations

import numpy as np

from tamis.theory.ranks import Array

NODES = 96  # of the quadrature over t
INDEPENDENT = 2**40  # a training set so large that candidates are independent draws


def reciprocal_sum(l: Array, candidates: int, population: int) -> Array:
    """E[1 / S | i is a candidate] ``[N]``, S the sum of ``l`` over M candidates dealt from the population.

    ``E[1 / S; i in] = ∫ E[exp(-t S); i in] dt``. With ``a_j = exp(-t l_j)``, the coefficient of z^M in Π_j (1 + z a_j)
    is the sum of exp(-t S) over all ways to deal M of N. At its saddlepoint, ``Σ_j p_j = M`` where
    ``p_j = z a_j / (1 + z a_j)``, it is ``Π_j (1 + z a_j) / (z^M sqrt(2 π V)), V = Σ_j p_j (1 - p_j)``, and of that the
    share p_i has i in the batch. Right up to a factor, which the total of the inclusions settles.
    With M above N the candidates count as independent draws.
    """
    m, n = candidates, population if candidates <= population else INDEPENDENT
    if m == n:
        return np.full(len(l), 1 / (m * l.mean()))
    f, copies, scale = m / n, n / len(l), m * l.mean()
    u, du = np.polynomial.legendre.leggauss(NODES)
    u, du = (u + 1) / 2, du / 2  # t = u / (1 - u) in units of 1 / E[S]
    z = f / (1 - f)
    origin, spread = n * np.log1p(z) - m * np.log(z), n * f * (1 - f)
    expected, transform = np.zeros(len(l)), 1.0
    for t, dt in zip(u / (1 - u) / scale, du / (1 - u) ** 2 / scale, strict=True):
        a = np.exp(-t * l)
        for _ in range(50):  # Newton in log z, from the saddlepoint of the t before
            p = z * a / (1 + z * a)
            excess, variance = copies * p.sum() - m, max(copies * (p * (1 - p)).sum(), 1e-12)
            if abs(excess) < 1e-9 * m:
                break
            z *= np.exp(np.clip(-excess / variance, -2, 2))
        log_transform = copies * np.log1p(z * a).sum() - m * np.log(z) - origin + np.log(spread / variance) / 2
        transform = min(transform, np.exp(min(log_transform, 0.0)))  # E[exp(-t S)] is 1 at t = 0 and only falls
        if transform < 1e-30:
            break
        expected += dt * p / f * transform
    return expected


def none_other(candidates: int, zeros: int, population: int) -> float:
    """P(the M - 1 other candidates are of the ``zeros`` too | one is): every loss of the batch is 0."""
    if candidates > population:
        return float((zeros / population) ** (candidates - 1))
    dealt = np.arange(1, candidates)
    return float(np.prod(np.maximum(zeros - dealt, 0) / (population - dealt)))
