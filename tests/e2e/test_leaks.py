"""The search for leaks in logs: what it must find and what it must ignore."""

from __future__ import annotations

import hashlib
import json

import pytest

import leaks
from tenant import Tenant, link_in

KEY = "k" * 64
SECRETS = leaks.Secrets(
    frozenset({hashlib.sha256(KEY.encode()).hexdigest()}), frozenset({"Sample Operator", "AKIASECRET"})
)


def event(text: str) -> str:
    return json.dumps({"timestamp": "2026-11-22T15:41:25.249981Z", "level": "INFO", "message": text})


@pytest.mark.parametrize(
    "line",
    [
        event("sent to finance@cc.example"),
        event("sent to o'brien+x@sub.cc.example."),
        event(f"key {KEY}"),
        event(f"hash {hashlib.sha256(KEY.encode()).hexdigest()}"),
        event("requested by Sample Operator"),
        event("signed by AKIASECRET"),
        event("https://bucket.example/exports/a/b/1.csv?X-Amz-Expires=9"),
        event("x-amz-signature=0123"),
        "START RequestId: 1-2 Version: $LATEST finance@cc.example",
        "a malformed line",
        '{"level":"ERROR"} and more',
        '"a JSON text"',
    ],
)
def test_line_with_a_secret_or_without_an_event_is_found(line: str) -> None:
    assert len(list(leaks.leaks([line], SECRETS))) == 1


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
def test_harmless_line_is_ignored(line: str) -> None:
    assert list(leaks.leaks([line], SECRETS)) == []


def test_secrets_of_a_stack_are_found(tenant: Tenant) -> None:
    tenant.export()
    secrets = leaks.secrets_of(tenant.stack)
    link = link_in(tenant.mail())
    for text in (tenant.email, tenant.key, hashlib.sha256(tenant.key.encode()).hexdigest(), link, "Sample Operator"):
        assert list(leaks.leaks([event(f"text: {text}")], secrets)), text
    assert leaks.in_logs_of(tenant.stack) == []
