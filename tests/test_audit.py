"""An audit end to end on small real data: files, resuming, stopping, cleaning, and what it refuses."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

import tamis
from tamis.auditing.cleaning import clean, read_decisions, settle
from tamis.auditing.effort import PLANS, plan_effort
from tamis.auditing.folder import Kept
from tamis.auditing.prioritising import judge_prioritising
from tamis.cli import main
from tamis.corrupt import injector
from tamis.data import load
from tamis.selection.cost import PriceList
from tamis.separation.evidence import Fold
from tamis.study.folder import held
from tamis.types import Costs, TamisError

FAST = PriceList(forward=1e-9, step=3e-9)


def digits(rate: float = 0.2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """800 digits, their given and their true labels."""
    data = load("digits", normalised=False).train
    part = data.take(torch.arange(800))
    noisy, truth = injector("random_labels_exclusive", rate)(part, torch.Generator().manual_seed(1))
    return noisy.x.numpy(), noisy.y.numpy(), truth.label.numpy()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tamis.Audit, np.ndarray]:
    place = tmp_path_factory.mktemp("audit")
    x, y, true = digits()
    np.savez(place / "digits.npz", x=x, y=y)
    found = tamis.audit(place / "digits.npz", out=place / "out", minutes=5)
    return place / "digits.npz", place / "out", found, true


def digest(place: Path) -> str:
    files = sorted(path for path in place.rglob("*") if path.is_file())
    return hashlib.sha256(b"".join(str(path).encode() + path.read_bytes() for path in files)).hexdigest()


def test_wrong_labels_come_first_and_the_files_agree(done: tuple[Path, Path, tamis.Audit, np.ndarray]) -> None:
    _, out, found, true = done
    table = found.table
    wrong = table["label"].to_numpy() != true
    first = table.sort("p_mislabeled", descending=True)["index"][:80].to_numpy()
    assert wrong[first].mean() > 0.95
    suggested = table["suggested_label"].to_numpy()
    assert (suggested[first] == true[first])[wrong[first]].mean() > 0.9
    assert found.summary["noise_rate"] == pytest.approx(0.2, abs=0.06)
    assert found.summary["prioritisation"]["verdict"] == "hurts"
    assert found.summary["prioritisation"]["noise_among_selected"] > 0.4
    assert pl.read_parquet(out / "verdicts.parquet").equals(table)
    assert pl.read_csv(out / "verdicts.csv").height == 800
    summary = json.loads((out / "summary.json").read_text())
    assert summary["flagged"] == table["flagged"].sum()
    assert sum(row["examples"] for row in summary["per_class"]) == 800
    assert sum(summary["kinds"].values()) == 800
    assert (out / "report.html").read_text().count("<html") == 1
    assert not (out / ".work").exists()
    assert summary["finished"]


def test_the_same_seed_gives_the_same_verdicts_and_another_call_goes_on(
    done: tuple[Path, Path, tamis.Audit, np.ndarray],
) -> None:
    data, out, found, _ = done
    again = tamis.audit(data, out=out, minutes=5)
    assert again.table.equals(found.table)
    assert again.summary["effort"] == found.summary["effort"]


def test_another_call_with_other_settings_is_refused(done: tuple[Path, Path, tamis.Audit, np.ndarray]) -> None:
    data, out, _, _ = done
    with pytest.raises(TamisError, match=r"other data or settings \(seed differ\)"):
        tamis.audit(data, out=out, minutes=5, seed=3)
    with pytest.raises(TamisError, match="holds no audit"):
        tamis.audit(data, out=data.parent, minutes=5)
    with pytest.raises(TamisError, match="is a file"):
        tamis.audit(data, out=data, minutes=5)


def test_a_folder_of_pictures_by_the_command_line(tmp_path: Path) -> None:
    x, y, _true = digits()
    names = ['<script>alert("x")</script>', *(f"digit {i}" for i in range(1, 10))]
    for i in range(0, 800, 2):
        folder = tmp_path / "own" / names[y[i]].replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((x[i, 0] * 255).astype(np.uint8)).save(folder / f"{i:03d} it's.png")
    (tmp_path / "own" / "digit 1" / "broken.png").write_bytes(b"no picture")
    before = digest(tmp_path / "own")
    ran = subprocess.run(
        [Path(sys.executable).parent / "tamis", "audit", "own", "--minutes", "0.001", "--cleaned", "--copy"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "broken.png" in ran.stdout
    assert "report.html" in ran.stdout
    assert digest(tmp_path / "own") == before, "nothing of the user's is changed"
    page = (tmp_path / "audits" / "own" / "report.html").read_text()
    assert "<script>alert" not in page
    table = pl.read_csv(tmp_path / "audits" / "own" / "verdicts.csv")
    assert table.height == 400
    flagged = table["flagged"].sum()
    with (tmp_path / "audits" / "own" / "cleaned" / "kept.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + 400 - flagged
    copied = list((tmp_path / "audits" / "own" / "cleaned" / "data").rglob("*.png"))
    assert len(copied) == 400 - flagged


def test_stopped_in_the_middle_it_writes_what_it_knows_and_goes_on(tmp_path: Path) -> None:
    x, y, _ = digits()
    np.savez(tmp_path / "d.npz", x=x, y=y)
    code = (
        "import os, signal, sys, tamis.cli as cli, tamis.auditing.folder as folder\n"
        "find = folder.Kept.find\n"
        "def stop(self, name):\n"
        "    if name == 'fold-1': os.kill(os.getpid(), signal.SIGINT)\n"  # a person's Ctrl-C, in the second fold
        "    return find(self, name)\n"
        "folder.Kept.find = stop\n"
        "sys.argv = ['tamis', 'audit', 'd.npz', '--out', 'out', '--minutes', '0.001']\n"
        "cli.main()\n"
    )
    stopped = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "goes on" in stopped.stderr
    assert not json.loads((tmp_path / "out" / "summary.json").read_text())["finished"]
    first = pl.read_parquet(tmp_path / "out" / "verdicts.parquet")
    assert first.height == 800
    kept = sorted(path.name for path in (tmp_path / "out" / ".work").iterdir())
    assert kept == ["first.pt", "fold-0.pt"]
    resumed = tamis.audit(tmp_path / "d.npz", out=tmp_path / "out", minutes=0.001)
    whole = tamis.audit(tmp_path / "d.npz", minutes=0.001)
    assert resumed.finished
    assert resumed.table["p_mislabeled"].equals(whole.table["p_mislabeled"]), "as if it had never been stopped"


def test_a_damaged_part_is_made_again(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> Fold:
        made.append(1)
        return Fold(torch.arange(2), torch.zeros(3, 2).half(), torch.zeros(4, 2), Costs(1, 2, 3))

    kept = Kept(tmp_path)
    first, second = kept("fold-0", make), kept("fold-0", make)
    assert len(made) == 1
    assert second.costs == first.costs == Costs(1, 2, 3)
    path = tmp_path / ".work" / "fold-0.pt"
    path.write_bytes(path.read_bytes()[:100])
    kept("fold-0", make)
    assert len(made) == 2
    import pickle

    path.write_bytes(pickle.dumps({"type": "Fold", "held": os.getcwd}))
    kept("fold-0", make)
    assert len(made) == 3, "a pickle of something else is not loaded"


def decided(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["index", "source", "decision", "label"], *rows])
    return path


def test_decisions_become_a_list_and_a_corrected_copy(
    done: tuple[Path, Path, tamis.Audit, np.ndarray], tmp_path: Path
) -> None:
    data, out, found, _ = done
    table, names = settle(out)
    assert names == found.names
    suggestion = str(table["suggested_name"][3])
    path = decided(tmp_path / "d.csv", [["3", "row 3", "accept", suggestion], ["5", "row 5", "drop", ""],
                                        ["7", "row 7", "relabel", "9"], ["8", "row 8", "reject", ""]])  # fmt: skip
    chosen = read_decisions(path, table, names)
    said = clean(table, names, str(data), tmp_path, copy=True, decisions=chosen)
    assert "799 of 800" in said
    rows = pl.read_csv(tmp_path / "cleaned" / "kept.csv", schema_overrides={"label": pl.String})
    assert rows.filter(pl.col("index") == 5).height == 0
    assert rows.filter(pl.col("index") == 7)["label"][0] == "9"
    with np.load(tmp_path / "cleaned" / "data.npz") as copy, np.load(data) as old:
        assert copy["x"].shape[0] == 799
        assert copy["y"].dtype == old["y"].dtype
        assert copy["y"][3] == int(suggestion)
        assert copy["y"][6] == 9, "one was dropped before it"
        assert (copy["y"][7:] == old["y"][8:]).all()


def test_a_corrected_table_keeps_its_columns_as_they_were(tmp_path: Path) -> None:
    rows = [[str(i), f"{i / 7:.3f}", "yes, no" if i % 2 else 'a "b"', "cat" if i % 2 else "dog"] for i in range(60)]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["id", "size", "note", "kind"], *rows])
    found = tamis.audit(tmp_path / "t.csv", label="kind", out=tmp_path / "out", minutes=0.001)
    path = decided(tmp_path / "d.csv", [["2", "row 2", "relabel", "cat"], ["4", "row 4", "drop", ""]])
    clean(found.table, found.names, str(tmp_path / "t.csv"), tmp_path, label="kind", copy=True,
          decisions=read_decisions(path, found.table, found.names))  # fmt: skip
    with (tmp_path / "cleaned" / "data.csv").open(newline="") as file:
        copied = list(csv.reader(file))
    rows[2][3] = "cat"
    assert copied == [["id", "size", "note", "kind"], *rows[:4], *rows[5:]]


def test_a_corrected_table_keeps_its_separator(tmp_path: Path) -> None:
    lines = ["size;kind", *(f"{i},5;{'cat' if i % 2 else 'dog'}" for i in range(60))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    found = tamis.audit(tmp_path / "t.csv", label="kind", minutes=0.001)
    clean(found.table, found.names, str(tmp_path / "t.csv"), tmp_path, label="kind", copy=True, decisions={})
    assert (tmp_path / "cleaned" / "data.csv").read_text() == "\n".join(lines) + "\n"


def test_two_audits_do_not_work_in_one_folder(tmp_path: Path) -> None:
    x, y, _ = digits()
    tamis.audit(x[:100], y[:100], out=tmp_path / "out", minutes=0.001)
    with held(tmp_path / "out", "audit"), pytest.raises(TamisError, match="another audit is running"):
        tamis.audit(x[:100], y[:100], out=tmp_path / "out", minutes=0.001)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        ([["900", "row 900", "drop", ""]], "no example '900'"),
        ([["-1", "row 1", "drop", ""]], "no example '-1'"),
        ([["1", "row 2", "drop", ""]], "is 'row 1' and not 'row 2'"),
        ([["1", "row 1", "delete", ""]], "no decision 'delete'"),
        ([["1", "row 1", "relabel", "cow"]], "no class 'cow'"),
        ([["1", "row 1", "drop", ""], ["1", "row 1", "reject", ""]], "earlier decision"),
        ([["1", "row 1", "drop"]], "3 cells"),
    ],
)
def test_decisions_that_do_not_fit_are_refused(
    done: tuple[Path, Path, tamis.Audit, np.ndarray], tmp_path: Path, rows: list[list[str]], match: str
) -> None:
    table, names = settle(done[1])
    with pytest.raises(TamisError, match=match):
        read_decisions(decided(tmp_path / "d.csv", rows), table, names)


def test_decisions_need_an_audit_and_their_columns(tmp_path: Path) -> None:
    with pytest.raises(TamisError, match="audit"):
        settle(tmp_path)
    (tmp_path / "d.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TamisError, match="must have the columns"):
        read_decisions(tmp_path / "d.csv", pl.DataFrame({"source": ["x"], "suggested_name": ["y"]}), ("y",))


class FakeOwn:
    """Only what an effort is planned from."""

    def __init__(self, n: int, shape: tuple[int, ...], classes: int = 10) -> None:
        self.data = tamis.Arrays(torch.empty(1).expand(n, *shape), torch.arange(n) % classes, classes)
        self.kind = "pictures"


def test_effort_follows_the_minutes_and_the_prices() -> None:
    own: Any = FakeOwn(20_000, (1, 28, 28))
    price = PriceList(forward=1e-5, step=4e-5)  # 26 epochs of 20,000: 21 s
    full, minutes = plan_effort(own, 10, price=lambda effort: price)
    assert (full.passes, full.folds, full.fold_passes) == PLANS[0]
    assert full.batch == 128
    assert minutes == pytest.approx(20_000 * (25 * 4e-5 + 7e-5) / 60)
    cut, _ = plan_effort(own, 0.3, price=lambda effort: price)
    assert cut.epochs < full.epochs
    least, minutes = plan_effort(own, 0.001, price=lambda effort: price)
    assert (least.passes, least.folds, least.fold_passes) == PLANS[-1]
    assert minutes > 0.001, "the shortest, and it says how long"


def test_effort_takes_the_best_network_that_fits() -> None:
    colour: Any = FakeOwn(5_000, (3, 32, 32))
    prices = {"resnet9": 2e-3, "convnet": 2e-4, "mlp": 2e-5}

    def price(effort: Any) -> PriceList:
        return PriceList(prices[effort.model] / 3, prices[effort.model])

    assert plan_effort(colour, 20, price=price)[0].model == "resnet9"
    assert plan_effort(colour, 2, price=price)[0].model == "convnet"
    assert plan_effort(colour, 0.1, price=price)[0].model == "mlp"
    assert plan_effort(colour, 0.1, "resnet9", price=price)[0].model == "resnet9"
    assert plan_effort(FakeOwn(400, (30,)), 10, price=lambda effort: FAST)[0].model == "mlp"  # type: ignore[arg-type]
    with pytest.raises(TamisError, match="looks at pictures"):
        plan_effort(FakeOwn(400, (30,)), 10, "convnet")  # type: ignore[arg-type]
    with pytest.raises(TamisError, match="no --model 'resnet'; did you mean 'resnet9'"):
        plan_effort(colour, 10, "resnet")
    with pytest.raises(TamisError, match="needs some time"):
        plan_effort(colour, 0)


def test_small_sets_are_passed_over_more_often() -> None:
    few: Any = FakeOwn(200, (30,), 2)
    many: Any = FakeOwn(20_000, (30,), 2)
    small, large = (plan_effort(own, 10, price=lambda effort: FAST)[0] for own in (few, many))
    assert small.passes > large.passes
    assert small.batch < large.batch


def test_prioritising_is_judged_by_what_it_would_train_on() -> None:
    loss = torch.arange(300.0)
    clean_set = judge_prioritising(loss, torch.full((300,), 0.01))
    assert clean_set.verdict == "no difference"
    noisy = judge_prioritising(loss, (loss >= 240).double())
    assert noisy.verdict == "hurts"
    assert noisy.noise_among_selected == pytest.approx(0.6)
    assert noisy.base_rate == pytest.approx(0.2)
    elsewhere = judge_prioritising(loss, (loss < 60).double())
    assert elsewhere.verdict == "no difference", "the noise is among what is learnt"
    assert judge_prioritising(torch.full((3,), torch.nan), torch.zeros(3)).verdict == "unknown"


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["nothing"], "there is no nothing"),
        (["d.npz", "--fdr", "0"], "--fdr is 0"),
        (["d.npz", "--minutes", "-1"], "--minutes is -1"),
        (["d.npz", "--model", "vit"], "no --model 'vit'"),
        (["d.npz", "--copy"], "--copy is about"),
        (["d.npz", "--embed", "nope"], "module:function"),
        (["d.npz", "--embed", "nope_at_all:f"], "cannot be imported"),
        (["d.npz", "--apply", "d.csv", "--out", "x"], "audit"),
    ],
)
def test_bad_settings_are_one_sentence_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], match: str
) -> None:
    x, y, _ = digits()
    np.savez(tmp_path / "d.npz", x=x[:100], y=y[:100])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tamis", "audit", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert match in said
    assert said.startswith("tamis: ")
    assert said.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.npz"], "nothing was written"


def test_text_through_a_function_of_the_users_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n"
        "def encode(texts):\n"
        "    return np.array([[len(t), t.count('good'), t.count('bad')] for t in texts], dtype='float32')\n"
    )
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [
                ["words", "mood"],
                *([("good " if i % 2 else "bad ") * (1 + i % 5), "up" if i % 2 else "down"] for i in range(80)),
            ]
        )
    ran = subprocess.run(
        [Path(sys.executable).parent / "tamis", "audit", "t.csv", "--label", "mood", "--text", "words", "--embed",
         "mine:encode", "--minutes", "0.001"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "good good" in (tmp_path / "audits" / "t" / "report.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name the column of labels as --label; there are"),
        (["--label", "mod"], 'no column "mod" for --label; did you mean "mood"'),
        (["--label", "mood", "--text", "words"], "--text needs --embed"),
    ],
)
def test_the_command_speaks_of_its_own_options(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text("words,size,mood\n" + "so it goes,1,up\nand so on,2,down\n" * 20)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tamis", "audit", "t.csv", *options])
    with pytest.raises(SystemExit):
        main()
    assert said in capsys.readouterr().err
