"""A person's own tables and Hugging Face folders: what each column becomes, by hand, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from own_files import encoded, pixels, put, read_unchanged, shown_size, two_classes

from tamis.own import table as own_table
from tamis.own.reading import Own, read
from tamis.types import TamisError


def table(path: Path, columns: dict[str, Any], **how: Any) -> Own:
    """The columns beside a label of "n", "y", "n", …, written as Parquet and read."""
    n = len(next(iter(columns.values())))
    label = {"label": [("n", "y")[i % 2] for i in range(n)]}
    pl.DataFrame({**label, **columns}, strict=False).write_parquet(path / "t.parquet")
    return read_unchanged(path / "t.parquet", label="label", **how)


def scaled(values: Any, floor: float = 0.0) -> torch.Tensor:
    """The slow twin: mean 0 and standard deviation 1, or divided by the floor if that is larger."""
    column = torch.tensor(values, dtype=torch.float64)
    return ((column - column.mean()) / max(float(column.std(correction=0)), floor)).float()


def same(own: Own, *columns: torch.Tensor) -> None:
    assert torch.allclose(own.data.x, torch.stack(columns, 1), atol=1e-6), own.data.x


# What a column becomes


def test_numbers_are_standardised(tmp_path: Path) -> None:
    a, b = [1, 2, 3, 5, 8, 2], [0.5, 0.25, 9.0, 1.0, 1.0, 2.0]
    own = table(tmp_path, {"a": a, "b": b})
    same(own, scaled(a), scaled(b))
    assert own.kind == "table"
    assert own.names == ("n", "y")
    assert own.data.y.tolist() == [0, 1] * 3
    assert own.sources == tuple(f"row {i}" for i in range(6))
    assert own.shown.cells(2) == (("a", "3"), ("b", "9.0"))
    assert own.shown.picture(2) is None
    assert own.shown.text(2) is None
    assert own.skipped == ()


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_missing_numbers_are_the_mean_and_say_so(tmp_path: Path, gap: float | None) -> None:
    own = table(tmp_path, {"a": [1.0, gap, 3.0, 8.0]})
    same(own, scaled([1, 4, 3, 8]), scaled([0, 1, 0, 0], 0.1))


@pytest.mark.parametrize("unit", [1e-300, 1e-30, 1e30])
def test_the_unit_does_not_matter(tmp_path: Path, unit: float) -> None:
    same(table(tmp_path, {"a": [unit, 4 * unit, 3 * unit, 8 * unit]}), scaled([1, 4, 3, 8]))


def test_a_constant_with_gaps_is_its_gaps(tmp_path: Path) -> None:
    same(table(tmp_path, {"a": [7, None, 7, 7]}), scaled([0, 1, 0, 0], 0.1))


@pytest.mark.parametrize("cast", [str, None])
def test_levels_become_columns_by_how_frequent_they_are(tmp_path: Path, cast: type | None) -> None:
    town = ["b", "a", "b", "once", "a", "b", None, "b"]
    column = pl.Series(town) if cast else pl.Series(town, dtype=pl.Categorical)
    own = table(tmp_path, {"town": column})
    wanted = ["b", "a", "once", None]  # "once" alone is what "other" holds
    same(own, *(scaled([float(value == level) for value in town], 0.1) for level in wanted))
    assert own.shown.cells(6) == (("town", ""),)


def test_the_51st_level_is_another(tmp_path: Path) -> None:
    levels = [f"l{k:02}" for k in range(60) for _ in range(3 if k < 50 else 2)]
    own = table(tmp_path, {"l": levels})
    assert own.data.x.shape == (170, 51)
    assert (own.data.x[:, 50] > 0).tolist() == [level >= "l50" for level in levels]


def test_a_rare_level_is_not_thirty_times_as_loud(tmp_path: Path) -> None:
    own = table(tmp_path, {"l": ["common"] * 1998 + ["rare"] * 2})
    assert own.data.x.abs().max() < 1 / 0.1 + 1e-6


def test_booleans_dates_times_and_durations_are_numbers(tmp_path: Path) -> None:
    days = [0, 3, 10, 2]
    same(
        table(
            tmp_path,
            {
                "bool": [True, False, False, True],
                "date": [date(2024, 1, 1) + timedelta(day) for day in days],
                "when": [datetime(2024, 1, 1, 12) + timedelta(day) for day in days],
                "long": [timedelta(day) for day in days],
                "time": [datetime(2024, 1, 1, 12, day).time() for day in days],
            },
        ),
        scaled([1, 0, 0, 1]),
        *[scaled(days)] * 4,
    )


def test_text_that_is_numbers_but_for_marks_is_numbers(tmp_path: Path) -> None:
    same(table(tmp_path, {"a": ["1", " 2.5", "NA", "?", "3e1", "1"]}), scaled([1, 2.5, 8.625, 8.625, 30, 1]),
         scaled([0, 0, 1, 1, 0, 0], 0.1))  # fmt: skip
    own = table(tmp_path, {"land": ["NA", "DE", "NA", "DE"]})
    same(own, scaled([0, 1, 0, 1], 0.1), scaled([1, 0, 1, 0], 0.1))


def numbers(count: int, *others: str) -> list[str]:
    """So many numbers as texts, and other texts after the third."""
    found = [f"{(7 * i * i + i) % 101 / 4}" for i in range(count)]
    return [*found[:3], *others, *found[3:]]


@pytest.mark.parametrize("bad", [["unknown"], ["#REF!"], ["oops", "n.k.", "oops"]])
def test_a_few_cells_that_are_no_numbers_are_missing_and_named(tmp_path: Path, bad: list[str]) -> None:
    column = numbers(60, *bad)
    own = table(tmp_path, {"price": column})
    good = [float(value) for value in numbers(60)]
    filled = [*good[:3], *[sum(good) / 60] * len(bad), *good[3:]]
    same(own, scaled(filled), scaled([value in bad for value in column], 0.1))
    are = "is no number, and is" if len(bad) == 1 else "are no numbers, and are"
    why = f'{len(bad)} of {60 + len(bad)} {are} read as missing: "{bad[0]}" in row 3'
    assert own.skipped == (('cells of column "price"', why),)
    assert own.shown.cells(3) == (("price", bad[0]),)


def test_a_cell_is_named_by_its_row_in_the_file(tmp_path: Path) -> None:
    lines = ["price,label", "1.5,", *(f"{value},{'ny'[i % 2]}" for i, value in enumerate(numbers(60, " ?", "<b>")))]
    own = read_unchanged(put(tmp_path / "t.csv", "\n".join(lines).encode()), label="label")
    assert own.data.x.shape == (62, 2)
    assert own.skipped[1] == (
        'cells of column "price"', '1 of 61 is no number, and is read as missing: "<b>" in row 5'
    )  # fmt: skip


@pytest.mark.parametrize(
    ("column", "width"),
    [
        (numbers(18, "unknown"), 0),  # one of 19: more than one in twenty
        (["1", "2", "3", "5+"] * 15, 4),
        (["0"] * 58 + ["yes", "no"], 2),  # few cells, but most of the values
    ],
)
def test_a_column_of_numbers_and_texts_stays_categories(tmp_path: Path, column: list[str], width: int) -> None:
    own = table(tmp_path, {"a": column, "b": [i * i % 7 for i in range(len(column))]})
    assert own.data.x.shape[1] == width + 1
    assert not [source for source, _ in own.skipped if source.startswith("cells")]


def test_a_decimal_comma_is_none_the_less_a_number_beside_a_text(tmp_path: Path) -> None:
    lines = [f"{value},{'ny'[i % 2]}" for i, value in enumerate(numbers(60, "unknown"))]
    point = read_unchanged(put(tmp_path / "t.csv", "\n".join(["a,l", *lines]).encode()), label="l")
    swapped = "\n".join(["a,l", *lines]).replace(",", ";").replace(".", ",")
    comma = read_unchanged(put(tmp_path / "u.csv", swapped.encode()), label="l")
    assert point.data.x.shape == (61, 2)
    assert comma.digest == point.digest
    assert comma.skipped == point.skipped


def test_a_counter_with_a_slip_is_still_a_counter(tmp_path: Path) -> None:
    told = [i * i % 7 for i in range(40)]
    own = table(tmp_path, {"a": told, "id": [str(i) if i != 9 else "oops" for i in range(40)]})
    same(own, scaled(told))
    assert own.skipped == (('column "id"', "only counts the rows"),)


def test_lists_of_one_length_are_columns(tmp_path: Path) -> None:
    rows = [[1.0, 2.0], [3.0, 2.0], [0.0, 1.0], [1.0, 1.0]]
    for column in (pl.Series(rows), pl.Series(rows, dtype=pl.Array(pl.Float32, 2))):
        same(table(tmp_path, {"e": column}), scaled([1, 3, 0, 1]), scaled([2, 2, 1, 1]))


@pytest.mark.parametrize("gap", [None, []])
def test_a_row_without_its_list_is_left_out_and_named(tmp_path: Path, gap: list[float] | None) -> None:
    lists = [[float(i * i % 7), float(i % 3)] for i in range(40)]
    lists[5] = gap  # type: ignore[call-overload]
    kinds = [pl.Series(lists, dtype=pl.List(pl.Float64))]
    kinds += [pl.Series(lists, dtype=pl.Array(pl.Float64, 2))] if gap is None else []
    for column in kinds:
        own = table(tmp_path, {"e": column, "a": [i * i % 11 for i in range(40)]})
        rows = [i for i in range(40) if i != 5]
        same(own, *(scaled([f(i) for i in rows]) for f in (lambda i: i * i % 7, lambda i: i % 3, lambda i: i * i % 11)))
        assert own.sources == tuple(f"row {i}" for i in rows)
        assert own.skipped == (("row 5", 'has no list in column "e"'),)


@pytest.mark.parametrize(
    ("lists", "why"),
    [
        ([[1.0, 2.0]] * 36 + [None] * 4, "has no list in 4 of 40 rows, and 95 % of them must have one"),
        ([None] * 40, "has no value"),
        ([[1.0], [2.0, 1.0]] * 19 + [None] * 2, "is a list whose length varies from row to row"),
    ],
)
def test_a_list_that_is_no_column_costs_no_row(tmp_path: Path, lists: list[Any], why: str) -> None:
    told = [i * i % 7 for i in range(40)]
    own = table(tmp_path, {"a": told, "e": pl.Series(lists, dtype=pl.List(pl.Float64))})
    same(own, scaled(told))
    assert own.skipped == (('column "e"', why),)


def test_a_large_offset_costs_no_precision(tmp_path: Path) -> None:
    same(table(tmp_path, {"a": [2.0**52 + k for k in (0, 1, 3, 1)]}), scaled([0, 1, 3, 1]))


def test_numbers_of_twenty_digits(tmp_path: Path) -> None:
    """More than 64 bits hold: polars' 128, of which NumPy has none."""
    steps = [0, 3, 1, 3, 7, 2, 2, 9, 4, 1, 0, 5]
    lines = ["id,a,l", *(f"{10**19 + i},{10**19 + step * 2048},{'ny'[i % 2]}" for i, step in enumerate(steps))]
    own = read_unchanged(put(tmp_path / "t.csv", "\n".join(lines).encode()), label="l")
    same(own, scaled(steps))
    assert own.skipped == (('column "id"', "only counts the rows"),)
    assert own.shown.cells(1) == (("id", str(10**19 + 1)), ("a", str(10**19 + 3 * 2048)))


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ([7] * 12, "never varies"),
        (["one"] * 12, "never varies"),
        ([None] * 12, "has no value"),
        (list(range(5, 17)), "only counts the rows"),
        ([f"name {i}" for i in range(12)], "has 12 values that hardly ever repeat"),
        ([i % 2 for i in range(12)], "says the same as the label, one for one"),
        ([("class 0", "class 1")[i % 2] for i in range(12)], "says the same as the label, one for one"),
        ([b"x"] * 12, "is of type Binary"),
        ([b"\x01\x01\x00\x00\x00" + bytes([i] * 16) for i in range(12)], "is of type Binary"),  # points, in WKB
        ([b"RIFF\x24\x00\x00\x00WAVEfmt "] * 12, "is of type Binary"),
        ([[0.0] * (1 + i % 2) for i in range(12)], "is a list whose length varies"),
        ([["a"]] * 12, "is of type List"),
        ([{"u": 1}] * 12, "is of type Struct"),
    ],
)
def test_columns_that_are_left_out_are_named(tmp_path: Path, column: list[Any], why: str) -> None:
    told = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
    own = table(tmp_path, {"a": told, "out": column})
    same(own, scaled(told))
    ((source, said),) = own.skipped
    assert source == 'column "out"'
    assert said.startswith(why)


