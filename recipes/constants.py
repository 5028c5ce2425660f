"""How much hangs on each constant of ``separate``: every one made smaller and larger, on data where none was chosen.

``python recipes/constants.py segments.npz glosses.npz digits`` puts four kinds of label noise into each set and says
first what ``tamis.separate`` makes of them, then how that changes by one constant at a time: means over the noises, and
the half-width of their 95 % interval over seeds. ``--seeds 100 101 102`` are the default, which no study reports.
``recipes/segments.py`` and ``recipes/glosses.py`` make the two files; any other ``.npz`` or data set's name will do.

A constant that was fitted to one data set would show on another: some other value of it would be better there.

Hardware: one CPU core, one thread; some 8, 25 and 5 seconds a line and seed for the three where networks are trained
anew. Expected numbers: docs/guides/separation.md.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

import tamis
from tamis.corrupt import injector
from tamis.data import load
from tamis.models import build
from tamis.observe import calibration, posterior, rate
from tamis.separation import bayes, gathering
from tamis.study.detection import auroc
from tamis.study.separating import reliability
from tamis.study.statistics import t_interval
from tamis.types import Arrays, generator

NOISES = (("random_labels_exclusive", 0.2), ("random_labels_exclusive", 0.4), ("pair_flip", 0.3),
          ("instance_dependent", 0.3))  # fmt: skip
WIDTHS = {"digits": 64, "glosses.npz": 256}
COLUMNS = ("AUROC", "rate off", "calibration error", "clean flagged", "recall")


class Constant(NamedTuple):
    """One of the method's numbers: where it stands, what else it may be, and whether training depends on it."""

    name: str
    places: tuple[tuple[Callable[..., Any] | ModuleType, str], ...]
    others: tuple[float, ...]
    trained: bool = True


CONSTANTS = (
    Constant("share of wrong labels that T begins with", ((posterior.beginning, "wrong"),), (0.2, 0.6)),
    Constant("first passes that are not heard", ((gathering, "IGNORED"),), (2,)),
    Constant("passes until T is held", ((gathering, "SETTLED"),), (2, 4)),
    Constant("folds", ((gathering.gather_evidence, "folds"),), (3, 6)),
    Constant("passes of a fold", ((gathering.gather_evidence, "fold_passes"),), (4, 7)),
    Constant("power of the nats by which a pass counts", ((gathering, "KNOWING"),), (1, 2, 4)),
    Constant("sampling variances by which T is pooled", ((calibration.pooled, "strength"),), (5, 20)),
    Constant("anchors, share of a class",
             tuple((f, "share") for f in (calibration.anchored, rate.rate_error, rate.rate_at_most)),
             (0.1, 0.4), trained=False),
    Constant("anchors, at least",
             tuple((f, "least") for f in (calibration.anchored, rate.rate_error, rate.rate_at_most)),
             (25, 100), trained=False),
    Constant("share of doubt", ((calibration.doubted, "share"),), (0.0, 0.05, 0.2), trained=False),
    Constant("way to the low end of the interval", ((bayes, "CAUTION"),), (0.2, 0.8), trained=False),
    Constant("least probability on a list", ((posterior, "DOUBTFUL"),), (0.05, 0.2), trained=False),
)  # fmt: skip


def value(place: Callable[..., Any] | ModuleType, name: str) -> float:
    """What the constant is: a module's, or the default of a function's argument."""
    if isinstance(place, ModuleType):
        return getattr(place, name)  # type: ignore[no-any-return]
    return inspect.signature(place).parameters[name].default  # type: ignore[no-any-return]


def put(place: Callable[..., Any] | ModuleType, name: str, new: float) -> None:
    """Make the constant ``new``, for whoever imported the function too."""
    if isinstance(place, ModuleType):
        setattr(place, name, new)
        return
    parameter = inspect.signature(place).parameters[name]
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        place.__kwdefaults__ = {**place.__kwdefaults__, name: new}
    else:
        having = [p.name for p in inspect.signature(place).parameters.values() if p.default is not p.empty
                  and p.kind is not p.KEYWORD_ONLY]  # fmt: skip
        old = place.__defaults__
        place.__defaults__ = tuple(new if one == name else was for one, was in zip(having, old, strict=True))


@contextmanager
def instead(constant: Constant, new: float) -> Iterator[None]:
    """The constant at another value, for a while."""
    old = [value(*place) for place in constant.places]
    try:
        for place in constant.places:
            put(*place, new)
        yield
    finally:
        for place, was in zip(constant.places, old, strict=True):
            put(*place, was)


def judged(found: tamis.Verdicts, wrong: np.ndarray) -> list[float]:
    """:data:`COLUMNS` of one separation."""
    p, flagged = (found.table[name].to_numpy() for name in ("p_mislabeled", "flagged"))
    clean = float((~wrong)[flagged].mean()) if flagged.any() else 0.0
    right = auroc(p, wrong, ~wrong, True)
    assert right is not None
    off, (calibration_error, _) = abs(found.noise_rate - float(wrong.mean())), reliability(p, wrong)
    return [right, off, calibration_error, clean, float(flagged[wrong].mean())]


def table(name: str, seeds: list[int]) -> None:
    """Print one data set's lines."""
    clean = load(name).train
    shape = tuple(clean.x.shape[1:])

    def network(seed: int) -> torch.nn.Module:
        return build("mlp", shape, clean.classes, width=WIDTHS.get(name, 128), seed=seed)

    sets: list[tuple[int, Arrays, np.ndarray]] = []
    for seed in seeds:
        for kind, share in NOISES:
            data, truth = injector(kind, share)(clean, generator(seed, "corrupt"))
            sets.append((seed, data, truth.noisy.numpy()))

    def gathered() -> list[tamis.Evidence]:
        return [tamis.gather_evidence(data, network, seed=seed) for seed, data, _ in sets]

    def measured(evidence: list[tamis.Evidence]) -> np.ndarray:
        """``[seeds, columns]``, means over the noises."""
        rows = [judged(tamis.separate(one), wrong) for one, (_, _, wrong) in zip(evidence, sets, strict=True)]
        return np.array(rows).reshape(len(seeds), len(NOISES), -1).mean(1)

    evidence = gathered()
    usual = measured(evidence)
    print(f"\n{name}: {len(clean.y)} examples, {clean.classes} classes; seeds {' '.join(map(str, seeds))}")
    print("| constant | as it is | instead | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 3) + "|")
    print("| all as they are | | | " + " | ".join(f"{one:.3f}" for one in usual.mean(0)) + " |", flush=True)
    for constant in CONSTANTS:
        now = value(*constant.places[0])
        for other in constant.others:
            with instead(constant, other):
                change = measured(gathered() if constant.trained else evidence) - usual
            intervals = [t_interval(column) for column in change.T]
            cells = [f"{one.mean:+.3f}" + f" ± {(one.high - one.low) / 2:.3f}" * (one.n > 1) for one in intervals]
            print(f"| {constant.name} | {now:g} | {other:g} | " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("data", nargs="*", default=["segments.npz", "glosses.npz", "digits"], help="names or .npz files")
    asked.add_argument("--seeds", type=int, nargs="+", default=[100, 101, 102])
    told = asked.parse_args()
    torch.set_num_threads(1)
    for name in told.data:
        table(name, told.seeds)


if __name__ == "__main__":
    main()
