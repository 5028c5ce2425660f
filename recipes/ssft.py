"""Second-split forgetting: what was learnt on one half, and how soon it is lost while training goes on with the other.

    python recipes/ssft.py [seeds]

Claim: of 1,438 digits with 20 % wrong labels (symmetric), a mislabeled one is forgotten before a clean one with
probability 0.995 ± 0.001 (AUROC; n = 5 seeds; mean ± standard deviation). Hardware: one CPU core, 6 seconds a seed.

After Maini et al. 2022, arXiv:2210.15031: train on the first half until it is fitted, go on with the second half alone,
and look at the first after every epoch. The epoch from which on an example stays wrong is its second-split forgetting
time: mislabeled examples are forgotten first, rare ones later, typical ones never. Then the halves are swapped, so that
everybody has one; several networks are averaged, with "never" counted as one epoch after the last. Differs from the
paper in the data and the network (an MLP), in the number of epochs, and in a constant learning rate.
"""

from __future__ import annotations

import statistics
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tamis.corrupt import injector
from tamis.data import load
from tamis.models import build
from tamis.observe.features import logits
from tamis.observe.second_split import second_split_forgetting_time
from tamis.types import Arrays, generator

FIRST, SECOND, NETWORKS, RATE = 40, 15, 3, 0.2
torch.set_num_threads(1)


def train(model: nn.Module, data: Arrays, epochs: int, lr: float, seed: int) -> None:
    """Plain training, in place."""
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    model.train()
    for epoch in range(epochs):
        for batch in torch.randperm(len(data.y), generator=generator(seed, "order", epoch)).split(32):
            optimizer.zero_grad()
            F.cross_entropy(model(data.x[batch]), data.y[batch]).backward()
            optimizer.step()


def forgetting_time(first: Arrays, second: Arrays, seed: int) -> Tensor:
    """``[n]`` of the first half's examples: 1, 2, .. epochs of training on the second; infinite where never."""
    model = build("mlp", tuple(first.x.shape[1:]), first.classes, width=128, seed=seed)
    train(model, first, FIRST, 0.05, seed)
    wrong = []
    for epoch in range(SECOND):
        train(model, second, 1, 0.2, seed + 1_000 * (epoch + 1))
        wrong.append((logits(model, first.x).argmax(1) != first.y).float())
    return second_split_forgetting_time(torch.stack(wrong))


def scores(data: Arrays, seed: int) -> Tensor:
    """``[N]`` mean over networks, each with halves of its own, swapped."""
    total = torch.zeros(len(data.y))
    for network in range(NETWORKS):
        run = NETWORKS * seed + network
        halves = torch.randperm(len(data.y), generator=generator(run, "halves")).tensor_split(2)
        for one, other in (halves, halves[::-1]):
            time = forgetting_time(data.take(one), data.take(other), run)
            total[one] += time.nan_to_num(posinf=SECOND + 1)
    return total / NETWORKS


def auroc(score: Tensor, positive: Tensor) -> float:
    """Probability that a positive example scores higher than another; a tie counts half."""
    gap = score[positive][:, None] - score[~positive][None]
    return float((gap > 0).double().mean() + (gap == 0).double().mean() / 2)


def main() -> None:
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
    clean = load("digits").train
    found = []
    for seed in seeds:
        noisy, truth = injector("random_labels_exclusive", RATE)(clean, generator(seed, "corrupt"))
        found.append(auroc(-scores(noisy, seed), truth.label != noisy.y))
        print(f"seed {seed}: AUROC of the mislabeled {found[-1]:.3f}", flush=True)
    spread = statistics.stdev(found) if len(found) > 1 else 0.0
    print(f"AUROC: {statistics.mean(found):.3f} ± {spread:.3f} (n = {len(found)})")


if __name__ == "__main__":
    main()