def test_a_counter_counts_rows_that_were_left_out_too(tmp_path: Path) -> None:
    columns = {"id": range(40), "a": [i * i % 7 for i in range(40)], "label": [None, *"nyy" * 13]}
    pl.DataFrame(columns).write_csv(tmp_path / "t.csv")
    own = read_unchanged(tmp_path / "t.csv", label="label", limit=20)
    assert own.data.x.shape == (20, 1)
    assert own.skipped[0] == ("row 0", "has no label")
    assert own.skipped[1] == ('column "id"', "only counts the rows")
    assert [f"row {dict(own.shown.cells(i))['id']}" for i in range(20)] == list(own.sources)


# Labels


def test_labels_of_any_type(tmp_path: Path) -> None:
    for labels, names in (
        ([10, 9, 10, 9], ("9", "10")),
        ([-1.0, 2.0, -1.0, 2.0], ("-1", "2")),
        ([True, False, True, False], ("False", "True")),
        (["no", "<b>", "no", "<b>"], ("<b>", "no")),
        ([date(2024, 1, 1), date(2023, 1, 1)] * 2, ("2023-01-01", "2024-01-01")),
        ([10**18 + 1, 10**18] * 2, (str(10**18), str(10**18 + 1))),
    ):
        pl.DataFrame({"a": [1, 2, 3, 5], "l": labels}).write_parquet(tmp_path / "t.parquet")
        assert read_unchanged(tmp_path / "t.parquet", label="l").names == names


