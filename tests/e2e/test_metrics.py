"""Each metric moves when what it counts happens: read as CloudWatch reads it, from the functions' log lines."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from interventions import changed, held_queue
from payouts import payout, plain_payouts
from stack import Stack
from tenant import Tenant, await_quiet
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = [json.loads(line) for line in (ROOT / "shared/telemetry/golden/metrics.jsonl").read_text().splitlines()]


def lines(stack: Stack, crate: str, metric: str) -> list[dict[str, Any]]:
    """All lines so far by which a function tells a metric."""
    events = (json.loads(line) for line in stack.logs(crate) if line.startswith("{"))
    return [event for event in events if "_aws" in event and metric in names(event)]


def names(line: dict[str, Any]) -> list[str]:
    return [metric["Name"] for directive in line["_aws"]["CloudWatchMetrics"] for metric in directive["Metrics"]]


class Moved:
    """The lines that came since it was made."""

    def __init__(self, stack: Stack, crate: str, metric: str) -> None:
        self.stack, self.crate, self.metric = stack, crate, metric
        self.before = len(lines(stack, crate, metric))

    def new(self) -> list[dict[str, Any]]:
        return lines(self.stack, self.crate, self.metric)[self.before :]

    def await_line(self, fits: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """The first new line that fits, in the form of its golden line."""

        def look() -> dict[str, Any] | None:
            return next((line for line in self.new() if fits(line)), None)

        line = wait_for(f"{self.crate} to tell {self.metric}", look, seen=lambda: f"new lines: {self.new()}")
        assert line is not None
        (golden,) = (golden for golden in GOLDEN if self.metric in names(golden))
        assert line["_aws"]["CloudWatchMetrics"] == golden["_aws"]["CloudWatchMetrics"]
        assert line.keys() == golden.keys()
        assert line["FunctionName"] == self.stack.functions[self.crate]
        return line


def test_export_that_becomes_ready_counts_as_created_ready_and_mailed(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(7))
    created = Moved(tenant.stack, "create-export", "ExportsCreated")
    ready = Moved(tenant.stack, "generate-export", "ExportsReady")
    mails = Moved(tenant.stack, "generate-export", "MailsSent")
    tenant.export()
    assert created.await_line()["ExportsCreated"] == 1
    line = ready.await_line(lambda line: line["ExportRows"] == 7)
    assert line["ExportsReady"] == 1
    assert 0 < line["ExportDuration"] < 60
    assert mails.await_line()["MailsSent"] == 1


def test_request_that_was_accepted_before_creates_nothing_more(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    headers = {"Idempotency-Key": "metrics"}
    created = Moved(tenant.stack, "create-export", "ExportsCreated")
    assert [tenant.post(headers=headers).status for _ in range(2)] == [202, 202]
    created.await_line()
    await_quiet(tenant.stack)
    assert len(created.new()) == 1


def test_export_that_fails_counts_with_its_code(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts([payout("po_unknown", currency="ZZZ")])
    failed = Moved(tenant.stack, "generate-export", "ExportsFailed")
    tenant.await_status(tenant.launch(), "FAILED")
    line = failed.await_line(lambda line: line["Code"] == "PAYOUTS_NOT_WRITABLE")
    assert line["ExportsFailed"] == 1


def test_mail_that_is_refused_counts_as_such(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    refused = Moved(tenant.stack, "generate-export", "MailsRefused")
    sent = Moved(tenant.stack, "generate-export", "MailsSent")
    failed = Moved(tenant.stack, "generate-export", "ExportsFailed")
    with changed(tenant.stack, "generate-export", SENDER="nobody@unverified.example"):
        tenant.await_status(tenant.launch(), "FAILED")
        refused.await_line()
        await_quiet(tenant.stack)
    failed.await_line(lambda line: line["Code"] == "EMAIL_NOT_SENT")
    assert sent.new() == []


def test_mail_that_is_sent_again_counts_by_the_function_that_sends_it(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    export_id = tenant.export()["exportId"]
    sent = Moved(tenant.stack, "resend-email", "MailsSent")
    assert tenant.call("POST", f"/v1/exports/{export_id}/resend-email").status == 200
    sent.await_line()


def test_sweep_tells_the_age_of_the_oldest_pending_export_and_how_often_it_rang(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    with held_queue(tenant.stack):
        before = time.time()
        tenant.launch()
        swept = Moved(tenant.stack, "sweep-exports", "OldestPendingAge")

        def rung() -> bool:
            tenant.stack.sweep()
            return any(line["ExportsRungAgain"] for line in swept.new())

        wait_for("a sweep to ring again", rung, seen=lambda: str(swept.new()))
        line = swept.await_line(lambda line: line["ExportsRungAgain"] > 0)
        # Told as of the sweep's begin, which may be a moment before the export is due to be rung for.
        assert 0 < line["OldestPendingAge"] <= line["_aws"]["Timestamp"] / 1000 - before
        assert line["SweepErrors"] == 0
    await_quiet(tenant.stack)
    none = Moved(tenant.stack, "sweep-exports", "OldestPendingAge")
    tenant.stack.sweep()
    assert none.await_line()["OldestPendingAge"] == 0


def test_sweep_that_cannot_read_what_is_pending_tells_no_age(brisk_tenant: Tenant) -> None:
    stack = brisk_tenant.stack
    swept = Moved(stack, "sweep-exports", "ExportsRungAgain")
    with (
        changed(stack, "sweep-exports", EXPORTS_TABLE="no-such-table"),
        pytest.raises(Exception, match="sweep-exports"),
    ):
        stack.sweep()
    wait_for("the sweep's line", swept.new)
    assert all("OldestPendingAge" not in line for line in swept.new())


def test_sweep_counts_the_exports_that_it_ends_and_expires(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    failed = Moved(tenant.stack, "sweep-exports", "ExportsFailed")
    told = Moved(tenant.stack, "sweep-exports", "MailsSent")
    with held_queue(tenant.stack), changed(tenant.stack, "create-export", EXPORT_DEADLINE="1s"):
        tenant.await_status(tenant.launch(), "FAILED", sweeping=True)
    failed.await_line(lambda line: line["Code"] == "DEADLINE_PASSED")
    told.await_line()
    expired = Moved(tenant.stack, "sweep-exports", "ExportsExpired")
    with changed(tenant.stack, "create-export", LINK_LIFE="1s"):
        tenant.await_status(tenant.launch(), "EXPIRED")

    def swept() -> bool:
        tenant.stack.sweep()
        return any(line["ExportsExpired"] for line in expired.new())

    wait_for("a sweep to expire the export", swept, seen=lambda: str(expired.new()))


def test_export_that_an_administrator_ends_counts_as_failed(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    failed = Moved(tenant.stack, "end-export", "ExportsFailed")
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": export_id})
    assert failed.await_line()["Code"] == "ENDED_BY_ADMINISTRATOR"


def test_answer_with_a_fault_of_ours_counts_and_one_with_a_callers_does_not(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    errors = Moved(tenant.stack, "get-export", "HttpServerErrors")
    assert tenant.get("mpo_00000000-0000-7000-8000-000000000000").status == 404
    with changed(tenant.stack, "get-export", EXPORTS_TABLE="no-such-table"):
        assert tenant.get("mpo_00000000-0000-7000-8000-000000000000").status >= 500
    errors.await_line()
    assert len(errors.new()) == 1
