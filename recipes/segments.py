"""A table with seven classes, for the study of separation: 2,310 patches of outdoor pictures, 18 numbers each.

    pip install river                      # its wheel holds the table; nothing else of it is used
    python recipes/segments.py segments.npz
    tamis study recipes/separation_others.toml   # it wants glosses.npz as well

Reference: UCI Image Segmentation, Vision Group, University of Massachusetts, 1990.
"""

from __future__ import annotations

import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np


def table() -> list[str]:
    """The lines of the table, its head first."""
    found = find_spec("river")
    if found is None or found.origin is None:
        sys.exit("segments.py needs river's wheel, which holds the table: pip install river")
    with zipfile.ZipFile(Path(found.origin).parent / "datasets" / "segment.csv.zip") as packed:
        return packed.read(packed.namelist()[0]).decode().splitlines()


def main(out: str) -> None:
    rows = [line.rsplit(",", 1) for line in table()[1:]]
    x = np.array([[float(value) for value in values.split(",")] for values, _ in rows], np.float32)
    np.savez_compressed(out, x=x, y=np.array([name for _, name in rows]))
    print(f"{out}: {len(x)} rows of {x.shape[1]} numbers")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "segments.npz")
