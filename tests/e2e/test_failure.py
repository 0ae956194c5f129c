"""Exports that fail: a clear reason, no lock, and no partial file."""

from __future__ import annotations

from typing import Any

import pytest

from expected_csv import expected_csv
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
    assert_left_nothing(tenant, export_id)
    assert_only_the_requester_is_mailed(tenant, failure)


def test_missing_or_malformed_value_fails_the_export(tenant: Tenant) -> None:
    missing = payout("po_missing")
    del missing["reference"]
    invalid = [missing, payout("po_status", status="PAID"), payout("po_time", settledAt="2026-03-01")]
    tenant.put_payouts([*plain_payouts(3), *invalid])
    export_id = tenant.launch(tenant.cc)
    message = tenant.await_status(export_id, "FAILED")["failure"]["message"]
    assert "3 payouts" in message
    for named in ("po_missing", "reference", "po_status", "status", "po_time", "settledAt"):
        assert named in message
    assert_left_nothing(tenant, export_id)


def test_mail_rejected_by_ses_fails_the_export_with_its_file(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    payouts = plain_payouts(2)
    tenant.put_payouts(payouts)
    with changed_settings(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
        export_id = tenant.launch(tenant.cc)
        export = tenant.await_status(export_id, "FAILED")
    await_quiet(tenant.stack)
    assert export["failure"]["code"] == "EMAIL_NOT_SENT"
    assert export["file"]["rows"] == len(payouts)
    assert "downloadUrl" not in export
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(payouts)
    assert tenant.lock() is None
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


def assert_left_nothing(tenant: Tenant, export_id: str) -> None:
    assert tenant.lock() is None
    assert tenant.objects() == []
    assert tenant.unfinished_uploads() == []
    assert [item["sk"] for item in tenant.items()] == [f"EXPORT#{export_id}"]
    assert "nextCheckState" not in tenant.record(export_id)


def assert_only_the_requester_is_mailed(tenant: Tenant, failure: dict[str, Any]) -> None:
    # The e-mail is sent after the record says FAILED.
    await_quiet(tenant.stack)
    mail = tenant.mail()
    assert (mail.to, mail.cc) == ([tenant.email], [])
    assert failure["message"] in mail.text
    assert not [other for other in tenant.stack.mails() if set(tenant.cc) & {*other.to, *other.cc}]
