"""What the guard costs where it has nothing to do: guarded against plain training, pass by pass in turn.

Claim: on clean labels, where the guard finds after a few passes that there is nothing to guard against, a run of eight
passes takes at most 1.03 of plain training's time. Both loops stand on a Sieve, on the same network and the same 20,000
Fashion-MNIST images; each pass of one is followed by the same pass of the other, which of them first by turns. Seconds
are the processor's own, one thread.

    python benchmarks/guard.py

Prints the ratio of every pass, then that of the whole runs with its spread over five pairs of runs, and exits with 1
where it is above the limit. Two minutes on one core.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

import tamis
from tamis.data import load, subset
from tamis.loop import Recipe
from tamis.models import build

PASSES, RUNS, LIMIT = 8, 5, 1.03


def passes(policy: str, seed: int) -> tuple[Callable[[], float], tamis.Sieve]:
    """One pass per call, in seconds of the processor; and the sieve, for what it decided."""
    data = subset(load("fashion_mnist"), 20_000, 123).train
    recipe = Recipe()
    model = build("mlp", (1, 28, 28), 10, width=512, seed=seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.weight_decay
    )
    sieve = tamis.Sieve(len(data.y), policy, budget=PASSES, seed=seed)
    batches = sieve.batches(recipe.batch, drop_last=True)

    def one() -> float:
        start = time.process_time()
        for drawn in batches:
            index = torch.tensor(drawn)
            sieve.loss(index, model(data.x[index]), data.y[index]).backward()
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(sieve.fraction)
            optimizer.step()
            optimizer.zero_grad()
        return time.process_time() - start

    return one, sieve


def main() -> int:
    torch.set_num_threads(1)
    whole, by_pass = [], []
    for seed in range(RUNS):
        (plain, _), (guarded, sieve) = passes("uniform", seed), passes("guarded", seed)
        seconds: list[tuple[float, float]] = []
        for number in range(PASSES):
            if (number + seed) % 2:
                other, own = guarded(), plain()
                seconds.append((own, other))
            else:
                seconds.append((plain(), guarded()))
        by_pass.append([other / own for own, other in seconds])
        whole.append(sum(other for _, other in seconds) / sum(own for own, _ in seconds))
    print(f"torch {torch.__version__}, one thread, {PASSES} passes of each, {RUNS} pairs of runs")
    print(
        "guarded / plain by pass:",
        " ".join(f"{statistics.median(column):.3f}" for column in zip(*by_pass, strict=True)),
    )
    print("decided:", " ".join(str(note["now"]).replace(" ", "-") for note in sieve.notes))
    ratio = statistics.median(whole)
    print(f"guarded / plain, whole runs: {ratio:.3f} ({min(whole):.3f} to {max(whole):.3f}) (limit {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
