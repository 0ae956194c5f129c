"""A deployment during exports loses nothing: one build continues what another one has stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

import build
import earlier
from expected_csv import expected_csv
from interventions import changed_settings, fast_redelivery, held_queue, kill, shorten_lease, timeout_of
from payouts import large_payouts, plain_payouts
from proxies import held_uploads, slow_queries
from tenant import Tenant, await_quiet, in_flight
from waiting import wait_for

STORED = Path(__file__).parent / "stored"


def stored(name: str, tenant: Tenant, export_id: str = "") -> Any:
    """The content of a file with the identifiers of this tenant."""
    text = (STORED / f"{name}.json").read_text(encoding="utf-8")
    return json.loads(text.replace("TENANT", tenant.id).replace("EMAIL", tenant.email).replace("EXPORT_ID", export_id))


def put(tenant: Tenant, item: Any) -> None:
    tenant.stack.client("dynamodb").put_item(TableName=tenant.stack.exportsTable, Item=item)


def enqueue(tenant: Tenant, message: Any) -> None:
    tenant.stack.client("sqs").send_message(QueueUrl=tenant.stack.jobsQueueUrl, MessageBody=json.dumps(message))


def assert_finished(tenant: Tenant, export_id: str, payouts: list[dict[str, Any]]) -> None:
    tenant.await_status(export_id, "READY")
    await_quiet(tenant.stack)
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(payouts)
    assert [item["sk"] for item in tenant.items()] == [f"EXPORT#{export_id}"]
    assert tenant.unfinished_uploads() == []
    assert tenant.mail().to == [tenant.email]


def test_export_stored_by_the_first_version_becomes_ready(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    payouts = plain_payouts(7)
    tenant.put_payouts(payouts)
    item = stored("export-of-the-first-version", tenant)
    export_id = item["exportId"]["S"]
    put(tenant, item)
    put(tenant, stored("lock-of-the-first-version", tenant))
    enqueue(tenant, stored("message-of-the-first-version", tenant))
    assert_finished(tenant, export_id, payouts)


@pytest.mark.parametrize("version", ["an-older", "a-newer"])
def test_checkpoint_of_another_version_restarts_the_export(brisk_tenant: Tenant, version: str) -> None:
    tenant = brisk_tenant
    payouts = plain_payouts(7)
    tenant.put_payouts(payouts)
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        put(tenant, stored(f"checkpoint-of-{version}-version", tenant, export_id))
        enqueue(tenant, stored(f"message-of-{version}-version", tenant, export_id))
    assert_finished(tenant, export_id, payouts)


# Brings an export of a tenant into a state and keeps it there, with the queue held. Yields the export's ID.
Interrupted = Callable[[Tenant], AbstractContextManager[str]]

BUILDS = {"earlier": earlier.PACKAGES, "today": build.PACKAGES}
both_ways = pytest.mark.parametrize(("first", "second"), [("earlier", "today"), ("today", "earlier")])


@contextmanager
def accepted(tenant: Tenant) -> Iterator[str]:
    """An export whose job is waiting."""
    with held_queue(tenant.stack):
        yield tenant.launch()


@contextmanager
def half_read(tenant: Tenant) -> Iterator[str]:
    """An export whose rows so far do not fill a part."""
    with stopped(tenant, part_size=1 << 26, left={"unfinished"}) as export_id:
        yield export_id


@contextmanager
def half_written(tenant: Tenant) -> Iterator[str]:
    """An export that stopped between two parts."""
    # Seven pages of the source table fill a part.
    with stopped(tenant, part_size=13 << 19, left={"unfinished", "upload"}) as export_id:
        yield export_id


@contextmanager
def stopped(tenant: Tenant, part_size: int, left: set[str]) -> Iterator[str]:
    stack = tenant.stack
    with held_queue(stack):
        with (
            timeout_of(stack, "generate-export", 4),
            changed_settings(stack, "generate-export", READERS="1", PART_SIZE=str(part_size)),
            # Without them, a release build would read all pages within the first invocation.
            slow_queries(stack, 0.1),
        ):
            export_id = tenant.launch()
            wait_for(f"a checkpoint with {left}", lambda: left == left_by_an_invocation(tenant, export_id))
        yield export_id


def left_by_an_invocation(tenant: Tenant, export_id: str) -> set[str]:
    """Lets the generator work once, or a few times. Whether its checkpoint names an upload and an unfinished part."""
    tenant.stack.hold_queue(False)
    wait_for("a job to be received", lambda: in_flight(tenant.stack), seen=lambda: tenant.describe(export_id))
    tenant.stack.hold_queue(True)
    wait_for("the generator to stop", lambda: not in_flight(tenant.stack))
    return {"upload", "unfinished"} & (tenant.checkpoint(export_id) or {}).keys()


@contextmanager
def being_mailed(tenant: Tenant) -> Iterator[str]:
    """An export with a file whose e-mail SES has not accepted."""
    stack = tenant.stack
    # Nothing listens on this port. The next attempt would be after the queue is held.
    settings = {"AWS_ENDPOINT_URL_SESV2": "http://127.0.0.1:9", "RETRY_BACKOFF": "10s"}
    with held_queue(stack):
        with changed_settings(stack, "generate-export", **settings):
            export_id = tenant.launch()
            stack.hold_queue(False)

            def is_released_with_file() -> bool:
                record = tenant.record(export_id)
                return "file" in record and "leaseUntil" not in record

            wait_for("a failed attempt to mail", is_released_with_file, seen=lambda: tenant.describe(export_id))
            stack.hold_queue(True)
        yield export_id


@both_ways
@pytest.mark.parametrize("interrupted", [accepted, half_read, half_written, being_mailed])
def test_export_is_finished_by_another_build(
    earlier_tenant: Tenant, first: str, second: str, interrupted: Interrupted
) -> None:
    tenant, has_checkpoint = earlier_tenant, interrupted in (half_read, half_written)
    payouts = large_payouts(900) if has_checkpoint else plain_payouts(7)
    tenant.put_payouts(payouts)
    tenant.stack.update_code(BUILDS[first])
    with fast_redelivery(tenant.stack, visibility_seconds=10, max_receives=20):
        with interrupted(tenant) as export_id:
            tenant.stack.update_code(BUILDS[second])
            known = len(tenant.stack.logs("generate-export"))
        tenant.await_status(export_id, "READY", sweeping=True)
        assert_finished(tenant, export_id, payouts)
    assert_continued(tenant, export_id, known, has_checkpoint)


@both_ways
def test_export_of_a_killed_generator_is_finished_by_another_build(
    earlier_tenant: Tenant, first: str, second: str
) -> None:
    tenant, payouts = earlier_tenant, large_payouts(60)
    tenant.put_payouts(payouts)
    tenant.stack.update_code(BUILDS[first])
    with fast_redelivery(tenant.stack, visibility_seconds=2, max_receives=5):
        with changed_settings(tenant.stack, "generate-export", CHECKPOINT_EVERY="0s"), held_uploads(tenant.stack):
            export_id = tenant.launch()
            wait_for("a checkpoint", lambda: tenant.checkpoint(export_id), seen=lambda: tenant.describe(export_id))
            assert kill(tenant.stack, "generate-export") > 0
        await_quiet(tenant.stack)
        tenant.stack.update_code(BUILDS[second])
        shorten_lease(tenant, export_id)
        known = len(tenant.stack.logs("generate-export"))
        tenant.await_status(export_id, "READY", sweeping=True)
        assert_finished(tenant, export_id, payouts)
    assert_continued(tenant, export_id, known)


def assert_continued(tenant: Tenant, export_id: str, known: int, has_checkpoint: bool = True) -> None:
    """The file that was started was finished, according to the log lines after the first `known` ones."""
    log = [line for line in tenant.stack.logs("generate-export")[known:] if export_id in line]
    assert has_checkpoint == any("continuing from the checkpoint" in line for line in log)
    assert not any("restarting the file" in line for line in log)
