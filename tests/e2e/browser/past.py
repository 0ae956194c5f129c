"""A past for a tenant: exports of earlier days, as records of the table that the life cycle could have left there."""

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
LINK_LIFE = timedelta(hours=72)

_serialize = TypeSerializer().serialize
_numbers = itertools.count(1)


def written(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time.microsecond // 1000:03}Z"


def export_id(at: datetime) -> str:
    """An id as exports get them: a UUID of version 7, which begins with its time."""
    number = next(_numbers)
    random = int.from_bytes(hashlib.sha256(number.to_bytes(8, "big")).digest()[:8], "big") >> 2
    value = int(at.timestamp() * 1000) << 80 | 7 << 76 | (number & 0xFFF) << 64 | 2 << 62 | random
    return f"mpo_{uuid.UUID(int=value)}"


def give_past(tenant: Tenant, *exports: dict[str, Any]) -> list[str]:
    """Puts an export into the past for each of `exports`, which tells what is special about it: `at` is when it was
    launched, `file` False that it has none, everything else are attributes of the record. The newest first.

    They are made after a real export, whose file they all have: so it can be downloaded and sent.
    """
    real = tenant.record(tenant.export(["finance@copies.example"])["exportId"])
    items = [_record(real, dict(export)) for export in exports]
    client = tenant.stack.client("dynamodb")
    for start in range(0, len(items), BATCH):
        puts = [
            {"PutRequest": {"Item": {key: _serialize(value) for key, value in item.items()}}}
            for item in items[start : start + BATCH]
        ]
        answer = client.batch_write_item(RequestItems={tenant.stack.exportsTable: puts})
        assert not answer["UnprocessedItems"]
    # The real one is the newest, and in nobody's way.
    client.delete_item(
        TableName=tenant.stack.exportsTable, Key={key: _serialize(real[key]) for key in ("tenantId", "sk")}
    )
    return sorted((item["exportId"] for item in items), reverse=True)


def _record(real: dict[str, Any], special: dict[str, Any]) -> dict[str, Any]:
    at: datetime = special.pop("at")
    done = at + timedelta(seconds=9)
    has_file = special.pop("file", True)
    named = export_id(at)
    item = {
        **real,
        "sk": f"EXPORT#{named}",
        "exportId": named,
        "createdAt": written(at),
        "updatedAt": written(done),
        "deadline": written(at + timedelta(hours=6)),
        "linkExpiresAt": written(done + LINK_LIFE),
    }
    for key in ("dueState", "dueAt"):
        item.pop(key, None)
    if has_file:
        name = f"marketplace-payouts-{real['tenantId']}-{at.astimezone(timezone.utc):%Y%m%dT%H%M%SZ}.csv"
        item["file"] = {**real["file"], "name": name, "expiresAt": written(done + FILE_RETENTION)}
    else:
        for key in ("file", "linkExpiresAt"):
            item.pop(key)
    # What is None is not there: the tables know no NULL.
    return {name: value for name, value in (item | special).items() if value is not None}
