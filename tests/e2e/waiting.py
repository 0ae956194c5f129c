"""Waiting with a bound, and with what was seen when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeVar

import pytest

POLL_SECONDS = 0.05
# What tests wait for takes a second or two on an idle machine. This is for one that is busy with something else.
SECONDS = 90.0

T = TypeVar("T")


def wait_for(what: str, probe: Callable[[], T], seconds: float = SECONDS, seen: Callable[[], str] = lambda: "") -> T:
    """The first true value of `probe`. Fails the test after `seconds`, with what was `seen` then."""
    deadline = time.monotonic() + seconds
    while not (value := probe()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited for {what}, in vain for {seconds:g} s\n{seen()}".rstrip(), pytrace=False)
        time.sleep(POLL_SECONDS)
    return value


def now() -> str:
    """The time in the form of tables and answers, whose order as text is the order in time."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
