#!/usr/bin/env python3
"""Makes each claim false in a copy of the project, and checks that the test which it names fails.

    python3 tests/claims/run.py [WORDS]

With WORDS, only the claims whose document, sentence, file or test contains them.
"""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from claims import CLAIMS, Claim
from runner import project_copy
from runner.results import ROOT

TREE = ROOT / "target" / "claims"
PYTEST_FAILED = 1
SHOWN_LINES = 30


def main(words: str = "") -> int:
    began = time.monotonic()
    chosen = [claim for claim in CLAIMS if words in f"{claim.document} {claim.sentence} {claim.file} {claim.test}"]
    if not chosen:
        sys.exit(f"no claim has {words!r} in its document, sentence, file or test")
    project_copy.update(TREE)
    tests = sorted({claim.test for claim in chosen})
    held, problems = 0, []
    try:
        failing = [", ".join(group) for group in groups_of(tests) if not passes(group)]
        problems += [f"without any change, at least one fails of: {group}" for group in failing]
    except RuntimeError as error:
        problems.append(str(error))
    # By file, so that cargo compiles less.
    for claim in sorted(chosen, key=lambda claim: claim.file) if not problems else ():
        problem = problem_of(claim)
        print(f"{problem or 'held'}: {claim.document}: {claim.sentence}", flush=True)
        if problem:
            problems.append(f"{problem}: {claim.document}: {claim.sentence}")
        else:
            held += 1
    print("\n".join(["", *problems]))
    print(f"= {held} passed, {len(problems)} failed in {time.monotonic() - began:.0f}s =")
    return 1 if problems else 0


def groups_of(tests: Iterable[str]) -> Iterable[list[str]]:
    """The tests that one command can run."""
    for _, group in itertools.groupby(tests, key=lambda test: "" if "::test_" in test else test.split(" ")[0]):
        yield list(group)


def problem_of(claim: Claim) -> str:
    """Why the claim is not proved, or nothing."""
    path = TREE / claim.file
    false = path.read_text(encoding="utf-8").replace(claim.old, claim.new)
    with project_copy.replaced(path, false.encode()):
        try:
            return f"{claim.test} passes although it is false" if passes([claim.test]) else ""
        except RuntimeError as error:
            return str(error)


def passes(tests: list[str]) -> bool:
    """Whether the tests of a group pass. Raises an error if one cannot run."""
    if "::test_" in tests[0]:
        command = [str(ROOT / "target/venv/bin/python"), "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests]
        code, output = run(*command)
        if code not in (0, PYTEST_FAILED):
            raise RuntimeError(f"{tests[0]} does not run:\n{tail(output)}")
        return code == 0
    crate = tests[0].split(" ")[0]
    # A change of a function is compiled with this function only, and one of a shared crate with all that use it. So a
    # shared crate is selected by itself, although its dependencies are then compiled again, with fewer features.
    is_function = (ROOT / "functions" / crate).is_dir()
    selection = ("--workspace", "--exclude", "bench", "--exclude", "simulation") if is_function else ("-p", crate)
    command = ["cargo", "test", "--profile", "quick", "--locked", *selection, "--all-features", "--lib"]
    code, output = run(*command, "--no-run")
    program = re.search(rf"\((\S+/{crate.replace('-', '_')}-[0-9a-f]+)\)", output)
    if code != 0 or program is None:
        raise RuntimeError(f"{crate} does not compile:\n{tail(output)}")
    # In the crate's folder, as cargo does: the wire test finds the call sites by their paths from there.
    folder = TREE / ("functions" if is_function else "shared") / crate.removeprefix("exports-")
    code, output = run(str(TREE / program[1]), "--exact", *(test.split(" ")[1] for test in tests), folder=folder)
    if sum(map(int, re.findall(r"\b(\d+) (?:passed|failed)", output))) != len(tests):
        raise RuntimeError(f"{crate} does not have the tests {', '.join(tests)}:\n{tail(output)}")
    return code == 0


def run(*command: str, folder: Path = TREE) -> tuple[int, str]:
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target"), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )  # fmt: skip
    return done.returncode, done.stdout


def tail(output: str) -> str:
    return "\n".join(output.splitlines()[-SHOWN_LINES:])


if __name__ == "__main__":
    sys.exit(main(" ".join(sys.argv[1:])))
