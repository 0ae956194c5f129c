"""How light, steady and adaptable the page is, and that a keyboard is enough."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from playwright.sync_api import Page, expect

from conftest import Opener
from office import SCHEMES, SCREENSHOTS, Office
from past import give_past
from payouts import payout, plain_payouts
from stack import Mail
from tenant import Tenant
from waiting import wait_for

MOST_BYTES = 60_000
NOW = datetime.now(timezone.utc)
LONG = f"{'a.very.long.local.part.of.an.address.' + 'x' * 27}@{'.'.join(['subsidiary'] * 8)}.example"


@pytest.fixture
def past(tenant: Tenant) -> list[str]:
    return give_past(
        tenant, *({"at": NOW - timedelta(days=days), "recipientsCc": [LONG] * (days % 2)} for days in range(1, 30))
    )


def test_page_is_light_and_comes_from_the_cache_the_second_time(
    tenant: Tenant, past: list[str], open_office: Opener
) -> None:
    office = open_office()
    session = office.page.context.new_cdp_session(office.page)
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    # Not a reload, which asks for everything again.
    office.page.goto("about:blank")
    session.send("Network.clearBrowserCache")
    received.clear()
    office.page.goto(tenant.stack.backOfficeUrl)
    office.sign_in(tenant.key)
    office.expect_loaded()
    first = sum(received)
    received.clear()
    office.page.goto("about:blank")
    office.page.goto(tenant.stack.backOfficeUrl)
    office.expect_loaded()
    second = sum(received)
    print(f"page weight: {first:.0f} bytes with headers and the API's answers, {second:.0f} the second time")
    assert 20_000 < first < MOST_BYTES
    assert second < first / 2


def test_nothing_jumps_while_the_page_loads(tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office(tenant)
    for query, width in (("", 1280), ("?status=EXPIRED", 1280), ("", 390), (f"?export={past[3]}", 1280)):
        office.page.set_viewport_size({"width": width, "height": 860})
        office.page.goto(tenant.stack.backOfficeUrl + query)
        office.expect_loaded()
        office.page.wait_for_timeout(300)
        shift = layout_shift(office.page)
        print(f"cumulative layout shift of {query or 'the page'} at {width} px: {shift}")
        assert shift == 0


def layout_shift(page: Page) -> float:
    script = """() => new Promise((resolve) => {
        let shift = 0;
        new PerformanceObserver((list) => {
            for (const entry of list.getEntries()) shift += entry.value;
        }).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => resolve(shift), 100);
    })"""
    return float(page.evaluate(script))


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1280, 2560])
def test_page_fits_every_width(width: int, tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office(tenant, width=width, height=800)
    walk(office, past, "narrow" if width == 390 else None)


def test_page_fits_at_200_percent_zoom_and_with_letters_twice_as_large(
    tenant: Tenant, past: list[str], open_office: Opener
) -> None:
    # To a page, zoom is half the width with twice the pixels.
    walk(open_office(tenant, width=640, height=430, device_scale_factor=2), past)
    office = open_office(tenant)
    office.page.evaluate("document.documentElement.style.fontSize = '200%'")
    walk(office, past)


def walk(office: Office, past: list[str], picture: str | None = None) -> None:
    """Through the page's parts, none of which may stick out."""
    office.expect_ids(past[:20])
    office.expect_no_sideways_scrolling()
    office.inspect("the page", picture=picture)
    office.open_details(past[0])
    office.expect_no_sideways_scrolling()
    office.inspect("the details", picture=picture and f"{picture}-details")
    office.page.keyboard.press("Escape")
    dialog = office.open_launch()
    office.paste(f"{LONG}, finance@copies.example, {'no' * 60}")
    office.expect_no_sideways_scrolling()
    office.inspect("the dialog")
    office.page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()


def test_keyboard_is_enough_from_the_sign_in_to_the_download(tenant: Tenant, open_office: Opener) -> None:
    tenant.put_payouts(plain_payouts(3))
    office = open_office()
    keyboard = office.page.keyboard
    keyboard.type(tenant.key)
    keyboard.press("Enter")
    office.expect_loaded()
    expect(office.page.locator("#main")).to_be_focused()
    tab_to(office, "Export CSV")
    keyboard.press("Enter")
    expect(office.page.get_by_label("CC recipients")).to_be_focused()
    keyboard.type("finance@copies.example,")
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
    # The focus stays in the dialog, all the way round.
    for _ in range(12):
        keyboard.press("Tab")
        inside = "document.activeElement === document.body || document.activeElement.closest('dialog') !== null"
        assert office.page.evaluate(inside)
    keyboard.press("Escape")
    expect(office.button("Details")).to_be_focused()


def tab_to(office: Office, name: str) -> None:
    """Presses Tab until the control of this name has the focus, which must be seen there."""
    for _ in range(40):
        office.page.keyboard.press("Tab")
        script = "(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()"
        if office.page.evaluate(script) == name:
            assert office.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            return
    raise AssertionError(f"Tab never comes to {name!r}")


def test_page_without_motion_for_those_who_ask_for_it(tenant: Tenant, past: list[str], open_office: Opener) -> None:
    office = open_office(tenant, reduced_motion="reduce")
    office.open_details(past[0])
    running = "document.getAnimations().filter((a) => a.effect.getComputedTiming().duration > 1).length"
    office.page.wait_for_function(f"{running} === 0")


@pytest.mark.parametrize("width", [320, 640])
def test_mails_render_light_dark_and_narrow(width: int, tenant: Tenant, open_office: Opener) -> None:
    tenant.put_payouts(
        [
            *plain_payouts(1200),
            payout("po_1", currency="JPY", amountMinor=98_765_432),
            payout("po_2", currency="GBP", amountMinor=-1_250),
        ]
    )
    tenant.export(["finance@copies.example"])
    tenant.put_payouts([payout(f"po_bad_{number:02}", currency="EURO") for number in range(12)])
    tenant.await_status(tenant.launch(), "FAILED")
    ready, failed = mails(tenant)
    office = open_office(width=width, height=900)
    for name, mail in (("ready", ready), ("failed", failed)):
        office.page.goto("about:blank")
        office.page.set_content(mail.html)
        office.expect_no_sideways_scrolling()
        assert office.page.evaluate("document.images.length + document.scripts.length") == 0
        picture = f"mail-{name}" if width == 640 else f"mail-{name}-narrow"
        for scheme in SCHEMES:
            office.page.emulate_media(color_scheme=scheme)
            SCREENSHOTS.mkdir(exist_ok=True)
            office.page.screenshot(path=SCREENSHOTS / f"{picture}-{scheme}.png", full_page=True)
        office.inspect(f"the mail of a {name} export")


def mails(tenant: Tenant) -> tuple[Mail, Mail]:
    wait_for("both mails", lambda: len(tenant.mails()) == 2, 20)
    by_subject = sorted(tenant.mails(), key=lambda mail: "failed" in mail.subject)
    return by_subject[0], by_subject[1]
