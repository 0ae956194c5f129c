"""An administrator ends an export that is stuck."""

from __future__ import annotations

from typing import Any

import pytest

from expected_csv import expected_csv
from interventions import changed, held_queue
from payouts import plain_payouts
from stack import StackError
from tenant import Tenant, await_quiet
from waiting import wait_for

REASON = "The payouts are being corrected."


def end(tenant: Tenant, export_id: str, **fields: Any) -> dict[str, Any]:
    ended: dict[str, Any] = tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": export_id, **fields})
    return ended


def test_stuck_export_ends_its_requester_is_told_and_the_next_can_begin(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        export_id = tenant.launch(tenant.cc)
        ended = end(tenant, export_id, reason=REASON)
        export = tenant.detail(export_id)
        record = tenant.record(export_id)
        assert tenant.lock() is None
        next_id = tenant.launch()
        assert tenant.lock() == next_id
    assert export["status"] == "FAILED"
    assert export["failure"] == {
        "code": "ENDED_BY_ADMINISTRATOR",
        "message": f"An administrator ended the export: {REASON}",
        "retryable": True,
    }
    assert (ended["status"], ended["failure"], ended["requesterTold"]) == ("FAILED", export["failure"], True)
    assert ended["updatedAt"] == export["updatedAt"]
    assert "dueState" not in record
    # The job messages of both are delivered only now: the ended one's does nothing.
    tenant.await_status(next_id, "READY")
    await_quiet(tenant.stack)
    assert tenant.record(export_id) == record
    told = [mail for mail in tenant.mails() if export["failure"]["message"] in mail.text]
    assert [(mail.to, mail.cc) for mail in told] == [([tenant.email], [])]
    assert len(tenant.mails()) == 2


def test_ended_export_keeps_its_file_whose_mail_can_be_sent_again(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    payouts = plain_payouts(3)
    tenant.put_payouts(payouts)
    # The link cannot be signed: the file is recorded, and the mail is to be tried once more.
    broken = {"LINK_SIGNER_SECRET": "no-such-secret", "PERMANENT_ERROR_WAIT": "8s"}
    with changed(tenant.stack, "generate-export", **broken):
        export_id = tenant.launch(tenant.cc)
        wait_for("the file to be recorded", lambda: "file" in tenant.detail(export_id))
        end(tenant, export_id)
        await_quiet(tenant.stack)
    export = tenant.detail(export_id)
    assert (export["status"], export["file"]["rows"]) == ("FAILED", len(payouts))
    (key,) = tenant.objects()
    assert tenant.content(key) == expected_csv(payouts)
    sent = tenant.call("POST", f"/v1/exports/{export_id}/resend-email")
    assert sent.status == 200, sent
    assert sent.json()["status"] == "READY"


def test_export_that_has_ended_is_refused_and_stays_as_it_is(tenant: Tenant) -> None:
    export_id = tenant.export()["exportId"]
    before = tenant.items()
    with pytest.raises(StackError, match="exportId: the export is READY, and only one that is PENDING can be ended"):
        end(tenant, export_id)
    assert tenant.items() == before


@pytest.mark.parametrize(
    ("field", "value"),
    [("tenantId", "a/b"), ("exportId", "mpo_1"), ("reason", "x" * 201), ("force", True)],
)
def test_request_with_a_bad_field_is_refused_and_names_it(tenant: Tenant, field: str, value: Any) -> None:
    unknown = "mpo_01a11aa2-3340-7707-8707-070707070707"
    with pytest.raises(StackError, match=f"bad request: {field}: "):
        tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": unknown, field: value})
    with pytest.raises(StackError, match="exportId: the tenant has no such export"):
        end(tenant, unknown)
