"""Adds past exports to a tenant, as records that the lifecycle could have produced."""

from __future__ import annotations

import hashlib
import itertools
import uuid
from datetime import datetime, timedelta, timezone
from typing import Any

from boto3.dynamodb.types import TypeSerializer

from tenant import Tenant

BATCH = 25
FILE_RETENTION = timedelta(days=30)
LINK_LIFETIME = timedelta(hours=72)

_serialize = TypeSerializer().serialize
_numbers = itertools.count(1)


def timestamp(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def export_id(at: datetime) -> str:
    """An export ID: a UUID of version 7, which starts with its time."""
    number = next(_numbers)
    random = int.from_bytes(hashlib.sha256(number.to_bytes(8, "big")).digest()[:8], "big") >> 2
    value = int(at.timestamp() * 1000) << 80 | 7 << 76 | (number & 0xFFF) << 64 | 2 << 62 | random
    return f"mpo_{uuid.UUID(int=value)}"


def add_past_exports(tenant: Tenant, *exports: dict[str, Any]) -> list[str]:
    """Adds a past export for each of `exports` and returns the IDs, newest first. `at` is the launch time, `file=False`
    means no file, and everything else is an attribute of the record.

    The records are based on a real export and share its file, so it can be downloaded and mailed.
    """
    real = tenant.record(tenant.export(["finance@cc.example"])["exportId"])
    items = [_record(real, dict(export)) for export in exports]
    client = tenant.stack.client("dynamodb")
    for start in range(0, len(items), BATCH):
        puts = [
            {"PutRequest": {"Item": {key: _serialize(value) for key, value in item.items()}}}
            for item in items[start : start + BATCH]
        ]
        response = client.batch_write_item(RequestItems={tenant.stack.exportsTable: puts})
        assert not response["UnprocessedItems"]
    # The real export would be the newest one.
    client.delete_item(
        TableName=tenant.stack.exportsTable, Key={key: _serialize(real[key]) for key in ("tenantId", "sk")}
    )
    return sorted((item["exportId"] for item in items), reverse=True)


def _record(real: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    at: datetime = changes.pop("at")
    finished_at = at + timedelta(seconds=9)
    has_file = changes.pop("file", True)
    new_id = export_id(at)
    item = {
        **real,
        "sk": f"EXPORT#{new_id}",
        "exportId": new_id,
        "createdAt": timestamp(at),
        "updatedAt": timestamp(finished_at),
        "deadline": timestamp(at + timedelta(hours=6)),
        "linkExpiresAt": timestamp(finished_at + LINK_LIFETIME),
    }
    for key in ("nextCheckState", "nextCheckAt"):
        item.pop(key, None)
    if has_file:
        name = f"marketplace-payouts-{real['tenantId']}-{at.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}.csv"
        item["file"] = {**real["file"], "name": name, "expiresAt": timestamp(finished_at + FILE_RETENTION)}
    else:
        for key in ("file", "linkExpiresAt"):
            item.pop(key)
    # None removes an attribute.
    return {name: value for name, value in (item | changes).items() if value is not None}
