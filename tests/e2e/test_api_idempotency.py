"""Requests that come twice."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from urllib.parse import urlsplit

import pytest

from interventions import held_queue
from past_exports import in_days
from tenant import EXPORTS, Tenant
from waiting import wait_for
from web import Answer

AT_ONCE = 50
KEY = "finance-close-2026-09"
CC = ["finance@copies.example"]


def post(tenant: Tenant, key: str = KEY, cc: list[str] | None = None, **headers: str) -> Answer:
    return tenant.post(None if cc is None else {"cc": cc}, {"Idempotency-Key": key, **headers})


def remembered(tenant: Tenant) -> list[dict[str, Any]]:
    return [item for item in tenant.items() if item["sk"].startswith("IDEMPOTENCY#")]


def test_fifty_copies_at_once_are_all_202_with_the_same_export(tenant: Tenant) -> None:
    start = Barrier(AT_ONCE)

    def copy(_: int) -> Answer:
        start.wait()
        return post(tenant, cc=CC)

    with held_queue(tenant.stack):
        with ThreadPoolExecutor(AT_ONCE) as threads:
            answers = list(threads.map(copy, range(AT_ONCE)))
        assert {answer.status for answer in answers} == {202}, sorted(str(answer) for answer in answers)
        (export_id,) = {answer.json()["exportId"] for answer in answers}
        assert {answer.headers["Location"] for answer in answers} == {f"{EXPORTS}/{export_id}"}
        # The export, its lock, and the key.
        assert len(tenant.items()) == 3
    tenant.await_status(export_id, "READY")
    assert len(tenant.mails()) == 1


def test_repeated_request_gets_the_export_as_it_is_now(tenant: Tenant) -> None:
    first = post(tenant, cc=CC)
    export_id = first.json()["exportId"]
    ready = tenant.await_status(export_id, "READY")
    again = post(tenant, cc=CC)
    assert again.status == 202
    assert again.json() == {name: ready[name] for name in ready if not name.startswith("downloadUrl")}
    assert "Retry-After" not in again.headers
    # What counts is what was asked for, not how it was written.
    assert post(tenant, cc=[" finance@copies.example ", *CC, tenant.email]).json()["exportId"] == export_id
    assert len(tenant.mails()) == 1


def test_request_whose_answer_was_lost_can_be_repeated(tenant: Tenant) -> None:
    host = urlsplit(tenant.stack.apiUrl)
    assert host.hostname
    with socket.create_connection((host.hostname, host.port or 80)) as line:
        line.sendall(
            f"POST {EXPORTS} HTTP/1.1\r\nHost: {host.netloc}\r\ndj-client: OPERATOR\r\ndj-api-key: {tenant.key}\r\n"
            f"Idempotency-Key: {KEY}\r\nContent-Length: 0\r\n\r\n".encode()
        )
    # Nobody read the answer.
    wait_for("the request to be accepted", lambda: remembered(tenant))
    (item,) = remembered(tenant)
    assert post(tenant).json()["exportId"] == item["exportId"]


def test_key_with_another_body_is_refused_before_a_pending_export_is_told(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        assert post(tenant, cc=CC).status == 202
        before = tenant.world()
        answer = post(tenant)
        assert (answer.status, answer.error_codes()) == (422, ["IDEMPOTENCY_KEY_REUSED"])
        assert tenant.world() == before


@pytest.mark.parametrize("body", [{"cc": "x"}, {"cc": ["nobody"]}], ids=["bad", "bad_address"])
def test_only_accepted_requests_are_remembered(tenant: Tenant, body: Any) -> None:
    assert tenant.post(body, {"Idempotency-Key": KEY}).status == 400
    with held_queue(tenant.stack):
        pending = tenant.launch()
        assert post(tenant, cc=CC).status == 409
        assert remembered(tenant) == []
    tenant.await_status(pending, "READY")
    answer = post(tenant)
    assert answer.status == 202
    assert answer.json()["exportId"] != pending


@pytest.mark.parametrize(("age_in_days", "counts"), [(0.99, True), (1.01, False)])
def test_key_older_than_a_day_does_not_count_though_it_is_still_there(
    tenant: Tenant, age_in_days: float, counts: bool
) -> None:
    first = post(tenant, cc=CC).json()["exportId"]
    tenant.await_status(first, "READY")
    (item,) = remembered(tenant)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": tenant.id}, "sk": {"S": item["sk"]}},
        UpdateExpression="SET createdAt = :then",
        ExpressionAttributeValues={":then": {"S": in_days(-age_in_days)}},
    )
    # Another body: refused while the key counts, accepted as a new request once it does not.
    answer = post(tenant)
    assert answer.status == (422 if counts else 202), answer
    if not counts:
        assert answer.json()["exportId"] != first
        assert post(tenant).json()["exportId"] == answer.json()["exportId"]


def test_keys_of_different_api_keys_do_not_meet(tenant: Tenant) -> None:
    first = post(tenant).json()["exportId"]
    tenant.await_status(first, "READY")
    other_key = tenant.stack.issue_key(tenant.id, "second@operators.example")
    second = post(tenant, **{"dj-api-key": other_key})
    assert second.status == 202
    assert second.json()["exportId"] != first
