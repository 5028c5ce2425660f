"""How an epoch drawn with replacement is dealt into batches."""

from __future__ import annotations

import torch

import tamis


def epochs(seed: int, policy: str = "online_batch_selection(pressure=100, refresh=0.1)") -> list[list[list[int]]]:
    """The batches of three passes over 1,000 examples whose losses rise with their number."""
    sieve = tamis.Sieve(1000, policy, budget=3, unit="passes", seed=seed)
    found: list[list[list[int]]] = []
    while not sieve.done:
        found.append([])
        for drawn in sieve.batches(100):
            index = torch.tensor(drawn)
            y = torch.zeros(len(index), dtype=torch.int64)
            logits = torch.stack([torch.zeros(len(index)), index / 300], 1)
            chosen = sieve.select(torch.nn.Identity(), index, logits, y)
            if chosen is None:
                continue
            sieve.loss(chosen.index, logits, y)
            found[-1].append(drawn)
    return found


def test_copies_of_an_example_are_dealt_over_the_batches() -> None:
    _, *selected = epochs(0)
    drawn = [n for batches in selected for batch in batches for n in batch]
    assert len(set(drawn)) < 0.8 * len(drawn), "with replacement"
    for batches in selected:
        of = [n for batch in batches for n in batch]
        expected = sum(1 - (1 - of.count(n) / len(of)) ** 100 for n in set(of))  # different ones in a batch by chance
        for batch in batches[:-1]:
            assert len(set(batch)) > 0.85 * expected


def test_the_dealing_is_the_seeds() -> None:
    assert epochs(3) == epochs(3) != epochs(4)
