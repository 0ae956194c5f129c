"""Launching an export and downloading its file."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from playwright.sync_api import APIResponse, Route, expect

from expected_csv import expected_csv
from export_types import FUNDING_TRANSFERS
from interventions import held_queue
from office import Opener
from payouts import payout, plain_payouts
from tenant import EXPORTS, Tenant
from waiting import wait_for


def test_export_with_cc_is_followed_from_pending_to_download(tenant: Tenant, open_office: Opener) -> None:
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
        expect(dialog).to_contain_text(f"A link will be sent to {tenant.email} and 2 others.")
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


def test_rejected_launch_works_when_the_pending_export_ends(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    with held_queue(tenant.stack):
        # Another user launches an export that this page has not loaded yet.
        export_id = tenant.launch()
        dialog = office.open_launch()
        office.page.keyboard.type("finance@cc.example")
        dialog.get_by_label("Period").select_option("Last month")
        confirm = dialog.get_by_role("button", name="Confirm export")
        confirm.click()
        expect(dialog.get_by_role("alert")).to_contain_text("An export is already pending.")
        expect(confirm).to_be_disabled()
        office.inspect("an export is already pending")
        # The page has learnt of it.
        expect(office.page.locator(".latest")).to_contain_text("In progress")
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
    expect(office.latest).to_contain_text("Ready to download")
    dialog = office.open_launch()
    office.expect_chips(["finance@cc.example"])
    with held_queue(tenant.stack):
        tenant.launch()
        confirm.click()
        expect(dialog.get_by_role("alert")).to_contain_text("An export is already pending.")
    expect(dialog.get_by_role("alert")).to_contain_text("The pending export has ended.")
    office.inspect("the pending export has ended")
    office.expect_chips(["finance@cc.example"])
    expect(dialog.get_by_label("Period")).to_have_value("lastMonth")
    confirm.click()
    expect(dialog).to_be_hidden()
    expect(office.exports).to_have_count(3)
    own = office.exports.first.get_attribute("title") or ""
    assert tenant.detail(own.removeprefix("Details of "))["filter"].keys() == {"createdAtFrom", "createdAtTo"}


@pytest.mark.parametrize(
    ("now", "period", "shown"),
    [
        ("2026-11-15T09:00:00Z", "Everything", "up to the launch"),
        ("2026-11-15T09:00:00Z", "Last month", "from 1 Oct 2026, 00:00 CEST to 31 Oct 2026, 23:59:59 CET"),
        ("2026-11-15T09:00:00Z", "This month", "from 1 Nov 2026, 00:00 CET to the launch"),
        ("2026-11-15T09:00:00Z", "Last quarter", "from 1 Jul 2026, 00:00 CEST to 30 Sept 2026, 23:59:59 CEST"),
        ("2026-11-15T09:00:00Z", "This year", "from 1 Jan 2026, 00:00 CET to the launch"),
        # It is still December in UTC.
        ("2026-12-31T23:30:00Z", "Last month", "from 1 Dec 2026, 00:00 CET to 31 Dec 2026, 23:59:59 CET"),
        ("2026-12-31T23:30:00Z", "Last quarter", "from 1 Oct 2026, 00:00 CEST to 31 Dec 2026, 23:59:59 CET"),
    ],
)
def test_periods_are_shown_as_instants_of_the_time_zone(
    now: str, period: str, shown: str, tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(tenant, has_clock=True)
    office.page.clock.set_fixed_time(now)
    dialog = office.open_launch()
    dialog.get_by_label("Period").select_option(period)
    expect(dialog.get_by_text("Payouts created")).to_have_text(f"Payouts created {shown}.")


def test_period_of_dates_is_exported(tenant: Tenant, open_office: Opener) -> None:
    # One row on each side of midnight in Paris.
    tenant.put_payouts(
        [
            payout("po_1", createdAt="2026-03-10T22:59:59.999Z"),
            payout("po_2", createdAt="2026-03-10T23:00:00.000Z"),
        ]
    )
    office = open_office(tenant)
    dialog = office.open_launch()
    confirm = dialog.get_by_role("button", name="Confirm export")
    dialog.get_by_label("Period").select_option("Dates…")
    confirm.click()
    expect(dialog).to_contain_text("Enter a start date, an end date or both.")
    expect(dialog.get_by_label("From")).to_be_focused()
    dialog.get_by_label("From").fill("2026-03-11")
    dialog.get_by_label("To", exact=True).fill("2026-03-10")
    confirm.click()
    expect(dialog).to_contain_text("The start date is after the end date.")
    office.inspect("reversed dates in the dialog")
    dialog.get_by_label("From").fill("2026-03-10")
    dialog.get_by_label("To", exact=True).fill("2026-03-10")
    expect(dialog).to_contain_text("from 10 Mar 2026, 00:00 CET to 10 Mar 2026, 23:59:59 CET")
    confirm.click()
    expect(office.message).to_contain_text("Export ready: 1 payout.")
    (export,) = tenant.call("GET", EXPORTS).json()["content"]
    expected = {"createdAtFrom": "2026-03-09T23:00:00.000Z", "createdAtTo": "2026-03-10T22:59:59.999Z"}
    assert export["filter"] == expected


def test_filters_are_sent_and_invalid_ones_named(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, query="?type=funding-transfers")
    office.button("Export CSV").click()
    dialog = office.dialog
    confirm = dialog.get_by_role("button", name="Confirm export")
    dialog.get_by_text("Filters (optional)").click()
    dialog.get_by_label("Amount from").fill("1,5")
    dialog.get_by_label("Supplier ID").fill("\n".join(f"sup_{number}" for number in range(51)))
    confirm.click()
    for text in ("Enter exactly one currency", "At most 50 suppliers, not 51.", "Enter digits with a decimal point"):
        expect(dialog).to_contain_text(text)
    expect(dialog.get_by_label("Currency")).to_be_focused()
    office.inspect("invalid filters")
    # A code that only the API knows to be invalid.
    dialog.get_by_label("Currency").fill("xxy")
    dialog.get_by_label("Supplier ID").fill("sup_001, 007\nsup_001")
    dialog.get_by_label("Amount from").fill("-1.5")
    dialog.get_by_label("Amount to").fill("1000000")
    for status in ("Pending", "Completed"):
        dialog.get_by_role("checkbox", name=status).check(force=True)
    dialog.get_by_label("Source account").select_option("Marketplace")
    dialog.get_by_label("Target account").select_option("Supplier")
    confirm.click()
    expect(dialog.get_by_label("Currency")).to_have_attribute("aria-invalid", "true")
    expect(dialog.locator(".field-error:not(:empty)")).to_have_count(1)
    dialog.get_by_label("Currency").fill("eur")
    confirm.click()
    expect(dialog).to_be_hidden()
    (export,) = tenant.call("GET", FUNDING_TRANSFERS.path).json()["content"]
    assert export["filter"] == {
        "statuses": ["PENDING", "COMPLETED"],
        "currencies": ["EUR"],
        "supplierIds": ["007", "sup_001"],
        "amountMin": "-1.5",
        "amountMax": "1000000",
        "sourceBalanceAccountType": "MARKETPLACE",
        "targetBalanceAccountType": "SUPPLIER",
    }


def test_format_is_remembered_until_the_user_signs_out(tenant: Tenant, open_office: Opener) -> None:
    tenant.put_payouts(plain_payouts(3))
    office = open_office(tenant)
    excel, csv = (office.page.get_by_role("radio", name=name) for name in ("Excel for people", "CSV for other systems"))
    dialog = office.open_launch()
    expect(csv).to_be_checked()
    excel.check(force=True)
    dialog.get_by_role("button", name="Confirm export").click()
    expect(office.latest).to_contain_text("Ready to download")
    expect(office.latest).to_contain_text("Excel, 3 payouts")
    with office.page.expect_download() as download:
        office.latest.get_by_role("button", name="Download Excel").click()
    assert download.value.suggested_filename.endswith(".xlsx")
    (export,) = tenant.call("GET", EXPORTS).json()["content"]
    assert export["format"] == "XLSX"
    expect(office.row(export["exportId"])).to_contain_text("Excel · everything")
    panel = office.open_details(export["exportId"])
    # A workbook needs no help on importing it.
    expect(panel.get_by_text("Opening a CSV file in a spreadsheet")).to_be_hidden()
    office.inspect("details of a workbook")
    office.page.reload()
    office.expect_details(export["exportId"])
    office.page.keyboard.press("Escape")
    office.open_launch()
    expect(excel).to_be_checked()
    office.page.keyboard.press("Escape")
    office.button("Sign out").click()
    office.sign_in(tenant.key)
    office.expect_loaded()
    office.open_launch()
    expect(csv).to_be_checked()


def test_relaunch_offers_the_same_options(tenant: Tenant, open_office: Opener) -> None:
    wanted = {
        "createdAtFrom": "2026-01-01T00:00:00.500Z",
        "createdAtTo": "2026-02-01T00:00:00.000Z",
        "statuses": ["FAILED"],
        "currencies": ["EUR", "JPY"],
    }
    response = tenant.post({"filter": wanted, "cc": tenant.cc, "format": "XLSX"})
    tenant.await_status(response.json()["exportId"], "READY")
    tenant.delete_file(response.json()["exportId"])
    office = open_office(tenant)
    panel = office.open_details(response.json()["exportId"])
    panel.get_by_role("button", name="Relaunch").click()
    expect(office.dialog.get_by_label("Period")).to_have_value("same")
    office.inspect("launching again")
    office.dialog.get_by_role("button", name="Confirm export").click()
    expect(panel).to_contain_text("The file is ready.")
    newest = tenant.call("GET", EXPORTS).json()["content"][0]
    assert (newest["filter"], newest["recipients"]["cc"], newest["format"]) == (wanted, tenant.cc, "XLSX")


def test_entries_survive_escape_reload_and_an_expired_session(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)

    def enter() -> None:
        dialog = office.open_launch()
        office.page.keyboard.type("finance@cc.example,accoun")
        dialog.get_by_label("Period").select_option("Last quarter")
        # The click must not be lost when the address becomes a chip.
        dialog.get_by_text("Filters (optional)").click()
        dialog.get_by_label("Currency").fill("EUR")

    def expect_kept() -> None:
        dialog = office.open_launch()
        expect(dialog).to_contain_text("This is what you entered before.")
        office.expect_chips(["finance@cc.example"])
        expect(dialog.get_by_label("CC recipients")).to_have_value("accoun")
        expect(dialog.get_by_label("Period")).to_have_value("lastQuarter")
        expect(dialog.get_by_label("Currency")).to_have_value("EUR")

    enter()
    office.page.keyboard.press("Escape")
    expect(office.dialog).to_have_count(0)
    expect_kept()
    office.inspect("entries are kept")
    office.page.reload()
    office.expect_loaded()
    expect_kept()
    rejection = {"errors": [{"code": "UNAUTHENTICATED", "message": "Not authenticated", "detail": "…"}]}
    office.page.route("**/v1/**", lambda route: route.fulfill(status=401, json=rejection))
    office.dialog.get_by_label("CC recipients").fill("")
    office.dialog.get_by_role("button", name="Confirm export").click()
    expect(office.page.get_by_role("alert")).to_contain_text("unknown, expired or revoked")
    office.page.unroute("**/v1/**")
    office.sign_in(tenant.key)
    office.expect_loaded()
    dialog = office.open_launch()
    office.expect_chips(["finance@cc.example"])
    dialog.get_by_role("button", name="Start over").click()
    office.expect_chips([])
    expect(dialog.get_by_label("Period")).to_have_value("everything")
    office.page.keyboard.press("Escape")

    # Launched entries are not offered again, and no other user sees them.
    enter()
    office.dialog.get_by_label("CC recipients").fill("")
    office.dialog.get_by_role("button", name="Confirm export").click()
    expect(office.latest).to_contain_text("Ready to download")
    office.open_launch()
    office.expect_chips([])
    office.page.keyboard.press("Escape")
    enter()
    office.page.keyboard.press("Escape")
    office.button("Sign out").click()
    office.sign_in(tenant.key)
    office.expect_loaded()
    office.open_launch()
    office.expect_chips([])


def test_entries_are_not_shown_to_another_user(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.open_launch()
    office.page.keyboard.type("finance@cc.example,")
    office.page.evaluate("key => sessionStorage.setItem('backOfficeApiKey', key)", Tenant(tenant.stack, "other").key)
    office.page.reload()
    office.expect_loaded()
    office.open_launch()
    office.expect_chips([])


def test_launching_dialog_stays_open_until_the_response(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    held: list[Route] = []
    office.page.route("**/export", lambda route: held.append(route))
    dialog = office.open_launch()
    dialog.get_by_role("button", name="Confirm export").click()
    expect(dialog.get_by_role("button", name="Launching…")).to_be_disabled()
    for name in ("Cancel", "Close"):
        expect(dialog.get_by_role("button", name=name)).to_be_disabled()
    for _ in range(3):
        office.page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    office.inspect("launching")
    held[0].abort()
    expect(dialog.get_by_role("alert")).to_contain_text("The service is not responding.")
    expect(dialog.get_by_role("button", name="Confirm export")).to_be_focused()
    office.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_launch_repeated_after_a_lost_response_makes_one_export(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    lost: list[APIResponse] = []

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

        def polls() -> list[str]:
            office.page.wait_for_timeout(100)
            return requests

        wait_for("a poll when the tab is visible again", polls)
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
