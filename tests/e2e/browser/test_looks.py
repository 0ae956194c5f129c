"""Page weight, layout stability, responsive layout and keyboard use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from chromium import flags, program
from interventions import held_queue
from office import Office, Opener
from past import add_past_exports
from payouts import plain_payouts
from stack import Stack
from tenant import Tenant

MAX_BYTES = 60_000
SLOW_LINE_MS = 3_000
MAX_REQUESTS = 4
NOW = datetime.now(timezone.utc)
LONG = f"{'a.very.long.local.part.of.an.address.' + 'x' * 27}@{'.'.join(['subsidiary'] * 8)}.example"


@pytest.fixture
def past(tenant: Tenant) -> list[str]:
    return add_past_exports(
        tenant, *({"at": NOW - timedelta(days=days), "recipientsCc": [LONG] * (days % 2)} for days in range(1, 30))
    )


def test_page_is_light_and_cached(tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office()
    session = office.page.context.new_cdp_session(office.page)
    session.send("Network.enable")
    received: dict[str, tuple[str, float]] = {}
    urls: dict[str, str] = {}
    session.on("Network.requestWillBeSent", lambda event: urls.update({event["requestId"]: event["request"]["url"]}))

    def record(event: dict[str, Any]) -> None:
        received[event["requestId"]] = (urls.get(event["requestId"], ""), event["encodedDataLength"])

    session.on("Network.loadingFinished", record)

    def load() -> tuple[float, float]:
        """The bytes of the page and of the API responses."""
        # A reload would bypass the cache.
        office.page.goto("about:blank")
        received.clear()
        office.page.goto(tenant.stack.backOfficeUrl)
        if office.page.get_by_label("API key").or_(office.history).first.get_attribute("type"):
            office.sign_in(tenant.key)
        office.expect_loaded()
        page = sum(size for url, size in received.values() if "/back-office" in url)
        return page, sum(size for _, size in received.values()) - page

    session.send("Network.clearBrowserCache")
    first, data = load()
    second, _ = load()
    print(f"page weight: {first:.0f} bytes with headers, {second:.0f} the second time; its data: {data:.0f} bytes")
    assert 20_000 < first < MAX_BYTES
    assert second < 5_000


def test_sign_in_form_is_shown_soon_on_a_slow_line(stack: Stack, open_office: Opener) -> None:
    office = open_office()
    session = office.page.context.new_cdp_session(office.page)
    office.page.goto("about:blank")
    session.send("Network.enable")
    session.send("Network.clearBrowserCache")
    line = {"latency": 400, "downloadThroughput": 50_000, "uploadThroughput": 50_000}
    session.send("Network.emulateNetworkConditions", {"offline": False, **line})
    requests: list[str] = []
    office.page.on("request", lambda request: requests.append(request.url))
    # In the browser's own clock, from the start of the navigation.
    office.page.add_init_script(
        """new MutationObserver(() => {
            if (document.querySelector("input")) window.formShownAt ??= performance.now();
        }).observe(document, { childList: true, subtree: true });"""
    )
    office.page.goto(stack.backOfficeUrl, wait_until="commit")
    expect(office.page.get_by_label("API key")).to_be_visible()
    # Late requests would count, too.
    office.page.wait_for_timeout(1000)
    text, form = office.page.evaluate(
        "[performance.getEntriesByName('first-contentful-paint')[0].startTime, window.formShownAt]"
    )
    print(f"slow line: {text:.0f} ms to the first text, {form:.0f} ms to the form, {len(requests)} requests")
    assert form < SLOW_LINE_MS
    assert len(requests) <= MAX_REQUESTS, requests


def test_layout_is_stable_while_the_page_loads(tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office(tenant)
    for query, width in (("", 1280), ("?status=EXPIRED", 1280), ("", 390), (f"?export={past[3]}", 1280)):
        office.page.set_viewport_size({"width": width, "height": 860})
        office.page.goto(tenant.stack.backOfficeUrl + query)
        office.expect_loaded()
        office.page.wait_for_timeout(300)
        shifts = layout_shifts(office.page)
        print(f"layout shift of {query or 'the page'} at {width} px: {shifts or 'none'}")
        assert not shifts


def layout_shifts(page: Page) -> list[dict[str, object]]:
    """The layout shifts since the page started to load."""
    script = """() => new Promise((resolve) => {
        const shifts = [];
        const text = ({ node, previousRect: before, currentRect: after }) =>
            `${node?.nodeName}.${node?.className}: ${JSON.stringify(before)} to ${JSON.stringify(after)}`;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) shifts.push({ value: entry.value, what: entry.sources.map(text) });
        }).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => resolve(shifts), 100);
    })"""
    found: list[dict[str, object]] = page.evaluate(script)
    return found


@pytest.mark.parametrize("width", [320, 390, 640, 768, 1024, 1280, 1920, 2560])
def test_page_fits_every_width(width: int, tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office(tenant, width=width, height=800)
    # The results of axe only differ where rows become cards. Other tests run it at 1280 px.
    visit_parts(office, past, axe=width in (320, 1920))


# Zoom divides width and height and multiplies the pixels.
@pytest.mark.parametrize("zoom", [2, 4])
def test_page_fits_at_zoom(zoom: int, tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office(tenant, width=1280 // zoom, height=1024 // zoom, device_scale_factor=zoom)
    visit_parts(office, past, axe=zoom == 4)


def test_page_fits_at_double_font_size(
    tenant: Tenant, past: list[str], open_office: Opener, large_print: Browser
) -> None:
    visit_parts(open_office(tenant, browser=large_print), past)


@pytest.fixture
def large_print(chromium: Browser) -> Iterator[Browser]:
    """A browser with twice the default font size."""
    arguments = [*flags(), "--blink-settings=defaultFontSize=32,defaultFixedFontSize=26"]
    browser = chromium.browser_type.launch(executable_path=program(), args=arguments)
    yield browser
    browser.close()


def visit_parts(office: Office, past: list[str], axe: bool = False) -> None:
    """Opens all parts of the page and checks that none overflows."""
    office.expect_ids(past[:20])
    office.expect_no_sideways_scrolling()
    if axe:
        office.inspect("the page")
    office.open_details(past[0])
    office.expect_no_sideways_scrolling()
    if axe:
        office.inspect("the details")
    office.page.keyboard.press("Escape")
    dialog = office.open_launch()
    office.paste(f"{LONG}, finance@cc.example, {'no' * 60}")
    dialog.get_by_text("Filters (optional)").click()
    dialog.get_by_label("Period").select_option("Dates…")
    office.expect_no_sideways_scrolling()
    if axe:
        office.inspect("the dialog")
    office.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    office.page.get_by_role("link", name="Help").click()
    expect(office.page.get_by_role("heading", name="Help", level=1)).to_be_visible()
    office.expect_no_sideways_scrolling()
    if axe:
        office.inspect("the help")


def test_keyboard_suffices_from_sign_in_to_download(tenant: Tenant, open_office: Opener) -> None:
    tenant.put_payouts(plain_payouts(3))
    office = open_office()
    keyboard = office.page.keyboard
    expect(office.page.get_by_label("API key")).to_be_focused()
    keyboard.type(tenant.key)
    keyboard.press("Enter")
    office.expect_loaded()
    expect(office.page.locator("#main")).to_be_focused()
    tab_to(office, "Export CSV")
    keyboard.press("Enter")
    expect(office.page.get_by_label("CC recipients")).to_be_focused()
    keyboard.type("finance@cc.example,")
    for _ in range(2):
        keyboard.press("Tab")
    period = office.dialog.get_by_label("Period")
    expect(period).to_be_focused()
    keyboard.press("ArrowDown")
    expect(period).to_have_value("lastMonth")
    keyboard.press("ArrowUp")
    tab_to(office, "Filters (optional)")
    keyboard.press("Enter")
    keyboard.press("Tab")
    keyboard.press("Space")
    expect(office.dialog.get_by_role("checkbox", name="Computed")).to_be_checked()
    keyboard.press("Space")
    tab_to(office, "Confirm export")
    keyboard.press("Enter")
    expect(office.latest).to_contain_text("Ready to download")
    expect(office.button("Export CSV")).to_be_focused()
    tab_to(office, "Download CSV")
    with office.page.expect_download() as download:
        keyboard.press("Enter")
    assert download.value.suggested_filename.endswith(".csv")
    tab_to(office, "Details")
    keyboard.press("Enter")
    panel = office.page.get_by_role("dialog", name="Export details")
    expect(panel.get_by_role("heading", name="Export details")).to_be_focused()
    # The focus cycles inside the dialog.
    for _ in range(12):
        keyboard.press("Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert office.page.evaluate(inside)
    keyboard.press("Escape")
    expect(office.button("Details")).to_be_focused()


def test_keyboard_suffices_to_cancel(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    keyboard = office.page.keyboard
    with held_queue(tenant.stack):
        tab_to(office, "Export CSV")
        keyboard.press("Enter")
        tab_to(office, "Confirm export")
        keyboard.press("Enter")
        expect(office.button("Show pending export")).to_be_focused()
        tab_to(office, "Cancel export")
        keyboard.press("Enter")
        expect(office.button("Keep the export")).to_be_focused()
        keyboard.press("Enter")
        expect(office.dialog).to_have_count(0)
        expect(office.button("Cancel export")).to_be_focused()
        keyboard.press("Enter")
        tab_to(office, "Cancel the export")
        keyboard.press("Enter")
        expect(office.latest).to_contain_text("Cancelled by Sample Operator")
    # The button is gone. The focus stays on the page.
    assert office.page.evaluate("document.activeElement.closest('main') !== null")
    tab_to(office, "Relaunch")


def tab_to(office: Office, name: str) -> None:
    """Presses Tab until the control with this name has the focus, which must be visible."""
    for _ in range(40):
        office.page.keyboard.press("Tab")
        script = "(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()"
        if office.page.evaluate(script) == name:
            assert office.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab never reaches {name!r}")


@pytest.mark.parametrize("motion", ["no-preference", "reduce"])
def test_reduced_motion_disables_animations(tenant: Tenant, open_office: Opener, motion: str) -> None:
    with held_queue(tenant.stack):
        tenant.launch()
        office = open_office(tenant, reduced_motion=motion)
        # The sign of a pending export pulses.
        expect(office.latest).to_contain_text("In progress")
        office.page.wait_for_timeout(200)
        running = "document.getAnimations().filter((a) => a.effect.getComputedTiming().duration > 1).length"
        assert (office.page.evaluate(running) > 0) == (motion == "no-preference")
