"""Time and memory of `tamis audit`, end to end, on 200,000 rows of features: reading, training, verdicts, the page.

Claim: under 4 GB at the peak, from each kind of file, and a page of 200,000 rows.

    python benchmarks/audit_scale.py                    # each kind of file, 200,000 rows of 64 numbers, ten classes
    python benchmarks/audit_scale.py 20000 csv          # fewer rows, one kind

The rows are made up: a cloud for each class and a tenth of the labels exchanged. Every audit is a process of its own;
memory is the largest that it held at once, as the kernel says. Prints seconds and gigabytes, exits with 1 where 4 GB
are passed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl

ROWS, COLUMNS, CLASSES, WRONG = 200_000, 64, 10, 0.1
LIMIT = 4.0  # GB
KINDS = ("npz", "parquet", "csv")


def write(kind: str, rows: int, place: Path) -> Path:
    """A file of made-up rows."""
    draw = np.random.default_rng(0)
    label = draw.integers(0, CLASSES, rows)
    x = draw.normal(size=(rows, COLUMNS)).astype(np.float32)
    x += draw.normal(size=(CLASSES, COLUMNS)).astype(np.float32)[label]
    given = np.where(draw.random(rows) < WRONG, (label + draw.integers(1, CLASSES, rows)) % CLASSES, label)
    path = place / f"features.{kind}"
    if kind == "npz":
        np.savez(path, x=x, y=given)
        return path
    table = pl.DataFrame({f"c{i}": x[:, i] for i in range(COLUMNS)} | {"label": [f"class {k}" for k in given]})
    if kind == "csv":
        table.write_csv(path)
    else:
        table.write_parquet(path)
    return path


def main(rows: int, kinds: tuple[str, ...]) -> int:
    passed = False
    for kind in kinds:
        with tempfile.TemporaryDirectory() as place:
            path = write(kind, rows, Path(place))
            label = [] if kind == "npz" else ["--label", "label"]
            command = [sys.executable, "-m", "tamis", "audit", path.name, "--out", "out", "--minutes", "3", *label]
            start = time.perf_counter()
            process = subprocess.Popen(command, cwd=place, stdout=subprocess.DEVNULL, env={**os.environ})
            _, status, used = os.wait4(process.pid, 0)
            seconds, gigabytes = time.perf_counter() - start, used.ru_maxrss / 2**20
            page = Path(place, "out", "report.html")
            said = f"page {page.stat().st_size / 1e6:.0f} MB" if page.exists() else f"no page, status {status}"
        passed |= gigabytes > LIMIT or status != 0
        print(f"{rows} rows of {COLUMNS}, {kind}: {seconds:.0f} s, {gigabytes:.2f} GB at the peak, {said}", flush=True)
    return int(passed)


if __name__ == "__main__":
    asked = sys.argv[1:]
    sys.exit(main(int(asked[0]) if asked else ROWS, tuple(asked[1:]) or KINDS))
