"""One run of a study: data, injection, training, and what the truth says of it, as plain values."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import torch

from tamis.corrupt import injector
from tamis.data.augment import augment as crop_and_flip
from tamis.data.sources import Dataset, load, subset
from tamis.loop import train
from tamis.models import Network, build
from tamis.observe import signals
from tamis.observe.scores import SCORES
from tamis.providing import provide
from tamis.selection.cost import PriceList, measure_prices
from tamis.selection.policies import policy
from tamis.selection.rules import PowerDraw, StreamingPower
from tamis.study import noise
from tamis.study.detection import Lab, detection, hardest, model_columns
from tamis.study.plan import Job, Setting
from tamis.study.separating import measure
from tamis.study.separators import SEPARATORS
from tamis.types import Arrays, Truth, generator

SUBSET_SEED = 123  # one subset for every seed of a study: seeds vary the noise and the training, not the data


def run(
    job: Job,
    prices: PriceList,
    plan: str,
    name: str,
    methods: tuple[str, ...] = (),
    device: str = "cpu",
    progress: Callable[[float], None] | None = None,
) -> tuple[dict[str, Any], pl.DataFrame]:
    """Do one job; returns its record (``row``, ``curve``, ``open_loop``, ``timing``) and its per-example table.

    Args:
        methods: policies whose noise share the standard run's losses predict (the open loop).
        name: the run's hash. progress: called with the fraction of the budget spent.
    """
    if job.role == "separator":
        return _separate(job, prices, plan, name, device)
    dataset = dataset_for(job.setting)
    chosen = policy(job.policy)
    data, truth = injector(job.corruption, job.rate)(dataset.train, generator(job.seed, "corrupt"))
    on_device, augment = _to(data, device), crop_and_flip if job.setting.augment else None
    network = _network(job.setting, data, device)
    given = provide(
        chosen,
        on_device,
        network,
        clean=_to(dataset.train, device) if chosen.needs.reference else None,
        recipe=job.setting.recipe,
        seed=job.seed,
        augment=augment,
    )
    if job.control == "oracle":  # the only run that is told the truth: it shows what a perfect sieve would bring
        given = dataclasses.replace(given, exclude=truth.noisy)
    model = network(job.seed)
    watch = (signals.loss, signals.el2n, signals.correct) if job.watched and job.setting.watch else ()
    record = train(
        model,
        on_device,
        _to(dataset.test, device),
        chosen,
        budget=job.budget,
        unit="passes" if job.unit == "passes" else "cost",
        recipe=job.setting.recipe,
        seed=job.seed,
        prices=prices,
        augment=augment,
        points=job.points,
        watch=watch,
        watch_size=job.setting.watch,
        progress=progress,
        given=given,
        record=[score() for score in SCORES.values()] if job.scores else None,
    )
    columns, found = dict(record.examples), []
    if job.scores:
        lab = Lab(on_device, network, job.setting.recipe, job.budget, job.seed)
        columns |= model_columns(model, lab)
        found = detection(columns, truth, _hardest(job, device))
    batch = job.setting.recipe.batch
    curve = noise.curve(record, truth, chosen, batch, job.setting.recipe.warmup)
    share, predicted = (noise.while_selecting(curve, name) for name in ("noise_share", "noise_share_predicted"))
    selecting = share is not None
    last = record.points[-1]
    row = {
        **_identity(job, name, plan, len(dataset.train.y)),
        "realised_rate": truth.realised_rate,
        "test_error": last.test_error,
        "worst_class_error": last.worst_class_error,
        "best_test_error": min(point.test_error for point in record.points[1:]),
        **dict(vars(last.costs).items()),
        "cost": last.cost,
        "noise_share": share if selecting else curve[-1]["noise_share"],
        "noise_share_predicted": predicted if selecting else truth.realised_rate,
        "noise_share_open_loop": None,
        "noise_share_worst_case": noise.worst_case(
            chosen, truth.realised_rate, batch, noise.while_selecting(curve, "selecting") or 0.0
        ),
        "status": "ok",
        "error": "",
    }
    open_loop = {}
    if job.role == "standard":
        open_loop = noise.open_loop(record, truth, (policy(text) for text in methods), batch)
    return {
        "row": row,
        "curve": curve,
        "open_loop": open_loop,
        "timing": dict(record.seconds),
        "cell": _cell(job),
        **({"scores": found} if job.scores else {}),
        **({"notes": list(record.notes)} if record.notes else {}),
    }, _examples(data, truth, columns)


def _separate(job: Job, prices: PriceList, plan: str, name: str, device: str) -> tuple[dict[str, Any], pl.DataFrame]:
    """Ask a separator of the job's labels, and hold what it says against the truth: no run's curve, but a verdict."""
    clean = dataset_for(job.setting).train
    data, truth = injector(job.corruption, job.rate)(clean, generator(job.seed, "corrupt"))

    def lab(data: Arrays) -> Lab:
        return Lab(data, _network(job.setting, data, device), job.setting.recipe, job.budget, job.seed)

    hard, start = _hardest(job, device), time.perf_counter()
    on_device = _to(data, device)
    said = SEPARATORS[job.policy].ask(lab(on_device), lab)
    seconds = time.perf_counter() - start
    separation, bins = measure(said, truth, hard)
    row = {
        **_identity(job, name, plan, len(clean.y)),
        "realised_rate": truth.realised_rate,
        **vars(said.costs),
        "cost": prices.cost(said.costs, len(data.y)),
        "status": "ok",
        "error": "",
    }
    columns = {"score": said.score.cpu().numpy()}
    if said.probability is not None:
        columns["p_mislabeled"] = said.probability.cpu().numpy()
    return {
        "row": row,
        "curve": [],
        "open_loop": {},
        "timing": {"train_seconds": seconds, "evaluate_seconds": 0.0, "total_seconds": seconds},
        "cell": _cell(job),
        "separation": {**separation, "runs": row["cost"] / job.setting.epochs},
        "reliability": bins,
    }, _examples(data, truth, columns)


def _examples(data: Arrays, truth: Truth, columns: dict[str, np.ndarray]) -> pl.DataFrame:
    """The per-example table of a run."""
    return pl.DataFrame(
        {
            "index": torch.arange(len(data.y)).numpy(),
            "given_label": data.y.numpy(),
            "true_label": truth.label.numpy(),
            "kind": truth.kind.numpy(),
            **columns,
        }
    )


def _network(setting: Setting, data: Arrays, device: str) -> Callable[[int], Network]:
    """A fresh network for the setting and the data, by seed."""
    width, shape = setting.width or None, tuple(data.x.shape[1:])
    return lambda seed: build(setting.model, shape, data.classes, width=width, seed=seed).to(device)


def _hardest(job: Job, device: str) -> np.ndarray:
    """The hardest tenth of the clean data: 5 folds of 8 passes on the true labels, the same for every run."""
    setting = job.setting
    data = _to(dataset_for(setting).train, device)
    key = (setting.dataset, setting.size, setting.model, setting.width, setting.recipe)
    return hardest(key, lambda: Lab(data, _network(setting, data, device), setting.recipe, 8.0, 1))


def failed(job: Job, plan: str, name: str, error: str) -> dict[str, Any]:
    """The record of a run that failed: its identity and the reason."""
    try:
        size = len(dataset_for(job.setting).train.y)
    except Exception:  # the reason may be that there is no data
        size = job.setting.size
    row = {**_identity(job, name, plan, size), "status": "failed", "error": error}
    return {"row": row, "curve": [], "open_loop": {}, "timing": {}, "cell": _cell(job)}


@functools.lru_cache(maxsize=2)
def _dataset(name: str, size: int) -> Dataset:
    return subset(load(name), size, SUBSET_SEED) if size else load(name)


def dataset_for(setting: Setting) -> Dataset:
    """The setting's data: loaded once a process, cut to size, normalised from its training part alone."""
    return _dataset(setting.dataset, setting.size)


