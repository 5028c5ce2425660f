"""What a rule's own call costs: one selection against one training step of 128, in one process, in turn.

A study charges every selection one price, the mean of the two dearest rank rules (:func:`tamis.study.run.prices_for`):
.06 of a step for the multilayer perceptron on Fashion-MNIST. Rank rules cost about that; this says what the others do.

    python benchmarks/rules.py [--write]

Prints a table; ``--write`` keeps it in ``benchmarks/rules.json``, from where the cards read it. The numbers are ratios
of the processor's own seconds, one thread, medians; those kept are from two cores shared with other work, and good to
a factor of two. A streaming rule is called with 128 candidates at a time, and then costs a tenth of what stands here.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

from tamis.models import build
from tamis.observe.relative import gradient_gram
from tamis.selection.policies import POLICIES
from tamis.selection.policy import Policy
from tamis.types import Observation, generator

BATCH, CANDIDATES, EXAMPLES, CLASSES, WIDTH, REPEATS = 128, 1_280, 20_000, 10, 512, 9
KEPT = Path(__file__).with_suffix(".json")


def training_step() -> Callable[[], object]:
    """A step of the study's multilayer perceptron on one batch."""
    draw = generator(0, "benchmark")
    x = torch.randn(BATCH, 1, 28, 28, generator=draw)
    y = torch.randint(CLASSES, (BATCH,), generator=draw)
    model = build("mlp", (1, 28, 28), CLASSES, WIDTH, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9, nesterov=True, weight_decay=5e-4)

    def step() -> None:
        F.cross_entropy(model(x), y, reduction="none").mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def call(policy: Policy) -> Callable[[], object]:
    """One call of the policy's rule on losses of two heaps; of one that takes pairs, with the matrix it is made of."""
    draw, rule = generator(0, "benchmark"), policy.rule
    many = CANDIDATES if policy.level == "batch" else EXAMPLES
    size, state = round(rule.keep * many), rule.init()
    losses = torch.rand(many, generator=draw) + 3 * (torch.rand(many, generator=draw) < 0.3)
    if policy.priority is not gradient_gram:
        return lambda: rule.select(state, losses, size, draw)
    z, y = torch.randn(many, CLASSES, generator=draw), torch.randint(CLASSES, (many,), generator=draw)
    seen = Observation(torch.arange(many), losses, z, y, torch.randn(many, WIDTH, generator=draw))
    return lambda: rule.select(state, gradient_gram(seen), size, draw)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def measure() -> dict[str, float]:
    """Training steps that one call of each policy's rule takes, by the policy's name."""
    step, calls = training_step(), {name: call(make()) for name, make in POLICIES.items()}
    calls["mixture_filter, beta"] = call(POLICIES["mixture_filter"](family="beta"))
    found = {}
    for name, work in calls.items():
        seconds(work)
        pairs = [(seconds(work), seconds(lambda: [step() for _ in range(4)]) / 4) for _ in range(REPEATS)]
        found[name] = statistics.median(a for a, _ in pairs) / statistics.median(b for _, b in pairs)
    return found


def main(write: bool) -> int:
    torch.set_num_threads(1)
    found = measure()
    print(f"torch {torch.__version__}, one thread; steps of {BATCH} (mlp of width {WIDTH}) that one call takes")
    print(f"{'policy':<28} {'candidates':>10} {'steps a call':>12}")
    for name, steps in sorted(found.items(), key=lambda row: -row[1]):
        level = POLICIES[name.split(",")[0]]().level
        print(f"{name:<28} {CANDIDATES if level == 'batch' else EXAMPLES:>10,} {steps:>12.3f}")
    if write:
        KEPT.write_text(json.dumps({name: float(f"{steps:.2g}") for name, steps in found.items()}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main("--write" in sys.argv))
