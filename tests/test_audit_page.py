"""The page of an audit as a browser shows it: the verdict, the map, the gallery, the decisions, and nothing unsafe."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

import tamis
from tamis.audit_view import headline
from tamis.auditing.audit import Audit, _table, _transition
from tamis.cli import main
from tamis.own.reading import from_arrays
from tamis.report.audit import LONGEST, MOST_CELLS, WIDEST, Shown, render, unprotected, write_audit_page
from tamis.report.audit_told import told
from tamis.report.audit_words import FULL_MATRIX
from tamis.report.audit_words import _transition as confusions
from tamis.separation.evidence import Evidence
from tamis.separation.separate import LITTLE, separate
from tamis.types import TamisError

EVIL = "<script>alert(1)</script>\"'&\u2028</script ><!--<script /"
NAMES = ["cat", "dog", '=1+2, "owl"', "@fox"]
KINDS = ["clean", "mislabeled", "duplicate", "ambiguous"]
ROWS = 240
NO_WEBGL = """const ask = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
    return kind.startsWith('webgl') ? null : ask.call(this, kind, ...rest);
};"""


def png(width: int, height: int, grey: int) -> bytes:
    """A plain grey PNG, written by hand."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = zlib.compress((b"\0" + bytes([grey]) * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def table(rows: int = ROWS) -> pl.DataFrame:
    """Every fourth row is mislabeled, some are duplicates of the row before or ambiguous; numbers are plain to see."""
    index = [10 * k + 3 for k in range(rows)]  # an index is not a row
    kind = ["mislabeled" if k % 4 == 1 else KINDS[2 + k % 2] if k % 12 in (6, 7) else "clean" for k in range(rows)]
    kind = ["duplicate" if k % 12 == 6 else "ambiguous" if k % 12 == 7 else one for k, one in enumerate(kind)]
    wrong = [one == "mislabeled" for one in kind]
    p = [0.99 - k / (4 * rows) if w else 0.02 for k, w in enumerate(wrong)]
    return pl.DataFrame(
        {
            "index": index,
            "source": [f"{NAMES[k % 4][:3]}/file_{k}.png" for k in range(rows)],
            "label": [k % 4 for k in range(rows)],
            "p_mislabeled": p,
            "p_duplicate": [0.97 if one == "duplicate" else None for one in kind],
            "p_ambiguous": [0.9 if one == "ambiguous" else 0.1 for one in kind],
            "kind": kind,
            "suggested_label": [(k + 1) % 4 for k in range(rows)],
            "p_suggested": p,
            "flagged": [one in ("mislabeled", "duplicate") for one in kind],
            "reasons": [f"seen {k} times; p({NAMES[k % 4]}) 0.10" for k in range(rows)],
            "confidence": [0.02 + k / (8 * rows) if w else 0.9 - 0.3 * (k % 3) for k, w in enumerate(wrong)],
            "variability": [0.05 + k / (8 * rows) if w else 0.2 + k / (5 * rows) for k, w in enumerate(wrong)],
            "neighbour": [index[k - 1] if one == "duplicate" else None for k, one in enumerate(kind)],
        }
    )


def summary(**other: Any) -> dict[str, Any]:
    rates = zip(NAMES, (0.1, 0.42, 0.2, 0.1), strict=True)
    classes = [{"name": name, "examples": 60, "noise_rate": rate, "flagged": 20} for name, rate in rates]
    return {
        "title": "Animals of a house",
        "examples": ROWS,
        "classes": 4,
        "kind": "pictures",
        "noise_rate": 0.205,
        "noise_interval": [0.181, 0.234],
        "flagged": 80,
        "fdr": 0.05,
        "per_class": classes,
        "transition": [[0.8, 0.1, 0.06, 0.04], [0.1, 0.9, 0, 0], [0.3, 0, 0.7, 0], [0, 0, 0.0001, 0.9999]],
        "missing": ["Rare examples were not looked for."],
        "skipped": [["dog/broken.png", "cut off after 12 bytes"]],
        "prioritisation": {
            "verdict": "hurts", "words": "Selection would drill the noise.", "selected_share": 0.5,
            "noise_among_selected": 0.37, "base_rate": 0.205, "use": "guarded(keep=0.5)",
        },
        "costs": {"epochs": 12, "seconds": 34.5},
        "versions": {"tamis": "9.9", "torch": "2.4"},
        "command": "tamis audit animals --seed 3",
        **other,
    }  # fmt: skip


def picture(index: int) -> Shown:
    return Shown(picture=png(28, 28, index % 256))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "report.html"
    return write_audit_page(path, summary=summary(), table=table(), names=NAMES, show=picture)


def until(shown: Any, script: str) -> None:
    """Wait until a script says yes. The page allows no eval, which Playwright's own waiting needs."""
    for _ in range(400):
        if shown.page.evaluate(script):
            return
        shown.page.wait_for_timeout(25)
    pytest.fail(f"still not so after ten seconds: {script}")


def ready(shown: Any) -> Any:
    until(shown, "!document.getElementById('plot') || !!document.getElementById('plot').dataset.drawn")
    return shown


@pytest.fixture(scope="module")
def still(browser: Callable[..., Any], page: Path) -> Any:
    """One page for all tests that only look."""
    return ready(browser(page))


@pytest.fixture
def shown(browser: Callable[..., Any], page: Path) -> Any:
    return ready(browser(page))


def before(browser: Callable[..., Any], page: Path, script: str) -> Any:
    """The page in a browser in which ``script`` ran first."""
    found = browser("about:blank")
    found.page.add_init_script(script)
    found.page.goto(page.resolve().as_uri())
    return ready(found)


def indices(shown: Any) -> list[int]:
    return [int(text[1:]) for text in shown.page.locator(".card .index").all_inner_texts()]


def status(shown: Any) -> str:
    return shown.page.inner_text("#status")


def press(shown: Any, *keys: str) -> None:
    for key in keys:
        shown.page.keyboard.press(key)


def current(shown: Any) -> int:
    """The index of the example that has the focus."""
    return int(shown.page.evaluate("document.activeElement.querySelector('.index').textContent")[1:])


def exported(shown: Any) -> tuple[str, list[list[str]]]:
    with shown.page.expect_download() as waiting:
        shown.page.click("#export")
    assert waiting.value.suggested_filename == "decisions.csv"
    text = Path(waiting.value.path()).read_text("utf-8-sig")
    header, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["index", "source", "decision", "label"]
    return text, rows


# ---- What it says


def test_the_page_opens_offline_without_an_error(still: Any, page: Path) -> None:
    assert (still.errors, still.requests) == ([], [])
    assert still.page.inner_text("h1") == "Animals of a house"
    assert still.page.locator(".card").count() == 60
    assert not re.search(r"""(?:src|href)=["'](?!data:|#)""", page.read_text("utf-8").split("<script")[0])


