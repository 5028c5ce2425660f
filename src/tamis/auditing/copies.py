"""A corrected copy of a person's data: what it can be made of, whether that is still what was audited, and the copy.

Nothing in a copy is written anew but the labels that were changed, and each of those becomes the stored label of an
example that bears the name already: ``007`` stays ``007``, a boolean stays one. What was not audited stays as it was:
nobody has dropped it. The source is only read.
"""

from __future__ import annotations

import io
import re
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

import numpy as np

from tamis.auditing.copied_pictures import copy_pictures
from tamis.auditing.staying import Staying, changed, not_audited
from tamis.own.arrays import X_KEYS, Y_KEYS
from tamis.own.base import quoted, reason, some
from tamis.own.folder import class_root, holds_classes
from tamis.own.hub import is_saved
from tamis.own.labels import label_texts
from tamis.own.pictured import picture_column
from tamis.own.records import fields, meant, records
from tamis.own.rows import Table, damage
from tamis.own.table import SUFFIXES, labels_of, open_table, separator_of
from tamis.study.record import write_whole
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl

Write = Callable[[], str]
NAMES = ("data", "data.npz", *(f"data{suffix}" for suffix in SUFFIXES))
SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test", "val": "val", "valid": "val",
          "validation": "val", "dev": "dev", "eval": "eval", "holdout": "holdout", "heldout": "holdout"}  # fmt: skip
"""Words within an array's name that say of which part of the data it is."""


def free(place: Path) -> None:
    """Refuse where a copy is there already: a new list of what is kept, or a new copy, would not agree with the old.

    Args:
        place: the folder ``cleaned``.

    Raises:
        TamisError: naming the copy.
    """
    for name in NAMES:
        if (place / name).exists():
            raise TamisError(
                f"{place / name} is there already; move it away first, or it and a new kept.csv would not agree."
            )


def check_copy(data: Path, place: Path, label: str | None, text: str | None = None) -> None:
    """Refuse what no copy can be made of, before anybody waits for training; reads little and writes nothing.

    Args:
        data: the data's path. place: the folder ``cleaned``. label, text: as the audit was told.

    Raises:
        TamisError: a kind of data of which no copy is made, or a copy is there already.
    """
    import polars as pl

    kind = _kind(data, label)
    free(place)
    with _read(data):
        if kind == "arrays":
            _members(data, label)
        elif kind == "table":
            table, label = _table(data, label)
            column = picture_column(table, label) if text is None else None
            if column is not None and table.types[column] == pl.String:
                raise TamisError(_by_path(data))


def copy_of(data: Path, place: Path, label: str | None, verdicts: pl.DataFrame, kept: Sequence[Staying]) -> Write:
    """What writes the copy into ``place``, of data that were seen to be those of the audit; says then what it is.

    Args:
        data: the data's path. place: the folder ``cleaned``. label: as the audit was told. verdicts: its table.
        kept: what stays of the audited examples.

    Raises:
        TamisError: a kind of data of which no copy is made, or data that have changed.
    """
    kind = _kind(data, label)
    if kind != "pictures" and not verdicts["source"].str.contains("^row [0-9]+$").all():
        raise TamisError(_by_path(data))
    with _read(data):
        if kind == "pictures":
            return copy_pictures(data, place / "data", verdicts["source"].to_list(), kept)
        content, said = (_of_arrays if kind == "arrays" else _of_table)(data, label, _decided(verdicts, kept))
    return partial(_write, place / f"data{data.suffix.lower()}", content, said)


def _write(target: Path, content: bytes, said: str) -> str:
    write_whole(target, content)
    return f"{target}{said}"


def _kind(data: Path, label: str | None) -> Literal["pictures", "table", "arrays"]:
    if not data.exists():
        raise TamisError(
            f"there is no file or folder {data}, so no corrected copy of it can be made; leave --copy out, or give "
            "another path."
        )
    suffix = data.suffix.lower()
    with _read(data):
        if data.is_file() and suffix in SUFFIXES:
            return "table"
        if data.is_file() and suffix == ".npz":
            return "arrays"
        if data.is_dir() and label is None:
            root = class_root(data)[0]
            if not is_saved(data) and not is_saved(root) and holds_classes(root):
                return "pictures"
    raise TamisError(
        f"a corrected copy is made of a folder of pictures, a table or an .npz file, and {data} is none of them; leave "
        "--copy out: cleaned/kept.csv says what is kept, under which label."
    )


@contextmanager
def _read(data: Path) -> Iterator[None]:
    harm: tuple[type[BaseException], ...] = (*damage(), ValueError, EOFError, zipfile.BadZipFile, zlib.error)
    try:
        yield
    except TamisError:
        raise
    except harm as error:
        raise TamisError(f"{data} cannot be read, so no copy of it can be made ({reason(error)}).") from error


def _by_path(data: Path) -> str:
    return (
        f"{data} names its pictures by their paths, and of such a table no corrected copy is made; leave --copy out: "
        "cleaned/kept.csv says which paths are kept, under which label."
    )


# ---- Rows of a table or of arrays


@dataclass(frozen=True)
class _Decided:
    """What was decided of rows.

    Attributes:
        audited, given: the rows that were audited, and the labels that they had. gone: those that were dropped.
        bearer: of a row that is relabeled, the first row that bears its new label.
    """

    audited: list[int]
    given: list[str]
    gone: set[int]
    bearer: dict[int, int]

    def checked(self, data: Path, found: Sequence[str | None]) -> tuple[list[int], list[int], str]:
        """Which of all rows stay, where each has its label from, and what is to be said; ``found`` are all labels.

        Raises:
            TamisError: the labels are not those that were audited.
        """
        if max(self.audited) >= len(found) or [found[i] for i in self.audited] != self.given:
            raise changed(data)
        stay = [row for row in range(len(found)) if row not in self.gone]
        said = not_audited(len(found) - len(self.audited), "row")
        return stay, [self.bearer.get(row, row) for row in stay], said


