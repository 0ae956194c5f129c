"""A link's end."""

from __future__ import annotations

import web
from interventions import changed
from payouts import plain_payouts
from tenant import Tenant, link_in
from waiting import now

LINK_LIFE_SECONDS = 4


def test_ready_export_past_its_links_end_reads_as_expired_before_the_sweep_and_is_after_it(
    brisk_tenant: Tenant,
) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(1))
    with changed(tenant.stack, "create-export", LINK_LIFE=f"{LINK_LIFE_SECONDS}s"):
        export_id = tenant.launch()
    ready = tenant.await_status(export_id, "READY")
    link = link_in(tenant.mail())
    assert web.request("GET", link).status == 200
    assert ready["downloadUrlExpiresAt"] <= ready["linkExpiresAt"]

    # Not one look on the way may fail: the last moment of a link is the one that is easy to get wrong.
    expired = tenant.await_status(export_id, "EXPIRED", LINK_LIFE_SECONDS + 5)
    assert now() >= ready["linkExpiresAt"]
    assert "downloadUrl" not in expired
    assert "downloadUrlExpiresAt" not in expired
    assert expired["file"] == ready["file"]
    assert web.request("GET", link).status == 403
    assert web.request("GET", ready["downloadUrl"]).status == 403
    assert tenant.record(export_id)["status"] == "READY"

    tenant.stack.sweep()
    assert tenant.record(export_id)["status"] == "EXPIRED"
    assert "dueState" not in tenant.record(export_id)
    assert tenant.detail(export_id)["status"] == "EXPIRED"
    assert tenant.detail(export_id)["linkExpiresAt"] == ready["linkExpiresAt"]
    # The file outlives the link.
    assert len(tenant.objects()) == 1


def test_sweep_before_the_links_end_changes_nothing(brisk_tenant: Tenant) -> None:
    export = brisk_tenant.export()
    before = brisk_tenant.world()
    brisk_tenant.stack.sweep()
    assert brisk_tenant.world() == before
    assert brisk_tenant.detail(export["exportId"])["status"] == "READY"