def test_the_verdict_stands_in_plain_words(still: Any) -> None:
    text = still.page.inner_text("main").replace("\u00a0", " ")
    for words in (
        "20.5 % of the labels are probably wrong, some 49 of 240.",
        "95 % interval: 18.1 to 23.4 %",
        "80 examples are flagged: 60 mislabeled and 20 duplicate.",
        "About 5 % of them, at most, are expected to be clean.",
        "Most often in dog (42 %).",
        "about 20 of every 100 examples of each pass would teach a wrong label",
        "Prioritise by loss? No, it would hurt here",
        "Selection would drill the noise.",
        "Suspected noise, where 50 % of the examples are selected",
        "37.0 %",
        "Use instead guarded(keep=0.5)",
        "Rare examples were not looked for.",
        "1 skipped",
        "cut off after 12 bytes",
        "tamis audit animals --seed 3",
    ):
        assert words in text, words
    facts = still.page.locator("section:has(#run) dl").inner_text().split("\n")
    assert facts == ["epochs", "12", "seconds", "34.5", "tamis", "9.9", "torch", "2.4"]


@pytest.mark.parametrize(
    ("verdict", "words", "use"),
    [
        ("helps", "Prioritise by loss? Yes, it would help here", "Use uniform"),
        ("no difference", "It would make no difference here", "Use uniform"),
        ("unknown", "could not be told", "Use uniform"),
        (None, "could not be told", "Use uniform"),
    ],
)
def test_every_verdict_has_its_words(verdict: str | None, words: str, use: str) -> None:
    said = {"verdict": verdict, "words": "", "noise_among_selected": None, "base_rate": None, "use": "uniform"}
    html = render(summary=summary(prioritisation=said), table=table(12), names=NAMES, show=picture)
    text = re.sub(r"<[^>]+>", "", html.split('<section aria-labelledby="map">')[0])
    assert words in text
    assert use in text
    assert "Suspected noise" not in text


def test_noise_that_is_spread_or_absent_is_said_as_it_is() -> None:
    even = [{"name": n, "examples": 9, "noise_rate": r, "flagged": 1} for n, r in (("a", 0.2), ("b", 0.21))]
    html = render(summary=summary(per_class=even), table=table(12), names=NAMES, show=picture)
    assert "In all classes alike, from a (20\u00a0%) to b (21\u00a0%)." in html
    assert "1 example is flagged as mislabeled." in render(summary={}, table=table(5), names=NAMES, show=picture)
    html = render(summary=summary(noise_rate=float("nan")), table=table(12), names=NAMES, show=picture)
    assert "How many labels are wrong could not be told" in html
    clean = table(12).with_columns(flagged=False, kind=pl.lit("clean"))
    html = render(summary=summary(noise_rate=0.0, per_class=[]), table=clean, names=NAMES, show=picture)
    assert "No example is flagged." in html
    assert "fewer than one in 200" in html
    assert "about 0 of" not in html


DOUBT = f"{LITTLE}: networks agree on 29 % of them. The noise rate may come out high."


def in_short(**other: Any) -> Audit:
    """An audit of which the summary alone is known, for what a terminal says of it."""
    whole = summary(kinds={"clean": 180, "mislabeled": 60}, **other)
    return Audit(table(), whole, tuple(NAMES), None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("agreed", "examples", "reason"),
    [
        (29, 240, "agree with those that did on 29 % of them, where 25 % would be by chance."),
        (54, 240, "agree with those that did on 54 % of them, where 25 % would be by chance."),
        (56, 240, None),  # four tenths of the way from a quarter to all is .55
        (70, 16, None),
        (66, 4, "agree with those that did on 66 % of them, which with 4 examples may be luck."),  # up to .25 + .43
    ],
)
def test_no_rate_is_told_where_networks_hardly_agree_more_often_than_by_chance(
    agreed: int, examples: int, reason: str | None
) -> None:
    found = told(summary(agreement=[agreed / 100, 0.25]), NAMES, examples)
    assert (found.rate is None) == (found.why is not None) == (reason is not None)
    assert reason is None or reason in str(found.why)


def test_where_nothing_was_learnt_the_page_and_the_terminal_give_no_number_as_a_fact(
    browser: Callable[..., Any], tmp_path: Path
) -> None:
    known = summary(missing=["Rare examples were not looked for.", DOUBT], agreement=[0.29, 0.25])
    shown = browser(write_audit_page(tmp_path / "r.html", summary=known, table=table(), names=NAMES, show=picture))
    verdict = shown.page.inner_text("section:has(#verdict)").replace("\u00a0", " ")
    assert shown.page.inner_text(".headline").split("\n")[0].startswith("How many labels are wrong could not be told.")
    assert "The networks learnt too little: those that did not train on an example agree" in verdict
    assert "29 % of them, where 25 % would be by chance" in verdict
    assert "80 examples are flagged: 60 mislabeled and 20 duplicate. How many of them are right after all" in verdict
    assert "Prioritise by loss? That could not be told" in verdict
    for number in ("20.5", "18.1", "23.4", "37.0", "42 %", "probably wrong", "guarded", "at most", "drill"):
        assert number not in verdict, number
    assert shown.page.locator("table.heat, .evidence").count() == 0
    assert shown.page.locator(".classes tbody th").all_inner_texts() == NAMES  # and not by their rates
    assert "no probability at its word" in shown.page.inner_text("section:has(#examples)")
    doubts = shown.page.locator("section:has(#uncertain) li").all_inner_texts()
    assert doubts[0].startswith("The networks learnt too little")
    assert doubts[1:] == ["Rare examples were not looked for."]
    lines = headline(in_short(missing=known["missing"], agreement=known["agreement"]))
    assert "learnt too little" in lines[1]
    assert [lines[0], *lines[2:4]] == [
        "240 examples of 4 classes; how many labels are wrong could not be told",
        "flagged: 80, how many of them are right could not be told",
        "prioritising by loss: could not be told. It rests on which labels are wrong.",
    ]
    assert sum("learnt too little" in line and "29 %" in line for line in lines) == 1
    assert not [line for line in lines if "20.5" in line or "may come out high" in line or "most in" in line]
    assert shown.errors == []


def test_random_pictures_are_told_from_what_could_be_learnt() -> None:
    """The whole way: what separate() says of its networks is what the page and the terminal go by."""
    draw = torch.Generator().manual_seed(0)
    x, y = torch.rand(90, 3, 8, 8, generator=draw), torch.randint(0, 3, (90,), generator=draw)
    found = tamis.audit(x, y, minutes=0.01)
    assert "how many labels are wrong could not be told" in headline(found)[0]
    x = x + torch.eye(3)[y][:, :, None, None]  # a colour for each class
    learnt = tamis.audit(x, y, minutes=0.01)
    assert "probably mislabeled" in headline(learnt)[0]


def test_what_could_not_be_told_cleans_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    draw = np.random.default_rng(0)
    np.savez(tmp_path / "d.npz", x=draw.normal(size=(90, 4)).astype(np.float32), y=draw.integers(0, 3, 90))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["tamis", "audit", str(tmp_path / "d.npz"), "--minutes", "0.01", "--cleaned",
                                   "--out", str(tmp_path / "out")])  # fmt: skip
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0
    assert "not cleaned: too little is known to drop anybody" in capsys.readouterr().out
    assert not (tmp_path / "out" / "cleaned").exists()


