"""A committed result is stale once what it depends on changes, and only then."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from runner import job, parts, report, results
from runner.job import Job, Options
from runner.parts import PLANS
from runner.results import RESULTS, ROOT, digest, stale


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of all inputs and results. Every result is current."""
    folder = tmp_path_factory.mktemp("project")
    inputs = {name for result in RESULTS.values() for name, _ in results._inputs(result, ROOT)}
    for name in inputs | {file for result in RESULTS.values() for file in result.files}:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for result in RESULTS.values():
        for file in result.files:
            (folder / file).write_text(f"Inputs: `{digest(result, folder)}`")
    assert list(stale(folder)) == []
    return folder


@pytest.fixture
def project(copies: Path) -> Iterator[Path]:
    """The copies, restored afterwards."""
    before = {path: path.read_bytes() for path in copies.rglob("*") if path.is_file()}
    yield copies
    for path, content in before.items():
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


def stale_after(project: Path, file: str, text: str) -> set[str]:
    path = project / file
    path.write_text(path.read_text() + text)
    return set(stale(project))


@pytest.mark.parametrize(
    ("file", "of"),
    [
        ("functions/generate-export/src/pace.rs", {"generator", "start", "coverage", "faults", "load", "noticed"}),
        ("functions/sweep-exports/src/lib.rs", {"sweeper", "start", "coverage", "faults", "load", "noticed"}),
        ("functions/get-caller/src/lib.rs", {"start", "faults", "load", "noticed"}),
        ("shared/aws/src/queue.rs", set(RESULTS) - {"cost"}),
        ("shared/domain/templates/mail.html", set(RESULTS) - {"cost"}),
        ("shared/domain/src/testing.rs", {"coverage"}),
        ("shared/domain/src/testing/files.rs", {"coverage"}),
        ("tests/noticed/changes.py", {"noticed"}),
        ("Cargo.lock", set(RESULTS) - {"cost"}),
        ("Cargo.toml", {"generator", "start", "sweeper"}),
        ("tests/bench/src/fake/source_table.rs", {"generator", "start", "sweeper"}),
        ("tests/bench/src/bin/sweeper.rs", {"sweeper"}),
        ("tests/bench/src/report.rs", {"generator", "start", "cost"}),
        ("tests/bench/src/cost.rs", {"cost"}),
        ("tests/bench/results/generator.json", {"cost"}),
        ("tests/e2e/expected_csv.py", {"faults", "load"}),
        ("tests/stack/gateway.py", {"faults", "load"}),
    ],
)
def test_result_is_stale_once_an_input_changes(project: Path, file: str, of: set[str]) -> None:
    assert stale_after(project, file, "\n1 + 1;\n") == of


def test_comment_or_test_module_makes_no_result_stale(project: Path) -> None:
    (project / "functions/sweep-exports/src/tests.rs").write_text("fn one() {}")
    added = "    // Why.\n\n#[cfg(test)]\nmod more {\n    fn two() {}\n}\n"
    assert stale_after(project, "functions/sweep-exports/src/lib.rs", added) == set()


def test_benchmarks_depend_on_the_memory_sizes_of_the_template_only(project: Path) -> None:
    assert stale_after(project, "template.yaml", "# A comment\n") == {"faults", "load"}
    assert stale_after(project, "template.yaml", "      MemorySize: 4096\n") == {"faults", "load", "cost", "generator"}


def test_input_that_matches_no_file_is_an_error(project: Path) -> None:
    (project / "tests/bench/src/cost.rs").unlink()
    with pytest.raises(FileNotFoundError, match=r"no input matches tests/bench/src/cost.rs"):
        stale(project)


def test_each_file_of_a_result_names_the_inputs(project: Path) -> None:
    (project / "tests/bench/results/generator.svg").write_text("<svg/>")
    assert stale(project) == {"generator": ["tests/bench/results/generator.svg"]}


@pytest.mark.parametrize("is_release", [False, True])
def test_stale_result_is_a_warning_and_fails_before_a_release(
    is_release: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job, "LOGS", tmp_path)
    monkeypatch.setattr(report, "ROOT", tmp_path)
    monkeypatch.setattr(results, "stale", lambda: {"sweeper": ["a.md"]})
    monkeypatch.setattr(Job, "pytest", lambda *_, **__: True)
    part = Job("release" if is_release else "results")
    PLANS[part.name].run(part)
    assert (part.counts.passed, part.counts.failed) == (len(RESULTS) - 1, int(is_release))
    reason = "inputs of a.md have changed: run cargo bench-sweeper"
    lines = [line.strip() for line in report.summary([part], []).splitlines()]
    assert (reason if is_release else f"warning: {reason}") in lines


@pytest.mark.parametrize(("is_whole", "is_recorded"), [(False, False), (True, True)])
def test_only_whole_simulation_records_its_coverage(
    is_whole: bool, is_recorded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    monkeypatch.setattr(Job, "command", lambda _, *command: commands.append(command))
    parts.simulation(Job("simulation", Options(whole=is_whole, update=True)))
    histories, safeguards = commands
    assert ("--update" in histories) is is_recorded
    assert "--update" in safeguards


def test_every_result_is_compared_by_each_run_or_names_its_inputs() -> None:
    """The others are golden files, which are compared in `golden.compare`, and limits in the simulation."""
    compared = {"calls.md", "claims.md", "inputs.md", "privileges.md", "safeguards.md"}
    committed = {path for path in ROOT.glob("tests/*/results/*") if path.name not in compared}
    assert committed == {ROOT / file for result in RESULTS.values() for file in result.files}
