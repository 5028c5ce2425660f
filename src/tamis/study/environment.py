"""What a reader needs to judge a study's numbers: versions, threads, device, commit, prices."""

from __future__ import annotations

import dataclasses
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from tamis.selection.cost import PriceList
from tamis.study.plan import Setting

PACKAGES = ("tamis", "torch", "numpy", "scipy", "polars", "scikit-learn")
PEERS = ("cleanlab",)  # named where they are installed


def environment(
    device: str, prices: dict[Setting, PriceList], earlier: Mapping[str, Any], command: str = ""
) -> dict[str, Any]:
    """The environment in plain values, as ``environment.json`` keeps it.

    Args:
        earlier: what it held before, where a study goes on: its commits stay named, and peers that are gone since.
        command: what was asked for, as a reader would type it; "" where a study was called from Python.
    """
    commits = [*str(earlier.get("commit", "")).split(), _commit()]
    known = dict(earlier.get("versions", {}))
    peers = {name: found for name in PEERS if (found := _version(name, known.get(name, "")))}
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}, **peers},
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": _processor(device),
        "device": device,
        "threads_per_run": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "commit": " ".join(dict.fromkeys(commits)),
        "command": command,
        "prices": [
            {"dataset": s.dataset, "model": s.model, "width": s.width, "batch": s.recipe.batch, **dataclasses.asdict(p)}
            for s, p in prices.items()
        ],
    }


def _version(name: str, otherwise: str = "unknown") -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return otherwise


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def _commit() -> str:
    """The commit of a checkout that tracks this file; an installed copy inside another repository has none."""

    def git(*words: str) -> str:
        here = Path(__file__).parent
        answer = subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, timeout=5, check=True)
        return answer.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)
        return git("rev-parse", "HEAD")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
