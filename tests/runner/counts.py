"""Parses the output of test tools: passed, failed and skipped tests, reasons and durations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_NEXTEST = re.compile(r"^\s*Summary \[.*\] +(\d+)(?:/\d+)? tests? run: (\d+) passed.*?(?:, (\d+) skipped)?$", re.M)
_NEXTEST_TEST = re.compile(r"^\s*(?:PASS|FAIL|LEAK|TIMEOUT) \[ *([\d.]+)s\] (?:\([^)]*\) )?(\S+) (.+)$", re.M)
_CARGO_TEST = re.compile(r"^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored", re.M)
# Pytest's last line. The project's own scripts print the same format.
_PYTEST = re.compile(r"^=+ (.* in [\d.]+s.*) =+$", re.M)
_PYTEST_COUNT = re.compile(r"(\d+) (passed|failed|error|skipped)")
_PYTEST_SKIP = re.compile(r"^SKIPPED \[\d+\] (.*)$", re.M)
_PYTEST_PHASE = re.compile(r"^([\d.]+)s (setup|call|teardown) +(\S.*)$", re.M)


@dataclass
class Counts:
    """The outcome of tests."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    # Why tests were skipped.
    skips: list[str] = field(default_factory=list)
    # Seconds and name. With pytest, only tests of a second or more.
    tests: list[tuple[float, str]] = field(default_factory=list)
    # Seconds in fixtures, which start the stacks.
    fixtures: float = 0.0

    def __iadd__(self, other: Counts) -> Counts:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.skips += other.skips
        self.tests += other.tests
        self.fixtures += other.fixtures
        return self

    @property
    def total(self) -> int:
        return self.passed + self.failed + self.skipped


def read(output: str) -> Counts:
    """Parses the output of nextest, cargo test, pytest, or a script that prints pytest's format."""
    text, counts = _COLOURS.sub("", output), Counts()
    for ran, good, left_out in _NEXTEST.findall(text):
        counts += Counts(int(good), int(ran) - int(good), int(left_out or 0))
        if left_out:
            counts.skips.append(f"{left_out} ignored, which take minutes: only with --whole")
    for good, bad, ignored in _CARGO_TEST.findall(text):
        counts += Counts(int(good), int(bad), int(ignored))
    for line in _PYTEST.findall(text):
        found = {kind: int(number) for number, kind in _PYTEST_COUNT.findall(line)}
        failed = found.get("failed", 0) + found.get("error", 0)
        counts += Counts(found.get("passed", 0), failed, found.get("skipped", 0))
    counts.skips += _PYTEST_SKIP.findall(text)
    counts.tests += [(float(seconds), f"{binary} {test}") for seconds, binary, test in _NEXTEST_TEST.findall(text)]
    for seconds, phase, test in _PYTEST_PHASE.findall(text):
        if phase == "call":
            counts.tests.append((float(seconds), test))
        else:
            counts.fixtures += float(seconds)
    return counts
