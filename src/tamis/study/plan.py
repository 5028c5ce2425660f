"""A plan is a frozen description of a grid of runs; a job is one of them, and its name is the hash of its content."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.corrupt import INJECTORS
from tamis.data.sources import DATASETS
from tamis.loop import Recipe
from tamis.models import MODELS
from tamis.selection.policies import policy
from tamis.types import TamisError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SCHEMA = 1  # of a run's record: raised when what a record means changes, so that old ones are not taken for new


@dataclass(frozen=True)
class Setting:
    """What is trained: a data set, how much of it, a model, for how long, on which seeds.

    Attributes:
        dataset, model: names of the tables. size: training examples drawn from the training split, 0 = all.
        width: the model's, 0 = its default. epochs: the standard run's passes over the training set.
        ladder: budgets of the control curves, as fractions of ``epochs``. augment: random crop and flip.
        points: of each curve (a control has its end alone). watch: training examples that a look looks at.
        step_seconds: rough seconds of one step on one core, for the prediction of hours alone.
    """

    dataset: str
    model: str
    epochs: float = 10
    size: int = 0
    width: int = 0
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    ladder: tuple[float, ...] = (0.4, 0.7)
    recipe: Recipe = Recipe()
    augment: bool = False
    points: int = 10
    watch: int = 6_000
    step_seconds: float = 0.006


@dataclass(frozen=True)
class Plan:
    """A study: settings x cells x (standard, methods, controls) x seeds.

    Attributes:
        cells: corruption and rate. methods: policy labels, each run for as many passes as the standard.
        controls: of ``uniform`` and ``random_subset``, each a curve over every setting's ladder.
    """

    name: str
    title: str
    settings: tuple[Setting, ...]
    cells: tuple[tuple[str, float], ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...] = ("uniform", "random_subset")
    note: str = ""

    def jobs(self) -> Iterator[Job]:
        """Every run, the standard of a cell and seed before its methods and controls; seed by seed, so that a study
        that is cut short has whole seeds."""
        for setting in self.settings:
            for seed in setting.seeds:
                for corruption, rate in self.cells:
                    yield Job(setting, corruption, rate, "uniform", "standard", seed, setting.epochs, "passes")
                    for method in self.methods:
                        yield Job(setting, corruption, rate, method, "method", seed, setting.epochs, "passes")
                    for control in self.controls:
                        for part in setting.ladder:
                            label = "uniform" if control == "uniform" else f"random_subset(keep={part:g})"
                            budget = round(part * setting.epochs, 6)
                            yield Job(setting, corruption, rate, label, "control", seed, budget, "cost", control)

    def hours(self, workers: int) -> float:
        """A rough prediction of the hours on ``workers`` cores, evaluation included."""
        seconds = 0.0
        for job in self.jobs():
            chosen, size = policy(job.policy), job.setting.size or 60_000
            per_pass = size / job.setting.recipe.batch * job.setting.step_seconds
            relative = job.budget
            if job.role == "method":
                relative *= 1 / 3 + chosen.keep if chosen.level == "batch" else chosen.keep
            looked_at = (1 + job.points) * (10_000 + (4 * job.setting.watch if job.watched else 0))
            evaluating = looked_at / size / 3  # a look is a forward, about a third of a step
            seconds += (relative + evaluating) * per_pass
        return seconds / 3600 / max(1, workers)

    def check(self) -> Plan:
        """Refuse what cannot be run, before anything is; returns the plan itself."""
        if not (self.settings and self.cells):
            raise TamisError(f"the plan {self.name!r} needs at least one setting and one cell (corruption, rate).")
        for setting in self.settings:
            _known("dataset", setting.dataset, DATASETS)
            _known("model", setting.model, MODELS)
            if not setting.epochs > 0 or setting.size < 0 or setting.points < 1 or not setting.seeds:
                raise TamisError(
                    f"the setting {setting.dataset}/{setting.model} needs epochs above 0, a size of at least 0, "
                    "at least one point and at least one seed."
                )
            if any(not 0 < part < 1 for part in setting.ladder):
                raise TamisError(f"the ladder {list(setting.ladder)} must hold fractions of the budget inside (0, 1).")
        for corruption, rate in self.cells:
            _known("corruption", corruption, INJECTORS)
            if not (isinstance(rate, (int, float)) and 0 <= rate <= 1):
                raise TamisError(f"the rate of {corruption} is {rate!r}, but a rate lies in [0, 1].")
        for method in self.methods:
            policy(method)
        for control in self.controls:
            _known("control", control, {"uniform": 0, "random_subset": 0})
        return self


@dataclass(frozen=True)
class Job:
    """One run of a plan."""

    setting: Setting
    corruption: str
    rate: float
    policy: str
    role: str
    seed: int
    budget: float
    unit: str
    control: str = ""

    @property
    def watched(self) -> bool:
        """True where the theory is held against the run: the standard and every method, not the controls."""
        return self.role != "control"

    @property
    def points(self) -> int:
        """Points of this run's curve: a control is read at its end alone."""
        return self.setting.points if self.watched else 1

    @property
    def cell(self) -> tuple[Any, ...]:
        """What a method shares with its standard run: setting, corruption, rate, seed."""
        return (self.setting, self.corruption, self.rate, self.seed)

    def hash(self, prices: dict[str, float], threads: int) -> str:
        """The run's name: a hash of everything its record is a function of."""
        content = {**dataclasses.asdict(self), "prices": prices, "threads": threads, "schema": SCHEMA}
        for other_runs in ("seeds", "ladder", "epochs", "step_seconds"):  # of the grid, not of this run
            content["setting"].pop(other_runs)
        content["setting"]["points"] = self.points
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _known(what: str, name: str, table: dict[str, Any]) -> None:
    if name not in table:
        near = difflib.get_close_matches(str(name), table, 1, cutoff=0)[0]
        raise TamisError(f"there is no {what} {name!r}; did you mean {near!r}?")


