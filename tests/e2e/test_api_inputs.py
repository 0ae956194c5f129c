"""What is taken, what is refused, and with which words: every input that a client may get wrong.

The answers are in results/inputs.md, which the documentation shows: this test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import golden
import web
from stack import Stack
from tenant import EXPORTS, Tenant

TABLE = Path(__file__).parent / "results" / "inputs.md"
HEAD = """# Inputs and answers

What the API does with inputs that are easy to get wrong. Made by `test_api_inputs.py`, which fails if an answer differs
from the one it expects; CC is shown as the export keeps it.

| input | status | answer |
|---|---|---|
"""
JSON = {"Content-Type": "application/json"}
KILOBYTE = 1024


@dataclass(frozen=True)
class Input:
    """An input, and what must come of it: a status, and the codes and fields of the errors or the copies kept."""

    what: str
    status: int
    expected: list[Any]
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)


def cc(what: str, status: int, expected: list[Any], addresses: Any) -> Input:
    return Input(what, status, expected, json.dumps({"cc": addresses}, ensure_ascii=False).encode())


def shown(address: str) -> str:
    return f"`{json.dumps(address, ensure_ascii=False)}`"


def taken(what: str, address: str, kept: str | None = None) -> Input:
    return cc(f"{what}, {shown(address)}", 202, [kept or address], [address])


def refused(what: str, address: str) -> Input:
    return cc(f"{what}, {shown(address)}", 400, [("F-E-012", "cc[0]")], [address])


def numbered(count: int) -> list[str]:
    return [f"copy{number}@example.com" for number in range(count)]


FORMAT = "F-E-012"
NOT_JSON = [("UNSUPPORTED_MEDIA_TYPE", None)]
TOO_LARGE = [("PAYLOAD_TOO_LARGE", None)]
BAD_KEY = (FORMAT, "Idempotency-Key")


def typed(content_type: str, status: int, expected: list[Any]) -> Input:
    return Input(f"`{{}}` as {content_type}", status, expected, b"{}", {"Content-Type": content_type})


def text(body: str, expected: list[Any]) -> Input:
    return Input(f"`{body}`", 400, expected, body.encode())


def key(what: str, status: int, expected: list[Any], value: str) -> Input:
    return Input(f"Idempotency-Key {what}", status, expected, None, {"Idempotency-Key": value})


LONGEST = f"{'x' * 60}@{'.'.join(['y' * 30] * 6)}.example"
assert len(LONGEST) == 254

INPUTS = [
    Input("no body, no Content-Type", 202, [], None, {}),
    Input("no body, Content-Type: text/plain", 202, [], None, {"Content-Type": "text/plain"}),
    Input("`{}`", 202, [], b"{}"),
    Input("64 KiB of JSON", 202, [], b"{}" + b" " * (64 * KILOBYTE - 2)),
    Input("64 KiB and a byte", 413, TOO_LARGE, b"{}" + b" " * (64 * KILOBYTE - 1)),
    text("{", [(FORMAT, None)]),
    text("cc=a@example.com", [(FORMAT, None)]),
    text("[]", [(FORMAT, None)]),
    text("null", [(FORMAT, None)]),
    Input("bytes that are no UTF-8", 400, [(FORMAT, "cc[0]")], b'{"cc": ["\xff@example.com"]}'),
    typed("text/plain", 415, NOT_JSON),
    typed("application/x-www-form-urlencoded", 415, NOT_JSON),
    typed("application/json; charset=utf-16", 415, NOT_JSON),
    typed("application/json; charset=utf-8", 202, []),
    text('{"bcc": [], "to": "a@example.com"}', [(FORMAT, "bcc"), (FORMAT, "to")]),
    text('{"cc": [], "cc": []}', [(FORMAT, "cc")]),
    cc("`cc` as a string", 400, [(FORMAT, "cc")], "a@example.com"),
    cc("`cc` as null", 400, [(FORMAT, "cc")], None),
    cc("`cc` with a number and null", 400, [(FORMAT, "cc[0]"), (FORMAT, "cc[1]")], [7, None]),
    cc("0 addresses", 202, [], []),
    cc("49 addresses", 202, numbered(49), numbered(49)),
    cc("50 addresses", 400, [("F-E-010", "cc")], numbered(50)),
    cc("50 addresses, one of them the caller's", 202, numbered(49), [*numbered(49), "caller@example.com"]),
    cc("49 addresses twice, once in capitals", 202, numbered(49), [*numbered(49), *(a.upper() for a in numbered(49))]),
    cc("10,000 addresses that are none, 49 KiB", 400, [(FORMAT, f"cc[{n}]") for n in range(100)], ["a"] * 10_000),
    cc("10,000 addresses, 166 KiB", 413, TOO_LARGE, ["abc@x.example"] * 10_000),
    taken("a plus sign", "finance+payouts@example.com"),
    taken("an apostrophe", "o'brien@example.com"),
    taken("spaces around", "  finance@example.com ", "finance@example.com"),
    taken("capitals", "Finance@Example.COM"),
    taken("a domain in its ASCII form", "info@xn--bcher-kva.example"),
    taken("a local part of 64 characters", f"{'x' * 64}@example.com"),
    refused("a local part of 65 characters", f"{'x' * 65}@example.com"),
    cc("an address of 254 characters", 202, [LONGEST], [LONGEST]),
    cc("an address of 255 characters", 400, [(FORMAT, "cc[0]")], [f"x{LONGEST}"]),
    refused("a quoted local part", '"finance team"@example.com'),
    refused("an IDN domain", "info@bücher.example"),
    refused("a local part that is not ASCII", "josé@example.com"),
    refused("a trailing dot", "finance@example.com."),
    refused("a dot before the @", "finance.@example.com"),
    refused("two dots in a row", "fin..ance@example.com"),
    refused("a line break", "finance@example.com\r\nBcc: eve@example.com"),
    refused("a line break at the end", "finance@example.com\n"),
    refused("a display name", "Finance <finance@example.com>"),
    refused("two addresses in one", "a@example.com,b@example.com"),
    refused("a domain without a dot", "finance@localhost"),
    refused("an address literal", "finance@[192.0.2.1]"),
    refused("no address", ""),
    key("of 255 characters", 202, [], "k" * 255),
    key("of 256 characters", 400, [BAD_KEY], "k" * 256),
    key("that is empty", 400, [BAD_KEY], ""),
    key("that is not ASCII", 400, [BAD_KEY], "clé"),
    Input(
        "Idempotency-Key and body that are wrong", 400, [BAD_KEY, (FORMAT, "cc[0]")],
        b'{"cc":["x"]}', {**JSON, "Idempotency-Key": "clé"},
    ),
]  # fmt: skip

# Query strings of the history: what must come of each.
QUERIES: list[tuple[str, list[tuple[str, str]]]] = [
    ("", []),
    ("status=READY&status=FAILED,EXPIRED", []),
    ("status=&createdFrom=&createdTo=&sort=&size=&cursor=", []),
    ("status=DONE", [("F-E-008", "status")]),
    ("status=ready", [("F-E-008", "status")]),
    ("status=READY,,FAILED", [("F-E-008", "status")]),
    ("createdFrom=2026-10-08&createdTo=2026-10-08", []),
    ("createdFrom=2026-10-08T00:00:00.5Z&createdTo=2026-10-08T23:00:00%2B02:00", []),
    ("createdFrom=2026-10-08T00:00:00+02:00", []),
    ("createdFrom=2026-10-08T00:00:00", [("F-E-012", "createdFrom")]),
    ("createdFrom=08/10/2026", [("F-E-012", "createdFrom")]),
    ("createdFrom=2026-02-30", [("F-E-012", "createdFrom")]),
    ("createdFrom=2026-10-09&createdTo=2026-10-08", [("F-E-006", "createdTo")]),
    ("createdFrom=2026-10-08&createdFrom=2026-10-09", [("F-E-012", "createdFrom")]),
    ("sort=createdAt:asc", []),
    ("sort=createdAt", [("F-E-008", "sort")]),
    ("sort=status:asc", [("F-E-008", "sort")]),
    ("size=1", []),
    ("size=100", []),
    ("size=0", [("F-E-006", "size")]),
    ("size=101", [("F-E-006", "size")]),
    ("size=-1", [("F-E-006", "size")]),
    ("size=99999999999999999999", [("F-E-006", "size")]),
    ("size=ten", [("F-E-012", "size")]),
    ("size=1.5", [("F-E-012", "size")]),
    ("cursor=abc", [("F-E-012", "cursor")]),
    ("page=2", [("F-E-012", "page")]),
    ("%73tatus=RE%41DY", []),
    ("a=%zz&%ff=1", [("F-E-012", "a"), ("F-E-012", "\ufffd")]),
    (
        "status=DONE&createdFrom=soon&sort=x&size=0&cursor=x&page=2",
        [
            ("F-E-008", "status"),
            ("F-E-012", "createdFrom"),
            ("F-E-008", "sort"),
            ("F-E-006", "size"),
            ("F-E-012", "cursor"),
            ("F-E-012", "page"),
        ],
    ),
]


def send(tenant: Tenant, given: Input) -> web.Answer:
    headers = {"dj-client": "OPERATOR", "dj-api-key": tenant.key, **given.headers}
    return web.request("POST", tenant.stack.apiUrl + EXPORTS, headers, given.body)


def errors(answer: web.Answer) -> list[tuple[str, str | None]]:
    return [(error["code"], error.get("field")) for error in answer.json().get("errors", [])]


def row(what: str, answer: web.Answer) -> str:
    content = answer.json()
    if "errors" in content:
        told = [
            f"{e['code']} {'`' + e['field'] + '` ' if 'field' in e else ''}{e['detail']}" for e in content["errors"]
        ]
        shown = told if len(told) <= 6 else [*told[:2], f"… {len(told)} errors in all"]
    elif "recipients" in content:
        kept = content["recipients"]["cc"]
        few = ", ".join(f"`{address}`" for address in kept[:2])
        shown = ["no copies" if not kept else few if len(kept) <= 2 else f"{few}, … {len(kept)} copies"]
    else:
        shown = ["a page"]
    return f"| {what} | {answer.status} | {'<br>'.join(shown).replace('|', chr(92) + '|')} |\n"


@pytest.fixture(scope="module")
def table(stack: Stack) -> dict[str, str]:
    """The rows of the table as the tests below have made them."""
    return {}


@pytest.mark.parametrize("given", INPUTS, ids=lambda given: given.what)
def test_launch_is_taken_or_refused_as_described(stack: Stack, table: dict[str, str], given: Input) -> None:
    tenant = Tenant(stack, "inputs")
    tenant.key = stack.issue_key(tenant.id, "caller@example.com")
    before = tenant.items()
    answer = send(tenant, given)
    assert answer.status == given.status, answer
    if answer.status == 202:
        assert answer.json()["recipients"] == {"to": "caller@example.com", "cc": given.expected}
        tenant.await_status(answer.json()["exportId"], "READY")
    else:
        assert errors(answer) == given.expected
        assert tenant.items() == before
    table[given.what] = row(given.what, answer)


@pytest.mark.parametrize(("query", "expected"), QUERIES, ids=lambda value: value if isinstance(value, str) else "")
def test_history_is_shown_or_refused_as_described(
    tenant: Tenant, table: dict[str, str], query: str, expected: list[tuple[str, str]]
) -> None:
    answer = tenant.call("GET", f"{EXPORTS}?{query}")
    assert answer.status == (400 if expected else 200), answer
    assert errors(answer) == expected
    what = f"history, `?{query}`" if query else "history without a query string"
    table[query] = row(what, answer)


def test_table_of_the_inputs_is_complete(table: dict[str, str]) -> None:
    wanted = [given.what for given in INPUTS] + [query for query, _ in QUERIES]
    if missing := [what for what in wanted if what not in table]:
        pytest.skip(f"made by a run of all inputs; without {len(missing)} of them here")
    golden.compare(TABLE, HEAD + "".join(table[what] for what in wanted))
