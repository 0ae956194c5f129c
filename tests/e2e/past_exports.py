"""Writes past exports directly to the table, so that tests can have a history without waiting."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from payouts import plain_payouts
from tenant import Tenant

DAY_MILLISECONDS = 86_400_000

_numbers = itertools.count(1)


def parsed(text: str) -> datetime:
    """Parses a time as stored and returned by the API, or a date. Python 3.10 does not parse the Z."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


def milliseconds(text: str) -> int:
    return round(parsed(text).timestamp() * 1000)


def timestamp(moment: int) -> str:
    time = datetime.fromtimestamp(moment // 1000, timezone.utc)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{moment % 1000:03}Z"


def export_id(moment: int) -> str:
    """A new ID of an export accepted at this time: a UUID of version 7."""
    digits = f"{moment:012x}7{0:03x}8{next(_numbers):015x}"
    return f"mpo_{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class PastExports:
    """A tenant with one real READY export, which serves as a template for the others."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        tenant.put_payouts(plain_payouts(1))
        self.real = tenant.record(tenant.export()["exportId"])
        self.table = tenant.stack.table(tenant.stack.exportsTable)

    def delete_real_export(self) -> None:
        self.table.delete_item(Key={"tenantId": self.tenant.id, "sk": self.real["sk"]})

    def add(self, moments: Iterable[int], **changes: Any) -> list[str]:
        """Adds an export accepted at each of these times, with some attributes changed. Returns the IDs."""
        ids = []
        with self.table.batch_writer() as batch:
            for moment in moments:
                ids.append(export_id(moment))
                times = {"createdAt": timestamp(moment), "updatedAt": timestamp(moment)}
                item = self.real | {"sk": f"EXPORT#{ids[-1]}", "exportId": ids[-1]} | times | changes
                # The sweeper must not find them.
                batch.put_item(
                    Item={key: value for key, value in item.items() if key not in ("nextCheckState", "nextCheckAt")}
                )
        return ids

    def change(self, export_id: str, **changes: Any) -> None:
        """Changes attributes of a record. None removes an attribute."""
        item = self.tenant.record(export_id) | changes
        self.table.put_item(Item={key: value for key, value in item.items() if value is not None})


def failed() -> dict[str, Any]:
    """The attributes of a failed export."""
    return {"status": "FAILED", "failure": {"code": "GENERATION_FAILED", "message": "Tried 5 times."}}


def days_from_now(days: float) -> str:
    time = datetime.now(timezone.utc) + timedelta(days=days)
    return timestamp(round(time.timestamp() * 1000))