def prices_for(setting: Setting, device: str = "cpu") -> PriceList:
    """Measure the price list of a setting on this machine, with the thread count that is set."""
    data = dataset_for(setting).train
    model = build(setting.model, tuple(data.x.shape[1:]), data.classes, width=setting.width or None, seed=0).to(device)
    batch = setting.recipe.batch
    x, y = data.x[:batch].to(device), data.y[:batch].to(device)
    streaming, draw, stream = StreamingPower(2.0), PowerDraw(1 / 3), generator(0, "prices")
    state = streaming.init()

    def dearest(losses: torch.Tensor) -> None:
        """One call of each rule at its full size: a selection is charged the mean of the two dearest rules."""
        streaming.select(state, losses, batch, stream)
        draw.select({}, losses.repeat(3), batch, stream)

    amp = torch.autocast("cuda", torch.bfloat16, enabled=device == "cuda")  # as train() runs it
    with amp:
        measured = measure_prices(model, x, y, dearest)
    return PriceList(measured.forward, measured.step, measured.select / 2)


def _identity(job: Job, name: str, plan: str, size: int) -> dict[str, Any]:
    """``size`` is that of the clean training set: a cell whose damage takes examples away is of the same setting."""
    return {
        "run": name, "plan": plan, "dataset": job.setting.dataset, "size": size, "model": job.setting.model,
        "corruption": job.corruption, "rate": job.rate, "policy": job.policy, "role": job.role,
        "control": job.control, "seed": job.seed, "budget": job.budget, "budget_unit": job.unit,
        "batch": job.setting.recipe.batch,
    }  # fmt: skip


def _cell(job: Job) -> list[Any]:
    setting = job.setting
    return [setting.dataset, setting.size, setting.model, setting.width, job.corruption, job.rate, job.seed]


def _to(data: Arrays, device: str) -> Arrays:
    return Arrays(data.x.to(device), data.y.to(device), data.classes)
