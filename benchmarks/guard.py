"""What the guard costs where it has nothing to do: guarded against plain training, a few steps of each in turn.

Claim: on clean labels, where the guard finds after a few passes that there is nothing to guard against, a run at the
counted cost of eight passes takes at most 1.03 of plain training's time. Both loops stand on a Sieve, on the same
network and the same 20,000 Fashion-MNIST images; every dozen steps of one is followed by a dozen of the other, which of
them first by turns, so that both see the same moods of the machine. Seconds are the processor's own, one thread.

    python benchmarks/guard.py

Prints the ratio of every eighth of the cost, then that of the whole runs with its spread over seven pairs of runs, and
exits with 1 where it is above the limit. Three minutes on one core.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator

import torch

import tamis
from tamis.data import load, subset
from tamis.loop import Recipe
from tamis.models import build

SIZE, PASSES, RUNS, TURN, LIMIT = 20_000, 8, 7, 12, 1.03


def steps(sieve: tamis.Sieve, seed: int) -> Iterator[int]:
    """A run, step by step: the eighth of its cost that each is of."""
    data = subset(load("fashion_mnist"), SIZE, 123).train
    recipe = Recipe()
    model = build("mlp", (1, 28, 28), 10, width=512, seed=seed)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=recipe.lr, momentum=recipe.momentum, nesterov=True, weight_decay=recipe.weight_decay
    )
    batches = sieve.batches(recipe.batch, drop_last=True)
    while not sieve.done:
        for drawn in batches:
            number = min(PASSES - 1, int(sieve.fraction * PASSES))
            index = torch.tensor(drawn)
            sieve.loss(index, model(data.x[index]), data.y[index]).backward()
            for group in optimizer.param_groups:
                group["lr"] = recipe.lr_at(sieve.fraction)
            optimizer.step()
            optimizer.zero_grad()
            yield number


def turn(run: Iterator[int], spent: list[float]) -> bool:
    """Go on by a dozen steps and add their seconds to those of their eighths; False when the run has ended."""
    for _ in range(TURN):
        start = time.process_time()
        number = next(run, None)
        if number is None:
            return False
        spent[number] += time.process_time() - start
    return True


def main() -> int:
    torch.set_num_threads(1)
    whole, by_pass, decided = [], [], []
    for seed in range(RUNS):
        sieves = [tamis.Sieve(SIZE, policy, budget=PASSES, seed=seed) for policy in ("uniform", "guarded")]
        runs, spent = [steps(sieve, seed) for sieve in sieves], [[0.0] * PASSES for _ in sieves]
        for run in runs:
            next(run)  # what is made before the first step is no part of training
        turns = seed
        going = True
        while going:
            for k in ((0, 1), (1, 0))[turns % 2]:
                going = turn(runs[k], spent[k]) and going
            turns += 1
        by_pass.append([other / own for own, other in zip(*spent, strict=True)])
        whole.append(sum(spent[1]) / sum(spent[0]))
        decided = [f"{str(note['now']).replace(' ', '-')} (learnt: {note['learnt']})" for note in sieves[1].notes[:4]]
    print(f"torch {torch.__version__}, one thread, the cost of {PASSES} passes each, {RUNS} pairs of runs")
    medians = (statistics.median(column) for column in zip(*by_pass, strict=True))
    print("guarded / plain by eighth:", " ".join(f"{ratio:.3f}" for ratio in medians))
    print("decided, pass by pass:", ", ".join(decided))
    ratio = statistics.median(whole)
    print(f"guarded / plain, whole runs: {ratio:.3f} ({min(whole):.3f} to {max(whole):.3f}) (limit {LIMIT})")
    return int(ratio > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
