"""The pictures of an audit in the README and its guide are of the page as it is: made here, and compared with it.

``TAMIS_PICTURES=1 make test ARGS='-k pictures_of'`` makes them anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tamis
from tamis.corrupt import injector
from tamis.data import load, subset
from tamis.types import generator

ASSETS = Path(__file__).parents[1] / "docs" / "assets"
NAMES = ("T-shirt", "trousers", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audit of a folder of 2,000 pictures of Fashion-MNIST, 15 % of them in another class's folder."""
    place = tmp_path_factory.mktemp("pictures") / "pictures"
    clean = subset(load("fashion_mnist", normalised=False), 2_000, 123).train
    data, _ = injector("random_labels_exclusive", 0.15)(clean, generator(0, "corrupt"))
    low, high = data.x.min(), data.x.max()
    for name in NAMES:
        (place / name).mkdir(parents=True)
    for i, label in enumerate(data.y.tolist()):
        grey = ((data.x[i, 0] - low) / (high - low) * 255).round().byte()
        Image.fromarray(grey.numpy()).save(place / NAMES[label] / f"{i:04d}.png")
    out = place.parent / "out"
    tamis.audit(place, out=out, minutes=0.2)
    return out / "report.html"


@pytest.mark.parametrize(("name", "at"), [("audit", "top"), ("audit-gallery", "examples")])
def test_the_pictures_of_an_audit_are_of_the_page_as_it_is(
    name: str, at: str, page: Path, browser: Callable[..., Any], tmp_path: Path
) -> None:
    shown = browser(page, width=1200, height=760)
    shown.page.wait_for_timeout(300)
    if at != "top":
        shown.page.evaluate(f"document.getElementById('{at}').scrollIntoView()")
        shown.page.wait_for_timeout(700)
    made, kept = tmp_path / f"{name}.png", ASSETS / f"{name}.png"
    shown.page.screenshot(path=made)
    assert not shown.errors
    if os.environ.get("TAMIS_PICTURES") == "1":
        Image.open(made).quantize(256).save(kept, optimize=True)
    ours, theirs = coarse(made), coarse(kept)
    alike = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
    assert alike > 0.8, "the page has changed; make its pictures anew, as this file's first lines say"


def coarse(path: Path) -> np.ndarray[Any, Any]:
    """What is left of a picture where fonts and single points do not count."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("L").resize((60, 38), Image.Resampling.BOX), dtype=float)
