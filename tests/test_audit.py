"""An audit end to end on small real data: files, resuming, stopping, cleaning, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from own_files import encoded, fingerprint, pixels, put, two_classes
from PIL import Image

import tamis
from tamis import audit_view
from tamis.audit_view import headline
from tamis.auditing import audit as auditing
from tamis.auditing import copies
from tamis.auditing.cleaning import Decision, clean, read_decisions, settle
from tamis.auditing.effort import PLANS, plan_effort
from tamis.auditing.folder import Kept
from tamis.auditing.prioritising import judge_prioritising
from tamis.cli import main
from tamis.corrupt import injector
from tamis.data import load
from tamis.own.reading import read
from tamis.report.audit import protected, unprotected
from tamis.report.audit_words import said
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


def arrays(path: Path, rows: int = 100) -> Path:
    """A file of a few digits."""
    x, y, _ = digits()
    path.parent.mkdir(exist_ok=True)
    np.savez(path, x=x[:rows], y=y[:rows])
    return path


def command(monkeypatch: pytest.MonkeyPatch, place: Path, *words: str, code: int) -> None:
    """``tamis`` with these words, in ``place``; it must leave with ``code``."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys, "argv", ["tamis", *words])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == code


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


def test_the_same_seed_gives_the_same_verdicts_and_another_call_reads_them_back(
    done: tuple[Path, Path, tamis.Audit, np.ndarray], tmp_path: Path
) -> None:
    data, out, found, _ = done
    elsewhere = tamis.audit(data, out=tmp_path / "out", minutes=5)
    again = tamis.audit(data, out=out, minutes=5)
    for other in (elsewhere, again):
        assert other.table.equals(found.table)
        assert other.summary["effort"] == found.summary["effort"]


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
    copied = {path.name for path in (tmp_path / "audits" / "own" / "cleaned" / "data").rglob("*.png")}
    assert len(copied) == 400 - flagged + 1
    assert "broken.png" in copied, "nobody dropped it"
    assert "with 1 file that was not audited, as it was" in ran.stdout


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
        return Fold(torch.arange(2), torch.zeros(3, 2).half(), torch.zeros(4, 2), Costs(1, 2, 3), torch.ones(()))

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
        ([["1", "row 1", "relabel", "cow"]], """no class 'cow'; there are "0", .*"7" and 2 more\\.$"""),
        ([["9" * 5000, "row 1", "drop", ""]], "no example '99999999999999999999';"),
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


# ---- Where it is written


@pytest.mark.parametrize(
    ("data", "where"),
    [("v1.2", "v1.2"), ("v1.3/", "v1.3"), ("x.csv", "x"), ("v1.2/../x.npz", "x"), ("digits", "digits"), ("", "")],
)
def test_the_folder_is_named_by_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, where: str
) -> None:
    for name in ("v1.2", "v1.3"):
        (tmp_path / name).mkdir()
    for name in ("x.csv", "x.npz"):
        (tmp_path / name).touch()
    chosen: list[Path] = []
    monkeypatch.setattr(audit_view, "run_audit", lambda data, out, **how: not chosen.append(out))
    command(monkeypatch, tmp_path, "audit", data or "../" + tmp_path.name, code=0)
    assert chosen == [Path("audits") / (where or tmp_path.name)]


@pytest.mark.parametrize("words", [[".."], ["."], ["..", "--out", "../audited"], ["../cat/..", "--out", "new/.."]])
def test_nothing_is_written_among_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    """``..`` once wrote over the report.html of the folder that one stood in, and ``.`` a class called audits."""
    two_classes(tmp_path / "work")
    two_classes(tmp_path)
    put(tmp_path / "work" / "report.html", b"mine")
    before = fingerprint(tmp_path)
    command(monkeypatch, tmp_path / "work", "audit", *words, code=2)
    assert "name another place as --out" in capsys.readouterr().err
    assert fingerprint(tmp_path) == before


def test_a_folder_by_a_roundabout_way_is_still_somebody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays(tmp_path / "d.npz")
    put(tmp_path / "report.html", b"mine")
    before = fingerprint(tmp_path)
    command(monkeypatch, tmp_path, "audit", "d.npz", "--out", "new/..", code=2)
    assert 'holds no audit, but "d.npz", "report.html";' in capsys.readouterr().err
    assert fingerprint(tmp_path) == before


# ---- Stopping, and going on


