"""Bounded waits that report the last state when they fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeVar

import pytest

POLL_SECONDS = 0.05
# Waits take a second or two on an idle machine. The limit is for a busy one.
SECONDS = 90.0

T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T], seconds: float = SECONDS, seen: Callable[[], str] = lambda: "") -> T:
    """Returns the first true value of `probe`. Fails the test after `seconds` and reports what `seen` returns."""
    deadline = time.monotonic() + seconds
    while not (value := probe()):
        if time.monotonic() > deadline:
            pytest.fail(f"timed out after {seconds:g} s waiting for {what}\n{seen()}".rstrip(), pytrace=False)
        time.sleep(POLL_SECONDS)
    return value


def now() -> str:
    """The time as stored and returned by the API. Its text order is its time order."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
