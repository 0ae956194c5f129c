"""The export history: filters, sort order and pagination."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from past_exports import DAY_MILLISECONDS, PastExports, days_from_now, failed, milliseconds
from tenant import EXPORTS, Tenant
from web import Response

BEGIN = milliseconds("2026-06-01T12:00:00.000Z")
# The maximum number of exports that a page with a status filter examines.
MAX_EXAMINED = 2000


def list_exports(tenant: Tenant, **parameters: Any) -> Response:
    return tenant.call("GET", f"{EXPORTS}?{urlencode(parameters, doseq=True)}")


def page(tenant: Tenant, **parameters: Any) -> dict[str, Any]:
    response = list_exports(tenant, **parameters)
    assert response.status == 200, response
    found: dict[str, Any] = response.json()
    return found


def pages(tenant: Tenant, **parameters: Any) -> Iterator[list[str]]:
    """The export IDs of each page."""
    cursor = None
    while True:
        found = page(tenant, **parameters, **({"cursor": cursor} if cursor else {}))
        yield [export["exportId"] for export in found["content"]]
        if (cursor := found["nextCursor"]) is None:
            return


def all_ids(tenant: Tenant, **parameters: Any) -> list[str]:
    return [export_id for ids in pages(tenant, **parameters) for export_id in ids]


@pytest.fixture
def past(tenant: Tenant) -> PastExports:
    return PastExports(tenant)


def test_history_lists_details_newest_first_without_links(tenant: Tenant) -> None:
    first = tenant.export(["finance@cc.example"])
    second = tenant.export()
    found = page(tenant)
    assert found["size"] == 20
    assert found["nextCursor"] is None
    for listed, export in zip(found["content"], [second, first], strict=True):
        assert listed == {name: export[name] for name in export if not name.startswith("downloadUrl")}


def test_history_without_exports_is_an_empty_page(tenant: Tenant) -> None:
    assert page(tenant) == {"content": [], "size": 20, "nextCursor": None}


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("sort", ["createdAt:asc", "createdAt:desc"])
def test_pages_in_either_order_are_full_and_contiguous(past: PastExports, sort: str, size: int) -> None:
    past.delete_real_export()
    ids = past.add(BEGIN + number * 1000 for number in range(25))
    found = list(pages(past.tenant, sort=sort, size=size))
    assert [len(ids) for ids in found[:-1]] == [size] * (len(found) - 1)
    assert [export_id for ids in found for export_id in ids] == (ids if sort.endswith("asc") else ids[::-1])


@pytest.mark.parametrize("sort", ["createdAt:asc", "createdAt:desc"])
def test_pages_stay_consistent_while_exports_are_added(past: PastExports, sort: str) -> None:
    past.delete_real_export()
    ids = past.add(BEGIN + number * 1000 for number in range(30))
    seen: list[str] = []
    added: list[str] = []
    for found in pages(past.tenant, sort=sort, size=4):
        seen += found
        if len(added) < 30:
            added += past.add([BEGIN + DAY_MILLISECONDS + len(added) * 1000 + n for n in range(5)])
    assert len(seen) == len(set(seen))
    assert [export_id for export_id in seen if export_id in ids] == (ids if sort.endswith("asc") else ids[::-1])
    # New exports follow in ascending order; in descending order they precede the first page.
    assert seen[30:] == (added if sort.endswith("asc") else [])


def test_status_filter_accepts_every_notation(past: PastExports) -> None:
    past.delete_real_export()
    ready = past.add([BEGIN + 1])
    failures = past.add([BEGIN + 2], **failed())
    expired = past.add([BEGIN + 3], status="EXPIRED")
    tenant = past.tenant
    assert all_ids(tenant, status="READY") == ready
    assert all_ids(tenant, status=["FAILED", "EXPIRED"]) == expired + failures
    assert all_ids(tenant, status="FAILED,EXPIRED") == expired + failures
    assert all_ids(tenant, status=["FAILED,READY", "FAILED"]) == failures + ready
    assert all_ids(tenant, status="PENDING") == []
    assert all_ids(tenant, status="") == expired + failures + ready


def test_ready_export_with_expired_link_is_listed_as_expired(past: PastExports) -> None:
    past.delete_real_export()
    (overdue,) = past.add([BEGIN], linkExpiresAt=days_from_now(-1))
    (ready,) = past.add([BEGIN + 1])
    assert all_ids(past.tenant, status="READY") == [ready]
    (shown,) = page(past.tenant, status="EXPIRED")["content"]
    assert (shown["exportId"], shown["status"]) == (overdue, "EXPIRED")
    assert past.tenant.record(overdue)["status"] == "READY"


def test_created_range_is_inclusive_and_a_date_is_a_whole_day(past: PastExports) -> None:
    past.delete_real_export()
    moments = [
        "2026-06-01T23:59:59.999Z", "2026-06-02T00:00:00.000Z", "2026-06-02T12:00:00.000Z",
        "2026-06-02T23:59:59.999Z", "2026-06-03T00:00:00.000Z",
    ]  # fmt: skip
    ids = past.add(milliseconds(moment) for moment in moments)
    for parameters, expected in (
        ({"createdAtFrom": "2026-06-02", "createdAtTo": "2026-06-02"}, ids[1:4]),
        ({"createdAtFrom": "2026-06-02T12:00:00Z"}, ids[2:]),
        ({"createdAtFrom": "2026-06-02T12:00:00.001Z"}, ids[3:]),
        ({"createdAtTo": "2026-06-02T12:00:00.000Z"}, ids[:3]),
        ({"createdAtTo": "2026-06-02T11:59:59.999Z"}, ids[:2]),
        ({"createdAtFrom": "2026-06-02T14:00:00+02:00", "createdAtTo": "2026-06-02T07:00:00-05:00"}, ids[2:3]),
        ({"createdAtFrom": "2026-06-02T12:00:00.0000001Z"}, ids[3:]),
        ({"createdAtTo": "2026-06-02T23:59:59Z"}, ids[:4]),
        ({"createdAtFrom": "2026-06-02T12:00:00.0001Z", "createdAtTo": "2026-06-02T12:00:00.0002Z"}, []),
        ({"createdAtTo": "2026-05-31"}, []),
        ({"createdAtFrom": "9999-12-31"}, []),
        ({"createdAtFrom": "0000-01-01", "createdAtTo": "9999-12-31"}, ids),
        ({"createdAtFrom": "", "createdAtTo": ""}, ids),
    ):
        assert all_ids(past.tenant, sort="createdAt:asc", **parameters) == expected, parameters


def test_plus_sign_of_an_offset_is_accepted_encoded_or_not(past: PastExports) -> None:
    past.delete_real_export()
    (export_id,) = past.add([milliseconds("2026-06-02T12:00:00.000Z")])
    for plus in ("%2B", "+"):
        path = f"{EXPORTS}?createdAtFrom=2026-06-02T14:00:00{plus}02:00&createdAtTo=2026-06-02T14:00:00{plus}02:00"
        response = past.tenant.call("GET", path)
        assert [export["exportId"] for export in response.json()["content"]] == [export_id], plus


def test_sparse_filter_continues_after_the_examination_limit(past: PastExports) -> None:
    past.delete_real_export()
    count = MAX_EXAMINED + 600
    wanted = {3, 700, MAX_EXAMINED - 1, MAX_EXAMINED, count - 1}
    others = past.add(BEGIN + number for number in range(count) if number not in wanted)
    ids = [past.add([BEGIN + number], **failed())[0] for number in sorted(wanted)]
    assert len(others) + len(ids) == count
    found = list(pages(past.tenant, status="FAILED", sort="createdAt:asc", size=10))
    assert found == [ids[:3], ids[3:]]
    found = list(pages(past.tenant, status="FAILED", size=2))
    assert [export_id for ids in found for export_id in ids] == ids[::-1]
    # Without any match, all pages are empty.
    assert all_ids(past.tenant, status="PENDING") == []


def test_cursor_is_bound_to_tenant_filters_and_order_not_size(past: PastExports) -> None:
    past.delete_real_export()
    ids = past.add(BEGIN + number * 1000 for number in range(5))
    tenant = past.tenant
    cursor = page(tenant, size=2)["nextCursor"]
    rest = page(tenant, size=100, cursor=cursor)
    assert [export["exportId"] for export in rest["content"]] == ids[2::-1]
    stranger = Tenant(tenant.stack, "stranger with a cursor")
    responses = [
        list_exports(tenant, cursor=cursor, status="READY"),
        list_exports(tenant, cursor=cursor, sort="createdAt:asc"),
        list_exports(tenant, cursor=cursor, createdAtFrom="2026-01-01"),
        list_exports(tenant, cursor=cursor, createdAtTo="2026-12-31"),
        list_exports(stranger, cursor=cursor),
        list_exports(tenant, cursor=cursor[:-1] + ("0" if cursor[-1] != "0" else "1")),
        list_exports(tenant, cursor=("0" if cursor[0] != "0" else "1") + cursor[1:]),
        list_exports(tenant, cursor=cursor[:-1]),
        list_exports(tenant, cursor=ids[0]),
        list_exports(tenant, cursor="x" * 2000),
    ]
    for response in responses:
        (error,) = response.json()["errors"]
        assert (response.status, error["code"], error["field"]) == (400, "F-E-012", "cursor"), response