def test_rows_without_a_label_are_named(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", b"a,l\n1,x\n2,\n3,x\n4,y\n5,y\n6,\n")
    own = read_unchanged(tmp_path / "t.csv", label="l")
    assert own.sources == ("row 0", "row 2", "row 3", "row 4")
    assert own.skipped == (("row 1", "has no label"), ("row 5", "has no label"))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["x", "NA", "x", "y", "y", ""], ("x", "y")),
        (["x", "nan", "x", "y", "y", "Null"], ("x", "y")),
        (["1", "N/A", "1", "2", "2", "?"], ("1", "2")),
        (["1.5", "-", "1.5", "2", "2", "missing"], ("1.5", "2")),
        (["none", "-", "none", "-", "ok", "ok"], ("-", "none", "ok")),  # a class may be called so
        (["NA", "DE", "NA", "DE", "NA", "DE"], ("DE", "NA")),  # else one class alone would be left
    ],
)
def test_marks_for_missing_values_are_no_classes(tmp_path: Path, labels: list[str], names: tuple[str, ...]) -> None:
    lines = ["a,l", *(f"{i * i % 7},{label}" for i, label in enumerate(labels))]
    own = read_unchanged(put(tmp_path / "t.csv", "\n".join(lines).encode()), label="l")
    assert own.names == names
    gone = tuple((f"row {i}", "has no label") for i in (1, 5)) if len(own.sources) == 4 else ()
    assert own.skipped == gone
    assert len(own.sources) + len(gone) == 6


