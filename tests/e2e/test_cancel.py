"""Cancelling a pending export."""

from __future__ import annotations

from typing import Any

from expected_csv import expected_csv
from interventions import changed_settings, fast_redelivery, held_queue, kill, unsigned_links
from past_exports import days_from_now
from payouts import large_payouts, plain_payouts
from proxies import held_uploads
from tenant import Tenant, await_quiet
from waiting import now, wait_for
from web import Response

# Pages of a query take the emulator so long that the generator reads these for some seconds.
MANY = 600


def cancel(tenant: Tenant, export_id: str, **headers: str) -> Response:
    return tenant.call("POST", f"/v1/exports/{export_id}/cancel", headers=headers)


def cancelled(tenant: Tenant, export_id: str, **headers: str) -> dict[str, Any]:
    response = cancel(tenant, export_id, **headers)
    assert response.status == 200, response
    export: dict[str, Any] = response.json()
    assert (export["status"], export["failure"]["code"]) == ("FAILED", "CANCELLED")
    return export


def colleague_of(tenant: Tenant) -> tuple[str, dict[str, str]]:
    """The address of another operator of the tenant, and the header with their key."""
    email = f"colleague@{tenant.email.partition('@')[2]}"
    return email, {"dj-api-key": tenant.stack.issue_key(tenant.id, email)}


def assert_left_nothing(tenant: Tenant, export_id: str) -> None:
    """The export has no file, upload, unfinished part, checkpoint or lease."""
    record = tenant.record(export_id)
    assert record["status"] == "FAILED"
    assert not {"file", "leaseUntil", "nextCheckAt", "nextCheckState"} & record.keys()
    assert tenant.checkpoint(export_id) is None
    assert [key for key in tenant.objects() if export_id in key] == []
    assert (tenant.unfinished_uploads(), tenant.unfinished_parts()) == ([], [])


def test_cancelled_before_its_job_the_export_fails_and_the_next_is_accepted(tenant: Tenant) -> None:
    payouts = plain_payouts(3)
    tenant.put_payouts(payouts)
    with held_queue(tenant.stack):
        export_id = tenant.launch(tenant.cc)
        export = cancelled(tenant, export_id)
        assert tenant.lock() is None
        assert_left_nothing(tenant, export_id)
        record = tenant.record(export_id)
        next_id = tenant.launch()
    caller = {"email": tenant.email, "name": export["requestedBy"]["name"]}
    assert export["failure"] == {
        "code": "CANCELLED",
        "message": f"{caller['name']} cancelled the export.",
        "retryable": True,
        "cancelledBy": caller,
    }
    assert tenant.detail(export_id) == export
    # The job messages of both are delivered only now. The one of the cancelled export changes nothing.
    tenant.await_status(next_id, "READY")
    await_quiet(tenant.stack)
    assert tenant.record(export_id) == record
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(payouts)
    # Those who cancel their own export are not mailed.
    assert "is ready" in tenant.mail().subject


def test_cancelled_again_the_export_is_returned_unchanged(tenant: Tenant) -> None:
    email, key = colleague_of(tenant)
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        export = cancelled(tenant, export_id)
        record = tenant.record(export_id)
        assert cancelled(tenant, export_id) == export
        assert cancelled(tenant, export_id, **key) == export
        assert tenant.record(export_id) == record
    await_quiet(tenant.stack)
    assert tenant.mails() == []
    assert [mail for mail in tenant.stack.mails() if email in mail.to] == []


def test_requester_is_mailed_if_somebody_else_cancels(tenant: Tenant) -> None:
    email, key = colleague_of(tenant)
    with held_queue(tenant.stack):
        export_id = tenant.launch(tenant.cc)
        export = cancelled(tenant, export_id, **key)
    assert export["failure"]["cancelledBy"]["email"] == email
    assert export["requestedBy"]["email"] == tenant.email
    mail = tenant.mail()
    assert (mail.to, mail.cc) == ([tenant.email], [])
    assert mail.subject == "Your marketplace payouts export was cancelled"
    assert export["failure"]["message"] in mail.text
    assert export_id in mail.text


def test_owner_of_a_cancelled_export_stops_and_deletes_its_upload(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(large_payouts(MANY))
    with changed_settings(tenant.stack, "generate-export", READERS="1", CHECKPOINT_EVERY="1s"):
        export_id = tenant.launch()
        wait_for("a part to be written", lambda: tenant.unfinished_uploads(), seen=lambda: tenant.describe(export_id))
        export = cancelled(tenant, export_id)
        assert tenant.lock() is None
        rows = export["progress"]["rows"]
        await_quiet(tenant.stack)
        assert rows < MANY
        assert_left_nothing(tenant, export_id)
        assert tenant.record(export_id)["fencingToken"] == 1
    tenant.await_status(tenant.launch(), "READY")
    assert len(tenant.objects()) == 1


def test_upload_of_a_killed_owner_is_aborted_once_its_lease_has_expired(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(large_payouts(60))
    with fast_redelivery(tenant.stack, visibility_seconds=2, max_receives=5):
        with changed_settings(tenant.stack, "generate-export", CHECKPOINT_EVERY="0s"), held_uploads(tenant.stack):
            export_id = tenant.launch()
            wait_for("a checkpoint", lambda: tenant.checkpoint(export_id), seen=lambda: tenant.describe(export_id))
            assert kill(tenant.stack, "generate-export") > 0
        # So no delivery acquires the lease.
        await_quiet(tenant.stack)
    expired = days_from_now(-1 / 86_400)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": tenant.id}, "sk": {"S": f"EXPORT#{export_id}"}},
        UpdateExpression="SET leaseUntil = :expired",
        ExpressionAttributeValues={":expired": {"S": expired}},
    )
    assert expired < now()
    assert len(tenant.unfinished_uploads()) == 1
    cancelled(tenant, export_id)
    assert_left_nothing(tenant, export_id)


def test_export_that_has_ended_is_not_cancellable(tenant: Tenant) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.world()
    response = cancel(tenant, export_id)
    assert (response.status, response.error_codes()) == (409, ["EXPORT_NOT_CANCELLABLE"])
    assert "Retry-After" not in response.headers
    assert tenant.world() == before


def test_export_with_a_file_is_not_cancellable(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with unsigned_links(tenant.stack):
        export_id = tenant.launch()
        wait_for("the file to be recorded", lambda: "file" in tenant.detail(export_id))
        response = cancel(tenant, export_id)
        assert (response.status, response.error_codes()) == (409, ["EXPORT_NOT_CANCELLABLE"])
    tenant.await_status(export_id, "READY")


def test_export_of_another_tenant_is_not_found_and_unchanged(tenant: Tenant) -> None:
    other = Tenant(tenant.stack, "cancels the exports of others")
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        before = tenant.items()
        response = cancel(other, export_id)
        assert (response.status, response.error_codes()) == (404, ["F-E-002"])
        assert tenant.items() == before
    tenant.await_status(export_id, "READY")
