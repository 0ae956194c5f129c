"""The export history: rows, filters, sort order and pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from export_types import FUNDING_TRANSFERS
from interventions import held_queue
from office import Opener
from past import add_past_exports
from past_exports import parsed
from tenant import Tenant

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def mixed(tenant: Tenant) -> list[str]:
    """Exports that are ready, expired, failed with a file and failed without one, newest first."""
    rejected = {
        "code": "EMAIL_NOT_SENT",
        "message": "The file was generated, but the e-mail service rejected the e-mail: no",
    }
    invalid = {"code": "INVALID_ROWS", "message": '1 payout cannot be written: "po_1" (currency unknown).'}
    return add_past_exports(
        tenant,
        {"at": days_ago(1)},
        {
            "at": days_ago(5),
            "recipientsCc": ["finance@cc.example", "accounting@cc.example", "a@x.example", "b@x.example"],
        },
        {"at": days_ago(6), "status": "FAILED", "failure": rejected, "linkExpiresAt": None},
        {"at": days_ago(7), "status": "FAILED", "failure": invalid, "file": False},
    )


def test_row_shows_id_recipients_time_and_status(mixed: list[str], tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.expect_ids(mixed)
    headers = office.history.get_by_role("columnheader").all_inner_texts()
    assert [header.strip() for header in headers] == ["Export ID", "Recipients", "Created at", "Status", "Actions"]
    for export_id, text in zip(
        mixed,
        [
            "Ready Link expires in 2 days",
            "Expired Link expired 2 days ago",
            "Failed E-mail rejected",
            "Failed Some rows are invalid",
        ],
        strict=True,
    ):
        status = office.row(export_id).get_by_role("cell").nth(3)
        assert re.sub(r"\s+", " ", status.inner_text()).strip() == text
    second = office.row(mixed[1])
    expect(second).to_contain_text(f"mpo_…{mixed[1][-8:]}")
    expect(second).to_contain_text(tenant.email)
    recipients = second.get_by_role("cell").nth(1)
    shown = ["finance@cc.example", "accounting@cc.example", "a@x.example", "b@x.example"]
    cc = [f"cc {address}" for address in shown]
    expect(recipients.get_by_role("listitem")).to_have_text([tenant.email, *cc[:2], "and 2 more"])
    recipients.get_by_role("button", name="and 2 more").click()
    expect(recipients.get_by_role("listitem")).to_have_text([tenant.email, *cc])
    recipients.get_by_role("button", name="Copy the recipients").click()
    expect(office.message).to_contain_text("Copied the recipients")
    field = office.page.get_by_role("searchbox", name="Export ID")
    field.press("Control+V")
    expect(field).to_have_value(", ".join([tenant.email, *shown]))
    # What the export was launched with.
    expect(second).to_contain_text("CSV · everything")
    # The browser is in Paris, one or two hours ahead of UTC. The tooltip is in UTC.
    at = days_ago(5)
    created = second.locator("time")
    expect(created).to_have_attribute("title", f"{at:%-d %b %Y, %H:%M:%S} UTC".replace("Sep ", "Sept "))
    local = at.astimezone(ZoneInfo("Europe/Paris"))
    expect(created).to_have_text(f"{local:%-d %b %Y, %H:%M %Z}".replace("Sep ", "Sept "))

    office.button("Copy the export ID").nth(1).click()
    expect(office.message).to_contain_text("Copied the export ID")
    expect(office.dialog).to_have_count(0)
    field = office.open_launch().get_by_label("CC recipients")
    field.press("Control+V")
    expect(field).to_have_value(mixed[1])
    office.page.keyboard.press("Escape")
    office.inspect("a history")


def test_every_recipient_can_be_read_and_copied_on_a_phone(
    mixed: list[str], tenant: Tenant, open_office: Opener
) -> None:
    addresses = [tenant.email, "finance@cc.example", "accounting@cc.example", "a@x.example", "b@x.example"]
    office = open_office(tenant, width=320, height=800)
    copied = office.record_copies()
    row = office.row(mixed[1])
    row.get_by_role("button", name="and 2 more").click()
    for address in addresses:
        expect(row.get_by_text(address)).to_be_visible()
    office.expect_no_sideways_scrolling()
    row.get_by_role("button", name="Copy the recipients").click()
    assert copied() == ", ".join(addresses)
    panel = office.open_details(mixed[1])
    for number, address in enumerate(addresses):
        expect(panel.get_by_text(address, exact=True).last).to_be_visible()
        panel.get_by_role("button", name="Copy the address").nth(number).click()
        assert copied() == address


def test_status_filter_is_stored_in_the_url(mixed: list[str], tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    ready, _, rejected, invalid = mixed
    status = office.page.get_by_role("group", name="Status")
    status.get_by_role("checkbox", name="Failed").check(force=True)
    office.expect_ids([rejected, invalid])
    status.get_by_role("checkbox", name="Ready").check(force=True)
    office.expect_ids([ready, rejected, invalid])
    office.expect_query(status="READY,FAILED")
    office.inspect("a filtered history")

    # A shared URL shows the same view. Back returns to earlier views.
    other = open_office(tenant, query=office.page.evaluate("location.search"))
    other.expect_ids([ready, rejected, invalid])
    expect(other.page.get_by_role("checkbox", name="Failed")).to_be_checked()
    office.page.go_back()
    office.expect_ids([rejected, invalid])
    office.page.go_back()
    office.expect_ids(mixed)
    expect(office.page.get_by_role("checkbox", name="Failed")).not_to_be_checked()

    status.get_by_role("checkbox", name="Pending").check(force=True)
    expect(office.page.get_by_text("No exports match")).to_be_visible()
    office.inspect("nothing matches")
    office.page.locator(".state").get_by_role("button", name="Clear filters").click()
    office.expect_ids(mixed)
    office.expect_query()


def test_date_filter_uses_the_time_zone_of_the_user(tenant: Tenant, open_office: Opener) -> None:
    # Half an hour before and after midnight in Paris.
    midnight = datetime(2026, 3, 10, 23, 0, tzinfo=timezone.utc)
    late, early = add_past_exports(
        tenant, {"at": midnight + timedelta(minutes=30)}, {"at": midnight - timedelta(minutes=30)}
    )
    office = open_office(tenant)
    office.expect_ids([late, early])
    office.page.get_by_label("From").fill("2026-03-11")
    office.expect_ids([late])
    expect(office.row(late)).to_contain_text("11 Mar 2026, 00:30 CET")
    office.page.get_by_label("From").fill("")
    office.page.get_by_label("To", exact=True).fill("2026-03-10")
    office.expect_ids([early])
    office.expect_query(to="2026-03-10")
    office.page.get_by_label("From").fill("2026-03-11")
    expect(office.page.get_by_text("The start date is after the end date.")).to_be_visible()
    office.expect_ids([early])
    office.inspect("reversed dates")


def test_history_can_be_sorted_by_creation_in_both_orders(
    mixed: list[str], tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(tenant)
    header = office.history.get_by_role("columnheader", name="Created at")
    expect(header).to_have_attribute("aria-sort", "descending")
    header.get_by_role("button").click()
    office.expect_ids(mixed[::-1])
    expect(header).to_have_attribute("aria-sort", "ascending")
    expect(header.get_by_role("button")).to_be_focused()
    office.expect_query(sort="createdAt:asc")
    header.get_by_role("button").click()
    office.expect_ids(mixed)


def test_thousand_exports_are_paged_without_delay(tenant: Tenant, open_office: Opener) -> None:
    past = add_past_exports(tenant, *({"at": days_ago(40) - timedelta(hours=hours)} for hours in range(1000)))
    office = open_office(tenant)
    pages = office.page.get_by_role("navigation", name="Pages of the export history")
    office.expect_ids(past[:20])
    expect(pages).to_contain_text("1 to 20")
    expect(pages.get_by_role("button", name="Previous")).to_be_disabled()
    pages.get_by_role("button", name="Next").click()
    office.expect_ids(past[20:40])
    expect(pages).to_contain_text("21 to 40")
    expect(office.page.get_by_role("heading", name="Export history")).to_be_focused()
    pages.get_by_role("button", name="Previous").click()
    office.expect_ids(past[:20])

    pages.get_by_label("Rows per page").select_option("100")
    office.expect_ids(past[:100])
    plain = cpu_seconds(office.page)
    office.page.evaluate(PLAIN_TABLES)
    floor = plain()
    seconds = cpu_seconds(office.page)
    for start in range(100, 1000, 100):
        pages.get_by_role("button", name="Next").click()
        office.expect_ids(past[start : start + 100])
    expect(pages.get_by_role("button", name="Next")).to_be_disabled()
    # A ratio, because processors differ. Painting is excluded, because there is no graphics card here.
    assert seconds() < 6 * floor


# Nine tables with the rows and cells of a page of the history, and nothing else.
PLAIN_TABLES = """() => {
  for (let page = 0; page < 9; page += 1) {
    const table = document.body.appendChild(document.createElement("table"));
    for (let row = 0; row < 100; row += 1) {
      const cells = table.insertRow();
      for (let cell = 0; cell < 8; cell += 1) cells.insertCell().textContent = `page ${page}, row ${row}, cell ${cell}`;
    }
    table.getBoundingClientRect();
    table.remove();
  }
}"""


def cpu_seconds(page: Page) -> Callable[[], float]:
    """Returns a function for the CPU time since this call that the page used for scripts and layout.

    The browser measures these as elapsed time, which includes time when other processes run. So this takes their share
    of the main thread's tasks and multiplies it by the thread's CPU time.
    """
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def metrics() -> dict[str, float]:
        return {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}

    before = metrics()

    def read() -> float:
        took = {name: value - before[name] for name, value in metrics().items()}
        own = took["ScriptDuration"] + took["LayoutDuration"] + took["RecalcStyleDuration"]
        return own / took["TaskDuration"] * took["ThreadTime"]

    return read


def test_pending_row_of_another_user_is_updated(tenant: Tenant, open_office: Opener) -> None:
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        office = open_office(tenant, query="?status=PENDING")
        expect(office.row(export_id)).to_contain_text("Pending")
    expect(office.row(export_id)).to_contain_text("Ready")
    expect(office.latest).to_contain_text("Ready to download")


def test_export_is_found_by_its_id(mixed: list[str], tenant: Tenant, open_office: Opener) -> None:
    transfers = tenant.await_status(tenant.launch(export_type=FUNDING_TRANSFERS), "READY")["exportId"]
    office = open_office(tenant, query="?status=READY")
    search = office.page.get_by_role("search", name="Find an export")
    field = search.get_by_label("Export ID")
    field.fill(mixed[3][:-1])
    search.get_by_role("button", name="Find").click()
    expect(office.page.get_by_text("This is not an export ID.")).to_be_visible()
    expect(field).to_be_focused()
    office.inspect("an invalid ID")
    # The filter excludes it.
    field.fill(f"  {mixed[3]} ")
    field.press("Enter")
    office.expect_details(mixed[3])
    office.page.keyboard.press("Escape")
    # An export of another type opens in the section of its type.
    field.fill(transfers)
    field.press("Enter")
    office.expect_details(transfers)
    office.expect_query(type="funding-transfers", export=transfers)


def test_exports_of_other_users_appear_without_a_reload(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, has_clock=True)
    first = tenant.export()["exportId"]
    office.page.clock.fast_forward(61_000)
    office.expect_ids([first])
    expect(office.latest).to_contain_text("Ready to download")
    second = tenant.export()["exportId"]
    with office.hidden():
        office.page.clock.fast_forward(61_000)
        office.page.wait_for_timeout(500)
        office.expect_ids([first])
    # On return to the tab.
    office.expect_ids([second, first])


def test_history_shows_period_and_filters_of_an_export(tenant: Tenant, open_office: Opener) -> None:
    response = tenant.post(
        {
            "filter": {
                "createdAtFrom": "2026-01-31T23:00:00Z",
                "createdAtTo": "2026-02-28T22:59:59Z",
                "statuses": ["SETTLED", "INSUFFICIENT_FUNDS"],
                "currencies": ["CHF", "EUR", "JPY", "USD"],
            }
        }
    )
    export_id = response.json()["exportId"]
    tenant.await_status(export_id, "READY")
    office = open_office(tenant)
    expect(office.row(export_id)).to_contain_text(
        "CSV · from 1 Feb 2026, 00:00 CET to 28 Feb 2026, 23:59:59 CET"
        " · Status: Settled, Insufficient funds · Currency: CHF, EUR, JPY and 1 more"
    )
    panel = office.open_details(export_id)
    for text in ("CHF, EUR, JPY, USD", "from 1 Feb 2026, 00:00 CET to 28 Feb 2026, 23:59:59 CET"):
        expect(panel).to_contain_text(text)


def test_period_ends_with_the_launch_at_the_latest(tenant: Tenant, open_office: Opener) -> None:
    response = tenant.post({"filter": {"createdAtTo": "2999-12-31"}})
    export = tenant.await_status(response.json()["exportId"], "READY")
    office = open_office(tenant)
    as_of = parsed(export["asOf"]).astimezone(ZoneInfo("Europe/Paris"))
    shown = f"CSV · up to {as_of:%-d %b %Y, %H:%M:%S %Z}".replace("Sep ", "Sept ")
    expect(office.row(export["exportId"])).to_contain_text(shown)
