"""The stacks that the tests share.

Each test has its own tenants and leaves no work in progress. All stacks but `earlier_stack` enforce the template's IAM
policies, so a call without permission fails here as in AWS. After the tests, their logs are searched for secrets and
personal data.

Each test is marked with the stack it uses. `-m plain`, `-m brisk`, `-m timed` and `-m earlier` together run all tests
and can run in parallel.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import description
import earlier
import leaks
from interventions import stop_schedule
from roles import crate_of, unrecorded
from stack import Stack
from tenant import Tenant, await_quiet

# Small, so that a file of a few megabytes has several parts.
BRISK_PART_BYTES = 1 << 18
BRISK_RULES = {"STACK_S3_PART_MINIMUM": str(BRISK_PART_BYTES)}
BRISK_MAX_ATTEMPTS = 2
BRISK_SETTINGS = {
    "create-export": {"RE_ENQUEUE_AFTER": "1s"},
    "generate-export": {
        "LEASE_GRACE": "1s",
        "MAX_ATTEMPTS": str(BRISK_MAX_ATTEMPTS),
        "RETRY_BACKOFF": "1s",
        "PERMANENT_ERROR_WAIT": "1s",
        "RE_ENQUEUE_AFTER": "1s",
        "PART_SIZE": str(BRISK_PART_BYTES),
        "CONTINUE_BEFORE": "1s",
        "COMPLETION_TAKES": "1s",
    },
    "sweep-exports": {"RE_ENQUEUE_AFTER": "1s", "MAX_ATTEMPTS": str(BRISK_MAX_ATTEMPTS)},
}
# The mark of tests that use a fixture. All other tests are plain.
MARKS = {
    "brisk_stack": "brisk",
    "timed_stack": "timed",
    "new_stack": "timed",
    "stacks": "timed",
    "earlier_stack": "earlier",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "plain: needs no stack, or the unchanged template")
    config.addinivalue_line("markers", "brisk: needs a stack with settings in seconds instead of minutes")
    config.addinivalue_line("markers", "timed: waits for a minute, or needs a special stack")
    config.addinivalue_line(
        "markers", "earlier: needs the functions of an earlier commit, which takes minutes to build"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        item.add_marker(next((mark for name, mark in MARKS.items() if name in fixtures), "plain"))


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The unchanged template without scheduled sweeps, because tests compare the whole state before and after."""
    with Stack.start(auth=True) as running:
        stop_schedule(running)
        yield running
        check_stack(running)


@pytest.fixture(scope="session")
def timed_stack() -> Iterator[Stack]:
    """A stack with scheduled sweeps whose e-mails link to its back office, by the template's parameter."""
    with Stack.start(auth=True, linked=True) as running:
        yield running
        check_stack(running)


@pytest.fixture(scope="session")
def brisk_stack() -> Iterator[Stack]:
    """Settings in seconds instead of minutes, small parts, few attempts, and no scheduled sweeps."""
    with Stack.start(auth=True, settings=BRISK_SETTINGS, rules=BRISK_RULES) as running:
        stop_schedule(running)
        yield running
        check_stack(running)


@pytest.fixture(scope="session")
def earlier_stack() -> Iterator[Stack]:
    """A brisk stack for functions of an earlier build as well, whose permissions and calls may differ from today's."""
    if not earlier.is_in_history():
        pytest.skip(earlier.LACKING)
    earlier.build_functions()
    with Stack.start(settings=BRISK_SETTINGS, rules=BRISK_RULES) as running:
        stop_schedule(running)
        yield running


def check_stack(stack: Stack) -> None:
    assert_logs_are_clean(stack)
    assert_calls_are_recorded(stack)
    assert_mails_have_the_configuration_set(stack)


def assert_logs_are_clean(stack: Stack) -> None:
    """Fails the last test that used the stack, whichever test caused the log line."""
    found = leaks.in_logs_of(stack)
    if found:
        pytest.fail(f"{len(found)} log lines leak data or are malformed:\n" + "\n".join(found[:50]), pytrace=False)


def assert_calls_are_recorded(stack: Stack) -> None:
    """Fails if a function made a call whose form is missing from its golden wire requests, or if no call was seen."""
    calls = [(crate_of(role), form) for role, form in stack.calls()]
    assert calls, "no AWS call of a function was seen"
    if found := unrecorded(calls):
        pytest.fail("calls that are missing in shared/aws/golden/wire:\n" + "\n".join(found), pytrace=False)


def assert_mails_have_the_configuration_set(stack: Stack) -> None:
    """The alarms on bounces and complaints count only e-mails of the stack's configuration set."""
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


@pytest.fixture
def earlier_tenant(earlier_stack: Stack, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    yield from _tenant(earlier_stack, request)


def _tenant(stack: Stack, request: pytest.FixtureRequest) -> Iterator[Tenant]:
    name: str = request.node.name
    yield Tenant(stack, name.removeprefix("test_"))
    # A late e-mail or log line would be attributed to the next test.
    await_quiet(stack)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if description.checked:
        terminalreporter.write_line(description.summary())
