"""The help, which is made from the definitions of the export types."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from expected_csv import COLUMNS
from export_types import EXPORT_TYPES, ExportType
from office import Opener
from tenant import Tenant


@pytest.mark.parametrize("export_type", EXPORT_TYPES, ids=lambda export_type: export_type.slug)
def test_help_explains_every_column_and_status(tenant: Tenant, open_office: Opener, export_type: ExportType) -> None:
    office = open_office(tenant, query=f"?type={export_type.slug}")
    office.page.get_by_role("link", name="Help").click()
    expect(office.page.get_by_role("heading", name="Help", level=1)).to_be_visible()
    expect(office.page.get_by_role("link", name="Help")).to_have_attribute("aria-current", "page")
    columns = [name for name, *_ in COLUMNS[export_type.slug]]
    expect(office.page.get_by_role("rowheader").locator("code").first).to_be_visible()
    shown = office.page.locator("section").filter(has_text="Columns of the file").locator("tbody th").all_inner_texts()
    assert shown == columns
    # The API names the statuses of the type.
    body = {"filter": {"statuses": ["NONE"]}}
    (error,) = tenant.post(body, export_type=export_type).json()["errors"]
    _, found, statuses = error["detail"].partition("must be one of ")
    assert found, error
    for status in statuses.split(", "):
        expect(office.page.get_by_role("rowheader", name=status, exact=False).first).to_be_visible()
    for heading in ("Check a file", "If an export failed", "Why two exports of one period can differ"):
        expect(office.page.get_by_role("heading", name=heading)).to_be_visible()
    office.expect_no_sideways_scrolling()
    office.inspect(f"help on {export_type.plural}")
    # The address leads to the same page.
    office.page.reload()
    expect(office.page.get_by_role("heading", name="Help", level=1)).to_be_visible()
    office.page.get_by_role("link", name="Marketplace Payouts").click()
    office.expect_loaded()
