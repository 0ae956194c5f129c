"""The URL of the back office, and the e-mails that link to it."""

from __future__ import annotations

import html
import re

import pytest

import web
from interventions import changed_settings, held_queue
from stack import Mail, Stack, StackError
from tenant import Tenant


def assert_links_to_back_office(mail: Mail, stack: Stack) -> None:
    page = stack.backOfficeUrl
    assert f"\nBack office: {page}\n" in f"{mail.text}\n"
    assert page in [html.unescape(url) for url in re.findall(r'href="([^"]+)"', mail.html)]


def test_trailing_slash_leads_to_the_page(stack: Stack) -> None:
    # The local API Gateway drops the slash. The unit test `trailing_slash_redirects_to_page` tests the redirect.
    page, slashed = web.request("GET", stack.backOfficeUrl), web.request("GET", f"{stack.backOfficeUrl}/")
    assert (page.status, slashed.status) == (200, 200)
    assert slashed.body == page.body


def test_unknown_path_below_the_page_is_not_found(stack: Stack) -> None:
    assert web.request("GET", f"{stack.backOfficeUrl}/history").status == 404


def test_ready_mail_links_to_the_back_office_also_when_resent(timed_tenant: Tenant) -> None:
    tenant = timed_tenant
    export = tenant.export()
    assert tenant.call("POST", f"/v1/exports/{export['exportId']}/resend-email").status == 200
    first, again = tenant.mails()
    for mail in (first, again):
        assert_links_to_back_office(mail, tenant.stack)
    assert web.request("GET", tenant.stack.backOfficeUrl).status == 200


def test_failure_mail_links_to_the_back_office(timed_tenant: Tenant) -> None:
    tenant = timed_tenant
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": export_id})
    assert_links_to_back_office(tenant.mail(), tenant.stack)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://example.com", "https://example.com/\r\nBcc: all@example.com"]
)
def test_function_with_an_unsafe_back_office_url_does_not_start(timed_tenant: Tenant, url: str) -> None:
    tenant = timed_tenant
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        with changed_settings(tenant.stack, "fail-export", BACK_OFFICE_URL=url), pytest.raises(StackError):
            tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": export_id})
        assert tenant.detail(export_id)["status"] == "PENDING"
        assert tenant.mails() == []
        tenant.stack.invoke("fail-export", {"tenantId": tenant.id, "exportId": export_id})
