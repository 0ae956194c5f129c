"""Resending the e-mail of an export."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

import web
from export_types import EXPORT_TYPES, ExportType
from interventions import changed_settings, held_queue
from past_exports import PastExports, days_from_now
from payouts import payout
from tenant import Tenant, link_in
from waiting import now
from web import Response

CC = ["finance@cc.example"]
OF_EACH_TYPE = pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)
AT_ONCE = 5


def resend(tenant: Tenant, export_id: str, cc: list[str] | None = None, api_key: str = "") -> Response:
    body = None if cc is None else {"cc": cc}
    headers = {"dj-api-key": api_key or tenant.key}
    return tenant.call("POST", f"/v1/exports/{export_id}/resend-email", body, headers)


def resent(tenant: Tenant, export_id: str, cc: list[str] | None = None, api_key: str = "") -> dict[str, Any]:
    response = resend(tenant, export_id, cc, api_key)
    assert response.status == 200, response
    export: dict[str, Any] = response.json()
    return export


def resends(record: dict[str, Any]) -> dict[str, Any]:
    """The counts of resent e-mails by attribute, one for each day."""
    return {name: count for name, count in record.items() if name.startswith("resends#")}


def test_resent_mail_has_the_same_recipients_and_a_new_link(tenant: Tenant) -> None:
    tenant.put_payouts([payout("po_1")])
    export = tenant.export(CC)
    again = resent(tenant, export["exportId"])
    assert (again["status"], again["recipients"], again["file"]) == ("READY", export["recipients"], export["file"])
    assert again["linkExpiresAt"] >= export["linkExpiresAt"]
    first, second = tenant.mails()
    assert (second.to, second.cc) == ([tenant.email], CC)
    download = web.request("GET", link_in(second))
    assert download.body == web.request("GET", link_in(first)).body
    assert len(download.body) == export["file"]["bytes"]
    shown = tenant.detail(export["exportId"])
    assert {name: shown[name] for name in again} == again


@OF_EACH_TYPE
def test_cc_of_a_resend_replaces_the_cc_recipients(tenant: Tenant, export_type: ExportType) -> None:
    export_id = tenant.export(CC, export_type)["exportId"]
    other = ["accounting@cc.example"]
    assert resent(tenant, export_id, other)["recipients"]["cc"] == other
    assert tenant.mails()[-1].cc == other
    assert tenant.detail(export_id)["recipients"]["cc"] == other


@OF_EACH_TYPE
def test_main_recipient_of_a_resend_is_the_caller(tenant: Tenant, export_type: ExportType) -> None:
    export = tenant.export(CC, export_type)
    email = f"second@{tenant.email.partition('@')[2]}"
    key = tenant.stack.issue_key(tenant.id, email)
    again = resent(tenant, export["exportId"], api_key=key)
    assert again["recipients"] == {"to": email, "cc": CC}
    assert again["requestedBy"] == export["requestedBy"]
    (mail,) = [mail for mail in tenant.stack.mails() if mail.to == [email]]
    assert mail.cc == CC
    assert len(tenant.mails()) == 1


@pytest.mark.parametrize(
    ("status", "code", "headers", "body"),
    [
        (400, "F-E-012", {"Content-Type": "application/json"}, b'{"cc": "finance@cc.example"}'),
        (413, "PAYLOAD_TOO_LARGE", {"Content-Type": "application/json"}, b" " * (64 * 1024 + 1)),
        (415, "UNSUPPORTED_MEDIA_TYPE", {"Content-Type": "text/plain"}, b"{}"),
    ],
    ids=["invalid", "large", "text"],
)
def test_invalid_body_is_rejected_and_sends_nothing(
    tenant: Tenant, status: int, code: str, headers: dict[str, str], body: bytes
) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.world()
    url = f"{tenant.stack.apiUrl}/v1/exports/{export_id}/resend-email"
    response = web.request("POST", url, {"dj-client": "OPERATOR", "dj-api-key": tenant.key, **headers}, body)
    assert (response.status, response.error_codes()) == (status, [code])
    assert tenant.world() == before


def test_expired_export_becomes_ready_with_a_working_link(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    for status in ("READY", "EXPIRED"):
        past.change(export_id, status=status, linkExpiresAt=days_from_now(-1), nextCheckState=None, nextCheckAt=None)
        assert tenant.detail(export_id)["status"] == "EXPIRED"
        again = resent(tenant, export_id)
        assert again["status"] == "READY"
        assert again["linkExpiresAt"] > now()
        assert "downloadUrl" in tenant.detail(export_id)
        assert web.request("GET", link_in(tenant.mails()[-1])).status == 200
        # The sweeper expires it again when the new link expires.
        assert tenant.record(export_id)["nextCheckAt"] == again["linkExpiresAt"]


def test_failed_export_with_a_file_becomes_ready(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with changed_settings(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
        export_id = tenant.launch(CC)
        assert tenant.await_status(export_id, "FAILED")["failure"]["code"] == "EMAIL_NOT_SENT"
    again = resent(tenant, export_id)
    assert again["status"] == "READY"
    assert "failure" not in again
    assert web.request("GET", tenant.detail(export_id)["downloadUrl"]).status == 200


def test_export_without_a_file_is_not_resendable(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        pending = tenant.launch()
        response = resend(tenant, pending)
        assert (response.status, response.error_codes()) == (409, ["EXPORT_NOT_RESENDABLE"])
        assert response.headers["Retry-After"]
    tenant.await_status(pending, "READY")
    tenant.put_payouts([payout("po_1", currency="ZZZ")])
    failed = tenant.launch()
    tenant.await_status(failed, "FAILED")
    before = tenant.world()
    response = resend(tenant, failed)
    assert (response.status, response.error_codes()) == (409, ["EXPORT_NOT_RESENDABLE"])
    assert "Retry-After" not in response.headers
    assert tenant.world() == before


def test_export_past_its_file_retention_is_gone(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    expired_file = past.real["file"] | {"expiresAt": days_from_now(-0.001)}
    past.change(
        export_id,
        status="EXPIRED",
        file=expired_file,
        linkExpiresAt=days_from_now(-1),
        nextCheckState=None,
        nextCheckAt=None,
    )
    before = tenant.world()
    response = resend(tenant, export_id)
    assert (response.status, response.error_codes()) == (410, ["EXPORT_FILE_GONE"])
    assert tenant.world() == before


def test_export_with_a_deleted_file_is_gone_and_not_counted(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    tenant.delete_file(export_id)
    failed = {"code": "EMAIL_NOT_SENT", "message": "The e-mail service rejected the e-mail."}
    for changes in (
        {},
        {"status": "EXPIRED", "linkExpiresAt": days_from_now(-1), "nextCheckState": None, "nextCheckAt": None},
        {"status": "FAILED", "failure": failed, "linkExpiresAt": None, "nextCheckState": None, "nextCheckAt": None},
    ):
        past.change(export_id, **changes)
        before = tenant.world()
        response = resend(tenant, export_id, CC)
        assert (response.status, response.error_codes()) == (410, ["EXPORT_FILE_GONE"]), changes
        assert tenant.world() == before
        assert not resends(tenant.record(export_id))


def test_ready_export_with_a_deleted_file_has_no_download_url(tenant: Tenant) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.detail(export_id)
    tenant.delete_file(export_id)
    after = tenant.detail(export_id)
    assert after == {name: value for name, value in before.items() if not name.startswith("downloadUrl")}
    assert before["downloadUrl"]


def test_new_link_expires_no_later_than_the_file(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    expires_at = days_from_now(0.01)
    past.change(export_id, file=past.real["file"] | {"expiresAt": expires_at}, linkExpiresAt=days_from_now(-1))
    assert resent(tenant, export_id)["linkExpiresAt"] == expires_at[:-4] + "000Z"


def test_daily_limit_of_resends_is_enforced(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export_id = tenant.export()["exportId"]
    with changed_settings(tenant.stack, "resend-email", MAX_RESENDS_A_DAY="2"):
        assert [resend(tenant, export_id).status for _ in range(2)] == [200, 200]
        response = resend(tenant, export_id)
        assert (response.status, response.error_codes()) == (429, ["TOO_MANY_RESENDS"])
        assert 0 < int(response.headers["Retry-After"]) <= 86_400
        assert len(tenant.mails()) == 3
        # Resends of the previous day do not count.
        today, yesterday = (f"resends#{days_from_now(days)[:10]}T00:00:00.000Z" for days in (0, -1))
        PastExports(tenant).change(export_id, **{today: None, yesterday: 2})
        assert resend(tenant, export_id).status == 200


def test_concurrent_resends_stay_within_the_daily_limit(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export_id = tenant.export()["exportId"]
    with changed_settings(tenant.stack, "resend-email", MAX_RESENDS_A_DAY="2"), ThreadPoolExecutor(AT_ONCE) as threads:
        responses = list(threads.map(lambda _: resend(tenant, export_id).status, range(AT_ONCE)))
    assert sorted(responses) == [200, 200] + [429] * (AT_ONCE - 2)
    assert len(tenant.mails()) == 1 + 2


def test_resend_rejected_by_ses_changes_only_the_count(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export = tenant.export(CC)
    before = tenant.record(export["exportId"])
    with changed_settings(tenant.stack, "resend-email", SENDER="nobody@unverified.example"):
        response = resend(tenant, export["exportId"], ["accounting@cc.example"])
    assert (response.status, response.error_codes()) == (503, ["EMAIL_NOT_SENT"])
    after = tenant.record(export["exportId"])
    [(name, count)] = resends(after).items()
    del after[name]
    assert count == 1
    assert after == before
    assert len(tenant.mails()) == 1


def test_concurrent_resends_succeed_and_keep_the_latest_expiry(tenant: Tenant) -> None:
    export_id = tenant.export(CC)["exportId"]
    start = Barrier(AT_ONCE)

    def send(number: int) -> dict[str, Any]:
        start.wait()
        return resent(tenant, export_id, [f"cc{number}@cc.example"])

    with ThreadPoolExecutor(AT_ONCE) as threads:
        responses = list(threads.map(send, range(AT_ONCE)))
    assert len(tenant.mails()) == 1 + AT_ONCE
    shown = tenant.detail(export_id)
    assert (shown["status"], shown["linkExpiresAt"]) == (
        "READY",
        max(response["linkExpiresAt"] for response in responses),
    )
    assert {response["status"] for response in responses} == {"READY"}
    assert sum(resends(tenant.record(export_id)).values()) == AT_ONCE


def test_concurrent_sweep_leaves_the_export_ready(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    past = PastExports(tenant)
    export_id, expired_at = past.real["exportId"], days_from_now(-0.001)
    for _ in range(5):
        next_check = {"nextCheckState": past.real["nextCheckState"], "nextCheckAt": expired_at}
        counted = dict.fromkeys(resends(tenant.record(export_id)))
        past.change(export_id, status="READY", linkExpiresAt=expired_at, **counted, **next_check)
        with ThreadPoolExecutor(2) as threads:
            sweep = threads.submit(tenant.stack.sweep)
            response = threads.submit(resent, tenant, export_id).result()
            sweep.result()
        assert response["status"] == "READY"
        tenant.stack.sweep()
        assert tenant.detail(export_id)["status"] == "READY"
