"""Arrays in a file of one's own as a data set of a study: read, split, named by their contents, or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tamis.data import load
from tamis.data.sources import known
from tamis.study.plan_files import load_plan, with_data
from tamis.types import TamisError

X = np.arange(60, dtype=np.float32).reshape(20, 3)
Y = np.array(["cat", "dog"] * 10)


def written(folder: Path, **arrays: np.ndarray) -> str:
    np.savez(folder / "mine.npz", **arrays)
    return str(folder / "mine.npz")


def test_a_fifth_of_each_class_is_the_test_split_where_there_is_none(tmp_path: Path) -> None:
    found = load(written(tmp_path, x=X, y=Y), normalised=False)
    assert found.class_names == ("cat", "dog")
    assert torch.bincount(found.train.y).tolist() == [8, 8]
    assert torch.bincount(found.test.y).tolist() == [2, 2]
    rows = sorted(row for split in (found.train, found.test) for row in split.x.tolist())
    assert rows == X.tolist(), "every row once"
    for split in (found.train, found.test):
        assert [("cat", "dog")[int(row[0]) // 3 % 2] for row in split.x] == [found.class_names[c] for c in split.y]
    assert "split by Tamis" in found.note
    again = load(written(tmp_path, x=X, y=Y), normalised=False)
    assert torch.equal(again.train.x, found.train.x)


def test_a_split_of_its_own_is_kept_and_bytes_are_pixels(tmp_path: Path) -> None:
    pixels = np.full((4, 1, 2, 2), 255, np.uint8)
    path = written(tmp_path, x=pixels, y=np.array([3, 7, 3, 7]), x_test=pixels[:1], y_test=np.array([9]))
    found = load(path, normalised=False)
    assert float(found.train.x.min()) == 1.0
    assert (found.class_names, found.train.y.tolist(), found.test.y.tolist()) == (("3", "7", "9"), [0, 1, 0, 1], [2])
    assert found.note == ""


def test_a_name_holds_what_was_in_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, x=X, y=Y)
    name = known(path)
    assert name.startswith(f"{path}#")
    assert known(name) == name
    assert torch.equal(load(name).train.x, load(path).train.x)
    written(tmp_path, x=X + 1, y=Y)
    assert known(path) != name
    with pytest.raises(TamisError, match="does not hold what"):
        load(name)


def test_a_plan_and_its_records_are_of_the_contents(tmp_path: Path) -> None:
    path = written(tmp_path, x=X, y=Y)
    plan = with_data(load_plan("smoke"), path)
    assert plan.name == "smoke-mine"
    assert [setting.dataset for setting in plan.settings] == [known(path)]
    (tmp_path / "mine.toml").write_text(
        f'cells = [["none", 0.0]]\nmethods = []\n[[settings]]\ndataset = {path!r}\nmodel = "mlp"\n'
    )
    before = load_plan(str(tmp_path / "mine.toml"))
    assert before.settings[0].dataset == known(path)
    written(tmp_path, x=X + 1, y=Y)
    assert load_plan(str(tmp_path / "mine.toml")) != before


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"x": X}, r"lacks an array: .*y"),
        ({"x": X, "y": Y[:-1]}, "20 examples and 19 labels"),
        ({"x": X, "y": Y.astype(object)}, "Object arrays|plain arrays"),
        ({"x": X, "y": np.ones(20)}, r"y is float64 \[20\], and must be \[N\] whole numbers or texts"),
        ({"x": X[:, 0], "y": Y}, r"x is float32 \[20\], and must be \[N, ...\] numbers"),
        ({"x": Y[:, None], "y": Y}, "must be .* numbers"),
        ({"x": X, "y": Y, "x_test": X}, "has x_test alone"),
        ({"x": X, "y": Y, "x_test": X, "y_test": Y[:3]}, "20 examples but 3 labels"),
        ({"x": np.where(X > 50, np.nan, X), "y": Y}, "NaN or an infinity"),
    ],
)
def test_what_cannot_be_a_data_set_is_one_sentence(tmp_path: Path, arrays: dict[str, np.ndarray], words: str) -> None:
    with pytest.raises(TamisError, match=words):
        load(written(tmp_path, **arrays))


def test_a_file_that_is_not_there_or_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(TamisError, match="cannot be read"):
        known(str(tmp_path / "none.npz"))
    whole = Path(written(tmp_path, x=X, y=Y)).read_bytes()
    (tmp_path / "hurt.npz").write_bytes(whole[:40] + bytes(60) + whole[100:])
    with pytest.raises(TamisError, match=r"not a whole \.npz file"):
        load(str(tmp_path / "hurt.npz"))
    (tmp_path / "text.npz").write_text("x,y")
    with pytest.raises(TamisError, match="no archive"):
        load(str(tmp_path / "text.npz"))
