"""The recipes that make data sets: what they read, and what a study can make of what they write."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from tamis.data import Dataset, load, subset
from tamis.study.plan_files import load_plan

RECIPES = Path(__file__).parents[1] / "recipes"


def recipe(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_definition_stands_without_its_examples_and_once(tmp_path: Path) -> None:
    nouns = tmp_path / "data.noun"
    nouns.write_text(
        "  1 This software and database is being provided to you\n"
        '00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | that which exists; "a | bar"  \n'
        "02084071 05 n 01 dog 0 001 @ 02083346 n 0000 | a member of the genus Canis; barks  \n"
        "02084072 06 n 01 hound 0 001 @ 02083346 n 0000 | a member of the genus Canis; barks  \n"
    )
    found = recipe("glosses").definitions(nouns)
    assert found == [("that which exists", "top"), ("a member of the genus Canis; barks", "animal")]


def test_as_many_definitions_of_each_of_the_largest_classes_are_drawn_alike_each_time() -> None:
    glosses = recipe("glosses")
    sizes = {"act": 1300, "food": 1250, **{f"c{k}": 1201 for k in range(8)}, "rare": 3}
    pairs = [(f"{name} {i}", name) for name, size in sizes.items() for i in range(size)]
    drawn = glosses.chosen(pairs)
    assert len(drawn) == len(set(drawn)) == 12_000
    assert {name for _, name in drawn} == {name for _, name in pairs} - {"rare"}
    assert drawn == glosses.chosen(pairs)
    sizes = {f"c{k}": 2 * glosses.OF_EACH for k in range(10)}
    pairs = [(f"{name} {i}", name) for name, size in sizes.items() for i in range(size)]
    assert set(glosses.chosen(pairs, 1)) == set(pairs) - set(glosses.chosen(pairs)), "another part has others"


def test_the_table_of_segments_becomes_arrays_that_a_study_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "river"
    (package / "datasets").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('nothing of it is imported')\n")
    with zipfile.ZipFile(package / "datasets" / "segment.csv.zip", "w") as packed:
        rows = [f"{i},{i / 2},{('sky', 'path')[i % 2]}" for i in range(20)]
        packed.writestr("segment.csv", "\n".join(["a,b,category", *rows]))
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe("segments").main(str(tmp_path / "segments.npz"))
    data = load(str(tmp_path / "segments.npz"), normalised=False)
    assert data.class_names == ("path", "sky")
    assert data.train.x.shape == (16, 2)
    assert np.isclose(data.train.x[:, 0], 2 * data.train.x[:, 1]).all()


def test_the_plan_of_them_wants_them_where_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("segments", "glosses", "others"):
        np.savez(tmp_path / f"{name}.npz", x=np.zeros((10, 2), np.float32), y=np.arange(10) % 2)
    plan = load_plan(str(RECIPES / "separation_others.toml"))
    assert [setting.dataset.partition("#")[0] for setting in plan.settings] == [
        f"{name}.npz" for name in ("segments", "glosses", "others")
    ]
    assert plan.separators[0] == "separate"


def test_a_turned_class_is_told_apart_from_its_class_and_the_guard_does_not_call_it_wrong(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rare = recipe("guard_rare")
    small = subset(load("fashion_mnist"), 2_000, 5)
    monkeypatch.setattr(rare, "subset", lambda *_: Dataset(small.name, small.train, small.test.take(range(1_000))))
    monkeypatch.setattr(rare, "BUDGET", 1.0)
    rare.main(["clean:2"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == [
        f"clean, recall of {what}" for what in ("the turned", "their class", "everything")
    ]
    assert all(line.endswith("2 seeds") for line in lines[:3])
    # one epoch is over before the guard has judged anything: the two runs differ in the loss alone
    assert "called probably wrong" in lines[3]
