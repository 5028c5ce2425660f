"""Slow, obvious twins of everything fast in ``tamis.observe``: plain loops over lists of floats, no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

Batch = list[tuple[int, float]]  # (index, value) in the order of the batch

# --- signals: one example's logits and label -> a number --------------------------------------------------------------


def softmax(z: list[float]) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


def margin(z: list[float], y: int) -> float:
    return z[y] - max(v for k, v in enumerate(z) if k != y)


def correct(z: list[float], y: int) -> float:
    return 1.0 if all(z[y] > v for k, v in enumerate(z) if k != y) else 0.0


def confidence(z: list[float], y: int) -> float:
    return softmax(z)[y]


def entropy(z: list[float], y: int) -> float:
    return -sum(p * math.log(p) for p in softmax(z) if p > 0)


def el2n(z: list[float], y: int) -> float:
    return math.sqrt(sum((p - (k == y)) ** 2 for k, p in enumerate(softmax(z))))


SIGNALS: dict[str, Callable[[list[float], int], float]] = {
    "margin": margin,
    "correct": correct,
    "confidence": confidence,
    "entropy": entropy,
    "el2n": el2n,
}

# --- reducers: a history of batches -> a number per example -----------------------------------------------------------


def every(batches: list[Batch], i: int) -> list[float]:
    """All finite values of example i, in order: what sums see."""
    return [v for batch in batches for j, v in batch if j == i and math.isfinite(v)]


def one_a_batch(batches: list[Batch], i: int) -> list[float]:
    """The last finite value of example i in each batch that has one: what memories see."""
    return [seen[-1] for batch in batches if (seen := every([batch], i))]


def count(batches: list[Batch], i: int) -> float:
    return float(sum(j == i for batch in batches for j, _ in batch))


def mean(batches: list[Batch], i: int) -> float:
    v = every(batches, i)
    return sum(v) / len(v) if v else math.nan


def std(batches: list[Batch], i: int) -> float:
    v = every(batches, i)
    return math.sqrt(sum((x - sum(v) / len(v)) ** 2 for x in v) / len(v)) if v else math.nan


def slope(batches: list[Batch], i: int) -> float:
    v = every(batches, i)
    if len(v) < 2:
        return 0.0 if v else math.nan
    t_mean, v_mean = (len(v) - 1) / 2, sum(v) / len(v)
    return sum((t - t_mean) * (x - v_mean) for t, x in enumerate(v)) / sum((t - t_mean) ** 2 for t in range(len(v)))


def last(batches: list[Batch], i: int) -> float:
    v = one_a_batch(batches, i)
    return v[-1] if v else math.nan


def ema(batches: list[Batch], i: int, momentum: float = 0.9) -> float:
    v = one_a_batch(batches, i)
    if not v:
        return math.nan
    e = v[0]
    for x in v[1:]:
        e = momentum * e + (1 - momentum) * x
    return e


def drops(batches: list[Batch], i: int) -> float:
    right = [v >= 0.5 for v in one_a_batch(batches, i)]
    if not right:
        return math.nan
    return float(sum(a and not b for a, b in pairwise(right))) if any(right) else math.inf


def settled(batches: list[Batch], i: int) -> float:
    right = [v >= 0.5 for v in one_a_batch(batches, i)]
    if not right:
        return math.nan
    return next((float(t + 1) for t in range(len(right)) if all(right[t:])), math.inf)


REDUCERS: dict[str, Callable[[list[Batch], int], float]] = {
    "count": count,
    "mean": mean,
    "std": std,
    "slope": slope,
    "last": last,
    "ema": ema,
    "drops": drops,
    "settled": settled,
}


# --- later signals and reducers ---------------------------------------------------------------------------------------


def wrong(z: list[float], y: int) -> float:
    return 1.0 if any(z[y] <= v for k, v in enumerate(z) if k != y) else 0.0


def label_gap(z: list[float], y: int) -> float:
    p = softmax(z)
    return min(p[y] - v for k, v in enumerate(p) if k != y)


SIGNALS |= {"wrong": wrong, "label_gap": label_gap}


def total(batches: list[Batch], i: int) -> float:
    v = every(batches, i)
    return sum(v) if v else math.nan


def first(batches: list[Batch], i: int) -> float:
    right = [v >= 0.5 for v in one_a_batch(batches, i)]
    if not right:
        return math.nan
    return right.index(True) + 1.0 if any(right) else math.inf


def mann_kendall(v: list[float]) -> float:
    """Z of the textbook, ties corrected; 0 where nothing varies."""
    m = len(v)
    s = sum((v[b] > v[a]) - (v[b] < v[a]) for a in range(m) for b in range(a + 1, m))
    ties = sum(g * (g - 1) * (2 * g + 5) for g in (v.count(x) for x in set(v)))
    variance = (m * (m - 1) * (2 * m + 5) - ties) / 18
    return (s - (s > 0) + (s < 0)) / math.sqrt(variance) if variance > 0 else 0.0


def trend(batches: list[Batch], i: int, points: int = 16) -> float:
    v = one_a_batch(batches, i)
    stride = 1
    while len(v[::stride]) > points:
        stride *= 2
    return mann_kendall(v[::stride]) if v else math.nan


REDUCERS |= {"total": total, "first": first, "trend": trend}

# --- a watch: whole passes -> mean logits and mean probabilities, as each pass is heard -------------------------------

Rows = list[list[float]]


def watched(said: list[Rows], y: list[int], orders: list[list[int]]) -> tuple[Rows, Rows]:
    """``said`` ``[T][N][K]``, seen in the order of ``orders`` ``[T][N]``; what is not finite is no look."""
    shares = [y.count(k) / len(y) for k in set(y)]
    entropy = -sum(share * math.log(share) for share in shares)
    logits, probabilities = ([[0.0] * len(row) for row in said[0]] for _ in range(2))
    alike, knowing = [0.0] * len(y), [0.0] * len(y)
    before: dict[int, tuple[float, int]] = {}
    learnt = 0.0
    for z, order in zip(said, orders, strict=True):
        now = {
            i: (-math.log(softmax(z[i])[y[i]]), 4 * place // len(order))
            for place, i in enumerate(order)
            if all(map(math.isfinite, z[i]))
        }
        drops = {i: before[i][0] - now[i][0] for i in now if i in before}
        late, soon = ([[d for i, d in drops.items() if met[i][1] == k] for k in range(4)] for met in (before, now))
        if all(late + soon):
            a, b = ([sum(part) / len(part) for part in parts] for parts in (late, soon))
            learnt += 1.5 * (a[3] + b[0]) - 0.5 * (a[2] + b[1]) - sum(drops.values()) / len(drops)
        loss = sum(value for value, _ in now.values()) / len(now)
        heart = max(0.0, learnt)
        rho = heart / (loss + heart)
        weight = (max(0.01, entropy - loss - heart) * (1 - rho) ** 2) ** 3
        for place, i in enumerate(order):
            if i in now:
                alike[i] += 1 - rho
                logits[i] = [total + (1 - rho) * v for total, v in zip(logits[i], z[i], strict=True)]
            if i in now and (before or place >= len(order) / 2):
                knowing[i] += weight
                probabilities[i] = [
                    total + weight * v for total, v in zip(probabilities[i], softmax(z[i]), strict=True)
                ]
        before = now
    return (
        [[v / w if w else 0.0 for v in row] for row, w in zip(logits, alike, strict=True)],
        [[v / w if w else 0.0 for v in row] for row, w in zip(probabilities, knowing, strict=True)],
    )
