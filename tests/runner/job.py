"""One part of the run: runs its commands, keeps what they print, and collects their outcome."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import bytecode
from runner import counts
from runner.counts import Counts

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "target" / "test-logs"
# What tests read before they rewrite an expected table or picture instead of comparing it.
UPDATE_GOLDENS = "UPDATE_GOLDENS"
# Time for a command to end by itself after Ctrl-C: it has stacks to stop.
GRACE_SECONDS = 10.0
COMPILER_NICENESS = 10


@dataclass(frozen=True)
class Options:
    """What the command line asks of the parts."""

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
    """A part while it runs, and its outcome. Its output goes to a log file, and to the terminal if it runs alone."""

    name: str
    options: Options = Options()
    streams: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    counts: Counts = field(default_factory=Counts)
    # Why it failed.
    reasons: list[str] = field(default_factory=list)
    spent: list[Spent] = field(default_factory=list)
    began: float = 0.0
    seconds: float = 0.0
    _process: int = 0
    _is_interrupted: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    @property
    def failed(self) -> bool:
        return bool(self.counts.failed or self.reasons)

    @property
    def cpu(self) -> float:
        return sum(spent.cpu for spent in self.spent)

    def command(self, *command: str | Path, **environment: str) -> bool:
        """Runs a command in the project's root and adds the outcome of its tests; it is one itself if it counts none.
        Returns whether it succeeded."""
        return self._must_succeed(command, *self._run(command, environment))

    def compile(self, *command: str | Path, **environment: str) -> bool:
        """Runs a command that compiles. Tests that run meanwhile come first: some measure time."""
        return self._must_succeed(command, *self._run(command, environment, niceness=COMPILER_NICENESS))

    def succeeds(self, *command: str | Path, seconds: float) -> bool:
        """Whether a command succeeds within this time. It may fail."""
        return self._run(command, {}, seconds=seconds)[0] == 0

    def pytest(self, *arguments: str | Path, **environment: str) -> bool:
        """Runs pytest. Its durations say where the time went."""
        return self.command("target/venv/bin/pytest", *arguments, "--durations=0", "--durations-min=1", **environment)

    def skip(self, reason: str) -> None:
        """Counts something that was not checked."""
        self.counts += Counts(skipped=1, skips=[reason])
        self.report(f"Skipped: {reason}")

    def fail(self, reason: str) -> None:
        """Counts something that is not as it must be."""
        self.counts += Counts(failed=1)
        self.reasons.append(reason)
        self.report(reason)

    def report(self, text: str) -> None:
        line = f"{text}\n".encode()
        with self.log.open("ab") as log:
            log.write(line)
        if self.streams:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    def interrupt(self) -> None:
        """Ends the command that runs and whatever it started, also what has left its process group."""
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
        """The exit code of a command, or minus the signal that ended it, and what it printed."""
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
                # A process group of its own, which can be signalled whole.
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
        # Not Popen.wait(), which drops the CPU time of the command and its children.
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
            # Where nothing is built twice, its files only cost time and disk.
            inherited.setdefault("CARGO_INCREMENTAL", "0")
        if self.streams and sys.stdout.isatty():
            inherited |= {"CARGO_TERM_COLOR": "always", "FORCE_COLOR": "1"}
        if self.options.update:
            inherited[UPDATE_GOLDENS] = "1"
        own = {"CARGO_TARGET_DIR": str(ROOT / "target"), **bytecode.ENVIRONMENT}
        return {**inherited, **own, **self.environment, **environment}


def _line(command: Sequence[str | Path]) -> str:
    return shlex.join(str(word) for word in command)


def _signal_group(group: int, number: int) -> None:
    # Unless it has ended.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _descendants(root: int) -> dict[int, str]:
    """The processes below this one, with when they started. Only Linux has /proc; elsewhere process groups must do."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may contain anything: state, parent.
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue  # it has ended meanwhile
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: _started_at(pid) for pid in found}


def _started_at(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""
