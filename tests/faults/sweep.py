"""The sweep over faults: which cases there are, what each came to, and the table of it all."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from case import Bench, Case
from flows import Flow
from proxy import RETRIED, Call, Fault, Injection, possible

# Most of a case is waiting: for leases, time-outs and the SDK's next try.
AT_ONCE = 10
# What a client may be told of a fault: that it did no harm, or to try again. Or nothing, by a process that died.
ANSWERS = (200, 202, 503, None)


@dataclass(frozen=True)
class Result:
    flow: Flow
    injections: tuple[Injection, ...]
    came_to: str
    mails: int
    reached: int
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
        head = ["flow", "calls", "cases", "faults injected", "came to", "mailed twice", "violations"]
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * 3}---|---:|---:|"]
        for flow in self.calls:
            results = [result for result in self.all if result.flow.name == flow]
            lines.append(f"| {' | '.join([flow, str(self.calls[flow]), *_cells(results)])} |")
        lines.append(f"| {' | '.join(['all', str(sum(self.calls.values())), *_cells(self.all)])} |")
        return lines

    def by_fault(self) -> list[str]:
        lines = ["| one fault | cases | came to | mailed twice | violations |", "|---|---:|---|---:|---:|"]
        singles = [result for result in self.all if len(result.injections) == 1]
        for fault in Fault:
            for every in (False, True):
                found = [r for r in singles if r.injections[0].fault is fault and r.injections[0].every is every]
                if found:
                    cells = _cells(found)
                    name = fault.value + (", at every try" if every else "")
                    lines.append(f"| {' | '.join([name, cells[0], *cells[2:]])} |")
        return lines


def _cells(results: Sequence[Result]) -> list[str]:
    came_to = Counter(result.came_to for result in results)
    return [
        str(len(results)),
        str(sum(result.reached for result in results)),
        ", ".join(f"{count} {name}" for name, count in came_to.most_common()),
        str(sum(result.mails > _mails_of_undisturbed(result.flow) for result in results)),
        str(sum(len(result.problems) for result in results)),
    ]


def _mails_of_undisturbed(flow: Flow) -> int:
    return (flow.ends != "FAILED") + (flow.crate == "resend-email")


def calls_of(bench: Bench, flow: Flow) -> list[Call]:
    """The calls that the function makes when nothing goes wrong; that run must be right, too."""
    with flow.case(bench) as case:
        flow.run(case)
        problems = case.violations()
        assert not problems, problems
        assert came_to(case) == flow.ends, came_to(case)
        assert case.ready_mails() == _mails_of_undisturbed(flow)
        return [call for call in case.plan.calls if call.crate == flow.crate]


def singles(calls: Iterable[Call]) -> list[tuple[Injection, ...]]:
    """Every fault at every call, once and, for those that the SDK meets by trying again, at every try."""
    return [
        (Injection(call.crate, call.operation, call.place, fault, every),)
        for call in calls
        for fault in possible(call.operation)
        for every in ((False, True) if fault in RETRIED and call.operation != "ses:SendEmail" else (False,))
    ]


def pairs(chance: random.Random, calls: Sequence[Call], count: int) -> list[tuple[Injection, ...]]:
    """That many pairs of faults at two calls of a run, by chance. The second may be at a call that only the first
    brings about."""
    found = []
    for _ in range(count):
        first, second = chance.choice(calls), chance.choice(calls)
        if (first.operation, first.place) == (second.operation, second.place):
            second = Call(second.crate, second.operation, second.place + 1)
        drawn = [chance.choice(singles([call]))[0] for call in (first, second)]
        found.append(tuple(drawn))
    return found


def run_all(
    bench: Bench, flow: Flow, cases: Sequence[tuple[Injection, ...]], tell: Callable[[Result], None]
) -> list[Result]:
    def one(injections: tuple[Injection, ...]) -> Result:
        result = run(bench, flow, injections)
        tell(result)
        return result

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(one, cases))


def run(bench: Bench, flow: Flow, injections: tuple[Injection, ...]) -> Result:
    with flow.case(bench, injections) as case:
        problems = []
        try:
            flow.run(case)
            problems += case.violations()
            problems += _mails_too_many(flow, injections, case)
            problems += [f"a client was answered with {status}" for status in case.answers if status not in ANSWERS]
        except AssertionError as error:
            problems.append(str(error))
        if problems:
            problems[-1] += "\n" + case.last_logs()
        reached = sum(injection in case.plan.done for injection in injections)
        return Result(flow, injections, came_to(case), case.ready_mails(), reached, tuple(problems))


def _mails_too_many(flow: Flow, injections: tuple[Injection, ...], case: Case) -> list[str]:
    """That there is a mail at all is an invariant. A second one is only for what was lost: the mail's answer, its
    record, the process that sent it, or that one's lease."""
    sent, due = case.ready_mails(), _mails_of_undisturbed(flow)
    lost = {injection.operation for injection in injections} & {"ses:SendEmail", "dynamodb:TransactWriteItems"}
    may_be_twice = flow.crate != "resend-email" and (lost or case.has_lost_process)
    return [f"{sent} mails with a link"] if sent > due and not may_be_twice else []


def came_to(case: Case) -> str:
    """What the only export ended as; what a client of its only request was told if there is none."""
    ends = []
    for record in case.records():
        status = record["status"]["S"]
        has_file = " with its file" if status == "FAILED" and "file" in record else ""
        ends.append(status + has_file)
    if not ends:
        return f"refused with {case.answers[0] or 'no answer'}"
    return " and ".join(ends)
