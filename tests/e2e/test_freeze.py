"""Functions that were frozen, and whose connections died meanwhile: they learn it only from the reset that a request on
one is answered with."""

from __future__ import annotations

from interventions import changed
from payouts import payout
from tenant import Tenant

DEAD = {"STACK_FROZEN_CONNECTIONS": "dead"}


def test_mail_is_sent_again_by_a_function_that_was_frozen(tenant: Tenant) -> None:
    export = tenant.export()
    with changed(tenant.stack, "resend-email", **DEAD):
        answers = [tenant.call("POST", f"/v1/exports/{export['exportId']}/resend-email") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 200], answers
    assert len(tenant.mails()) == 4


def test_exports_are_made_by_functions_that_were_frozen(tenant: Tenant) -> None:
    tenant.put_payouts([payout("po_1")])
    with changed(tenant.stack, "create-export", **DEAD), changed(tenant.stack, "generate-export", **DEAD):
        exports = [tenant.export() for _ in range(3)]
    assert len(tenant.mails()) == 3
    # No delivery failed: none was repeated.
    logs = [line for line in tenant.stack.logs("generate-export") if tenant.id in line]
    assert not [line for line in logs if '"level":"ERROR"' in line or '"level":"WARN"' in line]
    assert {export["file"]["rows"] for export in exports} == {1}