def test_a_class_of_one_row_is_left_out_and_named(tmp_path: Path) -> None:
    labels = ["x", "y", "lonely", "x", "", "y", "single", "x", "y"]
    lines = [f"{i * i % 11},{label},{'' if i == 0 else 'word ' * i}" for i, label in enumerate(labels)]
    path = put(tmp_path / "t.csv", "\n".join(["a,l,t", *lines]).encode())
    own = read_unchanged(path, label="l")
    assert own.names == ("x", "y")
    assert own.sources == tuple(f"row {i}" for i in (0, 1, 3, 5, 7, 8))
    assert own.skipped[:3] == (
        ("row 4", "has no label"),
        ("row 2", 'is the only example of the class "lonely"'),
        ("row 6", 'is the only example of the class "single"'),
    )
    assert len(read(path, label="l", limit=4).sources) == 4, "a limit counts the classes that are left"


def test_a_row_that_is_alone_once_others_have_gone_goes_too(tmp_path: Path) -> None:
    words = ["a", "b", "a", "b", " ", "c"]
    pl.DataFrame({"t": words, "l": ["x", "y", "x", "y", "z", "z"]}).write_parquet(tmp_path / "t.parquet")
    own = read_unchanged(
        tmp_path / "t.parquet", label="l", text="t", embed=lambda texts: torch.tensor([[float(ord(t))] for t in texts])
    )
    assert own.names == ("x", "y")
    assert own.shown.text(3) == "b"
    assert own.skipped == (("row 4", "has no text"), ("row 5", 'is the only example of the class "z"'))


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["007", "07", "7"], ("007", "07", "7")),
        (["010", "9", "8"], ("8", "9", "010")),
        (["00.5", "0.5", "1"], ("0.5", "00.5", "1")),
        (["0.5", "1.0", "1"], ("0.5", "1")),  # one number however it is written
        (["-1", "0", "10"], ("-1", "0", "10")),
    ],
)
def test_a_number_with_a_leading_zero_is_a_name(tmp_path: Path, labels: list[str], names: tuple[str, ...]) -> None:
    lines = [f"{i * i % 7},{label}" for i, label in enumerate(labels * 4)]
    for name, separator in (("t.csv", ","), ("t.tsv", "\t")):
        content = "\n".join(["a,l", *lines]).replace(",", separator)
        own = read_unchanged(put(tmp_path / name, content.encode()), label="l")
        assert own.names == names


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6).filter(str.strip)


@settings(max_examples=40)
@given(st.lists(NAMES, min_size=2, max_size=4, unique=True), st.sampled_from([",", ";", "\t", "|"]))
def test_any_name_comes_through_a_csv(tmp_path_factory: pytest.TempPathFactory, names: list[str], mark: str) -> None:
    """Quotes, separators, tags and every script, written by Python's own writer."""
    path = tmp_path_factory.getbasetemp() / "names.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter=mark, quoting=csv.QUOTE_STRINGS if hasattr(csv, "QUOTE_STRINGS") else 1)
        writer.writerows([["value", "label"], *([f"x{i}", name + "~"] for i, name in enumerate(names * 3))])
    own = read(path, label="label", text="value", embed=lambda texts: torch.eye(len(texts)))
    assert [own.names[k] for k in own.data.y] == [name + "~" for name in names * 3]


# Files


def test_every_way_of_writing_a_table_is_the_same_table(tmp_path: Path) -> None:
    frame = pl.DataFrame({
        "a": [0.5, None, 2.25, 1.0, 7.5, 3.0],
        "town": ["ü", "x, y", "ü", 'q"q', "x, y", 'q"q'],
        "n": [1, 5, 2, 2, 9, 1],
        "l": ["n", "y", "n", "y", "n", "y"],
    })  # fmt: skip
    frame.write_parquet(tmp_path / "t.parquet")
    frame.write_csv(tmp_path / "t.csv")
    frame.write_csv(tmp_path / "bom.csv", include_bom=True)
    frame.write_csv(tmp_path / "crlf.csv", line_terminator="\r\n")
    frame.write_csv(tmp_path / "t.tsv", separator="\t")
    frame.write_csv(tmp_path / "bar.csv", separator="|")
    frame.write_csv(tmp_path / "point.csv", separator=";")
    frame.write_csv(tmp_path / "comma.csv", separator=";", decimal_comma=True)
    frame.write_csv(tmp_path / "*[1].CSV")
    found = {path.name: read_unchanged(path, label="l") for path in sorted(tmp_path.iterdir())}
    assert len(found) == 9
    assert {own.digest for own in found.values()} == {found["t.parquet"].digest}
    same(found["t.csv"], scaled(frame["a"].fill_null(2.85).to_list()), scaled([0, 1, 0, 0, 0, 0], 0.1),
         *(scaled([float(v == level) for v in frame["town"]], 0.1) for level in ('q"q', "x, y", "ü")),
         scaled(frame["n"].to_list()))  # fmt: skip


