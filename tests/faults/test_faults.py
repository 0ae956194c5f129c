"""Injects every failure into every call of every function. Accepted exports must still reach a correct final status."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from fault_run import Choice, FaultRun, Part, Results, Scenario, singles
from flows import FLOWS, IN_PARTS, PERSISTENT, Flow
from proxy import Call

# The number of cases per flow without --whole.
SAMPLE = 5
PERSISTENT_SAMPLE = 6
# One in this many cases may not reach its failure, because the number of calls may depend on timing.
CASES_PER_UNREACHED = 20


def at_any_call(flow: Flow) -> Part:
    def cases(choice: Choice, chance: random.Random, calls: Sequence[Call]) -> list[Scenario]:
        chosen = singles(calls)
        if not choice.whole:
            chosen = chance.sample([case for case in chosen if not case[0].waits_long], SAMPLE)
        return [(flow, case) for case in chosen]

    return Part(flow.name, flow, cases)


def persistent_cases(choice: Choice, chance: random.Random, _: Sequence[Call]) -> list[Scenario]:
    cases = [case for persistent in PERSISTENT for case in persistent.cases()]
    return cases if choice.whole else chance.sample(cases, PERSISTENT_SAMPLE)


def long_hang(_: Choice, chance: random.Random, calls: Sequence[Call]) -> list[Scenario]:
    """A random one of these slow cases. With --whole, the flows include all of them."""
    return [(IN_PARTS, chance.choice([case for case in singles(calls) if case[0].waits_long]))]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", [at_any_call(flow) for flow in FLOWS], ids=[flow.name for flow in FLOWS])
def test_failure_at_any_call_violates_no_invariant(fault_run: FaultRun, part: Part, results: Results) -> None:
    results.calls[part.name] = len(fault_run.calls.get(part, []))
    check(fault_run, part, results)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", [Part("persistent", None, persistent_cases)], ids=["all"])
def test_persistent_failure_leads_to_the_expected_outcome(fault_run: FaultRun, part: Part, results: Results) -> None:
    check(fault_run, part, results)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", [Part("hangs", IN_PARTS, long_hang)], ids=["any call"])
def test_export_succeeds_although_s3_hangs(fault_run: FaultRun, part: Part, results: Results) -> None:
    check(fault_run, part, results)


def check(fault_run: FaultRun, part: Part, results: Results) -> None:
    found = fault_run.results(part)
    results.all += found
    wrong = [result for result in found if result.problems]
    assert not wrong, "\n".join(f"{result}\n{chr(10).join(result.problems)}" for result in wrong[:5])
    unreached = [result for result in found if len(result.injections) == result.missed]
    assert len(unreached) <= max(1, len(found) // CASES_PER_UNREACHED), (
        f"not reached: {', '.join(str(result) for result in unreached)}"
    )
