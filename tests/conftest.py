"""What every test may use. Nothing here seeds a global generator: randomness is an argument in Tamis."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

# One thread per worker: two workers on two cores then do not wait for each other, and sums do not depend on the cores.
# The variables reach the programs that tests start; they must stand before torch and polars are imported.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")

import hypothesis
import numpy as np
import pytest
import torch

if TYPE_CHECKING:
    from playwright.sync_api import Page

torch.set_num_threads(1)

# No deadline (the cores are shared), and the same examples on every run: a failure seen once is seen again.
hypothesis.settings.register_profile("tamis", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("tamis")

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def _global_state() -> dict[str, object]:
    """The global state that Tamis must leave as it finds it, in values that compare with ``==``."""
    name, keys, *rest = np.random.get_state()  # noqa: NPY002 - the legacy generator is what is watched
    return {
        "random": random.getstate(),
        "numpy.random": (name, keys.tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "torch.cuda": [s.numpy().tobytes() for s in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_initialized()
        else [],
        "torch's default dtype": torch.get_default_dtype(),
        "torch's threads": torch.get_num_threads(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


@pytest.fixture
def unchanged_globals() -> Iterator[None]:
    """Fails the test if it moves a global generator (python, numpy, torch) or a global setting of torch."""
    before = _global_state()
    yield
    after = _global_state()
    moved = [name for name in before if before[name] != after[name]]
    assert not moved, f"global state was changed: {', '.join(moved)}"


@dataclass
class Shown:
    """A page as the browser shows it.

    Attributes:
        page: Playwright's page: ``shown.page.inner_text("h1")``, ``shown.page.screenshot(path=...)``.
        errors: console errors, uncaught exceptions and failed requests, in the order they came.
        requests: addresses the page asked for that are not files or data; a report that opens offline has none.
    """

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


def _chromium() -> str:
    """The path of a Chromium. Without one the test fails, or is skipped where that was asked for and explained."""
    if os.environ.get("TAMIS_NO_BROWSER") == "1":
        reason = os.environ.get("TAMIS_NO_BROWSER_REASON", "").strip()
        if not reason:
            pytest.fail(
                "TAMIS_NO_BROWSER=1 needs a reason: say in TAMIS_NO_BROWSER_REASON why pages go untested.",
                pytrace=False,
            )
        pytest.skip(f"TAMIS_NO_BROWSER=1: {reason}")
    asked = os.environ.get("TAMIS_CHROMIUM")
    found = next(filter(None, map(shutil.which, [asked] if asked else CHROMIUM)), None)
    if found is None:
        pytest.fail(
            f"no Chromium here ({asked or ', '.join(CHROMIUM)}): 'apt-get install chromium', or name one in "
            "TAMIS_CHROMIUM, or set TAMIS_NO_BROWSER=1 and say why in TAMIS_NO_BROWSER_REASON.",
            pytrace=False,
        )
    return found


@pytest.fixture(scope="session")
def browser() -> Iterator[Callable[..., Shown]]:
    """A headless Chromium: ``shown = browser(path, width=390, height=844)`` opens a page and collects what goes wrong.

    A path is opened as a file, as a reader does who double-clicks it; a string is taken as an address. Every call gets
    a context of its own (no shared storage), offline but for files. ``dark=True`` asks for the dark scheme.
    """
    path = _chromium()
    from playwright.sync_api import sync_playwright

    # As root Chromium starts without its sandbox only; it shows nothing but our own pages.
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--no-first-run",
    ]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)

        def show(address: Path | str, width: int = 1280, height: int = 800, dark: bool = False) -> Shown:
            scheme = "dark" if dark else "light"
            context = chromium.new_context(
                viewport={"width": width, "height": height}, color_scheme=scheme, offline=True
            )
            shown = Shown(context.new_page())
            page, errors = shown.page, shown.errors
            page.on("console", lambda m: errors.append(f"console: {m.text}") if m.type == "error" else None)
            page.on("pageerror", lambda e: errors.append(f"exception: {e}"))
            page.on("requestfailed", lambda r: errors.append(f"request failed: {r.url}"))
            page.on(
                "request",
                lambda r: (
                    None if r.url.startswith(("file:", "data:", "blob:", "about:")) else shown.requests.append(r.url)
                ),
            )
            page.goto(address.resolve().as_uri() if isinstance(address, Path) else address)
            return shown

        yield show
        chromium.close()