def test_an_interval_stands_only_around_its_rate() -> None:
    for between, page, terminal in (
        ([0.181, 0.234], "95 % interval: 18.1 to 23.4 %", " 20.5 % (18.1 % to 23.4 %)"),
        ([0.3, 0.3], "Too few examples for an interval.", " 20.5 % (too few examples for an interval)"),
        ([0.1, 0.2], "Too few examples for an interval.", " 20.5 % (too few examples for an interval)"),
        (None, None, " 20.5 %"),
    ):
        html = render(summary=summary(noise_interval=between), table=table(12), names=NAMES, show=picture)
        found = re.findall(r'class="range">([^<]+)<', html.replace("\u00a0", " "))
        assert found == ([page] if page else [])
        assert headline(in_short(noise_interval=between))[0].endswith("probably mislabeled:" + terminal)


def test_of_few_examples_there_is_no_verdict_on_losses() -> None:
    for examples, words in ((49, "Prioritise by loss? That could not be told"), (50, "No, it would hurt here")):
        html = render(summary=summary(examples=examples), table=table(12), names=NAMES, show=picture)
        assert words in html
        assert ("Selection would drill" in html) == ('class="evidence"' in html) == (examples == 50)
    assert "prioritising by loss: could not be told. That takes 50 examples or more." in headline(in_short(examples=49))


def test_what_counts_as_noise_is_said_where_it_is_more_than_the_headline() -> None:
    words = "Noise here is the wrong labels (20.5 %) and the corrupted and foreign examples."
    for base, said in ((0.205, False), (0.241, True)):
        known = {**summary()["prioritisation"], "base_rate": base}
        html = render(summary=summary(prioritisation=known), table=table(12), names=NAMES, show=picture)
        assert (words in html.replace("\u00a0", " ")) == said
        assert any(words in line for line in headline(in_short(prioritisation=known))) == said


def test_classes_that_are_taken_for_each_other_are_named() -> None:
    sentence = "By the matrix the commonest label of class 0 is 1, of class 1 is 2: they may be; look by hand."
    found = told({"missing": [sentence]}, ["7", "9", "4"], 100).missing
    assert found == ["By the matrix the commonest label of class 7 is 9, of class 9 is 4: they may be; look by hand."]


def test_the_sentence_on_classes_taken_for_each_other_is_the_one_that_is_named() -> None:
    label, p = torch.tensor([0] * 40 + [1] * 40), torch.full((80, 2), 0.02)
    p[:, 1] = torch.where(torch.arange(80) < 30, 0.98, 0.02)
    p[:, 0] = 1 - p[:, 1]
    p = torch.cat([p[:40], p[:40].flip(1)])  # three quarters of each class look like the other
    known = separate(Evidence(label, torch.zeros(80), torch.full((80,), 5.0), probabilities=p)).missing
    assert [line for line in known if "commonest label of class 0 is 1" in line]
    found = told({"missing": known}, ["owl", "x" * 300], 80).missing
    assert [line for line in found if f"commonest label of class owl is {'x' * 39}…" in line]


def test_the_heat_map_is_the_transition(still: Any) -> None:
    heat = still.page.locator("table.heat")
    assert heat.locator("thead th").all_inner_texts() == NAMES
    cells = [row.locator("td").all_inner_texts() for row in heat.locator("tbody tr").all()]
    assert cells[0] == ["80.0", "10.0", "6.0", "4.0"]
    assert cells[2] == ["30.0", "·", "70.0", "·"]
    shade = [row.locator("td").evaluate_all("cells => cells.map(c => c.className)") for row in heat.locator("tr").all()]
    assert shade[1] == ["d", "h3", "h2", "h1"]
    assert shade[3] == ["h10", "h0", "d", "h0"]  # the largest confusion is the darkest


def test_many_classes_have_a_list_of_confusions_and_no_grid() -> None:
    k = FULL_MATRIX + 1
    names = [f"c{i}" for i in range(k)]
    matrix = [[0.9 if i == j else 0.1 if j == (i + 1) % k and i < 2 else 0.0 for j in range(k)] for i in range(k)]
    html = render(summary=summary(transition=matrix), table=table(12), names=names, show=picture)
    assert 'class="heat"' not in html
    rows = re.findall(r'<th scope="row">(c\d+)</th><td>(c\d+)</td><td>([^<]+)</td>', html)
    assert rows == [("c0", "c1", "10.0 %"), ("c1", "c2", "10.0 %")]


def test_a_thousand_classes_are_written_as_the_confusions_that_matter() -> None:
    """A whole matrix took 26 MB of summary.json, and the page as many tuples as it has entries."""
    k = 1000
    names = [f"c{i}" for i in range(k)]
    matrix = torch.full((k, k), 1e-5, dtype=torch.float64)
    matrix.fill_diagonal_(0.9)
    matrix[5, 7], matrix[900, 2] = 0.04, 0.001
    said = _transition(matrix, names)
    assert said == {"transition": None, "confusions": [["c5", "c7", 0.04], ["c900", "c2", 0.001]]}
    html = render(summary=summary(**said), table=table(12), names=names, show=picture)
    assert 'class="heat"' not in html
    rows = re.findall(r'<th scope="row">(c\d+)</th><td>(c\d+)</td><td>([^<]+)</td>', html)
    assert rows == [("c5", "c7", "4.0 %"), ("c900", "c2", "0.1 %")]
    few = torch.eye(100)
    assert _transition(few, names[:100]) == {"transition": few.tolist()}
    assert _transition(None, names) == {"transition": None}


def test_a_large_matrix_is_not_taken_apart_into_cells() -> None:
    matrix = torch.eye(400, dtype=torch.float64).roll(1, 0).tolist()
    tracemalloc.start()
    found = confusions({"transition": matrix}, [f"c{i}" for i in range(400)])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is not None
    assert found["largest"][:2] == [("c0", "c399", "100.0 %"), ("c1", "c0", "100.0 %")]
    assert len(found["largest"]) == 30
    assert peak < 8e6, "a tuple for each of 160,000 entries, and a cell, took 32 MB"


def test_what_is_not_known_leaves_no_empty_frame(browser: Callable[..., Any], tmp_path: Path) -> None:
    bare = pl.DataFrame({"index": [5, 6], "label": [0, None], "kind": ["clean"] * 2, "flagged": [False] * 2,
                         "confidence": [None, float("nan")], "variability": [0.1, 0.2]})  # fmt: skip
    path = write_audit_page(tmp_path / "r.html", summary={}, table=bare, names=["a", "b"], show=lambda index: Shown())
    shown = browser(path)
    assert shown.errors == []
    assert shown.page.locator("#plot, .heat, .evidence").count() == 0
    text = shown.page.inner_text("body")
    assert "How many labels are wrong could not be told" in text
    assert not re.search("None|NaN|nan|undefined|null", text)
    assert indices(shown) == [5, 6]
    press(shown, *["Tab"] * 40)
    shown.page.locator(".card").first.focus()
    press(shown, "a")
    assert "no other label suggested" in shown.page.inner_text("#said")
    assert shown.page.locator("#sort option").all_inner_texts() == [
        "most suspicious", "index", "given class", "lowest confidence", "highest variability",
    ]  # fmt: skip
    nothing = render(summary={}, table=bare.clear(), names=[], show=lambda index: Shown())
    assert "No example is flagged." in nothing


