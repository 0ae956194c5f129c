"""The stacks that the tests share.

Each test has tenants of its own, and leaves its stack without work under way. All stacks enforce the template's IAM
policies: what a function may not do fails here as it would in AWS. At the end the logs of all that happened are
searched for what no log may hold.

Each test is marked with the stack that it uses: `-m plain`, `-m brisk` and `-m timed` are three runs that together are
all tests, and can go on side by side.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import description
import leaks
from interventions import stop_schedule
from roles import crate_of, unrecorded
from stack import Stack
from tenant import Tenant, await_quiet

# Small, so that a file of some megabytes has several parts.
BRISK_PART_BYTES = 1 << 18
BRISK_RULES = {"STACK_S3_PART_MINIMUM": str(BRISK_PART_BYTES)}
BRISK_MAX_TRIES = 2
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
# By fixture: how tests that use it are marked. All others are plain.
MARKS = {"brisk_stack": "brisk", "timed_stack": "timed", "new_stack": "timed", "stacks": "timed"}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plain: needs no stack, or the template as it is")
    config.addinivalue_line("markers", "brisk: needs a stack with seconds where there are minutes")
    config.addinivalue_line("markers", "timed: waits for what takes a minute, or needs a stack of another kind")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        item.add_marker(next((mark for name, mark in MARKS.items() if name in fixtures), "plain"))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The template as it is, with no parameter or setting changed, but no sweep other than those that a test asks for:
    tests compare all that there is before and after."""
    with Stack.start(auth=True) as running:
        stop_schedule(running)
        yield running
        assert_behaved(running)


@pytest.fixture(scope="session")
def timed_stack() -> Iterator[Stack]:
    """One whose schedule runs, and that is told where its page is, by the template's parameter."""
    with Stack.start(auth=True, linked=True) as running:
        yield running
        assert_behaved(running)


@pytest.fixture(scope="session")
def brisk_stack() -> Iterator[Stack]:
    """Seconds where there are minutes, small parts, few tries, and no sweep but those that a test asks for."""
    with Stack.start(auth=True, settings=BRISK_SETTINGS, rules=BRISK_RULES) as running:
        stop_schedule(running)
        yield running
        assert_behaved(running)


def assert_behaved(stack: Stack) -> None:
    assert_logs_tell_nothing(stack)
    assert_calls_are_recorded(stack)
    assert_mails_have_the_configuration_set(stack)


def assert_logs_tell_nothing(stack: Stack) -> None:
    """Fails the last test that used the stack, whichever it was that brought a log line about."""
    found = leaks.of_stack(stack)
    if found:
        pytest.fail(f"{len(found)} log lines tell too much, or are none:\n" + "\n".join(found[:50]), pytrace=False)


def assert_calls_are_recorded(stack: Stack) -> None:
    """Fails if a function made a call whose form no test in process records for it."""
    if found := unrecorded((crate_of(role), form) for role, form in stack.calls()):
        pytest.fail("calls that shared/aws/golden/wire does not have:\n" + "\n".join(found), pytrace=False)


def assert_mails_have_the_configuration_set(stack: Stack) -> None:
    """What the alarms on bounces and complaints count is the mails of the stack's configuration set."""
    assert {mail.configuration_set for mail in stack.mails()} <= {stack.configurationSet}


@pytest.fixture
def tenant(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    yield from _tenant(stack, request)


@pytest.fixture
def timed_tenant(timed_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    yield from _tenant(timed_stack, request)


@pytest.fixture
def brisk_tenant(brisk_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    yield from _tenant(brisk_stack, request)


def _tenant(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    name: str = request.node.name
    yield Tenant(stack, name.removeprefix("test_"))
    # A mail or a log line that comes late would be taken for the next test's.
    await_quiet(stack)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if description.held:
        terminalreporter.write_line(description.summary())
