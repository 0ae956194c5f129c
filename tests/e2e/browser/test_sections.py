"""The sections of the page: one for each export type."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

import sample_rows
from expected_csv import expected_csv
from export_types import EXPORT_TYPES, ExportType
from interventions import held_queue
from office import Opener
from past_exports import days_from_now
from tenant import Tenant

ROWS = 12
# In the launch dialog. The period has a field of its own.
FILTERS = {
    "Status": "statuses",
    "Currency": "currencies",
    "Supplier ID": "supplierIds",
    "Amount from": "amountMin",
    "Amount to": "amountMax",
    "Source account": "sourceBalanceAccountType",
    "Target account": "targetBalanceAccountType",
}
OF_EACH_TYPE = pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)


def heading_of(export_type: ExportType) -> str:
    return " ".join(word.capitalize() for word in export_type.title.split())


@OF_EACH_TYPE
def test_export_is_launched_in_the_section_of_its_type(
    tenant: Tenant, open_office: Opener, export_type: ExportType
) -> None:
    tenant.stack.put_rows(export_type, tenant.id, list(sample_rows.rows(export_type, tenant.id, ROWS)))
    office = open_office(tenant)
    heading = heading_of(export_type)
    office.page.get_by_role("link", name=heading).click()
    expect(office.page.get_by_role("heading", name=heading, level=1)).to_be_visible()
    expect(office.page.get_by_role("link", name=heading)).to_have_attribute("aria-current", "page")
    expect(office.page).to_have_title(f"{heading} · Back Office")

    office.button("Export CSV").click()
    dialog = office.page.get_by_role("dialog", name=f"Export {export_type.title.lower()}")
    expect(dialog).to_contain_text(f"{export_type.plural.capitalize()} created up to the launch.")
    # The API names the filters of the type.
    (error,) = tenant.post({"filter": {"none": 1}}, export_type=export_type).json()["errors"]
    fields = {field: label for label, field in FILTERS.items()}
    expected = [fields[field] for field in error["detail"].partition("use ")[2].split(", ") if field in fields]
    assert dialog.locator(".filter-fields").locator("label[for], legend").all_text_contents() == expected
    dialog.get_by_role("button", name="Confirm export").click()
    expect(office.message).to_contain_text(f"Export ready: {ROWS} {export_type.plural}.")
    (export,) = tenant.call("GET", export_type.path).json()["content"]
    panel = office.open_details(export["exportId"])
    expect(panel).to_contain_text(f"{export_type.plural.capitalize()} created")
    expect(panel.get_by_role("columnheader", name=export_type.plural.capitalize())).to_be_visible()
    office.inspect(f"details of {export_type.plural}", picture=f"section-{export_type.slug}")

    # The address leads to the same view.
    office.page.reload()
    expect(office.page.get_by_role("heading", name=heading, level=1, include_hidden=True)).to_be_attached()
    office.expect_details(export["exportId"])


@OF_EACH_TYPE
def test_history_of_each_section_is_filtered_sorted_and_downloaded(
    tenant: Tenant, open_office: Opener, export_type: ExportType
) -> None:
    rows = list(sample_rows.rows(export_type, tenant.id, ROWS))
    tenant.stack.put_rows(export_type, tenant.id, rows)
    with held_queue(tenant.stack):
        failed = tenant.launch(export_type=export_type)
        assert tenant.call("POST", f"/v1/exports/{failed}/cancel").status == 200
    office = open_office(tenant)
    office.page.get_by_role("link", name=heading_of(export_type)).click()
    office.expect_ids([failed])
    office.button("Export CSV").click()
    dialog = office.page.get_by_role("dialog", name=f"Export {export_type.title.lower()}")
    # Not completed by a comma: the click must not be lost when the address becomes a chip.
    office.page.keyboard.type(tenant.cc[0])
    dialog.get_by_role("button", name="Confirm export").click()
    expect(office.message).to_contain_text(f"Export ready: {ROWS} {export_type.plural}.")
    ready = tenant.call("GET", f"{export_type.path}?status=READY").json()["content"][0]["exportId"]
    office.expect_ids([ready, failed])
    field = office.page.get_by_role("searchbox", name="Export ID")
    expect(field).to_have_attribute("placeholder", f"{export_type.prefix}_…")
    headers = office.history.get_by_role("columnheader").all_inner_texts()
    assert [header.strip() for header in headers] == ["Export ID", "Recipients", "Created at", "Status", "Actions"]
    for text in (f"{export_type.prefix}_", tenant.email, *tenant.cc, "Ready"):
        expect(office.row(ready)).to_contain_text(text)

    office.history.get_by_role("columnheader", name="Created at").get_by_role("button").click()
    office.expect_ids([failed, ready])
    status = office.page.get_by_role("group", name="Status")
    status.get_by_role("checkbox", name="Failed").check(force=True)
    office.expect_ids([failed])
    status.get_by_role("checkbox", name="Ready").check(force=True)
    office.expect_ids([failed, ready])
    office.page.get_by_label("From").fill("2099-01-01")
    office.expect_ids([])
    office.page.get_by_label("From").fill("")
    office.expect_ids([failed, ready])

    with office.page.expect_download() as download:
        office.row(ready).get_by_role("button", name="Download").click()
    assert Path(download.value.path()).read_bytes() == expected_csv(rows, export_type=export_type.slug)


@OF_EACH_TYPE
def test_expired_export_of_each_section_is_resent(tenant: Tenant, open_office: Opener, export_type: ExportType) -> None:
    export_id = tenant.await_status(tenant.launch(tenant.cc, export_type), "READY")["exportId"]
    record = tenant.record(export_id) | {"linkExpiresAt": days_from_now(-1)}
    tenant.stack.table(tenant.stack.exportsTable).put_item(Item=record)
    office = open_office(tenant)
    office.page.get_by_role("link", name=heading_of(export_type)).click()
    expect(office.row(export_id)).to_contain_text("Expired")
    panel = office.open_details(export_id)
    expect(panel).to_contain_text("The download link has expired.")
    expect(panel.get_by_role("button", name="Download CSV")).to_have_count(0)
    panel.get_by_role("button", name="Resend e-mail").click()
    office.expect_chips(tenant.cc)
    office.page.get_by_role("dialog", name="Resend e-mail").get_by_role("button", name="Send e-mail").click()
    expect(panel).to_contain_text("The file is ready.")
    expect(panel.get_by_role("button", name="Download CSV")).to_be_visible()
    first, second = tenant.mails()
    assert (second.subject, second.to, second.cc) == (first.subject, [tenant.email], tenant.cc)
