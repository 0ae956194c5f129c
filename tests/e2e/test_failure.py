"""Exports that end as FAILED: a reason to act on, the tenant free again, and nothing left that looks like a file."""

from __future__ import annotations

from typing import Any

import pytest

from expected_csv import expected_csv
from interventions import changed, held_queue
from payouts import large_payouts, payout, plain_payouts
from tenant import EXPORTS, Tenant, await_quiet
from waiting import wait_for

# How many of the payouts that cannot be written are named.
NAMED = 20


def test_payouts_of_unknown_currency_fail_the_export_with_their_count_and_the_first_ids(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    unknown = [payout(f"po_unknown_{number:02}", currency="ZZZ") for number in range(NAMED + 5)]
    # They come after several parts have been written already.
    tenant.put_payouts([*large_payouts(50), *(row | {"createdAt": "2026-03-02T00:00:00.000Z"} for row in unknown)])
    export_id = tenant.launch(tenant.cc)
    export = tenant.await_status(export_id, "FAILED")
    failure = export["failure"]
    assert failure["code"] == "PAYOUTS_NOT_WRITABLE"
    assert failure["retryable"] is False
    assert "25 payouts" in failure["message"]
    assert "currency" in failure["message"]
    named = [row["payoutId"] for row in unknown if row["payoutId"] in failure["message"]]
    assert named == [row["payoutId"] for row in unknown[:NAMED]]
    assert "file" not in export
    assert_left_nothing(tenant, export_id)
    assert_told_the_requester_alone(tenant, failure)


def test_payout_with_a_value_missing_or_malformed_fails_the_export_and_is_named(tenant: Tenant) -> None:
    missing = payout("po_missing")
    del missing["reference"]
    faulty = [missing, payout("po_status", status="PAID"), payout("po_time", settledAt="2026-03-01")]
    tenant.put_payouts([*plain_payouts(3), *faulty])
    export_id = tenant.launch(tenant.cc)
    message = tenant.await_status(export_id, "FAILED")["failure"]["message"]
    assert "3 payouts" in message
    for named in ("po_missing", "reference", "po_status", "status", "po_time", "settledAt"):
        assert named in message
    assert_left_nothing(tenant, export_id)


def test_mail_that_ses_refuses_fails_the_export_which_keeps_its_file(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    payouts = plain_payouts(2)
    tenant.put_payouts(payouts)
    with changed(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
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


def test_export_that_meets_a_permanent_error_fails_at_its_second_attempt(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    # More tries than it takes.
    with changed(tenant.stack, "generate-export", PAYOUTS_TABLE="no-such-table", MAX_TRIES="9"):
        export_id = tenant.launch(tenant.cc)
        export = tenant.await_status(export_id, "FAILED", sweeping=True)
    assert export["failure"]["code"] == "GENERATION_FAILED"
    assert export["failure"]["retryable"] is True
    # A reader needs no names of tables to act on it.
    assert "no-such-table" not in export["failure"]["message"]
    assert "retrying does not fix" in export["failure"]["message"]
    assert tenant.record(export_id)["fence"] == 2
    assert_left_nothing(tenant, export_id)
    assert_told_the_requester_alone(tenant, export["failure"])


def test_export_past_its_deadline_fails_by_the_sweep_and_a_late_job_changes_nothing(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        with changed(tenant.stack, "create-export", EXPORT_DEADLINE="1s"):
            export_id = tenant.launch(tenant.cc)
        export = tenant.await_status(export_id, "FAILED", sweeping=True)
        assert export["failure"]["code"] == "DEADLINE_PASSED"
        assert export["failure"]["retryable"] is True
        assert_left_nothing(tenant, export_id)
        record = tenant.record(export_id)
    # Only now is the export's job message delivered.
    assert_told_the_requester_alone(tenant, export["failure"])
    assert tenant.record(export_id) == record


@pytest.mark.parametrize("ended_by", ["sweep-exports", "end-export"])
def test_export_whose_record_was_damaged_ends_and_its_tenant_can_launch_the_next(
    brisk_tenant: Tenant, ended_by: str
) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        with changed(tenant.stack, "create-export", EXPORT_DEADLINE="1s" if ended_by == "sweep-exports" else "6h"):
            export_id = tenant.launch(tenant.cc)
        tenant.stack.client("dynamodb").update_item(
            TableName=tenant.stack.exportsTable,
            Key={"tenantId": {"S": tenant.id}, "sk": {"S": f"EXPORT#{export_id}"}},
            UpdateExpression="SET recipientTo = :nobody",
            ExpressionAttributeValues={":nobody": {"S": "nobody"}},
        )
        shown = tenant.get(export_id)
        assert (shown.status, shown.json()["errors"][0]["code"]) == (500, "INTERNAL"), shown
        (line,) = [line for line in tenant.stack.logs("get-export") if export_id in line and "request failed" in line]
        assert tenant.id in line
        assert "attribute recipientTo is missing or malformed" in line
        if ended_by == "sweep-exports":
            wait_for("a sweep to end it", lambda: status_after_sweep(tenant, export_id) == "FAILED")
            code = "DEADLINE_PASSED"
        else:
            answer = tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": export_id})
            assert (answer["requesterTold"], answer["unreadableAttribute"]) == (False, "recipientTo"), answer
            code = "ENDED_BY_ADMINISTRATOR"
        assert (record := tenant.record(export_id))["status"] == "FAILED", record
        assert record["failure"]["code"] == code
        assert_left_nothing(tenant, export_id)
        next_id = tenant.launch()
    # The job messages of both are delivered only now: the ended one's does nothing, and does not come back.
    tenant.await_status(next_id, "READY")
    await_quiet(tenant.stack)
    assert tenant.record(export_id) == record
    assert len(tenant.mails()) == 1
    # It hides none of the others, and is not left out in silence.
    assert [export["exportId"] for export in tenant.call("GET", EXPORTS).json()["content"]] == [next_id]
    assert any(export_id in line and "left out" in line for line in tenant.stack.logs("list-exports"))


def status_after_sweep(tenant: Tenant, export_id: str) -> str:
    tenant.stack.sweep()
    status: str = tenant.record(export_id)["status"]
    return status


def assert_left_nothing(tenant: Tenant, export_id: str) -> None:
    assert tenant.lock() is None
    assert tenant.objects() == []
    assert tenant.unfinished_uploads() == []
    assert [item["sk"] for item in tenant.items()] == [f"EXPORT#{export_id}"]
    assert "dueState" not in tenant.record(export_id)


def assert_told_the_requester_alone(tenant: Tenant, failure: dict[str, Any]) -> None:
    # The record says FAILED first; the mail follows.
    await_quiet(tenant.stack)
    mail = tenant.mail()
    assert (mail.to, mail.cc) == ([tenant.email], [])
    assert failure["message"] in mail.text
    assert not [copy for copy in tenant.stack.mails() if set(tenant.cc) & {*copy.to, *copy.cc}]