def never(*given: Any, **how: Any) -> Any:
    raise AssertionError("nothing is to be trained")


def stop_in_the_second_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    find = Kept.find

    def stop(self: Kept, name: str) -> Any:
        if name == "fold-1":
            raise KeyboardInterrupt
        return find(self, name)

    monkeypatch.setattr(Kept, "find", stop)


def test_a_finished_audit_is_read_back_and_never_lost_to_an_unfinished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = arrays(tmp_path / "d.npz"), tmp_path / "out"
    found = tamis.audit(data, out=out, minutes=0.001)
    with monkeypatch.context() as patched:
        patched.setattr(auditing, "gather_evidence", never)
        words = ("audit", "d.npz", "--out", "out", "--minutes", "0.001", "--device", "cpu", "--cleaned", "--copy")
        command(patched, tmp_path, *words, code=0)
        assert "reading back what is finished" in capsys.readouterr().out
        assert (out / "cleaned" / "data.npz").exists()
    summary = json.loads((out / "summary.json").read_text())
    summary["versions"]["tamis"] = "0"  # another version may judge otherwise: it is done again
    (out / "summary.json").write_text(json.dumps(summary))
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        stop_in_the_second_fold(patched)
        tamis.audit(data, out=out, minutes=0.001)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before
    assert tamis.audit(data, out=out, minutes=0.001).table.equals(found.table)


