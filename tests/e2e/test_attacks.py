"""Attacks through requests and data."""

from __future__ import annotations

import csv
import html
import io
import json
import re
import socket
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

import leaks
from expected_csv import FORMULA_STARTS, expected_csv, runs_as_formula
from interventions import changed_settings, fast_redelivery, held_queue
from past_exports import milliseconds
from payouts import payout
from stack import Stack, StackError
from tenant import EXPORTS, Tenant, await_quiet
from test_job_messages import dead_letters, send

FORGED = '{"level":"ERROR","message":"forged"}'


# ------------------------------------------------------------------------------------------------------- spreadsheets


def test_formula_in_any_text_column_is_written_as_text(tenant: Tenant) -> None:
    columns = {
        "payoutId": "payout_id", "reference": "reference", "balanceAccount": "balance_account",
        "pspReference": "psp_reference", "failureReason": "failure_reason",
    }  # fmt: skip
    payouts = [
        payout(f"po_{number:02}_{attribute}", amountMinor=-5) | {attribute: f'{start}HYPERLINK("http://x";{number})'}
        for number, start in enumerate((*FORMULA_STARTS, "\0=", " =", "\0 \0="))
        for attribute in columns
    ]
    tenant.put_payouts(payouts)
    tenant.export()
    (key,) = tenant.objects()
    content = tenant.content(key)
    assert content == expected_csv(payouts)
    rows = list(csv.DictReader(io.StringIO(content.decode(), newline=""), delimiter=";"))
    assert len(rows) == len(payouts)
    for row in rows:
        guarded = [name for name in columns.values() if row[name].startswith("'")]
        assert len(guarded) == 1
        assert not [name for name in columns.values() if runs_as_formula(row[name])]
        # A negative number is not guarded.
        assert row["amount"] == "-0.05"


# -------------------------------------------------------------------------------------------------------------- mails


def test_markup_in_a_name_is_escaped_in_the_mail(tenant: Tenant) -> None:
    name = "<img src=x onerror=alert(1)> \"'& {{7*7}}"
    tenant.key = tenant.stack.issue_key(tenant.id, tenant.email, name)
    export_id = tenant.launch()
    tenant.await_status(export_id, "READY")
    mail = tenant.mail()
    assert "<img" not in mail.html
    assert name in html.unescape(mail.html)
    assert name in mail.text
    assert name not in mail.subject


@pytest.mark.parametrize("name", ["Ann\r\nBcc: eve@evil.example", "Ann\nX: y", "Ann\x00", "Ann\u2028x", "Ann\u202ennA"])
def test_name_with_a_control_character_gets_no_key(tenant: Tenant, name: str) -> None:
    with pytest.raises(StackError, match="name"):
        tenant.stack.issue_key(tenant.id, tenant.email, name)


def test_markup_in_a_failure_message_is_escaped_in_the_mail(tenant: Tenant) -> None:
    bad = '<script>alert(1)</script>\r\nBcc: eve@evil.example\r\n\r\n<a href="http://x">'
    tenant.put_payouts([payout(bad, currency="ZZZ")])
    export = tenant.await_status(tenant.launch(), "FAILED")
    assert "<script>alert(1)</script>" in export["failure"]["message"]
    assert not re.search(r"[\r\n]", export["failure"]["message"])
    mail = tenant.mail()
    assert (mail.to, mail.cc) == ([tenant.email], [])
    assert "<script" not in mail.html
    assert 'href="http://x"' not in mail.html
    assert "\nBcc:" not in mail.text


# --------------------------------------------------------------------------------------------------------------- logs


