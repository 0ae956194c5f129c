"""One pending export a tenant, whoever is in a hurry."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from expected_csv import expected_csv
from interventions import held_queue
from payouts import payout, plain_payouts
from stack import Stack
from tenant import Tenant
from web import Answer

AT_ONCE = 50
# The generator takes ten at a time.
ALL_READY_SECONDS = 90.0


def test_fifty_posts_at_once_of_one_tenant_give_one_202_and_the_others_409_naming_that_export(
    tenant: Tenant,
) -> None:
    with held_queue(tenant.stack):
        answers = at_once([tenant] * AT_ONCE)
        accepted = [answer for answer in answers if answer.status == 202]
        refused = [answer for answer in answers if answer.status == 409]
        assert (len(accepted), len(refused)) == (1, AT_ONCE - 1), sorted(str(answer) for answer in answers)
        export_id = accepted[0].json()["exportId"]
        for answer in refused:
            (error,) = answer.json()["errors"]
            assert error["code"] == "EXPORT_ALREADY_PENDING"
            assert export_id in f"{error['message']} {error.get('detail')}"
        assert tenant.lock() == export_id
        assert len(tenant.items()) == 2
    tenant.await_status(export_id, "READY")
    assert len(tenant.mails()) == 1


def test_fifty_tenants_at_once_are_all_accepted_and_all_become_ready(stack: Stack) -> None:
    tenants = [Tenant(stack, "one of fifty") for _ in range(AT_ONCE)]
    for tenant in tenants:
        tenant.put_payouts([payout("po_1", reference=f"Commissions of {tenant.id}")])
    with held_queue(stack):
        answers = at_once(tenants)
        assert [answer.status for answer in answers] == [202] * AT_ONCE, sorted(str(answer) for answer in answers)
    for tenant, answer in zip(tenants, answers, strict=True):
        tenant.await_status(answer.json()["exportId"], "READY", ALL_READY_SECONDS)
        (key,) = tenant.objects()
        assert tenant.content(key) == expected_csv([payout("po_1", reference=f"Commissions of {tenant.id}")])
        assert tenant.lock() is None
        assert len(tenant.mails()) == 1


def test_post_after_ready_is_accepted_and_exports_anew(tenant: Tenant) -> None:
    first = tenant.export()
    tenant.put_payouts(plain_payouts(3))
    second = tenant.export()
    assert second["exportId"] != first["exportId"]
    assert (first["file"]["rows"], second["file"]["rows"]) == (0, 3)
    # What was delivered before stays as it is.
    assert tenant.detail(first["exportId"])["file"] == first["file"]
    assert len(tenant.objects()) == 2


def test_post_after_failed_is_accepted_and_becomes_ready_once_the_cause_is_removed(tenant: Tenant) -> None:
    tenant.put_payouts([payout("po_1", currency="EURO")])
    failed = tenant.launch()
    tenant.await_status(failed, "FAILED")
    tenant.put_payouts([payout("po_1", currency="EUR")])
    ready = tenant.export()
    assert ready["exportId"] != failed
    assert ready["file"]["rows"] == 1
    assert tenant.detail(failed)["status"] == "FAILED"


def at_once(tenants: list[Tenant]) -> list[Answer]:
    """Each of them POSTs, all in the same moment."""
    start = Barrier(len(tenants))

    def post(tenant: Tenant) -> Answer:
        start.wait()
        return tenant.post()

    with ThreadPoolExecutor(len(tenants)) as threads:
        return list(threads.map(post, tenants))
