"""The fault run: its cases, their results, and the result table."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from case import Bench, Case
from flows import KILLED, STALLED, SUCCESS, Flow
from proxy import RETRIED, Call, Failure, Injection, possible

# Cases wait for leases, time-outs and SDK retries, and poll while they wait. With more at once, polls take most of two
# processors.
AT_ONCE = 8
# Cases that wait for minutes or run out of time, in threads of their own.
LONG_AT_ONCE = 16
# How often a case is repeated while its failures are not reached. The number of calls may depend on timing.
MAX_RUNS = 5
# The number of baseline runs. Failures are injected only into calls that occur in all of them.
TIME_LIMITED_BASELINE_RUNS, BASELINE_RUNS = 5, 2

# A flow and the failures to inject.
Scenario = tuple[Flow, tuple[Injection, ...]]


@dataclass(frozen=True)
class Choice:
    """The selection of cases."""

    whole: bool
    seed: int


@dataclass(frozen=True, eq=False)
class Part:
    """The cases of one test, selected from the calls of the baseline runs of `flow`."""

    name: str
    flow: Flow | None
    cases: Callable[[Choice, random.Random, Sequence[Call]], list[Scenario]]


@dataclass(frozen=True)
class Result:
    flow: Flow
    injections: tuple[Injection, ...]
    outcome: str
    mails: int
    # The number of failed calls, and the number of injections without a failed call.
    injected: int
    missed: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        failures = "; ".join(str(injection) for injection in self.injections) or "nothing injected"
        return f"[{self.flow.name}] {failures} -> {self.outcome}, {self.mails} mails"


@dataclass
class Results:
    """All results so far."""

    seed: int
    all: list[Result] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    def table(self) -> list[str]:
        head = ["flow", "calls", "cases", "failures injected", "not reached", "outcomes", "mailed twice", "violations"]
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * 4}---|---:|---:|"]
        for flow in dict.fromkeys(result.flow.name for result in self.all):
            results = [result for result in self.all if result.flow.name == flow]
            lines.append(f"| {' | '.join([flow, str(self.calls.get(flow, '')), *_cells(results)])} |")
        lines.append(f"| {' | '.join(['all', str(sum(self.calls.values())), *_cells(self.all)])} |")
        return lines

    def by_failure(self) -> list[str]:
        lines = ["| failure | cases | outcomes | mailed twice | violations |", "|---|---:|---|---:|---:|"]
        singles = [result for result in self.all if len(result.injections) == 1]
        for failure in Failure:
            for suffix, every_attempt, persists in (
                ("", False, False),
                (", every attempt", True, False),
                (", persistent", False, True),
            ):
                found = [
                    result
                    for result in singles
                    for injection in result.injections
                    if (injection.failure, injection.every_attempt, injection.persists)
                    == (failure, every_attempt, persists)
                ]
                if found:
                    cells = _cells(found)
                    lines.append(f"| {' | '.join([failure.value + suffix, cells[0], *cells[3:]])} |")
        return lines


def _cells(results: Sequence[Result]) -> list[str]:
    outcomes = Counter(result.outcome for result in results)
    return [
        str(len(results)),
        str(sum(result.injected for result in results)),
        str(sum(result.missed for result in results)),
        ", ".join(f"{count} {name}" for name, count in outcomes.most_common()),
        str(sum(result.mails > _baseline_mails(result.flow) for result in results)),
        str(sum(len(result.problems) for result in results)),
    ]


def _baseline_mails(flow: Flow) -> int:
    return (not flow.outcome.startswith("FAILED")) + (flow.crate == "resend-email")


class FaultRun:
    """Runs the cases of all parts in parallel, because cases mostly wait."""

    def __init__(self, bench: Bench, parts: Sequence[Part], choice: Choice) -> None:
        self.calls: dict[Part, list[Call]] = {}
        self._bench = bench
        self._threads = ThreadPoolExecutor(AT_ONCE)
        self._long_threads = ThreadPoolExecutor(LONG_AT_ONCE)
        self._results: dict[Part, list[Future[Result]]] = {part: [] for part in parts}
        self._failures: dict[Part, AssertionError] = {}
        baselines = {part: self._baseline_runs(part.flow) for part in parts if part.flow}
        for part in parts:
            try:
                runs = [run.result() for run in baselines.get(part, [])]
            except AssertionError as error:
                self._failures[part] = error
                continue
            self.calls[part] = [call for call in runs[0] if all(call in run for run in runs)] if runs else []
            chance = random.Random(f"{choice.seed} {part.name}")
            for flow, injections in part.cases(choice, chance, self.calls[part]):
                waits_long = any(injection.waits_long or injection.persists for injection in injections)
                threads = self._long_threads if waits_long or flow.is_time_limited else self._threads
                self._results[part].append(threads.submit(self._run_and_print, flow, injections))

    def results(self, part: Part) -> list[Result]:
        """Waits for all cases of the part and returns their results."""
        if part in self._failures:
            raise self._failures[part]
        return [result.result() for result in self._results[part]]

    def close(self) -> None:
        for threads in (self._threads, self._long_threads):
            threads.shutdown(cancel_futures=True)

    def _baseline_runs(self, flow: Flow) -> list[Future[list[Call]]]:
        count = TIME_LIMITED_BASELINE_RUNS if flow.is_time_limited else BASELINE_RUNS
        return [self._threads.submit(calls_of, self._bench, flow) for _ in range(count)]

    def _run_and_print(self, flow: Flow, injections: tuple[Injection, ...]) -> Result:
        result = run(self._bench, flow, injections)
        print("\n  ".join([str(result), *result.problems]), flush=True)
        return result


def calls_of(bench: Bench, flow: Flow) -> list[Call]:
    """The calls of the function in a run without failures, which is checked as well."""
    with flow.case(bench) as case:
        flow.run(case)
        # On a busy machine, a process may time out after it sent the e-mail.
        problems = [*case.violations(), *_excess_mails(flow, (), case)]
        assert not problems, problems
        assert outcome_of(case) == flow.outcome, outcome_of(case)
        assert case.ready_mails() >= _baseline_mails(flow)
        assert all(status in SUCCESS for status in case.statuses), case.statuses
        # How many sweeps run while an export ends depends on the load of the machine.
        calls = case.plan.calls[: case.calls_before_settling] if flow.crate == "sweep-exports" else case.plan.calls
        return [call for call in calls if call.crate == flow.crate]


def singles(calls: Iterable[Call]) -> list[tuple[Injection, ...]]:
    """Every failure at every call. Failures that the SDK retries are injected once and at every attempt."""
    return [
        (Injection(call.crate, call.operation, call.number, failure, every_attempt, at_start=call.at_start),)
        for call in calls
        for failure in possible(call.crate, call.operation)
        for every_attempt in ((False, True) if failure in RETRIED and call.operation != "ses:SendEmail" else (False,))
    ]


def run(bench: Bench, flow: Flow, injections: tuple[Injection, ...]) -> Result:
    """Runs a case, and repeats it while its failure is not reached."""
    for _ in range(MAX_RUNS):
        result = _run(bench, flow, injections)
        if result.problems or not result.missed:
            return result
    # In a time-limited flow, the number of calls depends on the load of the machine.
    return result if flow.is_time_limited else replace(result, problems=(f"no failure was reached in {MAX_RUNS} runs",))


def _run(bench: Bench, flow: Flow, injections: tuple[Injection, ...]) -> Result:
    with flow.case(bench, injections) as case:
        problems = []
        try:
            flow.run(case)
            problems += case.violations()
            problems += _excess_mails(flow, injections, case)
            if (outcome := outcome_of(case)) not in flow.allowed_outcomes(*injections):
                expected = " or ".join(sorted(flow.allowed_outcomes(*injections)))
                problems.append(f"the outcome is {outcome}, expected: {expected}")
            allowed = flow.allowed_statuses(*injections)
            problems += [f"a client received {status}" for status in case.statuses if status not in allowed]
            problems += _left_uploads(injections, case)
            problems += _left_unfinished_parts(injections, case)
            problems += _out_of_time(flow, injections, case)
        except AssertionError as error:
            problems.append(str(error))
        if problems:
            problems[-1] += "\n" + case.last_logs()
        counts = [case.plan.injected[injection] for injection in injections]
        return Result(
            flow, injections, outcome_of(case), case.ready_mails(), sum(counts), counts.count(0), tuple(problems)
        )


def _excess_mails(flow: Flow, injections: tuple[Injection, ...], case: Case) -> list[str]:
    """Each lost response of SES, failed record write, lost process or lost lease allows one more e-mail. A resend never
    sends more than one. Missing e-mails violate an invariant."""
    sent, baseline = case.ready_mails(), _baseline_mails(flow)
    if flow.crate == "resend-email":
        return [f"{sent} mails with a link"] if sent > baseline else []
    lost = sum(
        case.plan.injected[injection]
        for injection in injections
        if injection.operation in ("ses:SendEmail", "dynamodb:TransactWriteItems")
        # Lost processes are counted below.
        and injection.failure not in (*KILLED, *STALLED)
    )
    limit = baseline + lost + case.lost_processes["generate-export"]
    return [f"{sent} mails with a link, at most {limit} allowed"] if sent > limit else []


def _left_uploads(injections: tuple[Injection, ...], case: Case) -> list[str]:
    """An owner must abort an upload that is not continued. If its process is lost, or creating or aborting the upload
    fails, the bucket's lifecycle rule aborts it."""
    failed_operations = {injection.operation for injection in injections}
    must_abort = not failed_operations & {"s3:CreateMultipartUpload", "s3:AbortMultipartUpload"}
    if not must_abort or case.lost_processes["generate-export"]:
        return []
    return [f"the upload to {key} was not aborted" for key in case.uploads()]