# ---- The map

INK = """() => {
    const canvas = document.getElementById('points'), copy = document.createElement('canvas');
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext('2d');
    context.drawImage(canvas, 0, 0);
    const pixels = context.getImageData(0, 0, copy.width, copy.height).data, seen = {drawn: 0, orange: 0, left: 0};
    for (let k = 0; k < pixels.length; k += 4) {
        if (!pixels[k + 3]) continue;
        seen.drawn++;
        if (pixels[k + 3] > 150 && pixels[k] > 150 && pixels[k + 2] < 90) {
            seen.orange++;
            const [x, y] = [(k / 4) % copy.width, Math.floor(k / 4 / copy.width)];
            if (x < copy.width / 2 && y > copy.height * .7) seen.left++;
        }
    }
    return seen;
}"""


@pytest.mark.parametrize("how", ["webgl", "2d"])
def test_the_map_is_drawn_with_and_without_webgl(browser: Callable[..., Any], page: Path, how: str) -> None:
    shown = ready(browser(page)) if how == "webgl" else before(browser, page, NO_WEBGL)
    assert shown.page.get_attribute("#plot", "data-drawn") == how
    ink = shown.page.evaluate(INK)
    assert ink["drawn"] > 500
    assert ink["orange"] > 200  # all wrong labels lie at the lower left
    assert ink["left"] == ink["orange"]
    shown.page.fill("#search", "no such thing")
    until(shown, "document.getElementById('status').textContent.startsWith('None')")
    assert shown.page.evaluate(INK)["orange"] == 0  # what is filtered out fades
    assert shown.errors == []


def test_a_lost_context_is_drawn_anew(shown: Any) -> None:
    shown.page.evaluate(
        "document.getElementById('points').getContext('webgl').getExtension('WEBGL_lose_context').loseContext()"
    )
    until(shown, "document.getElementById('plot').dataset.drawn === '2d'")
    assert shown.page.evaluate(INK)["orange"] > 200


def test_a_rectangle_filters_by_pointer_and_by_numbers(shown: Any) -> None:
    shown.page.click("#kinds button[value='']")
    assert status(shown) == "240 of 240 examples"
    box = shown.page.locator("#axes").bounding_box()
    shown.page.locator("#axes").scroll_into_view_if_needed()
    box = shown.page.locator("#axes").bounding_box()
    shown.page.mouse.move(box["x"] + 62, box["y"] + box["height"] - 44)
    shown.page.mouse.down()
    shown.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] * 0.72, steps=3)
    shown.page.mouse.up()
    assert status(shown) == "60 of the 60 examples in the rectangle"
    assert set(shown.page.locator(".card .name").all_inner_texts()) == {"mislabeled"}
    assert shown.page.locator("#rectangle").is_visible()
    assert 0.2 < float(shown.page.input_value("#y1")) < 0.3
    shown.page.click("#unbrush")
    assert status(shown) == "240 of 240 examples"
    assert not shown.page.locator("#rectangle").is_visible()
    shown.page.fill("#y0", "0.55")
    shown.page.fill("#y1", "0.65")
    expected = table().filter(pl.col("confidence").is_between(0.55, 0.65)).height
    assert status(shown) == f"{expected} of the {expected} examples in the rectangle"
    assert shown.errors == []


def test_the_map_stands_in_numbers_too(still: Any) -> None:
    rows = still.page.locator("table", has_text="variability, median").locator("tbody tr").all()
    said = [row.locator("th, td").all_text_contents() for row in rows]  # folded away, and there all the same
    assert said[1] == ["mislabeled", "60", "60", "0.08", "0.11"]
    assert sum(int(row[1]) for row in said) == ROWS


# ---- The gallery


def test_flagged_examples_come_first_most_probable_first(still: Any) -> None:
    found = table().filter("flagged").with_columns(p=pl.coalesce("p_duplicate", "p_mislabeled"))
    assert status(still) == "80 of 240 examples"
    assert indices(still) == found.sort("p", descending=True, maintain_order=True)["index"].to_list()[:60]
    first = still.page.locator(".card").first
    assert first.inner_text().replace("\u00a0", " ").split("\n")[:2] == ["mislabeled", "98.9 %"]
    assert first.locator(".was").inner_text() == "dog"
    assert first.locator(".new strong").inner_text() == NAMES[2]
    assert first.locator(".why").inner_text() == "seen 1 times; p(dog) 0.10"
    assert first.locator(".from").inner_text() == "#13 dog/file_1.png"
    assert first.locator("img").evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [28, 28]


def test_most_suspicious_is_by_the_number_that_a_card_shows(browser: Callable[..., Any], tmp_path: Path) -> None:
    """A clean example that may be ambiguous stood before one whose label may well be wrong."""
    wrong = [0.006, 0.375, 0.2, None]
    rows = pl.DataFrame({"index": range(4), "label": [0] * 4, "kind": ["clean"] * 4, "flagged": [False] * 4,
                         "p_mislabeled": wrong, "p_ambiguous": [0.49, 0.1, 0.3, 0.4]})  # fmt: skip
    shown = browser(write_audit_page(tmp_path / "r.html", summary={}, table=rows, names=["a"], show=lambda _: Shown()))
    said = [text.replace("\u00a0", " ") for text in shown.page.locator(".card .p").all_inner_texts()]
    assert said == ["wrong label 37.5 %", "wrong label 20.0 %", "wrong label 0.6 %", "wrong label unknown"]
    assert shown.errors == []


def test_reasons_name_classes_as_the_data_do() -> None:
    """In every file, not on the page alone: the classes are 7 and 12, and positions 0 and 1 mean nothing to anybody."""
    own = from_arrays([[0.0], [1.0], [2.0], [3.0]], [7, 12, 7, 12])
    sure = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.2, 0.8], [0.1, 0.9]])
    found = _table(own, separate(Evidence(own.data.y, torch.zeros(4), torch.full((4,), 5.0), probabilities=sure)))
    assert found["reasons"].to_list()[1:3] == ["p(label) 0.90; p(7) 0.10", "p(label) 0.20; p(12) 0.80"]


def test_a_duplicate_has_its_neighbour_beside_it(shown: Any) -> None:
    shown.page.click("#kinds button:has-text('duplicate')")
    first = shown.page.locator(".card").first
    assert first.locator("img").count() == 2
    assert first.locator("figcaption").inner_text() == "its neighbour #53, dog, dog/file_5.png"
    sources = first.locator("img").evaluate_all("images => images.map(i => i.src)")
    assert sources[0] != sources[1]


