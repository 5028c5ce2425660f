"""Six kinds of hard example in one Fashion-MNIST set, told apart: AUROC against the rest, and who is called what.

``python recipes/six_kinds.py 0 1 2`` puts into 20,000 images 10 % wrong labels, 5 % corrupted inputs, 5 % digits with
random labels, 5 % duplicates (a third with a conflicting label), 5 % blends of two look-alike classes and a class whose
pictures are turned (3 %), for each seed, and prints one row per kind and the confusion table over all seeds.

Hardware: two CPU cores, one thread; about a minute a set. Expected numbers: docs/guides/separation.md.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import tamis
from tamis.corrupt.mixed import six_kinds
from tamis.data import load, subset
from tamis.models import build
from tamis.study.detection import auroc
from tamis.types import Kind, generator

KINDS = (Kind.MISLABELED, Kind.CORRUPTED, Kind.OUT_OF_DISTRIBUTION, Kind.DUPLICATE, Kind.AMBIGUOUS, Kind.RARE)
NAMES = [str(kind.name).lower() for kind in KINDS]
NOISE = ("mislabeled", "corrupted", "out_of_distribution")


def network(seed: int) -> torch.nn.Module:
    return build("mlp", (1, 28, 28), 10, width=512, seed=seed)


def one(seed: int) -> tuple[list[float], np.ndarray]:
    """AUROC of each kind against all the rest, and counts ``[7, 7]`` of what each is called; the first is clean."""
    clean = subset(load("fashion_mnist"), 20_000, 123).train
    data, truth = six_kinds(foreign="digits")(clean, generator(seed, "corrupt"))
    found = tamis.separate(tamis.gather_evidence(data, network, seed=seed), features=data.x).table
    kinds = truth.kind.numpy()
    is_kind = [(kinds & kind) != 0 for kind in KINDS]
    scores = [
        auroc(found[f"p_{name}"].to_numpy(), mine, ~mine, True) or 0.0
        for name, mine in zip(NAMES, is_kind, strict=True)
    ]
    called = found["kind"].to_numpy()
    counts = [[(called[mine] == name).sum() for name in ("clean", *NAMES)] for mine in (kinds == 0, *is_kind)]
    return scores, np.array(counts)


def main(seeds: list[int]) -> None:
    total, rows = np.zeros((7, 7), int), []
    print("seed   " + "  ".join(f"{name[:13]:>13}" for name in NAMES) + "   macro")
    for seed in seeds:
        scores, counts = one(seed)
        rows.append(scores)
        total += counts
        print(
            f"{seed:>4}   " + "  ".join(f"{score:13.3f}" for score in scores) + f"   {np.mean(scores):.3f}", flush=True
        )
    print("mean   " + "  ".join(f"{score:13.3f}" for score in np.mean(rows, 0)) + f"   {np.mean(rows):.3f}")
    print(
        "\nshare of each kind (rows) that is called ...\n"
        + " " * 20
        + "".join(f"{name[:12]:>13}" for name in ("clean", *NAMES))
    )
    for name, row in zip(("clean", *NAMES), total / total.sum(1, keepdims=True), strict=True):
        print(f"{name:<20}" + "".join(f"{share:13.3f}" for share in row))
    rare = total[6] / total[6].sum()
    print(f"\nrare but clean, called noise: {sum(rare[1 + NAMES.index(name)] for name in NOISE):.3f}")


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [0])
