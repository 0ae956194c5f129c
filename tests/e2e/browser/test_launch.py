"""Launching an export and downloading its file."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

from playwright.sync_api import Route, expect

from expected_csv import expected_csv
from interventions import held_queue
from office import Opener
from payouts import plain_payouts
from tenant import Tenant
from waiting import wait_for


def test_export_with_cc_is_followed_from_pending_to_download(
    tenant: Tenant, open_office: Opener, tmp_path: Path
) -> None:
    payouts = plain_payouts(120)
    tenant.put_payouts(payouts)
    office = open_office(tenant)
    expect(office.latest).to_contain_text("Nothing exported yet")
    expect(office.page.get_by_text("No exports yet")).to_be_visible()
    office.inspect("nothing exported yet")
    office.page.evaluate("window.notReloaded = true")

    with held_queue(tenant.stack):
        dialog = office.open_launch()
        office.page.keyboard.type("finance@cc.example, accounting@cc.example,")
        expect(dialog).to_contain_text(f"The file will be sent to {tenant.email} and 2 others.")
        office.inspect("the dialog")
        dialog.get_by_role("button", name="Confirm export").click()
        expect(office.message).to_contain_text("Export launched.")
        expect(dialog).to_be_hidden()
        (item,) = [item for item in tenant.items() if item["sk"].startswith("EXPORT#")]
        export_id = item["exportId"]
        assert item["recipientsCc"] == ["finance@cc.example", "accounting@cc.example"]

        expect(office.latest).to_contain_text("In progress")
        expect(office.row(export_id)).to_contain_text("Pending")
        # Progress is updated without a reload.
        set_progress(tenant, export_id, 12_400)
        expect(office.row(export_id)).to_contain_text("12,400 payouts so far")
        expect(office.latest).to_contain_text("12,400 payouts so far")
        office.inspect("an export is pending")
        set_progress(tenant, export_id, 0)

    expect(office.message).to_contain_text("Export ready: 120 payouts.")
    expect(office.row(export_id)).to_contain_text("Ready")
    expect(office.latest).to_contain_text("Ready to download")
    expect(office.latest).to_contain_text("Link expires in 3 days")
    expect(office.button("Export CSV")).to_be_focused()
    office.inspect("an export is ready")

    with office.page.expect_download() as download:
        office.latest.get_by_role("button", name="Download CSV").click()
    content = Path(download.value.path()).read_bytes()
    assert download.value.suggested_filename == tenant.detail(export_id)["file"]["name"]
    (key,) = tenant.objects()
    assert content == tenant.content(key) == expected_csv(payouts)
    assert hashlib.sha256(content).hexdigest() == tenant.detail(export_id)["file"]["sha256"]
    # The row's button downloads the same file and keeps the page open.
    with office.page.expect_download() as again:
        office.row(export_id).get_by_role("button", name="Download").click()
    assert Path(again.value.path()).read_bytes() == content
    assert office.page.evaluate("window.notReloaded")


def test_second_launch_leads_to_the_pending_export(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    with held_queue(tenant.stack):
        # Another user launches an export that this page has not loaded yet.
        export_id = tenant.launch()
        dialog = office.open_launch()
        dialog.get_by_role("button", name="Confirm export").click()
        expect(dialog.get_by_role("alert")).to_contain_text("An export is already pending.")
        office.inspect("an export is already pending")
        dialog.get_by_role("button", name="Show the pending export").click()
        office.expect_details(export_id)
        office.inspect("details of a pending export")
        office.page.keyboard.press("Escape")
        expect(office.dialog).to_have_count(0)

        pending = office.button("Show pending export")
        pending.click()
        office.expect_details(export_id)
        office.page.keyboard.press("Escape")
        expect(pending).to_be_focused()
    expect(office.button("Export CSV")).to_be_visible()
    expect(office.latest).to_contain_text("Ready to download")
    assert len(tenant.mails()) == 1


def test_launch_repeated_after_a_lost_response_makes_one_export(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    lost = []

    def lose(route: Route) -> None:
        if route.request.method == "POST" and not lost:
            lost.append(route.fetch())
            route.abort()
        else:
            route.continue_()

    office.page.route("**/export", lose)
    dialog = office.open_launch()
    office.page.keyboard.type("finance@cc.example")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The service is not responding.")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog).to_be_hidden()
    expect(office.latest).to_contain_text("Ready to download")
    assert len([item for item in tenant.items() if item["sk"].startswith("EXPORT#")]) == 1


def test_server_errors_are_shown_at_their_addresses(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    errors = [
        {"code": "F-E-012", "message": "Wrong format", "detail": "this domain is not allowed", "field": "cc[1]"},
        {"code": "F-E-010", "message": "Size limit exceeded", "detail": "at most 2 CC recipients", "field": "cc"},
    ]
    response = {"errors": errors, "requestId": "r-1"}
    office.page.route("**/export", lambda route: route.fulfill(status=400, json=response))
    dialog = office.open_launch()
    office.page.keyboard.type("a@cc.example, b@elsewhere.example, c@cc.example")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.locator(".chip.bad .chip-text")).to_have_text(["b@elsewhere.example"])
    expect(dialog.locator(".errors")).to_contain_text("b@elsewhere.example This domain is not allowed.")
    expect(dialog.locator(".errors")).to_contain_text("At most 2 CC recipients.")
    expect(dialog.get_by_label("CC recipients")).to_be_focused()
    office.inspect("server errors")
    office.page.unroute("**/export")
    dialog.get_by_role("button", name="Remove b@elsewhere.example").click()
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog).to_be_hidden()
    expect(office.exports).to_have_count(1)
    export_id = (office.exports.get_attribute("title") or "").removeprefix("Details of ")
    assert tenant.record(export_id)["recipientsCc"] == ["a@cc.example", "c@cc.example"]


def test_server_error_is_shown_with_its_request_id(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    response = {
        "errors": [{"code": "INTERNAL", "message": "Internal error", "detail": "It broke."}],
        "requestId": "r-77",
    }
    office.page.route("**/export", lambda route: route.fulfill(status=500, json=response))
    dialog = office.open_launch()
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It broke. (request ID r-77)")
    expect(dialog.get_by_role("button", name="Confirm export")).to_be_enabled()


def test_pending_export_is_not_polled_while_the_tab_is_hidden(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, has_clock=True)
    requests: list[str] = []
    with held_queue(tenant.stack):
        office.open_launch().get_by_role("button", name="Confirm export").click()
        expect(office.latest).to_contain_text("In progress")
        with office.hidden():
            office.page.on("request", lambda request: requests.append(request.url))
            # The page's clock advances by two minutes and is then paused.
            office.page.clock.pause_at(datetime.now(timezone.utc) + timedelta(minutes=2))
            office.page.wait_for_timeout(500)
            assert requests == []
        wait_for("a poll when the tab is visible again", lambda: office.page.wait_for_timeout(100) or requests)
        office.page.clock.resume()
    expect(office.latest).to_contain_text("Ready to download")


def set_progress(tenant: Tenant, export_id: str, rows: int) -> None:
    """Records progress as the generator does."""
    record = tenant.record(export_id)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": record["tenantId"]}, "sk": {"S": record["sk"]}},
        UpdateExpression="SET rowsWritten = :rows",
        ExpressionAttributeValues={":rows": {"N": str(rows)}},
    )
