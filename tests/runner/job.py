"""Runs the commands of one part, logs their output and collects their results."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bytecode
import emulator
from runner import counts
from runner.counts import Counts
from runner.results import ROOT

LOGS = ROOT / "target" / "test-logs"
# If set, tests rewrite expected tables instead of comparing them, and take the pictures.
UPDATE_GOLDENS = "UPDATE_GOLDENS"
# Time for a command to stop its stacks after Ctrl-C.
GRACE_SECONDS = 10.0
COMPILER_NICENESS = 10


@dataclass(frozen=True)
class Options:
    """The options of the command line."""

    whole: bool = False
    seed: int | None = None
    update: bool = False


@dataclass(frozen=True)
class Spent:
    """The time a command took."""

    command: str
    seconds: float
    cpu: float


@dataclass
class Job:
    """A part of the run and its outcome. The output goes to a log file, and to the terminal if the part runs alone."""

    name: str
    options: Options = Options()
    streams: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    # Why it failed.
    reasons: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    began: float = 0.0
    seconds: float = 0.0
    _process: int = 0
    _is_interrupted: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.forget_stacks()
        self.log.write_bytes(b"")

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    @property
    def stack_logs(self) -> Path:
        """The logs of the stacks that the part starts."""
        return LOGS / f"{self.name}-stacks"

    def forget_stacks(self) -> None:
        """Deletes the logs of the stacks."""
        shutil.rmtree(self.stack_logs, ignore_errors=True)

    def report_unanswered(self) -> None:
        """Reports the requests that a stack's emulator did not respond to."""
        for log in sorted(self.stack_logs.glob("gateway-*.log")):
            self.report(f"{log.name}:\n{log.read_text(errors='replace').rstrip()}")

    @property
    def failed(self) -> bool:
        return bool(self.counts.failed or self.reasons)

    @property
    def cpu(self) -> float:
        return sum(spent.cpu for spent in self.spent)

    def command(self, *command: str | Path, **environment: str) -> bool:
        """Runs a command in the project's root and adds the results of its tests. Returns whether it succeeded.

        A command without tests counts as one test.
        """
        return self._must_succeed(command, *self._run(command, environment))

    def compile(self, *command: str | Path, **environment: str) -> bool:
        """Runs a command that compiles, with a lower priority than tests, because some tests measure time."""
        return self._must_succeed(command, *self._run(command, environment, niceness=COMPILER_NICENESS))

    def compile_without_warnings(self, *command: str | Path, **environment: str) -> bool:
        """Runs a command that compiles. Warnings fail the part."""
        code, output = self._run(command, environment, niceness=COMPILER_NICENESS)
        if re.search(r"generated \d+ warnings?", output):
            self.fail(f"warnings of {_line(command)}")
        return self._must_succeed(command, code, output)

    def succeeds(self, *command: str | Path, seconds: float) -> bool:
        """Whether a command succeeds within this time. A failure does not fail the part."""
        return self._run(command, {}, seconds=seconds)[0] == 0

    def pytest(self, *arguments: str | Path, **environment: str) -> bool:
        """Runs pytest, with durations for the report."""
        return self.command("target/venv/bin/pytest", *arguments, "--durations=0", "--durations-min=1", **environment)

    def skip(self, reason: str) -> None:
        """Counts a skipped check."""
        self.counts += Counts(skipped=1, skips=[reason])
        self.report(f"Skipped: {reason}")

    def fail(self, reason: str) -> None:
        """Counts a failed check."""
        self.counts += Counts(failed=1)
        self.reasons.append(reason)
        self.report(reason)

    def warn(self, text: str) -> None:
        """Shows a warning in the summary."""
        self.warnings.append(text)
        self.report(f"Warning: {text}")

    def report(self, text: str) -> None:
        line = f"{text}\n".encode()
        with self.log.open("ab") as log:
            log.write(line)
        if self.streams:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def interrupt(self) -> None:
        """Stops the running command and all its descendants, including those in other process groups."""
        with self._lock:
            self._is_interrupted, group = True, self._process
        if not group:
            return
        started = _descendants(group)
        _signal_group(group, signal.SIGINT)
        deadline = time.monotonic() + GRACE_SECONDS
        while self._process and time.monotonic() < deadline:
            time.sleep(0.05)
        _signal_group(group, signal.SIGKILL)
        for pid, began in started.items():
            if _started_at(pid) == began:
                os.kill(pid, signal.SIGKILL)

    def _must_succeed(self, command: Sequence[str | Path], code: int, output: str) -> bool:
        found = counts.read(output)
        if code != 0:
            self.reasons.append(f"exit code {code} of {_line(command)}")
            found.failed = found.failed or 1
        elif not found.total:
            found.passed = 1
        self.counts += found
        return code == 0

    def _run(
        self, command: Sequence[str | Path], environment: dict[str, str], niceness: int = 0, seconds: float = math.inf
    ) -> tuple[int, str]:
        """The exit code of a command, or the negative number of the signal that ended it, and its output."""
        self.report(f"$ {_line(command)}")
        began, output = time.monotonic(), bytearray()
        with self._lock:
            if self._is_interrupted:
                return -signal.SIGINT, ""
            process = subprocess.Popen(
                [str(word) for word in command],
                cwd=ROOT,
                env=self._environment(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A separate process group, which can be signalled as a whole.
                start_new_session=True,
            )
            self._process = process.pid
        if niceness:
            os.setpriority(os.PRIO_PROCESS, process.pid, os.getpriority(os.PRIO_PROCESS, 0) + niceness)
        overdue = threading.Timer(min(seconds, threading.TIMEOUT_MAX), _signal_group, (process.pid, signal.SIGKILL))
        overdue.start()
        assert process.stdout is not None
        with self.log.open("ab") as log, process.stdout as pipe:
            while chunk := os.read(pipe.fileno(), 1 << 16):
                output += chunk
                log.write(chunk)
                log.flush()
                if self.streams:
                    sys.stdout.buffer.write(chunk)
                    sys.stdout.buffer.flush()
        # Not Popen.wait(), which does not return the CPU time of the command and its children.
        _, status, usage = os.wait4(process.pid, 0)
        overdue.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        with self._lock:
            self._process = 0
        self.spent.append(Spent(_line(command)[:80], time.monotonic() - began, usage.ru_utime + usage.ru_stime))
        return process.returncode, output.decode(errors="replace")

    def _environment(self, environment: dict[str, str]) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name != UPDATE_GOLDENS}
        if os.environ.get("CI"):
            # Without a second build, incremental files only cost time and disk space.
            inherited.setdefault("CARGO_INCREMENTAL", "0")
        if self.streams and sys.stdout.isatty():
            inherited |= {"CARGO_TERM_COLOR": "always", "FORCE_COLOR": "1"}
        if self.options.update:
            inherited[UPDATE_GOLDENS] = "1"
        own = {"CARGO_TARGET_DIR": str(ROOT / "target"), emulator.LOGS: str(self.stack_logs), **bytecode.ENVIRONMENT}
        return {**inherited, **own, **self.environment, **environment}


def _line(command: Sequence[str | Path]) -> str:
    return shlex.join(str(word) for word in command)


def _signal_group(group: int, number: int) -> None:
    # The group may have ended.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _descendants(root: int) -> dict[int, str]:
    """The descendants of a process, with their start times. Linux only; elsewhere process groups must suffice."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may contain anything: state, parent.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # the process has ended
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: _started_at(pid) for pid in found}


def _started_at(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
