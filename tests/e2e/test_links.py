"""Download links: their signing key, their expiry, and the requests that they allow."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import web
from interventions import kill
from payouts import plain_payouts
from short_links import ready_with_short_link
from stack import Stack
from tenant import Tenant, await_quiet, link_in
from waiting import now, wait_for

LINK_SIGNERS = ("generate-export", "get-export", "resend-email")


def parameters(link: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(link).query).items()}


def signing_key(link: str) -> str:
    return parameters(link)["X-Amz-Credential"].partition("/")[0]


def expiry_of(link: str) -> str:
    signed = parameters(link)
    signed_at = datetime.strptime(signed["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    return (signed_at + timedelta(seconds=int(signed["X-Amz-Expires"]))).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def secret_of(stack: Stack) -> str:
    function = stack.client("lambda").get_function_configuration(FunctionName=stack.functions["get-export"])
    name: str = function["Environment"]["Variables"]["LINK_SIGNER_SECRET"]
    return name


def test_links_are_signed_by_the_key_in_the_secret(tenant: Tenant) -> None:
    secrets = tenant.stack.client("secretsmanager")
    key = json.loads(secrets.get_secret_value(SecretId=secret_of(tenant.stack))["SecretString"])
    export = tenant.export()
    for link in (link_in(tenant.mail()), export["downloadUrl"]):
        assert signing_key(link) == key["accessKeyId"]
        # A role's session would end the link within hours.
        assert "X-Amz-Security-Token" not in parameters(link)


def test_link_of_an_expired_file_is_expired(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(1))
    ready, mailed = ready_with_short_link(tenant, "FILE_RETENTION")
    export_id, mails = ready["exportId"], len(tenant.mails())
    # Rounded down, because a link has whole seconds.
    assert ready["linkExpiresAt"] == expiry_of(mailed) == ready["file"]["expiresAt"][:-4] + "000Z"
    assert expiry_of(ready["downloadUrl"]) <= ready["linkExpiresAt"]

    tenant.await_status(export_id, "EXPIRED")
    assert now() >= ready["linkExpiresAt"]
    for link in (mailed, ready["downloadUrl"]):
        assert web.request("GET", link).status == 403
    wait_for("the file to expire", lambda: now() > ready["file"]["expiresAt"])
    response = tenant.call("POST", f"/v1/exports/{export_id}/resend-email")
    assert (response.status, response.error_codes()) == (410, ["EXPORT_FILE_GONE"])
    assert len(tenant.mails()) == mails


def test_link_allows_only_a_download_as_attachment(tenant: Tenant) -> None:
    tenant.put_payouts(plain_payouts(1))
    export = tenant.export()
    (key,) = tenant.objects()
    content = tenant.content(key)
    for link in (link_in(tenant.mail()), export["downloadUrl"]):
        response = web.request("GET", link)
        assert response.headers["Content-Disposition"].startswith("attachment; ")
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        # Unsigned changes are rejected: another type, disposition, object or expiry.
        longer = re.sub(r"X-Amz-Expires=\d+", "X-Amz-Expires=604800", link)
        for forged in (
            f"{link}&response-content-type=text%2Fhtml",
            f"{link}&response-content-disposition=inline",
            link.replace("/1.csv", "/2.csv"),
            link.replace(f"/{tenant.id}/", "/acme/"),
            longer if longer != link else link.replace("X-Amz-Date=2", "X-Amz-Date=3"),
        ):
            assert web.request("GET", forged).status == 403, forged
        for method in ("PUT", "DELETE", "POST"):
            assert web.request(method, link, body=b"x").status in (403, 405), method
    assert tenant.content(key) == content


@contextmanager
def new_signing_key(stack: Stack) -> Iterator[tuple[str, str]]:
    """Puts a second key of the same user into the secret, as switching ActiveSignerKey with KeepOtherSignerKey=true
    does. Yields the IDs of the old and the new key. Restores the old key at the end."""
    iam, secrets = stack.client("iam"), stack.client("secretsmanager")
    old = json.loads(secrets.get_secret_value(SecretId=secret_of(stack))["SecretString"])["accessKeyId"]
    user = iam.get_access_key_last_used(AccessKeyId=old)["UserName"]
    made = iam.create_access_key(UserName=user)["AccessKey"]
    try:
        secret = {"accessKeyId": made["AccessKeyId"], "secretAccessKey": made["SecretAccessKey"]}
        with changed_secret(stack, json.dumps(secret)):
            yield old, made["AccessKeyId"]
    finally:
        iam.update_access_key(UserName=user, AccessKeyId=old, Status="Active")
        iam.delete_access_key(UserName=user, AccessKeyId=made["AccessKeyId"])


@contextmanager
def changed_secret(stack: Stack, secret: str) -> Iterator[None]:
    """Changes the secret, and restarts what has read it: a running process reads it again only after five minutes."""
    secrets, name = stack.client("secretsmanager"), secret_of(stack)
    before = secrets.get_secret_value(SecretId=name)["SecretString"]
    try:
        put_secret(stack, secret)
        yield
    finally:
        put_secret(stack, before)


def put_secret(stack: Stack, secret: str) -> None:
    stack.client("secretsmanager").put_secret_value(SecretId=secret_of(stack), SecretString=secret)
    # An invocation that is killed leaves its job message in flight.
    await_quiet(stack)
    for crate in LINK_SIGNERS:
        kill(stack, crate)


def test_mailed_link_works_after_rotation_until_the_old_key_ends(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    iam = tenant.stack.client("iam")
    tenant.put_payouts(plain_payouts(1))
    export = tenant.export()
    mailed = link_in(tenant.mail())
    content = web.request("GET", mailed).body
    with new_signing_key(tenant.stack) as (old, new):
        assert signing_key(mailed) == old
        fresh: list[Any] = [detail(tenant, export["exportId"])["downloadUrl"]]
        assert tenant.call("POST", f"/v1/exports/{export['exportId']}/resend-email").status == 200
        fresh.append(link_in(tenant.mails()[-1]))
        other = tenant.export()
        fresh += [other["downloadUrl"], link_in(tenant.mails()[-1])]
        assert {signing_key(link) for link in fresh} == {new}
        for link in (mailed, *fresh):
            assert web.request("GET", link).body == content

        user = iam.get_access_key_last_used(AccessKeyId=old)["UserName"]
        iam.update_access_key(UserName=user, AccessKeyId=old, Status="Inactive")
        # Also the way to revoke links in an emergency.
        assert web.request("GET", mailed).status == 403
        for link in fresh:
            assert web.request("GET", link).status == 200


def detail(tenant: Tenant, export_id: str) -> dict[str, Any]:
    """Reads an export. The first request may fail, because the process of the function was killed."""

    def look() -> dict[str, Any] | None:
        response = tenant.get(export_id)
        return response.json() if response.status == 200 else None

    found = wait_for("the function to restart", look)
    assert found is not None
    return found


@pytest.mark.parametrize("secret", [" ", "not JSON", '{"accessKeyId": "AKIA"}'])
def test_malformed_secret_is_an_internal_error_without_details(brisk_tenant: Tenant, secret: str) -> None:
    tenant = brisk_tenant
    path = f"/v1/exports/{tenant.export()['exportId']}/resend-email"

    def rejected() -> web.Response | None:
        """The response, once the function has restarted."""
        response = tenant.call("POST", path)
        return response if response.status == 500 and "errors" in response.json() else None

    with changed_secret(tenant.stack, secret):
        response = wait_for("an internal error", rejected)
    assert response is not None
    assert response.error_codes() == ["INTERNAL"]
    assert "AKIA" not in str(response)
    assert len(tenant.mails()) == 1
    lines = [line for line in tenant.stack.logs("resend-email") if response.headers["X-Request-Id"] in line]
    assert [line for line in lines if "the secret is not {" in line]
    assert not [line for line in lines if "AKIA" in line]