def _left_unfinished_parts(injections: tuple[Injection, ...], case: Case) -> list[str]:
    """Unfinished parts must be deleted when they are no longer needed. If a process is lost, or storing, naming or
    deleting the part fails, the bucket's lifecycle rule deletes it."""
    failed_operations = {injection.operation for injection in injections}
    is_excused = failed_operations & {
        "s3:PutObject", "s3:DeleteObject", "dynamodb:TransactWriteItems", "dynamodb:GetItem",
    }  # fmt: skip
    if is_excused or case.lost_processes:
        return []
    return [f"the unfinished part {key} was not deleted" for key in case.unfinished_parts()]


def _out_of_time(flow: Flow, injections: tuple[Injection, ...], case: Case) -> list[str]:
    """A hanging call must end with its own timeout, before the timeout of the function."""
    lost = case.lost_processes[flow.crate]
    if not lost or flow.is_time_limited or any(injection.failure is not Failure.HANGS for injection in injections):
        return []
    return [f"{lost} processes of {flow.crate} timed out"]


def outcome_of(case: Case) -> str:
    """The final status of the export, or the response to the client if there is no export."""
    statuses = []
    for record in case.records():
        status = record["status"]["S"]
        if status == "FAILED":
            status += f" {record['failure']['M']['code']['S']}" + (" with its file" if "file" in record else "")
        statuses.append(status)
    if statuses:
        return " and ".join(statuses)
    status = case.statuses[0] if case.statuses else None
    return f"rejected with {status}" if status else "no response"
