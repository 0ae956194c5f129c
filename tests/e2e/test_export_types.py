"""An export of each type, from its launch to its file and e-mail."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urljoin, urlsplit

import pytest

import sample_rows
import web
from expected_csv import expected_csv, expected_totals
from export_types import EXPORT_TYPES, FUNDING_TRANSFERS, ExportType
from interventions import held_queue
from past_exports import days_from_now, parsed
from stack import Mail, Stack
from tenant import Tenant, link_in

ROWS = 300
OF_EACH_TYPE = pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)


@dataclass(frozen=True)
class Delivered:
    """A READY export of each type of one tenant, and its rows."""

    tenant: Tenant
    rows: dict[ExportType, list[dict[str, Any]]]
    accepted: dict[ExportType, web.Response]
    pending: dict[ExportType, dict[str, Any]]
    exports: dict[ExportType, dict[str, Any]]

    def mail(self, export_type: ExportType) -> Mail:
        export_id = self.exports[export_type]["exportId"]
        (mail,) = (mail for mail in self.tenant.mails() if export_id in mail.text)
        return mail


@pytest.fixture(scope="module")
def delivered(stack: Stack) -> Delivered:
    tenant, neighbour = Tenant(stack, "export of each type"), Tenant(stack, "neighbour of each type")
    rows = {known: list(sample_rows.rows(known, tenant.id, ROWS)) for known in EXPORT_TYPES}
    for known in EXPORT_TYPES:
        stack.put_rows(known, tenant.id, rows[known])
        stack.put_rows(known, neighbour.id, sample_rows.rows(known, neighbour.id, 5))
    with held_queue(stack):
        accepted = {known: tenant.post({"cc": tenant.cc}, export_type=known) for known in EXPORT_TYPES}
        launched = {known: accepted[known].json()["exportId"] for known in EXPORT_TYPES}
        pending = {known: tenant.detail(launched[known]) for known in EXPORT_TYPES}
        for known in EXPORT_TYPES:
            assert tenant.lock(known) == launched[known]
            again = tenant.post(export_type=known)
            assert (again.status, again.error_codes()) == (409, ["EXPORT_ALREADY_PENDING"])
            assert launched[known] in str(again)
    exports = {known: tenant.await_status(launched[known], "READY") for known in EXPORT_TYPES}
    return Delivered(tenant, rows, accepted, pending, exports)


def test_one_export_of_each_type_can_be_pending(delivered: Delivered) -> None:
    assert {export["status"] for export in delivered.pending.values()} == {"PENDING"}


@OF_EACH_TYPE
def test_launch_of_the_type_returns_202_with_the_pending_export(delivered: Delivered, export_type: ExportType) -> None:
    response, tenant = delivered.accepted[export_type], delivered.tenant
    export = response.json()
    assert (response.status, export["status"], export["exportType"]) == (202, "PENDING", export_type.slug)
    assert export["recipients"] == {"to": tenant.email, "cc": tenant.cc}
    assert not {"file", "downloadUrl"} & export.keys()
    location = urlsplit(urljoin(tenant.stack.apiUrl, response.headers["Location"]))
    assert location.path == f"{export_type.path}/{export['exportId']}"


@OF_EACH_TYPE
def test_detail_names_the_type_and_describes_the_file(delivered: Delivered, export_type: ExportType) -> None:
    export, rows = delivered.exports[export_type], delivered.rows[export_type]
    assert export["exportType"] == export_type.slug
    assert export["exportId"].startswith(f"{export_type.prefix}_")
    assert export["file"]["rows"] == export["progress"]["rows"] == len(rows) == ROWS
    totals = {(t["currency"], t["status"]): (t["count"], t["amount"]) for t in export["file"]["totals"]}
    assert totals == expected_totals(rows)
    assert len(export["file"]["totals"]) == len(totals)


@OF_EACH_TYPE
def test_download_matches_an_independent_writer(delivered: Delivered, export_type: ExportType) -> None:
    export = delivered.tenant.detail(delivered.exports[export_type]["exportId"])
    expected = expected_csv(delivered.rows[export_type], export_type=export_type.slug)
    for link in (export["downloadUrl"], link_in(delivered.mail(export_type))):
        response = web.request("GET", link)
        assert response.status == 200, response
        assert response.body == expected
        assert f'filename="{export_type.slug}-{delivered.tenant.id}-' in response.headers["Content-Disposition"]
    assert export["file"]["sha256"] == hashlib.sha256(expected).hexdigest()


@OF_EACH_TYPE
def test_mailed_link_of_the_type_expires_as_recorded(delivered: Delivered, export_type: ExportType) -> None:
    export = delivered.exports[export_type]
    query = parse_qs(urlsplit(link_in(delivered.mail(export_type))).query)
    signed_at = datetime.strptime(query["X-Amz-Date"][0] + "+0000", "%Y%m%dT%H%M%SZ%z")
    expires_at = signed_at + timedelta(seconds=int(query["X-Amz-Expires"][0]))
    recorded = parsed(export["linkExpiresAt"])
    # A signature has whole seconds. The link must not expire later than recorded.
    assert timedelta() <= recorded - expires_at < timedelta(seconds=2)
    created = parsed(export["createdAt"])
    assert timedelta(seconds=-1) < recorded - created - timedelta(hours=72) < timedelta(minutes=2)


@OF_EACH_TYPE
def test_history_has_the_exports_of_the_type_only(delivered: Delivered, export_type: ExportType) -> None:
    response = delivered.tenant.call("GET", export_type.path)
    assert response.status == 200, response
    (found,) = response.json()["content"]
    export = delivered.exports[export_type]
    assert {**found, "downloadUrl": 0, "downloadUrlExpiresAt": 0} == {
        **export, "downloadUrl": 0, "downloadUrlExpiresAt": 0
    }  # fmt: skip


@OF_EACH_TYPE
def test_export_under_the_path_of_another_type_is_404(delivered: Delivered, export_type: ExportType) -> None:
    export_id = delivered.exports[export_type]["exportId"]
    for known in EXPORT_TYPES:
        response = delivered.tenant.call("GET", f"{known.path}/{export_id}")
        if known is export_type:
            assert response.status == 200
        else:
            assert (response.status, response.error_codes()) == (404, ["F-E-002"]), known.slug


@OF_EACH_TYPE
def test_history_of_the_type_is_filtered_sorted_and_paged(tenant: Tenant, export_type: ExportType) -> None:
    with held_queue(tenant.stack):
        first = tenant.launch(export_type=export_type)
        cancelled = tenant.call("POST", f"/v1/exports/{first}/cancel").json()
        assert (cancelled["status"], cancelled["failure"]["code"]) == ("FAILED", "CANCELLED")
    ready = tenant.await_status(tenant.launch(export_type=export_type), "READY")
    second = ready["exportId"]

    def listed(query: str) -> list[str]:
        response = tenant.call("GET", f"{export_type.path}?{query}")
        assert response.status == 200, response
        return [export["exportId"] for export in response.json()["content"]]

    assert listed("status=READY&status=FAILED") == listed("sort=createdAt:desc") == [second, first]
    assert listed("sort=createdAt:asc") == [first, second]
    assert listed("status=FAILED") == listed(f"createdAtTo={cancelled['createdAt']}") == [first]
    assert listed("status=READY,EXPIRED") == listed(f"createdAtFrom={ready['createdAt']}") == [second]
    assert listed("status=PENDING,EXPIRED") == listed("createdAtTo=2026-01-01") == []
    page = tenant.call("GET", f"{export_type.path}?size=1").json()
    assert [export["exportId"] for export in page["content"]] == [second]
    assert listed(f"size=1&cursor={quote(page['nextCursor'])}") == [first]


@OF_EACH_TYPE
def test_invalid_cc_of_the_type_is_rejected(tenant: Tenant, export_type: ExportType) -> None:
    response = tenant.post({"cc": ["a@cc.example", "b@cc.example,c@cc.example"]}, export_type=export_type)
    assert (response.status, response.error_codes()) == (400, ["F-E-012"])
    assert [error["field"] for error in response.json()["errors"]] == ["cc[1]"]
    assert tenant.items() == []


@OF_EACH_TYPE
def test_one_mail_of_the_type_is_sent_to_requester_and_cc(delivered: Delivered, export_type: ExportType) -> None:
    mail = delivered.mail(export_type)
    assert (mail.to, mail.cc) == ([delivered.tenant.email], delivered.tenant.cc)


@OF_EACH_TYPE
def test_mail_uses_the_words_of_the_type(delivered: Delivered, export_type: ExportType) -> None:
    mail = delivered.mail(export_type)
    lower = export_type.title[0].lower() + export_type.title[1:]
    assert mail.subject == f"Your {lower} export is ready"
    for body in (mail.text, mail.html):
        assert f"The {lower} export is ready" in body
        assert f"{ROWS} {export_type.plural} in a CSV file" in body
        for other in EXPORT_TYPES:
            if other.title not in export_type.title:
                assert other.title.lower() not in body.lower(), other.slug


@OF_EACH_TYPE
def test_resend_mails_the_file_of_the_type(delivered: Delivered, export_type: ExportType) -> None:
    stack, rows = delivered.tenant.stack, delivered.rows[export_type][:1]
    other = Tenant(stack, f"resend of {export_type.slug}")
    stack.put_rows(export_type, other.id, rows)
    export = other.await_status(other.launch(export_type=export_type), "READY")
    # The file is not generated again, so it does not have this row.
    stack.put_rows(export_type, other.id, delivered.rows[export_type][1:2])
    response = other.call("POST", f"/v1/exports/{export['exportId']}/resend-email")
    assert (response.status, response.json()["exportType"]) == (200, export_type.slug), response
    first, second = other.mails()
    assert first.subject == second.subject
    assert web.request("GET", link_in(second)).body == expected_csv(rows, export_type=export_type.slug)


@OF_EACH_TYPE
def test_expired_export_of_the_type_is_resent(tenant: Tenant, export_type: ExportType) -> None:
    ready = tenant.await_status(tenant.launch(tenant.cc, export_type), "READY")
    record = tenant.record(ready["exportId"]) | {"linkExpiresAt": days_from_now(-1)}
    tenant.stack.table(tenant.stack.exportsTable).put_item(Item=record)
    expired = tenant.detail(ready["exportId"])
    assert (expired["status"], expired["file"]) == ("EXPIRED", ready["file"])
    assert "downloadUrl" not in expired
    (listed,) = tenant.call("GET", f"{export_type.path}?status=EXPIRED").json()["content"]
    assert listed == expired

    response = tenant.call("POST", f"/v1/exports/{ready['exportId']}/resend-email")
    assert (response.status, response.json()["status"]) == (200, "READY"), response
    mail = tenant.mails()[-1]
    assert (mail.to, mail.cc) == ([tenant.email], tenant.cc)
    for link in (link_in(mail), tenant.detail(ready["exportId"])["downloadUrl"]):
        assert web.request("GET", link).body == expected_csv([], export_type=export_type.slug)


@OF_EACH_TYPE
def test_invalid_row_of_the_type_fails_the_export(stack: Stack, export_type: ExportType) -> None:
    tenant = Tenant(stack, f"invalid {export_type.slug}")
    (row,) = sample_rows.rows(export_type, tenant.id, 1)
    stack.put_rows(export_type, tenant.id, [{**row, "status": "UNKNOWN"}])
    failed = tenant.await_status(tenant.launch(export_type=export_type), "FAILED")
    assert failed["failure"]["code"] == "INVALID_ROWS"
    assert f'"{row[export_type.id_attribute]}" (status unknown)' in failed["failure"]["message"]


def test_account_of_a_supplier_without_a_supplier_id_fails_the_export(stack: Stack) -> None:
    tenant = Tenant(stack, "transfer without supplier")
    (row,) = sample_rows.rows(FUNDING_TRANSFERS, tenant.id, 1)
    row |= {"targetBalanceAccountType": "SUPPLIER", "targetSupplierId": ""}
    stack.put_rows(FUNDING_TRANSFERS, tenant.id, [row])
    failed = tenant.await_status(tenant.launch(export_type=FUNDING_TRANSFERS), "FAILED")
    assert failed["failure"]["code"] == "INVALID_ROWS"
    assert f'"{row["transferId"]}" (target_supplier_id missing)' in failed["failure"]["message"]
