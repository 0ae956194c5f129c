"""Issuing API keys."""

from __future__ import annotations

import hashlib
import json

import pytest

from stack import StackError
from tenant import Tenant, deserialize


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
