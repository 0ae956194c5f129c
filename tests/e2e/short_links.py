"""Exports whose links expire within seconds."""

from __future__ import annotations

from typing import Any

import pytest

import web
from interventions import changed_settings
from tenant import Tenant, link_in
from waiting import now, wait_for

# On a busy machine a link may expire before it is used. Then the next, longer lifetime is used.
LIFETIMES_SECONDS = (4, 16, 64)


def ready_with_short_link(tenant: Tenant, setting: str) -> tuple[dict[str, Any], str]:
    """A READY export and its mailed link, both checked before they expired. `setting` is the setting of create-export
    that makes them expire after some seconds."""
    for seconds in LIFETIMES_SECONDS:
        with changed_settings(tenant.stack, "create-export", **{setting: f"{seconds}s"}):
            export_id = tenant.launch()
        export, link = _finished(tenant, export_id), link_in(tenant.mails()[-1])
        status = web.request("GET", link).status
        if now() < export["linkExpiresAt"]:
            assert (export["status"], status) == ("READY", 200)
            return export, link
    pytest.fail(f"no link could be used within {LIFETIMES_SECONDS[-1]} s")


def _finished(tenant: Tenant, export_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        export = tenant.detail(export_id)
        return None if export["status"] == "PENDING" else export

    export = wait_for(f"{export_id} to finish", look)
    assert export is not None
    return export
