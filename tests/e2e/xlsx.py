"""Reads XLSX files with openpyxl, and the rows that they must have, from the documented file format only."""

from __future__ import annotations

import io
from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import openpyxl
from openpyxl.cell.cell import Cell
from openpyxl.utils.escape import unescape

from expected_csv import COLUMNS, EXPONENTS, Payout, amount, in_order

Value = str | Decimal | datetime | None
TIME_FORMAT = "yyyy-mm-dd hh:mm:ss"


def sheets(file: bytes) -> dict[str, list[list[Cell]]]:
    """The cells of each sheet."""
    book = openpyxl.load_workbook(io.BytesIO(file))
    return {sheet.title: [list(row) for row in sheet.iter_rows()] for sheet in book.worksheets}


def looks(file: bytes, title: str) -> tuple[str | None, str | None, list[float]]:
    """The first cell that is not frozen, the range with a filter, and the width of each column."""
    sheet = openpyxl.load_workbook(io.BytesIO(file))[title]
    # One entry for adjacent columns of the same width.
    widths = [d.width for d in sheet.column_dimensions.values() for _ in range(d.min, d.max + 1)]
    return sheet.freeze_panes, sheet.auto_filter.ref, widths


def value(cell: Cell) -> Value:
    """The value of a cell. The shortest decimal of a number is the exact amount."""
    if cell.data_type == "n" and cell.value is not None:
        return Decimal(str(cell.value))
    assert cell.data_type in ("s", "d", "n", "inlineStr"), f"{cell.coordinate} is a {cell.data_type}"
    # ECMA-376 writes a character that XML cannot hold as _xHHHH_.
    return unescape(cell.value) if isinstance(cell.value, str) else cell.value


def expected_rows(rows: Iterable[Payout], export_type: str) -> list[list[tuple[Value, str]]]:
    """Value and number format of each cell."""
    return [
        [_cell(name, row.get(attribute), row) for name, attribute, _ in COLUMNS[export_type]]
        for row in in_order(rows, export_type)
    ]


def expected_header(export_type: str) -> list[str]:
    return [f"{name} (UTC)" if _is_time(name) else name for name, _, _ in COLUMNS[export_type]]


def _cell(name: str, content: Any, row: Payout) -> tuple[Value, str]:
    if content in (None, ""):
        return None, "General"
    if name.endswith("amount"):
        decimals = EXPONENTS[row["currency"]]
        text = amount(content, row["currency"])
        if abs(int(content)) >= 10**15:
            return text, "@"
        return Decimal(text), "#,##0" + ("." + "0" * decimals if decimals else "")
    if name.endswith("_count"):
        return Decimal(int(content)), "#,##0"
    if _is_time(name):
        return datetime.strptime(content, "%Y-%m-%dT%H:%M:%S.%fZ").replace(microsecond=0), TIME_FORMAT
    return content, "@"


def _is_time(name: str) -> bool:
    return name.endswith(("_at", "_start", "_end"))
