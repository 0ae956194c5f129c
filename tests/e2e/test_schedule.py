"""The schedule. It runs every minute, most of which passes during other tests of the stack."""

from __future__ import annotations

from stack import Stack
from waiting import wait_for


def test_schedule_runs_the_sweep(timed_stack: Stack) -> None:
    (found,) = timed_stack.client("scheduler").list_schedules()["Schedules"]
    schedule = timed_stack.client("scheduler").get_schedule(Name=found["Name"])
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["State"] == "ENABLED"
    assert schedule["Target"]["Arn"].endswith(f":{timed_stack.functions['sweep-exports']}")
    wait_for("the schedule to run a sweep", lambda: timed_stack.logs("sweep-exports"))
