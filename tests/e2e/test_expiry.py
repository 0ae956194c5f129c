"""Link expiry."""

from __future__ import annotations

import web
from payouts import plain_payouts
from short_links import ready_with_short_link
from tenant import Tenant
from waiting import now


def test_export_past_link_expiry_is_expired_without_a_sweep(brisk_tenant: Tenant) -> None:
    tenant = brisk_tenant
    tenant.put_payouts(plain_payouts(1))
    ready, link = ready_with_short_link(tenant, "LINK_LIFETIME")
    export_id = ready["exportId"]
    assert ready["downloadUrlExpiresAt"] <= ready["linkExpiresAt"]

    # Every request on the way must succeed, including one in the last moment before the link expires.
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
    assert "nextCheckState" not in tenant.record(export_id)
    assert tenant.detail(export_id)["status"] == "EXPIRED"
    assert tenant.detail(export_id)["linkExpiresAt"] == ready["linkExpiresAt"]
    # The file outlives the link.
    assert f"exports/{tenant.id}/{export_id}/1.csv" in tenant.objects()


def test_sweep_before_link_expiry_changes_nothing(brisk_tenant: Tenant) -> None:
    export = brisk_tenant.export()
    before = brisk_tenant.world()
    brisk_tenant.stack.sweep()
    assert brisk_tenant.world() == before
    assert brisk_tenant.detail(export["exportId"])["status"] == "READY"
