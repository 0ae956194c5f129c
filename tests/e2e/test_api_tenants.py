"""Tenant isolation: every route, with the IDs, cursors and idempotency keys of other tenants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import permutations

import description
from past_exports import PastExports
from stack import Stack
from tenant import EXPORTS, Tenant
from web import Response

TENANTS = 3


@dataclass(frozen=True)
class Victim:
    """The identifiers of a tenant that another tenant could send."""

    tenant: Tenant
    export_id: str
    cursor: str
    idempotency_key: str


def prepare(stack: Stack, number: int) -> Victim:
    tenant = Tenant(stack, f"neighbour {number}")
    past = PastExports(tenant)
    past.add([1_780_000_000_000 + number])
    cursor = tenant.call("GET", f"{EXPORTS}?size=1").json()["nextCursor"]
    key = f"key-of-{tenant.id}"
    export_id = tenant.post({"cc": [f"cc@{tenant.id[-20:].strip('-')}.example"]}, {"Idempotency-Key": key}).json()[
        "exportId"
    ]
    tenant.await_status(export_id, "READY")
    return Victim(tenant, export_id, cursor, key)


def attempts(method: str, path: str, other: Victim) -> list[tuple[str, dict[str, str]]]:
    """The ways to use another tenant's identifiers on a route: path and headers."""
    named = path.replace("{exportId}", other.export_id)
    found: list[tuple[str, dict[str, str]]] = [(named, {}), (named, {"Idempotency-Key": other.idempotency_key})]
    found += [(f"{named}?cursor={other.cursor}", {}), (f"{named}?tenantId={other.tenant.id}", {})]
    found += [(named, {"tenantId": other.tenant.id, "x-tenant-id": other.tenant.id})]
    return found if method == "GET" or "{exportId}" in path else found[:2]


def reveals(response: Response, other: Victim) -> list[str]:
    secrets = [other.export_id, other.tenant.id, other.tenant.email, other.cursor]
    return [secret for secret in secrets if secret in str(response) or secret in str(response.headers)]


def test_no_route_reveals_or_changes_another_tenant(stack: Stack) -> None:
    tenants = [prepare(stack, number) for number in range(TENANTS)]
    sent = 0
    for me, other in permutations(tenants, 2):
        before = other.tenant.items(), other.tenant.objects(), other.tenant.mails()
        for method, path, operation in description.operations():
            for attempt, headers in attempts(method, path, other):
                response = me.tenant.call(method, attempt, None, headers)
                sent += 1
                named = f"{me.tenant.id}: {method} {attempt} {headers}: {response}"
                assert not reveals(response, other), named
                if "{exportId}" in path:
                    assert (response.status, response.error_codes()) == (404, ["F-E-002"]), named
                elif "cursor=" in attempt and re.fullmatch("list.*Exports", operation["operationId"]):
                    assert (response.status, response.error_codes()) == (400, ["F-E-012"]), named
                if response.status == 202:
                    # The caller's own export, although another tenant used the same key.
                    me.tenant.await_status(response.json()["exportId"], "READY")
        assert (other.tenant.items(), other.tenant.objects(), other.tenant.mails()) == before
    assert sent == TENANTS * (TENANTS - 1) * sum(
        len(attempts(method, path, tenants[0])) for method, path, _ in description.operations()
    )
