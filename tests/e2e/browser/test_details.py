"""The details of an export and their actions."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

from playwright.sync_api import Locator, expect

from expected_csv import expected_invalid_rows
from interventions import held_queue
from office import Opener
from past import add_past_exports
from past_exports import parsed
from payouts import payout, plain_payouts
from tenant import Tenant, link_in
from waiting import wait_for

NOW = datetime.now(timezone.utc).replace(microsecond=0)
LONG = f"{'a.very.long.local.part.of.an.address.' + 'x' * 27}@{'.'.join(['subsidiary'] * 8)}.example"


def days_ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def fact(panel: Locator, name: str) -> str:
    value = panel.locator("dl > div").filter(has=panel.page.get_by_text(name, exact=True)).locator("dd")
    return re.sub(r"\s+", " ", value.inner_text()).strip()


def test_ready_export_shows_file_totals_and_link_expiry(tenant: Tenant, open_office: Opener) -> None:
    tenant.put_payouts(
        [
            *plain_payouts(1200),
            payout("po_1", status="FAILED", amountMinor=-50_00, failureReason="Bank closed"),
            payout("po_2", currency="JPY", amountMinor=98_765_432),
        ]
    )
    export = tenant.export([LONG, "finance@cc.example"])
    office = open_office(tenant)
    panel = office.open_details(export["exportId"])
    office.expect_query(export=export["exportId"])
    assert fact(panel, "Rows") == "1,202"
    assert fact(panel, "SHA-256") == export["file"]["sha256"]
    assert fact(panel, "Name") == export["file"]["name"]
    assert fact(panel, "Requested by") == f"Sample Operator {tenant.email}"
    # Shown to the second, because it decides which payouts are in the file.
    as_of = parsed(export["asOf"]).astimezone(ZoneInfo("Europe/Paris"))
    assert f"up to {as_of:%-d %b %Y, %H:%M:%S %Z}".replace("Sep ", "Sept ") in fact(panel, "Payouts created")
    # Amounts and statuses are not of that time, but of when the rows were read.
    read = [parsed(export["file"][name]) for name in ("readFrom", "readTo")]
    assert as_of <= read[0] <= read[1] <= parsed(export["updatedAt"])
    shown = " and ".join(f"{time.astimezone(as_of.tzinfo):%-d %b %Y, %H:%M:%S %Z}" for time in read)
    assert f"as read between {shown}.".replace("Sep ", "Sept ") in fact(panel, "Payouts created")
    # Every time has the same zone.
    for name in ("Created at", "Payouts created", "Link expires", "Kept until"):
        assert f"{as_of:%Z}" in fact(panel, name)
        assert "UTC" not in fact(panel, name)
    assert "in 3 days" in fact(panel, "Link expires")
    assert LONG in fact(panel, "CC (2)")
    copied = office.record_copies()
    panel.get_by_role("button", name="Copy the address").nth(1).click()
    assert copied() == LONG
    panel.get_by_role("button", name="Copy all recipients").click()
    assert copied() == f"{tenant.email}, {LONG}, finance@cc.example"
    totals = panel.get_by_role("table", name="Totals").get_by_role("row").all_inner_texts()
    assert [re.sub(r"\s+", " ", row).strip() for row in totals[1:]] == [
        "EUR 1,201 1,481,350.00",
        "Settled 1,200 1,481,400.00",
        "Failed 1 −50.00",
        "JPY 1 98,765,432",
        "Settled 1 98,765,432",
    ]
    office.expect_no_sideways_scrolling()
    office.inspect("details of a ready export")
    panel.get_by_text("Opening a CSV file in a spreadsheet").click()
    expect(panel.get_by_text("1,048,576 rows")).to_be_visible()
    for program in ("Excel", "LibreOffice", "Google Sheets", "Numbers"):
        expect(panel.get_by_text(f"{program}:", exact=True)).to_be_visible()
    office.inspect("help on CSV files")

    office.page.keyboard.press("Escape")
    expect(office.dialog).to_have_count(0)
    expect(office.page.get_by_title(f"Details of {export['exportId']}", exact=True)).to_be_focused()
    office.expect_query()
    # A shared URL opens the details.
    other = open_office(tenant, query=f"?export={export['exportId']}")
    other.expect_details(export["exportId"])


def test_expired_export_is_resent_to_its_cc_recipients(tenant: Tenant, open_office: Opener) -> None:
    (export_id,) = add_past_exports(tenant, {"at": days_ago(5), "recipientsCc": ["finance@cc.example"]})
    before = len(tenant.mails())
    office = open_office(tenant)
    panel = office.open_details(export_id)
    expect(panel).to_contain_text("The download link has expired.")
    expect(panel.get_by_role("button", name="Download CSV")).to_have_count(0)
    office.inspect("details of an expired export")
    panel.get_by_role("button", name="Resend e-mail").click()
    dialog = office.page.get_by_role("dialog", name="Resend e-mail")
    office.expect_chips(["finance@cc.example"])
    office.inspect("resending")
    dialog.get_by_role("button", name="Send e-mail").click()
    expect(panel).to_contain_text("The file is ready.")
    expect(office.message).to_contain_text(f"E-mail sent to {tenant.email} and finance@cc.example.")
    expect(panel.get_by_role("button", name="Resend e-mail")).to_be_focused()
    office.page.keyboard.press("Escape")
    expect(office.row(export_id)).to_contain_text("Ready")
    expect(office.row(export_id).get_by_role("button", name="Download")).to_be_visible()
    assert tenant.record(export_id)["status"] == "READY"
    mail = wait_for("the mail", lambda: tenant.mails()[before:])[-1]
    assert (mail.to, mail.cc) == ([tenant.email], ["finance@cc.example"])
    assert link_in(mail)


def test_resend_with_another_cc_list_suggests_the_first_recipient(tenant: Tenant, open_office: Opener) -> None:
    (export_id,) = add_past_exports(
        tenant, {"at": days_ago(5), "recipientTo": "first@acme.example", "recipientsCc": ["old@cc.example"]}
    )
    office = open_office(tenant)
    office.row(export_id).get_by_role("button", name="Resend").click()
    dialog = office.page.get_by_role("dialog", name="Resend e-mail")
    dialog.get_by_role("button", name="Remove old@cc.example").click()
    expect(dialog).to_contain_text("first@acme.example received the first e-mail.")
    dialog.get_by_role("button", name="Add as CC").click()
    office.page.keyboard.type("new@cc.example")
    dialog.get_by_role("button", name="Send e-mail").click()
    expect(office.row(export_id)).to_contain_text("Ready")
    record = tenant.record(export_id)
    assert record["recipientTo"] == tenant.email
    assert record["recipientsCc"] == ["first@acme.example", "new@cc.example"]


def test_cc_recipient_who_resends_is_the_only_one_to_get_the_mail(tenant: Tenant, open_office: Opener) -> None:
    (export_id,) = add_past_exports(
        tenant, {"at": days_ago(5), "recipientTo": "first@acme.example", "recipientsCc": [tenant.email.upper()]}
    )
    office = open_office(tenant)
    office.row(export_id).get_by_role("button", name="Resend").click()
    dialog = office.page.get_by_role("dialog", name="Resend e-mail")
    office.expect_chips([])
    expect(dialog).to_contain_text(f"A link will be sent to {tenant.email}.")
    dialog.get_by_role("button", name="Send e-mail").click()
    expect(office.message).to_contain_text(f"E-mail sent to {tenant.email}.")
    mail = tenant.mails()[-1]
    assert (mail.to, mail.cc) == ([tenant.email], [])


def test_expired_export_without_a_file_can_only_be_relaunched(tenant: Tenant, open_office: Opener) -> None:
    (export_id,) = add_past_exports(tenant, {"at": days_ago(40), "recipientsCc": ["finance@cc.example"]})
    office = open_office(tenant)
    expect(office.row(export_id)).to_contain_text("File deleted")
    panel = office.open_details(export_id)
    expect(panel).to_contain_text("The file was deleted.")
    expect(panel.get_by_role("button", name="Resend e-mail")).to_have_count(0)
    panel.get_by_role("button", name="Relaunch").click()
    dialog = office.page.get_by_role("dialog", name="Export marketplace payouts")
    office.expect_chips(["finance@cc.example"])
    dialog.get_by_role("button", name="Confirm export").click()
    # The panel follows the new export until it finishes.
    expect(panel).not_to_contain_text(export_id)
    expect(panel).to_contain_text("The file is ready.")
    expect(office.exports).to_have_count(2)


def test_ready_export_with_a_deleted_file_can_only_be_relaunched(tenant: Tenant, open_office: Opener) -> None:
    export_id = tenant.export(["finance@cc.example"])["exportId"]
    office = open_office(tenant)
    tenant.delete_file(export_id)
    # Lists do not check files, so the button is still shown.
    office.row(export_id).get_by_role("button", name="Download").click()
    expect(office.message).to_contain_text("The file was deleted. Relaunch the export to get a new file.")
    expect(office.row(export_id)).to_contain_text("File deleted")
    expect(office.latest).to_contain_text("The file was deleted")
    panel = office.open_details(export_id)
    expect(panel).to_contain_text("The file was deleted. Relaunch the export to get a new file.")
    for name in ("Download CSV", "Resend e-mail"):
        expect(panel.get_by_role("button", name=name)).to_have_count(0)
    office.inspect("details of an export whose file was deleted")
    # Reloading the list keeps the information.
    office.page.keyboard.press("Escape")
    office.button("Refresh").click()
    expect(office.row(export_id)).to_contain_text("File deleted")
    office.row(export_id).get_by_role("button", name="Relaunch").click()
    office.dialog.get_by_role("button", name="Confirm export").click()
    expect(office.latest).to_contain_text("Ready to download")


def test_resend_after_the_file_was_deleted_offers_a_relaunch(tenant: Tenant, open_office: Opener) -> None:
    export_id = tenant.export(["finance@cc.example"])["exportId"]
    office = open_office(tenant)
    panel = office.open_details(export_id)
    tenant.delete_file(export_id)
    panel.get_by_role("button", name="Resend e-mail").click()
    dialog = office.page.get_by_role("dialog", name="Resend e-mail")
    dialog.get_by_role("button", name="Send e-mail").click()
    expect(dialog).to_contain_text("The file was deleted. Relaunch the export to get a new file.")
    expect(panel.get_by_role("button", name="Resend e-mail")).to_have_count(0)
    dialog.get_by_role("button", name="Relaunch").click()
    dialog = office.page.get_by_role("dialog", name="Export marketplace payouts")
    office.expect_chips(["finance@cc.example"])
    dialog.get_by_role("button", name="Confirm export").click()
    expect(panel).not_to_contain_text(export_id)
    expect(panel).to_contain_text("The file is ready.")
    assert len(tenant.mails()) == 2


def test_failed_export_shows_reason_and_advice(tenant: Tenant, open_office: Opener) -> None:
    tenant.put_payouts([payout("po_<b>1</b>", currency="EURO")])
    export_id = tenant.launch()
    tenant.await_status(export_id, "FAILED")
    office = open_office(tenant)
    expect(office.latest).to_contain_text("Some rows are invalid")
    wanted = expected_invalid_rows([("po_<b>1</b>", "currency", "unknown", "EURO")])
    with office.page.expect_download() as download:
        office.latest.get_by_role("button", name="Download invalid rows").click()
    assert download.value.path().read_bytes() == wanted
    panel = office.open_details(export_id)
    # Markup in data is shown as text.
    expect(panel).to_contain_text("po_<b>1</b>")
    expect(panel).to_contain_text("What to do: Download the invalid rows and send the file to the payments team.")
    expect(panel.get_by_role("button", name="Relaunch")).to_be_visible()
    expect(panel.get_by_role("button", name="Resend e-mail")).to_have_count(0)
    # No file was made of them.
    expect(panel).not_to_contain_text("Amounts and statuses")
    with office.page.expect_download() as download:
        panel.get_by_role("button", name="Download invalid rows").click()
    assert download.value.path().read_bytes() == wanted
    assert download.value.suggested_filename.startswith("marketplace-payouts-invalid-rows-")
    office.inspect("details of a failed export")
    office.page.keyboard.press("Escape")
    tenant.put_payouts([payout("po_<b>1</b>")])
    office.latest.get_by_role("button", name="Relaunch").click()
    office.dialog.get_by_role("button", name="Confirm export").click()
    expect(office.latest).to_contain_text("Ready to download")


def test_failed_export_with_a_file_can_be_resent(tenant: Tenant, open_office: Opener) -> None:
    failure = {
        "code": "EMAIL_NOT_SENT",
        "message": "The file was generated, but the e-mail service rejected the e-mail: no",
    }
    (export_id,) = add_past_exports(
        tenant, {"at": days_ago(1), "status": "FAILED", "failure": failure, "linkExpiresAt": None}
    )
    office = open_office(tenant)
    panel = office.open_details(export_id)
    expect(panel).to_contain_text("What to do: The file is available.")
    panel.get_by_role("button", name="Resend e-mail").click()
    office.dialog.get_by_role("button", name="Send e-mail").click()
    expect(panel).to_contain_text("The file is ready.")
    assert tenant.record(export_id)["status"] == "READY"


def test_details_advise_what_to_do_about_each_failure(tenant: Tenant, open_office: Opener) -> None:
    again = "Relaunch the export. If it fails again, send the export ID to your administrator."
    complete = "The file is complete. Resend the e-mail. If that fails, too, send the export ID to your administrator."
    advice = [
        ("FILE_TOO_LARGE", False, "Export a shorter period."),
        ("XLSX_TOO_LARGE", False, "Launch the export as CSV, or with a shorter period."),
        ("EMAIL_NOT_SENT", True, "The file is available. Check the addresses, then resend the e-mail."),
        ("GENERATION_FAILED", False, again),
        ("GENERATION_FAILED", True, complete),
        ("DEADLINE_PASSED", False, again),
        ("DEADLINE_PASSED", True, complete),
        (
            "INTERNAL_ERROR",
            False,
            "Send the export ID to your administrator. Relaunch the export once the cause is fixed.",
        ),
        ("INTERNAL_ERROR", True, complete),
        ("CANCELLED", False, "Relaunch the export if you still need it."),
        (
            "FAILED_BY_ADMINISTRATOR",
            False,
            "Ask your administrator for the reason. Relaunch the export when the cause is resolved.",
        ),
    ]
    exports = [
        {
            "at": days_ago(1 + number / 10),
            "status": "FAILED",
            "failure": {"code": code, "message": "A sentence."},
            "linkExpiresAt": None,
            "file": has_file,
        }
        for number, (code, has_file, _) in enumerate(advice)
    ]
    export_ids = add_past_exports(tenant, *exports)
    office = open_office(tenant)
    for export_id, (_, _, sentences) in zip(export_ids, advice, strict=True):
        panel = office.open_details(export_id)
        expect(panel.locator("p", has_text="What to do:")).to_have_text(f"What to do: {sentences}")
        office.page.keyboard.press("Escape")


def test_export_of_another_tenant_is_shown_as_missing(tenant: Tenant, open_office: Opener) -> None:
    other = Tenant(tenant.stack, "another tenant")
    export_id = other.export()["exportId"]
    office = open_office(tenant, query=f"?export={export_id}")
    expect(office.page.get_by_role("dialog", name="Export details")).to_contain_text("Your tenant has no export")
    office.inspect("details of a missing export")


def test_pending_export_is_cancelled_after_confirmation(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    with held_queue(tenant.stack):
        export_id = tenant.launch(tenant.cc)
        office.button("Refresh").click()
        panel = office.open_details(export_id)
        cancel = panel.get_by_role("button", name="Cancel export")
        cancel.click()
        dialog = office.page.get_by_role("dialog", name="Cancel the export?")
        expect(dialog.get_by_role("button", name="Keep the export")).to_be_focused()
        office.inspect("the question whether to cancel")
        office.page.keyboard.press("Escape")
        expect(cancel).to_be_focused()
        assert tenant.detail(export_id)["status"] == "PENDING"
        cancel.click()
        dialog.get_by_role("button", name="Cancel the export").click()
        expect(dialog).to_be_hidden()
        expect(panel).to_contain_text("Cancelled by Sample Operator")
        assert fact(panel, "Cancelled by") == f"Sample Operator {tenant.email}"
        expect(office.message).to_contain_text("Export cancelled by Sample Operator.")
        expect(cancel).to_have_count(0)
        office.inspect("details of a cancelled export")
        office.page.keyboard.press("Escape")
        expect(office.row(export_id)).to_contain_text("Cancelled by Sample Operator")
        assert tenant.detail(export_id)["failure"]["code"] == "CANCELLED"
        # The next one can be launched at once.
        office.open_launch().get_by_role("button", name="Confirm export").click()
        expect(office.latest).to_contain_text("In progress")
        expect(office.latest.get_by_role("button", name="Cancel export")).to_be_visible()
    expect(office.latest).to_contain_text("Ready to download")
    expect(office.button("Cancel export")).to_have_count(0)


def test_rejected_cancellation_shows_what_the_export_has_become(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        office.button("Refresh").click()
        office.row(export_id).click()
        # The page does not learn that the export is ready until it has requested to cancel it.
        pending = tenant.detail(export_id)
        requested: list[str] = []
        office.page.on("request", lambda request: requested.extend([request.url] * request.url.endswith("/cancel")))
        office.page.route(
            f"**/export/{export_id}", lambda route: route.continue_() if requested else route.fulfill(json=pending)
        )
        office.dialog.get_by_role("button", name="Cancel export").click()
        dialog = office.page.get_by_role("dialog", name="Cancel the export?")
        expect(dialog).to_be_visible()
    tenant.await_status(export_id, "READY")
    dialog.get_by_role("button", name="Cancel the export").click()
    expect(dialog).to_contain_text("The export can no longer be cancelled. Ready: Link expires in 3 days.")
    office.inspect("a rejected cancellation")
    dialog.locator(".dialog-foot").get_by_role("button", name="Close").click()
    expect(office.dialog).to_contain_text("The file is ready.")
    assert tenant.detail(export_id)["status"] == "READY"


def test_export_with_a_complete_file_cannot_be_cancelled(tenant: Tenant, open_office: Opener) -> None:
    mailing = tenant.export() | {"status": "PENDING"}
    office = open_office()
    office.page.route("**/export?*", lambda route: route.fulfill(json={"content": [mailing], "size": 20}))
    office.page.route("**/export/*", lambda route: route.fulfill(json=mailing))
    office.sign_in(tenant.key)
    expect(office.latest).to_contain_text("In progress")
    office.open_details(mailing["exportId"])
    expect(office.button("Cancel export")).to_have_count(0)
