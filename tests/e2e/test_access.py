"""Who may do what. A refused call changes nothing, for nobody."""

from __future__ import annotations

import hashlib

import pytest

from interventions import held_queue
from payouts import plain_payouts
from tenant import EXPORTS, Tenant

WRONG_KEY = "0" * 64
METHODS = ("GET", "POST")

# Headers in place of the good ones (empty: left out), status, error code.
REFUSED = {
    "wrong_key": ({"dj-api-key": WRONG_KEY}, 401, "UNAUTHENTICATED"),
    "no_key": ({"dj-api-key": ""}, 401, "UNAUTHENTICATED"),
    "no_headers": ({"dj-api-key": "", "dj-client": ""}, 401, "UNAUTHENTICATED"),
    # Who calls comes first: what a client may do is told to known ones only.
    "wrong_key_of_a_supplier": ({"dj-api-key": WRONG_KEY, "dj-client": "SUPPLIER"}, 401, "UNAUTHENTICATED"),
    "supplier": ({"dj-client": "SUPPLIER"}, 403, "FORBIDDEN"),
    "account": ({"dj-client": "ACCOUNT"}, 403, "FORBIDDEN"),
    "no_client": ({"dj-client": ""}, 403, "FORBIDDEN"),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", REFUSED)
def test_call_without_the_right_to_it_is_refused_and_writes_nothing(tenant: Tenant, case: str, method: str) -> None:
    headers, status, code = REFUSED[case]
    export = tenant.export()
    assert_refused(tenant, method, export["exportId"], headers, (status, code))


@pytest.mark.parametrize("method", METHODS)
def test_key_of_a_supplier_is_refused_whatever_client_it_claims_to_be(tenant: Tenant, method: str) -> None:
    export = tenant.export()
    key = tenant.stack.issue_key(tenant.id, "supplier@goods.example", client="SUPPLIER")
    assert_refused(tenant, method, export["exportId"], {"dj-api-key": key}, (403, "FORBIDDEN"))


@pytest.mark.parametrize("method", METHODS)
def test_key_that_is_revoked_is_refused(tenant: Tenant, method: str) -> None:
    export = tenant.export()
    key = tenant.stack.issue_key(tenant.id, "former@operators.example")
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.apiKeysTable,
        Key={"keyHash": {"S": hashlib.sha256(key.encode()).hexdigest()}},
        UpdateExpression="SET revokedAt = :now",
        ExpressionAttributeValues={":now": {"S": "2026-01-01T00:00:00.000Z"}},
    )
    assert_refused(tenant, method, export["exportId"], {"dj-api-key": key}, (401, "UNAUTHENTICATED"))


def test_export_of_another_tenant_is_not_found(tenant: Tenant) -> None:
    tenant.put_payouts(plain_payouts(1))
    export = tenant.export()
    stranger = Tenant(tenant.stack, "stranger")
    before = tenant.world(), stranger.world()
    answer = stranger.get(export["exportId"])
    assert (answer.status, answer.error_codes()) == (404, ["F-E-002"])
    assert tenant.email not in str(answer)
    assert (tenant.world(), stranger.world()) == before


@pytest.mark.parametrize(
    "export_id",
    ["mpo_01a11f3a-7000-7abc-8def-0123456789ab", "mpo_1", "LOCK#marketplace-payouts", "..", "%00", "mpo_" + "x" * 5000],
    ids=["well_formed", "short", "sort_key", "dots", "nul", "long"],
)
def test_export_that_does_not_exist_is_not_found(tenant: Tenant, export_id: str) -> None:
    answer = tenant.get(export_id)
    assert answer.status == 404, answer


def test_cc_that_is_no_address_is_refused_with_its_place_and_writes_nothing(tenant: Tenant) -> None:
    before = tenant.world()
    answer = tenant.post({"cc": ["finance@copies.example", "not an address"]})
    assert (answer.status, answer.error_codes()) == (400, ["F-E-012"])
    assert [error["field"] for error in answer.json()["errors"]] == ["cc[1]"]
    assert tenant.world() == before


def test_cc_given_twice_or_of_the_main_recipient_gets_one_mail(tenant: Tenant) -> None:
    export_id = tenant.launch([" finance@copies.example", "Finance@Copies.example", tenant.email.upper()])
    export = tenant.await_status(export_id, "READY")
    assert export["recipients"] == {"to": tenant.email, "cc": ["finance@copies.example"]}
    assert tenant.mail().cc == ["finance@copies.example"]


def assert_refused(
    tenant: Tenant, method: str, export_id: str, headers: dict[str, str], refusal: tuple[int, str]
) -> None:
    """Launches or reads an export with these headers. The queue is held, so that a message would be seen."""
    status, code = refusal
    with held_queue(tenant.stack):
        before = tenant.world()
        answer = tenant.call(method, EXPORTS if method == "POST" else f"{EXPORTS}/{export_id}", headers=headers)
        assert (answer.status, answer.error_codes()) == (status, [code])
        assert answer.json()["requestId"]
        assert tenant.world() == before
