"""A link's end."""

from __future__ import annotations

import web
from payouts import plain_payouts
from short_links import ready_for_seconds
from tenant import Tenant
from waiting import now


def test_ready_export_past_its_links_end_reads_as_expired_before_the_sweep_and_is_after_it(
    brisk_tenant: Tenant,
) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(1))
    ready, link = ready_for_seconds(tenant, "LINK_LIFE")
    export_id = ready["exportId"]
    assert ready["downloadUrlExpiresAt"] <= ready["linkExpiresAt"]

    # Not one look on the way may fail: the last moment of a link is the one that is easy to get wrong.
    expired = tenant.await_status(export_id, "EXPIRED")
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
    assert f"exports/{tenant.id}/{export_id}/1.csv" in tenant.objects()


def test_sweep_before_the_links_end_changes_nothing(brisk_tenant: Tenant) -> None:
    export = brisk_tenant.export()
    before = brisk_tenant.world()
    brisk_tenant.stack.sweep()
    assert brisk_tenant.world() == before
    assert brisk_tenant.detail(export["exportId"])["status"] == "READY"
