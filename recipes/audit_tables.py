"""Wrong labels in the tables that scikit-learn ships: `tamis.audit` beside confident learning's usual recipe.

``python recipes/audit_tables.py 0 1 2`` exchanges 20 % of the labels (uniformly over the other classes), audits the
table, and prints AUROC of the wrong labels for p_mislabeled, and for 1 - self-confidence of a logistic regression over
5 folds, which is what ``cleanlab`` ranks by (equal to the bit: benchmarks/peers.py). Where the second is higher, a
linear model suits the table better than a network of two hidden layers does.

Hardware: two CPU cores; a few seconds a table and seed. Expected numbers: docs/guides/audit.md.
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from sklearn import datasets
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import tamis
from tamis.corrupt import injector
from tamis.observe.out_of_fold import self_confidence
from tamis.study.detection import auroc
from tamis.types import Arrays, generator

TABLES = {
    "breast_cancer": datasets.load_breast_cancer,
    "digits": datasets.load_digits,
    "wine": datasets.load_wine,
    "iris": datasets.load_iris,
}


def one(name: str, seed: int) -> tuple[float, float, float, float]:
    """AUROC of ours and of the linear model's, and the estimated and the realised rate."""
    table = TABLES[name]()
    x, y = torch.tensor(table.data, dtype=torch.float32), torch.tensor(table.target, dtype=torch.int64)
    noisy, truth = injector("random_labels_exclusive", 0.2)(Arrays(x, y, int(y.max()) + 1), generator(seed, "corrupt"))
    wrong = truth.noisy.numpy()
    found = tamis.audit(x, noisy.y, seed=seed, minutes=5)
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    p = cross_val_predict(linear, x.numpy(), noisy.y.numpy(), cv=5, method="predict_proba")
    confidence = self_confidence(torch.tensor(p), noisy.y).numpy()
    ours = auroc(found.table["p_mislabeled"].to_numpy(), wrong, ~wrong, True)
    theirs = auroc(-confidence, wrong, ~wrong, True)
    return ours or 0.0, theirs or 0.0, found.summary["noise_rate"], float(wrong.mean())


def main(seeds: list[int]) -> None:
    print(f"{'table':<14} {'n':>5}  {'ours':>13}  {'5-fold linear':>13}  {'rate':>11}  realised")
    for name, load in TABLES.items():
        rows = np.array([one(name, seed) for seed in seeds])
        mean, spread = rows.mean(0), rows.std(0, ddof=1) if len(rows) > 1 else np.zeros(4)
        print(
            f"{name:<14} {len(load().data):>5}  {mean[0]:.3f} ± {spread[0]:.3f}  {mean[1]:.3f} ± {spread[1]:.3f}  "
            f"{mean[2]:.3f} ± {spread[2]:.3f}  {mean[3]:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]] or [0])
