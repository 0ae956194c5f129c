"""The stacks that the tests share.

Tests use tenants of their own, so that they do not meet. Both stacks enforce the template's IAM policies: what a
function may not do fails here as it would in AWS. At the end the logs of all that happened are searched for what no log
may hold.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import description
import leaks
from interventions import change_function, stop_schedule
from stack import Stack
from tenant import Tenant

# Small, so that a file of some megabytes has several parts.
BRISK_PART_BYTES = 1 << 18
BRISK_RULES = {"STACK_S3_PART_MINIMUM": str(BRISK_PART_BYTES)}
BRISK_MAX_TRIES = 2
BRISK_TIMEOUT_SECONDS = 6
BRISK_SETTINGS = {
    "create-export": {"RING_AFTER": "1s"},
    "generate-export": {
        "LEASE_GRACE": "1s",
        "MAX_TRIES": str(BRISK_MAX_TRIES),
        "RETRY_BACKOFF": "1s",
        "PERMANENT_ERROR_WAIT": "1s",
        "RING_AFTER": "1s",
        "PART_SIZE": str(BRISK_PART_BYTES),
        "HAND_OVER_BEFORE": "1s",
        "COMPLETION_TAKES": "1s",
    },
    "sweep-exports": {"RING_AFTER": "1s", "MAX_TRIES": str(BRISK_MAX_TRIES)},
}


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The template as it is, with no parameter or setting changed."""
    with Stack.start(auth=True) as running:
        yield running
        assert_logs_tell_nothing(running)
        assert_mails_have_the_configuration_set(running)


@pytest.fixture(scope="session")
def brisk_stack() -> Iterator[Stack]:
    """Seconds where there are minutes, small parts, few tries, and no sweep but those that a test asks for."""
    with Stack.start(auth=True, settings=BRISK_SETTINGS, rules=BRISK_RULES) as running:
        stop_schedule(running)
        change_function(running, "generate-export", Timeout=BRISK_TIMEOUT_SECONDS)
        yield running
        assert_logs_tell_nothing(running)
        assert_mails_have_the_configuration_set(running)


def assert_logs_tell_nothing(stack: Stack) -> None:
    """Fails the last test that used the stack, whichever it was that brought a log line about."""
    found = leaks.of_stack(stack)
    if found:
        pytest.fail(f"{len(found)} log lines tell too much, or are none:\n" + "\n".join(found[:50]), pytrace=False)


def assert_mails_have_the_configuration_set(stack: Stack) -> None:
    """What the alarms on bounces and complaints count is the mails of the stack's configuration set."""
    assert {mail.configuration_set for mail in stack.mails()} <= {stack.configurationSet}


@pytest.fixture
def tenant(stack: Stack, request: pytest.FixtureRequest) -> Tenant:
    return Tenant(stack, _subject(request))


@pytest.fixture
def brisk_tenant(brisk_stack: Stack, request: pytest.FixtureRequest) -> Tenant:
    return Tenant(brisk_stack, _subject(request))


def _subject(request: pytest.FixtureRequest) -> str:
    name: str = request.node.name
    return name.removeprefix("test_")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if description.held:
        terminalreporter.write_line(description.summary())
