"""Malformed, unknown and redelivered job messages."""

from __future__ import annotations

import json
from typing import Any

from interventions import batches_of, changed_settings, fast_redelivery, held_queue
from payouts import plain_payouts
from stack import Stack
from tenant import Tenant, await_quiet, undelivered
from waiting import wait_for

NOT_JSON = "not JSON"
MAX_RECEIVES = 2


def test_malformed_job_message_moves_to_the_dead_letter_queue(brisk_tenant: Tenant) -> None:
    stack = brisk_tenant.stack
    with fast_redelivery(stack, visibility_seconds=1, max_receives=MAX_RECEIVES):
        send(stack, NOT_JSON)
        assert dead_letters(stack, 1) == [NOT_JSON]
        await_quiet(stack)


def test_job_message_of_an_unknown_export_is_dropped_and_logged(brisk_tenant: Tenant) -> None:
    stack, unknown = brisk_tenant.stack, "mpo_01a11f3a-7000-7abc-8def-000000000001"
    before = brisk_tenant.world()
    brisk_tenant.send_job(unknown)
    await_quiet(stack)
    wait_for("a log line", lambda: log_lines(stack, unknown))
    (line,) = log_lines(stack, unknown)
    assert json.loads(line)["level"] == "WARN"
    assert undelivered(stack, stack.deadLetterQueueUrl) == 0
    assert brisk_tenant.world() == before


def test_valid_messages_of_a_batch_with_malformed_ones_succeed(brisk_tenant: Tenant) -> None:
    stack, unknown = brisk_tenant.stack, "mpo_01a11f3a-7000-7abc-8def-000000000002"
    tenants = [brisk_tenant, Tenant(stack, "other of the batch")]
    with fast_redelivery(stack, visibility_seconds=2, max_receives=MAX_RECEIVES):
        with batches_of(stack, 10), held_queue(stack):
            send(stack, NOT_JSON)
            brisk_tenant.send_job(unknown)
            exports = []
            for tenant in tenants:
                tenant.put_payouts(plain_payouts(2))
                exports.append(tenant.launch())
                send(stack, NOT_JSON)
        for tenant, export_id in zip(tenants, exports, strict=True):
            tenant.await_status(export_id, "READY")
        assert dead_letters(stack, 3) == [NOT_JSON] * 3
        await_quiet(stack)
    for tenant in tenants:
        assert len(tenant.objects()) == 1
        assert len(tenant.mails()) == 1
    assert len(log_lines(stack, unknown)) == 1


def test_redriven_dead_letter_finishes_its_export(brisk_tenant: Tenant) -> None:
    stack = brisk_tenant.stack
    with (
        fast_redelivery(stack, visibility_seconds=1, max_receives=MAX_RECEIVES),
        changed_settings(stack, "generate-export", EXPORTS_TABLE="no-such-table"),
    ):
        export_id = brisk_tenant.launch()
        (letter,) = dead_letters(stack, 1)
        await_quiet(stack)
    assert brisk_tenant.detail(export_id)["status"] == "PENDING"
    # Sent directly, because the emulator does not support StartMessageMoveTask.
    send(stack, letter)
    brisk_tenant.await_status(export_id, "READY")
    assert brisk_tenant.record(export_id)["attempts"] == 1
    assert len(brisk_tenant.mails()) == 1


def send(stack: Stack, body: str) -> None:
    stack.client("sqs").send_message(QueueUrl=stack.jobsQueueUrl, MessageBody=body)


def dead_letters(stack: Stack, number: int) -> list[str]:
    """Waits for that many messages in the dead-letter queue, deletes them and returns their bodies."""
    client, url = stack.client("sqs"), stack.deadLetterQueueUrl
    wait_for(f"{number} dead letters", lambda: undelivered(stack, url) >= number)
    received: list[dict[str, Any]] = client.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    for message in received:
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return [message["Body"] for message in received]


def log_lines(stack: Stack, text: str) -> list[str]:
    return [line for line in stack.logs("generate-export") if text in line]
