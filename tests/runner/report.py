"""The output of a run: progress, results and durations."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterable, Mapping

from runner.job import Job
from runner.results import ROOT

SHOWN_TESTS = 5


class Stream:
    """For a single part, which shows its own output."""

    def started(self, job: Job) -> None:
        print(f"\n=== {job.name}", flush=True)

    def ended(self, job: Job) -> None:
        pass

    def tick(self, running: Mapping[str, Job]) -> None:
        pass

    def close(self) -> None:
        pass


class Progress:
    """For parallel parts.

    A terminal shows a status line and the output of failed parts. A CI log gets the output of every part when it ends.
    """

    def __init__(self, total: int) -> None:
        self._total, self._ended = total, 0
        self._began = time.monotonic()
        self._is_terminal = sys.stdout.isatty()

    def started(self, job: Job) -> None:
        if not self._is_terminal:
            print(f"[{self._elapsed()}] {job.name} started", flush=True)

    def ended(self, job: Job) -> None:
        self._ended += 1
        self.close()
        if job.failed or not self._is_terminal:
            print(f"\n=== {job.name}", flush=True)
            sys.stdout.buffer.write(job.log.read_bytes())
            sys.stdout.buffer.flush()
        print(f"[{self._elapsed()}] {job.name} {outcome(job)} in {_clock(job.seconds)}", flush=True)

    def tick(self, running: Mapping[str, Job]) -> None:
        if self._is_terminal:
            now = time.monotonic()
            names = ", ".join(f"{name} {_clock(now - job.began)}" for name, job in running.items())
            line = f"[{self._elapsed()}] {self._ended} of {self._total} done. Running: {names or 'nothing'}"
            print(f"\r\x1b[K{line[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)

    def close(self) -> None:
        """Clears the status line."""
        if self._is_terminal:
            print("\r\x1b[K", end="", flush=True)

    def _elapsed(self) -> str:
        return _clock(time.monotonic() - self._began)


def outcome(job: Job) -> str:
    if job.failed:
        return "failed"
    return "passed" if job.counts.passed or job.warnings else "skipped"


def times(jobs: Iterable[Job], seconds: float, cpu: float, processors: int) -> str:
    """The durations of parts, commands, fixtures and the slowest tests."""
    lines = ["Where the time went", "  elapsed      CPU"]
    for job in jobs:
        if not job.spent:
            continue
        lines.append(f"  {_clock(job.seconds):>7}  {_clock(job.cpu):>7}  {job.name}")
        if len(job.spent) > 1:
            lines += [f"  {_clock(s.seconds):>7}  {_clock(s.cpu):>7}    {s.command}" for s in job.spent]
        if job.counts.fixtures >= 1:
            lines.append(f"  {_clock(job.counts.fixtures):>7}             fixtures, which start the stacks")
        slowest = sorted(job.counts.tests, reverse=True)[:SHOWN_TESTS]
        lines += [f"  {_clock(taken):>7}             {test}" for taken, test in slowest if taken >= 1]
    lines.append(f"  {_clock(seconds):>7}  {_clock(cpu):>7}  in all, on {processors} processors")
    return "\n".join(lines)


def summary(jobs: Iterable[Job], left_out: Iterable[str]) -> str:
    """The result of each part, with reasons for failures and skips."""
    jobs = list(jobs)
    width = max(len(job.name) for job in jobs)
    lines = ["Summary"]
    for job in jobs:
        counts = job.counts
        numbers = f"{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped"
        lines.append(f"  {job.name:<{width}}  {outcome(job):<7}  {numbers}")
        lines += [f"  {'':<{width}}  {reason}" for reason in job.reasons]
        lines += [f"  {'':<{width}}  warning: {warning}" for warning in job.warnings]
        lines += [f"  {'':<{width}}  skipped: {reason}" for reason in counts.skips]
        if job.failed:
            lines.append(f"  {'':<{width}}  output: {job.log.relative_to(ROOT)}")
    lines += [f"  {name:<{width}}  not run  only by name, or with --release" for name in left_out]
    passed, failed, skipped = (sum(getattr(job.counts, n) for job in jobs) for n in ("passed", "failed", "skipped"))
    lines.append(f"{passed} passed, {failed} failed, {skipped} skipped")
    return "\n".join(lines)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
