"""An administrator fails a stuck export."""

from __future__ import annotations

from typing import Any

import pytest

from expected_csv import expected_csv
from interventions import held_queue, unsigned_links
from payouts import plain_payouts
from stack import StackError
from tenant import Tenant, await_quiet
from waiting import wait_for

REASON = "The payouts are being corrected."


def fail(tenant: Tenant, export_id: str, **fields: Any) -> dict[str, Any]:
    event = {"tenantId": tenant.id, "exportId": export_id, **fields}
    response: dict[str, Any] = tenant.stack.invoke("fail-export", event)
    return response


def test_stuck_export_fails_and_the_next_can_be_launched(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        export_id = tenant.launch(tenant.cc)
        response = fail(tenant, export_id, reason=REASON)
        export = tenant.detail(export_id)
        record = tenant.record(export_id)
        assert tenant.lock() is None
        next_id = tenant.launch()
        assert tenant.lock() == next_id
    assert export["status"] == "FAILED"
    assert export["failure"] == {
        "code": "FAILED_BY_ADMINISTRATOR",
        "message": f"An administrator failed the export: {REASON}",
        "retryable": True,
    }
    assert (response["status"], response["failure"], response["requesterMailed"]) == ("FAILED", export["failure"], True)
    assert response["updatedAt"] == export["updatedAt"]
    assert "nextCheckState" not in record
    # The job messages of both are delivered only now. The one of the failed export changes nothing.
    tenant.await_status(next_id, "READY")
    await_quiet(tenant.stack)
    assert tenant.record(export_id) == record
    failure_mails = [mail for mail in tenant.mails() if export["failure"]["message"] in mail.text]
    assert [(mail.to, mail.cc) for mail in failure_mails] == [([tenant.email], [])]
    assert len(tenant.mails()) == 2


def test_failed_export_keeps_its_file_and_can_be_resent(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    payouts = plain_payouts(3)
    tenant.put_payouts(payouts)
    with unsigned_links(tenant.stack):
        export_id = tenant.launch(tenant.cc)
        wait_for("the file to be recorded", lambda: "file" in tenant.detail(export_id))
        fail(tenant, export_id)
        await_quiet(tenant.stack)
    export = tenant.detail(export_id)
    assert (export["status"], export["file"]["rows"]) == ("FAILED", len(payouts))
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(payouts)
    sent = tenant.call("POST", f"/v1/exports/{export_id}/resend-email")
    assert sent.status == 200, sent
    assert sent.json()["status"] == "READY"


def test_finished_export_is_rejected_and_unchanged(tenant: Tenant) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.items()
    with pytest.raises(StackError, match="exportId: the export is READY; only a PENDING export can be failed"):
        fail(tenant, export_id)
    assert tenant.items() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("tenantId", "a/b"), ("exportId", "mpo_1"), ("reason", "x" * 201), ("force", True)],
)
def test_request_with_an_invalid_field_names_it(tenant: Tenant, field: str, value: Any) -> None:
    unknown = "mpo_01a11aa2-3340-7707-8707-070707070707"
    with pytest.raises(StackError, match=f"bad request: {field}: "):
        tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": unknown, field: value})
    with pytest.raises(StackError, match="exportId: the tenant has no export with this ID"):
        fail(tenant, unknown)
