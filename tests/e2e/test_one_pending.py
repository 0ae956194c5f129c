"""Only one export per tenant can be pending, also under concurrency."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from expected_csv import expected_csv
from interventions import held_queue
from payouts import payout, plain_payouts
from stack import Stack
from tenant import Tenant
from web import Response

# More than the local gateway runs at once, so few that none waits too long on a busy machine.
AT_ONCE = 24
# The generator processes ten exports at a time.
ALL_READY_SECONDS = 90.0


def test_concurrent_launches_of_one_tenant_give_one_202(tenant: Tenant) -> None:
    with held_queue(tenant.stack):
        responses = at_once([tenant] * AT_ONCE)
        accepted = [response for response in responses if response.status == 202]
        rejected = [response for response in responses if response.status == 409]
        assert (len(accepted), len(rejected)) == (1, AT_ONCE - 1), sorted(str(response) for response in responses)
        export_id = accepted[0].json()["exportId"]
        for response in rejected:
            (error,) = response.json()["errors"]
            assert error["code"] == "EXPORT_ALREADY_PENDING"
            assert export_id in f"{error['message']} {error.get('detail')}"
        assert tenant.lock() == export_id
        assert len(tenant.items()) == 2
    tenant.await_status(export_id, "READY")
    assert len(tenant.mails()) == 1


def test_concurrent_launches_of_different_tenants_all_succeed(stack: Stack) -> None:
    tenants = [Tenant(stack, "one of many") for _ in range(AT_ONCE)]
    for tenant in tenants:
        tenant.put_payouts([payout("po_1", reference=f"Commissions of {tenant.id}")])
    with held_queue(stack):
        responses = at_once(tenants)
        assert [response.status for response in responses] == [202] * AT_ONCE, sorted(
            str(response) for response in responses
        )
    for tenant, response in zip(tenants, responses, strict=True):
        tenant.await_status(response.json()["exportId"], "READY", ALL_READY_SECONDS)
        (key,) = tenant.objects()
        assert tenant.content(key) == expected_csv([payout("po_1", reference=f"Commissions of {tenant.id}")])
        assert tenant.lock() is None
        assert len(tenant.mails()) == 1


def test_launch_after_ready_is_accepted(tenant: Tenant) -> None:
    first = tenant.export()
    tenant.put_payouts(plain_payouts(3))
    second = tenant.export()
    assert second["exportId"] != first["exportId"]
    assert (first["file"]["rows"], second["file"]["rows"]) == (0, 3)
    # The previous export is unchanged.
    assert tenant.detail(first["exportId"])["file"] == first["file"]
    assert len(tenant.objects()) == 2


def test_launch_after_failed_succeeds_once_the_cause_is_fixed(tenant: Tenant) -> None:
    tenant.put_payouts([payout("po_1", currency="EURO")])
    failed = tenant.launch()
    tenant.await_status(failed, "FAILED")
    tenant.put_payouts([payout("po_1", currency="EUR")])
    ready = tenant.export()
    assert ready["exportId"] != failed
    assert ready["file"]["rows"] == 1
    assert tenant.detail(failed)["status"] == "FAILED"


def at_once(tenants: list[Tenant]) -> list[Response]:
    """Launches an export for each tenant, all at the same time."""
    start = Barrier(len(tenants))

    def post(tenant: Tenant) -> Response:
        start.wait()
        return tenant.post()

    with ThreadPoolExecutor(len(tenants)) as threads:
        return list(threads.map(post, tenants))
