"""Issuing API keys."""

from __future__ import annotations

import hashlib
import json

import pytest

from stack import StackError
from tenant import EXPORTS, Tenant, deserialize
from waiting import now


def test_issued_key_is_stored_only_as_hash(tenant: Tenant) -> None:
    issued = tenant.stack.invoke(
        "manage-api-keys",
        {
            "action": "issue",
            "tenantId": tenant.id,
            "email": "second@operators.example",
            "name": "Second Operator",
            "client": "OPERATOR",
        },
    )
    key = issued["apiKey"]
    assert len(key) == 64
    assert key != tenant.key
    found = tenant.stack.client("dynamodb").get_item(
        TableName=tenant.stack.apiKeysTable, Key={"keyHash": {"S": hashlib.sha256(key.encode()).hexdigest()}}
    )
    item = {name: deserialize(value) for name, value in found["Item"].items()}
    assert (item["tenantId"], item["email"], item["client"]) == (tenant.id, "second@operators.example", "OPERATOR")
    assert item["createdAt"] == issued["createdAt"]
    assert key not in json.dumps(item, default=str)
    assert key not in "".join(tenant.stack.logs("manage-api-keys"))


@pytest.mark.parametrize(
    ("field", "value"),
    [("tenantId", "a/b"), ("email", "nobody"), ("name", ""), ("client", "ADMIN"), ("action", "forget")],
)
def test_key_request_with_an_invalid_field_names_it(tenant: Tenant, field: str, value: str) -> None:
    good = {"action": "issue", "tenantId": tenant.id, "email": tenant.email, "name": "N", "client": "OPERATOR"}
    with pytest.raises(StackError, match=field):
        tenant.stack.invoke("manage-api-keys", {**good, field: value})


UNKNOWN = "mpo_01a11f3a-7000-7abc-8def-0123456789ab"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/caller"), ("GET", EXPORTS), ("POST", EXPORTS), ("GET", f"{EXPORTS}/{UNKNOWN}"),
        ("POST", f"/v1/exports/{UNKNOWN}/resend-email"), ("POST", f"/v1/exports/{UNKNOWN}/cancel"),
    ],
)  # fmt: skip
def test_every_route_records_the_day_on_which_a_key_is_used(tenant: Tenant, method: str, path: str) -> None:
    days = [now()[:10]]
    assert tenant.call(method, path).status in (200, 202, 404)
    days.append(now()[:10])
    (listed,) = tenant.stack.invoke("manage-api-keys", {"action": "list", "tenantId": tenant.id})["apiKeys"]
    assert listed["lastUsedOn"] in days


def test_revoke_person_and_tenant_revoke_all_their_keys(tenant: Tenant) -> None:
    def revoked(action: str, **fields: str) -> list[bool]:
        tenant.stack.invoke("manage-api-keys", {"action": action, "tenantId": tenant.id, **fields})
        listed = tenant.stack.invoke("manage-api-keys", {"action": "list", "tenantId": tenant.id})["apiKeys"]
        return ["revokedAt" in key for key in listed]

    leaver = "leaver@operators.example"
    keys = [tenant.stack.issue_key(tenant.id, leaver) for _ in range(2)]
    assert revoked("revoke-person", email=leaver) == [False, True, True]
    assert tenant.call("GET", "/v1/caller", headers={"dj-api-key": keys[0]}).status == 401
    assert revoked("revoke-tenant") == [True, True, True]
