"""What could a guard know? Guarded training beside training that is told more than any run can find out by itself.

``python recipes/guard_told.py mlp`` trains, on the data and seeds of the study ``guard-8``, at one cost:

- plain training, ``guarded()``, and the oracle (plain training on the truly clean examples alone);
- *told the matrix*: the loss through the true class transition matrix from the first step on (Patrini et al. 2017);
- *told by others*: plain training on what is left when those are left out whose label is wrong with more than .5 by
  four networks that never trained on them, each trained at the same cost, through the *true* matrix, on the three
  quarters that it does not judge. Their cost is not charged;
- *... and looking again*: the same from the second pass on, but every epoch trains on a tenth of those left out all the
  same, as ``guarded()`` does;
- *told after three passes*: who is truly wrong, after three passes of plain training.

It prints for each kind of noise and row: the test error, and the gap closed from plain training to the oracle with its
95 % interval. The settings are ``mlp``, ``mlp-16``, ``convnet`` and ``cifar10`` (those of ``guard-8``, ``guard-16``,
``guard-convnet`` and ``guard-cifar10``); ``--device cuda --workers 15``, ``--seeds 0 1``, ``--noise sym40`` and
``--rows "told by others"`` too.

Hardware: two CPU cores take 25 minutes for ``mlp``, an H200 two minutes for ``cifar10``. Expected numbers:
docs/guides/guard.md.
"""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.multiprocessing import get_context

from tamis.corrupt import injector
from tamis.data.augment import augment
from tamis.loop import Given, train
from tamis.models import build
from tamis.observe.calibration import pooled, scale_and_transition
from tamis.observe.features import logits
from tamis.observe.out_of_fold import folds_of
from tamis.observe.posterior import mislabeled, true_label
from tamis.selection import policies
from tamis.selection.guard import Guard
from tamis.selection.policy import Policy
from tamis.selection.rule import State
from tamis.study.gap import share_of
from tamis.study.plan import Setting
from tamis.study.plans import PLANS
from tamis.study.run import dataset_for
from tamis.types import Arrays, generator

STUDIES = {"mlp": "guard-8", "mlp-16": "guard-16", "convnet": "guard-convnet", "cifar10": "guard-cifar10"}
NOISES = {
    "sym20": ("random_labels_exclusive", 0.2),
    "sym40": ("random_labels_exclusive", 0.4),
    "asym30": ("asymmetric_labels", 0.3),
    "inst30": ("instance_dependent", 0.3),
}
OTHERS, AGAIN = "told by others", "told by others, looking again"
ROWS = ("plain", "guarded", "told the matrix", OTHERS, AGAIN, "told after three passes", "oracle")
ENDS = (ROWS[0], ROWS[-1])  # the gap lies between them
FOLDS, LATE = 4, 3


@dataclass(frozen=True, eq=False)
class Told(Guard):
    """A guard that finds nothing out: it trains through ``matrix``, and leaves ``mistaken`` out after some passes."""

    matrix: Tensor | None = None
    mistaken: Tensor | None = None
    after: int = LATE

    def init(self, n: int, classes: int, device: torch.device | str = "cpu") -> State:
        told = torch.eye(classes) if self.matrix is None else self.matrix
        return {**super().init(n, classes, device), "matrix": told.to(device, torch.float64)}

    def meet(self, state: State, given: Tensor) -> None:
        pass

    def pauses(self, state: State) -> bool:
        return False

    def after_pass(self, state: State, spent: float = 1.0, by_heart: float = 1.0) -> State:
        passes = state["passes"] + 1
        if self.mistaken is None or int(passes) != self.after:
            return {**state, "passes": passes}
        return {**state, "passes": passes, "out": self.mistaken.to(state["out"].device)}


def told(guard: Told) -> Policy:
    return dataclasses.replace(policies.guarded(drop=0), guard=guard)


