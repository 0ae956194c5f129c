"""Functions whose pooled connections were closed while they were frozen. The next request on one is reset."""

from __future__ import annotations

from interventions import changed_settings
from payouts import payout
from tenant import Tenant

DEAD = {"STACK_FROZEN_CONNECTIONS": "dead"}


def test_resend_by_a_frozen_function_succeeds(tenant: Tenant) -> None:
    export = tenant.export()
    with changed_settings(tenant.stack, "resend-email", **DEAD):
        responses = [tenant.call("POST", f"/v1/exports/{export['exportId']}/resend-email") for _ in range(3)]
    assert [response.status for response in responses] == [200, 200, 200], responses
    assert len(tenant.mails()) == 4


def test_export_by_frozen_functions_succeeds(tenant: Tenant) -> None:
    tenant.put_payouts([payout("po_1")])
    with (
        changed_settings(tenant.stack, "create-export", **DEAD),
        changed_settings(tenant.stack, "generate-export", **DEAD),
    ):
        exports = [tenant.export() for _ in range(3)]
    assert len(tenant.mails()) == 3
    # No delivery failed.
    logs = [line for line in tenant.stack.logs("generate-export") if tenant.id in line]
    assert not [line for line in logs if '"level":"ERROR"' in line or '"level":"WARN"' in line]
    assert {export["file"]["rows"] for export in exports} == {1}
