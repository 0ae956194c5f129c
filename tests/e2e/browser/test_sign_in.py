"""Signing in and out."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from office import Office, Opener
from stack import Stack
from tenant import Tenant

UNKNOWN = "unknown, expired or revoked"


def expect_rejected(office: Office, why: str) -> None:
    expect(office.page.get_by_role("alert")).to_contain_text(why)
    field = office.page.get_by_label("API key")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    assert office.page.evaluate("sessionStorage.length") == 0


def test_signed_in_operator_sees_user_and_tenant(tenant: Tenant, open_office: Opener) -> None:
    office = open_office()
    expect(office.page.get_by_label("API key")).to_be_focused()
    office.inspect("sign-in")
    office.sign_in(f"  {tenant.key}\n")
    office.expect_loaded()
    user = office.page.get_by_role("region", name="Signed-in user")
    expect(user).to_contain_text(tenant.email)
    expect(user).to_contain_text(f"Tenant {tenant.id}")
    expect(office.page.get_by_role("link", name="Marketplace Payouts")).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize(
    ("key", "why"), [("x" * 64, UNKNOWN), ("", "Enter your API key"), ("clé", "only letters and digits")]
)
def test_invalid_key_is_rejected(key: str, why: str, open_office: Opener) -> None:
    office = open_office()
    office.sign_in(key)
    expect_rejected(office, why)
    office.inspect(f"rejected: {why}")


def test_revoked_key_is_rejected(tenant: Tenant, open_office: Opener) -> None:
    (issued,) = tenant.stack.invoke("manage-api-keys", {"action": "list", "tenantId": tenant.id})["apiKeys"]
    tenant.stack.invoke("manage-api-keys", {"action": "revoke", "keyId": issued["keyId"]})
    office = open_office()
    office.sign_in(tenant.key)
    expect_rejected(office, UNKNOWN)


def test_supplier_key_is_rejected_and_an_operator_key_accepted(tenant: Tenant, open_office: Opener) -> None:
    office = open_office()
    office.sign_in(tenant.stack.issue_key(tenant.id, "supplier@shop.example", client="SUPPLIER"))
    expect_rejected(office, "does not belong to an operator")
    office.sign_in(tenant.key)
    office.expect_loaded()


def test_session_survives_a_reload_and_ends_at_sign_out(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    office.page.reload()
    office.expect_loaded()
    office.button("Sign out").click()
    expect(office.page.get_by_role("alert")).to_have_text("You are signed out.")
    storage = "[sessionStorage.length, localStorage.length, document.cookie]"
    assert office.page.evaluate(storage) == [0, 0, ""]
    office.inspect("signed out")
    office.page.reload()
    expect(office.page.get_by_label("API key")).to_be_visible()
    expect(office.page.get_by_text("You are signed out.")).to_have_count(0)


def test_new_tab_is_signed_in_by_an_open_one(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, query="?status=READY")
    other = Office(office.page.context.new_page())
    other.page.goto(office.page.url)
    other.expect_loaded()
    for tab in (office, other):
        tab.page.reload()
        tab.expect_loaded()
        assert tab.page.evaluate("[localStorage.length, document.cookie]") == [0, ""]
    # Other browser sessions get nothing.
    expect(open_office().page.get_by_label("API key")).to_be_visible()

    other.button("Sign out").click()
    expect(office.page.get_by_role("alert")).to_have_text("You signed out in another tab.")
    for tab in (office, other):
        assert tab.page.evaluate("sessionStorage.length") == 0
        tab.page.reload()
        expect(tab.page.get_by_label("API key")).to_be_visible()


def test_tab_with_another_key_stays_signed_in(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    other = Office(office.page.context.new_page())
    other.page.goto(office.page.url)
    other.expect_loaded()
    other.page.evaluate("key => sessionStorage.setItem('backOfficeApiKey', key)", Tenant(tenant.stack, "other").key)
    other.page.reload()
    other.expect_loaded()
    other.button("Sign out").click()
    expect(other.page.get_by_role("alert")).to_have_text("You are signed out.")
    # A tab that signed out does not take the key that a third tab requested.
    third = Office(office.page.context.new_page())
    third.page.goto(office.page.url)
    third.expect_loaded()
    expect(other.page.get_by_label("API key")).to_be_visible()
    expect(office.history.or_(office.page.get_by_text("No exports yet")).first).to_be_visible()


def test_signing_out_removes_filters_and_export_ids_from_the_url(tenant: Tenant, open_office: Opener) -> None:
    export_id = tenant.export()["exportId"]
    office = open_office(tenant, query="?type=supplier-payouts&status=READY&from=2026-01-01")
    other = Office(office.page.context.new_page())
    other.page.goto(f"{tenant.stack.backOfficeUrl}?export={export_id}")
    other.expect_details(export_id)
    office.button("Sign out").click()
    expect(office.page.get_by_role("alert")).to_have_text("You are signed out.")
    office.expect_query(type="supplier-payouts")
    expect(other.page.get_by_role("alert")).to_have_text("You signed out in another tab.")
    other.expect_query()


def test_key_revoked_during_a_session_leads_to_the_sign_in(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, query="?status=READY")
    rejection = {
        "errors": [{"code": "UNAUTHENTICATED", "message": "Not authenticated", "detail": "…"}],
        "requestId": "r",
    }
    office.page.route("**/v1/**", lambda route: route.fulfill(status=401, json=rejection))
    office.button("Refresh").click()
    expect(office.page.get_by_role("alert")).to_contain_text(UNKNOWN)
    assert office.page.evaluate("sessionStorage.length") == 0
    office.page.unroute("**/v1/**")
    office.sign_in(tenant.key)
    office.expect_loaded()
    office.expect_query(status="READY")


def test_page_loads_only_its_own_files_before_sign_in(stack: Stack, open_office: Opener) -> None:
    office = open_office()
    requests: list[str] = []
    office.page.on("request", lambda request: requests.append(request.url))
    office.page.reload()
    expect(office.page.get_by_label("API key")).to_be_visible()
    office.page.wait_for_load_state("networkidle")
    assert requests
    assert [url for url in requests if not url.startswith(stack.backOfficeUrl)] == []
