"""Lost messages, killed processes and duplicate deliveries still lead to READY, one file and one e-mail."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

from expected_csv import Payout, expected_csv
from interventions import changed_settings, fast_redelivery, held_queue, kill, shorten_lease, timeout_of, unsigned_links
from payouts import large_payouts, plain_payouts
from proxies import held_uploads, slow_queries
from stack import Stack
from tenant import Tenant, await_quiet, undelivered
from waiting import now, wait_for


def test_export_with_a_lost_job_message_is_finished_by_the_sweep(brisk_tenant: Tenant) -> None:
    payouts = plain_payouts(3)
    brisk_tenant.put_payouts(payouts)
    with lost_job_message(brisk_tenant.stack):
        export_id = brisk_tenant.launch()
        assert undelivered(brisk_tenant.stack, brisk_tenant.stack.jobsQueueUrl) == 0
        assert brisk_tenant.detail(export_id)["status"] == "PENDING"
    brisk_tenant.await_status(export_id, "READY", sweeping=True)
    assert_done_once(brisk_tenant, payouts)


def test_export_of_a_killed_generator_is_ready_after_its_lease(brisk_tenant: Tenant) -> None:
    tenant, payouts = brisk_tenant, large_payouts(60)
    tenant.put_payouts(payouts)
    with fast_redelivery(tenant.stack, visibility_seconds=2, max_receives=5):
        with held_uploads(tenant.stack):
            export_id = tenant.launch()
            wait_for("a part to be written", lambda: written_parts(tenant), seen=lambda: tenant.describe(export_id))
            assert kill(tenant.stack, "generate-export") > 0
        record = tenant.record(export_id)
        assert (record["status"], record["fencingToken"]) == ("PENDING", 1)
        assert "file" not in record
        assert tenant.objects() == []
        # The lease outlasts an invocation. Delivery and sweep both respect it.
        await_quiet(tenant.stack)
        tenant.stack.sweep()
        await_quiet(tenant.stack)
        assert tenant.record(export_id)["fencingToken"] == 1

        lease_end = shorten_lease(tenant, export_id)
        ready = tenant.await_status(export_id, "READY", sweeping=True)
        assert ready["updatedAt"] > lease_end
        assert tenant.record(export_id)["fencingToken"] == 2
        assert_done_once(tenant, payouts)


def test_mail_after_a_failed_attempt_uses_the_recorded_file(brisk_tenant: Tenant) -> None:
    tenant, payouts = brisk_tenant, plain_payouts(3)
    tenant.put_payouts(payouts)
    # The next attempt must start after the cause is fixed.
    with unsigned_links(tenant.stack):
        export_id = tenant.launch()

        def has_released_lease() -> bool:
            record = tenant.record(export_id)
            return "file" in record and "leaseUntil" not in record

        wait_for("the first attempt to end", has_released_lease, seen=lambda: tenant.describe(export_id))
        assert tenant.detail(export_id)["status"] == "PENDING"
        assert tenant.mails() == []
    tenant.await_status(export_id, "READY")
    assert tenant.record(export_id)["fencingToken"] == 2
    assert tenant.objects() == [f"exports/{tenant.id}/{export_id}/1.csv"]
    assert_done_once(tenant, payouts)


def test_export_that_fills_no_part_continues_after_the_last_row_read(brisk_tenant: Tenant) -> None:
    """Reading takes longer than an invocation: 15 pages of a second each."""
    tenant, payouts = brisk_tenant, large_payouts(300)
    for row in (payouts[7], payouts[200], payouts[299]):
        row["status"] = "FAILED"
    tenant.put_payouts(payouts)
    with (
        fast_redelivery(tenant.stack, visibility_seconds=12, max_receives=20),
        # A busy machine needs the seconds after the start, and those that are left for the unfinished part.
        timeout_of(tenant.stack, "generate-export", 12),
        slow_queries(tenant.stack, 1.0),
        changed_settings(tenant.stack, "generate-export", READERS="1", CONTINUE_BEFORE="3s"),
    ):
        export_id = tenant.post({"filter": {"statuses": ["FAILED"]}}).json()["exportId"]
        wait_for("an unfinished part", tenant.unfinished_parts, seen=lambda: tenant.describe(export_id))
        tenant.await_status(export_id, "READY", sweeping=True)
    record = tenant.record(export_id)
    assert (record["rowsRead"], record["rowsWritten"]) == (len(payouts), 3)
    assert record["fencingToken"] > 1
    log = [json.loads(line) for line in tenant.stack.logs("generate-export") if export_id in line]

    def requests(message: str) -> set[str]:
        return {line["spans"][0]["requestId"] for line in log if line.get("message", "").startswith(message)}

    assert requests("continuing from the checkpoint")
    assert not requests("restarting the file")
    # On a busy machine, an invocation may be killed after it stored a part and before the checkpoint that names it. The
    # bucket's lifecycle rule deletes such a part.
    killed = (
        requests("acquired the lease") - requests("continuing in the next invocation") - requests("export is READY")
    )
    assert len(tenant.unfinished_parts()) <= len(killed)
    assert tenant.unfinished_uploads() == []
    assert_done_once(tenant, [row for row in payouts if row["status"] == "FAILED"])


def test_job_message_delivered_ten_times_makes_one_file_and_mail(brisk_tenant: Tenant) -> None:
    payouts = large_payouts(60)
    brisk_tenant.put_payouts(payouts)
    with held_queue(brisk_tenant.stack):
        export_id = brisk_tenant.launch()
        brisk_tenant.send_job(export_id, count=9)
    brisk_tenant.await_status(export_id, "READY")
    await_quiet(brisk_tenant.stack)
    assert brisk_tenant.record(export_id)["fencingToken"] == 1
    assert_done_once(brisk_tenant, payouts)


def test_job_message_after_ready_changes_nothing(tenant: Tenant) -> None:
    export = tenant.export()
    await_quiet(tenant.stack)
    before = tenant.world()
    tenant.send_job(export["exportId"], count=2)
    await_quiet(tenant.stack)
    assert tenant.world() == before


def test_concurrent_sweeps_enqueue_each_export_once(brisk_stack: Stack) -> None:
    tenants = [Tenant(brisk_stack, "swept at once") for _ in range(5)]
    # The same export is not enqueued again a second time during the test.
    with held_queue(brisk_stack), changed_settings(brisk_stack, "sweep-exports", RE_ENQUEUE_AFTER="60s"):
        with lost_job_message(brisk_stack):
            exports = [tenant.launch() for tenant in tenants]
        next_check = max(
            str(tenant.record(export)["nextCheckAt"]) for tenant, export in zip(tenants, exports, strict=True)
        )
        wait_for(f"the next check at {next_check}", lambda: now() > next_check)
        before = undelivered(brisk_stack, brisk_stack.jobsQueueUrl)
        at_once(brisk_stack.sweep, 4)
        assert undelivered(brisk_stack, brisk_stack.jobsQueueUrl) - before == len(tenants)
    for tenant, export in zip(tenants, exports, strict=True):
        tenant.await_status(export, "READY")
        assert_done_once(tenant, [])


def lost_job_message(stack: Stack) -> AbstractContextManager[None]:
    """Loses the messages that create-export sends to the queue."""
    return changed_settings(stack, "create-export", JOBS_QUEUE_URL=f"{stack.jobsQueueUrl}-that-is-not-there")


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
