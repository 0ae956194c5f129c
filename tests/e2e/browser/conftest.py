"""A real Chromium: Debian's, which Playwright drives."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, expect, sync_playwright

from chromium import flags, program
from office import Office, Opener
from stack import Stack
from tenant import Tenant

# What the page does takes a second or two on an idle machine. This is for one that is busy with something else.
PATIENCE_MS = 90_000
# Chromium says this of every answer that is not a success; whether one is right, the tests decide.
ORDINARY = "Failed to load resource"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program(), args=flags())
        yield browser
        browser.close()


@pytest.fixture
def open_office(chromium: Browser, stack: Stack) -> Iterator[Opener]:
    """Opens the back office in a session of its own, signed in if a tenant is given. Whatever the page's code or the
    browser complains of fails the test."""
    complaints: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and ORDINARY not in message.text:
            complaints.append(message.text)

    def opened(
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
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        if has_clock:
            # Time passes as ever, until a test stops it.
            page.clock.install()
        page.on("console", note)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto((url or stack.backOfficeUrl) + query)
        office = Office(page)
        if tenant:
            office.sign_in(tenant.key)
            office.expect_loaded()
        return office

    yield opened
    for context in chromium.contexts:
        context.close()
    assert complaints == []
