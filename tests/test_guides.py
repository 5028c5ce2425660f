"""The examples of the guides run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

GUIDES = Path(__file__).parents[1] / "docs" / "guides"
EXAMPLES = [
    (page.name, block)
    for page in sorted(GUIDES.glob("*.md"))
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S)
]


def test_there_are_examples() -> None:
    assert EXAMPLES


@pytest.mark.parametrize(("page", "block"), EXAMPLES, ids=[page for page, _ in EXAMPLES])
def test_an_example_runs(page: str, block: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block, page, "exec"), {})
    assert capsys.readouterr().out
