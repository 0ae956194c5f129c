"""The sections of the page: one for each export type."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

import sample_rows
from export_types import EXPORT_TYPES, ExportType
from office import Opener
from tenant import Tenant

ROWS = 12


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)
def test_export_is_launched_in_the_section_of_its_type(
    tenant: Tenant, open_office: Opener, export_type: ExportType
) -> None:
    tenant.stack.put_rows(export_type, tenant.id, list(sample_rows.rows(export_type, tenant.id, ROWS)))
    office = open_office(tenant)
    heading = " ".join(word.capitalize() for word in export_type.title.split())
    office.page.get_by_role("link", name=heading).click()
    expect(office.page.get_by_role("heading", name=heading, level=1)).to_be_visible()
    expect(office.page.get_by_role("link", name=heading)).to_have_attribute("aria-current", "page")
    expect(office.page).to_have_title(f"{heading} · Back Office")

    office.button("Export CSV").click()
    dialog = office.page.get_by_role("dialog", name=f"Export {export_type.title.lower()}")
    expect(dialog).to_contain_text(f"Exports all {export_type.plural} of {tenant.id}")
    dialog.get_by_role("button", name="Confirm export").click()
    expect(office.message).to_contain_text(f"Export ready: {ROWS} {export_type.plural}.")
    (export,) = tenant.call("GET", export_type.path).json()["content"]
    panel = office.open_details(export["exportId"])
    expect(panel).to_contain_text(f"{export_type.plural.capitalize()} up to")
    expect(panel.get_by_role("columnheader", name=export_type.plural.capitalize())).to_be_visible()
    office.inspect(f"details of {export_type.plural}", picture=f"section-{export_type.slug}")

    # The address leads to the same view.
    office.page.reload()
    expect(office.page.get_by_role("heading", name=heading, level=1, include_hidden=True)).to_be_attached()
    office.expect_details(export["exportId"])