def test_a_type_that_changes_late_is_seen(tmp_path: Path) -> None:
    lines = [f"{i % 5},{'ny'[i % 2]}" for i in range(12_000)] + ["0.5,y"]
    put(tmp_path / "t.csv", "\n".join(["a,l", *lines]).encode())
    assert read_unchanged(tmp_path / "t.csv", label="l").data.x.shape == (12_001, 1)


def test_a_folder_with_one_table_is_that_table(tmp_path: Path) -> None:
    put(tmp_path / "t.csv", b"a,l\n1,x\n2,y\n3,x\n5,y\n")
    assert read_unchanged(tmp_path, label="l").digest == read(tmp_path / "t.csv", label="l").digest


def test_ten_million_columns_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(tmp_path / "t.csv", b"c," * 10_000_000 + b"l\n")
    monkeypatch.setattr(own_table, "_read_csv", None)
    with pytest.raises(TamisError, match=r"has more than 100,000 columns"):
        read(path, label="l")
    monkeypatch.setattr(own_table, "MOST_COLUMNS", 3)
    path = tmp_path / "t.parquet"
    pl.DataFrame({"a": [1, 2, 3, 5], "b": [1, 2, 3, 5], "c": [2, 1, 1, 1], "l": ["x", "y"] * 2}).write_parquet(path)
    with pytest.raises(TamisError, match=r"has more than 3 columns"):
        read(path, label="l")
    pl.DataFrame({"a": ["u", "v", "w", "x"] * 2, "l": ["x", "y"] * 4}).write_parquet(path)
    with pytest.raises(TamisError, match=r"has more than 3 columns"):
        read(path, label="l")  # of levels


BAD: dict[str, tuple[bytes, str | None, str]] = {
    "no label": (b"a,l\n1,x\n", None, 't.csv: name the column of labels as label=; there are "a", "l"'),
    "a misspelt label": (b"age,label\n1,x\n", "lable", 'has no column "lable" for label=; did you mean "label"'),
    "no such label": (b"a,b\n1,x\n", "zzzz", 'has no column "zzzz" for label=; there are "a", "b"'),
    "an empty file": (b"", "l", "it is empty"),
    "a header alone": (b"a,l\n", "l", "t.csv is empty"),
    "no labels": (b"a,l\n1,\n2,\n", "l", "none of the 2 examples has a label"),
    "one class": (b"a,l\n1,x\n2,x\n", "l", 'every example is of the class "x"'),
    "a class with one": (b"a,l\n1,x\n2,x\n3,y\n", "l", r'the class "y" has one example \(row 2\)'),
    "an identifier": ("\n".join(["a,l", *(f"{i * i % 7},{i}" for i in range(40))]).encode(), "l", "look like numbers"),
    "a ragged line": (b"a,l\n1,x\n2,y,z\n", "l", r"\(line 3 has 3 fields, and the header has 2\)"),
    "a ragged line after others": (
        b'a,l\r\n"1\n1",x\r\n\r\n2,"y,z"\r\n3,z,"u\n,v",w\r\n',
        "l",
        r"\(line 6 has 4 fields,",
    ),
    "latin 1": ("a,l\n1,café\n".encode("latin-1"), "l", "it is not in UTF-8"),
    "utf 16": ("a,l\n1,x\n".encode("utf-16"), "l", "it is not in UTF-8"),
    "infinity": (b"a,l\n1,x\n2,y\n1,\ninf,x\n4,y\n", "l", 'column "a" is infinite in row 3'),
    "the label alone": (b"l\nx\ny\nx\ny\n", "l", "has no column to learn from beside the label"),
    "nothing that varies": (b"a,l\n1,x\n1,y\n1,x\n1,y\n", "l", r'beside the label \(column "a" never varies\)'),
}


@pytest.mark.parametrize("case", BAD)
def test_tables_that_are_refused(tmp_path: Path, case: str) -> None:
    content, label, sentence = BAD[case]
    with pytest.raises(TamisError, match=sentence):
        read_unchanged(put(tmp_path / "t.csv", content), label=label)


def test_a_parquet_file_that_is_none_or_half(tmp_path: Path) -> None:
    pl.DataFrame({"a": range(999), "l": ["x"] * 999}).write_parquet(tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    for content in (b"", b"PAR1", whole[:-5], whole[: len(whole) // 2], whole[:8] + bytes(64) + whole[72:]):
        with pytest.raises(TamisError, match=r"cannot be read as a table"):
            read_unchanged(put(tmp_path / "u.parquet", content), label="l")


def test_a_label_that_is_a_list_is_refused(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "l": [[1], [2]]}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(TamisError, match=r'column "l" is of type List.* cannot be the label'):
        read_unchanged(tmp_path / "t.parquet", label="l")


@pytest.mark.parametrize("column", [[1e300, 0.0, -1e300, None], [[1e300], [0.0], [-1e300], [1.0]]])
def test_numbers_that_lie_too_far_apart_are_refused(tmp_path: Path, column: list[Any]) -> None:
    with pytest.raises(TamisError, match='the values of column "a" lie too far apart'):
        table(tmp_path, {"a": column})


def test_a_list_with_a_gap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TamisError, match='a list in column "e" has a value that is missing or not finite'):
        table(tmp_path, {"e": [[1.0], [None], [2.0], [1.0]]})


def test_brackets_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1, 2, 3, 5], "l": ["x", "y"] * 2})
    for kind in ("parquet", "ipc", "ipc_stream"):
        folder = tmp_path / f"{kind} [1]"
        folder.mkdir()
        name = "q[9].parquet" if kind == "parquet" else "q[9].arrow"
        getattr(frame, f"write_{kind}")(folder / name)
        assert len(read_unchanged(folder, label="l").sources) == 4
    assert len(read_unchanged(tmp_path / "parquet [1]" / "q[9].parquet", label="l").sources) == 4


