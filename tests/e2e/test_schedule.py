"""The schedule. In the last file, because by then the stack is old enough for it to have run."""

from __future__ import annotations

from tenant import Tenant
from waiting import wait_for


def test_schedule_of_the_template_runs_the_sweep(tenant: Tenant) -> None:
    (found,) = tenant.stack.client("scheduler").list_schedules()["Schedules"]
    schedule = tenant.stack.client("scheduler").get_schedule(Name=found["Name"])
    assert schedule["ScheduleExpression"] == "rate(1 minute)"
    assert schedule["State"] == "ENABLED"
    assert schedule["Target"]["Arn"].endswith(f":{tenant.stack.functions['sweep-exports']}")
    wait_for("the schedule to run a sweep", lambda: tenant.stack.logs("sweep-exports"), 90)
