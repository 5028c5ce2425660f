"""The page of a study as a browser shows it: whole, readable, honest to the records, and without a script."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fake_study import CELLS, METHODS, Fake, Method, fail, fake_study

from tamis.report.study import render, study_report
from tamis.report.words import percent, points
from tamis.selection import policies
from tamis.study import evaluate
from tamis.types import TamisError

SB1, SB2, TOP = METHODS
EVIL = "<script>alert(1)</script>\"'&"


def written(fake: Fake, out: Path) -> Path:
    out.mkdir(parents=True, exist_ok=True)
    fake.runs.write_parquet(out / "runs.parquet")
    fake.curves.write_parquet(out / "curves.parquet")
    (out / "plan.json").write_text(json.dumps(fake.plan))
    (out / "environment.json").write_text(json.dumps(fake.environment))
    return study_report(out)


def together(first: Fake, second: Fake) -> Fake:
    """A study of two settings."""
    plan = {**first.plan, "settings": [*first.plan["settings"], *second.plan["settings"]]}
    runs, curves = pl.concat([first.runs, second.runs]), pl.concat([first.curves, second.curves])
    return Fake(runs, curves, plan, first.environment)


@pytest.fixture(scope="module")
def fake() -> Fake:
    """Two settings; in the first, one method's runs of a cell failed and one control left no record."""
    study = together(fake_study(note="JPEG-recompressed: not to be set beside published numbers."),
                     fake_study(seeds=3, dataset="other"))  # fmt: skip
    toy = pl.col("dataset") == "toy"
    runs = fail(study.runs, toy & (pl.col("policy") == TOP) & (pl.col("rate") == 0.2))
    gone = toy & (pl.col("control") == "random_subset") & (pl.col("seed") == 4) & (pl.col("corruption") == "none")
    return Fake(runs.filter(~gone), study.curves, study.plan, study.environment)


