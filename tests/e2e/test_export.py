"""An export from its launch to its file and e-mail."""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import pytest

import sample_payouts
import web
from expected_csv import HEADER, Payout, expected_csv, expected_totals
from interventions import changed_settings, held_queue
from payouts import large_payouts, payout
from stack import SENDER, Stack
from tenant import EXPORTS, Tenant, link_in

CC = ["finance@cc.example", "accounting@cc.example"]


@dataclass(frozen=True)
class Delivered:
    """A READY export and its payouts."""

    tenant: Tenant
    payouts: list[Payout]
    accepted: web.Response
    export: dict[str, Any]

    @property
    def content(self) -> bytes:
        (key,) = self.tenant.objects()
        return self.tenant.content(key)


@pytest.fixture(scope="module")
def delivered(stack: Stack) -> Delivered:
    tenant, neighbour = Tenant(stack, "delivered"), Tenant(stack, "neighbour of delivered")
    payouts: list[Payout] = list(sample_payouts.rows(tenant.id, 300))
    tenant.put_payouts(payouts)
    neighbour.put_payouts(sample_payouts.rows(neighbour.id, 20))
    accepted = tenant.post({"cc": CC})
    assert accepted.status == 202, accepted
    return Delivered(tenant, payouts, accepted, tenant.await_status(accepted.json()["exportId"], "READY"))


def test_launch_returns_202_with_the_pending_export_and_location(delivered: Delivered) -> None:
    response, tenant = delivered.accepted, delivered.tenant
    export = response.json()
    assert export["status"] == "PENDING"
    assert export["exportType"] == "marketplace-payouts"
    assert re.fullmatch(r"mpo_[0-9a-f-]{36}", export["exportId"])
    assert export["recipients"] == {"to": tenant.email, "cc": CC}
    assert export["requestedBy"]["email"] == tenant.email
    assert export["createdAt"] == export["asOf"]
    assert "file" not in export
    assert "downloadUrl" not in export
    assert int(response.headers["Retry-After"]) >= 1
    location = urlsplit(urljoin(tenant.stack.apiUrl, response.headers["Location"]))
    assert location.path == f"{EXPORTS}/{export['exportId']}"


def test_file_matches_an_independent_writer_byte_for_byte(delivered: Delivered) -> None:
    assert delivered.content == expected_csv(delivered.payouts)


def test_detail_of_ready_export_describes_the_file(delivered: Delivered) -> None:
    file, content = delivered.export["file"], delivered.content
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert file["bytes"] == len(content)
    assert file["rows"] == len(delivered.payouts)
    assert delivered.export["progress"]["rows"] == len(delivered.payouts)
    totals = {(t["currency"], t["status"]): (t["count"], t["amount"]) for t in file["totals"]}
    assert totals == expected_totals(delivered.payouts)
    assert len(file["totals"]) == len(totals)


def test_record_of_ready_export_has_the_file_and_no_lock(delivered: Delivered) -> None:
    tenant, export = delivered.tenant, delivered.export
    record = tenant.record(export["exportId"])
    assert record["status"] == "READY"
    assert [record["file"]["key"]] == tenant.objects()
    assert record["file"]["key"] == f"exports/{tenant.id}/{export['exportId']}/1.csv"
    assert record["file"]["sha256"] == export["file"]["sha256"]
    assert tenant.lock() is None
    assert tenant.unfinished_uploads() == []
    # Nothing else is left.
    assert [item["sk"] for item in tenant.items()] == [f"EXPORT#{export['exportId']}"]


def test_ready_mail_is_sent_once_to_requester_and_cc(delivered: Delivered) -> None:
    mail = delivered.tenant.mail()
    assert mail.sender == SENDER
    assert mail.to == [delivered.tenant.email]
    assert mail.cc == CC
    for body in (mail.text, mail.html):
        assert delivered.export["file"]["sha256"] in body
        assert delivered.export["file"]["name"] in body
        assert str(len(delivered.payouts)) in body
        for currency in {row["currency"] for row in delivered.payouts}:
            assert currency in body


def test_mailed_link_downloads_the_file_under_its_name(delivered: Delivered) -> None:
    assert_downloads(link_in(delivered.tenant.mail()), delivered)


