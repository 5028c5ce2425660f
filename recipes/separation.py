"""Separate mislabeled examples from hard ones on Fashion-MNIST, against AUM of a plain run, on the same labels.

``python recipes/separation.py 0 1 2`` prints, for each seed and kind of noise, AUROC of mislabeled against all clean
examples and against the hardest tenth, the estimated noise rate, the expected calibration error over 15 bins, and what
is flagged at a false-discovery target of 5 %. 20,000 images, 784-512-512-10, 2.6 runs of 10 epochs.

Hardware: two CPU cores, one thread; about a minute a set. Expected numbers: docs/guides/separation.md.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import tamis
from tamis.corrupt import injector
from tamis.data import load, subset
from tamis.loop import Recipe, train
from tamis.models import build
from tamis.study.detection import Lab, auroc, hardest
from tamis.types import Arrays, generator

KINDS = (("none", 0.0), ("random_labels_exclusive", 0.2), ("random_labels_exclusive", 0.4), ("asymmetric_labels", 0.3),
         ("instance_dependent", 0.3))  # fmt: skip
SIZE, SUBSET_SEED = 20_000, 123


def network(seed: int) -> torch.nn.Module:
    return build("mlp", (1, 28, 28), 10, width=512, seed=seed)


def numbers(p: np.ndarray, wrong: np.ndarray, hard: np.ndarray) -> str:
    """AUROC twice, the mean probability, and how well calibrated it is."""
    if not wrong.any():
        return f"estimated rate {p.mean():.3f}"
    both = [auroc(p, wrong, ~wrong & mask, True) or 0.0 for mask in (np.ones_like(hard), hard)]
    gap = np.mean([abs(p[part].mean() - wrong[part].mean()) for part in np.array_split(p.argsort(), 15)])
    return f"AUROC {both[0]:.3f} / {both[1]:.3f}; rate {p.mean():.3f} of {wrong.mean():.3f}; calibration {gap:.3f}"


def aum(data: Arrays, test: Arrays, seed: int) -> np.ndarray:
    """The area under the margin of a plain run, turned so that higher is more suspicious."""
    record = train(network(seed), data, test, tamis.policies.uniform(), budget=10, unit="passes", seed=seed, points=1,
                   record=[tamis.scores.aum()])  # fmt: skip
    return -record.examples["aum"]


def main(seeds: list[int]) -> None:
    clean = subset(load("fashion_mnist"), SIZE, SUBSET_SEED)
    hard = hardest(("fashion_mnist", SIZE), lambda: Lab(clean.train, network, Recipe(), 8.0, 1))
    for seed in seeds:
        for kind, rate in KINDS:
            data, truth = injector(kind, rate)(clean.train, generator(seed, "corrupt"))
            wrong = truth.noisy.numpy()
            found = tamis.separate(tamis.gather_evidence(data, network, seed=seed))
            p, flagged = (found.table[name].to_numpy() for name in ("p_mislabeled", "flagged"))
            said = numbers(p, wrong, hard)
            discovered = ""
            if wrong.any():
                right = found.table["suggested_label"].to_numpy()[wrong] == truth.label.numpy()[wrong]
                discovered = f", {(~wrong)[flagged].mean():.3f} of them clean, recall {flagged[wrong].mean():.2f}"
                discovered += f"; suggested label right for {right.mean():.3f}"
                margins = aum(data, clean.test, seed)
                plain = [auroc(margins, wrong, ~wrong & mask, True) or 0.0 for mask in (np.ones_like(hard), hard)]
                discovered += f"; AUM of one run {plain[0]:.3f} / {plain[1]:.3f}"
            print(f"seed {seed}, {kind} {rate:g}: {said}; flagged {flagged.mean():.3f}{discovered}", flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [0])
