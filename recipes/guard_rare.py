"""Does the guard drop a rare subgroup for noise? Guarded against plain training, with turned pictures of one class.

3 % of 20,000 Fashion-MNIST images, all of the largest class, are turned by 90 degrees (their labels stay right), and so
are that class's test pictures, once more. Trained at the cost of 8 epochs, plain and guarded, on the same seeds, with
clean labels and with wrong ones. ``python recipes/guard_rare.py`` prints for each kind of noise: the recall of the
turned test pictures, of the class as it is, and of everything, plain and guarded, with the paired difference in points
and its 95 % t-interval (above 0 is better), and the share of the turned training pictures whose label is right and
that the guard calls probably wrong. ``clean sym40`` takes two kinds of noise, ``clean:3`` three seeds of it.

Hardware: two CPU cores take about 15 minutes, one run at a time. Expected numbers: docs/guides/guard.md.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from torch import Tensor

from tamis.corrupt import injector
from tamis.data import load, subset
from tamis.loop import look, train
from tamis.models import build
from tamis.selection import policies
from tamis.study.statistics import t_interval
from tamis.types import Arrays, Kind, generator

NOISE = {
    "clean": ("none", 0.0),
    "sym40": ("random_labels_exclusive", 0.4),
    "asym30": ("asymmetric_labels", 0.3),
    "inst30": ("instance_dependent", 0.3),
}
RARE, BUDGET, SEEDS = 0.03, 8.0, 10


def recall(model: torch.nn.Module, data: Arrays) -> float:
    return float((look(model, data)[0] == data.y).double().mean())


def one(noise: str, seed: int, policy: policies.Policy) -> tuple[list[float], float]:
    """Recalls of the turned, of their class and of everything; and the share of the turned that seem wrong."""
    data = subset(load("fashion_mnist"), 20_000, 123)
    rare, structure = injector("rare_subgroup", RARE)(data.train, generator(seed, "rare"))
    turned = (structure.kind & int(Kind.RARE)) > 0
    given, truth = injector(*NOISE[noise])(rare, generator(seed, "corrupt"))
    model = build("mlp", (1, 28, 28), 10, width=512, seed=seed)
    record = train(model, given, data.test, policy, budget=BUDGET, seed=seed, points=1)
    mine = data.test.take((data.test.y == int(data.train.y[turned][0])).nonzero()[:, 0])
    found = [recall(model, Arrays(x, y, 10)) for x, y in (
        (mine.x.rot90(1, (2, 3)), mine.y), (mine.x, mine.y), (data.test.x, data.test.y)
    )]  # fmt: skip
    right: Tensor = turned & ~truth.noisy
    wrong = record.examples.get("p_mislabeled")
    return found, 0.0 if wrong is None else float((wrong[right.numpy()] > 0.5).mean())


def main(asked: list[str]) -> None:
    torch.set_num_threads(1)
    for word in asked or list(NOISE):
        noise, _, seeds = word.partition(":")
        plain, guarded, flagged = [], [], []
        for seed in range(int(seeds or SEEDS)):
            plain.append(one(noise, seed, policies.uniform())[0])
            found, share = one(noise, seed, policies.guarded())
            guarded.append(found)
            flagged.append(share)
        for at, what in enumerate(("the turned", "their class", "everything")):
            before, after = 100 * np.array(plain)[:, at], 100 * np.array(guarded)[:, at]
            difference = t_interval(after - before)
            print(
                f"{noise}, recall of {what}: {before.mean():.1f} % plain, {after.mean():.1f} % guarded, "
                f"{difference.mean:+.2f} points ({difference.low:+.2f} to {difference.high:+.2f}); {len(plain)} seeds"
            )
        print(f"{noise}, turned pictures with right labels that are called probably wrong: {np.mean(flagged):.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
