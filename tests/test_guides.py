"""The examples of the guides run as they stand, those of a page one after the other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
BLOCKS = {
    page.name: re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
    for page in (DOCS / "index.md", *sorted((DOCS / "guides").glob("*.md")))
}
PAGES = [page for page, blocks in BLOCKS.items() if blocks]


def test_there_are_examples() -> None:
    assert len(PAGES) > 3


@pytest.mark.parametrize("page", PAGES)
def test_the_examples_of_a_page_run(
    page: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for number, block in enumerate(BLOCKS[page], 1):
        exec(compile(block, f"{page}, example {number}", "exec"), names)
        assert capsys.readouterr().out, f"example {number} shows nothing"
