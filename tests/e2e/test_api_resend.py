"""Sending the mail of an export again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

import web
from interventions import changed, held_queue
from past_exports import PastExports, in_days
from payouts import payout
from tenant import Tenant, link_in
from waiting import now
from web import Answer

CC = ["finance@copies.example"]
AT_ONCE = 5


def resend(tenant: Tenant, export_id: str, cc: list[str] | None = None, **headers: str) -> Answer:
    body = None if cc is None else {"cc": cc}
    return tenant.call("POST", f"/v1/exports/{export_id}/resend-email", body, headers)


def resent(tenant: Tenant, export_id: str, cc: list[str] | None = None, **headers: str) -> dict[str, Any]:
    answer = resend(tenant, export_id, cc, **headers)
    assert answer.status == 200, answer
    export: dict[str, Any] = answer.json()
    return export


def test_mail_is_sent_again_to_the_caller_and_the_kept_copies_with_a_new_link(tenant: Tenant) -> None:
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


def test_cc_replaces_the_copies_for_good(tenant: Tenant) -> None:
    export_id = tenant.export(CC)["exportId"]
    other = ["accounting@copies.example"]
    assert resent(tenant, export_id, other)["recipients"]["cc"] == other
    assert tenant.mails()[-1].cc == other
    assert tenant.detail(export_id)["recipients"]["cc"] == other


def test_main_recipient_is_always_the_caller_while_the_requester_stays(tenant: Tenant) -> None:
    export = tenant.export(CC)
    email = f"second@{tenant.email.partition('@')[2]}"
    key = tenant.stack.issue_key(tenant.id, email)
    again = resent(tenant, export["exportId"], **{"dj-api-key": key})
    assert again["recipients"] == {"to": email, "cc": CC}
    assert again["requestedBy"] == export["requestedBy"]
    (mail,) = [mail for mail in tenant.stack.mails() if mail.to == [email]]
    assert mail.cc == CC
    assert len(tenant.mails()) == 1


@pytest.mark.parametrize(
    ("status", "code", "headers", "body"),
    [
        (400, "F-E-012", {"Content-Type": "application/json"}, b'{"cc": "finance@copies.example"}'),
        (413, "PAYLOAD_TOO_LARGE", {"Content-Type": "application/json"}, b" " * (64 * 1024 + 1)),
        (415, "UNSUPPORTED_MEDIA_TYPE", {"Content-Type": "text/plain"}, b"{}"),
    ],
    ids=["bad", "large", "text"],
)
def test_body_is_refused_by_the_rules_of_the_launch_and_sends_nothing(
    tenant: Tenant, status: int, code: str, headers: dict[str, str], body: bytes
) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.world()
    url = f"{tenant.stack.apiUrl}/v1/exports/{export_id}/resend-email"
    answer = web.request("POST", url, {"dj-client": "OPERATOR", "dj-api-key": tenant.key, **headers}, body)
    assert (answer.status, answer.error_codes()) == (status, [code])
    assert tenant.world() == before


def test_expired_export_becomes_ready_and_its_new_link_works(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    for status in ("READY", "EXPIRED"):
        past.change(export_id, status=status, linkExpiresAt=in_days(-1), dueState=None, dueAt=None)
        assert tenant.detail(export_id)["status"] == "EXPIRED"
        again = resent(tenant, export_id)
        assert again["status"] == "READY"
        assert again["linkExpiresAt"] > now()
        assert "downloadUrl" in tenant.detail(export_id)
        assert web.request("GET", link_in(tenant.mails()[-1])).status == 200
        # The sweeper expires it again when the new link ends, not before.
        assert tenant.record(export_id)["dueAt"] == again["linkExpiresAt"]


def test_failed_export_with_a_file_becomes_ready(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with changed(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
        export_id = tenant.launch(CC)
        assert tenant.await_status(export_id, "FAILED")["failure"]["code"] == "EMAIL_NOT_SENT"
    again = resent(tenant, export_id)
    assert again["status"] == "READY"
    assert "failure" not in again
    assert web.request("GET", tenant.detail(export_id)["downloadUrl"]).status == 200


def test_pending_export_and_failed_one_without_a_file_are_not_resendable(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        pending = tenant.launch()
        answer = resend(tenant, pending)
        assert (answer.status, answer.error_codes()) == (409, ["EXPORT_NOT_RESENDABLE"])
        assert answer.headers["Retry-After"]
    tenant.await_status(pending, "READY")
    tenant.put_payouts([payout("po_1", currency="ZZZ")])
    failed = tenant.launch()
    tenant.await_status(failed, "FAILED")
    before = tenant.world()
    answer = resend(tenant, failed)
    assert (answer.status, answer.error_codes()) == (409, ["EXPORT_NOT_RESENDABLE"])
    assert "Retry-After" not in answer.headers
    assert tenant.world() == before


def test_export_whose_file_is_gone_says_so(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    gone = past.real["file"] | {"expiresAt": in_days(-0.001)}
    past.change(export_id, status="EXPIRED", file=gone, linkExpiresAt=in_days(-1), dueState=None, dueAt=None)
    before = tenant.world()
    answer = resend(tenant, export_id)
    assert (answer.status, answer.error_codes()) == (410, ["EXPORT_FILE_GONE"])
    assert tenant.world() == before


def test_export_whose_file_was_deleted_is_gone_and_neither_counted_nor_mailed(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    tenant.delete_file(export_id)
    failed = {"code": "EMAIL_NOT_SENT", "message": "The mail service refused the mail."}
    for changes in (
        {},
        {"status": "EXPIRED", "linkExpiresAt": in_days(-1), "dueState": None, "dueAt": None},
        {"status": "FAILED", "failure": failed, "linkExpiresAt": None, "dueState": None, "dueAt": None},
    ):
        past.change(export_id, **changes)
        before = tenant.world()
        answer = resend(tenant, export_id, CC)
        assert (answer.status, answer.error_codes()) == (410, ["EXPORT_FILE_GONE"]), changes
        assert tenant.world() == before
        assert "resends" not in tenant.record(export_id)


def test_ready_export_whose_file_was_deleted_has_no_download_url(tenant: Tenant) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.detail(export_id)
    tenant.delete_file(export_id)
    after = tenant.detail(export_id)
    assert after == {name: value for name, value in before.items() if not name.startswith("downloadUrl")}
    assert before["downloadUrl"]


def test_link_ends_with_the_file(tenant: Tenant) -> None:
    past = PastExports(tenant)
    export_id = past.real["exportId"]
    file_end = in_days(0.01)
    past.change(export_id, file=past.real["file"] | {"expiresAt": file_end}, linkExpiresAt=in_days(-1))
    assert resent(tenant, export_id)["linkExpiresAt"] == file_end[:-4] + "000Z"


def test_bound_of_a_day_is_kept(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export_id = tenant.export()["exportId"]
    with changed(tenant.stack, "resend-email", MAX_RESENDS_A_DAY="2"):
        assert [resend(tenant, export_id).status for _ in range(2)] == [200, 200]
        answer = resend(tenant, export_id)
        assert (answer.status, answer.error_codes()) == (429, ["TOO_MANY_RESENDS"])
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
        assert len(tenant.mails()) == 3
        # The day before does not count.
        yesterday = in_days(-1)[:10] + "T00:00:00.000Z"
        PastExports(tenant).change(export_id, resends={"day": yesterday, "count": 2})
        assert resend(tenant, export_id).status == 200


def test_mail_that_ses_refuses_changes_nothing_but_the_count(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export = tenant.export(CC)
    before = tenant.record(export["exportId"])
    with changed(tenant.stack, "resend-email", SENDER="nobody@unverified.example"):
        answer = resend(tenant, export["exportId"], ["accounting@copies.example"])
    assert (answer.status, answer.error_codes()) == (503, ["EMAIL_NOT_SENT"])
    after = tenant.record(export["exportId"])
    assert after.pop("resends")["count"] == 1
    assert after == before
    assert len(tenant.mails()) == 1


def test_mails_sent_again_at_once_all_succeed_within_the_bound_and_the_later_end_stays(tenant: Tenant) -> None:
    export_id = tenant.export(CC)["exportId"]
    start = Barrier(AT_ONCE)

    def send(number: int) -> dict[str, Any]:
        start.wait()
        return resent(tenant, export_id, [f"copy{number}@copies.example"])

    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(send, range(AT_ONCE)))
    assert len(tenant.mails()) == 1 + AT_ONCE
    shown = tenant.detail(export_id)
    assert (shown["status"], shown["linkExpiresAt"]) == ("READY", max(answer["linkExpiresAt"] for answer in answers))
    assert {answer["status"] for answer in answers} == {"READY"}
    assert tenant.record(export_id)["resends"]["count"] == AT_ONCE


def test_sweep_at_the_same_time_leaves_the_export_ready(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    past = PastExports(tenant)
    export_id, ended = past.real["exportId"], in_days(-0.001)
    for _ in range(5):
        due = {"dueState": past.real["dueState"], "dueAt": ended}
        past.change(export_id, status="READY", linkExpiresAt=ended, resends=None, **due)
        with ThreadPoolExecutor(2) as threads:
            sweep = threads.submit(tenant.stack.sweep)
            answer = threads.submit(resent, tenant, export_id).result()
            sweep.result()
        assert answer["status"] == "READY"
        tenant.stack.sweep()
        assert tenant.detail(export_id)["status"] == "READY"
