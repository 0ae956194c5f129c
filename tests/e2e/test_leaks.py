"""The search through the logs of the whole run, itself tried: what it must find, and what it must pass over."""

from __future__ import annotations

import hashlib
import json

import pytest

import leaks
from tenant import Tenant, link_in

KEY = "k" * 64
KNOWN = leaks.Known(frozenset({hashlib.sha256(KEY.encode()).hexdigest()}), frozenset({"Sample Operator", "AKIASECRET"}))


def event(text: str) -> str:
    return json.dumps({"timestamp": "2026-11-22T15:41:25.249981Z", "level": "INFO", "message": text})


@pytest.mark.parametrize(
    "line",
    [
        event("sent to finance@copies.example"),
        event("sent to o'brien+x@sub.copies.example."),
        event(f"key {KEY}"),
        event(f"hash {hashlib.sha256(KEY.encode()).hexdigest()}"),
        event("asked by Sample Operator"),
        event("signed by AKIASECRET"),
        event("https://bucket.example/exports/a/b/1.csv?X-Amz-Expires=9"),
        event("x-amz-signature=0123"),
        "START RequestId: 1-2 Version: $LATEST finance@copies.example",
        "a line of no form",
        '{"level":"ERROR"} and more',
        '"a JSON text"',
    ],
)
def test_line_that_tells_too_much_or_is_no_event_is_found(line: str) -> None:
    assert len(list(leaks.leaks([line], KNOWN))) == 1


@pytest.mark.parametrize(
    "line",
    [
        event("export accepted"),
        event(f"sha256 {'0' * 64}"),
        event("from exports@marketplace.example"),
        "START RequestId: c2d681b8-ee31 Version: $LATEST",
        "END RequestId: c2d681b8-ee31",
        "REPORT RequestId: c2d681b8-ee31\tDuration: 256 ms\tBilled Duration: 256 ms\n",
    ],
)
def test_line_without_anything_of_the_kind_is_passed_over(line: str) -> None:
    assert list(leaks.leaks([line], KNOWN)) == []


def test_what_a_stack_has_is_known_to_the_search(tenant: Tenant) -> None:
    tenant.export()
    known = leaks.known_of(tenant.stack)
    link = link_in(tenant.mail())
    for text in (tenant.email, tenant.key, hashlib.sha256(tenant.key.encode()).hexdigest(), link, "Sample Operator"):
        assert list(leaks.leaks([event(f"look: {text}")], known)), text
    assert leaks.of_stack(tenant.stack) == []