def test_line_break_in_input_forges_no_log_line(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts([payout(f"po_1\n{FORGED}", currency=f"EUR\n{FORGED}")])
    tenant.await_status(tenant.launch(), "FAILED")
    encoded = "%0A" + FORGED.replace('"', "%22").replace("{", "%7B").replace("}", "%7D")
    for path in (f"{EXPORTS}/{encoded}", f"/v1/{encoded}", f"{EXPORTS}?cursor={encoded}&{encoded}=1"):
        tenant.call("GET", path)
    tenant.call("GET", EXPORTS, headers={"dj-client": FORGED})
    tenant.call("POST", EXPORTS, {"cc": [f"a\n{FORGED}@x.example"], f"x\n{FORGED}": 1})
    tenant.call("POST", EXPORTS, headers={"Idempotency-Key": FORGED})
    with pytest.raises(StackError):
        tenant.stack.invoke("manage-api-keys", {"action": f"issue\n{FORGED}", "tenantId": f"a\n{FORGED}"})
    job = json.dumps({"version": 1, "tenantId": tenant.id, "exportId": f"mpo_1\n{FORGED}"})
    with fast_redelivery(tenant.stack, visibility_seconds=1, max_receives=1):
        send(tenant.stack, job)
        assert dead_letters(tenant.stack, 1) == [job]
        await_quiet(tenant.stack)
    for crate in tenant.stack.functions:
        for line in tenant.stack.logs(crate):
            assert not line.startswith(FORGED[:15]), line
            if line.startswith("{"):
                assert json.loads(line).get("message") != "forged"
    assert leaks.in_logs_of(tenant.stack) == []


# -------------------------------------------------------------------------------------------------------------- paths


def raw(stack: Stack, request: bytes) -> bytes:
    """Sends bytes that no HTTP library would send, and returns the response."""
    host = urlsplit(stack.apiUrl)
    assert host.hostname
    with socket.create_connection((host.hostname, host.port or 80), timeout=20) as line:
        line.sendall(request)
        line.shutdown(socket.SHUT_WR)
        response = b""
        while chunk := line.recv(65536):
            response += chunk
    return response


def send_raw(tenant: Tenant, path: str, method: str, key: str) -> tuple[int, str]:
    request = (
        f"{method} {path} HTTP/1.1\r\nHost: x\r\ndj-client: OPERATOR\r\ndj-api-key: {key}\r\n"
        "Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    response = raw(tenant.stack, request.encode("latin-1"))
    head, _, body = response.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


PATHS = [
    "/v1/payments/marketplace-payouts/export/..",
    "/v1/payments/marketplace-payouts/export/../export",
    "/v1/payments/marketplace-payouts/../marketplace-payouts/export",
    "/v1/payments/marketplace-payouts/export/{id}/",
    "/v1/payments/marketplace-payouts/export//{id}",
    "/v1/payments/marketplace-payouts/export/{id}%2F",
    "/v1/payments/marketplace-payouts/export/%2F{id}",
    "/v1/payments/marketplace-payouts/export/..%2Fexport%2F{id}",
    "/v1/payments/marketplace-payouts/export/%2e%2e%2f{id}",
    "/v1/payments/marketplace-payouts/export/{id}%00",
    "/v1/payments/marketplace-payouts/export/{id};x=1",
    "/v1/payments/marketplace-payouts/export/{ID}",
    "/v1/payments/marketplace-payouts/export/EXPORT%23{id}",
    "/v1/payments/marketplace-payouts/EXPORT/{id}",
    "/V1/payments/marketplace-payouts/export",
    "/v1/payments/Marketplace-Payouts/export",
    "//v1/payments/marketplace-payouts/export",
    "/v1//payments/marketplace-payouts/export",
    "/v1/payments/marketplace-payouts%2Fexport",
    "/v1/exports/{id}%2Fresend-email",
    "/back-office/../v1/caller",
    "/back-office/..%2f..%2f..%2fetc/passwd",
    "/back-office/%2e%2e/%2e%2e/template.yaml",
    "/back-office//etc/passwd",
    "/_ministack/ses/messages",
    "/%5fministack/ses/messages",
    "//_ministack/ses/messages",
]


@pytest.fixture(scope="module")
def victim(stack: Stack) -> tuple[Tenant, str]:
    """A tenant and its export, which others try to reach."""
    tenant = Tenant(stack, "victim")
    return tenant, tenant.export()["exportId"]


@pytest.mark.parametrize("path", PATHS)
def test_path_variant_reveals_nothing(victim: tuple[Tenant, str], path: str) -> None:
    """A gateway may normalize some of the paths. The normalized paths require the same key."""
    tenant, export_id = victim
    stranger = Tenant(tenant.stack, "stranger")
    before = tenant.world()
    variant = path.format(id=export_id, ID=export_id.upper())
    for method, key in (("GET", stranger.key), ("GET", ""), ("POST", ""), ("DELETE", stranger.key)):
        status, body = send_raw(tenant, variant, method, key)
        # 200 is the back office, or the stranger's own history.
        assert status in ((200, 404, 405) if key and method == "GET" else (401, 404, 405)), (method, status, body)
        assert export_id not in body
        assert tenant.email not in body
        assert "root:" not in body
        assert "AWSTemplateFormatVersion" not in body
    assert tenant.world() == before


# --------------------------------------------------------------------------------------------------- idempotency keys


def test_idempotency_key_addresses_only_its_own_item(tenant: Tenant) -> None:
    keys = ["LOCK#marketplace-payouts", "EXPORT#x", "#", "../..", "IDEMPOTENCY#marketplace-payouts#" + "0" * 64, '"}']
    for key in keys:
        response = tenant.post(headers={"Idempotency-Key": key})
        assert response.status == 202, response
        tenant.await_status(response.json()["exportId"], "READY")
    sorts = [item["sk"] for item in tenant.items()]
    assert len([sort for sort in sorts if re.fullmatch(r"IDEMPOTENCY#marketplace-payouts#[0-9a-f]{64}", sort)]) == 6
    assert len([sort for sort in sorts if re.fullmatch(r"EXPORT#mpo_[0-9a-f-]{36}", sort)]) == 6
    assert len(sorts) == 12


# --------------------------------------------------------------------------------------------------------- recipients


def errors_of(response: Any) -> list[tuple[str, str]]:
    return [(error["code"], error["field"]) for error in response.json()["errors"]]


def test_cc_outside_the_allowed_domains_is_rejected(brisk_tenant: Tenant) -> None:
    tenant, allowed = brisk_tenant, "cc.example, Partner.example"
    with changed_settings(tenant.stack, "create-export", ALLOWED_RECIPIENT_DOMAINS=allowed):
        before = tenant.world()
        cc = ["a@cc.example", "b@evil.example", "c@sub.cc.example", "d@partner.example", "e@cc.example.net"]
        response = tenant.post({"cc": cc})
        assert response.status == 400
        assert errors_of(response) == [("F-E-008", "cc[1]"), ("F-E-008", "cc[2]"), ("F-E-008", "cc[4]")]
        assert tenant.world() == before
        # The operator's own address is always allowed.
        export_id = tenant.export([tenant.email, "a@cc.example"])["exportId"]
    path = f"/v1/exports/{export_id}/resend-email"
    with changed_settings(tenant.stack, "resend-email", ALLOWED_RECIPIENT_DOMAINS="partner.example"):
        before = tenant.world()
        response = tenant.call("POST", path, {"cc": ["d@partner.example", "b@evil.example"]})
        assert (response.status, errors_of(response)) == (400, [("F-E-008", "cc[1]")])
        # The kept CC recipients are checked against the current list as well.
        response = tenant.call("POST", path)
        assert (response.status, errors_of(response)) == (400, [("F-E-008", "cc[0]")])
        assert tenant.world() == before
        assert tenant.call("POST", path, {"cc": []}).status == 200
        assert tenant.call("POST", path, {"cc": ["d@partner.example"]}).status == 200
    assert [mail.cc for mail in tenant.mails()] == [["a@cc.example"], [], ["d@partner.example"]]


# ------------------------------------------------------------------------------------------------------------ history


def test_record_is_retained_for_its_retention_period(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with changed_settings(
        tenant.stack, "create-export", HISTORY_RETENTION="90d", FILE_RETENTION="30d", EXPORT_DEADLINE="6h"
    ):
        with held_queue(tenant.stack):
            export_id = tenant.launch()
            assert "ttl" not in tenant.record(export_id), "a pending export is never deleted"
        export = tenant.await_status(export_id, "READY")
    record = tenant.record(export_id)
    created = tenant.detail(export_id)["createdAt"]
    assert record["ttl"] == seconds(created) + 90 * 86_400
    assert record["ttl"] > seconds(export["file"]["expiresAt"])

    with changed_settings(tenant.stack, "create-export", HISTORY_RETENTION="1d", FILE_RETENTION="30d"):
        export = tenant.export()
    assert tenant.record(export["exportId"])["ttl"] > seconds(export["file"]["expiresAt"]), (
        "the record must outlive its file"
    )

    tenant.put_payouts([payout("po_1", currency="ZZZ")])
    with changed_settings(tenant.stack, "create-export", HISTORY_RETENTION="1d"):
        failed = tenant.launch()
    tenant.await_status(failed, "FAILED")
    assert tenant.record(failed)["ttl"] > time.time()


def test_record_without_a_retention_setting_never_expires(tenant: Tenant) -> None:
    record = tenant.record(tenant.export()["exportId"])
    assert record["ttl"] is None, "DynamoDB ignores a TTL that is not a number"


def seconds(moment: str) -> int:
    return milliseconds(moment) // 1000
