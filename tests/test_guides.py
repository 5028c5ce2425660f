"""The examples of the guides run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = [
    (page.name, block)
    for page in (DOCS / "index.md", *sorted((DOCS / "guides").glob("*.md")))
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
]


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_an_example_runs(
    page: str, block: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out
