"""Metrics, read from the functions' log lines as CloudWatch reads them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sample_rows
from export_types import EXPORT_TYPES, FUNDING_TRANSFERS, SUPPLIER_PAYOUTS, ExportType
from interventions import changed_settings, held_queue
from payouts import payout, plain_payouts
from stack import Stack
from tenant import Tenant, await_quiet
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = [json.loads(line) for line in (ROOT / "shared/telemetry/golden/metrics.jsonl").read_text().splitlines()]


def lines(stack: Stack, crate: str, metric: str) -> list[dict[str, Any]]:
    """All log lines of a function that emit a metric."""
    events = (json.loads(line) for line in stack.logs(crate) if line.startswith("{"))
    return [event for event in events if "_aws" in event and metric in names(event)]


def names(line: dict[str, Any]) -> list[str]:
    return [metric["Name"] for directive in line["_aws"]["CloudWatchMetrics"] for metric in directive["Metrics"]]


class NewLines:
    """The lines that emit a metric and were added since this object was created."""

    def __init__(self, stack: Stack, crate: str, metric: str) -> None:
        self.stack, self.crate, self.metric = stack, crate, metric
        self.before = len(lines(stack, crate, metric))

    def new(self) -> list[dict[str, Any]]:
        return lines(self.stack, self.crate, self.metric)[self.before :]

    def await_line(self, matches: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The first new line that matches. It must have the form of its golden line."""

        def look() -> dict[str, Any] | None:
            return next((line for line in self.new() if matches(line)), None)

        line = wait_for(f"{self.crate} to emit {self.metric}", look, seen=lambda: f"new lines: {self.new()}")
        assert line is not None
        (golden,) = (golden for golden in GOLDEN if self.metric in names(golden))
        assert line["_aws"]["CloudWatchMetrics"] == golden["_aws"]["CloudWatchMetrics"]
        assert line.keys() == golden.keys()
        assert line["FunctionName"] == self.stack.functions[self.crate]
        return line


def test_ready_export_is_counted_as_created_ready_and_mailed(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(7))
    created = NewLines(tenant.stack, "create-export", "ExportsCreated")
    ready = NewLines(tenant.stack, "generate-export", "ExportsReady")
    mails = NewLines(tenant.stack, "generate-export", "MailsSent")
    tenant.export()
    assert created.await_line()["ExportsCreated"] == 1
    line = ready.await_line(lambda line: line["ExportRows"] == 7)
    assert line["ExportsReady"] == 1
    assert 0 < line["ExportDuration"] < 60
    assert line["ExportsLate"] == 0
    assert mails.await_line()["MailsSent"] == 1


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)
def test_export_of_the_type_is_counted_by_type(brisk_tenant: Tenant, export_type: ExportType) -> None:
    tenant = brisk_tenant
    created = NewLines(tenant.stack, "create-export", "ExportsCreated")
    ready = NewLines(tenant.stack, "generate-export", "ExportsReady")
    tenant.await_status(tenant.launch(export_type=export_type), "READY")
    failed = NewLines(tenant.stack, "generate-export", "ExportsFailed")
    (row,) = sample_rows.rows(export_type, tenant.id, 1)
    tenant.stack.put_rows(export_type, tenant.id, [{**row, "status": "UNKNOWN"}])
    tenant.await_status(tenant.launch(export_type=export_type), "FAILED")
    assert [metric.await_line()["ExportType"] for metric in (created, ready, failed)] == [export_type.slug] * 3


