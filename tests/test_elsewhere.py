"""On an accelerator: nothing mixes devices. The accelerator is make-believe (tests/elsewhere.py): CI has none."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from elsewhere import Elsewhere, accelerator
from torch import nn

import tamis
from tamis.auditing import audit as auditing
from tamis.corrupt import injector
from tamis.data import load
from tamis.loop import Recipe
from tamis.selection.cost import PriceList
from tamis.selection.policies import POLICIES
from tamis.study.folder import claim
from tamis.study.grid import study
from tamis.study.plan import Plan, Setting
from tamis.study.plans import CATALOGUE, SEPARATORS_COMPARED
from tamis.study.record import write_json, write_run
from tamis.study.run import run

SMALL = Setting(
    "digits", "mlp", size=200, width=16, epochs=5, seeds=(0,), ladder=(), points=2, watch=50, recipe=Recipe(batch=32)
)
CHEAP = PriceList(forward=1.0, step=3.0, select=1.0)
PEERLESS = tuple(name for name in SEPARATORS_COMPARED if name != "confident_learning")  # cleanlab takes arrays alone


@pytest.fixture
def device() -> Iterator[str]:
    with accelerator() as name:
        yield name


def test_the_accelerator_refuses_what_a_gpu_refuses(device: str) -> None:
    x, y = torch.arange(6.0).view(2, 3).to(device), torch.ones(2, 3)
    assert isinstance(x, Elsewhere)
    assert x.is_cuda
    assert (x * 2 + 1).device.type == device == torch.zeros(2, device=x.device).device.type
    assert x[torch.tensor([1])].tolist() == [[3.0, 4.0, 5.0]]
    assert type(x.cpu()) is torch.Tensor
    for mixed in (lambda: x + y, lambda: torch.cat([y, x]), lambda: F.mse_loss(y, x), lambda: y[x[0].long()]):
        with pytest.raises(RuntimeError, match="same device"):
            mixed()
    with pytest.raises(TypeError, match=r"cpu\(\) first"):
        x.numpy()
    with pytest.raises(RuntimeError, match="generator"):
        torch.rand(2, device=device, generator=torch.Generator())
    network = nn.Linear(3, 2).to(device)
    network(x).sum().backward()
    assert isinstance(network.weight.grad, Elsewhere)
    with pytest.raises(RuntimeError, match="same device"):
        network(y)


def test_its_numbers_are_those_of_the_cpu(device: str) -> None:
    plan = Plan("once", "", (SMALL,), (("random_labels", 0.4),), ("top_k(keep=1/3)",), ())
    for job in plan.jobs():
        rows = [run(job, CHEAP, "once", "x", ("uniform",), where)[0]["row"] for where in ("cpu", device)]
        assert rows[0] == rows[1]


def test_every_policy_has_its_example_here() -> None:
    assert {text.split("(")[0] for text in CATALOGUE} | {"uniform", "random_subset"} == set(POLICIES)


@pytest.mark.parametrize("text", CATALOGUE)
def test_policies(text: str, device: str) -> None:
    plan = Plan("one", "", (SMALL,), (("asymmetric_labels", 0.3),), (text,), (), unit="cost")
    job = next(job for job in plan.jobs() if job.policy == text)
    record, examples = run(job, CHEAP, "one", "x", ("uniform", text), device)
    assert record["row"]["status"] == "ok"
    assert 0 < record["row"]["test_error"] < 1
    assert len(examples) == 200


@pytest.mark.parametrize("name", PEERLESS)
def test_separators(name: str, device: str) -> None:
    plan = Plan("one", "", (SMALL,), (("random_labels_exclusive", 0.3),), (), (), separators=(name,))
    record, _ = run(next(iter(plan.jobs())), CHEAP, "one", "x", (), device)
    assert record["separation"]["auroc"] > 0.5


@pytest.mark.parametrize("model", ["convnet", "resnet9"])
def test_pictures_that_are_augmented_and_every_score(model: str, device: str) -> None:
    setting = dataclasses.replace(SMALL, model=model, width=4, epochs=2, augment=True, size=100, watch=0)
    plan = Plan("one", "", (setting,), (("gaussian_pixels", 0.25),), (), (), scores=True)
    record, _ = run(next(iter(plan.jobs())), CHEAP, "one", "x", (), device)
    assert len(record["scores"]) > 20


def test_the_front_door_goes_on_where_it_was(device: str) -> None:
    """A plain loop with a guard on the device, whole, and broken off in the middle and gone on with from a state."""
    data = load("digits").train
    data, _ = injector("random_labels_exclusive", 0.3)(data, torch.Generator().manual_seed(0))
    x, y = data.x.flatten(1).to(device), data.y.to(device)

    def fresh() -> tuple[tamis.Sieve, nn.Module]:
        torch.manual_seed(0)
        return tamis.Sieve(len(y), tamis.policies.guarded(), budget=5), nn.Linear(64, 10).to(device)

    def go(sieve: tamis.Sieve, model: nn.Module, steps: int) -> None:
        while steps and not sieve.done:
            for index in sieve.batches(64):
                loss = sieve.loss(torch.tensor(index), model(x[torch.tensor(index)]), y[torch.tensor(index)])
                loss.backward()
                with torch.no_grad():
                    for weight in model.parameters():
                        weight -= 0.5 * weight.grad
                        weight.grad = None
                steps -= 1
                if not steps or sieve.done:
                    break

    whole, model = fresh()
    go(whole, model, 10_000)
    first, model = fresh()
    go(first, model, 80)
    second, _ = fresh()
    second.load_state_dict(first.state_dict())
    go(second, model, 10_000)
    assert whole.done
    assert second.notes == whole.notes
    for name, values in whole.table().items():
        assert np.array_equal(second.table()[name], values, equal_nan=True), name


def test_an_audit(device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_steps = functools.partial(auditing.plan_effort, price=lambda effort: PriceList(forward=2e-3, step=5e-3))
    monkeypatch.setattr(auditing, "plan_effort", few_steps)
    data = load("digits", normalised=False).train.take(torch.arange(240))
    noisy, truth = injector("random_labels_exclusive", 0.2)(data, torch.Generator().manual_seed(1))
    found = tamis.audit(noisy.x.numpy(), noisy.y.numpy(), out=tmp_path / "out", minutes=1, device=device)
    wrong = (truth.label != noisy.y).numpy()
    suspicion = found.table["p_mislabeled"].to_numpy()
    assert suspicion[wrong].mean() > suspicion[~wrong].mean() + 0.2


def test_what_a_gpu_made_is_gathered_without_one(tmp_path: Path) -> None:
    plan = Plan("tiny", "", (dataclasses.replace(SMALL, epochs=1, points=1),), (("none", 0.0),), (), ())
    claim(plan, tmp_path)
    key = "digits/mlp/width 16/batch 32/cuda/1 threads"
    write_json(tmp_path / "prices.json", {key: dataclasses.asdict(CHEAP)})
    write_json(tmp_path / "environment.json", {"device": "cuda", "commit": "theirs"})
    for job in plan.jobs():
        name = job.hash({**dataclasses.asdict(CHEAP), "device": "cuda"}, threads=1)
        with accelerator() as device:
            record, _ = run(job, CHEAP, "tiny", name, (), device)
        write_run(tmp_path / "runs" / f"{name}.json", record)
    kept = {path: path.read_text() for path in (tmp_path / "prices.json", tmp_path / "environment.json")}
    gathered, _ = study(plan, tmp_path, only_gather=True)
    assert gathered["status"].to_list() == ["ok"]
    assert kept == {path: path.read_text() for path in kept}, "no price is measured where nothing is run"
