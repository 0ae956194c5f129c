"""The request ID of a launch is in all log lines of its export."""

from __future__ import annotations

import json
from typing import Any

from payouts import plain_payouts
from tenant import Tenant, await_quiet
from test_recovery import lost_job_message


def test_request_id_of_the_launch_is_in_every_log_line_of_the_export(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(3))
    with lost_job_message(tenant.stack):
        response = tenant.post()
    launch, export_id = response.headers["X-Request-Id"], response.json()["exportId"]
    tenant.await_status(export_id, "READY", sweeping=True)
    await_quiet(tenant.stack)
    resend = tenant.call("POST", f"/v1/exports/{export_id}/resend-email")
    assert resend.status == 200, resend

    expected = {
        "create-export": "export accepted",
        "get-export": "request completed",
        "sweep-exports": "export enqueued again",
        "generate-export": "export is READY",
        "resend-email": "mail resent",
    }
    for crate, message in expected.items():
        lines = lines_of(tenant, crate, export_id)
        assert message in [line["message"] for line in lines], crate
        assert [line for line in lines if ids(line, "launchRequestId") != [launch]] == []
    resends = lines_of(tenant, "resend-email", export_id)
    assert {tuple(ids(line, "requestId"))[-1] for line in resends} == {resend.headers["X-Request-Id"]}


def lines_of(tenant: Tenant, crate: str, export_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tenant.stack.logs(crate) if export_id in line]


def ids(line: dict[str, Any], name: str) -> list[str]:
    """The values of a field in the spans of a log line, outermost first."""
    return [span[name] for span in line["spans"] if name in span]
