"""Every call of every function goes wrong in every way: what was accepted ends all the same, and rightly."""

from __future__ import annotations

import random

import pytest

from case import Bench
from flows import FLOWS, IN_PARTS, LASTING, Flow
from proxy import Injection
from sweep import Result, Results, calls_of, pairs, run_all, singles

# Of each flow, where not the whole is run.
SOME = 5
SOME_LASTING = 6
PAIRS = 1
PAIRS_OF_THE_WHOLE = 25


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("flow", FLOWS, ids=[flow.name for flow in FLOWS])
def test_fault_at_any_call_leaves_every_invariant_intact(
    bench: Bench, flow: Flow, results: Results, request: pytest.FixtureRequest
) -> None:
    whole, count = request.config.getoption("--whole"), request.config.getoption("--pairs")
    calls = calls_of(bench, flow)
    chance = random.Random(f"{results.seed} {flow.name}")
    cases = singles(calls)
    if not whole:
        cases = chance.sample([case for case in cases if not case[0].waits_long], SOME)
    if count is None:
        count = PAIRS_OF_THE_WHOLE if whole else PAIRS
    cases += pairs(chance, calls, count)
    results.calls[flow.name] = len(calls)
    check(bench, [(flow, case) for case in cases], results)


@pytest.mark.timeout(3600)
def test_fault_that_stays_ends_the_export_once_its_tries_are_used_up(
    bench: Bench, results: Results, request: pytest.FixtureRequest
) -> None:
    cases = [case for lasting in LASTING for case in lasting.cases()]
    if not request.config.getoption("--whole"):
        cases = random.Random(f"{results.seed} lasting").sample(cases, SOME_LASTING)
    check(bench, cases, results)


@pytest.mark.timeout(600)
def test_file_is_written_though_s3_hangs_past_its_time_out(bench: Bench, results: Results) -> None:
    """One of these; the whole has them all."""
    hangs = [case for case in singles(calls_of(bench, IN_PARTS)) if case[0].waits_long]
    chance = random.Random(f"{results.seed} hangs")
    check(bench, [(IN_PARTS, chance.choice(hangs))], results)


def check(bench: Bench, cases: list[tuple[Flow, tuple[Injection, ...]]], results: Results) -> None:
    def tell(result: Result) -> None:
        print("\n  ".join([str(result), *result.problems]), flush=True)

    found = run_all(bench, cases, tell)
    results.all += found
    wrong = [result for result in found if result.problems]
    assert not wrong, "\n".join(f"{result}\n{chr(10).join(result.problems)}" for result in wrong[:5])