def test_repeated_request_is_counted_once(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    headers = {"Idempotency-Key": "metrics"}
    created = NewLines(tenant.stack, "create-export", "ExportsCreated")
    assert [tenant.post(headers=headers).status for _ in range(2)] == [202, 202]
    created.await_line()
    await_quiet(tenant.stack)
    assert len(created.new()) == 1


def test_failed_export_is_counted_by_code(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts([payout("po_unknown", currency="ZZZ")])
    failed = NewLines(tenant.stack, "generate-export", "ExportsFailed")
    tenant.await_status(tenant.launch(), "FAILED")
    line = failed.await_line(lambda line: line["Code"] == "INVALID_ROWS")
    assert line["ExportsFailed"] == 1


def test_rejected_mail_is_counted(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    rejected = NewLines(tenant.stack, "generate-export", "MailsRejected")
    sent = NewLines(tenant.stack, "generate-export", "MailsSent")
    failed = NewLines(tenant.stack, "generate-export", "ExportsFailed")
    with changed_settings(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
        tenant.await_status(tenant.launch(), "FAILED")
        rejected.await_line()
        await_quiet(tenant.stack)
    failed.await_line(lambda line: line["Code"] == "EMAIL_NOT_SENT")
    assert sent.new() == []


def test_resent_mail_is_counted_by_the_resend_function(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export_id = tenant.export()["exportId"]
    sent = NewLines(tenant.stack, "resend-email", "MailsSent")
    assert tenant.call("POST", f"/v1/exports/{export_id}/resend-email").status == 200
    sent.await_line()


def test_sweep_emits_oldest_pending_age_and_re_enqueue_count(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        before = time.time()
        tenant.launch()
        swept = NewLines(tenant.stack, "sweep-exports", "OldestPendingAge")

        def re_enqueued() -> bool:
            tenant.stack.sweep()
            return any(line["ExportsReEnqueued"] for line in swept.new())

        wait_for("a sweep to re-enqueue the export", re_enqueued, seen=lambda: str(swept.new()))
        line = swept.await_line(lambda line: line["ExportsReEnqueued"] > 0)
        # The age is as of the start of the sweep, which may be shortly before the next check of the export.
        assert 0 < line["OldestPendingAge"] <= line["_aws"]["Timestamp"] / 1000 - before
        assert line["SweepErrors"] == 0
    await_quiet(tenant.stack)
    idle = NewLines(tenant.stack, "sweep-exports", "OldestPendingAge")
    tenant.stack.sweep()
    assert idle.await_line()["OldestPendingAge"] == 0


def test_sweep_that_cannot_read_exports_emits_no_age(brisk_tenant: Tenant) -> None:
    stack = brisk_tenant.stack
    swept = NewLines(stack, "sweep-exports", "ExportsReEnqueued")
    with (
        changed_settings(stack, "sweep-exports", EXPORTS_TABLE="no-such-table"),
        pytest.raises(Exception, match="sweep-exports"),
    ):
        stack.sweep()
    wait_for("the sweep's line", swept.new)
    assert all("OldestPendingAge" not in line for line in swept.new())


def test_sweep_counts_failed_and_expired_exports(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    failed = NewLines(tenant.stack, "sweep-exports", "ExportsFailed")
    mailed = NewLines(tenant.stack, "sweep-exports", "MailsSent")
    with held_queue(tenant.stack), changed_settings(tenant.stack, "create-export", EXPORT_DEADLINE="1s"):
        tenant.await_status(tenant.launch(export_type=SUPPLIER_PAYOUTS), "FAILED", sweeping=True)
    line = failed.await_line(lambda line: line["Code"] == "DEADLINE_PASSED")
    assert line["ExportType"] == SUPPLIER_PAYOUTS.slug
    mailed.await_line()
    expired = NewLines(tenant.stack, "sweep-exports", "ExportsExpired")
    with changed_settings(tenant.stack, "create-export", LINK_LIFETIME="1s"):
        tenant.await_status(tenant.launch(), "EXPIRED")

    def swept() -> bool:
        tenant.stack.sweep()
        return any(line["ExportsExpired"] for line in expired.new())

    wait_for("a sweep to expire the export", swept, seen=lambda: str(expired.new()))


def test_export_failed_by_an_administrator_is_counted(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    failed = NewLines(tenant.stack, "fail-export", "ExportsFailed")
    with held_queue(tenant.stack):
        export_id = tenant.launch(export_type=FUNDING_TRANSFERS)
        tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": export_id})
    line = failed.await_line()
    assert (line["Code"], line["ExportType"]) == ("FAILED_BY_ADMINISTRATOR", FUNDING_TRANSFERS.slug)


def test_cancelled_export_is_counted(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    cancelled = NewLines(tenant.stack, "cancel-export", "ExportsFailed")
    with held_queue(tenant.stack):
        export_id = tenant.launch(export_type=FUNDING_TRANSFERS)
        assert tenant.call("POST", f"/v1/exports/{export_id}/cancel").status == 200
    line = cancelled.await_line()
    assert (line["Code"], line["ExportType"]) == ("CANCELLED", FUNDING_TRANSFERS.slug)


def test_server_error_is_counted_and_client_error_is_not(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    errors = NewLines(tenant.stack, "get-export", "HttpServerErrors")
    assert tenant.get("mpo_00000000-0000-7000-8000-000000000000").status == 404
    with changed_settings(tenant.stack, "get-export", EXPORTS_TABLE="no-such-table"):
        assert tenant.get("mpo_00000000-0000-7000-8000-000000000000").status >= 500
    errors.await_line()
    assert len(errors.new()) == 1
