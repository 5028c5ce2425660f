"""What recording costs: a loop with the Sieve against the bare loop, in one process, in turn.

Claim: at most 1.03 of the bare loop for a step of 5 ms or more, and at most 0.5 ms to record a batch of 256 x 1000 on
a CPU.

    python benchmarks/overhead.py

Prints both figures last and exits with 1 where one is missed.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F

import tamis
from tamis.models import build
from tamis.observe import scores
from tamis.recorder import WINDOW, Recorder
from tamis.types import Observation

BATCH, CLASSES, EXAMPLES, PAIRS = 256, 10, 50_000, 40
RATIO_LIMIT, RECORD_LIMIT = 1.03, 0.5e-3


def loops() -> tuple[Callable[[], None], Callable[[], None]]:
    """A bare step and the same step through a Sieve, each with its own copy of one network, on the same batches."""
    x, y = torch.randn(BATCH, 1, 28, 28), torch.randint(0, CLASSES, (BATCH,))
    models = [build("mlp", (1, 28, 28), CLASSES, 512, seed=0) for _ in range(2)]
    optimizers = [torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9) for model in models]
    sieve = tamis.Sieve(EXAMPLES, tamis.policies.uniform(), budget=1e9)

    def forever() -> object:
        while True:
            yield from sieve.batches(BATCH, drop_last=True)

    drawn = iter(forever())  # type: ignore[call-overload]
    plain = torch.utils.data.BatchSampler(torch.utils.data.RandomSampler(range(EXAMPLES)), BATCH, True)

    def forever_plain() -> object:
        while True:
            yield from plain

    drawn_plain = iter(forever_plain())  # type: ignore[call-overload]

    def bare() -> None:
        torch.tensor(next(drawn_plain))
        F.cross_entropy(models[0](x), y).backward()
        optimizers[0].step()
        optimizers[0].zero_grad()

    def sieved() -> None:
        index = torch.tensor(next(drawn))
        sieve.loss(index, models[1](x), y).backward()
        optimizers[1].step()
        optimizers[1].zero_grad()

    return bare, sieved


def seconds(work: Callable[[], None], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - start) / repeats


def main() -> int:
    torch.set_num_threads(1)
    bare, sieved = loops()
    for work in (bare, sieved):
        seconds(work, 10)
    times: dict[Callable[[], None], list[float]] = {bare: [], sieved: []}
    for number in range(
        PAIRS
    ):  # in turn, so that both see the same moods of the machine; whole windows of the recorder
        for work in (bare, sieved) if number % 2 else (sieved, bare):
            times[work].append(seconds(work, WINDOW))
    pairs = [with_ / without for without, with_ in zip(times[bare], times[sieved], strict=True)]
    step, ratio = statistics.median(times[bare]), statistics.median(pairs)
    low, high = statistics.quantiles(pairs, n=4)[::2]

    recorder = Recorder(EXAMPLES, scores.default())
    observation = Observation(  # the same examples again and again: the slow case, taken in step by step
        torch.randint(0, EXAMPLES, (256,)), torch.rand(256), torch.randn(256, 1000), torch.randint(0, 1000, (256,))
    )
    seconds(lambda: recorder.observe(observation), 50)
    record = statistics.median(seconds(lambda: recorder.observe(observation), WINDOW) for _ in range(50))

    print(f"torch {torch.__version__}, one thread, batch {BATCH}, mlp of width 512, {PAIRS} pairs of {WINDOW} steps")
    print(f"bare step: {step * 1e3:.2f} ms (the limit holds for 5 ms or more)")
    print(f"loop with recording / bare loop: {ratio:.3f}, quartiles {low:.3f} to {high:.3f} (limit {RATIO_LIMIT})")
    print(f"recording 256 x 1000: {record * 1e3:.3f} ms (limit {RECORD_LIMIT * 1e3:.1f})")
    return int(ratio > RATIO_LIMIT or record > RECORD_LIMIT or step < 5e-3)


if __name__ == "__main__":
    sys.exit(main())
