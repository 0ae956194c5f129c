"""The request ID of a launch is in all log lines of its export."""

from __future__ import annotations

import json
from typing import Any

from interventions import held_queue
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


def test_request_id_of_the_launch_is_in_the_log_lines_of_an_export_that_people_end(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        cancelled = tenant.post()
        path = f"/v1/exports/{cancelled.json()['exportId']}/cancel"
        assert tenant.call("POST", path).status == 200
        failed = tenant.post()
        tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": failed.json()["exportId"]})
    await_quiet(tenant.stack)
    ended = (
        (cancelled, "cancel-export", "export cancelled"),
        (failed, "fail-export", "an administrator failed the export"),
    )
    for response, crate, message in ended:
        for function in (crate, "generate-export"):
            lines = lines_of(tenant, function, response.json()["exportId"])
            assert lines, function
            assert {tuple(ids(line, "launchRequestId")) for line in lines} == {(response.headers["X-Request-Id"],)}
        assert message in [line["message"] for line in lines_of(tenant, crate, response.json()["exportId"])]


def lines_of(tenant: Tenant, crate: str, export_id: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in tenant.stack.logs(crate) if export_id in line]


def ids(line: dict[str, Any], name: str) -> list[str]:
    """The values of a field in the spans of a log line, outermost first."""
    return [span[name] for span in line["spans"] if name in span]
