"""What recording a score costs a training step, measured on this machine."""

from __future__ import annotations

import statistics
import time

import torch

from tamis.observe.scores import Score
from tamis.types import Observation

EXAMPLES = 50_000


def microseconds(score: Score, batch: int = 256, classes: int = 10, repeats: int = 21) -> float:
    """Median microseconds of a step's recording: the signal of a batch and its reducer's update, on one CPU thread.

    They are the processor's own, so that what else runs on the machine is not counted. Meanwhile torch's operations
    use one thread; their number is put back.

    Recorded together, scores of one signal pay for it once, and a recorder updates several steps at a time: their sum
    is an upper bound.

    Args:
        batch, classes: B and K of the logits. repeats: of which the median is taken.

    Example:
        >>> from tamis.observe.scores import last_loss
        >>> 0 < microseconds(last_loss(), repeats=3)
        True

    Fails when: something else empties the caches all the time: it then reads two to three times as much.
    """
    draw = torch.Generator().manual_seed(0)
    index = torch.randperm(EXAMPLES, generator=draw)[:batch]
    target = torch.randint(classes, (batch,), generator=draw)
    seen = Observation(
        index, torch.rand(batch, generator=draw), torch.randn(batch, classes, generator=draw), target, phase="train"
    )
    state = score.reducer.init(EXAMPLES)
    seconds = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(repeats + 3):
            start = time.thread_time()
            score.reducer.update(state, index, score.signal(seen))
            seconds.append(time.thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return statistics.median(seconds[3:]) * 1e6
