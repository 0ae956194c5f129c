"""From the button to the file."""

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


def test_export_with_cc_goes_from_pending_to_ready_on_screen_and_its_file_is_the_object(
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
        office.page.keyboard.type("finance@copies.example, accounting@copies.example,")
        expect(dialog).to_contain_text(f"The file will be sent to {tenant.email} and 2 others.")
        office.inspect("the dialog")
        dialog.get_by_role("button", name="Confirm export").click()
        expect(office.message).to_contain_text("Export launched.")
        expect(dialog).to_be_hidden()
        (item,) = [item for item in tenant.items() if item["sk"].startswith("EXPORT#")]
        export_id = item["exportId"]
        assert item["recipientsCc"] == ["finance@copies.example", "accounting@copies.example"]

        expect(office.latest).to_contain_text("In progress")
        expect(office.row(export_id)).to_contain_text("Pending")
        # Progress comes to the screen by itself.
        progress(tenant, export_id, 12_400)
        expect(office.row(export_id)).to_contain_text("12,400 payouts so far")
        expect(office.latest).to_contain_text("12,400 payouts so far")
        office.inspect("an export is pending")
        progress(tenant, export_id, 0)

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
    # The row's button leads to the same file, and the page stays.
    with office.page.expect_download() as again:
        office.row(export_id).get_by_role("button", name="Download").click()
    assert Path(again.value.path()).read_bytes() == content
    assert office.page.evaluate("window.notReloaded")


def test_button_leads_to_the_pending_export_and_a_second_launch_is_stopped(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    with held_queue(tenant.stack):
        # Somebody else launches one, which this page does not know of yet.
        export_id = tenant.launch()
        dialog = office.open_launch()
        dialog.get_by_role("button", name="Confirm export").click()
        expect(dialog.get_by_role("alert")).to_contain_text("An export is pending already.")
        office.inspect("an export is pending already")
        dialog.get_by_role("button", name="Show the pending export").click()
        office.expect_details(export_id)
        office.inspect("details of a pending export")
        office.page.keyboard.press("Escape")
        expect(office.dialog).to_have_count(0)

        pending = office.button("Export pending: show it")
        pending.click()
        office.expect_details(export_id)
        office.page.keyboard.press("Escape")
        expect(pending).to_be_focused()
    expect(office.button("Export CSV")).to_be_visible()
    expect(office.latest).to_contain_text("Ready to download")
    assert len(tenant.mails()) == 1


def test_answer_that_is_lost_and_a_second_press_make_one_export(tenant: Tenant, open_office: Opener) -> None:
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
    office.page.keyboard.type("finance@copies.example")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("alert")).to_contain_text("The server cannot be reached.")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog).to_be_hidden()
    expect(office.latest).to_contain_text("Ready to download")
    assert len([item for item in tenant.items() if item["sk"].startswith("EXPORT#")]) == 1


def test_faults_that_only_the_server_finds_show_at_their_addresses(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    faults = [
        {"code": "F-E-012", "message": "Wrong format", "detail": "this domain may not get exports", "field": "cc[1]"},
        {"code": "F-E-010", "message": "Size limit exceeded", "detail": "at most 2 CC addresses", "field": "cc"},
    ]
    answer = {"errors": faults, "requestId": "r-1"}
    office.page.route("**/export", lambda route: route.fulfill(status=400, json=answer))
    dialog = office.open_launch()
    office.page.keyboard.type("a@copies.example, b@elsewhere.example, c@copies.example")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.locator(".chip.bad .chip-text")).to_have_text(["b@elsewhere.example"])
    expect(dialog.locator(".faults")).to_contain_text("b@elsewhere.example This domain may not get exports.")
    expect(dialog.locator(".faults")).to_contain_text("At most 2 CC addresses.")
    expect(dialog.get_by_label("CC recipients")).to_be_focused()
    office.inspect("faults that the server found")
    office.page.unroute("**/export")
    dialog.get_by_role("button", name="Remove b@elsewhere.example").click()
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog).to_be_hidden()
    expect(office.exports).to_have_count(1)
    export_id = (office.exports.get_attribute("title") or "").removeprefix("Details of ")
    assert tenant.record(export_id)["recipientsCc"] == ["a@copies.example", "c@copies.example"]


def test_failure_of_the_server_is_told_with_its_request(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    answer = {"errors": [{"code": "INTERNAL", "message": "Internal error", "detail": "It broke."}], "requestId": "r-77"}
    office.page.route("**/export", lambda route: route.fulfill(status=500, json=answer))
    dialog = office.open_launch()
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("alert")).to_contain_text("It broke. (request r-77)")
    expect(dialog.get_by_role("button", name="Confirm export")).to_be_enabled()


def test_pending_export_is_not_asked_about_while_nobody_looks(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, has_clock=True)
    asked: list[str] = []
    with held_queue(tenant.stack):
        office.open_launch().get_by_role("button", name="Confirm export").click()
        expect(office.latest).to_contain_text("In progress")
        with office.hidden():
            office.page.on("request", lambda request: asked.append(request.url))
            # Two minutes later, as far as the page knows. From here on its time stands still.
            office.page.clock.pause_at(datetime.now(timezone.utc) + timedelta(minutes=2))
            office.page.wait_for_timeout(500)
            assert asked == []
        wait_for("a look as soon as the tab is back", lambda: office.page.wait_for_timeout(100) or asked)
        office.page.clock.resume()
    expect(office.latest).to_contain_text("Ready to download")


def progress(tenant: Tenant, export_id: str, rows: int) -> None:
    """The generator has written that many rows."""
    record = tenant.record(export_id)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": record["tenantId"]}, "sk": {"S": record["sk"]}},
        UpdateExpression="SET rowsWritten = :rows",
        ExpressionAttributeValues={":rows": {"N": str(rows)}},
    )
