"""Slow twins of the injectors: one example at a time, in the order of the papers' sentences."""

from __future__ import annotations

import math

import torch

from tamis.types import Arrays


def class_conditional(y: list[int], matrix: list[list[float]], level: list[float]) -> list[int]:
    """Walk along the row of the true class until the level is passed."""
    out = []
    for label, u in zip(y, level, strict=True):
        height = 0.0
        for target, p in enumerate(matrix[label]):
            height += p
            if u < height:
                out.append(target)
                break
    return out


def instance_dependent(data: Arrays, rate: float, std: float, generator: torch.Generator) -> list[int]:
    """``P_i = q_i softmax(x^T W[y])``, the rest on the own label; the draws in the order that is documented."""
    n, k, size = len(data.y), data.classes, data.x[0].numel()
    rank, flip, level = torch.rand(3, n, generator=generator, dtype=torch.float64)
    w = [torch.randn(size, k, generator=generator) for _ in range(k)]
    normal = torch.distributions.Normal(torch.tensor(rate, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
    low, high = normal.cdf(torch.tensor(0.0, dtype=torch.float64)), normal.cdf(torch.tensor(1.0, dtype=torch.float64))
    out = []
    for i in range(n):
        own = int(data.y[i])
        q = float(normal.icdf(low + rank[i] * (high - low)))
        a = [float(value) for value in (data.x[i].flatten().double() @ w[own].double())]
        top = max(value for c, value in enumerate(a) if c != own)
        p = [0.0 if c == own else math.exp(value - top) for c, value in enumerate(a)]
        p = [value / sum(p) for value in p]
        if float(flip[i]) < q:
            out += class_conditional([0], [p], [float(level[i])])
        else:
            out.append(own)
    return out


def long_tail(y: list[int], classes: int, imbalance: float, rate: float) -> list[int]:
    """How many of each class are left."""
    have = [y.count(c) for c in range(classes)]
    mu = imbalance ** (-rate / (classes - 1))
    return [min(have[c], max(1, round(max(have) * mu**c))) for c in range(classes)]


def turned(picture: list[list[float]]) -> list[list[float]]:
    """A square picture turned by 90 degrees, anticlockwise: the last column becomes the first row."""
    h = len(picture)
    return [[picture[j][h - 1 - i] for j in range(h)] for i in range(h)]


def shifted(picture: list[list[float]], down: int, right: int) -> list[list[float]]:
    """Every pixel comes from its neighbour; where there is none, from the edge."""
    h, w = len(picture), len(picture[0])
    return [[picture[min(max(i - down, 0), h - 1)][min(max(j - right, 0), w - 1)] for j in range(w)] for i in range(h)]
