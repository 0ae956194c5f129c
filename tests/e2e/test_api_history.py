"""The history of exports: filters, order, and pages that join."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from past_exports import DAY_MILLISECONDS, PastExports, failed, in_days, milliseconds
from tenant import EXPORTS, Tenant
from web import Answer

BEGIN = milliseconds("2026-06-01T12:00:00.000Z")
# What a page with a status filter looks at, at most.
BUDGET = 2000


def listing(tenant: Tenant, **parameters: Any) -> Answer:
    return tenant.call("GET", f"{EXPORTS}?{urlencode(parameters, doseq=True)}")


def page(tenant: Tenant, **parameters: Any) -> dict[str, Any]:
    answer = listing(tenant, **parameters)
    assert answer.status == 200, answer
    found: dict[str, Any] = answer.json()
    return found


def pages(tenant: Tenant, **parameters: Any) -> Iterator[list[str]]:
    """The ids of each page, to the last."""
    cursor = None
    while True:
        found = page(tenant, **parameters, **({"cursor": cursor} if cursor else {}))
        yield [export["exportId"] for export in found["content"]]
        if (cursor := found["nextCursor"]) is None:
            return


def everything(tenant: Tenant, **parameters: Any) -> list[str]:
    return [export_id for ids in pages(tenant, **parameters) for export_id in ids]


@pytest.fixture
def past(tenant: Tenant) -> PastExports:
    return PastExports(tenant)


def test_history_shows_exports_newest_first_as_their_details_do_but_without_links(tenant: Tenant) -> None:
    first = tenant.export(["finance@copies.example"])
    second = tenant.export()
    found = page(tenant)
    assert found["size"] == 20
    assert found["nextCursor"] is None
    for listed, export in zip(found["content"], [second, first], strict=True):
        assert listed == {name: export[name] for name in export if not name.startswith("downloadUrl")}


def test_history_of_a_tenant_without_exports_is_an_empty_page(tenant: Tenant) -> None:
    assert page(tenant) == {"content": [], "size": 20, "nextCursor": None}


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("sort", ["createdAt:asc", "createdAt:desc"])
def test_pages_are_full_and_join_in_either_order(past: PastExports, sort: str, size: int) -> None:
    past.forget_the_real_one()
    ids = past.add(BEGIN + number * 1000 for number in range(25))
    found = list(pages(past.tenant, sort=sort, size=size))
    assert [len(ids) for ids in found[:-1]] == [size] * (len(found) - 1)
    assert [export_id for ids in found for export_id in ids] == (ids if sort.endswith("asc") else ids[::-1])


@pytest.mark.parametrize("sort", ["createdAt:asc", "createdAt:desc"])
def test_no_export_is_missing_or_there_twice_while_others_are_added(past: PastExports, sort: str) -> None:
    past.forget_the_real_one()
    ids = past.add(BEGIN + number * 1000 for number in range(30))
    seen: list[str] = []
    added: list[str] = []
    for found in pages(past.tenant, sort=sort, size=4):
        seen += found
        if len(added) < 30:
            added += past.add([BEGIN + DAY_MILLISECONDS + len(added) * 1000 + n for n in range(5)])
    assert len(seen) == len(set(seen))
    assert [export_id for export_id in seen if export_id in ids] == (ids if sort.endswith("asc") else ids[::-1])
    # Those that were added later come where the order has them: at the end, or before where the reading began.
    assert seen[30:] == (added if sort.endswith("asc") else [])


def test_statuses_are_selected_however_they_are_written(past: PastExports) -> None:
    past.forget_the_real_one()
    ready = past.add([BEGIN + 1])
    gone = past.add([BEGIN + 2], **failed())
    expired = past.add([BEGIN + 3], status="EXPIRED")
    tenant = past.tenant
    assert everything(tenant, status="READY") == ready
    assert everything(tenant, status=["FAILED", "EXPIRED"]) == expired + gone
    assert everything(tenant, status="FAILED,EXPIRED") == expired + gone
    assert everything(tenant, status=["FAILED,READY", "FAILED"]) == gone + ready
    assert everything(tenant, status="PENDING") == []
    assert everything(tenant, status="") == expired + gone + ready


def test_ready_export_past_its_links_end_shows_filters_and_counts_as_expired(past: PastExports) -> None:
    past.forget_the_real_one()
    (overdue,) = past.add([BEGIN], linkExpiresAt=in_days(-1))
    (ready,) = past.add([BEGIN + 1])
    assert everything(past.tenant, status="READY") == [ready]
    (shown,) = page(past.tenant, status="EXPIRED")["content"]
    assert (shown["exportId"], shown["status"]) == (overdue, "EXPIRED")
    assert past.tenant.record(overdue)["status"] == "READY"


def test_both_ends_of_the_range_belong_to_it_and_a_date_means_the_whole_day(past: PastExports) -> None:
    past.forget_the_real_one()
    moments = [
        "2026-06-01T23:59:59.999Z", "2026-06-02T00:00:00.000Z", "2026-06-02T12:00:00.000Z",
        "2026-06-02T23:59:59.999Z", "2026-06-03T00:00:00.000Z",
    ]  # fmt: skip
    ids = past.add(milliseconds(moment) for moment in moments)
    for parameters, expected in (
        ({"createdFrom": "2026-06-02", "createdTo": "2026-06-02"}, ids[1:4]),
        ({"createdFrom": "2026-06-02T12:00:00Z"}, ids[2:]),
        ({"createdFrom": "2026-06-02T12:00:00.001Z"}, ids[3:]),
        ({"createdTo": "2026-06-02T12:00:00.000Z"}, ids[:3]),
        ({"createdTo": "2026-06-02T11:59:59.999Z"}, ids[:2]),
        ({"createdFrom": "2026-06-02T14:00:00+02:00", "createdTo": "2026-06-02T07:00:00-05:00"}, ids[2:3]),
        ({"createdFrom": "2026-06-02T12:00:00.0000001Z"}, ids[3:]),
        ({"createdTo": "2026-05-31"}, []),
        ({"createdFrom": "9999-12-31"}, []),
        ({"createdFrom": "0000-01-01", "createdTo": "9999-12-31"}, ids),
        ({"createdFrom": "", "createdTo": ""}, ids),
    ):
        assert everything(past.tenant, sort="createdAt:asc", **parameters) == expected, parameters


def test_plus_of_an_offset_is_understood_encoded_or_not(past: PastExports) -> None:
    past.forget_the_real_one()
    (export_id,) = past.add([milliseconds("2026-06-02T12:00:00.000Z")])
    for plus in ("%2B", "+"):
        path = f"{EXPORTS}?createdFrom=2026-06-02T14:00:00{plus}02:00&createdTo=2026-06-02T14:00:00{plus}02:00"
        answer = past.tenant.call("GET", path)
        assert [export["exportId"] for export in answer.json()["content"]] == [export_id], plus


def test_sparse_filter_reads_within_its_budget_and_goes_on_from_there(past: PastExports) -> None:
    past.forget_the_real_one()
    count = BUDGET + 600
    wanted = {3, 700, BUDGET - 1, BUDGET, count - 1}
    others = past.add(BEGIN + number for number in range(count) if number not in wanted)
    ids = [past.add([BEGIN + number], **failed())[0] for number in sorted(wanted)]
    assert len(others) + len(ids) == count
    found = list(pages(past.tenant, status="FAILED", sort="createdAt:asc", size=10))
    assert found == [ids[:3], ids[3:]]
    found = list(pages(past.tenant, status="FAILED", size=2))
    assert [export_id for ids in found for export_id in ids] == ids[::-1]
    # None at all is told as well, in pages without content.
    assert everything(past.tenant, status="PENDING") == []


def test_cursor_goes_with_its_tenant_filters_and_order_but_any_size(past: PastExports) -> None:
    past.forget_the_real_one()
    ids = past.add(BEGIN + number * 1000 for number in range(5))
    tenant = past.tenant
    cursor = page(tenant, size=2)["nextCursor"]
    rest = page(tenant, size=100, cursor=cursor)
    assert [export["exportId"] for export in rest["content"]] == ids[2::-1]
    stranger = Tenant(tenant.stack, "stranger with a cursor")
    refused = [
        listing(tenant, cursor=cursor, status="READY"),
        listing(tenant, cursor=cursor, sort="createdAt:asc"),
        listing(tenant, cursor=cursor, createdFrom="2026-01-01"),
        listing(tenant, cursor=cursor, createdTo="2026-12-31"),
        listing(stranger, cursor=cursor),
        listing(tenant, cursor=cursor[:-1] + ("0" if cursor[-1] != "0" else "1")),
        listing(tenant, cursor=("0" if cursor[0] != "0" else "1") + cursor[1:]),
        listing(tenant, cursor=cursor[:-1]),
        listing(tenant, cursor=ids[0]),
        listing(tenant, cursor="x" * 2000),
    ]
    for answer in refused:
        (error,) = answer.json()["errors"]
        assert (answer.status, error["code"], error["field"]) == (400, "F-E-012", "cursor"), answer
