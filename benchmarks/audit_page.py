"""How soon the page of an audit of 200,000 rows can be used, with WebGL and without.

Claim: under 3 s from the double click to cards that can be decided and a map that is drawn, and at most 1 s of that
the page's processor; on two quiet cores 0.9-1.1 s with WebGL drawn in software and 0.9-1.0 s with 2D, 0.5-0.7 s of it.
On two cores with ten times their load the wall clock said 1.9-7 s.

    python benchmarks/audit_page.py [ROWS]

Needs Chromium. Prints, for each way of drawing, wall seconds to open and the processor seconds of the page's own
thread, which a busy machine does not stretch; then milliseconds from a click to the changed page.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from playwright.sync_api import Page, sync_playwright

from tamis.report.audit import Shown, write_audit_page

CLASSES, REPEATS = 100, 3
NO_WEBGL = """const ask = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return kind.startsWith('webgl') ? null : ask.call(this, kind, ...rest);
};"""
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
DEEDS = {
    "show all": "[...document.querySelectorAll('#kinds button')].at(-1).click()",
    "sort": "const s = document.querySelector('#sort'); s.value = 'confidence'; s.dispatchEvent(new Event('change'))",
    "brush": "const y = document.querySelector('#y1'); y.value = .2; "
    "y.dispatchEvent(new Event('input', {bubbles: true}))",
    "turn": "document.querySelector('#next').click()",
}


def results(rows: int) -> pl.DataFrame:
    """A table such as an audit of features gives: every column filled."""
    draw = np.random.default_rng(0)
    confidence, label = draw.beta(2, 1, rows), draw.integers(0, CLASSES, rows)
    p, other = (1 - confidence) ** 3, (label + 1) % CLASSES
    return pl.DataFrame(
        {
            "index": np.arange(rows),
            "source": [f"row {i} of features.npy" for i in range(rows)],
            "label": label,
            "p_mislabeled": p,
            "p_ambiguous": draw.random(rows),
            "p_rare": draw.random(rows) ** 9,
            "kind": np.where(p > 0.5, "mislabeled", "clean").tolist(),
            "suggested_label": other,
            "p_suggested": p,
            "flagged": p > 0.8,
            "reasons": [f"p(label) {c:.2f}; p(class {k}) {1 - c:.2f}" for c, k in zip(confidence, other, strict=True)],
            "confidence": confidence,
            "variability": np.sqrt(confidence * (1 - confidence)) * draw.random(rows),
        }
    )


def timed(page: Page, deed: str) -> int:
    """Milliseconds until the browser has painted what a deed changed."""
    wait = "await new Promise(done => requestAnimationFrame(() => setTimeout(done)))"
    return page.evaluate(f"async () => {{ const t = performance.now(); {deed}; {wait}; return performance.now() - t }}")


def opened(browser: Any, path: Path, webgl: bool) -> tuple[float, float, dict[str, float]]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    page = context.new_page()
    meter = context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    if not webgl:
        page.add_init_script(NO_WEBGL)
    start = time.perf_counter()
    page.goto(path.as_uri())
    while not page.evaluate("!!document.querySelector('.card') && !!document.querySelector('#plot').dataset.drawn"):
        time.sleep(0.01)
    wall = time.perf_counter() - start
    used = next(m["value"] for m in meter.send("Performance.getMetrics")["metrics"] if m["name"] == "TaskDuration")
    found = {name: timed(page, deed) for name, deed in DEEDS.items()}
    context.close()
    return wall, used, found


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        start = time.perf_counter()
        path = write_audit_page(
            Path(folder) / "report.html", summary={"title": f"{rows:,} rows", "examples": rows}, table=results(rows),
            names=[f"class {k}" for k in range(CLASSES)], show=lambda i: Shown(cells=(("row", str(i)),)),
        )  # fmt: skip
        print(f"{rows:,} rows: {path.stat().st_size / 1e6:.1f} MB, written in {time.perf_counter() - start:.1f} s")
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        for webgl in (True, False):
            for _ in range(REPEATS):
                wall, used, found = opened(browser, path, webgl)
                deeds = ", ".join(f"{name} {ms:.0f} ms" for name, ms in found.items())
                print(f"{'WebGL' if webgl else '2D'}: open {wall:.2f} s, {used:.2f} s of the page's processor; {deeds}")
        browser.close()


if __name__ == "__main__":
    main()
