"""Exports with a filter, from the launch to the file and the e-mail."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

import sample_rows
import web
from expected_csv import Payout, expected_csv, expected_totals
from export_types import FUNDING_TRANSFERS, MARKETPLACE_PAYOUTS, SUPPLIER_PAYOUTS, ExportType
from payouts import payout
from stack import Stack
from tenant import EXPORTS, Tenant

MOMENTS = (
    "2026-01-31T23:59:59.999Z", "2026-02-01T00:00:00.000Z", "2026-02-14T12:00:00.000Z", "2026-02-14T12:00:00.500Z",
    "2026-02-28T23:59:59.999Z", "2026-03-01T00:00:00.000Z",
)  # fmt: skip
STATUSES = ("SETTLED", "FAILED", "PENDING")
CURRENCIES = ("EUR", "JPY")
# The filters that only transfers have.
OF_TRANSFERS = ["amountMin", "amountMax", "sourceBalanceAccountType", "targetBalanceAccountType"]


def rows() -> list[dict[str, Any]]:
    """A payout for every moment, status and currency."""
    return [
        payout(f"po_{status}_{currency}_{number}", createdAt=moment, status=status, currency=currency)
        for number, moment in enumerate(MOMENTS)
        for status in STATUSES
        for currency in CURRENCIES
    ]


@pytest.fixture(scope="module")
def tenant(stack: Stack) -> Tenant:
    tenant = Tenant(stack, "filters")
    tenant.put_payouts(rows())
    return tenant


def filtered(tenant: Tenant, row_filter: Any) -> dict[str, Any]:
    """Launches an export with this filter and waits until it is READY."""
    response = tenant.post({"filter": row_filter})
    assert response.status == 202, response
    return tenant.await_status(response.json()["exportId"], "READY")


def in_period(first: int, last: int) -> list[Payout]:
    return [row for row in rows() if row["createdAt"] in MOMENTS[first : last + 1]]


@pytest.mark.parametrize(
    ("row_filter", "expected"),
    [
        ({"createdAtFrom": "2026-02-01", "createdAtTo": "2026-02-28"}, in_period(1, 4)),
        ({"createdAtFrom": "2026-02-01T01:00:00+01:00"}, in_period(1, 5)),
        ({"createdAtTo": "2026-02-14T12:00:00Z"}, in_period(0, 3)),
        ({"createdAtTo": "2026-02-14T12:00:00.000Z"}, in_period(0, 2)),
        ({"createdAtFrom": "2026-02-14T12:00:00.0001Z", "createdAtTo": "2026-02-14T12:00:00.0002Z"}, []),
        ({"createdAtFrom": "9999-01-01"}, []),
        ({"statuses": ["FAILED", "SETTLED", "FAILED"]}, [row for row in rows() if row["status"] != "PENDING"]),
        ({"currencies": ["JPY"]}, [row for row in rows() if row["currency"] == "JPY"]),
        (
            {"createdAtFrom": "2026-03-01", "statuses": ["PENDING"], "currencies": ["EUR"]},
            [row for row in in_period(5, 5) if row["status"] == "PENDING" and row["currency"] == "EUR"],
        ),
        ({"currencies": ["USD"]}, []),
        ({}, rows()),
        (None, rows()),
    ],
)
def test_file_contains_exactly_the_rows_of_the_filter(tenant: Tenant, row_filter: Any, expected: list[Payout]) -> None:
    export = filtered(tenant, row_filter)
    key = tenant.record(export["exportId"])["file"]["key"]
    content = tenant.content(key)
    assert content == expected_csv(expected)
    file = export["file"]
    assert (file["rows"], file["sha256"]) == (len(expected), hashlib.sha256(content).hexdigest())
    totals = {(t["currency"], t["status"]): (t["count"], t["amount"]) for t in file["totals"]}
    assert totals == expected_totals(expected)
    assert export["progress"]["rows"] == len(expected)
    assert export["progress"]["rowsRead"] >= len(expected)


def test_filter_is_shown_in_its_normal_form_by_launch_detail_and_history(stack: Stack) -> None:
    tenant = Tenant(stack, "filter is shown")
    row_filter = {
        "createdAtFrom": "2026-02-01",
        "createdAtTo": "2026-02-28T10:00:00+02:00",
        "statuses": ["FAILED", "SETTLED"],
    }
    shown = {
        "createdAtFrom": "2026-02-01T00:00:00.000Z",
        "createdAtTo": "2026-02-28T08:00:00.999Z",
        "statuses": ["SETTLED", "FAILED"],
    }
    accepted = tenant.post({"filter": row_filter, "format": "CSV"}).json()
    detail = tenant.await_status(accepted["exportId"], "READY")
    (listed,) = tenant.call("GET", EXPORTS).json()["content"]
    for export in (accepted, detail, listed):
        assert (export["filter"], export["format"]) == (shown, "CSV")


def test_mail_shows_period_and_filters(stack: Stack) -> None:
    tenant = Tenant(stack, "mail shows filters")
    tenant.put_payouts(rows())
    filtered(tenant, {"createdAtFrom": "2026-02-01", "createdAtTo": "2026-02-28", "currencies": ["USD"]})
    mail = tenant.mail()
    for body in (mail.text, mail.html):
        assert "created from 1 February 2026, 00:00:00 UTC up to 28 February 2026, 23:59:59 UTC" in body
        assert "USD" in body
        assert "No payouts match. The file contains only the header." in body


def test_row_whose_deciding_value_is_invalid_fails_the_export(stack: Stack) -> None:
    tenant = Tenant(stack, "invalid deciding value")
    tenant.put_payouts([payout("po_1", currency="XXX"), payout("po_2", currency="JPY", reference="")])
    response = tenant.post({"filter": {"currencies": ["EUR"]}})
    export = tenant.await_status(response.json()["exportId"], "FAILED")
    assert export["failure"]["code"] == "INVALID_ROWS"
    assert '"po_1" (currency unknown)' in export["failure"]["message"]
    assert "po_2" not in export["failure"]["message"]


def test_idempotency_key_covers_the_normal_form_of_the_filter(stack: Stack) -> None:
    tenant = Tenant(stack, "idempotent filter")
    key = {"Idempotency-Key": "monthly"}
    first = tenant.post({"filter": {"createdAtTo": "2026-02-28", "statuses": ["FAILED", "SETTLED"]}}, key)
    again = tenant.post(
        {
            "cc": None,
            "filter": {"statuses": ["SETTLED", "FAILED"], "createdAtTo": "2026-02-28T23:59:59Z"},
            "format": None,
        },
        key,
    )
    assert (first.status, again.status) == (202, 202)
    assert again.json()["exportId"] == first.json()["exportId"]
    other = tenant.post({"filter": {"createdAtTo": "2026-02-28"}}, key)
    assert (other.status, other.json()["errors"][0]["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    tenant.await_status(first.json()["exportId"], "READY")


def test_supplier_payouts_are_filtered_by_period_status_and_supplier(stack: Stack) -> None:
    tenant = Tenant(stack, "filters of supplier payouts")
    payouts = list(sample_rows.rows(SUPPLIER_PAYOUTS, tenant.id, 60))
    stack.put_rows(SUPPLIER_PAYOUTS, tenant.id, payouts)
    early, late = payouts[10]["createdAt"], payouts[50]["createdAt"]
    supplier = payouts[20]["supplierId"]
    assert_filtered(
        tenant,
        SUPPLIER_PAYOUTS,
        payouts,
        [
            ({"supplierIds": [supplier]}, lambda row: row["supplierId"] == supplier),
            ({"statuses": ["SKIPPED"]}, lambda row: row["status"] == "SKIPPED"),
            (
                {"createdAtFrom": early, "createdAtTo": late, "currencies": ["EUR"]},
                lambda row: early <= row["createdAt"] <= late and row["currency"] == "EUR",
            ),
        ],
    )


def test_transfers_are_filtered_by_supplier_account_and_amount(stack: Stack) -> None:
    tenant = Tenant(stack, "filters of transfers")
    transfers = list(sample_rows.rows(FUNDING_TRANSFERS, tenant.id, 60))
    stack.put_rows(FUNDING_TRANSFERS, tenant.id, transfers)
    early, late = transfers[10]["createdAt"], transfers[50]["createdAt"]
    supplier = next(row["targetSupplierId"] for row in transfers if row.get("targetSupplierId"))
    amounts = sorted(row["amountMinor"] for row in transfers if row["currency"] == "EUR")
    least, most = amounts[len(amounts) // 4], amounts[len(amounts) * 3 // 4]
    assert_filtered(
        tenant,
        FUNDING_TRANSFERS,
        transfers,
        [
            (
                {"supplierIds": [supplier]},
                lambda row: supplier in (row.get("sourceSupplierId"), row.get("targetSupplierId")),
            ),
            ({"sourceBalanceAccountType": "SUPPLIER"}, lambda row: row["sourceBalanceAccountType"] == "SUPPLIER"),
            ({"targetBalanceAccountType": "SUPPLIER"}, lambda row: row["targetBalanceAccountType"] == "SUPPLIER"),
            (
                {"currencies": ["EUR"], "amountMin": euros(least), "amountMax": euros(most)},
                lambda row: row["currency"] == "EUR" and least <= row["amountMinor"] <= most,
            ),
            (
                {"createdAtFrom": early, "createdAtTo": late, "statuses": ["COMPLETED"]},
                lambda row: early <= row["createdAt"] <= late and row["status"] == "COMPLETED",
            ),
        ],
    )


@pytest.mark.parametrize(
    ("export_type", "fields"),
    [(MARKETPLACE_PAYOUTS, ["supplierIds", *OF_TRANSFERS]), (SUPPLIER_PAYOUTS, OF_TRANSFERS)],
    ids=lambda value: value.slug if isinstance(value, ExportType) else "",
)
def test_filter_of_another_type_is_rejected(tenant: Tenant, export_type: ExportType, fields: list[str]) -> None:
    response = tenant.post({"filter": dict.fromkeys(fields, "x")}, export_type=export_type)
    assert (response.status, set(response.error_codes())) == (400, {"F-E-008"}), response
    assert {error["field"] for error in response.json()["errors"]} == {f"filter.{field}" for field in fields}


def euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02}"


def assert_filtered(
    tenant: Tenant,
    export_type: ExportType,
    all_rows: list[dict[str, Any]],
    cases: list[tuple[dict[str, Any], Callable[[dict[str, Any]], bool]]],
) -> None:
    """Exports with each filter and compares the file with the rows that its condition selects."""
    for row_filter, is_selected in cases:
        expected = [row for row in all_rows if is_selected(row)]
        response = tenant.post({"filter": row_filter}, export_type=export_type)
        assert response.status == 202, response
        export = tenant.await_status(response.json()["exportId"], "READY")
        assert 0 < export["file"]["rows"] == len(expected) < len(all_rows), row_filter
        content = web.request("GET", export["downloadUrl"]).body
        assert content == expected_csv(expected, export_type=export_type.slug), row_filter
