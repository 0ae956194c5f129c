"""The main states, light and dark. With --update, writes screenshots for the README to tests/e2e/screenshots."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

import golden
import sample_payouts
import sample_rows
import soffice
from export_types import SUPPLIER_PAYOUTS
from interventions import held_queue
from office import MAIL_RULES, Opener, save_picture
from past import add_past_exports, timestamp
from past_exports import days_from_now, parsed
from payouts import payout
from stack import Stack
from tenant import Tenant
from waiting import wait_for

CC = ["finance@acme.example", "accounting@acme.example"]
NARROW = 390
# The emulator writes a hundred per second.
PAYOUTS = 600
TIME = re.compile(r"\d{4}-\d\d-\d\dT[\d:.]+Z")
SHEETS = """
    body > :not(table), table:first-of-type tr:nth-child(n + 8) { display: none }
    body { margin: 8px }
    table { margin-block-end: 16px; border-collapse: collapse }
    td { padding: 2px 4px; border: 1px solid #ccc; font-size: 13px; white-space: nowrap }
"""
# Other tests run axe on these states.
UPDATE_ONLY = pytest.mark.skipif(not golden.IS_UPDATE, reason="screenshots are taken with --update only")


@pytest.fixture(scope="module")
def acme(stack: Stack) -> Tenant:
    """A tenant with past exports and names that suit a screenshot."""
    tenant = Tenant(stack, "acme")
    tenant.id, tenant.email = "acme", "payments@acme.example"
    tenant.key = stack.issue_key(tenant.id, tenant.email, "Payments Team")
    tenant.put_payouts(islice(sample_payouts.rows(tenant.id), PAYOUTS))
    now = datetime.now(timezone.utc)
    rejected = {
        "code": "EMAIL_NOT_SENT",
        "message": "The file was generated, but the e-mail service rejected the e-mail.",
    }
    invalid = {
        "code": "INVALID_ROWS",
        "message": '2 payouts cannot be written: "po_000412" (currency unknown), "po_000413" (amount missing).',
        "invalidRows": {"count": 2, "isComplete": True, "key": "exports/none", "expiresAt": days_from_now(9)},
    }
    special: dict[int, dict[str, Any]] = {
        0: {"recipientsCc": CC},
        1: {"recipientsCc": CC},
        2: {"status": "FAILED", "failure": rejected, "linkExpiresAt": None, "recipientsCc": CC[:1]},
        4: {"status": "FAILED", "failure": invalid, "file": False},
        5: {"recipientsCc": [*CC, "controlling@acme.example", "audit@acme.example"]},
    }
    exports = ({"at": now - timedelta(days=1.2 + 2.3 * number), **special.get(number, {})} for number in range(60))
    add_past_exports(tenant, *exports)
    return tenant


@UPDATE_ONLY
def test_screenshots_of_the_page(acme: Tenant, open_office: Opener) -> None:
    office = open_office()
    office.inspect("sign-in", picture="sign-in")
    office.sign_in(acme.key)
    office.expect_loaded()
    # The pointer would highlight a row.
    office.page.mouse.move(0, 0)
    office.inspect("history", picture="history")
    failed = office.history.get_by_role("row").filter(has_text="Some rows are invalid")
    failed.locator("button.id").click()
    expect(office.dialog).to_have_attribute("aria-busy", "false")
    office.inspect("details of a failed export", picture="details-failed")
    office.page.keyboard.press("Escape")

    dialog = office.open_launch()
    office.page.keyboard.type(", ".join([*CC, "controlling@acme"]) + ",")
    dialog.get_by_label("Period").select_option("Last month")
    office.inspect("dialog with an error", picture="dialog")
    dialog.get_by_role("button", name="Remove controlling@acme").click()
    dialog.get_by_label("Period").select_option("Everything")
    with held_queue(acme.stack):
        other = acme.launch()
        dialog.get_by_role("button", name="Confirm export").click()
        expect(dialog.get_by_role("alert")).to_contain_text("An export is already pending.")
        dialog.get_by_role("alert").scroll_into_view_if_needed()
        office.inspect("dialog while an export is pending", picture="dialog-pending")
        dialog.get_by_role("button", name="Show the pending export").click()
        office.expect_details(other)
        office.button("Cancel export").last.click()
        office.inspect("the question whether to cancel", picture="cancel")
        office.button("Cancel the export").click()
        expect(office.dialog).to_contain_text("Cancelled by Payments Team")
        expect(office.message).to_be_empty()
        office.inspect("details of a cancelled export", picture="details-cancelled")
        office.page.keyboard.press("Escape")
        office.open_launch().get_by_role("button", name="Confirm export").click()
        expect(office.latest).to_contain_text("In progress")
        expect(office.message).to_contain_text("Export launched")
        office.inspect("pending", picture="pending")
    expect(office.message).to_contain_text("Export ready")
    office.page.mouse.move(0, 0)
    office.inspect("ready", picture="ready")
    expect(office.message).to_be_empty()
    office.latest.get_by_role("button", name="Details").click()
    expect(office.dialog).to_have_attribute("aria-busy", "false")
    office.page.set_viewport_size({"width": 1280, "height": 1240})
    office.inspect("details", picture="details")

    (export_id,) = re.findall(r"mpo_[0-9a-f-]{36}", office.page.url)
    office.page.keyboard.press("Escape")
    acme.delete_file(export_id)
    office.page.set_viewport_size({"width": 1280, "height": 860})
    office.latest.get_by_role("button", name="Details").click()
    expect(office.dialog).to_contain_text("The file was deleted.")
    office.inspect("details of a deleted file", picture="details-deleted")
    office.page.keyboard.press("Escape")
    office.page.get_by_role("link", name="Help").click()
    expect(office.page.get_by_role("heading", name="Columns of the file")).to_be_visible()
    office.inspect("help", picture="help")


@UPDATE_ONLY
def test_screenshots_of_the_filters(acme: Tenant, open_office: Opener) -> None:
    office = open_office(acme, query="?type=funding-transfers", height=1240)
    office.button("Export CSV").click()
    dialog = office.dialog
    dialog.get_by_label("Period").select_option("Last quarter")
    dialog.get_by_text("Filters (optional)").click()
    dialog.get_by_role("checkbox", name="Failed").check(force=True)
    dialog.get_by_label("Amount from").fill("1000")
    dialog.get_by_label("Target account").select_option("Supplier")
    dialog.get_by_role("button", name="Confirm export").click()
    office.inspect("dialog with filters", picture="dialog-filters")


@UPDATE_ONLY
def test_screenshots_of_a_workbook(acme: Tenant, open_office: Opener, tmp_path: Path) -> None:
    acme.stack.put_rows(SUPPLIER_PAYOUTS, acme.id, supplier_payouts_of_last_month(acme.id))
    office = open_office(acme, query="?type=supplier-payouts")
    dialog = office.page.get_by_role("dialog", name="Export supplier payouts")
    office.button("Export CSV").click()
    office.page.keyboard.type(", ".join(CC) + ",")
    dialog.get_by_role("radio", name="Excel for people").check(force=True)
    dialog.get_by_label("Period").select_option("Last month")
    office.inspect("dialog for a workbook", picture="dialog-workbook")
    with held_queue(acme.stack):
        dialog.get_by_role("button", name="Confirm export").click()
        expect(office.latest).to_contain_text("In progress")
        expect(office.message).to_contain_text("Export launched")
        office.inspect("a workbook is pending", picture="pending-workbook")
    expect(office.message).to_contain_text("Export ready")
    office.latest.get_by_role("button", name="Details").click()
    expect(office.dialog).to_have_attribute("aria-busy", "false")
    expect(office.message).to_be_empty()
    office.page.set_viewport_size({"width": 1280, "height": 1240})
    office.inspect("details of a workbook", picture="details-workbook")
    with office.page.expect_download() as download:
        office.dialog.get_by_role("button", name="Download Excel").click()
    download.value.save_as(tmp_path / "workbook.xlsx")
    (mail,) = [mail for mail in acme.mails() if "supplier payouts" in mail.subject]
    office.page.goto("about:blank")
    office.page.set_content(mail.html)
    office.page.set_viewport_size({"width": 680, "height": 800})
    office.inspect("mail of a workbook", picture="mail-workbook", whole=True, rules=MAIL_RULES)
    if not shutil.which("soffice"):
        return
    # Without a window, LibreOffice draws its sheets as HTML only. The first rows are enough.
    for locale in soffice.LOCALES:
        sheets = soffice.convert(tmp_path / "workbook.xlsx", "html", locale, tmp_path)
        office.page.set_content(sheets.read_text(encoding="utf-8"))
        office.page.add_style_tag(content=SHEETS)
        picture = office.page.screenshot(full_page=True, clip={"x": 0, "y": 0, "width": 1280, "height": 767})
        save_picture(picture, f"libreoffice-{locale}.png")


def supplier_payouts_of_last_month(tenant: str) -> Iterator[sample_rows.Row]:
    """The sample rows of September 2026, moved to last month."""
    last_month = (datetime.now(timezone.utc).replace(day=1) - timedelta(days=1)).replace(day=1).date()
    moved_by = last_month - date(2026, 9, 1)

    def moved(value: Any) -> Any:
        if not isinstance(value, str) or not TIME.fullmatch(value):
            return value
        return timestamp(parsed(value) + moved_by)

    for row in sample_rows.rows(SUPPLIER_PAYOUTS, tenant):
        # Not every machine has a font for the Chinese name.
        if row["createdAt"].startswith("2026-09") and row["supplierId"] != "sup_003":
            yield {name: moved(value) for name, value in row.items()}


@UPDATE_ONLY
def test_screenshots_of_the_page_on_a_phone(acme: Tenant, open_office: Opener) -> None:
    office = open_office(acme, width=NARROW, height=844, device_scale_factor=2)
    office.inspect("narrow", picture="narrow")
    office.history.get_by_role("row").nth(1).locator("button.id").click()
    expect(office.dialog).to_have_attribute("aria-busy", "false")
    office.inspect("details, narrow", picture="narrow-details")
    office.page.keyboard.press("Escape")
    office.open_launch()
    office.inspect("dialog, narrow", picture="narrow-dialog")


@pytest.mark.parametrize(("width", "suffix"), [(680, ""), (NARROW, "-narrow"), (320, None)])
def test_mails_render_light_dark_and_narrow(
    width: int, suffix: str | None, tenant: Tenant, open_office: Opener
) -> None:
    tenant.put_payouts(islice(sample_payouts.rows(tenant.id), PAYOUTS))
    tenant.export(CC)
    tenant.put_payouts([payout(f"po_{number:06}", currency="EURO") for number in range(900_000, 900_012)])
    tenant.await_status(tenant.launch(), "FAILED")
    wait_for("both mails", lambda: len(tenant.mails()) == 2)
    office = open_office(width=width, height=800)
    for mail in tenant.mails():
        state = "failed" if "failed" in mail.subject else "ready"
        # The page's content security policy would block the styles of the e-mail.
        office.page.goto("about:blank")
        office.page.set_content(mail.html)
        office.expect_no_sideways_scrolling()
        assert office.page.evaluate("document.images.length + document.scripts.length") == 0
        picture = None if suffix is None else f"mail-{state}{suffix}"
        office.inspect(f"mail of a {state} export", picture=picture, whole=True, rules=MAIL_RULES)