def test_download_url_downloads_the_file_under_its_name(delivered: Delivered) -> None:
    assert_downloads(delivered.tenant.detail(delivered.export["exportId"])["downloadUrl"], delivered)


def assert_downloads(url: str, delivered: Delivered) -> None:
    response = web.request("GET", url)
    assert response.status == 200, response
    assert response.body == expected_csv(delivered.payouts)
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    second = re.sub(r"\.\d+|[-:]", "", delivered.export["asOf"])
    name = f"marketplace-payouts-{delivered.tenant.id}-{second}.csv"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{name}"'
    assert delivered.export["file"]["name"] == name


def test_link_with_a_forged_or_missing_signature_is_403(delivered: Delivered) -> None:
    link = link_in(delivered.tenant.mail())
    other_tenants = link.replace(delivered.tenant.id, f"{delivered.tenant.id}x")
    for forged in (re.sub("X-Amz-Signature=.", "X-Amz-Signature=x", link), link.partition("?")[0], other_tenants):
        assert web.request("GET", forged).status == 403, forged


def test_download_url_is_new_for_each_request_and_short_lived(delivered: Delivered) -> None:
    first = delivered.tenant.detail(delivered.export["exportId"])
    # Signatures have whole seconds, so two within a second are equal.
    time.sleep(1.1)
    second = delivered.tenant.detail(delivered.export["exportId"])
    assert first["downloadUrl"] != second["downloadUrl"]
    for export in (first, second):
        (lifetime,) = parse_qs(urlsplit(export["downloadUrl"]).query)["X-Amz-Expires"]
        assert 60 <= int(lifetime) <= 3600
        assert export["downloadUrlExpiresAt"] < export["linkExpiresAt"]


def test_detail_of_pending_export_has_retry_after(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        response = tenant.get(export_id)
        assert response.status == 200
        assert response.json()["status"] == "PENDING"
        assert int(response.headers["Retry-After"]) >= 1
        assert tenant.lock() == export_id
    tenant.await_status(export_id, "READY")


def test_file_without_payouts_has_only_the_header(tenant: Tenant) -> None:
    export = tenant.export()
    (key,) = tenant.objects()
    assert tenant.content(key) == f"{HEADER}\n".encode()
    assert export["file"]["rows"] == 0
    assert export["file"]["totals"] == []
    assert len(tenant.mails()) == 1


def test_file_has_only_payouts_created_up_to_acceptance(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        as_of = tenant.detail(export_id)["asOf"]
        moment = datetime.strptime(as_of, "%Y-%m-%dT%H:%M:%S.%fZ")
        later = (moment + timedelta(milliseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
        in_time = [payout("po_past"), payout("po_just_in_time", createdAt=as_of)]
        tenant.put_payouts([*in_time, payout("po_late", createdAt=later)])
    export = tenant.await_status(export_id, "READY")
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(in_time)
    assert export["file"]["rows"] == 2


def test_file_starts_with_a_byte_order_mark_if_configured(brisk_tenant: Tenant) -> None:
    payouts = [payout("po_1", reference="Règlement")]
    brisk_tenant.put_payouts(payouts)
    with changed_settings(brisk_tenant.stack, "create-export", BYTE_ORDER_MARK="true"):
        export_id = brisk_tenant.launch()
    export = brisk_tenant.await_status(export_id, "READY")
    (key,) = brisk_tenant.objects()
    content = brisk_tenant.content(key)
    assert content == expected_csv(payouts, byte_order_mark=True)
    assert (export["file"]["bytes"], export["file"]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_file_of_several_parts_matches_an_independent_writer(brisk_tenant: Tenant) -> None:
    payouts = [*sample_payouts.rows(brisk_tenant.id, 100), *large_payouts(70)]
    brisk_tenant.put_payouts(payouts)
    export = brisk_tenant.export()
    (key,) = brisk_tenant.objects()
    content = brisk_tenant.content(key)
    assert content == expected_csv(payouts)
    assert (export["file"]["bytes"], export["file"]["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    stored = brisk_tenant.stack.client("s3").head_object(Bucket=brisk_tenant.stack.bucket, Key=key)
    (parts,) = re.findall(r'-(\d+)"$', stored["ETag"])
    assert int(parts) > 1
    assert brisk_tenant.unfinished_uploads() == []
