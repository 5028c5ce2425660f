"""Wrong labels among texts: `tamis.audit` on embeddings, beside confident learning's usual recipe, in one run.

``python recipes/audit_text.py 0 1`` takes the one-line descriptions of Debian's packages, as ``apt-cache`` has them on
any Debian machine, with the section of the archive that each stands in as its label: what people wrote and filed.
A text becomes 100 numbers (latent semantic analysis: tf-idf, then a truncated SVD). A part of the labels is exchanged,
and AUROC of the exchanged is printed for p_mislabeled and for 1 - self-confidence of a logistic regression over 5 folds
on the same numbers, which is what ``cleanlab`` ranks by (equal to the bit: benchmarks/peers.py).

Some packages stand in a section where they do not belong; they count as right here, for both. Hardware: two CPU cores,
under a minute a set. Expected numbers: docs/guides/audit.md.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import tamis
from tamis.corrupt import injector
from tamis.observe.out_of_fold import self_confidence
from tamis.study.detection import auroc
from tamis.types import Arrays, generator

SECTIONS = (
    "admin",
    "database",
    "editors",
    "fonts",
    "games",
    "graphics",
    "mail",
    "math",
    "net",
    "science",
    "sound",
    "web",
)
NOISE = (("random_labels_exclusive", 0.2), ("pair_flip", 0.3))
SIZE = 100  # of an embedding


def filed(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Description and section of each package that stands in one of the sections, each description once."""
    known: set[str] = set()
    text = section = ""
    for line in (*lines, ""):
        if line.startswith("Description: "):
            text = line.removeprefix("Description: ").strip()
        elif line.startswith("Section: "):
            section = line.removeprefix("Section: ").strip().rsplit("/")[-1]
        elif not line.strip():
            if section in SECTIONS and text and text not in known:
                known.add(text)
                yield text, section
            text = section = ""


def embedded(texts: list[str]) -> np.ndarray:
    """``[N, SIZE]`` float32, no labels used."""
    words = TfidfVectorizer(sublinear_tf=True, min_df=3, stop_words="english", ngram_range=(1, 2))
    steps = make_pipeline(words, TruncatedSVD(SIZE, random_state=0), Normalizer(), StandardScaler())
    return steps.fit_transform(texts).astype(np.float32)


def one(x: torch.Tensor, y: torch.Tensor, kind: str, rate: float, seed: int) -> str:
    noisy, truth = injector(kind, rate)(Arrays(x, y, len(SECTIONS)), generator(seed, "corrupt"))
    wrong = truth.noisy.numpy()
    found = tamis.audit(x, noisy.y, seed=seed, minutes=5)
    p = cross_val_predict(LogisticRegression(max_iter=1000), x.numpy(), noisy.y.numpy(), cv=5, method="predict_proba")
    theirs = auroc(-self_confidence(torch.tensor(p), noisy.y).numpy(), wrong, ~wrong, True)
    ours = auroc(found.table["p_mislabeled"].to_numpy(), wrong, ~wrong, True)
    flagged, rate_found = found.table["flagged"].to_numpy(), found.summary["noise_rate"]
    clean = float((~wrong)[flagged].mean()) if flagged.any() else 0.0
    return (
        f"{kind} {rate:g}, seed {seed}: AUROC {ours:.3f}, 5-fold linear {theirs:.3f}; rate {rate_found:.3f} of "
        f"{wrong.mean():.3f}; flagged {flagged.mean():.3f}, {clean:.3f} of them as they were filed"
    )


def main(seeds: list[int]) -> None:
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    texts, sections = zip(*filed(listed.splitlines()), strict=True)
    x, y = torch.from_numpy(embedded(list(texts))), torch.tensor([SECTIONS.index(name) for name in sections])
    print(f"{len(y)} descriptions in {len(SECTIONS)} sections", flush=True)
    for seed in seeds:
        for kind, rate in NOISE:
            print(one(x, y, kind, rate, seed), flush=True)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [0])
