"""Corrected copies of a person's data and the decisions behind them: nothing is lost that nobody dropped."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from own_files import encoded, fingerprint, pixels, put, two_classes

import tamis
from tamis import audit_view
from tamis.auditing import copies
from tamis.auditing.cleaning import Decision, clean, read_decisions
from tamis.auditing.copies import NAMES
from tamis.auditing.folder import data_name, read_mark
from tamis.cli import main
from tamis.own.reading import read
from tamis.types import TamisError

DROP = Decision("drop", "")
TABLE = b"kind,size\n" + b"x,1\ny,2\nx,3\n" * 20


def verdicts(data: Path, **how: Any) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """What an audit would know of its data, without a verdict: nothing is trained."""
    own = read(data, **how)
    given = [own.names[k] for k in own.data.y]
    columns = {"index": range(len(given)), "source": own.sources, "label_name": given, "suggested_name": given}
    return pl.DataFrame(columns).with_columns(flagged=False), own.names


def copied(
    data: Path, to: Path, decisions: dict[int, Decision], limit: int | None = None, **how: Any
) -> tuple[Path, str]:
    """The copy, and what is said of it."""
    table, names = verdicts(data, limit=limit, **how)
    before = fingerprint(data)
    said = clean(table, names, str(data), to, copy=True, decisions=decisions, **how)
    assert fingerprint(data) == before
    return next(path for path in (to / "cleaned").iterdir() if path.name != "kept.csv"), said


# ---- What was not audited stays


def rows(labels: list[str]) -> list[str]:
    return [f"{i * i % 7},{label}" for i, label in enumerate(labels)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_without_a_label_stay_in_the_copy_of_a_table(tmp_path: Path, kind: str) -> None:
    labels = [None if i % 10 == 3 else "xy"[i % 2] for i in range(40)]
    frame, data = pl.DataFrame({"size": np.arange(40) / 7, "l": labels}), tmp_path / f"t.{kind}"
    (frame.write_csv if kind == "csv" else frame.write_parquet)(data)
    decisions = {0: Decision("relabel", "y"), 3: DROP}  # the fourth example stands in row 4
    copy, said = copied(data, tmp_path / "out", decisions, label="l")
    found = pl.read_csv(copy) if kind == "csv" else pl.read_parquet(copy)
    assert found["l"].to_list() == ["y", *labels[1:4], *labels[5:]]
    assert found["size"].to_list() == [*frame["size"][:4], *frame["size"][5:]]
    assert said.endswith(f"data.{kind}, with 4 rows that were not audited, as they were")
    assert said.startswith("35 of 36 examples kept, 1 relabeled")


@pytest.mark.parametrize("kind", ["csv", "npz", "pictures"])
def test_what_lies_beyond_a_limit_stays_in_the_copy(tmp_path: Path, kind: str) -> None:
    how: dict[str, Any] = {}
    if kind == "csv":
        data = put(tmp_path / "t.csv", "\n".join(["size,l", *rows(["x", "y"] * 30), ""]).encode())
        how = {"label": "l"}
    elif kind == "npz":
        data = tmp_path / "d.npz"
        np.savez(data, x=np.eye(60), y=np.arange(60) % 2)
    else:
        data = two_classes(tmp_path / "own", each=30)
    copy, said = copied(data, tmp_path / "out", {0: DROP}, limit=20, **how)
    count = {"csv": lambda: pl.read_csv(copy).height, "npz": lambda: len(np.load(copy)["y"]),
             "pictures": lambda: len(list(copy.rglob("*.png")))}[kind]()  # fmt: skip
    assert count == 59
    assert f"with 40 {'files' if kind == 'pictures' else 'rows'} that were not audited" in said


def test_examples_without_a_label_stay_among_arrays(tmp_path: Path) -> None:
    y = np.array([0.0, 1.0, np.nan, 1.0, 0.0, 1.0, 0.0, 1.0])
    np.savez(tmp_path / "d.npz", x=np.eye(8), y=y)
    copy, said = copied(tmp_path / "d.npz", tmp_path, {0: DROP})
    with np.load(copy) as found:
        assert np.array_equal(found["y"], y[1:], equal_nan=True)
        assert np.array_equal(found["x"], np.eye(8)[1:])
    assert "with 1 row that was not audited, as it was" in said


def test_files_that_are_no_example_stay_where_they_lie(tmp_path: Path) -> None:
    two_classes(tmp_path / "own" / "train")
    two_classes(tmp_path / "own" / "test")
    beside = {"README": b"mine", "train/cat/0.txt": b"a note", "train/cat/bad.png": b"?", "train/cat/x.tiff": b"II"}
    for name, content in beside.items():
        put(tmp_path / "own" / name, content)
    put(tmp_path / "own" / "train" / "cat" / ".hidden", b"")
    put(tmp_path / "own" / "train" / "dog" / "deep" / "0.png", encoded(pixels(9)))
    (tmp_path / "own" / "train" / "cat" / "away.png").symlink_to(put(tmp_path / "outside.png", encoded(pixels(8))))
    copy, said = copied(tmp_path / "own", tmp_path / "out", {0: Decision("relabel", "dog"), 1: DROP})
    before = {path.relative_to(tmp_path / "own").as_posix() for path in (tmp_path / "own").rglob("*")}
    found = {path.relative_to(copy).as_posix() for path in copy.rglob("*")}
    gone = {"train/cat/.hidden", "train/cat/away.png", "train/cat/0.png", "train/cat/1.png"}
    assert found == (before - gone) | {"train/dog/0_2.png"}
    for name, content in beside.items():
        assert (copy / name).read_bytes() == content
    assert (copy / "train/dog/deep/0.png").read_bytes() == encoded(pixels(9))
    assert (copy / "train/dog/0_2.png").read_bytes() == (tmp_path / "own/train/cat/0.png").read_bytes()
    assert "with 10 files that were not audited, as they were" in said


# ---- Which arrays are cut


def test_arrays_of_another_split_are_never_cut(tmp_path: Path) -> None:
    same = np.arange(20)
    whole = ("x_test", "y_test", "valImages", "dev_ids", "X_holdout", "held_out_ids", "ytest", "train_ids", "eval")
    cut = ("ids", "latest", "value", "devices", "contest_y")
    np.savez(tmp_path / "d.npz", x=np.eye(20), y=same % 2, **dict.fromkeys((*whole, *cut), same))
    copy, said = copied(tmp_path / "d.npz", tmp_path, {0: DROP})
    with np.load(copy) as found:
        assert {name: len(found[name]) for name in found} == {
            "x": 19, "y": 19, **dict.fromkeys(whole, 20), **dict.fromkeys(cut, 19)
        }  # fmt: skip
    assert said.endswith('; "X_holdout", "dev_ids", "eval", "held_out_ids" and 5 more, of another split, are as before')


def test_arrays_of_the_audited_split_are_cut(tmp_path: Path) -> None:
    same = np.arange(20)
    np.savez(tmp_path / "d.npz", x_train=np.eye(20), y_train=same % 2, training_ids=same, y_val=same, ids=same)
    with np.load(copied(tmp_path / "d.npz", tmp_path, {0: DROP})[0]) as found:
        assert {name: len(found[name]) for name in found} == {
            "x_train": 19, "y_train": 19, "training_ids": 19, "ids": 19, "y_val": 20
        }  # fmt: skip


# ---- The bytes of a text file


def test_a_copy_of_a_text_file_keeps_its_bytes(tmp_path: Path) -> None:
    head = b'\xef\xbb\xbf"size",kind,size,"a\nnote"\r\n'
    lines = [b'%d,%s, %d.50,"x, ""%d""\nand"\r\n' % (i * i % 7, (b"cat", b'"dog"')[i % 2], i, i) for i in range(40)]
    lines[7] = lines[7].replace(b"\r\n", b"\n")
    lines[20] = b"\r\n"
    lines[39] = lines[39].removesuffix(b"\r\n")
    data = put(tmp_path / "t.csv", head + b"".join(lines))
    decisions = {2: Decision("relabel", "dog"), 3: Decision("relabel", "cat"), 4: DROP}
    copy, said = copied(data, tmp_path / "out", decisions, label="kind")
    lines[2], lines[3] = lines[2].replace(b"cat", b'"dog"'), lines[3].replace(b'"dog"', b"cat")
    assert copy.read_bytes() == head + b"".join(lines[:4] + lines[5:])
    assert "with 1 row that was not audited" in said, "the blank line"


def test_a_label_at_the_end_of_a_line_is_changed_alone(tmp_path: Path) -> None:
    lines = [b"%d,%s\r\n" % (i * i % 7, (b"cat", b"dog")[i % 2]) for i in range(40)]
    data = put(tmp_path / "t.csv", b"size,kind\r\n" + b"".join(lines))
    decisions = {0: Decision("relabel", "dog"), 39: Decision("relabel", "cat")}
    copy, said = copied(data, tmp_path / "out", decisions, label="kind")
    assert copy.read_bytes() == b"size,kind\r\n0,dog\r\n" + b"".join(lines[1:39]) + lines[39].replace(b"dog", b"cat")
    assert said.endswith("data.csv"), "nothing is left to say"


def test_a_copy_of_nothing_that_changed_is_the_file(tmp_path: Path) -> None:
    for name, content in (
        ("a.csv", b"\n\nkind,size\n" + b"x,0.5\ny,1.5\nx,2\n" * 20 + b"\n\n"),
        ("b.tsv", b"kind\tsize\r\n" + b'"x\ty"\t1\r\nz\t2\r\nz\t3\r\n' * 20),
        ("c.csv", b"kind|size|kind\n" + b"007|1|a\n07|2|b\n7|3|c\n7|4|d\n" * 20),
    ):
        data = put(tmp_path / name, content)
        assert copied(data, tmp_path / name[0], {}, label="kind")[0].read_bytes() == content


def test_lines_that_cannot_be_told_apart_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = put(tmp_path / "t.csv", TABLE)
    for wrong in ([(8, 10)] + [(i, i + 4) for i in range(12, 250, 4)], [(6, 10), (10, 14)]):
        monkeypatch.setattr(copies, "records", lambda content, wrong=wrong: wrong)
        with pytest.raises(TamisError, match="cannot be told apart with certainty, so no corrected copy"):
            copied(data, tmp_path / "out", {}, label="kind")
    assert not (tmp_path / "out").exists()


# ---- A list and a copy agree


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("copy", [False, True])
def test_a_list_is_not_written_beside_another_ones_copy(tmp_path: Path, name: str, copy: bool) -> None:
    data = put(tmp_path / "t.csv", TABLE)
    table, names = verdicts(data, label="kind")
    for place in (put(tmp_path / "cleaned" / name, b"earlier"), put(tmp_path / "cleaned" / "kept.csv", b"earlier")):
        assert place.read_bytes() == b"earlier"
    with pytest.raises(TamisError, match=rf"{name} is there already; move it away first, or it and a new kept\.csv"):
        clean(table, names, str(data), tmp_path, label="kind", copy=copy)
    assert (tmp_path / "cleaned" / "kept.csv").read_bytes() == b"earlier"
    (tmp_path / "cleaned" / name).unlink()
    clean(table, names, str(data), tmp_path, label="kind", copy=copy)


def test_that_is_said_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "t.csv", TABLE)
    put(tmp_path / "audits" / "t" / "cleaned" / "data.csv", b"")
    monkeypatch.setattr(audit_view, "audit", lambda *given, **how: pytest.fail("nothing is to be trained"))
    monkeypatch.chdir(tmp_path)
    for words in (["--cleaned"], ["--cleaned", "--copy"]):
        monkeypatch.setattr(sys, "argv", ["tamis", "audit", "t.csv", "--label", "kind", *words])
        with pytest.raises(SystemExit) as left:
            main()
        assert left.value.code == 2
        assert "data.csv is there already; move it away first" in capsys.readouterr().err


# ---- Decisions belong to their data


def export(path: Path, data: str | None, *decided: list[str]) -> Path:
    with path.open("w", newline="") as file:
        head = ["index", "source", "decision", "label", *([] if data is None else ["data"])]
        csv.writer(file).writerows([head, *([*row, *([] if data is None else [data])] for row in decided)])
    return path


def test_decisions_about_other_data_are_refused(tmp_path: Path) -> None:
    for name in "ab":
        size = [f"{i % 5 + ord(name)}" for i in range(40)]
        lines = [f"{value},{'xy'[i % 2]}" for i, value in enumerate(size)]
        put(tmp_path / f"{name}.csv", "\n".join(["size,l", *lines[ord(name) % 5 :], *lines[: ord(name) % 5]]).encode())
    table, names = verdicts(tmp_path / "a.csv", label="l")
    ours, theirs = (read(tmp_path / f"{name}.csv", label="l").digest for name in "ab")
    assert ours != theirs
    row, path = ["3", "row 3", "drop", ""], tmp_path / "d.csv"
    assert read_decisions(export(path, data_name(ours), row), table, names, ours) == {3: DROP}
    sentence = r"row 2 of .*d\.csv was decided about other data \('sha256-[0-9a-f]{16}'\) than this audit's \('sha256-"
    with pytest.raises(TamisError, match=sentence):
        read_decisions(export(path, data_name(theirs), row), table, names, ours)
    for unnamed in (None, ""):  # made by hand, or by an earlier version
        assert read_decisions(export(path, unnamed, row), table, names, ours) == {3: DROP}


def test_a_label_that_was_kept_must_be_the_given_one(tmp_path: Path) -> None:
    table, names = verdicts(put(tmp_path / "t.csv", "\n".join(["size,l", *rows(["x", "y"] * 20)]).encode()), label="l")
    path = tmp_path / "d.csv"
    for label in ("y", ""):
        found = read_decisions(export(path, None, ["3", "row 3", "reject", label]), table, names)
        assert found == {3: Decision("reject", label)}
    with pytest.raises(
        TamisError, match=r"row 2 of .*: example 3 has the label 'y' and not 'x': the audit of other data\?"
    ):
        read_decisions(export(path, None, ["3", "row 3", "reject", "x"]), table, names)


def test_the_page_exports_what_its_own_audit_takes_and_no_other(
    browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    generator = np.random.default_rng(0)
    for name in "ab":
        lines = [f"{generator.normal() + i % 2:.3f},{'xy'[i % 2]}" for i in range(60)]
        put(tmp_path / f"{name}.csv", "\n".join(["size,l", *lines]).encode())
        tamis.audit(tmp_path / f"{name}.csv", label="l", out=tmp_path / "audits" / name, minutes=0.001)
    shown = browser(tmp_path / "audits" / "a" / "report.html")
    shown.page.click("#kinds [value='']")
    shown.page.locator(".card").first.focus()
    shown.page.keyboard.press("x")
    shown.page.keyboard.press("r")
    with shown.page.expect_download() as waiting:
        shown.page.click("#export")
    text = Path(waiting.value.path()).read_text("utf-8-sig")
    mark = data_name(read_mark(tmp_path / "audits" / "a")["data"])
    head, *found = csv.reader(io.StringIO(text))
    assert head == ["index", "source", "decision", "label", "data"]
    assert {row[-1] for row in found} == {mark}
    put(tmp_path / "decisions.csv", text.encode("utf-8-sig"))
    monkeypatch.chdir(tmp_path)
    for name, code, stream, words in (
        ("a", 0, 0, "59 of 60 examples kept"),
        ("b", 2, 1, "was decided about other data"),
    ):
        monkeypatch.setattr(sys, "argv", ["tamis", "audit", f"{name}.csv", "--apply", "decisions.csv"])
        with pytest.raises(SystemExit) as left:
            main()
        assert (left.value.code, words in capsys.readouterr()[stream]) == (code, True)
    assert not (tmp_path / "audits" / "b" / "cleaned").exists()
