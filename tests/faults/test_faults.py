"""Every call of every function goes wrong in every way: what was accepted ends all the same, and rightly."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from flows import FLOWS, IN_PARTS, LASTING, Flow
from proxy import Call
from sweep import Choice, Disturbed, Part, Results, Sweep, pairs, singles

# Of each flow, where not the whole is run.
SOME = 5
SOME_LASTING = 6
# One of how many cases may have a fault that was not met, where time decides how many calls there are.
MOST_UNMET = 20


def at_any_call(flow: Flow) -> Part:
    def cases(choice: Choice, chance: random.Random, calls: Sequence[Call]) -> list[Disturbed]:
        chosen = singles(calls)
        if not choice.whole:
            chosen = chance.sample([case for case in chosen if not case[0].waits_long], SOME)
        return [(flow, case) for case in [*chosen, *pairs(chance, calls, choice.pairs)]]

    return Part(flow.name, flow, cases)


def that_stay(choice: Choice, chance: random.Random, _: Sequence[Call]) -> list[Disturbed]:
    cases = [case for lasting in LASTING for case in lasting.cases()]
    return cases if choice.whole else chance.sample(cases, SOME_LASTING)


def long_hang(_: Choice, chance: random.Random, calls: Sequence[Call]) -> list[Disturbed]:
    """One of these; the whole has them all."""
    return [(IN_PARTS, chance.choice([case for case in singles(calls) if case[0].waits_long]))]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", [at_any_call(flow) for flow in FLOWS], ids=[flow.name for flow in FLOWS])
def test_fault_at_any_call_leaves_every_invariant_intact(sweep: Sweep, part: Part, results: Results) -> None:
    results.calls[part.name] = len(sweep.calls.get(part, []))
    check(sweep, part, results)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", [Part("lasting", None, that_stay)], ids=["all"])
def test_fault_that_stays_ends_the_export_once_its_tries_are_used_up(
    sweep: Sweep, part: Part, results: Results
) -> None:
    check(sweep, part, results)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("part", [Part("hangs", IN_PARTS, long_hang)], ids=["any call"])
def test_file_is_written_though_s3_hangs_past_its_time_out(sweep: Sweep, part: Part, results: Results) -> None:
    check(sweep, part, results)


def check(sweep: Sweep, part: Part, results: Results) -> None:
    found = sweep.results(part)
    results.all += found
    wrong = [result for result in found if result.problems]
    assert not wrong, "\n".join(f"{result}\n{chr(10).join(result.problems)}" for result in wrong[:5])
    unmet = [result for result in found if len(result.injections) == result.missed]
    assert len(unmet) <= max(1, len(found) // MOST_UNMET), f"not met: {', '.join(str(result) for result in unmet)}"
