"""Tenants cannot see each other: every route, with every other tenant's ids, cursors and idempotency keys."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import description
from past_exports import PastExports
from stack import Stack
from tenant import EXPORTS, Tenant
from web import Answer

TENANTS = 3


@dataclass(frozen=True)
class Known:
    """What a tenant has that another could try."""

    tenant: Tenant
    export_id: str
    cursor: str
    idempotency_key: str


def prepared(stack: Stack, number: int) -> Known:
    tenant = Tenant(stack, f"neighbour {number}")
    past = PastExports(tenant)
    past.add([1_780_000_000_000 + number])
    cursor = tenant.call("GET", f"{EXPORTS}?size=1").json()["nextCursor"]
    key = f"key-of-{tenant.id}"
    export_id = tenant.post({"cc": [f"copy@{tenant.id[-20:].strip('-')}.example"]}, {"Idempotency-Key": key}).json()[
        "exportId"
    ]
    tenant.await_status(export_id, "READY")
    return Known(tenant, export_id, cursor, key)


def attempts(method: str, path: str, other: Known) -> list[tuple[str, dict[str, str]]]:
    """The ways to use what another tenant has on a route: path and headers."""
    named = path.replace("{exportId}", other.export_id)
    found: list[tuple[str, dict[str, str]]] = [(named, {}), (named, {"Idempotency-Key": other.idempotency_key})]
    found += [(f"{named}?cursor={other.cursor}", {}), (f"{named}?tenantId={other.tenant.id}", {})]
    found += [(named, {"tenantId": other.tenant.id, "x-tenant-id": other.tenant.id})]
    return found if method == "GET" or "{exportId}" in path else found[:2]


def reveals(answer: Answer, other: Known) -> list[str]:
    secrets = [other.export_id, other.tenant.id, other.tenant.email, other.cursor]
    return [secret for secret in secrets if secret in str(answer) or secret in str(answer.headers)]


def test_nothing_of_another_tenant_is_reached_by_any_route(stack: Stack) -> None:
    everybody = [prepared(stack, number) for number in range(TENANTS)]
    tried = 0
    for me, other in permutations(everybody, 2):
        before = other.tenant.items(), other.tenant.objects(), other.tenant.mails()
        for method, path, operation in description.operations():
            for attempt, headers in attempts(method, path, other):
                answer = me.tenant.call(method, attempt, None, headers)
                tried += 1
                named = f"{me.tenant.id}: {method} {attempt} {headers}: {answer}"
                assert not reveals(answer, other), named
                if "{exportId}" in path:
                    assert (answer.status, answer.error_codes()) == (404, ["F-E-002"]), named
                elif "cursor=" in attempt and operation["operationId"] == "listExports":
                    assert (answer.status, answer.error_codes()) == (400, ["F-E-012"]), named
                if answer.status == 202:
                    # Its own export, though the key is another tenant's.
                    me.tenant.await_status(answer.json()["exportId"], "READY")
        assert (other.tenant.items(), other.tenant.objects(), other.tenant.mails()) == before
    assert tried == TENANTS * (TENANTS - 1) * sum(
        len(attempts(method, path, everybody[0])) for method, path, _ in description.operations()
    )
