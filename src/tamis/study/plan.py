"""A plan is a frozen description of a grid of runs; a job is one of them, and its name is the hash of its content."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tamis.corrupt import corruption_label, injector
from tamis.data.sources import known
from tamis.loop import Recipe
from tamis.models import MODELS
from tamis.selection.policies import POLICIES, policy
from tamis.study.separators import SEPARATORS
from tamis.types import TamisError

SCORING = 500  # passes' worth of work: further trainings, gradients of every example, neighbours in every layer
WHOLE = {"digits": 1_438, "cifar10": 50_000, "cifar10_jpeg": 50_000}  # training examples, for the prediction of hours
CONTROLS = ("uniform", "random_subset", "oracle")  # beside policy labels
SCHEMA = 1  # of a run's record: raised when what a record means changes, so that old ones are not taken for new


@dataclass(frozen=True)
class Setting:
    """What is trained: a data set, how much of it, a model, for how long, on which seeds.

    Attributes:
        dataset: a name of the table, or the path of an ``.npz`` file. model: a name of its table.
        size: training examples drawn from the training split, 0 = all.
        width: the model's, 0 = its default. epochs: the standard run's passes over the training set.
        ladder: budgets of the control curves, fractions of ``epochs``, above 1 for uniform alone.
        augment: random crop and flip.
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
        cells: corruption (with settings: "fog(severity=3)") and rate. methods: policy labels.
        scores: the standard runs record every difficulty score, and what each finds of the noise is measured.
        unit: of the methods' budget: as many ``passes`` as the standard, the paper's way, or the same ``cost``.
        controls: of ``uniform``, ``random_subset`` and policy labels, each a curve over every setting's ladder, and
            ``oracle``: plain training on the truly clean examples alone, at the standard's cost, in every cell that has
            others.
        separators: what is asked which labels are wrong, by name, instead of methods and controls.
        repeats: further seeds of the first separator alone, on the cells of ``repeated``.
    """

    name: str
    title: str
    settings: tuple[Setting, ...]
    cells: tuple[tuple[str, float], ...]
    methods: tuple[str, ...]
    controls: tuple[str, ...] = ("uniform", "random_subset")
    note: str = ""
    unit: str = "passes"
    scores: bool = False
    separators: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    repeated: tuple[tuple[str, float], ...] = ()

    def jobs(self) -> Iterator[Job]:
        """Every run, the standard of a cell and seed before its methods and controls; seed by seed, so that a study
        that is cut short has whole seeds."""
        if self.separators:
            yield from self._separations()
            return
        for setting in self.settings:
            for seed in setting.seeds:
                for corruption, rate in self.cells:
                    yield Job(
                        setting,
                        corruption,
                        rate,
                        "uniform",
                        "standard",
                        seed,
                        setting.epochs,
                        "passes",
                        "",
                        self.scores,
                    )
                    for method in self.methods:
                        yield Job(setting, corruption, rate, method, "method", seed, setting.epochs, self.unit)
                    if "oracle" in self.controls and rate > 0:
                        yield Job(
                            setting, corruption, rate, "uniform", "control", seed, setting.epochs, "cost", "oracle"
                        )
                    for control in self.controls:
                        for part in setting.ladder if control != "oracle" else ():
                            if control == "random_subset" and part >= 1:
                                continue  # there is no more than everything
                            label = f"random_subset(keep={part:g})" if control == "random_subset" else control
                            budget = round(part * setting.epochs, 6)
                            yield Job(setting, corruption, rate, label, "control", seed, budget, "cost", control)

    def _separations(self) -> Iterator[Job]:
        """Every separator on every cell, seed by seed; then the first alone on its further seeds."""
        for setting in self.settings:
            everyone = [(seed, self.cells, self.separators) for seed in setting.seeds]
            for seed, cells, names in [*everyone, *((s, self.repeated, self.separators[:1]) for s in self.repeats)]:
                for corruption, rate in cells:
                    for name in names:
                        yield Job(setting, corruption, rate, name, "separator", seed, setting.epochs, "passes")

    def hours(self, workers: int) -> float:
        """A rough prediction of the hours on ``workers`` cores, evaluation included."""
        seconds = 0.0
        for job in self.jobs():
            size = job.setting.size or WHOLE.get(job.setting.dataset, 60_000)
            per_pass = size / job.setting.recipe.batch * job.setting.step_seconds
            if job.role == "separator":
                seconds += job.budget * per_pass * SEPARATORS[job.policy].runs
                continue
            chosen = policy(job.policy)
            relative = job.budget
            if job.role == "method" and job.unit == "passes":
                relative *= 1 / 3 + chosen.keep if chosen.level == "batch" else chosen.keep
            looked_at = (1 + job.points) * (10_000 + (4 * job.setting.watch if job.watched else 0))
            evaluating = looked_at / size / 3  # a look is a forward, about a third of a step
            seconds += (relative + evaluating + (SCORING if job.scores else 0)) * per_pass
        return seconds / 3600 / max(1, workers)

    def check(self) -> Plan:
        """Refuse what cannot be run, before anything is; returns the plan itself."""
        if not (self.settings and self.cells):
            raise TamisError(f"the plan {self.name!r} needs at least one setting and one cell (corruption, rate).")
        places = [(setting.dataset, setting.size, setting.model) for setting in self.settings]
        if len(set(places)) < len(places):
            raise TamisError(
                f"two settings of {self.name!r} share data set, size and model, so no table could tell them apart; "
                "make two plans of them."
            )
        _once(self, "cells", "repeated", "methods", "controls", "separators", "repeats")
        for setting in self.settings:
            _once(setting, "seeds", "ladder")
            known(setting.dataset)
            _known("model", setting.model, MODELS)
            small = min(setting.size, setting.width, setting.watch) < 0 or setting.points < 1
            if not setting.epochs > 0 or small or not setting.seeds:
                raise TamisError(
                    f"the setting {setting.dataset}/{setting.model} needs epochs above 0, size, width and watch of at "
                    "least 0, at least one point and at least one seed."
                )
            if any(type(seed) is not int or seed < 0 for seed in (*setting.seeds, *self.repeats)):
                seeds = [*setting.seeds, *self.repeats]
                raise TamisError(f"the seeds {seeds} must be whole numbers of at least 0.")
            if any(type(part) not in (int, float) or not 0 < part < 10 or part == 1 for part in setting.ladder):
                raise TamisError(
                    f"the ladder {list(setting.ladder)} must hold fractions of the budget above 0 and other than 1."
                )
        for corruption, rate in (*self.cells, *self.repeated):
            if isinstance(rate, bool) or not (isinstance(rate, (int, float)) and 0 <= rate <= 1):
                raise TamisError(f"the rate of {corruption} is {rate!r}, but a rate lies in [0, 1].")
            injector(corruption, rate)
            if corruption != (label := corruption_label(corruption)):
                raise TamisError(f"write {corruption!r} as {label!r}: one corruption has one name in every table.")
        if self.unit not in ("passes", "cost"):
            raise TamisError(f"unit is {self.unit!r}, but methods are budgeted in 'passes' or in 'cost'.")
        for name in self.separators:
            _known("separator", name, SEPARATORS)
        if self.separators and (self.methods or self.controls or self.scores):
            raise TamisError(
                f"{self.name!r} asks separators, which train no policy: methods and controls are [] then, scores false."
            )
        if bool(self.repeats) != bool(self.repeated) or (self.repeats and not self.separators):
            raise TamisError("repeats (seeds) and repeated (cells) stand together, beside the separators they are of.")
        if twice := {seed for seed in self.repeats for setting in self.settings if seed in setting.seeds}:
            raise TamisError(f"the seeds {sorted(twice)} stand in repeats and in a setting's seeds; name each once.")
        for method in self.methods:
            policy(method)
        for control in self.controls:
            if str(control).partition("(")[0] in POLICIES:
                policy(control)
            else:
                _known("control", control, dict.fromkeys(CONTROLS))
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
    scores: bool = False

    @property
    def watched(self) -> bool:
        """True where the theory is held against the run: the standard and every method, not controls and separators."""
        return self.role in ("standard", "method")

    @property
    def points(self) -> int:
        """Points of this run's curve: a control is read at its end alone."""
        return self.setting.points if self.watched else 1

    @property
    def cell(self) -> tuple[Any, ...]:
        """What a method shares with its standard run: setting, corruption, rate, seed."""
        return (self.setting, self.corruption, self.rate, self.seed)

    def hash(self, prices: Mapping[str, Any], threads: int) -> str:
        """The run's name: a hash of everything its record is a function of."""
        content = {**dataclasses.asdict(self), "prices": prices, "threads": threads, "schema": SCHEMA}
        if not self.scores:
            content.pop("scores")
        for other_runs in ("seeds", "ladder", "epochs", "step_seconds"):  # of the grid, not of this run
            content["setting"].pop(other_runs)
        content["setting"].update(points=self.points, watch=self.setting.watch if self.watched else 0)
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def _once(of: Plan | Setting, *fields: str) -> None:
    """Refuse what is named twice (0 and 0.0, too): it would be run twice, and no table could tell the two apart."""
    for field in fields:
        listed = list(getattr(of, field))
        if twice := [item for number, item in enumerate(listed) if item in listed[:number]]:
            item = list(twice[0]) if isinstance(twice[0], tuple) else twice[0]
            raise TamisError(f"{field} names {item!r} twice; name each once, since both would be one and the same run.")


def _known(what: str, name: str, table: dict[str, Any]) -> None:
    if not isinstance(name, str) or name not in table:
        near = difflib.get_close_matches(str(name), table, 1, cutoff=0)[0]
        raise TamisError(f"there is no {what} {name!r}; did you mean {near!r}?")
