"""The tables of docs/realism.md are those of the committed results."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("realism_tables", ROOT / "benchmarks" / "realism_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_results(tables):
    page = tables.PAGE.read_text(encoding="utf-8")
    assert tables.filled(page, tables.tables()) == page, "run python benchmarks/realism_tables.py"


def test_a_table_without_a_place_is_named(tables):
    with pytest.raises(ValueError, match="no single place for the table controls"):
        tables.filled("no table here", {"controls": "| a |"})
    assert tables.filled("<!-- a -->old<!-- /a -->", {"a": "new"}) == "<!-- a -->\nnew\n<!-- /a -->"
