"""An audit of Fashion-MNIST with wrong labels put in, from arrays and from a folder of PNGs, held against the truth.

``python recipes/audit_fashion.py`` audits 20,000 images with no wrong labels, with 20 % exchanged uniformly and with
30 % exchanged from class to class, each from arrays and from a folder of pictures. It prints for each: minutes,
estimated rate, the share flagged and, where there is a truth, AUROC against all clean examples and the hardest tenth,
precision of the first hundred, share of clean ones among the flagged, recall, and how often the suggested label is
right. ``sym20 asym30-folder`` takes two of them, ``sym20:2000`` 2,000 images.

Hardware: two CPU cores; one to two minutes a set of 20,000. Expected numbers: docs/guides/audit.md.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from PIL import Image

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.data.dataset import normalise, subset_index
from tamis.loop import Recipe
from tamis.models import build
from tamis.study.detection import Lab, auroc, hardest
from tamis.types import Arrays, generator

SETS = {
    "none": ("none", 0.0),
    "sym20": ("random_labels_exclusive", 0.2),
    "asym30": ("asymmetric_labels", 0.3),
}
FOLDER = "-folder"


def network(seed: int) -> torch.nn.Module:
    return build("mlp", (1, 28, 28), 10, width=512, seed=seed)


def as_folder(data: Arrays, place: Path) -> None:
    """One folder of PNGs per class."""
    for label in range(data.classes):
        (place / f"class {label}").mkdir()
    for i, (picture, label) in enumerate(zip((data.x[:, 0] * 255).round().byte(), data.y.tolist(), strict=True)):
        Image.fromarray(picture.numpy()).save(place / f"class {label}" / f"{i:05d}.png")


def one(name: str, size: int = 20_000) -> str:
    whole = load("fashion_mnist", normalised=False).train
    clean = whole.take(subset_index(len(whole.y), size, 123))
    noise = SETS[name.removesuffix(FOLDER)]
    data, truth = injector(*noise)(clean, generator(0, "corrupt"))
    with tempfile.TemporaryDirectory() as place:
        start = time.perf_counter()
        if name.endswith(FOLDER):
            as_folder(data, Path(place))
            start = time.perf_counter()
            found = tamis.audit(place)
            order = torch.tensor([int(Path(source).stem) for source in found.own.sources])
        else:
            found, order = tamis.audit(data.x, data.y), torch.arange(len(data.y))
        minutes = (time.perf_counter() - start) / 60
    wrong, table = truth.noisy[order].numpy(), found.table
    said = f"{name} of {size}: {minutes:.1f} min; rate {table['p_mislabeled'].mean():.3f} of {wrong.mean():.3f}"
    said += f"; flagged {table['flagged'].mean():.3f}"
    if not wrong.any():
        return said
    flagged, p = table["flagged"].to_numpy(), table["p_mislabeled"].to_numpy()
    right = table["suggested_label"].to_numpy() == truth.label[order].numpy()
    first = p.argsort()[::-1][:100]
    lab = Lab(normalise(clean, clean)[0], network, Recipe(), 8.0, 1)
    hard = hardest(("fashion_mnist", size), lambda: lab)[order.numpy()]
    ranked = [auroc(p, wrong, ~wrong & among, True) or 0.0 for among in (~wrong, hard)]
    return (
        f"{said}; AUROC {ranked[0]:.3f} / {ranked[1]:.3f}; precision of the first 100 {wrong[first].mean():.2f}, "
        f"suggested label right for {right[first][wrong[first]].mean():.2f} of them; of the flagged "
        f"{(~wrong)[flagged].mean():.3f} clean, recall {flagged[wrong].mean():.2f}, suggested label right for "
        f"{right[flagged & wrong].mean():.3f}"
    )


def main(names: list[str]) -> None:
    for asked in names:
        name, _, size = asked.partition(":")
        print(one(name, int(size or 20_000)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [name + place for place in ("", FOLDER) for name in SETS])