def test_starting_over_leaves_nothing_of_other_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = arrays(tmp_path / "d.npz"), tmp_path / "out"
    found = tamis.audit(data, out=out, minutes=0.001)
    clean(found.table, found.names, str(data), out)

    def stopped(*given: Any, **how: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(auditing, "gather_evidence", stopped)
        tamis.audit(data, out=out, minutes=0.001, seed=1, fresh=True)
    assert sorted(path.name for path in out.iterdir()) == [".lock", "audit.json", "cleaned"]
    assert not tamis.audit(data, out=out, minutes=0.001, seed=1).table.equals(found.table)


def test_a_stopped_audit_cleans_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays(tmp_path / "d.npz")
    stop_in_the_second_fold(monkeypatch)
    command(monkeypatch, tmp_path, "audit", "d.npz", "--minutes", "0.001", "--device", "cpu", "--cleaned", code=130)
    told = capsys.readouterr()
    assert "but not cleaned/" in told.err
    assert "Networks that did not see them would tell: give it more minutes." in told.out, "an audit has no refit="
    assert (tmp_path / "audits" / "d" / "summary.json").exists()
    assert not (tmp_path / "audits" / "d" / "cleaned").exists()


def test_starting_over_is_refused_before_anything_of_the_running_one_is_deleted(tmp_path: Path) -> None:
    x, y, _ = digits()
    tamis.audit(x[:100], y[:100], out=tmp_path / "out", minutes=0.001)
    put(tmp_path / "out" / ".work" / "first.pt", b"of the one that runs")
    before = fingerprint(tmp_path / "out" / ".work")
    with held(tmp_path / "out", "audit"), pytest.raises(TamisError, match="another audit is running"):
        tamis.audit(x[:100], y[:100], out=tmp_path / "out", minutes=0.001, fresh=True)
    assert fingerprint(tmp_path / "out" / ".work") == before
    assert (tmp_path / "out" / "summary.json").exists()


# ---- Copies


def verdicts(data: Path, **how: Any) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """What an audit would know of its data, without a verdict: nothing is trained."""
    own = read(data, **how)
    given = [own.names[k] for k in own.data.y]
    columns = {"index": range(len(given)), "source": own.sources, "label_name": given}
    return pl.DataFrame(columns).with_columns(flagged=False), own.names


def copied(data: Path, to: Path, decisions: dict[int, Decision] | None = None, **how: Any) -> Path:
    table, names = verdicts(data, **how)
    clean(table, names, str(data), to, copy=True, decisions=decisions or {}, **how)
    return next(path for path in (to / "cleaned").iterdir() if path.name != "kept.csv")


CHANGES = {0: Decision("relabel", "010"), 3: Decision("drop", "")}


def test_a_copy_has_labels_as_they_were_stored(tmp_path: Path) -> None:
    lines = [f"00{i % 2 + 7},{i}.50" if i % 4 < 2 else f"010,{i}" for i in range(40)]
    put(tmp_path / "t.csv", "\n".join(["kind,size", *lines, ""]).encode())
    changed = ["010,0.50", lines[1], lines[2], *lines[4:]]
    assert copied(tmp_path / "t.csv", tmp_path, CHANGES, label="kind").read_text().splitlines()[1:] == changed
    put(tmp_path / "b.csv", ("kind,size\n" + "true,1\nfalse,2.0\n" * 20).encode())
    assert copied(tmp_path / "b.csv", tmp_path / "b", label="kind").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_a_copy_of_parquet_has_a_column_of_the_same_type(tmp_path: Path) -> None:
    for values in ([True, False], [1.5, 2.0]):
        frame = pl.DataFrame({"kind": values * 20, "size": np.arange(40) / 7})
        frame.write_parquet(tmp_path / "t.parquet")
        relabeled = {0: Decision("relabel", str(values[1]).removesuffix(".0")), 3: Decision("drop", "")}
        found = pl.read_parquet(copied(tmp_path / "t.parquet", tmp_path / str(values[0]), relabeled, label="kind"))
        assert found.schema == frame.schema
        assert found["kind"].to_list() == [values[1], values[1], values[0], *frame["kind"][4:]]


@pytest.mark.parametrize("shape", [(40,), (40, 1)])
def test_a_copy_of_arrays_is_cut_and_otherwise_as_it_was(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x, y = np.random.default_rng(0).normal(size=(40, 5)), (np.arange(40) % 2 > 0).reshape(shape)
    beside = {"when": np.arange(40), "x_test": x[:7], "rate": np.float64(0.5), "notes": np.array({"by": "me"}, object)}
    np.savez(tmp_path / "d.npz", x=x, y=y, **beside)
    relabeled = {0: Decision("relabel", "True"), 3: Decision("drop", "")}
    with np.load(copied(tmp_path / "d.npz", tmp_path, relabeled), allow_pickle=True) as found:
        stays = np.delete(np.arange(40), 3)
        assert (found["x"] == x[stays]).all()
        assert found["y"].dtype == bool
        assert found["y"].shape == (39, *shape[1:])
        assert found["y"].ravel().tolist() == [True, *y.ravel()[stays[1:]]]
        assert (found["when"] == stays).all()
        assert (found["x_test"] == x[:7]).all()
        assert found["rate"] == 0.5
        assert found["notes"].item() == {"by": "me"}


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
@pytest.mark.parametrize("change", ["prepended", "shorter", "relabeled"])
def test_data_that_have_changed_are_not_copied(tmp_path: Path, kind: str, change: str) -> None:
    def write(y: list[int]) -> None:
        x = np.arange(len(y)) / 7
        if kind == "npz":
            np.savez(tmp_path / "d.npz", x=x[:, None], y=np.array(y))
        else:
            frame = pl.DataFrame({"size": x, "y": y})
            (frame.write_csv if kind == "csv" else frame.write_parquet)(tmp_path / f"d.{kind}")

    y = [0, 1, 1, 0] * 10
    write(y)
    data, how = tmp_path / f"d.{kind}", {} if kind == "npz" else {"label": "y"}
    table, names = verdicts(data, **how)
    write({"prepended": [1, *y], "shorter": y[:-1], "relabeled": [*y[:-1], 1]}[change])
    with pytest.raises(TamisError, match="have changed since the audit; run it again"):
        clean(table, names, str(data), tmp_path / "out", copy=True, **how)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists(), "not the list either"


def test_pictures_are_copied_from_wherever_the_reader_finds_them(tmp_path: Path) -> None:
    for name, root in (("nested", "only/data"), ("split", "train")):
        two_classes(tmp_path / name / root)
        put(tmp_path / name / root / "cat" / "deep" / "0.png", encoded(pixels(7)))
        put(tmp_path / name / root / "cat" / os.fsdecode(b"caf\xe9.png"), encoded(pixels(8)))
    two_classes(tmp_path / "split" / "test")
    for name in ("nested", "split"):
        before = fingerprint(tmp_path / name)
        copy = copied(tmp_path / name, tmp_path / "out" / name, {0: Decision("relabel", "dog")})
        place = copy if name == "nested" else copy / "train"
        assert sorted(path.name for path in (place / "dog").iterdir()) == ["0.png", "0_2.png", "1.png", "2.png"]
        assert sorted(os.fsencode(path.name) for path in (place / "cat").iterdir()) == [
            b"1.png", b"2.png", b"caf\xe9.png", b"deep",
        ]  # fmt: skip
        assert (place / "cat" / "deep" / "0.png").read_bytes() == encoded(pixels(7))
        assert sorted(path.name for path in copy.parent.iterdir()) == ["data", "kept.csv"]
        assert fingerprint(tmp_path / name) == before
    table, names = verdicts(tmp_path / "nested")
    with pytest.raises(TamisError, match="data is there already; move it away"):
        clean(table, names, str(tmp_path / "nested"), tmp_path / "out" / "nested", copy=True, decisions={})
    (tmp_path / "split" / "train" / "dog" / "1.png").unlink()
    with pytest.raises(TamisError, match="have changed since the audit"):
        clean(*verdicts(tmp_path / "nested"), str(tmp_path / "split"), tmp_path / "new", copy=True, decisions={})


def test_a_full_disk_leaves_no_half_of_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_classes(tmp_path / "own")
    room = iter(range(3))

    def full(origin: Path, to: Path) -> Path:
        if next(room, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(to))
        return Path(shutil.copyfile(origin, to))

    with monkeypatch.context() as patched, pytest.raises(TamisError, match=r"could not be made \(no space left on dev"):
        patched.setattr(copies.shutil, "copy2", full)
        copied(tmp_path / "own", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out" / "cleaned").iterdir()] == ["kept.csv"]
    assert len(list(copied(tmp_path / "own", tmp_path / "out").rglob("*.png"))) == 6


def test_what_cannot_be_copied_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two_classes(tmp_path / "own")
    (tmp_path / "audits" / "own" / "cleaned" / "data").mkdir(parents=True)
    with tarfile.open(tmp_path / "own.tar", "w") as archive:
        archive.add(tmp_path / "own", "own")
    rows = [f"own/{name}/{i}.png,{name}" for name in ("cat", "dog") for i in range(3)]
    put(tmp_path / "paths.csv", "\n".join(["path,kind", *rows]).encode())
    put(tmp_path / "hub" / "dataset_info.json", b"{}")
    pl.DataFrame({"size": [1.0] * 8, "kind": [0, 1] * 4}).write_parquet(tmp_path / "hub" / "data-train.parquet")
    arrays(tmp_path / "one" / "d.npz")
    np.savez(tmp_path / "objects.npz", x=np.eye(8), y=np.arange(8) % 2, notes=np.array([{}] * 8, object))
    monkeypatch.setattr(audit_view, "audit", never)
    for words, expected in (
        (["own"], "data is there already"),
        (["own.tar"], "own.tar is none of them; leave --copy out: cleaned/kept.csv says"),
        (["paths.csv", "--label", "kind"], "paths.csv names its pictures by their paths"),
        (["hub", "--label", "kind"], "hub is none of them"),
        (["one"], "one is none of them"),
        (["digits"], "there is no file or folder digits"),
        (["objects.npz"], 'array "notes" holds a Python object for each example'),
        (["paths.csv"], "--label must name the label column"),
        (["paths.csv", "--label", "kin"], 'no column "kin"'),
        (["own/cat/0.png"], "0.png is none of them"),
    ):
        command(monkeypatch, tmp_path, "audit", *words, "--cleaned", "--copy", code=2)
        err = capsys.readouterr().err
        assert expected in err
        assert err.count("\n") == 1
    table, names = verdicts(tmp_path / "paths.csv", label="kind")
    with pytest.raises(TamisError, match="names its pictures by their paths"):
        clean(table, names, str(tmp_path / "paths.csv"), tmp_path, label="kind", copy=True)


# ---- What a spreadsheet, a terminal and a reader make of it


def test_no_cell_is_a_formula_and_parquet_is_exact(tmp_path: Path) -> None:
    names, rows = ["=1+1", "@SUM(A1)", "-1", "'tis"], 24
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["size", "kind"], *([i / 7, names[i % 4]] for i in range(rows))])
    found = tamis.audit(tmp_path / "t.csv", label="kind", out=tmp_path / "out", minutes=0.001)
    clean(found.table, found.names, "t.csv", tmp_path / "out", decisions={})
    assert pl.read_parquet(tmp_path / "out" / "verdicts.parquet")["label_name"].to_list() == names * (rows // 4)
    for path, column in (("verdicts.csv", "label_name"), ("cleaned/kept.csv", "label")):
        with (tmp_path / "out" / path).open(newline="") as file:
            cells = [row[column] for row in csv.DictReader(file)]
        assert cells[:4] == ["'=1+1", "'@SUM(A1)", "-1", "''tis"]
        assert [unprotected(cell) for cell in cells] == names * (rows // 4)
    assert [unprotected(protected(text)) for text in ("", "'", "-1", "+2.5", "-1-1", "＝1", "\ta")] == [
        "", "'", "-1", "+2.5", "-1-1", "＝1", "\ta"
    ]  # fmt: skip


def test_the_headline_says_no_number_of_nothing_and_sends_a_terminal_no_command(
    done: tuple[Path, Path, tamis.Audit, np.ndarray],
) -> None:
    found = done[2]
    classes = [{"name": "cat\x1b[2J\x9b\n", "examples": 9, "noise_rate": 0.5, "flagged": 0}]
    summary = {**found.summary, "flagged": 0, "per_class": classes, "skipped": [["a\x07\u3000é.png", "is broken"]]}
    lines = headline(dataclasses.replace(found, summary=summary))
    assert "flagged: none" in lines
    assert "most in: cat\\x1b[2J\\x9b\\n 50.0 %" in lines
    assert "not read: a\\x07\u3000é.png (is broken)" in lines


def test_all_columns_that_are_not_read_are_named_before_the_rest(
    done: tuple[Path, Path, tamis.Audit, np.ndarray],
) -> None:
    def told(skipped: list[tuple[str, str]]) -> list[str]:
        summary = {**done[2].summary, "skipped": skipped}
        return [line for line in headline(dataclasses.replace(done[2], summary=summary)) if "not read" in line]

    rows = [(f"row {i}", "has no label") for i in range(3)]
    cells = [('cells of column "price"', "1 of 60 is no number")]
    columns = [(f'column "{name}"', f"is {name}") for name in "abcdefg"]
    assert told([*rows, *columns, *cells]) == [
        'not read: columns "a", "b", "c", "d", "e" and 2 more (why stands in report.html)',
        'not read: cells of column "price" (1 of 60 is no number)',
        "not read: row 0 (has no label) and 2 more",
    ]
    assert told([*rows[:1], *columns[:1]]) == [
        'not read: column "a" (is a)', "not read: row 0 (has no label)"
    ]  # fmt: skip
    assert told(columns[:5]) == ['not read: columns "a", "b", "c", "d", "e" (why stands in report.html)']


def test_what_is_not_read_is_said_in_the_words_of_who_asked(tmp_path: Path) -> None:
    lines = [f"{i * i % 7},so {i},{'xy'[i % 2]}" for i in range(40)]
    put(tmp_path / "t.csv", "\n".join(["size,text=,l", *lines]).encode())
    for command, words in (("tamis audit t.csv", "--text"), ("", "text=")):
        found = tamis.audit(tmp_path / "t.csv", label="l", minutes=0.001, command=command)
        why = f"has 40 values that hardly ever repeat; if it is text to be read, name it as {words}"
        assert found.summary["skipped"] == [['column "text="', why]]


def test_a_rate_of_less_than_one_example_is_said_so() -> None:
    rows = pl.DataFrame({"kind": ["clean"] * 40, "flagged": False})
    lead = said({"noise_rate": 0.0004, "examples": 40}, rows, [])["lead"]
    assert (lead["rate"], lead["about"]) == ("Less than 0.1 %", "fewer than 1 in 40")
    lead = said({"noise_rate": 0.02, "examples": 40}, rows, [])["lead"]
    assert (lead["rate"], lead["about"]) == ("2.0 %", "some 1 of 40")


def test_line_ends_within_a_cell_are_read_back_as_they_are(tmp_path: Path) -> None:
    sources, names = ["a\r\nb", "c\rd", "e\nf"], ("x\r\ny", "z")
    table = pl.DataFrame({"source": sources, "suggested_name": ["z"] * 3, "label_name": ["z"] * 3})
    rows = [[str(i), source, "relabel", names[0]] for i, source in enumerate(sources)]
    found = read_decisions(decided(tmp_path / "d.csv", rows), table, names)
    assert found == dict.fromkeys(range(3), Decision("relabel", names[0]))


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["nothing"], "there is no nothing"),
        (["d.npz", "--fdr", "0"], "--fdr is 0"),
        (["d.npz", "--minutes", "-1"], "--minutes is -1"),
        (["d.npz", "--minutes", "inf"], "--minutes is inf, but an audit needs some time, and an end"),
        (["d.npz", "--minutes", "nan"], "--minutes is nan"),
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
