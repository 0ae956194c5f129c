"""Exports of the past, put into the table as if they had been made then: a history needs no waiting."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from typing import Any

from payouts import plain_payouts
from tenant import Tenant

DAY_MILLISECONDS = 86_400_000

_numbers = itertools.count(1)


def milliseconds(text: str) -> int:
    """Of a time in the form of tables and answers, or of a date."""
    time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    aware = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
    return round(aware.timestamp() * 1000)


def text_of(moment: int) -> str:
    time = datetime.fromtimestamp(moment // 1000, timezone.utc)
    return f"{time:%Y-%m-%dT%H:%M:%S}.{moment % 1000:03}Z"


def export_id(moment: int) -> str:
    """A new id of an export accepted at this moment: a UUID of version 7."""
    digits = f"{moment:012x}7{0:03x}8{next(_numbers):015x}"
    return f"mpo_{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class PastExports:
    """A tenant with one real export, READY, that the others are like."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        tenant.put_payouts(plain_payouts(1))
        self.real = tenant.record(tenant.export()["exportId"])
        self.table = tenant.stack.table(tenant.stack.exportsTable)

    def forget_the_real_one(self) -> None:
        self.table.delete_item(Key={"tenantId": self.tenant.id, "sk": self.real["sk"]})

    def add(self, moments: Iterable[int], **changes: Any) -> list[str]:
        """An export accepted at each of these moments, each with some attributes changed. Returns their ids."""
        ids = []
        with self.table.batch_writer() as batch:
            for moment in moments:
                ids.append(export_id(moment))
                times = {"createdAt": text_of(moment), "updatedAt": text_of(moment)}
                item = self.real | {"sk": f"EXPORT#{ids[-1]}", "exportId": ids[-1]} | times | changes
                # The sweeper has nothing to do with them.
                batch.put_item(Item={key: value for key, value in item.items() if key not in ("dueState", "dueAt")})
        return ids

    def change(self, export_id: str, **changes: Any) -> None:
        """Changes attributes of a record behind the API's back. None removes one."""
        item = self.tenant.record(export_id) | changes
        self.table.put_item(Item={key: value for key, value in item.items() if value is not None})


def failed() -> dict[str, Any]:
    """What a failed export's record has in place of a ready one's."""
    return {"status": "FAILED", "failure": {"code": "GENERATION_FAILED", "message": "Tried 5 times."}}


def in_days(days: float) -> str:
    """The time so many days from now."""
    time = datetime.now(timezone.utc) + timedelta(days=days)
    return text_of(round(time.timestamp() * 1000))
