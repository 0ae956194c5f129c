"""What is lost, killed or done twice on the way changes nothing about the end: READY, one file, one mail."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from expected_csv import Payout, expected_csv
from held_uploads import held_uploads
from interventions import changed, held_queue, impatient_queue, kill
from past_exports import in_days
from payouts import large_payouts, plain_payouts
from stack import Stack
from tenant import Tenant, await_quiet, undelivered
from waiting import now, wait_for


def test_job_message_that_cannot_be_sent_gives_202_and_the_sweep_brings_the_export_to_ready(
    brisk_tenant: Tenant,
) -> None:
    payouts = plain_payouts(3)
    brisk_tenant.put_payouts(payouts)
    with lost_bell(brisk_tenant.stack):
        export_id = brisk_tenant.launch()
        assert undelivered(brisk_tenant.stack, brisk_tenant.stack.jobsQueueUrl) == 0
        assert brisk_tenant.detail(export_id)["status"] == "PENDING"
    brisk_tenant.await_status(export_id, "READY", sweeping=True)
    assert_done_once(brisk_tenant, payouts)


def test_generator_killed_half_way_leaves_an_export_that_becomes_ready_after_its_lease(brisk_tenant: Tenant) -> None:
    tenant, payouts = brisk_tenant, large_payouts(60)
    tenant.put_payouts(payouts)
    with impatient_queue(tenant.stack, visibility_seconds=2, most_receives=5):
        with held_uploads(tenant.stack):
            export_id = tenant.launch()
            wait_for("a part to be written", lambda: written_parts(tenant), seen=lambda: tenant.describe(export_id))
            assert kill(tenant.stack, "generate-export") > 0
        record = tenant.record(export_id)
        assert (record["status"], record["fence"]) == ("PENDING", 1)
        assert "file" not in record
        assert tenant.objects() == []
        # The lease outlives an invocation of minutes. Both delivery and sweep respect it.
        await_quiet(tenant.stack)
        tenant.stack.sweep()
        await_quiet(tenant.stack)
        assert tenant.record(export_id)["fence"] == 1

        lease_end = end_lease_soon(tenant, export_id)
        ready = tenant.await_status(export_id, "READY", sweeping=True)
        assert ready["updatedAt"] > lease_end
        assert tenant.record(export_id)["fence"] == 2
        assert_done_once(tenant, payouts)


def end_lease_soon(tenant: Tenant, export_id: str) -> str:
    """Moves the end of an export's lease, and when it is due, to a second from now."""
    soon = in_days(1 / 86_400)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": tenant.id}, "sk": {"S": f"EXPORT#{export_id}"}},
        UpdateExpression="SET leaseUntil = :soon, dueAt = :soon",
        ExpressionAttributeValues={":soon": {"S": soon}},
    )
    return soon


def test_mail_that_cannot_be_sent_for_now_is_sent_later_with_the_file_written_before(brisk_tenant: Tenant) -> None:
    tenant, payouts = brisk_tenant, plain_payouts(3)
    tenant.put_payouts(payouts)
    # Long enough that the next try comes after the cause is gone.
    with changed(tenant.stack, "generate-export", LINK_SIGNER_SECRET="no-such-secret", PERMANENT_ERROR_WAIT="3s"):
        export_id = tenant.launch()

        def has_given_up() -> bool:
            record = tenant.record(export_id)
            return "file" in record and "leaseUntil" not in record

        wait_for("the first try to be over", has_given_up, seen=lambda: tenant.describe(export_id))
        assert tenant.detail(export_id)["status"] == "PENDING"
        assert tenant.mails() == []
    tenant.await_status(export_id, "READY")
    assert tenant.record(export_id)["fence"] == 2
    assert tenant.objects() == [f"exports/{tenant.id}/{export_id}/1.csv"]
    assert_done_once(tenant, payouts)


def test_job_message_delivered_ten_times_at_once_makes_one_file_and_one_mail(brisk_tenant: Tenant) -> None:
    payouts = large_payouts(60)
    brisk_tenant.put_payouts(payouts)
    with held_queue(brisk_tenant.stack):
        export_id = brisk_tenant.launch()
        brisk_tenant.send_job(export_id, copies=9)
    brisk_tenant.await_status(export_id, "READY")
    await_quiet(brisk_tenant.stack)
    assert brisk_tenant.record(export_id)["fence"] == 1
    assert_done_once(brisk_tenant, payouts)


def test_job_message_that_comes_again_after_ready_changes_nothing(tenant: Tenant) -> None:
    export = tenant.export()
    await_quiet(tenant.stack)
    before = tenant.world()
    tenant.send_job(export["exportId"], copies=2)
    await_quiet(tenant.stack)
    assert tenant.world() == before


def test_sweeps_at_once_ring_once_for_each_export(brisk_stack: Stack) -> None:
    tenants = [Tenant(brisk_stack, "swept at once") for _ in range(5)]
    # The next ring is too far away to be mistaken for a second one.
    with held_queue(brisk_stack), changed(brisk_stack, "sweep-exports", RING_AFTER="60s"):
        with lost_bell(brisk_stack):
            exports = [tenant.launch() for tenant in tenants]
        due = max(str(tenant.record(export)["dueAt"]) for tenant, export in zip(tenants, exports, strict=True))
        wait_for(f"{due}, when the exports are due", lambda: now() > due)
        before = undelivered(brisk_stack, brisk_stack.jobsQueueUrl)
        at_once(brisk_stack.sweep, 4)
        assert undelivered(brisk_stack, brisk_stack.jobsQueueUrl) - before == len(tenants)
    for tenant, export in zip(tenants, exports, strict=True):
        tenant.await_status(export, "READY")
        assert_done_once(tenant, [])


def lost_bell(stack: Stack) -> AbstractContextManager[None]:
    """What create-export sends to the queue does not arrive."""
    return changed(stack, "create-export", JOBS_QUEUE_URL=f"{stack.jobsQueueUrl}-that-is-not-there")


def written_parts(tenant: Tenant) -> list[Any]:
    """The parts of the tenant's unfinished upload."""
    client, bucket = tenant.stack.client("s3"), tenant.stack.bucket
    return [
        part
        for upload in tenant.unfinished_uploads()
        for part in client.list_parts(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]).get("Parts", [])
    ]


def assert_done_once(tenant: Tenant, payouts: Sequence[Payout]) -> None:
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(payouts)
    assert len(tenant.mails()) == 1
    assert tenant.lock() is None


def at_once(action: Any, times: int) -> None:
    with ThreadPoolExecutor(times) as threads:
        for done in [threads.submit(action) for _ in range(times)]:
            done.result()