def test_filter_search_sort_and_pages(shown: Any) -> None:
    page, rows = shown.page, table()
    page.click("#kinds button:has-text('clean')")
    clean = rows.filter(pl.col("kind") == "clean")
    assert status(shown) == f"{clean.height} of 240 examples"
    page.select_option("#given", label="cat")
    cats = clean.filter(pl.col("label") == 0)
    assert status(shown) == f"{cats.height} of 240 examples"
    page.select_option("#given", "")
    page.select_option("#suggested", label="@fox")
    assert set(page.locator(".card .new strong").all_inner_texts()) == {"@fox"}
    page.select_option("#suggested", "")
    page.click("#kinds button[value='']")
    page.select_option("#sort", "index")
    assert indices(shown) == rows["index"].to_list()[:60]
    assert page.inner_text("#place") == "1–60 of 240"
    page.click("#next")
    assert indices(shown) == rows["index"].to_list()[60:120]
    page.select_option("#sort", "variability")
    assert indices(shown)[0] == rows.sort("variability", descending=True)["index"][0]
    for words, wanted in (("FILE_17.", 173), ("seen 23 times", 233), ("#1203", 1203)):
        page.fill("#search", words)
        until(shown, f"document.querySelector('.card .index').textContent === '#{wanted}'")
        assert indices(shown) == [wanted]
    assert shown.errors == []


