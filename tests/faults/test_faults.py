"""Every call of every function goes wrong in every way: what was accepted ends all the same, and rightly."""

from __future__ import annotations

import random

import pytest

from case import Bench
from flows import FLOWS, Flow
from sweep import Result, Results, calls_of, pairs, run_all, singles

# Of each flow, where not the whole is run.
SOME = 5
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
        cases = chance.sample(cases, min(SOME, len(cases)))
    if count is None:
        count = PAIRS_OF_THE_WHOLE if whole else PAIRS
    cases += pairs(chance, calls, count)

    def tell(result: Result) -> None:
        print("\n  ".join([str(result), *result.problems]), flush=True)

    found = run_all(bench, flow, cases, tell)
    results.calls[flow.name] = len(calls)
    results.all += found
    wrong = [result for result in found if result.problems]
    assert not wrong, "\n".join(f"{result}\n{chr(10).join(result.problems)}" for result in wrong[:5])
