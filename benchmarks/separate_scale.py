"""What `separate` costs in time and memory as examples and classes grow, on made-up evidence of five networks.

Claim: a million examples of ten classes are separated by one core, from a few hundred megabytes of evidence, in memory
of a few times that.

    python benchmarks/separate_scale.py                       # all sizes, each in a process of its own
    python benchmarks/separate_scale.py 200000 10             # one

Evidence is what `gather_evidence` holds: the probabilities and five views of every example, without features. A fifth
of the labels is wrong, to any other class. Seconds are of the processor, one thread; memory is the peak above what the
evidence itself takes. `separate_one_run` reads the same. A size that does not fit is said so.

Hardware: one thread, 7 GB for the largest size. What came out stands in docs/guides/separation.md. Nothing breaks. With
many classes nearly all the time is the likelihood of scale and transition, which is fitted to 100,000 examples at most.
What comes out wrong: of 1,000 examples the rate is .25 with two classes and .27 with a hundred, for .20; with a hundred
there are ten of each.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tamis.separation.evidence import Evidence
from tamis.separation.one_run import separate_one_run
from tamis.separation.separate import Verdicts, separate

SIZES, CLASSES, RATE = (1_000, 20_000, 200_000, 1_000_000), (2, 10, 100), 0.2
FOLDS, NETWORKS = 4, 5  # the fifth trained on all
LIMIT = 14  # GB of memory that a size may take
READ = f"{'s':>10} {'peak MB':>8} {'rate':>6}"
HEAD = (
    f"{'':>29} {'separate':>26} {'separate_one_run':>26}\n"
    f"{'examples':>9} {'classes':>7} {'evidence MB':>11} {READ} {READ}"
)


def made_up(n: int, classes: int) -> Evidence:
    """Networks that agree on most examples and are unsure of some; a matrix as training finds it."""
    draw = torch.Generator().manual_seed(0)
    true = torch.randint(classes, (n,), generator=draw)
    wrong = torch.rand(n, generator=draw) < RATE
    given = torch.where(wrong, (true + torch.randint(1, classes, (n,), generator=draw)) % classes, true)
    views = torch.empty(NETWORKS, n, classes, dtype=torch.float16)
    shared = 2.0 * torch.randn(n, 1, generator=draw) + 5.0
    for k in range(NETWORKS):
        z = torch.randn(n, classes, generator=draw)
        z.scatter_add_(1, true[:, None], shared)
        views[k] = z.log_softmax(1)
    fold = torch.arange(n) % FOLDS
    p = views[fold, torch.arange(n)].float().softmax(1)
    loss = -p.gather(1, given[:, None])[:, 0].clamp(min=1e-12).log()
    matrix = torch.full((classes, classes), RATE / (classes - 1), dtype=torch.float64).fill_diagonal_(1 - RATE)
    return Evidence(given, loss, torch.full((n,), 4.0), fold, p, matrix, views=views)


def held_now() -> float:
    """Megabytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def most() -> float:
    """Megabytes, the most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(read: Callable[[Evidence], Verdicts], evidence: Evidence) -> str:
    before, start = held_now(), time.process_time()
    try:
        found = read(evidence)
    except (MemoryError, RuntimeError) as error:  # torch says a lack of memory by the second
        return f"{str(error).strip().splitlines()[0][:40] or 'out of memory':>26}"
    return f"{time.process_time() - start:>10.1f} {most() - before:>8.0f} {found.noise_rate:>6.3f}"


def one(n: int, classes: int) -> None:
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT * 2**30, LIMIT * 2**30))
    evidence = made_up(n, classes)
    tables = (evidence.label, evidence.loss, evidence.looks, evidence.fold, evidence.probabilities, evidence.views)
    held = sum(table.numel() * table.element_size() for table in tables if table is not None) / 2**20
    separate(made_up(1_000, classes))  # imports
    small, large = (measured(read, evidence) for read in (separate_one_run, separate))  # the smaller peak first
    print(f"{n:>9,} {classes:>7} {held:>11.0f} {large} {small}", flush=True)


def main(arguments: list[str]) -> int:
    if arguments:
        one(int(arguments[0]), int(arguments[1]))
        return 0
    print(HEAD)
    codes = [
        subprocess.run([sys.executable, __file__, str(n), str(classes)], check=False).returncode
        for n in SIZES
        for classes in CLASSES
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
