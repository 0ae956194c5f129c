"""Exports that fail: a clear reason, no lock, and no partial file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import sample_rows
import web
from expected_csv import expected_csv, expected_invalid_rows
from export_types import EXPORT_TYPES, ExportType
from interventions import changed_settings, held_queue
from payouts import large_payouts, payout, plain_payouts
from tenant import EXPORTS, Tenant, await_quiet
from waiting import wait_for

# How many invalid rows the failure message names.
NAMED = 20


def test_invalid_rows_fail_the_export_with_count_and_first_ids(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    unknown = [payout(f"po_unknown_{number:02}", currency="ZZZ") for number in range(NAMED + 5)]
    # They follow after several parts.
    tenant.put_payouts([*large_payouts(50), *(row | {"createdAt": "2026-03-02T00:00:00.000Z"} for row in unknown)])
    export_id = tenant.launch(tenant.cc)
    export = tenant.await_status(export_id, "FAILED")
    failure = export["failure"]
    assert failure["code"] == "INVALID_ROWS"
    assert failure["retryable"] is False
    assert "25 payouts" in failure["message"]
    assert "currency" in failure["message"]
    named = [row["payoutId"] for row in unknown if row["payoutId"] in failure["message"]]
    assert named == [row["payoutId"] for row in unknown[:NAMED]]
    assert "file" not in export
    assert_left_invalid_rows(tenant, export_id, [(row["payoutId"], "currency", "unknown", "ZZZ") for row in unknown])
    assert_only_the_requester_is_mailed(tenant, failure)
    assert "ZZZ" not in "".join([tenant.mail().text, tenant.mail().html, str(tenant.items())])
    assert not [line for line in tenant.stack.logs("generate-export") if "ZZZ" in line]


def test_file_of_invalid_rows_is_linked_until_it_is_deleted(tenant: Tenant) -> None:
    tenant.put_payouts([payout("=po_1", status="=PAID", reference="")])
    export_id = tenant.launch()
    failure = tenant.await_status(export_id, "FAILED")["failure"]
    (listed,) = tenant.call("GET", EXPORTS).json()["content"]
    assert listed["failure"]["invalidRows"] == {"count": 1, "isComplete": True}
    response = web.request("GET", failure["invalidRows"]["downloadUrl"])
    assert (response.status, response.headers["Content-Type"]) == (200, "text/csv; charset=utf-8"), response
    assert f'filename="marketplace-payouts-invalid-rows-{tenant.id}-' in response.headers["Content-Disposition"]
    lines = [("=po_1", "reference", "missing", ""), ("=po_1", "status", "unknown", "=PAID")]
    assert_left_invalid_rows(tenant, export_id, lines)
    resent = tenant.call("POST", f"/v1/exports/{export_id}/resend-email")
    assert (resent.status, resent.error_codes()) == (409, ["EXPORT_NOT_RESENDABLE"]), resent
    key = tenant.record(export_id)["failure"]["invalidRows"]["key"]
    tenant.stack.client("s3").delete_object(Bucket=tenant.stack.bucket, Key=key)
    assert tenant.detail(export_id)["failure"]["invalidRows"] == {"count": 1, "isComplete": True}


def test_row_that_does_not_fit_its_sort_key_fails_the_export(tenant: Tenant) -> None:
    moved, renamed, no_key, later = payout("po_moved"), payout("po_renamed"), payout("po_no_key"), payout("po_later")
    keys = {
        "po_moved": "2026-03-01T10:00:00.001Z#po_moved",
        "po_renamed": "2026-03-01T10:00:00.000Z#po_other",
        "po_no_key": "2026-03-01",
        # They sort after `asOf`, so they are not read.
        "po_later": "9999-01-01T00:00:00.000Z#po_later",
        "po_last": "po_last",
    }
    table = tenant.stack.table(tenant.stack.payoutsTable)
    for row in (moved, renamed, no_key, later, payout("po_last")):
        table.put_item(Item={"tenantId": tenant.id, "sk": keys[row["payoutId"]], **row})
    export_id = tenant.launch()
    failure = tenant.await_status(export_id, "FAILED")["failure"]
    assert failure["message"] == (
        '3 payouts cannot be written: "po_no_key" (sort_key malformed), '
        '"po_renamed" (payout_id differs from the sort key), "po_moved" (created_at differs from the sort key).'
    )
    lines = [
        ("po_no_key", "sort_key", "malformed", "2026-03-01"),
        ("po_renamed", "payout_id", "differs from the sort key", "po_renamed"),
        ("po_moved", "created_at", "differs from the sort key", "2026-03-01T10:00:00.000Z"),
    ]
    assert_left_invalid_rows(tenant, export_id, lines)


def test_missing_or_malformed_value_fails_the_export(tenant: Tenant) -> None:
    missing = payout("po_missing")
    del missing["reference"]
    invalid = [missing, payout("po_status", status="PAID"), payout("po_time", settledAt="2026-03-01")]
    tenant.put_payouts([*plain_payouts(3), *invalid])
    export_id = tenant.launch(tenant.cc)
    message = tenant.await_status(export_id, "FAILED")["failure"]["message"]
    assert "3 payouts" in message
    for named in ("po_missing", "reference", "po_status", "status", "po_time", "settled_at"):
        assert named in message
    lines = [
        ("po_missing", "reference", "missing", ""),
        ("po_status", "status", "unknown", "PAID"),
        ("po_time", "settled_at", "malformed", "2026-03-01"),
    ]
    assert_left_invalid_rows(tenant, export_id, lines)


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda known: known.slug)
def test_mail_rejected_by_ses_fails_the_export_with_its_file(brisk_tenant: Tenant, export_type: ExportType) -> None:
    tenant = brisk_tenant
    rows = list(sample_rows.rows(export_type, tenant.id, 2))
    tenant.stack.put_rows(export_type, tenant.id, rows)
    with changed_settings(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
        export_id = tenant.launch(tenant.cc, export_type)
        export = tenant.await_status(export_id, "FAILED")
    await_quiet(tenant.stack)
    assert export["failure"]["code"] == "EMAIL_NOT_SENT"
    assert export["file"]["rows"] == len(rows)
    assert "downloadUrl" not in export
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(rows, export_type=export_type.slug)
    assert tenant.lock(export_type) is None
    assert tenant.mails() == []


def test_permanent_error_fails_the_export_at_its_second_attempt(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    # More attempts than needed.
    with changed_settings(tenant.stack, "generate-export", PAYOUTS_TABLE="no-such-table", MAX_ATTEMPTS="9"):
        export_id = tenant.launch(tenant.cc)
        export = tenant.await_status(export_id, "FAILED", sweeping=True)
    assert (export["failure"]["code"], export["failure"]["retryable"]) == ("INTERNAL_ERROR", False)
    # The message must not contain internal names.
    assert "no-such-table" not in export["failure"]["message"]
    assert "retrying does not fix" in export["failure"]["message"]
    assert tenant.record(export_id)["fencingToken"] == 2
    assert_left_nothing(tenant, export_id)
    assert_only_the_requester_is_mailed(tenant, export["failure"])


def test_sweep_fails_an_export_past_its_deadline(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        with changed_settings(tenant.stack, "create-export", EXPORT_DEADLINE="1s"):
            export_id = tenant.launch(tenant.cc)
        export = tenant.await_status(export_id, "FAILED", sweeping=True)
        assert export["failure"]["code"] == "DEADLINE_PASSED"
        assert export["failure"]["retryable"] is True
        assert_left_nothing(tenant, export_id)
        record = tenant.record(export_id)
    # The export's job message is delivered only now.
    assert_only_the_requester_is_mailed(tenant, export["failure"])
    assert tenant.record(export_id) == record


@pytest.mark.parametrize("failed_by", ["sweep-exports", "fail-export"])
def test_export_with_a_corrupt_record_fails_and_frees_the_lock(brisk_tenant: Tenant, failed_by: str) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        with changed_settings(
            tenant.stack, "create-export", EXPORT_DEADLINE="1s" if failed_by == "sweep-exports" else "6h"
        ):
            export_id = tenant.launch(tenant.cc)
        tenant.stack.client("dynamodb").update_item(
            TableName=tenant.stack.exportsTable,
            Key={"tenantId": {"S": tenant.id}, "sk": {"S": f"EXPORT#{export_id}"}},
            UpdateExpression="SET recipientTo = :invalid",
            ExpressionAttributeValues={":invalid": {"S": "invalid"}},
        )
        shown = tenant.get(export_id)
        assert (shown.status, shown.json()["errors"][0]["code"]) == (500, "INTERNAL"), shown
        (line,) = [line for line in tenant.stack.logs("get-export") if export_id in line and "request failed" in line]
        assert tenant.id in line
        assert "attribute recipientTo is missing or malformed" in line
        if failed_by == "sweep-exports":
            wait_for("a sweep to fail it", lambda: status_after_sweep(tenant, export_id) == "FAILED")
            code = "DEADLINE_PASSED"
        else:
            response = tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": export_id})
            assert (response["requesterMailed"], response["corruptAttribute"]) == (False, "recipientTo"), response
            code = "FAILED_BY_ADMINISTRATOR"
        assert (record := tenant.record(export_id))["status"] == "FAILED", record
        assert record["failure"]["code"] == code
        assert_left_nothing(tenant, export_id)
        next_id = tenant.launch()
    # The job messages of both are delivered only now. The one of the failed export changes nothing and is not retried.
    tenant.await_status(next_id, "READY")
    await_quiet(tenant.stack)
    assert tenant.record(export_id) == record
    assert len(tenant.mails()) == 1
    # The history omits the corrupt record, logs it, and lists the other exports.
    assert [export["exportId"] for export in tenant.call("GET", EXPORTS).json()["content"]] == [next_id]
    omitted = "corrupt record omitted from the history"
    assert any(export_id in line and omitted in line for line in tenant.stack.logs("list-exports"))


def status_after_sweep(tenant: Tenant, export_id: str) -> str:
    tenant.stack.sweep()
    status: str = tenant.record(export_id)["status"]
    return status


def assert_left_invalid_rows(tenant: Tenant, export_id: str, lines: list[tuple[str, str, str, str]]) -> None:
    """The only object is the file of invalid rows, with these lines."""
    rows = tenant.detail(export_id)["failure"]["invalidRows"]
    assert (rows["count"], rows["isComplete"]) == (len({row_id for row_id, *_ in lines}), True)
    assert web.request("GET", rows["downloadUrl"]).body == expected_invalid_rows(lines)
    assert_left_nothing(tenant, export_id, [tenant.record(export_id)["failure"]["invalidRows"]["key"]])


def assert_left_nothing(tenant: Tenant, export_id: str, objects: Sequence[str] = ()) -> None:
    assert tenant.lock() is None
    assert tenant.objects() == list(objects)
    assert (tenant.unfinished_uploads(), tenant.unfinished_parts()) == ([], [])
    assert [item["sk"] for item in tenant.items()] == [f"EXPORT#{export_id}"]
    assert "nextCheckState" not in tenant.record(export_id)


def assert_only_the_requester_is_mailed(tenant: Tenant, failure: dict[str, Any]) -> None:
    # The e-mail is sent after the record says FAILED.
    await_quiet(tenant.stack)
    mail = tenant.mail()
    assert (mail.to, mail.cc) == ([tenant.email], [])
    assert failure["message"] in mail.text
    assert not [other for other in tenant.stack.mails() if set(tenant.cc) & {*other.to, *other.cc}]