def _decided(verdicts: pl.DataFrame, kept: Sequence[Staying]) -> _Decided:
    at = [int(source.removeprefix("row ")) for source in verdicts["source"]]
    given = verdicts["label_name"].to_list()
    first = dict(zip(reversed(given), reversed(at), strict=True))
    gone = set(at) - {at[one.index] for one in kept}
    return _Decided(at, given, gone, {at[one.index]: first[one.label] for one in kept if one.label != one.given})


def _table(data: Path, label: str | None) -> tuple[Table, str]:
    table = open_table(data, str(data))
    if label is None:
        raise TamisError(f"--label must name the label column of {data} for a corrected copy.")
    if label not in table.types:
        raise TamisError(f"{data} has no column {quoted(label)} for --label; name the one that was audited.")
    return table, label


def _of_table(data: Path, label: str | None, of: _Decided) -> tuple[bytes, str]:
    import polars as pl

    table, label = _table(data, label)
    stay, labels, said = of.checked(data, labels_of(table, label))
    if table.as_written is not None:
        return _records(data, list(table.types).index(label), table.as_written(label).to_list(), stay, of.bearer), said
    frame, content = pl.read_parquet(data, glob=False), io.BytesIO()
    frame[stay].with_columns(frame[label][labels]).write_parquet(content)
    return content.getvalue(), said


def _records(data: Path, column: int, written: list[str | None], stay: list[int], bearer: dict[int, int]) -> bytes:
    """The bytes of a text file as they are, without the lines that go, and with another line's cell for a new label."""
    content, separator = data.read_bytes(), separator_of(data, str(data)).encode()
    (_, body), *lines = records(content)

    def cells(row: int) -> tuple[list[bytes], bytes]:
        return fields(content[slice(*lines[row])], separator)

    told = len(lines) == len(written)
    for row, value in enumerate(written if told else ()):
        found = cells(row)[0][column : column + 1]
        told = told and (value is None or (len(found) == 1 and meant(found[0]) == value))
    if not told:
        raise TamisError(
            f"the lines of {data} cannot be told apart with certainty, so no corrected copy is made; save it anew as "
            "plain CSV, and audit that."
        )
    parts = [content[:body]]
    for row in stay:
        if row in bearer:
            own, end = cells(row)
            own[column] = cells(bearer[row])[0][column]
            parts.append(separator.join(own) + end)
        else:
            parts.append(content[slice(*lines[row])])
    return b"".join(parts)


# ---- Arrays


def _members(data: Path, label: str | None) -> tuple[str, set[str], list[str]]:
    """The member that holds the labels, those that are cut with it, and those as long that are of another split."""
    with zipfile.ZipFile(data) as pack:
        heads = {}
        for name in pack.namelist():
            if name.endswith(".npy"):
                with pack.open(name) as stream:
                    heads[name] = _head(stream)
    key = next((f"{key}.npy" for key in ((label,) if label else Y_KEYS) if f"{key}.npy" in heads), None)
    if key is None or not heads[key][0]:
        raise TamisError(f"--label must name the array of labels in {data} for a corrected copy.")
    audited = {key, *[f"{name}.npy" for name in X_KEYS if f"{name}.npy" in heads][:1]}
    ours = set().union(*(_splits(name) for name in audited))
    as_long = {name for name, (shape, _) in heads.items() if shape[:1] == heads[key][0][:1]}
    cut = audited | {name for name in as_long if _splits(name) <= ours}
    for name in sorted(cut):
        if heads[name][1].hasobject:
            raise TamisError(
                f"{data}: array {quoted(name[:-4])} holds a Python object for each example, which is never unpickled, "
                "so no corrected copy can be made; leave --copy out, or save it as a plain array."
            )
    return key, cut, sorted(name[:-4] for name in as_long - cut)


def _splits(member: str) -> set[str]:
    """The splits that an array's name marks by one of its words: ``x_test``, ``valLabels``, ``ytrain``.

    Example:
        >>> [sorted(_splits(name)) for name in ("X_test.npy", "valLabels.npy", "ytrain.npy", "latest_values.npy")]
        [['test'], ['val'], ['train'], []]
    """
    name = re.sub("(?i)(hold|held)[-_ ]out", r"\1out", member.removesuffix(".npy"))
    words = [word.lower() for word in re.findall("[A-Z]?[a-z]+|[A-Z]+", name)]
    return {SPLITS[part] for word in words for part in (word, re.sub("^[xy]", "", word)) if part in SPLITS}


def _head(stream: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    return shape, dtype


def _of_arrays(data: Path, label: str | None, of: _Decided) -> tuple[bytes, str]:
    """What has one entry for each example is cut to those that stay; everything else is taken over as it lies."""
    key, cut, whole = _members(data, label)
    content = io.BytesIO()
    with zipfile.ZipFile(data) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as new:
        with old.open(key) as stream:
            stay, labels, said = of.checked(data, label_texts(np.lib.format.read_array(stream), str(data)))
        for name in old.namelist():
            with old.open(name) as stream, new.open(name, "w", force_zip64=True) as out:
                if name in cut:
                    array = np.lib.format.read_array(stream)
                    np.lib.format.write_array(out, array[labels if name == key else stay], allow_pickle=False)
                else:
                    shutil.copyfileobj(stream, out)
    said += f"; {some(whole, 4)}, of another split, {'is' if len(whole) == 1 else 'are'} as before" if whole else ""
    return content.getvalue(), said