@pytest.fixture(scope="module")
def page(fake: Fake, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(fake, tmp_path_factory.mktemp("study"))


@pytest.fixture
def shown(browser: Callable[..., Any], page: Path) -> Any:
    return browser(page)


def table(shown: Any, caption: str, number: int = 0) -> list[list[str]]:
    """A table's body as text, closed details included."""
    return shown.page.evaluate(
        """([caption, number]) => [...[...document.querySelectorAll('table')].filter(
            t => t.caption && t.caption.textContent === caption)[number].tBodies[0].rows].map(
            row => [...row.cells].map(cell => cell.textContent))""",
        [caption, number],
    )


def test_the_page_opens_offline_without_an_error(shown: Any, page: Path) -> None:
    assert shown.errors == []
    assert shown.requests == []
    assert page.stat().st_size < 1_000_000
    assert shown.page.locator("script").count() == 0
    assert shown.page.inner_text("h1") == "A study that nobody ran"


def test_every_figure_is_drawn(shown: Any) -> None:
    panels = shown.page.evaluate(
        """() => [...document.querySelectorAll('svg.panel')].map(svg => {
            const box = svg.getBoundingClientRect();
            const marks = [...svg.querySelectorAll('.mark, .line')].map(m => m.getBBox());
            return {name: svg.getAttribute('aria-label'), width: box.width, height: box.height,
                    drawn: marks.filter(b => b.width + b.height > 2).length, text: svg.querySelectorAll('text').length,
                    broken: svg.outerHTML.includes('NaN') || svg.outerHTML.includes('inf')}})"""
    )
    names = [panel["name"] for panel in panels]
    cells, noisy = 2 * len(CELLS), 2 * sum(rate > 0 for _, rate in CELLS)
    wanted = {
        "Test error against the rate": 4,
        "Differences": cells,
        "Test error against cost": cells,
        "Worst class": cells,
        "Noise share": len(METHODS) * noisy - 1,  # one cell of a method has no finished run
    }
    assert {start: sum(name.startswith(start) for name in names) for start in wanted} == wanted
    for panel in panels:
        assert panel["width"] > 250, panel
        assert panel["height"] > 100, panel
        assert panel["drawn"] >= 3, panel
        assert panel["text"] > 4, panel
        assert not panel["broken"], panel


def test_every_figure_has_a_caption_and_its_numbers(shown: Any) -> None:
    for figure in shown.page.locator("figure").all():
        assert len(figure.locator("figcaption").inner_text()) > 60
        details = figure.locator("xpath=following-sibling::details[1]")
        assert details.locator("table tbody tr").count() > 2
        assert details.locator("table caption").count() >= 1


def test_the_main_table_is_the_records(shown: Any, fake: Fake) -> None:
    for number, dataset in enumerate(("toy", "other")):
        columns, rows = evaluate.main_table(fake.runs, fake.curves, dataset, "mlp")
        main = shown.page.locator("table.main").nth(number)
        assert main.locator("thead th").all_inner_texts() == columns
        for text, row in zip(rows, main.locator("tbody tr").all(), strict=True):
            assert row.locator("th").inner_text() == text[0]
            ours = [cell.inner_text().split("\n")[0] for cell in row.locator("td").all()]
            assert ours == text[1:]
    first = shown.page.locator("table.main").first
    assert "SB 50%: 2.0× (4.26)" in first.inner_text()
    assert "as transcribed from the paper's Table 1" in shown.page.inner_text("main")
    assert "CIFAR-10, WRN-28-10" in shown.page.inner_text("main")


def test_the_tables_are_the_records(shown: Any, fake: Fake) -> None:
    toy = fake.runs.filter(pl.col("dataset") == "toy")
    paired = table(shown, "Test error: method minus standard at equal budgets")
    for text, row in zip(paired, evaluate.paired_differences(toy).iter_rows(named=True), strict=True):
        assert text[0] == row["policy"]
        assert text[4] == points(row["difference"])
        assert text[-2:] == [str(row["n"]), row["judged"]]
    cost = table(shown, "Test error: method minus control at the method's own cost")
    assert [row[6] for row in cost] == [points(v) for v in evaluate.at_equal_cost(toy)["difference"]]
    noise = table(shown, "Share of noise among what was trained on while the policy selected")
    shares = evaluate.noise_shares(toy, fake.curves).filter(pl.col("rate") > 0)
    assert [row[3] for row in noise] == [percent(v) for v in shares["measured"]]


def test_the_crossover_stands_where_there_are_three_rates_of_a_kind(shown: Any) -> None:
    found = table(shown, "Rate from which the error lies above uniform training's at the same cost")
    assert [row[0] for row in found] == list(
        METHODS
    )  # of the first setting, whose random labels have rates 0, 20 and 40 %
    assert found[1][2] == "10.0 %"
    assert found[0][2] == "never up to 40 %"


def test_failed_and_missing_runs_are_named(shown: Any) -> None:
    failed = table(shown, "Failed runs")
    assert len(failed) == 5
    assert failed[0][0] == TOP
    assert failed[0][-1] == "RuntimeError: loss is nan"
    assert len(table(shown, "3 runs of the plan have no record")) == 3
    assert "5 failed, 3 are missing" in shown.page.inner_text("header")
    assert shown.page.locator("table.main").first.locator(".ours", has_text=re.compile("^—$")).count() == 1


def test_a_note_stands_beside_the_numbers(shown: Any) -> None:
    notes = shown.page.locator("section .note").all_inner_texts()
    assert notes
    assert set(notes) == {"JPEG-recompressed: not to be set beside published numbers."}


def test_a_note_for_one_data_set_stands_beside_that_one_alone() -> None:
    study = together(fake_study(seeds=2), fake_study(seeds=2, dataset="other"))
    html = render(study.runs, study.curves, study.plan, {"note": {"other": "recompressed"}})
    assert html.count('<p class="note">recompressed</p>') == 1
    assert html.index("recompressed") > html.index('id="s2"')


@pytest.mark.parametrize("width", [360, 320])
@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_never_scrolls_sideways(browser: Callable[..., Any], page: Path, width: int, dark: bool) -> None:
    shown = browser(page, width=width, height=740, dark=dark)
    shown.page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
    out = """() => [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg')
             && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
    assert shown.page.evaluate(out) == []
    small = """() => [...document.querySelectorAll('svg.panel')].map(
        svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width)"""
    assert min(shown.page.evaluate(small)) * 11 > 9  # a panel's smallest text, in pixels
    assert shown.errors == []


CONTRAST = """() => {
    const rgb = c => c.match(/[\\d.]+/g).slice(0, 3).map(Number);
    const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const light = c => rgb(c).map(v => linear(v / 255)).reduce((sum, v, k) => sum + v * [.2126, .7152, .0722][k], 0);
    const ratio = (a, b) => (Math.max(light(a), light(b)) + .05) / (Math.min(light(a), light(b)) + .05);
    const body = getComputedStyle(document.body).backgroundColor;
    const panel = getComputedStyle(document.querySelector('.panel')).backgroundColor;
    const color = (selector, property = 'color') =>
        [...document.querySelectorAll(selector)].map(e => getComputedStyle(e)[property]);
    return {dark: light(body) < .2,
            text: Math.min(...color('p, li, td, th, dd, figcaption, caption, summary, small').map(c => ratio(c, body))),
            labels: Math.min(...color('.panel text', 'fill').map(c => ratio(c, panel))),
            marks: Math.min(...color('.mark, .whisker', 'color').map(c => ratio(c, panel)))};
}"""


@pytest.mark.parametrize("dark", [False, True])
def test_light_and_dark_can_be_read(browser: Callable[..., Any], page: Path, dark: bool) -> None:
    shown = browser(page, dark=dark)
    found = shown.page.evaluate(CONTRAST)
    assert found["dark"] == dark
    assert found["text"] >= 4.5
    assert found["labels"] >= 3.5
    assert found["marks"] >= 3


def test_one_policy_has_one_colour_and_shape_in_every_figure(shown: Any) -> None:
    looks = shown.page.evaluate(
        """() => [...document.querySelectorAll('.legend li')].map(li => [
            li.textContent.trim().split(/\\s+/).slice(1).join(' '), getComputedStyle(li).color,
            li.querySelector('.mark').getAttribute('d') || 'circle'])"""
    )
    by_policy: dict[str, set[tuple[str, str]]] = {}
    for policy, colour, shape in looks:
        by_policy.setdefault(policy, set()).add((colour, shape))
    assert set(by_policy) == {"uniform", "random_subset", *METHODS}
    assert all(len(found) == 1 for found in by_policy.values())
    assert len({colour for found in by_policy.values() for colour, _ in found}) == len(by_policy)
    assert len({shape for found in by_policy.values() for _, shape in found}) == len(by_policy)


def test_the_keyboard_reaches_the_tables(shown: Any) -> None:
    shown.page.keyboard.press("Tab")
    assert shown.page.evaluate("document.activeElement.textContent") == "Skip to the content"
    summary = shown.page.locator("summary").first
    summary.focus()
    shown.page.keyboard.press("Enter")
    assert shown.page.evaluate("document.querySelector('details').open")
    shown.page.keyboard.press("Tab")
    assert shown.page.evaluate("document.activeElement.getAttribute('role')") == "region"
    unnamed = (
        "() => [...document.querySelectorAll('.scroll, svg.panel')].filter(e => !e.getAttribute('aria-label')).length"
    )
    assert shown.page.evaluate(unnamed) == 0


def test_a_long_name_says_what_is_not_as_usual_and_the_page_has_it_whole() -> None:
    usual, other = policies.guarded().label, policies.guarded(wrong=0.25).label
    study = fake_study(seeds=2, methods={usual: Method(), other: Method()})
    html = render(study.runs, study.curves, study.plan, {})
    assert "guarded(<wbr>wrong=0.25)" in html
    assert html.count("slowing=0.15") == 2, "in the plan alone"
    assert "the plan below names all" in html
    plain = fake_study(seeds=2)
    assert "the plan below names all" not in render(plain.runs, plain.curves, plain.plan, {})


def test_names_are_text_wherever_they_come_from(browser: Callable[..., Any], tmp_path: Path) -> None:
    study = fake_study(seeds=2, dataset=EVIL, methods={EVIL: Method()}, cells=[("none", 0.0), (EVIL, 0.2)], note=EVIL)
    runs = fail(study.runs, pl.col("seed") == 0, reason=EVIL).with_columns(model=pl.lit(EVIL))
    runs = pl.concat([runs, fake_study(seeds=2, methods={EVIL: Method()}).runs])
    environment = {"versions": {EVIL: EVIL}, "command": EVIL, "note": EVIL, "prices": [{EVIL: EVIL}]}
    plan = {**study.plan, "title": EVIL, "name": EVIL}
    shown = browser(written(Fake(runs, study.curves, plan, environment), tmp_path))
    alerts: list[str] = []
    shown.page.on("dialog", lambda dialog: alerts.append(dialog.message))
    assert shown.page.inner_text("h1") == EVIL
    assert EVIL in shown.page.locator("table.main th").all_inner_texts()
    assert shown.page.locator("script").count() == 0
    drawn = "() => [...document.querySelectorAll('svg.panel text')].some(t => t.textContent.includes('<script>'))"
    assert shown.page.evaluate(drawn)
    assert (shown.errors, alerts) == ([], [])


def test_a_corruption_with_settings_is_told_whole_and_its_panels_titles_fit(
    browser: Callable[..., Any], tmp_path: Path
) -> None:
    label = "asymmetric_labels(mapping=[1, 2, 3, 4, 5, 6, 7, 8, 9, 0])"
    study = fake_study(seeds=2, cells=[("none", 0.0), *((label, rate) for rate in (0.1, 0.2, 0.4))])
    shown = browser(written(study, tmp_path), width=360, height=740)
    heads = shown.page.locator("table.main th").all_inner_texts()
    assert "20 % asymmetric labels (mapping=[1, 2, 3, 4, 5, 6, 7, 8, 9, 0])" in heads
    crossings = table(shown, "Rate from which the error lies above uniform training's at the same cost")
    assert {row[1] for row in crossings} == {"asymmetric labels (mapping=[1, 2, 3, 4, 5, 6, 7, 8, 9, 0])"}
    wide = """() => [...document.querySelectorAll('svg.panel text.title')].map(
        title => title.getBBox().width + 4 - title.ownerSVGElement.viewBox.baseVal.width)"""
    over = shown.page.evaluate(wide)
    assert len(over) > 10
    assert max(over) <= 0
    assert shown.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_page_without_any_finished_run_says_so() -> None:
    study = fake_study(seeds=2)
    for runs in (fail(study.runs, pl.lit(True)), study.runs.clear()):
        html = render(runs, study.curves.clear(), study.plan, {})
        assert "0 runs finished" in html
    assert "There is no finished run" in render(study.runs.clear(), study.curves.clear(), {}, {})


def test_one_seed_has_a_page_too() -> None:
    study = fake_study(seeds=1, cells=CELLS[:1])
    html = render(study.runs, study.curves, study.plan, study.environment)
    assert "one seed only" in html
    assert "NaN" not in html
    assert "None" not in html


def test_the_same_records_give_the_same_page(fake: Fake, page: Path) -> None:
    assert render(fake.runs, fake.curves, fake.plan, fake.environment) == page.read_text()


def test_what_cannot_be_read_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TamisError, match=r"runs.parquet, curves.parquet, plan.json is missing; run the study first"):
        study_report(tmp_path)
    written(fake_study(seeds=1), tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(TamisError, match="cannot be read"):
        study_report(tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        ["curves.parquet", "environment.json", "plan.json", "report.html", "runs.parquet"]
    )
