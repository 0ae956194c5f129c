"""The command line: selects and runs the parts, then prints the report."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time

import build
from runner import report, worktree
from runner.job import Job, Options
from runner.parts import PLANS
from runner.schedule import Schedule, Uses, limits, with_needs


def main() -> int:
    began = time.monotonic()
    arguments = _arguments()
    # A shell starts background processes with SIGINT ignored. The commands would inherit that and could not stop their
    # stacks on an interrupt.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    # Unless it is ignored, as under nohup.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _interrupt)
    parts = [name for name, plan in PLANS.items() if not plan.is_preparation]
    usual = [name for name in parts if arguments.release or not PLANS[name].is_on_request]
    chosen = arguments.parts or usual
    # A single part shows its output as it runs.
    streams = len(chosen) == 1
    options = Options(arguments.whole, arguments.seed, arguments.update)
    jobs = {name: Job(name, options, streams, _environment(name)) for name in with_needs(PLANS, chosen)}
    before = worktree.changes()
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    free = dict.fromkeys(Uses, 1) if streams else limits(processors)
    progress = report.Stream() if streams else report.Progress(len(jobs))
    schedule = Schedule(PLANS, jobs, free, progress)
    try:
        schedule.run()
    except KeyboardInterrupt:
        progress.close()
        print("\nInterrupted. Ending the running parts.", file=sys.stderr, flush=True)
        schedule.interrupt()
        return 130
    progress.close()
    results = [*jobs.values(), _work_tree(options, before)]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print()
    print(report.times(results, time.monotonic() - began, used.ru_utime + used.ru_stime, processors))
    shown = [job for job in results if job.failed or job.name not in PLANS or not PLANS[job.name].is_preparation]
    left_out = [name for name in parts if name not in chosen] if not arguments.parts else []
    print()
    print(report.summary(shown, left_out))
    return 1 if any(job.failed for job in shown) else 0


def _arguments() -> argparse.Namespace:
    parts = {name: plan for name, plan in PLANS.items() if not plan.is_preparation}
    lines = [f"  {name:<14}{plan.description}" for name, plan in parts.items() if not plan.is_on_request]
    lines += ["only by name, or with --release:"]
    lines += [f"  {name:<14}{plan.description}" for name, plan in parts.items() if plan.is_on_request]
    parser = argparse.ArgumentParser(
        prog="tests/run",
        description="Runs the tests: all parts in parallel, or the named ones. A part that is named alone shows its "
        "output as it runs. The exit code is 1 if anything failed.",
        epilog="parts:\n" + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "parts", nargs="*", metavar="part", help="one of those below (default: all except those only by name)"
    )
    parser.add_argument("--release", action="store_true", help="also the parts that run only by name")
    parser.add_argument(
        "--whole",
        action="store_true",
        help="also run the slow tests: every failure at every call, a million histories, all shards of noticed, "
        "ignored unit tests, sam sync",
    )
    parser.add_argument("--seed", type=int, help="seed of the parts faults, simulation and noticed (default: random)")
    parser.add_argument(
        "--update",
        action="store_true",
        help="rewrite the expected tables instead of comparing them, and take the pictures",
    )
    chosen = parser.parse_args()
    unknown = [name for name in chosen.parts if name not in parts]
    if unknown:
        parser.error(f"no part is called {unknown[0]}: choose from {', '.join(parts)}")
    return chosen


def _environment(name: str) -> dict[str, str]:
    """Stacks must not build the functions again: they would wait for cargo's lock during other builds."""
    return {build.DONE: "1"} if "functions" in PLANS[name].needs else {}


def _work_tree(options: Options, before: worktree.Changes) -> Job:
    """Checks that the run left the work tree unchanged."""
    job = Job("work-tree", options)
    after = worktree.changes()
    changed = worktree.differences(before, after)
    if after.reason:
        job.skip(f"whether the run changed files: {after.reason}")
    elif options.update:
        job.skip(f"files may change with --update: {', '.join(changed) or 'none did'}")
    elif changed:
        job.fail("files changed during the run: " + ", ".join(changed))
    else:
        job.counts.passed = 1
    return job


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
