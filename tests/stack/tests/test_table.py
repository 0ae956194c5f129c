"""The table of rules has exactly one row for each rule."""

from __future__ import annotations

import re

import pytest

import golden
from conftest import TABLE, rules


@pytest.mark.skipif(golden.IS_UPDATE, reason="the table is written after the tests")
def test_table_has_exactly_one_row_for_each_rule() -> None:
    rows = re.findall(r"\| `(test_\w+)` \|$", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(test for tests in rules().values() for test in tests)
