"""Runs parts in parallel, each as soon as its needs are done and its resource is free.

Compiling uses all processors and cargo's lock on the target folder, so only one part compiles at a time. Tests against
local stacks mostly wait, so they run alongside.
"""

from __future__ import annotations

import enum
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from runner import tools
from runner.job import Job

# How many parts with a stack run at once. They mostly wait.
STACKS_PER_PROCESSOR = 3


class Uses(enum.Enum):
    """The resource that a part uses while it runs."""

    COMPILER = "cargo"
    PROCESSOR = "a processor"
    STACK = "a local stack"


@dataclass(frozen=True)
class Plan:
    """A part, with its needs. A preparation is not a test; other parts need it."""

    run: Callable[[Job], None]
    uses: Uses
    needs: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    # Parts that run before this one, if they run at all, whatever their result.
    after: tuple[str, ...] = ()
    is_preparation: bool = False
    is_on_request: bool = False

    @property
    def description(self) -> str:
        return (self.run.__doc__ or "").strip()


def limits(processors: int) -> dict[Uses, int]:
    """How many parts may use each resource at once."""
    stacks = processors * STACKS_PER_PROCESSOR
    return {Uses.COMPILER: 1, Uses.PROCESSOR: max(1, processors - 1), Uses.STACK: stacks}


def with_needs(plans: Mapping[str, Plan], names: Sequence[str]) -> list[str]:
    """The named parts and all their needs, in the order of the plans."""
    wanted, pending = set(names), list(names)
    while pending:
        new = set(plans[pending.pop()].needs) - wanted
        wanted |= new
        pending += new
    return [name for name in plans if name in wanted]


class Watcher(Protocol):
    """Receives the events of a run, in the thread that runs the schedule."""

    def started(self, job: Job) -> None: ...
    def ended(self, job: Job) -> None: ...
    def tick(self, running: Mapping[str, Job]) -> None: ...


class Schedule:
    """Runs parts. If several can start, the order of their plans decides."""

    def __init__(
        self, plans: Mapping[str, Plan], jobs: Mapping[str, Job], free: Mapping[Uses, int], watcher: Watcher
    ) -> None:
        self._plans, self._jobs, self._free, self._watcher = plans, jobs, dict(free), watcher
        self._waiting = list(jobs)
        self._running: dict[str, Job] = {}
        self._done: set[str] = set()
        self._ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._installing = threading.Lock()

    def run(self) -> None:
        self._start()
        while self._running:
            try:
                name = self._ended.get(timeout=1.0)
            except queue.Empty:
                self._watcher.tick(self._running)
                continue
            job = self._running.pop(name)
            self._free[self._plans[name].uses] += 1
            self._done.add(name)
            self._watcher.ended(job)
            self._start()
        assert not self._waiting, f"never started: {', '.join(self._waiting)}"

    def interrupt(self) -> None:
        """Stops all running parts."""
        self._waiting.clear()
        threads = [threading.Thread(target=job.interrupt) for job in self._running.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _start(self) -> None:
        """Starts every part that can start."""
        for name in list(self._waiting):
            plan, job = self._plans[name], self._jobs[name]
            first = {*plan.needs, *plan.after} & self._jobs.keys()
            if not self._done.issuperset(first) or not self._free[plan.uses]:
                continue
            self._waiting.remove(name)
            self._free[plan.uses] -= 1
            self._running[name] = job
            for need in plan.needs:
                if self._jobs[need].failed:
                    job.fail(f"needs {need}, which failed")
            job.began = time.monotonic()
            self._watcher.started(job)
            threading.Thread(target=self._work, args=(plan, job), name=name, daemon=True).start()
        self._watcher.tick(self._running)

    def _work(self, plan: Plan, job: Job) -> None:
        try:
            # One at a time, because package managers use locks.
            with self._installing:
                missing = [] if job.failed else [tool for tool in plan.tools if not tools.provide(tool, job.report)]
            for tool in missing:
                job.fail(tools.TOOLS[tool].advice)
            if not job.failed:
                plan.run(job)
        except Exception as error:
            job.fail(f"{type(error).__name__}: {error}")
        finally:
            job.seconds = time.monotonic() - job.began
            if job.failed:
                job.report_unanswered()
            else:
                job.forget_stacks()
            self._ended.put(job.name)