# The built-in plans ------------------------------------------------------------------------------------------------

PAPER_CELLS = (
    ("none", 0.0),
    ("random_labels", 0.25),
    ("random_labels", 0.5),
    ("shuffled_pixels", 0.25),
    ("shuffled_pixels", 0.5),
    ("gaussian_pixels", 0.25),
    ("gaussian_pixels", 0.5),
)
PAPER_METHODS = (
    "selective_backprop(beta=1)",
    "selective_backprop(beta=2)",
    "importance_sampling(presample=3)",
    "importance_sampling(presample=2)",
)
MORE_METHODS = (
    "selective_backprop_inbatch(keep=0.5)",
    "selective_backprop_inbatch(keep=1/3)",
    "importance_sampling(presample=3, unbiased=True)",
    "top_k(keep=1/3)",
)
FASHION_MLP = Setting("fashion_mnist", "mlp", size=20_000, width=512, epochs=10, seeds=(0, 1, 2, 3, 4))
FASHION_CONVNET = Setting(
    "fashion_mnist", "convnet", size=20_000, width=16, epochs=5, seeds=(0, 1, 2), points=5, step_seconds=0.015
)
CIFAR_RESNET9 = Setting(
    "cifar10_jpeg", "resnet9", size=10_000, width=16, epochs=6, seeds=(0, 1, 2), ladder=(0.5,), points=6,
    watch=2_000, augment=True, step_seconds=0.21,
)  # fmt: skip

PLANS: dict[str, Plan] = {
    plan.name: plan
    for plan in (
        Plan(
            "smoke",
            "Does everything run? scikit-learn's digits, two cells, one seed.",
            (Setting("digits", "mlp", size=0, width=64, epochs=6, seeds=(0, 1), ladder=(0.5,), points=6,
                     recipe=Recipe(batch=32), step_seconds=0.0003),),
            (("none", 0.0), ("random_labels", 0.5)),
            ("selective_backprop(beta=2)", "importance_sampling(presample=3)", "top_k(keep=1/3)"),
        ),
        Plan(
            "quick",
            "The paper's table in a few minutes: Fashion-MNIST, a small network on a part of it.",
            (dataclasses.replace(FASHION_MLP, size=6_000, width=256, epochs=10, seeds=(0, 1, 2), ladder=(0.4, 0.7),
                                 points=10, watch=3_000, step_seconds=0.0025),),
            (("none", 0.0), ("random_labels", 0.25), ("random_labels", 0.5), ("gaussian_pixels", 0.5)),
            (*PAPER_METHODS, "top_k(keep=1/3)"),
        ),
        Plan(
            "table1-fashion",
            "Table 1 of Hu et al. 2021 on Fashion-MNIST: all its cells and methods, and the rules beside them.",
            (FASHION_MLP, FASHION_CONVNET),
            PAPER_CELLS,
            (*PAPER_METHODS, *MORE_METHODS),
        ),
        Plan(
            "crossover",
            "At which share of random labels does each method cross the line?",
            (dataclasses.replace(FASHION_MLP, ladder=(0.5, 0.7)),),
            tuple(("random_labels", rate) for rate in (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)),
            (*PAPER_METHODS[:3], "top_k(keep=1/3)"),
            ("uniform",),
        ),
        Plan(
            "table1-cifar10",
            "Table 1 of Hu et al. 2021 on 10,000 images of JPEG-recompressed CIFAR-10 with a small ResNet-9.",
            (CIFAR_RESNET9,),
            PAPER_CELLS,
            PAPER_METHODS,
            note="JPEG-recompressed CIFAR-10: not to be set beside published numbers as equals.",
        ),
        Plan(
            "table1-cifar10-gpu",
            "Table 1 of Hu et al. 2021 on all of CIFAR-10 with a full ResNet-9, for one GPU.",
            (dataclasses.replace(CIFAR_RESNET9, dataset="cifar10", size=0, width=64, epochs=24,
                                 ladder=(0.3, 0.5, 0.7), points=24, seeds=(0, 1, 2, 3, 4), step_seconds=0.012),),
            PAPER_CELLS,
            (*PAPER_METHODS, *MORE_METHODS),
        ),
        Plan(
            "paper",
            "The published setting: WideResNet-28-10 on CIFAR-10, 100 epochs, for whoever has the GPU hours.",
            (Setting("cifar10", "wide_resnet", epochs=100, size=0, seeds=(0, 1, 2), ladder=(0.3, 0.5, 0.7),
                     augment=True, points=100, step_seconds=0.15),),
            PAPER_CELLS,
            PAPER_METHODS,
            note="The paper drops its learning rate at epochs 60 and 80; here it falls linearly within every budget.",
        ),
    )
}  # fmt: skip