@dataclass(frozen=True)
class Lab:
    """One noisy set and how a network is trained on it."""

    setting: Setting
    noise: str
    seed: int
    device: str

    def error(self, row: str) -> float:
        """Test error of one row."""
        dataset = dataset_for(self.setting)
        noisy, truth = injector(*NOISES[self.noise])(dataset.train, generator(self.seed, "corrupt"))
        data, test, wrong = self._there(noisy), self._there(dataset.test), truth.noisy
        counts = torch.zeros(noisy.classes, noisy.classes, dtype=torch.float64)
        counts.index_put_((truth.label, noisy.y), torch.ones(len(noisy.y), dtype=torch.float64), accumulate=True)
        through = told(Told(relook=0.0, matrix=counts / counts.sum(1, keepdim=True)))
        exclude, policy = None, policies.uniform()
        if row == "guarded":
            policy = policies.guarded()
        elif row == "told the matrix":
            policy = through
        elif row == "told after three passes":
            policy = told(Told(relook=0.0, mistaken=wrong))
        elif row == OTHERS:
            exclude = self._judged(data, through) > 0.5
        elif row == AGAIN:
            policy = told(Told(mistaken=self._judged(data, through) > 0.5, after=1))
        elif row == "oracle":
            exclude = wrong
        return self._trained(data, test, policy, exclude, self.seed)[1]

    def _trained(
        self, data: Arrays, test: Arrays, policy: Policy, exclude: Tensor | None, seed: int
    ) -> tuple[torch.nn.Module, float]:
        setting, shape = self.setting, tuple(data.x.shape[1:])
        model = build(setting.model, shape, data.classes, width=setting.width or None, seed=seed).to(self.device)
        record = train(
            model, data, test, policy, budget=setting.epochs, recipe=setting.recipe, seed=seed, points=1,
            augment=augment if setting.augment else None, given=Given(exclude=exclude),
        )  # fmt: skip
        return model, record.points[-1].test_error

    def _judged(self, data: Arrays, through: Policy) -> Tensor:
        """``[N]`` p(label is wrong) by networks that did not train on the example."""
        fold = folds_of(data.y.cpu(), FOLDS, generator(self.seed, "told"))
        said = torch.zeros(len(data.y), data.classes)
        for number in range(FOLDS):
            held = (fold == number).to(self.device)
            part = data.take((~held).nonzero()[:, 0])
            model, _ = self._trained(part, data.take(held.nonzero()[:, 0]), through, None, self.seed + 1000 + number)
            said[held.cpu()] = logits(model, data.x[held])
        log_p, given = said.log_softmax(1), data.y.cpu()
        scale, matrix = scale_and_transition(log_p, given)
        p = (scale * log_p).softmax(1)
        return mislabeled(p, pooled(matrix, true_label(p, matrix, given).sum(0)), given)

    def _there(self, data: Arrays) -> Arrays:
        return Arrays(data.x.to(self.device), data.y.to(self.device), data.classes)


def one(job: tuple[Lab, str]) -> float:
    torch.set_num_threads(1)
    lab, row = job
    return lab.error(row)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("setting", choices=STUDIES)
    asked.add_argument("--noise", nargs="+", choices=NOISES)
    asked.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    asked.add_argument("--seeds", nargs="+", type=int)
    asked.add_argument("--device", default="cpu")
    asked.add_argument("--workers", type=int, default=2)
    given = asked.parse_args()
    plan = PLANS[STUDIES[given.setting]]
    setting = plan.settings[0]
    noises = given.noise or [name for name, cell in NOISES.items() if cell in plan.cells]
    lab = partial(Lab, setting, device=given.device)
    cells = [(noise, seed) for noise in noises for seed in given.seeds or setting.seeds]
    rows = [row for row in ROWS if row in given.rows or row in ENDS]
    longest_first = sorted(rows, key=lambda row: row not in (OTHERS, AGAIN))
    jobs = [(lab(noise, seed), row) for row in longest_first for noise, seed in cells]
    with get_context("spawn").Pool(given.workers) as pool:
        found = dict(zip(((job[0].noise, job[0].seed, job[1]) for job in jobs), pool.imap(one, jobs), strict=True))
    for noise in noises:
        errors = {row: np.array([found[n, seed, row] for n, seed in cells if n == noise]) for row in rows}
        for row in rows:
            gap = share_of(errors["plain"] - errors[row], errors["plain"] - errors["oracle"])
            closed = f"; gap closed {gap.mean:.2f} ({gap.low:.2f} to {gap.high:.2f})" if row not in ENDS else ""
            print(f"{given.setting}, {noise}, {row}: error {100 * errors[row].mean():.2f} %{closed}; {gap.n} seeds")


if __name__ == "__main__":
    main()
