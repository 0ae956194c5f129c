"""A deployment during exports loses nothing: this version continues with records of other versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from expected_csv import expected_csv
from interventions import held_queue
from payouts import plain_payouts
from tenant import Tenant, await_quiet

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