# Text


def test_texts_are_embedded_once_beside_the_other_columns(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def embed(texts: list[str]) -> torch.Tensor:
        asked.append(texts)
        return torch.tensor([[len(text), text.count("a"), 5] for text in texts])

    texts = ["a", "banana <b>", None, " ", "cc", "ad"]
    own = table(tmp_path, {"t": texts, "a": [1, 2, 3, 5, 4, 9]}, text="t", embed=embed)
    assert asked == [["a", "banana <b>", "cc", "ad"]]
    same(own, scaled([1, 10, 2, 2]), scaled([1, 3, 0, 1]), torch.zeros(4), scaled([1, 2, 4, 9]))
    assert own.kind == "text"
    assert own.shown.text(1) == "banana <b>"
    assert own.shown.cells(1) == (("a", "2"),)
    assert own.sources == ("row 0", "row 1", "row 4", "row 5")
    assert own.skipped == (("row 2", "has no text"), ("row 3", "has no text"))
    other = table(tmp_path, {"t": [*texts[:5], "ae"], "a": [1, 2, 3, 5, 4, 9]}, text="t", embed=embed)
    assert torch.equal(other.data.x, own.data.x)
    assert other.digest != own.digest, "the texts are the content"
    again, rescaled = (
        table(tmp_path, {"t": texts, "a": [1, 2, 3, 5, 4, 9]}, text="t", embed=how)
        for how in (embed, lambda texts: embed(texts).square())
    )
    assert again.digest == own.digest
    assert rescaled.digest != own.digest, "and what a model makes of them"


@pytest.mark.parametrize(
    ("embed", "sentence"),
    [
        (None, r"text= needs embed=, a function"),
        (lambda texts: torch.zeros(3, 2), r"embed= gave \[3, 2\] for 4 texts"),
        (lambda texts: torch.zeros(4), r"embed= gave \[4\] for 4 texts"),
        (lambda texts: torch.full((4, 2), torch.nan), "embed= gave NaN or an infinity"),
    ],
)
def test_embeddings_that_are_refused(
    tmp_path: Path, embed: Callable[[list[str]], torch.Tensor] | None, sentence: str
) -> None:
    with pytest.raises(TamisError, match=sentence):
        table(tmp_path, {"t": ["a", "b", "c", "d"]}, text="t", embed=embed)


def test_texts_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(TamisError, match='has no column "txt" for text=; did you mean "text"'):
        table(tmp_path, {"text": ["a"] * 4}, text="txt", embed=lambda t: torch.eye(4))
    with pytest.raises(TamisError, match='column "label" cannot be both'):
        table(tmp_path, {"text": ["a"] * 4}, text="label", embed=lambda t: torch.eye(4))


# Pictures that a table names


def test_a_table_of_paths_is_pictures(tmp_path: Path) -> None:
    lines = ["file,label,age"]
    for i in range(6):
        put(tmp_path / "set" / "images" / f"{i}.png", encoded(pixels(i)))
        lines.append(f"images/{i}.png,{'ny'[i % 2]},{i * i}")
    put(tmp_path / "outside.png", encoded(pixels(7)))
    lines += [f"{tmp_path}/outside.png,n,1", "../outside.png,n,1", "images/gone.png,y,1", ",y,1", "images/0.png,,1"]
    put(tmp_path / "set" / "images" / "bad.png", b"?")
    lines.append("images/bad.png,n,1")
    path = put(tmp_path / "set" / "t.csv", "\n".join(lines).encode())
    own = read_unchanged(path, label="label")
    assert own.kind == "pictures"
    assert own.sources == tuple(f"images/{i}.png" for i in range(6))
    assert own.data.y.tolist() == [0, 1] * 3
    assert shown_size(own.shown.picture(5)) == (12, 12)
    assert dict(own.skipped) == {
        f"{tmp_path}/outside.png": "lies outside the table's folder",
        "../outside.png": "lies outside the table's folder",
        "images/gone.png": "is not there",
        "row 9": "names no picture",
        "row 10": "has no label",
        "images/bad.png": "is no png, jpeg, webp, bmp or gif picture",
    }
    assert read_unchanged(tmp_path / "set", label="label").digest == own.digest, "the only table in the folder"
    (tmp_path / "set" / "images").rename(tmp_path / "moved")
    own = read_unchanged(path, label="label")
    assert own.kind == "table", "names of files that are nowhere are text"
    assert own.data.x.shape == (11, 1)


# Hugging Face


def hub(folder: Path, frames: list[pl.DataFrame], features: dict[str, Any] | None = None) -> Path:
    """What ``save_to_disk`` leaves: Arrow streams, ``state.json`` and ``dataset_info.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data-{k:05}-of-{len(frames):05}.arrow" for k in range(len(frames))]
    for name, frame in zip(names, frames, strict=True):
        frame.write_ipc_stream(folder / name, compat_level=pl.CompatLevel.oldest())
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0", "_split": "train"}
    put(folder / "state.json", json.dumps(state).encode())
    put(folder / "dataset_info.json", json.dumps({"features": features or {}, "splits": None}).encode())
    return folder


CLASSES = {"label": {"names": ["zebra", "unused", "<b>"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}


def pictures_frame(start: int, labels: list[int | None]) -> pl.DataFrame:
    images = [{"bytes": encoded(pixels(start + i, 9, 9)), "path": None} for i in range(len(labels))]
    kinds = {"image": pl.Struct({"bytes": pl.Binary, "path": pl.String}), "label": pl.Int64}
    return pl.DataFrame({"image": images, "label": labels}, schema=kinds)


def test_a_saved_data_set_of_pictures(tmp_path: Path) -> None:
    first, second = pictures_frame(0, [0, 2, None, 0]), pictures_frame(10, [2, -1, 2, 0])
    broken = second.with_columns(
        image=pl.Series([{"bytes": b"?", "path": "a"}, *second["image"][1:3], {"bytes": None, "path": "b"}])
    )
    own = read_unchanged(hub(tmp_path, [first, broken], CLASSES))
    assert own.kind == "pictures"
    assert own.names == ("zebra", "<b>"), "in the data set's own order; a class without examples is none"
    assert own.sources == ("row 0", "row 1", "row 3", "row 6")
    assert own.data.y.tolist() == [0, 1, 0, 1]
    assert dict(own.skipped) == {
        "row 2": "has no label",
        "row 5": "has no label",
        "row 4": "is no png, jpeg, webp, bmp or gif picture",
        "row 7": "has no picture stored with it",
    }
    assert shown_size(own.shown.picture(3)) == (9, 9)
    folder = tmp_path / "folder"
    for name, label in (("0", "zebra"), ("1", "<b>"), ("3", "zebra"), ("12", "<b>")):
        put(folder / label / f"{name}.png", encoded(pixels(int(name), 9, 9)))
    by_name = read(folder).data.x[[2, 0, 3, 1]]  # "<b>" sorts before "zebra", and 12 after 1
    assert torch.allclose(own.data.x, by_name, atol=1e-6), "the same pictures as from files"


def test_a_large_stored_picture_is_shown_from_a_thumbnail(tmp_path: Path) -> None:
    images = [{"bytes": encoded(pixels(i, 200, 100)), "path": None} for i in range(4)]
    own = read_unchanged(hub(tmp_path, [pl.DataFrame({"image": images, "label": [0, 2, 0, 2]})], CLASSES))
    assert shown_size(own.shown.picture(0)) == (48, 96)
    assert own.data.x.shape == (4, 3, 32, 32)


def test_train_is_read_from_a_dict_of_splits(tmp_path: Path) -> None:
    hub(tmp_path / "train", [pictures_frame(0, [0, 0, 2, 2])], CLASSES)
    hub(tmp_path / "test", [pictures_frame(5, [0, 0, 2, 2, 2])], CLASSES)
    put(tmp_path / "dataset_dict.json", b'{"splits": ["test", "train"]}')
    assert len(read_unchanged(tmp_path).sources) == 4
    assert len(read_unchanged(tmp_path / "test").sources) == 5
    put(tmp_path / "dataset_dict.json", b'{"splits": ["test"]}')
    assert len(read_unchanged(tmp_path).sources) == 5
    put(tmp_path / "dataset_dict.json", b'{"splits": ["test", "dev"]}')
    with pytest.raises(TamisError, match='has the splits "test", "dev"; give the folder of one'):
        read_unchanged(tmp_path)


def test_pictures_stored_after_many_gaps_are_found(tmp_path: Path) -> None:
    values = [None] * 120 + [encoded(pixels(i)) for i in range(4)]
    frame = pl.DataFrame({"shape": [b"\x01"] * 124, "p": values, "l": [0, 1] * 62}, schema_overrides={"p": pl.Binary})
    frame.write_parquet(tmp_path / "t.parquet")
    assert read_unchanged(tmp_path / "t.parquet", label="l").sources == ("row 120", "row 121", "row 122", "row 123")


def test_a_table_beside_class_folders_is_read_where_its_label_is_named(tmp_path: Path) -> None:
    two_classes(tmp_path)
    pl.DataFrame({"e": [0.5, 1.0, 2.0, 4.0], "l": [0, 1, 0, 1]}).write_parquet(tmp_path / "embeddings.parquet")
    own = read_unchanged(tmp_path)
    assert own.kind == "pictures"
    assert own.names == ("cat", "dog")
    assert own.skipped == (("embeddings.parquet", "lies outside the class folders"),)
    assert read_unchanged(tmp_path, label="l").kind == "table"
    put(tmp_path / "dataset_info.json", b"{}")
    with pytest.raises(TamisError, match="name the column of labels"):
        read_unchanged(tmp_path)


def test_a_saved_table_and_its_cache_and_parquet_files(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1.0, 4.0, 2.0, 9.0], "label": [0, 2, 0, 2], "note": ["u", "v", "v", "u"]})
    features = {**CLASSES, "a": {"dtype": "float64", "_type": "Value"}}
    saved = read_unchanged(hub(tmp_path / "saved", [frame[:2], frame[2:]], features))
    assert saved.kind == "table"
    assert saved.names == ("zebra", "<b>")
    cache = hub(tmp_path / "cache", [], features)
    put(cache / "state.json", b"{}")
    frame.write_ipc_stream(cache / "set-train.arrow")
    frame[:2].write_ipc_stream(cache / "set-test.arrow")
    assert read_unchanged(cache).digest == saved.digest
    frame.write_ipc(cache / "set-train.arrow")
    assert read_unchanged(cache).digest == saved.digest, "Arrow's file format, too"
    for k in range(2):
        (tmp_path / "hub" / "data").mkdir(parents=True, exist_ok=True)
        frame[2 * k : 2 * k + 2].write_parquet(tmp_path / "hub" / "data" / f"train-0000{k}-of-00002.parquet")
    found = read_unchanged(tmp_path / "hub", label="label")
    assert found.names == ("0", "2"), "Parquet states no names"
    assert torch.equal(found.data.x, saved.data.x)


def test_a_parquet_file_of_pictures(tmp_path: Path) -> None:
    pictures_frame(0, [0, 1, 0, 1]).write_parquet(tmp_path / "t.parquet")
    assert read_unchanged(tmp_path / "t.parquet", label="label").data.x.shape == (4, 3, 9, 9)
    images = [*(encoded(pixels(i)) for i in range(5)), b"\x89PNG, and no more"]
    pl.DataFrame({"p": images, "l": [0, 1, 0, 2, 1, 2]}).write_parquet(tmp_path / "v.parquet")
    own = read_unchanged(tmp_path / "v.parquet", label="l")
    assert own.names == ("0", "1")
    assert own.skipped[1] == ("row 3", 'is the only example of the class "2"'), "the other cannot be read"
    pl.DataFrame({"p": [encoded(pixels(i)) for i in range(4)], "l": [0, 1, 0, 1]}).write_parquet(tmp_path / "u.parquet")
    assert read_unchanged(tmp_path / "u.parquet", label="l", limit=4).data.x.shape == (4, 3, 12, 12)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("state.json", b'{"_data_files": [{"filename": "../../secret.arrow"}]}', "which lies outside it"),
        ("state.json", b'{"_data_files": [{"filename": "gone.arrow"}]}', "names gone.arrow, and it is not there"),
        ("state.json", b"{", "state.json is no JSON"),
        ("dataset_info.json", b"\xff", "dataset_info.json is no JSON"),
        ("dataset_dict.json", b'{"splits": ["../.."]}', "which lies outside it"),
        ("data-00000-of-00001.arrow", b"ARROW1 and then nothing", "data-00000-of-00001.arrow cannot be read"),
        ("data-00000-of-00001.arrow", b"", "data-00000-of-00001.arrow cannot be read"),
        ("dataset_info.json", b"{}", 'name the column of labels as label=; there are "image", "label"'),
    ],
)
def test_saved_data_sets_that_are_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    folder = hub(tmp_path / "a" / "b", [pictures_frame(0, [0, 0, 2, 2])], CLASSES)
    put(tmp_path / "secret.arrow", b"")
    put(folder / name, content)
    with pytest.raises(TamisError, match=sentence):
        read_unchanged(folder)


def test_half_an_arrow_file_is_refused(tmp_path: Path) -> None:
    folder = hub(tmp_path, [pictures_frame(0, [0, 2] * 20)], CLASSES)
    path = folder / "data-00000-of-00001.arrow"
    put(path, path.read_bytes()[:-3000])
    with pytest.raises(TamisError, match="cannot be read"):
        read_unchanged(folder)


def test_all_pictures_unreadable_is_refused(tmp_path: Path) -> None:
    images = pl.Series([{"bytes": b"?", "path": None}] * 4)
    with pytest.raises(TamisError, match='none of the 4 pictures in column "image" can be read'):
        read_unchanged(hub(tmp_path, [pl.DataFrame({"image": images, "label": [0, 2, 0, 2]})], CLASSES))


def test_progress_of_stored_pictures(tmp_path: Path) -> None:
    told: list[float] = []
    gap = pl.DataFrame({"image": [{"bytes": None, "path": None}], "label": [0]}, schema=pictures_frame(0, []).schema)
    frames = [gap, pictures_frame(0, [0, 2] * 3), pictures_frame(9, [0])]
    read(hub(tmp_path, frames, CLASSES), progress=told.append)
    assert np.allclose(told, [*np.arange(1, 8) / 8, 1])


def test_files_of_different_columns_are_no_data_set(tmp_path: Path) -> None:
    pl.DataFrame({"a": [1, 2], "label": [0, 1]}).write_parquet(tmp_path / "1.parquet")
    pl.DataFrame({"b": ["u", "v"], "label": [0, 1]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(TamisError, match="cannot be read as a table"):
        read_unchanged(tmp_path, label="label")
    pl.DataFrame({"a": [[1], [2]], "label": [0, 1]}).write_parquet(tmp_path / "2.parquet")
    with pytest.raises(TamisError, match="its files do not hold the same columns"):
        read_unchanged(tmp_path, label="label")
