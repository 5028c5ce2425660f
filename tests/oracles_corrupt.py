"""Slow twins of the injectors: one example at a time, in the order of the papers' sentences."""

from __future__ import annotations

import colorsys
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


Picture = list[list[float]]


def lens(picture: Picture, radius: float, alias: float) -> Picture:
    """A disk, softened by a 3 x 3 Gaussian; the border reflects without its edge."""
    h, w = len(picture), len(picture[0])
    disk = {(i, j): 1.0 for i in range(-8, 9) for j in range(-8, 9) if i * i + j * j <= radius * radius}
    soft = [math.exp(-i * i / (2 * alias * alias)) for i in (-1, 0, 1)]
    kernel: dict[tuple[int, int], float] = {}
    for (i, j), value in disk.items():
        for a in (-1, 0, 1):
            for b in (-1, 0, 1):
                part = value / len(disk) * soft[a + 1] * soft[b + 1] / sum(soft) ** 2
                kernel[i + a, j + b] = kernel.get((i + a, j + b), 0.0) + part

    def read(i: int, j: int) -> float:
        i, j = abs(i), abs(j)
        return picture[i if i < h else 2 * (h - 1) - i][j if j < w else 2 * (w - 1) - j]

    return [[sum(v * read(i + a, j + b) for (a, b), v in kernel.items()) for j in range(w)] for i in range(h)]


def motion(picture: Picture, radius: float, sigma: float, angle: float) -> Picture:
    """Step by step along the angle, ever fainter; the border repeats its edge."""
    h, w = len(picture), len(picture[0])
    weights = [math.exp(-i * i / (2 * sigma * sigma)) for i in range(2 * math.ceil(radius) + 1)]
    turn = math.radians(angle)
    out = [[0.0] * w for _ in range(h)]
    for row in range(h):
        for column in range(w):
            for i, weight in enumerate(weights):
                x = min(max(column + math.ceil(i * math.cos(turn) - 0.5), 0), w - 1)
                y = min(max(row + math.ceil(i * math.sin(turn) - 0.5), 0), h - 1)
                out[row][column] += weight / sum(weights) * picture[y][x]
    return out


def swapped(move: list[list[list[int]]], h: int, w: int, reach: int) -> list[int]:
    """Which pixel stands where, after swapping each with a neighbour, from the last to the first."""
    order = list(range(h * w))
    for turn in move:
        steps = iter(turn)
        for row in range(h - reach, reach, -1):
            for column in range(w - reach, reach, -1):
                down, right = next(steps)
                a, b = row * w + column, (row + down) * w + column + right
                order[a], order[b] = order[b], order[a]
    return order


def plasma(noise: list[list[Picture]], side: int) -> Picture:
    """Diamond and square, point by point, on a torus. ``noise``: for each halving, that of the squares' middles, of the
    points on horizontal edges and of those on vertical edges."""
    field = [[0.0] * side for _ in range(side)]
    step = side
    for middles, across, along in noise:
        half = step // 2
        for i in range(0, side, step):
            for j in range(0, side, step):
                four = [field[(i + a) % side][(j + b) % side] for a in (0, step) for b in (0, step)]
                field[i + half][j + half] = sum(four) / 4 + middles[i // step][j // step]
        for i in range(0, side, step):
            for j in range(0, side, step):
                for row, column, extra in ((i, j + half, across), (i + half, j, along)):
                    four = [
                        field[(row + a) % side][(column + b) % side]
                        for a, b in ((-half, 0), (half, 0), (0, -half), (0, half))
                    ]
                    field[row][column] = sum(four) / 4 + extra[i // step][j // step]
        step = half
    low, high = min(map(min, field)), max(map(max, field))
    return [[(value - low) / (high - low) for value in line] for line in field]


def brighter(pixel: list[float], light: float) -> list[float]:
    """Through HSV and back, by the standard library."""
    if len(pixel) == 1:
        return [min(pixel[0] + light, 1)]
    hue, saturation, value = colorsys.rgb_to_hsv(*pixel)
    return list(colorsys.hsv_to_rgb(hue, saturation, min(value + light, 1)))
