"""A Hugging Face data set on disk: ``save_to_disk`` folders, its cache, and folders of Parquet files.

Read without the ``datasets`` library: the Arrow files hold the rows, and ``dataset_info.json`` the class names.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis.own.base import reason, some
from tamis.own.rows import Table, damage
from tamis.types import TamisError

if TYPE_CHECKING:
    import polars as pl


def is_saved(folder: Path) -> bool:
    """Whether ``datasets`` wrote the folder, and not merely somebody a file of rows into it."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json", "state.json"))


def open_hub(folder: Path, where: str) -> Table | None:
    """The training split in a folder of Arrow or Parquet files, or None if the folder is none such.

    Of a ``DatasetDict`` the split ``train`` is read, or its only one.

    Raises:
        TamisError: if a listed file is missing, lies elsewhere or is damaged, or no split is called ``train``.
    """
    splits = _json(folder / "dataset_dict.json", where).get("splits")
    if isinstance(splits, list) and splits:
        split = "train" if "train" in splits else str(splits[0])
        if split != "train" and len(splits) > 1:
            raise TamisError(f"{where} has the splits {some(splits)}; give the folder of one of them.")
        return open_hub(_within(folder, split, where), where)
    info = _json(folder / "dataset_info.json", where)
    files = _files(folder, where)
    if not files:
        return None
    try:
        types = _rows(files[0], None, 0).schema
    except damage() as error:
        raise TamisError(f"{where}: {files[0].name} cannot be read ({reason(error)}).") from error
    return Table(where, types, tuple(partial(_rows, file) for file in files), folder, _class_names(info, types))


def _files(folder: Path, where: str) -> list[Path]:
    """The files of rows, in the order that ``state.json`` states; otherwise by name, those of ``train`` alone."""
    listed = _json(folder / "state.json", where).get("_data_files")
    if isinstance(listed, list) and listed:
        return [_within(folder, str(entry["filename"]), where) for entry in listed if isinstance(entry, dict)]
    found = sorted(folder.glob("*.arrow")) or sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))
    return [path for path in found if "train" in path.name] or found


def _within(folder: Path, name: str, where: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise TamisError(f"{where} names {name}, which lies outside it; a data set's files lie in its own folder.")
    if not path.exists():
        raise TamisError(f"{where} names {name}, and it is not there; copy the data set whole.")
    return path


def _json(path: Path, where: str) -> dict[str, Any]:
    """The object in a JSON file; empty if there is no such file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TamisError(f"{where}: {path.name} is no JSON ({reason(error)}); copy the data set anew.") from error
    return found if isinstance(found, dict) else {}


def _rows(path: Path, columns: Sequence[str] | None, most: int | None) -> pl.DataFrame:
    """Rows of an Arrow stream (what ``datasets`` writes), an Arrow file, or a Parquet file."""
    import polars as pl

    wanted = None if columns is None else list(columns)
    if path.suffix == ".parquet":
        return pl.read_parquet(path, columns=wanted, n_rows=most, glob=False)
    with path.open("rb") as stream:
        if stream.read(6) == b"ARROW1":
            stream.seek(0)
            return pl.read_ipc(stream, columns=wanted, n_rows=most)  # a path would be taken for a pattern
    return pl.read_ipc_stream(path, columns=wanted, n_rows=most)


def _class_names(info: dict[str, Any], types: Mapping[str, pl.DataType]) -> dict[str, tuple[str, ...]]:
    """The names of every ``ClassLabel`` column."""
    features = info.get("features")
    found = {}
    for column, feature in features.items() if isinstance(features, dict) else ():
        if column in types and isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            if isinstance(names, list) and names and len(set(map(str, names))) == len(names):
                found[column] = tuple(map(str, names))
    return found
