"""The options of the sweep over faults, the stack its cases share, and the table at the end."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import golden
from build import TARGET
from case import Bench
from interventions import stop_schedule
from stack import Stack
from sweep import Choice, Results, Sweep

# How many pairs of faults each flow has.
PAIRS = 1
PAIRS_OF_THE_WHOLE = 25
# Flows with several parts upload each row as one.
ONE_BYTE_PARTS = {"STACK_S3_PART_MINIMUM": "1"}
RESULTS = Path(__file__).with_name("results") / "faults.md"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="every fault at every call, instead of some by chance")
    parser.addoption("--seed", type=int, help="which faults are chosen (default: another each time; it is printed)")
    parser.addoption(
        "--pairs",
        type=int,
        help=f"how many pairs of faults in each flow (default: {PAIRS}, or {PAIRS_OF_THE_WHOLE} of the whole)",
    )


def pytest_configure(config: pytest.Config) -> None:
    seed = config.getoption("--seed")
    config.stash[RESULTS_KEY] = Results(random.SystemRandom().randrange(1_000_000) if seed is None else seed)


RESULTS_KEY = pytest.StashKey[Results]()


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest) -> Results:
    return request.config.stash[RESULTS_KEY]


@pytest.fixture(scope="session")
def bench() -> Iterator[Bench]:
    # On the file system that the programs are on, so that they can be linked.
    with tempfile.TemporaryDirectory(dir=TARGET) as folder, Stack.start(rules=ONE_BYTE_PARTS) as stack:
        stop_schedule(stack)
        yield Bench(stack, Path(folder))


@pytest.fixture(scope="session")
def sweep(bench: Bench, results: Results, request: pytest.FixtureRequest) -> Iterator[Sweep]:
    """Begun at once for all tests that are to run."""
    whole, count = request.config.getoption("--whole"), request.config.getoption("--pairs")
    if count is None:
        count = PAIRS_OF_THE_WHOLE if whole else PAIRS
    chosen = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    parts = [parameters["part"] for parameters in chosen if "part" in parameters]
    sweep = Sweep(bench, parts, Choice(whole, results.seed, count))
    try:
        yield sweep
    finally:
        sweep.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    results = config.stash[RESULTS_KEY]
    if not results.all:
        return
    whole = config.getoption("--whole")
    lines = [*results.table(), "", *results.by_fault()]
    terminalreporter.section(f"faults, seed {results.seed}")
    for line in lines:
        terminalreporter.write_line(line)
    injected = sum(result.injected for result in results.all)
    violations = sum(len(result.problems) for result in results.all)
    terminalreporter.write_line(f"{injected} faults injected, {violations} violations (--seed {results.seed})")
    if whole and golden.IS_UPDATE and not config.getoption("keyword"):
        RESULTS.parent.mkdir(exist_ok=True)
        head = [
            "# Faults",
            "",
            f"Written by `tests/run faults --whole --update`; seed {results.seed}. {injected} faults injected, "
            f"{violations} violations. Not met: of a pair, one fault may keep the other's call from being made; "
            "and where the generator runs out of time, the machine's load decides how many calls there are.",
            "",
        ]
        RESULTS.write_text("\n".join([*head, *lines, ""]), encoding="utf-8")
