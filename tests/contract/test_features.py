"""`tests/run` compiles a dependency once, however many commands need it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import build
from runner import parts
from runner.parts import PROFILE, WORKSPACE
from runner.results import ROOT

QUICK = ("--profile", PROFILE)
TESTS = ("test", "--no-run", *QUICK, *parts.TESTS)


@functools.cache
def units(*command: str) -> dict[str, str]:
    """What a cargo command compiles, by a hash of features, profile and dependencies."""
    printed = subprocess.run(
        ["cargo", *command, "--unit-graph", "-Zunstable-options"],
        # Lets the stable cargo, whose version is pinned, print its plan.
        cwd=ROOT, env={**os.environ, "RUSTC_BOOTSTRAP": "1"}, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    graph = json.loads(printed)["units"]

    @functools.cache
    def identity(index: int) -> str:
        unit: dict[str, Any] = dict(graph[index])
        unit["dependencies"] = sorted(identity(dependency["index"]) for dependency in unit["dependencies"])
        return hashlib.sha256(json.dumps(unit, sort_keys=True).encode()).hexdigest()

    return {identity(index): f"{unit['pkg_id']} {unit['features']}" for index, unit in enumerate(graph)}


def assert_shared(command: tuple[str, ...], after: tuple[str, ...], but_own: bool = False) -> None:
    """Fails if the command compiles something again. With `but_own`, it may compile the project's own crates."""
    before = units(*after)
    again = [unit for identity, unit in units(*command).items() if identity not in before]
    if but_own:
        again = [unit for unit in again if not unit.startswith("path+file:")]
    # Those whose own features differ; the others use them.
    causes = [unit for unit in again if unit not in before.values()]
    assert not again, "name these features in tests/features/Cargo.toml:\n" + "\n".join(sorted(causes or again))


def test_functions_share_their_dependencies_with_the_tests() -> None:
    # The functions do not have the features that the project's own crates have for tests.
    assert_shared(("build", "--locked", *QUICK, *build.selection()), TESTS, but_own=True)


def test_invariants_checker_shares_all_with_the_tests() -> None:
    assert_shared(("build", *QUICK, *WORKSPACE, "--bin", "check-invariants"), TESTS)


def test_simulation_shares_its_dependencies_with_the_tests() -> None:
    assert_shared(("build", *QUICK, *WORKSPACE, "--bin", "simulate"), TESTS, but_own=True)


def test_all_that_clippy_checks_shares_its_dependencies_with_the_tests() -> None:
    assert_shared(("build", *QUICK, *WORKSPACE, "--bins"), TESTS, but_own=True)


def test_examples_in_the_documentation_share_their_dependencies_with_the_tests() -> None:
    assert_shared(("test", *QUICK, "--doc", *WORKSPACE), TESTS, but_own=True)


def test_release_build_leaves_the_features_of_tests_out() -> None:
    release = units("build", "--locked", "--release").values()
    assert not [unit for unit in release if "/tests/" in unit.partition("#")[0]]
    tokio = [unit for unit in release if "#tokio@" in unit]
    assert tokio
    assert not [unit for unit in tokio if "test-util" in unit]


def test_binaries_which_are_built_without_tests_have_none() -> None:
    command = ["cargo", "metadata", "--no-deps", "--format-version=1", "--locked"]
    metadata = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    targets = [target for package in metadata["packages"] for target in package["targets"]]
    sources = [Path(target["src_path"]) for target in targets if target["kind"] == ["bin"]]
    assert sources
    assert not [path for path in sources if re.search(r"#\[(cfg\()?test\b", path.read_text(encoding="utf-8"))]
