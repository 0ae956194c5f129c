"""The sweep over faults: which cases there are, what each came to, and the table of it all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from case import Bench, Case
from flows import KILLED, STALLED, SUCCESS, Flow
from proxy import RETRIED, Call, Fault, Injection, possible

# Most of a case is waiting: for leases, time-outs and the SDK's next try.
AT_ONCE = 16
# How often a case is run whose faults are not met: where time decides how many calls there are, they may be fewer.
TRIES = 5
# How many undisturbed runs a call must be in to be disturbed, where time decides and where it does not.
RUNS_OF_SHORT, RUNS = 5, 2


# A flow, and what goes wrong in it.
Disturbed = tuple[Flow, tuple[Injection, ...]]


@dataclass(frozen=True)
class Choice:
    """Which cases a run is to have."""

    whole: bool
    seed: int
    pairs: int


@dataclass(frozen=True, eq=False)
class Part:
    """The cases of one test: chosen once it is known which calls `flow` makes when nothing goes wrong."""

    name: str
    flow: Flow | None
    cases: Callable[[Choice, random.Random, Sequence[Call]], list[Disturbed]]


@dataclass(frozen=True)
class Result:
    flow: Flow
    injections: tuple[Injection, ...]
    came_to: str
    mails: int
    # At how many calls there was a fault, and how many of the faults were at none.
    injected: int
    missed: int
    problems: tuple[str, ...]

    def __str__(self) -> str:
        faults = "; ".join(str(injection) for injection in self.injections) or "nothing injected"
        return f"[{self.flow.name}] {faults} -> {self.came_to}, {self.mails} mails"


@dataclass
class Results:
    """All that was run so far."""

    seed: int
    all: list[Result] = field(default_factory=list)
    calls: dict[str, int] = field(default_factory=dict)

    def table(self) -> list[str]:
        head = ["flow", "calls", "cases", "faults injected", "not met", "came to", "mailed twice", "violations"]
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * 4}---|---:|---:|"]
        for flow in dict.fromkeys(result.flow.name for result in self.all):
            results = [result for result in self.all if result.flow.name == flow]
            lines.append(f"| {' | '.join([flow, str(self.calls.get(flow, '')), *_cells(results)])} |")
        lines.append(f"| {' | '.join(['all', str(sum(self.calls.values())), *_cells(self.all)])} |")
        return lines

    def by_fault(self) -> list[str]:
        lines = ["| one fault | cases | came to | mailed twice | violations |", "|---|---:|---|---:|---:|"]
        singles = [result for result in self.all if len(result.injections) == 1]
        for fault in Fault:
            for how, every, stays in (("", False, False), (", at every try", True, False), (", for good", False, True)):
                found = [
                    result
                    for result in singles
                    for injection in result.injections
                    if (injection.fault, injection.every, injection.stays) == (fault, every, stays)
                ]
                if found:
                    cells = _cells(found)
                    lines.append(f"| {' | '.join([fault.value + how, cells[0], *cells[3:]])} |")
        return lines


def _cells(results: Sequence[Result]) -> list[str]:
    came_to = Counter(result.came_to for result in results)
    return [
        str(len(results)),
        str(sum(result.injected for result in results)),
        str(sum(result.missed for result in results)),
        ", ".join(f"{count} {name}" for name, count in came_to.most_common()),
        str(sum(result.mails > _mails_of_undisturbed(result.flow) for result in results)),
        str(sum(len(result.problems) for result in results)),
    ]


def _mails_of_undisturbed(flow: Flow) -> int:
    return (not flow.ends.startswith("FAILED")) + (flow.crate == "resend-email")


class Sweep:
    """Runs the cases of all these parts at once, because what one of them waits for is time for another."""

    def __init__(self, bench: Bench, parts: Sequence[Part], choice: Choice) -> None:
        self.calls: dict[Part, list[Call]] = {}
        self._bench = bench
        self._threads = ThreadPoolExecutor(AT_ONCE)
        # Of their own, for what waits for minutes: others have something to do meanwhile.
        self._long_threads = ThreadPoolExecutor(AT_ONCE)
        self._results: dict[Part, list[Future[Result]]] = {part: [] for part in parts}
        self._failures: dict[Part, AssertionError] = {}
        undisturbed = {part: self._undisturbed(part.flow) for part in parts if part.flow}
        for part in parts:
            try:
                runs = [run.result() for run in undisturbed.get(part, [])]
            except AssertionError as error:
                self._failures[part] = error
                continue
            self.calls[part] = [call for call in runs[0] if all(call in run for run in runs)] if runs else []
            chance = random.Random(f"{choice.seed} {part.name}")
            for flow, injections in part.cases(choice, chance, self.calls[part]):
                is_long = any(injection.waits_long or injection.stays for injection in injections)
                threads = self._long_threads if is_long else self._threads
                self._results[part].append(threads.submit(self._tell, flow, injections))

    def results(self, part: Part) -> list[Result]:
        """What the part's cases came to, once all are done."""
        if part in self._failures:
            raise self._failures[part]
        return [result.result() for result in self._results[part]]

    def close(self) -> None:
        for threads in (self._threads, self._long_threads):
            threads.shutdown(cancel_futures=True)

    def _undisturbed(self, flow: Flow) -> list[Future[list[Call]]]:
        count = RUNS_OF_SHORT if flow.is_short else RUNS
        return [self._threads.submit(calls_of, self._bench, flow) for _ in range(count)]

    def _tell(self, flow: Flow, injections: tuple[Injection, ...]) -> Result:
        result = run(self._bench, flow, injections)
        print("\n  ".join([str(result), *result.problems]), flush=True)
        return result


