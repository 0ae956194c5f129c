"""Exports of each type to XLSX."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest
from openpyxl.utils import get_column_letter

import sample_rows
import web
import xlsx
from expected_csv import expected_totals
from export_types import EXPORT_TYPES, ExportType
from interventions import changed_settings
from stack import Stack
from tenant import Tenant, link_in

ROWS = 300
OF_EACH_TYPE = pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)


@dataclass(frozen=True)
class Workbooks:
    """A READY export to XLSX of each type of one tenant, and its rows."""

    tenant: Tenant
    rows: dict[ExportType, list[dict[str, Any]]]
    exports: dict[ExportType, dict[str, Any]]

    def file(self, export_type: ExportType) -> bytes:
        export = self.tenant.detail(self.exports[export_type]["exportId"])
        response = web.request("GET", export["downloadUrl"])
        assert response.status == 200, response
        return response.body


def launch(tenant: Tenant, export_type: ExportType) -> str:
    response = tenant.post({"format": "XLSX"}, export_type=export_type)
    assert (response.status, response.json()["format"]) == (202, "XLSX"), response
    return str(response.json()["exportId"])


@pytest.fixture(scope="module")
def workbooks(stack: Stack) -> Workbooks:
    tenant = Tenant(stack, "workbook of each type")
    rows = {known: list(sample_rows.rows(known, tenant.id, ROWS)) for known in EXPORT_TYPES}
    for known in EXPORT_TYPES:
        rows[known][0] |= {"amountMinor": -(10**15), "reference": "0012"}
        rows[known][1] |= {"amountMinor": 10**15 - 1, "reference": "=1+1"}
        stack.put_rows(known, tenant.id, rows[known])
    launched = {known: launch(tenant, known) for known in EXPORT_TYPES}
    return Workbooks(tenant, rows, {known: tenant.await_status(launched[known], "READY") for known in EXPORT_TYPES})


@OF_EACH_TYPE
def test_workbook_of_the_type_has_typed_and_exact_cells(workbooks: Workbooks, export_type: ExportType) -> None:
    sheets = xlsx.sheets(workbooks.file(export_type))
    header, *rows = sheets[export_type.title]
    assert [cell.value for cell in header] == xlsx.expected_header(export_type.slug)
    expected = xlsx.expected_rows(workbooks.rows[export_type], export_type.slug)
    found = [[(xlsx.value(cell), cell.number_format) for cell in row] for row in rows]
    assert found == expected


@OF_EACH_TYPE
def test_workbook_of_the_type_has_a_frozen_header_with_a_filter(workbooks: Workbooks, export_type: ExportType) -> None:
    frozen, filtered, widths = xlsx.looks(workbooks.file(export_type), export_type.title)
    header = xlsx.expected_header(export_type.slug)
    assert (frozen, filtered) == ("A2", f"A1:{get_column_letter(len(header))}{ROWS + 1}")
    # The button of the filter covers some characters.
    assert all(width >= len(name) + 4 for name, width in zip(header, widths, strict=True))


@OF_EACH_TYPE
def test_second_sheet_of_the_type_has_the_totals_of_the_api(workbooks: Workbooks, export_type: ExportType) -> None:
    export = workbooks.exports[export_type]
    rows = [[xlsx.value(cell) for cell in row] for row in xlsx.sheets(workbooks.file(export_type))["Totals"]]
    start = rows.index(["Currency", "Status", "Count", "Amount"])
    totals = {
        (currency, status): (count, Decimal(str(amount))) for currency, status, count, amount in rows[start + 1 :]
    }
    api = {(t["currency"], t["status"]): (t["count"], Decimal(t["amount"])) for t in export["file"]["totals"]}
    assert totals == api
    assert api == {key: (n, Decimal(sum_)) for key, (n, sum_) in expected_totals(workbooks.rows[export_type]).items()}
    facts = {row[0]: row[1] for row in rows[:start]}
    assert (facts["Export"], facts["Rows"]) == (export["exportId"], str(ROWS))
    assert "created up to" in str(facts["Includes"])


@OF_EACH_TYPE
def test_workbook_of_the_type_is_described_and_mailed(workbooks: Workbooks, export_type: ExportType) -> None:
    export, file = workbooks.exports[export_type], workbooks.file(export_type)
    assert export["file"]["sha256"] == hashlib.sha256(file).hexdigest()
    assert (export["file"]["bytes"], export["file"]["rows"]) == (len(file), ROWS)
    assert export["file"]["name"].endswith(".xlsx")
    (mail,) = (mail for mail in workbooks.tenant.mails() if export["exportId"] in mail.text)
    response = web.request("GET", link_in(mail))
    assert response.body == file
    assert response.headers["Content-Type"] == "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    assert f'filename="{export["file"]["name"]}"' in response.headers["Content-Disposition"]
    assert "in an Excel file" in mail.text
    assert "CSV" not in mail.text


def test_more_rows_than_a_workbook_may_have_fail_with_advice(tenant: Tenant) -> None:
    (export_type, *_) = EXPORT_TYPES
    tenant.stack.put_rows(export_type, tenant.id, sample_rows.rows(export_type, tenant.id, 20))
    with changed_settings(tenant.stack, "generate-export", MAX_XLSX_ROWS="19"):
        failed = tenant.await_status(launch(tenant, export_type), "FAILED")
    assert (failed["failure"]["code"], failed["failure"]["retryable"]) == ("XLSX_TOO_LARGE", False)
    assert failed["failure"]["message"].startswith("An Excel file can have at most 19 rows. Launch the export as CSV")
    assert (tenant.objects(), tenant.unfinished_uploads(), tenant.lock()) == ([], [], None)
