"""The page at its address, and the mails that lead there."""

from __future__ import annotations

import html
import re

import pytest

import web
from interventions import changed, held_queue
from stack import Mail, Stack, StackError
from tenant import Tenant


def assert_leads_to_page(mail: Mail, stack: Stack) -> None:
    page = stack.backOfficeUrl
    assert f"\nBack office: {page}\n" in f"{mail.text}\n"
    assert page in [html.unescape(url) for url in re.findall(r'href="([^"]+)"', mail.html)]


def test_slash_at_the_end_leads_to_the_page(stack: Stack) -> None:
    page, slashed = web.request("GET", stack.backOfficeUrl), web.request("GET", f"{stack.backOfficeUrl}/")
    assert (page.status, slashed.status) == (200, 200)
    assert slashed.body == page.body


def test_address_below_the_page_that_is_none_is_told_as_such(stack: Stack) -> None:
    assert web.request("GET", f"{stack.backOfficeUrl}/history").status == 404


def test_mail_with_the_file_leads_to_the_page_whenever_it_is_sent(timed_tenant: Tenant) -> None:
    tenant = timed_tenant
    export = tenant.export()
    assert tenant.call("POST", f"/v1/exports/{export['exportId']}/resend-email").status == 200
    first, again = tenant.mails()
    for mail in (first, again):
        assert_leads_to_page(mail, tenant.stack)
    assert web.request("GET", tenant.stack.backOfficeUrl).status == 200


def test_mail_about_a_failure_leads_to_the_page(timed_tenant: Tenant) -> None:
    tenant = timed_tenant
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": export_id})
    assert_leads_to_page(tenant.mail(), tenant.stack)


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://example.com", "https://example.com/\r\nBcc: all@example.com"]
)
def test_function_with_a_page_that_mails_must_not_lead_to_does_not_start(timed_tenant: Tenant, url: str) -> None:
    tenant = timed_tenant
    with held_queue(tenant.stack):
        export_id = tenant.launch()
        with changed(tenant.stack, "end-export", BACK_OFFICE_URL=url), pytest.raises(StackError):
            tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": export_id})
        assert tenant.detail(export_id)["status"] == "PENDING"
        assert tenant.mails() == []
        tenant.stack.invoke("end-export", {"tenantId": tenant.id, "exportId": export_id})
