"""The export history: what is in it, in which order, and what one can narrow it to."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import Page, expect

from interventions import held_queue
from office import Opener
from past import give_past
from tenant import Tenant

NOW = datetime.now(timezone.utc).replace(microsecond=0)


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


@pytest.fixture
def mixed(tenant: Tenant) -> list[str]:
    """Ready, expired, failed with a file, failed without one: the newest first."""
    refused = {"code": "EMAIL_NOT_SENT", "message": "The file was written, but the mail service refused the mail: no"}
    faulty = {"code": "PAYOUTS_NOT_WRITABLE", "message": "1 payout cannot be written: po_1 (currency unknown)."}
    return give_past(
        tenant,
        {"at": days_ago(1)},
        {
            "at": days_ago(5),
            "recipientsCc": ["finance@copies.example", "accounting@copies.example", "a@x.example", "b@x.example"],
        },
        {"at": days_ago(6), "status": "FAILED", "failure": refused, "linkExpiresAt": None},
        {"at": days_ago(7), "status": "FAILED", "failure": faulty, "file": False},
    )


def test_row_shows_id_recipients_creation_and_status_in_words(
    mixed: list[str], tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(tenant)
    office.expect_ids(mixed)
    headers = office.history.get_by_role("columnheader").all_inner_texts()
    assert [header.strip() for header in headers] == ["Export ID", "Recipients", "Created at", "Status", "Actions"]
    for export_id, words in zip(
        mixed,
        [
            "Ready Link expires in 2 days",
            "Expired Link expired 2 days ago",
            "Failed E-mail was refused",
            "Failed Payouts have faulty values",
        ],
        strict=True,
    ):
        status = office.row(export_id).get_by_role("cell").nth(3)
        assert re.sub(r"\s+", " ", status.inner_text()).strip() == words
    second = office.row(mixed[1])
    expect(second).to_contain_text(f"mpo_…{mixed[1][-8:]}")
    expect(second).to_contain_text(tenant.email)
    expect(second).to_contain_text("cc finance@copies.example, accounting@copies.example, a@x.example and 1 more")
    # Paris is an hour or two ahead; on hover the time is told in UTC.
    at = days_ago(5)
    shown = second.locator("time")
    expect(shown).to_have_attribute("title", f"{at:%-d %b %Y, %H:%M:%S} UTC".replace("Sep ", "Sept "))
    expect(shown).not_to_have_text(f"{at:%-d %b %Y, %H:%M}")

    office.button("Copy the export ID").nth(1).click()
    expect(office.message).to_contain_text("Copied the export ID")
    expect(office.dialog).to_have_count(0)
    field = office.open_launch().get_by_label("CC recipients")
    field.press("Control+V")
    expect(field).to_have_value(mixed[1])
    office.page.keyboard.press("Escape")
    office.inspect("a history")


def test_status_filter_takes_several_and_lives_in_the_address(
    mixed: list[str], tenant: Tenant, open_office: Opener
) -> None:
    office = open_office(tenant)
    ready, _, refused, faulty = mixed
    status = office.page.get_by_role("group", name="Status")
    status.get_by_role("checkbox", name="Failed").check(force=True)
    office.expect_ids([refused, faulty])
    status.get_by_role("checkbox", name="Ready").check(force=True)
    office.expect_ids([ready, refused, faulty])
    office.expect_query(status="READY,FAILED")
    office.inspect("a filtered history")

    # Shared: another session sees the same. Back leads through the views.
    other = open_office(tenant, query=office.page.evaluate("location.search"))
    other.expect_ids([ready, refused, faulty])
    expect(other.page.get_by_role("checkbox", name="Failed")).to_be_checked()
    office.page.go_back()
    office.expect_ids([refused, faulty])
    office.page.go_back()
    office.expect_ids(mixed)
    expect(office.page.get_by_role("checkbox", name="Failed")).not_to_be_checked()

    status.get_by_role("checkbox", name="Pending").check(force=True)
    expect(office.page.get_by_text("No exports match")).to_be_visible()
    office.inspect("nothing matches")
    office.page.locator(".state").get_by_role("button", name="Clear filters").click()
    office.expect_ids(mixed)
    office.expect_query()


def test_dates_are_days_of_the_readers_calendar(tenant: Tenant, open_office: Opener) -> None:
    # Half an hour before and after midnight of Paris, which is 23:00 or 22:00 UTC.
    midnight = datetime(2026, 3, 10, 23, 0, tzinfo=timezone.utc)
    late, early = give_past(tenant, {"at": midnight + timedelta(minutes=30)}, {"at": midnight - timedelta(minutes=30)})
    office = open_office(tenant)
    office.expect_ids([late, early])
    office.page.get_by_label("From").fill("2026-03-11")
    office.expect_ids([late])
    expect(office.row(late)).to_contain_text("11 Mar 2026, 00:30")
    office.page.get_by_label("From").fill("")
    office.page.get_by_label("To", exact=True).fill("2026-03-10")
    office.expect_ids([early])
    office.expect_query(to="2026-03-10")
    office.page.get_by_label("From").fill("2026-03-11")
    expect(office.page.get_by_text("The start is after the end.")).to_be_visible()
    office.expect_ids([early])
    office.inspect("dates the wrong way round")


def test_history_is_sorted_by_creation_both_ways(mixed: list[str], tenant: Tenant, open_office: Opener) -> None:
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


def test_thousand_exports_are_read_page_by_page_without_a_hitch(tenant: Tenant, open_office: Opener) -> None:
    past = give_past(tenant, *({"at": days_ago(40) - timedelta(hours=hours)} for hours in range(1000)))
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

    pages.get_by_label("Rows a page").select_option("100")
    office.expect_ids(past[:100])
    seconds = own_seconds(office.page)
    for start in range(100, 1000, 100):
        pages.get_by_role("button", name="Next").click()
        office.expect_ids(past[start : start + 100])
    expect(pages.get_by_role("button", name="Next")).to_be_disabled()
    # A hand feels a tenth of a second. Painting is not counted: without a graphics card it is not what users have.
    assert seconds() / 9 < 0.1


def own_seconds(page: Page) -> Callable[[], float]:
    """How long the page keeps a processor busy from here on: with its code, and with the layout that follows from it.

    The browser measures these by a clock, which also runs while the machine does something else. So they are taken as
    the part of the main thread's tasks that they are, of the processor's time that those took.
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


def test_pending_row_of_another_user_keeps_up_by_itself(tenant: Tenant, open_office: Opener) -> None:
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        office = open_office(tenant, query="?status=PENDING")
        expect(office.row(export_id)).to_contain_text("Pending")
    expect(office.row(export_id)).to_contain_text("Ready")
    expect(office.latest).to_contain_text("Ready to download")
