"""Records on disk: one checksummed file a run, whole or not there; tables are gathered from them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tamis.study.noise import mix, while_selecting
from tamis.types import TamisError

RUN_COLUMNS: dict[str, Any] = {
    "run": pl.String, "plan": pl.String, "dataset": pl.String, "size": pl.Int64, "model": pl.String,
    "corruption": pl.String, "rate": pl.Float64, "realised_rate": pl.Float64, "policy": pl.String,
    "role": pl.String, "control": pl.String, "seed": pl.Int64, "budget": pl.Float64, "budget_unit": pl.String,
    "batch": pl.Int64, "test_error": pl.Float64, "worst_class_error": pl.Float64, "best_test_error": pl.Float64,
    "candidates": pl.Int64, "forwards": pl.Int64, "backwards": pl.Int64, "steps": pl.Int64, "selections": pl.Int64,
    "cost": pl.Float64, "noise_share": pl.Float64, "noise_share_predicted": pl.Float64,
    "noise_share_open_loop": pl.Float64, "noise_share_worst_case": pl.Float64, "status": pl.String,
    "error": pl.String,
}  # fmt: skip
CURVE_COLUMNS: dict[str, Any] = {
    "run": pl.String, "point": pl.Int64, "passes": pl.Float64, "candidates": pl.Int64, "forwards": pl.Int64,
    "backwards": pl.Int64, "steps": pl.Int64, "cost": pl.Float64, "test_error": pl.Float64,
    "worst_class_error": pl.Float64, "warmup": pl.Boolean, "selecting": pl.Float64, "noise_share": pl.Float64,
    "noise_share_predicted": pl.Float64, "noise_share_open_loop": pl.Float64, "noise_fitted": pl.Float64,
}  # fmt: skip
SCORE_KEYS = {
    "run": pl.String, "dataset": pl.String, "size": pl.Int64, "model": pl.String, "corruption": pl.String,
    "rate": pl.Float64, "seed": pl.Int64,
}  # fmt: skip
SCORE_COLUMNS = {
    **SCORE_KEYS, "score": pl.String, "auroc": pl.Float64, "auroc_hardest": pl.Float64, "trainings": pl.Float64,
}  # fmt: skip
SEPARATION_KEYS = {
    **SCORE_KEYS, "policy": pl.String, "realised_rate": pl.Float64, "cost": pl.Float64,
}  # fmt: skip
SEPARATION_COLUMNS: dict[str, Any] = {
    **SEPARATION_KEYS, "runs": pl.Float64, "auroc": pl.Float64, "auroc_hardest": pl.Float64,
    "rate_estimated": pl.Float64, "rate_low": pl.Float64, "rate_high": pl.Float64, "rate_covered": pl.Float64,
    "calibration_error": pl.Float64, "suggested_right": pl.Float64,
    **{f"{name}_{target}": pl.Float64 for target in ("05", "10", "20") for name in ("flagged", "fdr", "recall")},
}  # fmt: skip
RELIABILITY_COLUMNS = {
    "run": pl.String, "bin": pl.Int64, "count": pl.Int64, "predicted": pl.Float64, "realised": pl.Float64,
}  # fmt: skip
NOTE_COLUMNS = {
    "run": pl.String, "passes": pl.Int64, "noise_rate": pl.Float64, "left_out": pl.Float64, "now": pl.String,
    "learnt": pl.String,
}  # fmt: skip
TIMING_COLUMNS: dict[str, Any] = {
    "run": pl.String, "train_seconds": pl.Float64, "evaluate_seconds": pl.Float64, "total_seconds": pl.Float64,
}  # fmt: skip


def write_whole(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or the new one, never a part: temporary, flushed, renamed.

    Raises:
        TamisError: the disk is full or the place cannot be written; nothing is left behind.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        part = Path(name)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.chmod(0o666 & ~_umask())  # a temporary file is its owner's alone; a record is as open as any other file
        part.replace(path)
    except BaseException as error:
        if part is not None:
            part.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise TamisError(
                f"{path} could not be written ({error.strerror}); make room there and run the same command again."
            ) from error
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: Path, content: Any) -> None:
    """Plain values as sorted, indented JSON; NaN is written as null."""
    write_whole(path, (json.dumps(_plain(content), indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def write_run(path: Path, content: Mapping[str, Any]) -> None:
    """One finished run, with its checksum."""
    body = json.dumps(_plain(content), sort_keys=True, allow_nan=False)
    write_whole(path, json.dumps({"sha256": hashlib.sha256(body.encode()).hexdigest(), "record": body}).encode())


def read_run(path: Path) -> dict[str, Any] | None:
    """A finished run, or None where the file is not one whole record (cut short, altered, another thing)."""
    try:
        outer = json.loads(path.read_bytes())
        body = outer["record"]
        if hashlib.sha256(body.encode()).hexdigest() != outer["sha256"]:
            return None
        record = json.loads(body)
        return record if isinstance(record, dict) and {"row", "curve", "timing"} <= record.keys() else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def write_parquet(path: Path, frame: pl.DataFrame) -> None:
    """A table, whole or not there."""
    buffer = io.BytesIO()
    frame.write_parquet(buffer, compression="zstd", compression_level=9)
    write_whole(path, buffer.getvalue())


def gather(out: Path, records: Iterable[Mapping[str, Any]]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Write ``runs.parquet``, ``curves.parquet`` and ``timings.parquet`` from finished runs; returns the first two.

    Where a run has scores, separations or a guard's notes, they become a table of their own beside these. The open loop
    is joined here: a method's predicted share comes from the losses of the standard run of its cell.
    """
    records = sorted(records, key=lambda record: record["order"])
    open_loop = {
        (json.dumps(record["cell"]), label): prediction
        for record in records
        if record["row"]["role"] == "standard" and record["row"]["status"] == "ok"
        for label, prediction in record["open_loop"].items()
    }
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    for record in records:
        row, curve = dict(record["row"]), [dict(point) for point in record["curve"]]
        shares = open_loop.get((json.dumps(record["cell"]), row["policy"])) if row["role"] != "control" else None
        if shares is not None and len(shares) == len(curve):  # a run of few steps has few points
            for point, share in zip(curve, shares, strict=True):
                point["noise_share_open_loop"] = mix(share, point["selecting"] or 0.0, row["realised_rate"])
            row["noise_share_open_loop"] = while_selecting(curve, "noise_share_open_loop")
        rows.append(row)
        curves.extend({"run": row["run"], **point} for point in curve)
    runs = pl.DataFrame(rows, schema=RUN_COLUMNS)
    points = pl.DataFrame(curves, schema=CURVE_COLUMNS)
    timings = [{"run": r["row"]["run"], **{k: r["timing"].get(k) for k in list(TIMING_COLUMNS)[1:]}} for r in records]
    found = [
        {key: record["row"].get(key) for key in SCORE_KEYS} | score
        for record in records
        for score in record.get("scores", ())
    ]
    if found:
        write_parquet(out / "scores.parquet", pl.DataFrame(found, schema=SCORE_COLUMNS))
    separated = [record for record in records if "separation" in record]
    if separated:
        rows = [{key: r["row"].get(key) for key in SEPARATION_KEYS} | r["separation"] for r in separated]
        bins = [{"run": r["row"]["run"], **part} for r in separated for part in r["reliability"]]
        write_parquet(out / "separations.parquet", pl.DataFrame(rows, schema=SEPARATION_COLUMNS))
        write_parquet(out / "reliability.parquet", pl.DataFrame(bins, schema=RELIABILITY_COLUMNS))
    notes = [{"run": record["row"]["run"], **note} for record in records for note in record.get("notes", ())]
    if notes:
        write_parquet(out / "notes.parquet", pl.DataFrame(notes, schema=NOTE_COLUMNS))
    write_parquet(out / "runs.parquet", runs)
    write_parquet(out / "curves.parquet", points)
    write_parquet(out / "timings.parquet", pl.DataFrame(timings, schema=TIMING_COLUMNS))
    return runs, points


def _plain(value: Any) -> Any:
    """Plain JSON values; a number that is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    if hasattr(value, "item"):
        return _plain(value.item())
    return value
