#!/usr/bin/env python3
"""Many tenants at once against a local stack: each launches an export, follows it, downloads its file.

    python3 tests/faults/load.py [--tenants 300]

Every answer is held against the API's description, every file against what that tenant's must be. Prints how long
answers took, and with UPDATE_GOLDENS=1 writes it to tests/faults/results/load.md. The figures are the emulator's on
this machine, not AWS's.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "stack"), str(TESTS / "e2e")]

import venv  # noqa: E402

import golden  # noqa: E402, because the folder of the stack's modules is on the path only now

RESULTS = Path(__file__).with_name("results") / "load.md"
ISSUED_AT_ONCE = 8
POLL_SECONDS = 2.0
# A client that is told to try again waits longer each time, and not as long as all others.
FIRST_WAIT_SECONDS = 1.0
LONGEST_WAIT_SECONDS = 16.0
LIMIT_SECONDS = 600.0
# What the gateway answers of itself when a function is not done in time. A client tries again, as after 429 and 503.
NOT_DONE_IN_TIME = (500, b'{"message": "Internal Server Error"}')


def main() -> int:
    parser = argparse.ArgumentParser(description="Many tenants launch, follow and download exports at once.")
    parser.add_argument("--tenants", type=int, default=300)
    tenants = parser.parse_args().tenants
    venv.enter()
    from stack import Stack

    with Stack.start(report=print) as stack:
        return Load(stack, tenants).run()


class Load:
    """The tenants, and what they were answered."""

    def __init__(self, stack: object, count: int) -> None:
        from payouts import payout
        from tenant import Tenant

        def make(_: int) -> Tenant:
            tenant = Tenant(stack, "load")
            tenant.put_payouts([payout("po_1", reference=f"Commissions of {tenant.id}")])
            return tenant

        with ThreadPoolExecutor(ISSUED_AT_ONCE) as threads:
            self.tenants = list(threads.map(make, range(count)))
        # What was asked, the answer's status and how many seconds it took.
        self.answers: list[tuple[str, int, float]] = []
        self._start = threading.Barrier(count + 1)

    def run(self) -> int:
        from gateway import MOST_AT_ONCE, WAIT_SECONDS

        with ThreadPoolExecutor(len(self.tenants)) as threads:
            runs = [threads.submit(self._export, tenant) for tenant in self.tenants]
            self._start.wait()
            began = time.monotonic()
            problems = [str(error) for run in runs if (error := run.exception())]
            seconds = time.monotonic() - began
        held = len(self.tenants) - len(problems)
        lines = [f"{held} of {len(self.tenants)} exports held, all at once, in {seconds:.0f} s", ""]
        lines += ["| answer | number | p50 | p95 | longest |", "|---|---:|---:|---:|---:|"]
        for name in ("POST", "GET", "download", "list"):
            taken = sorted(seconds for asked, _, seconds in self.answers if asked == name)
            p50, p95 = taken[len(taken) // 2], taken[len(taken) * 95 // 100]
            lines.append(f"| {name} | {len(taken)} | {p50:.2f} s | {p95:.2f} s | {taken[-1]:.2f} s |")
        statuses = Counter(f"{name} {status}" for name, status, _ in self.answers)
        lines += ["", "Statuses: " + ", ".join(f"{number} × {status}" for status, number in sorted(statuses.items()))]
        print("\n".join([*lines, *problems[:10]]))
        if not problems and golden.IS_UPDATE:
            RESULTS.parent.mkdir(exist_ok=True)
            note = (
                "Written by `UPDATE_GOLDENS=1 python3 tests/faults/load.py`. The figures are the emulator's on this "
                "machine, not AWS's: "
                f"{MOST_AT_ONCE} requests are under way at once, the others wait for {WAIT_SECONDS:.0f} s and are then "
                "answered with 503, as those beyond an account's limit are."
            )
            RESULTS.write_text("\n".join(["# Load", "", note, "", *lines, ""]), encoding="utf-8")
        return 1 if problems else 0

    def _export(self, tenant: object) -> None:
        """One tenant's export, from its launch to its file. Any answer but the right one is raised."""
        import web
        from expected_csv import expected_csv
        from payouts import payout
        from tenant import EXPORTS

        def timed(name: str, ask: Callable[[], web.Answer], wanted: int) -> web.Answer:
            """The answer, after as many tries as it takes while the machine is too busy."""
            wait = FIRST_WAIT_SECONDS
            while True:
                began = time.monotonic()
                answer = ask()
                self.answers.append((name, answer.status, time.monotonic() - began))
                if answer.status == wanted:
                    return answer
                is_busy = answer.status in (429, 503) or (answer.status, answer.body) == NOT_DONE_IN_TIME
                if not is_busy or began > deadline:
                    raise AssertionError(f"{tenant.id}: {name} is answered with {answer}")
                time.sleep(random.uniform(wait / 2, wait))
                wait = min(2 * wait, LONGEST_WAIT_SECONDS)

        self._start.wait()
        deadline = time.monotonic() + LIMIT_SECONDS
        key = {"Idempotency-Key": "load"}
        export_id = timed("POST", lambda: tenant.post(headers=key), 202).json()["exportId"]
        while (export := timed("GET", lambda: tenant.get(export_id), 200).json())["status"] == "PENDING":
            if time.monotonic() > deadline:
                raise AssertionError(f"{export_id} of {tenant.id} is lost: PENDING after {LIMIT_SECONDS:.0f} s")
            time.sleep(POLL_SECONDS)
        if export["status"] != "READY":
            raise AssertionError(f"{export_id} of {tenant.id} is {export['status']}: {export.get('failure')}")
        file = timed("download", lambda: web.request("GET", export["downloadUrl"]), 200).body
        if file != expected_csv([payout("po_1", reference=f"Commissions of {tenant.id}")]):
            raise AssertionError(f"{export_id} of {tenant.id}: another file than its own")
        history = timed("list", lambda: tenant.call("GET", EXPORTS), 200).json()["content"]
        if [known["exportId"] for known in history] != [export_id]:
            raise AssertionError(f"{tenant.id}: one request made {len(history)} exports")


if __name__ == "__main__":
    sys.exit(main())