def test_at_most_the_limit_is_inlined_and_the_rest_says_so(browser: Callable[..., Any], tmp_path: Path) -> None:
    asked: list[int] = []

    def show(index: int) -> Shown:
        asked.append(index)
        return Shown(picture=png(400, 300, 90))

    path = write_audit_page(tmp_path / "r.html", summary=summary(), table=table(), names=NAMES, show=show, limit=64)
    assert len(asked) == len(set(asked)) == 64
    flagged = table().filter("flagged")
    assert set(asked) <= set(flagged["index"])
    assert asked[:3] == [13, 53, 93]  # the most probable
    assert asked[asked.index(303) + 1] == 293  # a duplicate's neighbour, long before its own turn
    shown = browser(path)
    image = shown.page.locator(".card img").first
    assert image.evaluate("i => i.decode().then(() => [i.naturalWidth, i.naturalHeight])") == [WIDEST, WIDEST * 3 // 4]
    shown.page.click("#kinds button:has-text('clean')")
    assert "not among the 64 held in this page" in shown.page.locator(".card").last.inner_text()


def test_texts_and_rows_are_shown_as_they_are(browser: Callable[..., Any], tmp_path: Path) -> None:
    what = Shown(text="A <b>cat</b>\nsat.", cells=(("size", "12"), ("<i>colour</i>", "=red")))
    path = write_audit_page(tmp_path / "r.html", summary=summary(), table=table(24), names=NAMES, show=lambda _: what)
    shown = browser(path)
    first = shown.page.locator(".card").first
    assert first.locator("blockquote").inner_text().split("\n") == ["A <b>cat</b>", "sat."]
    assert first.locator(".cells").inner_text().split("\n") == ["size", "12", "<i>colour</i>", "=red"]
    for words in ("<B>cat", "=red"):
        shown.page.fill("#search", words)
        until(shown, "document.getElementById('status').textContent === '8 of 24 examples'")


def test_a_long_column_name_leaves_the_values_in_sight(browser: Callable[..., Any], tmp_path: Path) -> None:
    cells = (("average_monthly_transactions_last_12_months_usd", "1234.5678"), ("b" * 400, "-3.5"), ("c", "2"))
    path = write_audit_page(
        tmp_path / "r.html", summary={}, table=table(24), names=NAMES, show=lambda _: Shown(cells=cells)
    )
    shown = browser(path)
    measured = """() => [...document.querySelectorAll('.cells dd')].map(dd => {
        const [whole, cell] = [dd.parentElement.getBoundingClientRect(), dd.getBoundingClientRect()];
        const name = dd.previousElementSibling.getBoundingClientRect();
        return [cell.width, whole.right - cell.right, name.width / whole.width];
    })"""
    for width in (360, 768, 1280):
        shown.page.set_viewport_size({"width": width, "height": 740})
        shown.page.click("#kinds button:has-text('duplicate')")  # the narrowest: two rows side by side
        found = shown.page.evaluate(measured)
        shown.page.click("#kinds button:has-text('flagged')")
        found += shown.page.evaluate(measured)
        assert min(wide for wide, _, _ in found) > 30, width
        assert min(inside for _, inside, _ in found) > -1, width
        assert max(share for _, _, share in found) < 0.61, width


def test_a_wide_row_and_a_long_text_are_cut_short() -> None:
    """2,000 rows of 5,000 columns would be a page of 194 MB."""
    cells = tuple((f"c{k}", str(k)) for k in range(5000))
    texts = ["a" * LONGEST, "b" * LONGEST + "c"]
    page = render(summary={}, table=table(12), names=NAMES, show=lambda i: Shown(text=texts[i == 13], cells=cells))
    shown = json.loads(page.split('id="shown">')[1].split("</script>")[0])
    assert shown["3"]["cells"] == [*([f"c{k}", str(k)] for k in range(MOST_CELLS)), ["…", "4,960 more columns"]]
    assert shown["3"]["text"] == "a" * LONGEST
    assert shown["13"]["text"] == "b" * LONGEST + "…"
    page = render(summary={}, table=table(1), names=NAMES, show=lambda i: Shown(cells=cells[: MOST_CELLS + 1]))
    assert json.loads(page.split('id="shown">')[1].split("</script>")[0])["3"]["cells"][-1] == ["…", "1 more column"]


# ---- Decisions


def test_the_keyboard_decides_moves_and_undoes(shown: Any) -> None:
    order = indices(shown)
    shown.page.locator(".card").first.focus()
    press(shown, "a")
    assert current(shown) == order[1]  # on to the next one
    press(shown, "r", "x", "3")
    said = shown.page.locator(".card .outcome").all_inner_texts()[:5]
    assert said == ['accepted: =1+2, "owl"', "label kept", "dropped", "relabelled: @fox", ""]
    assert shown.page.inner_text("#said") == f"Example {order[3]}: relabelled: @fox."
    assert "4 decided, 76 flagged still open" in shown.page.inner_text("#tally")
    press(shown, "u")
    assert current(shown) == order[3]
    assert shown.page.locator(".card .outcome").nth(3).inner_text() == ""
    press(shown, "ArrowLeft", "u", "u")
    assert shown.page.inner_text("#tally").startswith("1 decided")
    press(shown, "End", "ArrowRight")
    assert shown.page.inner_text("#place") == "61–80 of 80"
    press(shown, "ArrowLeft", "Home", "ArrowDown", "ArrowUp")
    assert current(shown) == order[0]
    press(shown, "ArrowDown")
    assert current(shown) == order[4]  # four cards a line at this width
    shown.page.select_option("#decided", "done")
    assert indices(shown) == [order[0]]
    shown.page.locator(".card").first.focus()
    press(shown, "1")  # a dog, as it was given
    assert shown.page.locator(".card .outcome").first.inner_text() == "label kept"
    assert shown.errors == []


@pytest.mark.parametrize("css", ["blockquote", ".cells"])
def test_the_keyboard_scrolls_a_long_text_and_a_long_row(browser: Callable[..., Any], tmp_path: Path, css: str) -> None:
    what = Shown(text="word " * 600) if css == "blockquote" else Shown(cells=tuple((f"c{k}", "1") for k in range(40)))
    short = Shown(text="word") if css == "blockquote" else Shown(cells=(("c", "1"),))
    path = write_audit_page(tmp_path / "r.html", summary={}, table=table(24), names=NAMES,
                            show=lambda i: short if i == 53 else what)  # fmt: skip
    shown = browser(path)
    shown.page.click("#kinds button:has-text('mislabeled')")
    order, box = indices(shown), shown.page.locator(".card").first.locator(css)
    assert order[1] == 53
    assert box.get_attribute("aria-label") == f"{'Text' if css == 'blockquote' else 'Row'} of example {order[0]}"
    shown.page.locator(".card").first.focus()
    press(shown, "Tab")
    focused = f"document.activeElement === document.querySelector('.card {css}')"
    assert shown.page.evaluate(focused)
    press(shown, "End")
    until(shown, f"(box => box.scrollTop + box.clientHeight >= box.scrollHeight - 1)(document.querySelector('{css}'))")
    press(shown, "ArrowUp", "Home")
    until(shown, f"document.querySelector('{css}').scrollTop === 0")
    press(shown, "ArrowDown")
    until(shown, f"document.querySelector('{css}').scrollTop > 0")
    assert shown.page.evaluate(focused)
    press(shown, "x")  # what is not about scrolling is about the example
    assert shown.page.locator(".card .outcome").first.inner_text() == "dropped"
    assert current(shown) == 53
    press(shown, "Tab", "ArrowRight")  # nothing to scroll: on to the next example
    assert current(shown) == order[2]
    assert shown.errors == []


def test_relabelling_from_the_list_and_help(shown: Any) -> None:
    first = shown.page.locator(".card").first
    first.locator("button", has_text="Relabel").click()
    assert shown.page.locator("#choices option").count() == 4
    shown.page.keyboard.type("FOX")
    assert shown.page.locator("#choices option").all_inner_texts() == ["@fox (key 3)"]
    press(shown, "Enter")
    assert first.locator(".outcome").inner_text() == "relabelled: @fox"
    shown.page.locator(".card").nth(1).focus()
    press(shown, "l", "Escape")
    assert shown.page.locator(".card .outcome").nth(1).inner_text() == ""
    shown.page.locator(".card").nth(2).focus()
    press(shown, "l")
    shown.page.click("#cancel")
    assert shown.page.locator("#relabel").is_hidden()
    press(shown, "?")
    assert shown.page.locator("#keys").is_visible()
    assert "0 cat" in shown.page.inner_text("#keys")
    shown.page.click("#keys button")
    assert shown.page.locator("#keys").is_hidden()
    shown.page.focus("#search")
    press(shown, "?")
    assert shown.page.locator("#keys").is_hidden()
    assert shown.errors == []


@pytest.mark.parametrize(
    ("names", "given", "listed"),
    [
        (["1", "2", "3"], {"1": "1", "2": "2", "3": "3", "0": None}, ["1", "2", "3"]),
        (["1.0", "2.0", "3.0"], {"1": "1.0", "3": "3.0", "0": None}, ["1.0 (key 1)", "2.0 (key 2)", "3.0 (key 3)"]),
        (["c1", "c2", "c3"], {"1": "c1", "3": "c3", "0": None}, ["c1 (key 1)", "c2 (key 2)", "c3 (key 3)"]),
        (["01", "02", "03"], {"1": "01", "3": "03"}, ["01 (key 1)", "02 (key 2)", "03 (key 3)"]),
        (["2", "1", "owl"], {"1": "1", "2": "2", "0": None}, ["2", "1", "owl"]),
        (["ant", "bee", "cow"], {"0": "ant", "2": "cow", "3": None}, ["ant (key 0)", "bee (key 1)", "cow (key 2)"]),
    ],
)
def test_a_digit_means_the_class_of_that_name_before_the_one_in_that_place(
    browser: Callable[..., Any], tmp_path: Path, names: list[str], given: dict[str, str | None], listed: list[str]
) -> None:
    rows = table(24).with_columns(label=2, suggested_label=1)
    shown = browser(write_audit_page(tmp_path / "r.html", summary={}, table=rows, names=names, show=picture))
    first = shown.page.locator(".card").first

    def outcome() -> str:
        return first.locator(".outcome").inner_text().replace("label kept", f"relabelled: {names[2]}")

    for key, name in given.items():
        first.focus()
        press(shown, key)
        assert outcome() == (f"relabelled: {name}" if name else ""), key
        if name:
            press(shown, "u")
            assert outcome() == ""
        else:
            assert shown.page.inner_text("#said") == f"No class has the key {key}."
        first.focus()
        press(shown, "l")
        assert shown.page.locator("#choices option").all_inner_texts() == listed
        if not name:
            shown.page.click("#cancel")
            continue
        press(shown, key, "Enter")
        assert outcome() == f"relabelled: {name}", key
        press(shown, "u")
    press(shown, "?")
    keys = {key: name for key, name in given.items() if name}
    said = dict(one.split(" ") for one in shown.page.inner_text("#classkeys").split(" · "))
    assert said | keys == said
    assert "relabel: by a class’s key, below" in shown.page.inner_text("#keys")
    assert shown.errors == []


def test_a_digit_that_is_no_key_begins_a_name_in_the_list(browser: Callable[..., Any], tmp_path: Path) -> None:
    names = ["20", "10", "12"]
    shown = browser(write_audit_page(tmp_path / "r.html", summary={}, table=table(24).with_columns(label=0),
                                     names=names, show=picture))  # fmt: skip
    shown.page.locator(".card").first.focus()
    press(shown, "1")
    assert shown.page.locator("#choices option").all_inner_texts() == ["10", "12"]
    press(shown, "2", "Enter")
    assert shown.page.locator(".card .outcome").first.inner_text() == "relabelled: 12"
    press(shown, "?")
    assert "relabel: from the list, by a class’s name or number" in shown.page.inner_text("#keys")
    assert shown.page.inner_text("#classkeys") == ""


def test_many_classes_are_typed_by_number(browser: Callable[..., Any], tmp_path: Path) -> None:
    names = [f"c{k}" for k in range(30)]
    shown = browser(write_audit_page(tmp_path / "r.html", summary={}, table=table(24), names=names, show=picture))
    shown.page.locator(".card").first.focus()
    press(shown, "1", "2", "Enter")
    assert shown.page.locator(".card .outcome").first.inner_text() == "relabelled: c12"
    names = [f"{chr(97 + k)}, cat {2 * k}" for k in range(26)]
    shown = browser(write_audit_page(tmp_path / "s.html", summary={}, table=table(24), names=names, show=picture))
    shown.page.locator(".card").first.focus()
    press(shown, "1", "2")
    assert shown.page.locator("#choices option").all_inner_texts() == ["m, cat 24 (number 12)", "g, cat 12 (number 6)"]


def test_the_export_is_read_back_whole_and_computes_nothing(shown: Any) -> None:
    rows = table().with_columns(row=pl.int_range(pl.len()))
    order = indices(shown)[:4]
    shown.page.locator(".card").first.focus()
    press(shown, "a", "3", "r", "x")
    text, found = exported(shown)
    assert "\r" not in text
    assert [int(row[0]) for row in found] == sorted(order)
    said = {int(i): (unprotected(source), what, unprotected(label)) for i, source, what, label in found}
    source = {row["index"]: row["source"] for row in rows.iter_rows(named=True)}
    assert said == {
        order[0]: (source[order[0]], "accept", NAMES[2]),
        order[1]: (source[order[1]], "relabel", NAMES[3]),
        order[2]: (source[order[2]], "reject", "dog"),
        order[3]: (source[order[3]], "drop", ""),
    }
    assert not [cell for row in found for cell in row if re.match(r"[=+\-@\t\r\n]", cell)]


ODD = ("=1+1", "+a", "-b", "@c", "'quoted", "tab\tx", "\ttab", 'a "b", c', "two\nlines", " é ", "＝1", EVIL)


def test_every_name_survives_the_export(browser: Callable[..., Any], tmp_path: Path) -> None:
    n = len(ODD)
    rows = table(n).with_columns(
        source=pl.Series(ODD), label=pl.int_range(n), suggested_label=(pl.int_range(n) + 1) % n, flagged=True,
        kind=pl.lit("mislabeled"),
    )  # fmt: skip
    shown = browser(write_audit_page(tmp_path / "r.html", summary={}, table=rows, names=ODD, show=picture))
    shown.page.locator(".card").first.focus()
    press(shown, *["a"] * n)
    _, found = exported(shown)
    assert [unprotected(source) for _, source, _, _ in found] == list(ODD)
    assert [unprotected(label) for *_, label in found] == [*ODD[1:], ODD[0]]
    assert not [cell for row in found for cell in row if re.match(r"[=+\-@\t\r\n＝]", cell)]


def test_decisions_outlive_a_reload_and_belong_to_their_results(
    browser: Callable[..., Any], page: Path, tmp_path: Path
) -> None:
    shown = browser(page)
    shown.page.locator(".card").first.focus()
    press(shown, "a", "x")
    shown.page.reload()
    assert shown.page.locator(".card .outcome").all_inner_texts()[:3] == ['accepted: =1+2, "owl"', "dropped", ""]
    assert shown.page.locator("#export").is_enabled()
    other = table().with_columns(pl.col("p_mislabeled") * 0.9)
    second = write_audit_page(tmp_path / "r.html", summary=summary(), table=other, names=NAMES, show=picture)
    shown.page.goto(second.as_uri())
    assert shown.page.inner_text("#tally").startswith("0 decided")
    shown.page.goto(page.as_uri())
    assert shown.page.inner_text("#tally").startswith("2 decided")
    shown.page.evaluate(
        "Object.keys(localStorage).forEach(key => localStorage.setItem(key, '[[13, \"steal\", 99], 7'))"
    )
    shown.page.reload()
    assert shown.page.inner_text("#tally").startswith("0 decided")
    assert shown.errors == []


def test_without_storage_decisions_are_held_and_the_page_says_so(browser: Callable[..., Any], page: Path) -> None:
    forbid = "Object.defineProperty(window, 'localStorage', {get() { throw new DOMException('no', 'SecurityError'); }})"
    shown = before(browser, page, forbid)
    assert "keeps nothing" in shown.page.inner_text("#unkept")
    shown.page.locator(".card").first.focus()
    press(shown, "a")
    assert [row[2] for row in exported(shown)[1]] == ["accept"]
    assert shown.errors == []


# ---- Safe, small, readable


def test_whatever_is_the_users_is_text(browser: Callable[..., Any], tmp_path: Path) -> None:
    rows = table(24).with_columns(source=pl.lit(EVIL), reasons=pl.lit(EVIL))
    classes = [{"name": EVIL, "examples": 3, "noise_rate": 0.5, "flagged": 1}]
    shares = {"selected_share": 0.5, "noise_among_selected": 0.1, "base_rate": 0.1}
    said = {"verdict": EVIL, "words": EVIL, "use": EVIL, **shares}
    names = [EVIL, *NAMES[1:]]
    evil = summary(
        title=EVIL, per_class=classes, missing=[EVIL], skipped=[[EVIL, EVIL]], prioritisation=said,
        costs={EVIL: EVIL}, versions={EVIL: EVIL}, command=EVIL,
    )  # fmt: skip
    what = Shown(picture=png(8, 8, 0), text=EVIL, cells=((EVIL, EVIL),))
    path = write_audit_page(tmp_path / "r.html", summary=evil, table=rows, names=names, show=lambda _: what)
    assert "\u2028" not in path.read_text("utf-8").split('id="data">')[1].split("<script>")[0]
    shown = ready(browser(path))
    alerts: list[str] = []
    shown.page.on("dialog", lambda dialog: (alerts.append(dialog.message), dialog.dismiss()))
    shown.page.click("#kinds button[value='']")
    shown.page.locator(".card").first.focus()
    press(shown, "0", "l", "Escape", "?", "Escape")
    assert shown.page.inner_text("h1").replace("\n", "\u2028") == EVIL
    assert shown.page.locator("script").count() == 3
    assert EVIL in shown.page.locator("table.heat th").all_text_contents()
    assert EVIL in shown.page.locator(".card .source").all_text_contents()
    assert EVIL in shown.page.locator(".card blockquote, .card dd, .card .why").all_text_contents()
    assert EVIL in shown.page.locator("#given option").all_text_contents()
    # a script that would slip in all the same may not run
    shown.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'alert(2)'}))")
    shown.page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=data:, onerror=alert(3)>')")
    shown.page.wait_for_timeout(50)
    assert alerts == []
    assert [e for e in shown.errors if "Content Security Policy" not in e] == []


