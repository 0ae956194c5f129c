"""Who gets in, and who is told why not."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from office import Office, Opener
from stack import Stack
from tenant import Tenant

UNKNOWN = "not known, or it was revoked"


def expect_refused(office: Office, why: str) -> None:
    expect(office.page.get_by_role("alert")).to_contain_text(why)
    field = office.page.get_by_label("API key")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    assert office.page.evaluate("sessionStorage.length") == 0


def test_operator_gets_in_and_sees_who_is_connected_and_for_which_tenant(tenant: Tenant, open_office: Opener) -> None:
    office = open_office()
    expect(office.page.get_by_label("API key")).to_be_focused()
    office.inspect("sign-in")
    office.sign_in(f"  {tenant.key}\n")
    office.expect_loaded()
    who = office.page.get_by_role("region", name="Connected user")
    expect(who).to_contain_text(tenant.email)
    expect(who).to_contain_text(f"Tenant {tenant.id}")
    expect(office.page.get_by_role("link", name="Marketplace Payouts")).to_have_attribute("aria-current", "page")


@pytest.mark.parametrize(
    ("key", "why"), [("x" * 64, UNKNOWN), ("", "Enter your API key"), ("clé", "letters and digits only")]
)
def test_wrong_key_says_so(key: str, why: str, open_office: Opener) -> None:
    office = open_office()
    office.sign_in(key)
    expect_refused(office, why)
    office.inspect(f"refused: {why}")


def test_revoked_key_says_so(tenant: Tenant, open_office: Opener) -> None:
    (issued,) = tenant.stack.invoke("manage-api-keys", {"action": "list", "tenantId": tenant.id})["apiKeys"]
    tenant.stack.invoke("manage-api-keys", {"action": "revoke", "keyId": issued["keyId"]})
    office = open_office()
    office.sign_in(tenant.key)
    expect_refused(office, UNKNOWN)


def test_key_of_another_client_says_so_and_the_right_one_works_after_it(tenant: Tenant, open_office: Opener) -> None:
    office = open_office()
    office.sign_in(tenant.stack.issue_key(tenant.id, "supplier@shop.example", client="SUPPLIER"))
    expect_refused(office, "not an operator’s")
    office.sign_in(tenant.key)
    office.expect_loaded()


def test_session_lasts_over_a_reload_and_ends_with_the_sign_out(tenant: Tenant, open_office: Opener) -> None:
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


def test_another_tab_does_not_know_the_key(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant)
    other = Office(office.page.context.new_page())
    other.page.goto(office.page.url)
    expect(other.page.get_by_label("API key")).to_be_visible()


def test_key_that_is_revoked_while_one_works_leads_back_to_the_sign_in(tenant: Tenant, open_office: Opener) -> None:
    office = open_office(tenant, query="?status=READY")
    refusal = {"errors": [{"code": "UNAUTHENTICATED", "message": "Not authenticated", "detail": "…"}], "requestId": "r"}
    office.page.route("**/v1/**", lambda route: route.fulfill(status=401, json=refusal))
    office.button("Refresh").click()
    expect(office.page.get_by_role("alert")).to_contain_text(UNKNOWN)
    assert office.page.evaluate("sessionStorage.length") == 0
    office.page.unroute("**/v1/**")
    office.sign_in(tenant.key)
    office.expect_loaded()
    office.expect_query(status="READY")


def test_page_has_no_third_party_and_nothing_before_the_sign_in_but_itself(stack: Stack, open_office: Opener) -> None:
    office = open_office()
    asked: list[str] = []
    office.page.on("request", lambda request: asked.append(request.url))
    office.page.reload()
    expect(office.page.get_by_label("API key")).to_be_visible()
    office.page.wait_for_load_state("networkidle")
    assert asked
    assert [url for url in asked if not url.startswith(stack.backOfficeUrl)] == []
