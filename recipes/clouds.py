"""Is what is merely ambiguous taken for wrong? Clouds of points that overlap more and more, as they are and with flips.

``python recipes/clouds.py 200 201 202`` draws, for each seed, 10,000 points of two or of ten normal clouds in ten
dimensions, whose centres lie so far from the origin that even the best classifier errs on about 1 %, 10 % or 30 % of
them. No label is wrong at first; then 15 % are exchanged for others. It prints what ``tamis.separate`` makes of both,
means over the seeds and the least and the most of any: the estimated rate, the share that is flagged at a target of
5 %, and of what is flagged how much is clean and how many of the wrong were found; beside it how many the best list
finds, which knows the clouds and how often labels are exchanged.

Hardware: two CPU cores, one thread; about a minute and a half a seed. Expected numbers: docs/guides/separation.md.
"""

from __future__ import annotations

import sys

import torch
from torch import nn

import tamis
from tamis.corrupt import injector
from tamis.observe.posterior import flag, true_label
from tamis.types import Arrays, generator

POINTS, WIDE, FLIPPED = 10_000, 10, 0.15
CLOUDS = ((2, 4.0), (2, 1.8), (2, 0.8), (10, 5.5), (10, 3.5), (10, 2.3))
"""How many, and how far their centres are from the origin."""


def clouds(classes: int, far: float, seed: int) -> tuple[Arrays, torch.Tensor]:
    """Points of normal clouds, as many of each; and ``[N, K]``, what the best classifier says of them."""
    draw = generator(seed, "clouds")
    centres = torch.randn(classes, WIDE, generator=draw)
    centres = far * centres / centres.norm(dim=1, keepdim=True)
    y = torch.arange(POINTS) % classes
    x = centres[y] + torch.randn(POINTS, WIDE, generator=draw)
    return Arrays(x, y, classes), (-(torch.cdist(x, centres) ** 2) / 2).softmax(1)


def network(classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(WIDE, 64), nn.ReLU(), nn.Linear(64, classes))


def found(data: Arrays, wrong: torch.Tensor | None, seed: int) -> list[float]:
    """Rate and share flagged; and where labels are wrong, of the flagged the clean share, and recall."""
    verdicts = tamis.separate(tamis.gather_evidence(data, lambda one: network(data.classes, one), seed=seed))
    flagged = torch.from_numpy(verdicts.table["flagged"].to_numpy().copy())
    said = [verdicts.noise_rate, float(flagged.double().mean())]
    if wrong is not None:
        said += [float((flagged & ~wrong).sum() / flagged.sum().clamp(min=1)), float(flagged[wrong].double().mean())]
    return said


def best(p: torch.Tensor, given: torch.Tensor, wrong: torch.Tensor) -> float:
    """Recall of the list of who knows ``p`` ``[N, K]`` and the flips."""
    classes = p.shape[1]
    matrix = torch.full((classes, classes), FLIPPED / (classes - 1)).fill_diagonal_(1 - FLIPPED)
    own = true_label(p, matrix, given).gather(1, given[:, None])[:, 0]
    return float(flag(1 - own, 0.05)[wrong].double().mean())


def spread(values: list[float]) -> str:
    """Mean (least to most)."""
    return f"{sum(values) / len(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def main(seeds: list[int]) -> None:
    torch.set_num_threads(1)
    print("classes | best possible error | as they are: rate, flagged | flipped: rate, flagged, clean, recall, best")
    for classes, far in CLOUDS:
        errors, clean, noisy = [], [], []
        for seed in seeds:
            data, known = clouds(classes, far, seed)
            flips, truth = injector("random_labels_exclusive", FLIPPED)(data, generator(seed, "corrupt"))
            errors.append(float((known.argmax(1) != data.y).double().mean()))
            clean.append(found(data, None, seed))
            noisy.append([*found(flips, truth.noisy, seed), best(known, flips.y, truth.noisy)])
        parts = [", ".join(spread(list(column)) for column in zip(*said, strict=True)) for said in (clean, noisy)]
        print(f"{classes} | {spread(errors)} | {parts[0]} | {parts[1]}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [200])