# Plans from files --------------------------------------------------------------------------------------------------


def load_plan(text: str) -> Plan:
    """A built-in plan by name, or one from a TOML file with the fields of :class:`Plan` and ``[[settings]]``.

    Raises:
        TamisError: an unknown name (with the nearest known one), a file that is not such a plan.
    """
    if text in PLANS:
        return PLANS[text].check()
    path = Path(text)
    if path.suffix != ".toml":
        near = difflib.get_close_matches(text, PLANS, 1, cutoff=0)[0]
        raise TamisError(f"there is no plan {text!r}; did you mean {near!r}? Or name a .toml file.")
    try:
        content = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise TamisError(f"there is no file {text!r}; name a plan's TOML file, or one of {', '.join(PLANS)}.") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TamisError(f"{text!r} is not a readable TOML file: {error}.") from error
    content.setdefault("name", path.stem)
    content.setdefault("title", content["name"])
    return plan_from_dict(content).check()


def with_data(plan: Plan, dataset: str) -> Plan:
    """The same plan on another data set; its name says so, so that records never mix."""
    settings = tuple(dataclasses.replace(setting, dataset=dataset, size=0) for setting in plan.settings)
    return dataclasses.replace(plan, name=f"{plan.name}-{dataset}", settings=settings).check()


def plan_from_dict(content: dict[str, Any]) -> Plan:
    """A plan from plain values, as TOML and JSON give them. Unknown or misspelt fields are refused by name."""
    settings = []
    for raw in _rows(content, "settings"):
        given = {**raw, "recipe": _build(Recipe, raw.get("recipe", {}), "recipe")}
        settings.append(_build(Setting, given, "settings"))
    cells = content.get("cells", [])
    if not (isinstance(cells, (list, tuple)) and all(isinstance(c, (list, tuple)) and len(c) == 2 for c in cells)):
        raise TamisError('cells must be a list of pairs, such as [["none", 0.0], ["random_labels", 0.25]].')
    plan: Plan = _build(Plan, {**content, "settings": tuple(settings), "cells": tuple(map(tuple, cells))}, "plan")
    return plan


def plan_to_dict(plan: Plan) -> dict[str, Any]:
    """The plan in plain values, as JSON keeps it."""
    return json.loads(json.dumps(dataclasses.asdict(plan)))  # type: ignore[no-any-return]


def _rows(content: dict[str, Any], name: str) -> list[dict[str, Any]]:
    rows = content.get(name, [])
    if not (isinstance(rows, (list, tuple)) and all(isinstance(row, dict) for row in rows)):
        raise TamisError(f"{name} must be a list of tables: write [[{name}]] in TOML.")
    return list(rows)


def _build(kind: type[Any], given: dict[str, Any], where: str) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind)}
    for name in given:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, 1, cutoff=0)[0]
            raise TamisError(f"{where} has no field {name!r}; did you mean {near!r}?")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    for name, value in values.items():
        kinds = _KINDS.get(str(fields[name].type).split("[")[0])
        if kinds and (not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds)):
            raise TamisError(f"{where}.{name} is {value!r}, but it must be {fields[name].type}.")
        if isinstance(value, float) and not math.isfinite(value):
            raise TamisError(f"{where}.{name} is {value!r}, but it must be finite.")
    try:
        return kind(**values)
    except TypeError as error:
        raise TamisError(f"{where} is incomplete: {str(error).split('()')[-1].strip()}.") from error


_KINDS: dict[str, tuple[type, ...]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "tuple": (tuple,),
}  # fmt: skip

__all__ = ["PLANS", "Job", "Plan", "Setting", "load_plan", "plan_from_dict", "plan_to_dict"]
