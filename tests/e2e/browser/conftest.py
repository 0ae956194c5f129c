"""Debian's Chromium, driven by Playwright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect, sync_playwright

from chromium import flags, program
from office import Office, Opener
from stack import Stack
from tenant import Tenant

# The page responds within a second or two on an idle machine. The limit is for a busy one.
TIMEOUT_MS = 90_000
# Chromium logs this for every error response. The tests check the responses themselves.
IGNORED_MESSAGE = "Failed to load resource"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=flags())
        yield browser
        browser.close()


@pytest.fixture
def open_office(chromium: Browser, stack: Stack) -> Iterator[Opener]:
    """Opens the back office in a new session, signed in if a tenant is given. Script errors, and errors and warnings
    on the console, fail the test."""
    errors: list[str] = []

    def record(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and IGNORED_MESSAGE not in message.text:
            errors.append(message.text)

    def open_page(
        tenant: Tenant | None = None,
        query: str = "",
        width: int = 1280,
        height: int = 860,
        url: str = "",
        browser: Browser = chromium,
        has_clock: bool = False,
        **options: Any,
    ) -> Office:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            locale="en-GB",
            **{"timezone_id": "Europe/Paris", "permissions": ["clipboard-read", "clipboard-write"], **options},
        )
        context.set_default_timeout(TIMEOUT_MS)
        # Of every page of the context.
        context.on("console", record)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        page = context.new_page()
        if has_clock:
            # Time runs normally until a test pauses it.
            page.clock.install()
        page.goto((url or stack.backOfficeUrl) + query)
        office = Office(page)
        if tenant:
            office.sign_in(tenant.key)
            office.expect_loaded()
        return office

    yield open_page
    for context in chromium.contexts:
        context.close()
    assert errors == []