def calls_of(bench: Bench, flow: Flow) -> list[Call]:
    """The calls that the function makes when nothing goes wrong; such a run must be right, too."""
    with flow.case(bench) as case:
        flow.run(case)
        problems = case.violations()
        assert not problems, problems
        assert came_to(case) == flow.ends, came_to(case)
        assert case.ready_mails() == _mails_of_undisturbed(flow)
        assert all(status in SUCCESS for status in case.answers), case.answers
        return [call for call in case.plan.calls if call.crate == flow.crate]


def singles(calls: Iterable[Call]) -> list[tuple[Injection, ...]]:
    """Every fault at every call, once and, for those that the SDK meets by trying again, at every try."""
    return [
        (Injection(call.crate, call.operation, call.place, fault, every, at_start=call.at_start),)
        for call in calls
        for fault in possible(call.crate, call.operation)
        for every in ((False, True) if fault in RETRIED and call.operation != "ses:SendEmail" else (False,))
    ]


def pairs(chance: random.Random, calls: Sequence[Call], count: int) -> list[tuple[Injection, ...]]:
    """That many pairs of faults at two calls of a run, by chance. The second may be at a call that only the first
    brings about. Those that take longest are left out."""
    found = []
    for _ in range(count):
        first, second = chance.choice(calls), chance.choice(calls)
        if (first.operation, first.place) == (second.operation, second.place):
            second = Call(second.crate, second.operation, second.place + 1)
        drawn = [
            chance.choice([case[0] for case in singles([call]) if not case[0].waits_long]) for call in (first, second)
        ]
        found.append(tuple(drawn))
    return found


def run(bench: Bench, flow: Flow, injections: tuple[Injection, ...]) -> Result:
    """One case; several times, if its faults were not met and nothing else is wrong."""
    for _ in range(TRIES):
        result = _run(bench, flow, injections)
        # Of a pair, one may keep the other from being met.
        if result.problems or result.missed < len(injections):
            return result
    # In a short flow the machine's load decides how many calls there are: there may be fewer than when nothing was
    # disturbed.
    return result if flow.is_short else replace(result, problems=(f"no fault was met in {TRIES} runs",))


def _run(bench: Bench, flow: Flow, injections: tuple[Injection, ...]) -> Result:
    with flow.case(bench, injections) as case:
        problems = []
        try:
            flow.run(case)
            problems += case.violations()
            problems += _mails_too_many(flow, injections, case)
            if (end := came_to(case)) not in flow.ends_with(*injections):
                problems.append(f"came to {end}, and not to {' or '.join(sorted(flow.ends_with(*injections)))}")
            allowed = flow.answers_with(*injections)
            problems += [f"a client was answered with {status}" for status in case.answers if status not in allowed]
            problems += _uploads_left(injections, case)
            problems += _out_of_time(flow, injections, case)
        except AssertionError as error:
            problems.append(str(error))
        if problems:
            problems[-1] += "\n" + case.last_logs()
        done = [case.plan.done[injection] for injection in injections]
        return Result(flow, injections, came_to(case), case.ready_mails(), sum(done), done.count(0), tuple(problems))


def _mails_too_many(flow: Flow, injections: tuple[Injection, ...], case: Case) -> list[str]:
    """That there is a mail at all is an invariant. One more is for each loss: of the mail's answer, of its record, of
    the process that sent it, or of that one's lease. A request to send it again sends once, whatever is lost."""
    sent, due = case.ready_mails(), _mails_of_undisturbed(flow)
    if flow.crate == "resend-email":
        return [f"{sent} mails with a link"] if sent > due else []
    lost = sum(
        case.plan.done[injection]
        for injection in injections
        if injection.operation in ("ses:SendEmail", "dynamodb:TransactWriteItems")
        # A lost process is counted as such.
        and injection.fault not in (*KILLED, *STALLED)
    )
    most = due + lost + case.lost_processes["generate-export"]
    return [f"{sent} mails with a link, and {most} at most"] if sent > most else []


def _uploads_left(injections: tuple[Injection, ...], case: Case) -> list[str]:
    """What nobody goes on with is thrown away by its owner. One that dies cannot, nor one that does not hear of its
    upload, nor one that has to fail at just that: the bucket's lifecycle does."""
    at_fault = {injection.operation for injection in injections}
    is_known = not at_fault & {"s3:CreateMultipartUpload", "s3:AbortMultipartUpload"}
    if not is_known or case.lost_processes["generate-export"]:
        return []
    return [f"the upload to {key} is left" for key in case.uploads()]


def _out_of_time(flow: Flow, injections: tuple[Injection, ...], case: Case) -> list[str]:
    """A call that hangs ends with its time-out. It does not take up the time of its process."""
    lost = case.lost_processes[flow.crate]
    if not lost or flow.is_short or any(injection.fault is not Fault.HANGS for injection in injections):
        return []
    return [f"{lost} processes of {flow.crate} were out of time"]


def came_to(case: Case) -> str:
    """What the only export ended as; what a client of its only request was told if there is none."""
    ends = []
    for record in case.records():
        status = record["status"]["S"]
        if status == "FAILED":
            status += f" {record['failure']['M']['code']['S']}" + (" with its file" if "file" in record else "")
        ends.append(status)
    if not ends:
        return f"refused with {(case.answers and case.answers[0]) or 'no answer'}"
    return " and ".join(ends)
