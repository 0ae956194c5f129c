"""Repeated requests."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import pytest

from interventions import held_queue
from past_exports import days_from_now
from tenant import EXPORTS, Tenant
from waiting import wait_for
from web import Response

# More than the local gateway runs at once, so few that none waits too long on a busy machine.
AT_ONCE = 24
KEY = "finance-close-2026-09"
CC = ["finance@cc.example"]


def post(tenant: Tenant, key: str = KEY, cc: list[str] | None = None, api_key: str = "") -> Response:
    headers = {"Idempotency-Key": key, "dj-api-key": api_key or tenant.key}
    return tenant.post(None if cc is None else {"cc": cc}, headers)


def idempotency_records(tenant: Tenant) -> list[dict[str, Any]]:
    return [item for item in tenant.items() if item["sk"].startswith("IDEMPOTENCY#")]


def test_concurrent_repeats_are_202_with_the_same_export(tenant: Tenant) -> None:
    start = Barrier(AT_ONCE)

    def repeat(_: int) -> Response:
        start.wait()
        return post(tenant, cc=CC)

    with held_queue(tenant.stack):
        with ThreadPoolExecutor(AT_ONCE) as threads:
            responses = list(threads.map(repeat, range(AT_ONCE)))
        other = [str(response) for response in responses if response.status != 202]
        assert not other, other
        (export_id,) = {response.json()["exportId"] for response in responses}
        assert {response.headers["Location"] for response in responses} == {f"{EXPORTS}/{export_id}"}
        # The export, its lock and the idempotency record.
        assert len(tenant.items()) == 3
    tenant.await_status(export_id, "READY")
    assert len(tenant.mails()) == 1


def test_repeated_request_returns_the_current_export(tenant: Tenant) -> None:
    first = post(tenant, cc=CC)
    export_id = first.json()["exportId"]
    ready = tenant.await_status(export_id, "READY")
    again = post(tenant, cc=CC)
    assert again.status == 202
    assert again.json() == {name: ready[name] for name in ready if not name.startswith("downloadUrl")}
    assert "Retry-After" not in again.headers
    # The normalized request counts, not its spelling.
    assert post(tenant, cc=[" finance@cc.example ", *CC, tenant.email]).json()["exportId"] == export_id
    assert len(tenant.mails()) == 1


def test_request_with_a_lost_response_can_be_repeated(tenant: Tenant) -> None:
    host = urlsplit(tenant.stack.apiUrl)
    assert host.hostname
    with socket.create_connection((host.hostname, host.port or 80)) as line:
        line.sendall(
            f"POST {EXPORTS} HTTP/1.1\r\nHost: {host.netloc}\r\ndj-client: OPERATOR\r\ndj-api-key: {tenant.key}\r\n"
            f"Idempotency-Key: {KEY}\r\nContent-Length: 0\r\n\r\n".encode()
        )
    # The response was not read.
    wait_for("the request to be accepted", lambda: idempotency_records(tenant))
    (item,) = idempotency_records(tenant)
    assert post(tenant).json()["exportId"] == item["exportId"]


def test_reused_key_is_rejected_before_a_pending_export(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        assert post(tenant, cc=CC).status == 202
        before = tenant.world()
        response = post(tenant)
        assert (response.status, response.error_codes()) == (422, ["IDEMPOTENCY_KEY_REUSED"])
        assert tenant.world() == before


@pytest.mark.parametrize("body", [{"cc": "x"}, {"cc": ["nobody"]}], ids=["bad", "bad_address"])
def test_rejected_request_leaves_no_idempotency_record(tenant: Tenant, body: Any) -> None:
    assert tenant.post(body, {"Idempotency-Key": KEY}).status == 400
    with held_queue(tenant.stack):
        pending = tenant.launch()
        assert post(tenant, cc=CC).status == 409
        assert idempotency_records(tenant) == []
    tenant.await_status(pending, "READY")
    response = post(tenant)
    assert response.status == 202
    assert response.json()["exportId"] != pending


@pytest.mark.parametrize(("age_in_days", "is_valid"), [(0.99, True), (1.01, False)])
def test_key_older_than_a_day_is_ignored(tenant: Tenant, age_in_days: float, is_valid: bool) -> None:
    first = post(tenant, cc=CC).json()["exportId"]
    tenant.await_status(first, "READY")
    (item,) = idempotency_records(tenant)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": tenant.id}, "sk": {"S": item["sk"]}},
        UpdateExpression="SET createdAt = :then",
        ExpressionAttributeValues={":then": {"S": days_from_now(-age_in_days)}},
    )
    # With another body, the request is rejected while the key is valid, and accepted afterwards.
    response = post(tenant)
    assert response.status == (422 if is_valid else 202), response
    if not is_valid:
        assert response.json()["exportId"] != first
        assert post(tenant).json()["exportId"] == response.json()["exportId"]


def test_idempotency_keys_are_separate_per_api_key(tenant: Tenant) -> None:
    first = post(tenant).json()["exportId"]
    tenant.await_status(first, "READY")
    other_key = tenant.stack.issue_key(tenant.id, "second@operators.example")
    second = post(tenant, api_key=other_key)
    assert second.status == 202
    assert second.json()["exportId"] != first