def test_the_same_results_give_the_same_page_and_lone_surrogates_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    skipped = summary(skipped=[["caf\udce9.png", "not UTF-8"]])
    for _ in range(2):
        write_audit_page(path, summary=skipped, table=table(12), names=NAMES, show=picture)
        first = path.read_bytes()
    assert path.read_bytes() == first
    assert b"caf\\udce9.png" in first


def test_a_phone_never_scrolls_sideways(browser: Callable[..., Any], page: Path) -> None:
    shown = ready(browser(page, width=360, height=740))
    shown.page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    shown.page.click("#kinds button:has-text('duplicate')")
    out = """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg, .unseen')
             && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    for width in (360, 320):
        shown.page.set_viewport_size({"width": width, "height": 740})
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.page.evaluate(out) == []
    small = (
        "() => Math.min(...[...document.querySelectorAll('.acts button')].map(b => b.getBoundingClientRect().height))"
    )
    assert shown.page.evaluate(small) >= 40  # a thumb finds it
    assert shown.errors == []


def test_on_a_phone_long_names_leave_the_numbers_and_the_reasons_in_sight(
    browser: Callable[..., Any], tmp_path: Path
) -> None:
    names = ["x" * 300, "a rather long name of a class " * 9, "owl", "fox"]
    rates = [{"name": n, "examples": 12345, "noise_rate": 0.5, "flagged": 1234} for n in names]
    skipped = [["pictures/" + "long_" * 40 + ".png", "cut off after 12 bytes: it cannot be read"], ["a.png", "b" * 90]]
    known = summary(per_class=rates, skipped=skipped)
    shown = ready(
        browser(
            write_audit_page(tmp_path / "r.html", summary=known, table=table(24), names=names, show=picture),
            width=360,
            height=740,
        )
    )
    shown.page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    hidden = """() => [...document.querySelectorAll('.classes td, .skipped td, .skipped th, .largest td')].filter(e => {
        const [cell, frame] = [e.getBoundingClientRect(), e.closest('.scroll').getBoundingClientRect()];
        const least = e.closest('.skipped') ? 120 : 30;
        return cell.right > frame.right + 1 || cell.left < frame.left || cell.width < least;
    }).map(e => e.outerHTML.slice(0, 80))"""
    for width in (360, 320):
        shown.page.set_viewport_size({"width": width, "height": 740})
        assert shown.page.evaluate(hidden) == []
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    tall = "() => Math.max(...[...document.querySelectorAll('.classes tr, .heat tr')].map(e => e.offsetHeight))"
    assert shown.page.evaluate(tall) < 110  # of three hundred characters three lines are shown
    assert shown.page.get_attribute(".classes th[title]", "title") in names  # and the rest is there to read


def test_a_terminal_gets_paths_whole_and_names_in_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "a_rather_long_name_of_a_folder" / "and_one_more_that_makes_it_longer_than_a_line"
    place.mkdir(parents=True)
    x = np.random.default_rng(0).normal(size=(60, 4))
    np.savez(place / "d.npz", x=x, y=(x[:, 0] > 0).astype(int))
    words = ["audit", str(place / "d.npz"), "--minutes", "0.01", "--out", str(place / "out"), "--cleaned"]
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys, "argv", ["tamis", *words])
    with pytest.raises(SystemExit):
        main()
    written = [line for line in capsys.readouterr().out.split("\n") if line.startswith("cleaned: ")]
    assert [str(place / "out" / "cleaned") in line for line in written] == [True]
    classes = [{"name": "y" * 300, "examples": 60, "noise_rate": 0.5, "flagged": 20}]
    assert f"most in: {'y' * 39}… 50.0 %" in headline(in_short(per_class=classes))


CONTRAST = """() => {
    const rgb = c => c.match(/[\\d.]+/g).map(Number).map((v, k) => c.startsWith('color') && k < 3 ? 255 * v : v);
    const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = c => [.2126, .7152, .0722].reduce((sum, share, k) => sum + share * linear(c[k] / 255), 0);
    const ground = e => {
        for (; e; e = e.parentElement) {
            const c = rgb(getComputedStyle(e).backgroundColor);
            if (c.length < 4 || c[3] === 1) return c;
        }
    };
    const ratio = e => {
        const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
        return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    };
    const tags = 'p, li, td, th, dd, dt, caption, summary, small, b, strong, label, span, button';
    const all = [...document.querySelectorAll(tags)]
        .filter(e => e.textContent.trim() && e.getClientRects().length && !e.disabled && !e.closest(':disabled'));
    return {dark: light(ground(document.body)) < .2, texts: all.length,
            worst: all.map(e => [ratio(e), e.className, e.textContent.slice(0, 20)]).sort((a, b) => a[0] - b[0])[0]};
}"""


def test_light_and_dark_can_be_read(shown: Any) -> None:
    shown.page.locator(".card").first.focus()
    press(shown, "a", "r")
    for scheme in ("light", "dark"):
        shown.page.emulate_media(color_scheme=scheme)
        found = shown.page.evaluate(CONTRAST)
        assert found["dark"] == (scheme == "dark")
        assert found["texts"] > 500
        assert found["worst"][0] >= 4.5, (scheme, found["worst"])
    shown.page.emulate_media(media="print")
    for controls in (".acts", ".tools", ".dock", "header nav", "#pages"):
        assert not shown.page.locator(controls).first.is_visible(), controls
    assert shown.page.locator(".card").first.is_visible()


def test_a_screen_reader_finds_names_and_an_order_of_headings(still: Any) -> None:
    unnamed = """() => [...document.querySelectorAll(
        'button, input, select, canvas, .scroll, dialog, .card, img')].filter(e => !(
        e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.getAttribute('alt') || e.closest('label')
        || e.textContent.trim())).map(e => e.outerHTML.slice(0, 80))"""
    assert still.page.evaluate(unnamed) == []
    levels = still.page.locator("main h2, main h3").evaluate_all("all => all.map(h => Number(h.tagName[1]))")
    assert levels[0] == 2
    assert all(b - a <= 1 for a, b in pairwise(levels))
    label = still.page.locator(".card").first.get_attribute("aria-label")
    assert label == f"Example 13, mislabeled, given dog, suggested {NAMES[2]}, undecided"
    stops = still.page.locator(".card[tabindex='0']")
    assert stops.count() == 1  # one stop for Tab, arrows inside


def test_the_style_and_the_script_stand_by_their_hash(page: Path) -> None:
    html = page.read_text("utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"\sstyle=|\son[a-z]+=", html.split("<script")[0])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda t: t.drop("kind", "label"), "has no column label, kind; its page needs"),
        (lambda t: pl.concat([t, t]), "holds an index twice"),
        (lambda t: t.with_columns(kind=pl.lit("odd")), "the kind 'odd'; a kind is one of clean, mislabeled"),
    ],
)
def test_a_table_that_is_none_is_refused(change: Callable[[pl.DataFrame], pl.DataFrame], sentence: str) -> None:
    with pytest.raises(TamisError, match=re.escape(sentence)):
        render(summary={}, table=change(table(12)), names=NAMES, show=picture)


def test_a_picture_that_is_no_png_is_refused_and_the_old_page_stays(tmp_path: Path) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(TamisError, match="the picture of example 63 is no PNG"):
        write_audit_page(path, summary={}, table=table(12), names=NAMES, show=lambda _: Shown(picture=b"GIF89a"))
    assert path.read_text() == "old"


def test_beyond_the_points_of_the_map_every_flagged_one_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tamis.report.audit.POINTS", 100)
    html = render(summary={}, table=table(), names=NAMES, show=picture)
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    points = np.frombuffer(base64.b64decode(data["columns"]["points"][1]), "<i4")
    assert len(set(points.tolist())) == len(points) == 100
    flagged = table()["flagged"].to_numpy()
    assert flagged[points].sum() == flagged.sum() == 80
    rest = np.sort(points[~flagged[points]])
    assert rest[0] < 10
    assert rest[-1] > ROWS - 10
