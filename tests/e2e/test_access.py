"""Authentication and authorization. A rejected request changes nothing."""

from __future__ import annotations

import hashlib

import pytest

from interventions import held_queue
from past_exports import days_from_now
from payouts import plain_payouts
from tenant import EXPORTS, Tenant
from waiting import now, wait_for

WRONG_KEY = "0" * 64
METHODS = ("GET", "POST")

# Headers that replace the valid ones (empty: omitted), status, error code.
REJECTED = {
    "wrong_key": ({"dj-api-key": WRONG_KEY}, 401, "UNAUTHENTICATED"),
    "no_key": ({"dj-api-key": ""}, 401, "UNAUTHENTICATED"),
    "no_headers": ({"dj-api-key": "", "dj-client": ""}, 401, "UNAUTHENTICATED"),
    # Authentication comes before authorization.
    "wrong_key_of_a_supplier": ({"dj-api-key": WRONG_KEY, "dj-client": "SUPPLIER"}, 401, "UNAUTHENTICATED"),
    "supplier": ({"dj-client": "SUPPLIER"}, 403, "FORBIDDEN"),
    "account": ({"dj-client": "ACCOUNT"}, 403, "FORBIDDEN"),
    "no_client": ({"dj-client": ""}, 403, "FORBIDDEN"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", REJECTED)
def test_unauthorized_request_is_rejected_and_writes_nothing(tenant: Tenant, case: str, method: str) -> None:
    headers, status, code = REJECTED[case]
    export = tenant.export()
    assert_rejected(tenant, method, export["exportId"], headers, (status, code))


@pytest.mark.parametrize("method", METHODS)
def test_supplier_key_with_operator_client_is_rejected(tenant: Tenant, method: str) -> None:
    export = tenant.export()
    key = tenant.stack.issue_key(tenant.id, "supplier@goods.example", client="SUPPLIER")
    assert_rejected(tenant, method, export["exportId"], {"dj-api-key": key}, (403, "FORBIDDEN"))


@pytest.mark.parametrize("method", METHODS)
def test_revoked_key_is_rejected(tenant: Tenant, method: str) -> None:
    export = tenant.export()
    key = tenant.stack.issue_key(tenant.id, "former@operators.example")
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.apiKeysTable,
        Key={"keyHash": {"S": hashlib.sha256(key.encode()).hexdigest()}},
        UpdateExpression="SET revokedAt = :now",
        ExpressionAttributeValues={":now": {"S": "2026-01-01T00:00:00.000Z"}},
    )
    assert_rejected(tenant, method, export["exportId"], {"dj-api-key": key}, (401, "UNAUTHENTICATED"))


@pytest.mark.parametrize("method", METHODS)
def test_expired_key_is_rejected(tenant: Tenant, method: str) -> None:
    export = tenant.export()
    owner = {"tenantId": tenant.id, "email": "guest@operators.example", "name": "Guest", "client": "OPERATOR"}
    expires_at = days_from_now(1 / 43_200)
    key = tenant.stack.invoke("manage-api-keys", {"action": "issue", **owner, "expiresAt": expires_at})["apiKey"]
    wait_for("the key to expire", lambda: now() > expires_at)
    assert_rejected(tenant, method, export["exportId"], {"dj-api-key": key}, (401, "UNAUTHENTICATED"))


def test_export_of_another_tenant_is_not_found(tenant: Tenant) -> None:
    tenant.put_payouts(plain_payouts(1))
    export = tenant.export()
    stranger = Tenant(tenant.stack, "stranger")
    before = tenant.world(), stranger.world()
    response = stranger.get(export["exportId"])
    assert (response.status, response.error_codes()) == (404, ["F-E-002"])
    assert tenant.email not in str(response)
    assert (tenant.world(), stranger.world()) == before


@pytest.mark.parametrize(
    "export_id",
    ["mpo_01a11f3a-7000-7abc-8def-0123456789ab", "mpo_1", "LOCK#marketplace-payouts", "..", "%00", "mpo_" + "x" * 5000],
    ids=["well_formed", "short", "sort_key", "dots", "nul", "long"],
)
def test_unknown_export_is_not_found(tenant: Tenant, export_id: str) -> None:
    response = tenant.get(export_id)
    assert response.status == 404, response


def test_invalid_cc_is_rejected_with_its_index_and_writes_nothing(tenant: Tenant) -> None:
    before = tenant.world()
    response = tenant.post({"cc": ["finance@cc.example", "not an address"]})
    assert (response.status, response.error_codes()) == (400, ["F-E-012"])
    assert [error["field"] for error in response.json()["errors"]] == ["cc[1]"]
    assert tenant.world() == before


def test_duplicate_cc_receives_one_mail(tenant: Tenant) -> None:
    export_id = tenant.launch([" finance@cc.example", "Finance@CC.example", tenant.email.upper()])
    export = tenant.await_status(export_id, "READY")
    assert export["recipients"] == {"to": tenant.email, "cc": ["finance@cc.example"]}
    assert tenant.mail().cc == ["finance@cc.example"]


def assert_rejected(
    tenant: Tenant, method: str, export_id: str, headers: dict[str, str], rejection: tuple[int, str]
) -> None:
    """Launches or reads an export with these headers. The queue is held, so that a job message would be noticed."""
    status, code = rejection
    with held_queue(tenant.stack):
        before = tenant.world()
        response = tenant.call(method, EXPORTS if method == "POST" else f"{EXPORTS}/{export_id}", headers=headers)
        assert (response.status, response.error_codes()) == (status, [code])
        assert response.json()["requestId"]
        assert tenant.world() == before
