"""Exports whose links soon end."""

from __future__ import annotations

from typing import Any

import pytest

import web
from interventions import changed
from tenant import Tenant, link_in
from waiting import now, wait_for

# A busy machine may need longer than a link lives to try it: then the next one lives longer.
LIVES_SECONDS = (4, 16, 64)


def ready_for_seconds(tenant: Tenant, setting: str) -> tuple[dict[str, Any], str]:
    """An export that was seen READY, and its mailed link, which was seen to work. `setting` of create-export, some
    seconds here, says when both end."""
    for seconds in LIVES_SECONDS:
        with changed(tenant.stack, "create-export", **{setting: f"{seconds}s"}):
            export_id = tenant.launch()
        export, link = _done(tenant, export_id), link_in(tenant.mails()[-1])
        tried = web.request("GET", link).status
        if now() < export["linkExpiresAt"]:
            assert (export["status"], tried) == ("READY", 200)
            return export, link
    pytest.fail(f"no link could be tried within {LIVES_SECONDS[-1]} s")


def _done(tenant: Tenant, export_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        export = tenant.detail(export_id)
        return None if export["status"] == "PENDING" else export

    export = wait_for(f"{export_id} to be done", look)
    assert export is not None
    return export
