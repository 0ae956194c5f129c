"""`tests/run` runs parts in parallel, reports correctly and leaves nothing behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import golden
from runner import counts, job, report, results, tools, worktree
from runner.job import Job, Options
from runner.parts import PLANS
from runner.schedule import Plan, Schedule, Uses, limits, with_needs

LIMIT_SECONDS = 20.0


@pytest.fixture(autouse=True)
def _logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "LOGS", tmp_path / "logs")


class Watcher:
    """Records which parts ran at the same time, and the order in which they ended."""

    def __init__(self) -> None:
        self.running: set[str] = set()
        self.at_once: set[frozenset[str]] = set()
        self.order: list[str] = []

    def started(self, job: Job) -> None:
        self.running.add(job.name)
        self.at_once.add(frozenset(self.running))

    def ended(self, job: Job) -> None:
        self.running.discard(job.name)
        self.order.append(job.name)

    def tick(self, running: object) -> None:
        pass


def script(text: str) -> tuple[str, ...]:
    return (sys.executable, "-c", text)


def sleeps(job: Job) -> None:
    """Succeeds after a moment."""
    job.command(*script("import time; time.sleep(0.3)"))


def breaks(job: Job) -> None:
    """Fails."""
    job.command(*script("raise SystemExit(3)"))


def run(plans: dict[str, Plan], processors: int = 1) -> tuple[Watcher, dict[str, Job]]:
    watcher, jobs = Watcher(), {name: Job(name) for name in plans}
    Schedule(plans, jobs, limits(processors), watcher).run()
    return watcher, jobs


def test_stacks_run_beside_one_compiler() -> None:
    plans = {"one": Plan(sleeps, Uses.COMPILER), "two": Plan(sleeps, Uses.COMPILER)}
    stacks = ["first", "second", "third", "fourth", "fifth", "sixth", "seventh"]
    plans |= {name: Plan(sleeps, Uses.STACK) for name in stacks}
    watcher, _ = run(plans, processors=2)
    assert {"one", *stacks[:6]} in watcher.at_once
    assert not any({"one", "two"} <= at_once for at_once in watcher.at_once)
    assert not any(set(stacks) <= at_once for at_once in watcher.at_once)


def test_part_starts_only_after_what_it_needs() -> None:
    plans = {"test": Plan(sleeps, Uses.STACK, needs=("build",)), "build": Plan(sleeps, Uses.COMPILER)}
    watcher, _ = run(plans)
    assert watcher.order == ["build", "test"]


def test_part_fails_without_running_if_what_it_needs_failed() -> None:
    plans = {"build": Plan(breaks, Uses.COMPILER), "test": Plan(sleeps, Uses.STACK, needs=("build",))}
    _, jobs = run({**plans, "other": Plan(sleeps, Uses.STACK)})
    assert jobs["test"].reasons == ["needs build, which failed"]
    assert jobs["test"].spent == []
    assert jobs["test"].counts.failed == 1
    assert not jobs["other"].failed


def test_part_that_raises_has_failed() -> None:
    def raises(_: Job) -> None:
        raise OSError("no space left")

    _, jobs = run({"test": Plan(raises, Uses.STACK)})
    assert jobs["test"].reasons == ["OSError: no space left"]


def test_failed_part_reports_requests_without_a_response() -> None:
    def fails(job: Job) -> None:
        job.stack_logs.mkdir()
        (job.stack_logs / "gateway-1.log").write_text("GET /v1/caller: RemoteDisconnected\n")
        breaks(job)

    _, jobs = run({"test": Plan(fails, Uses.STACK)})
    assert jobs["test"].log.read_text().endswith("gateway-1.log:\nGET /v1/caller: RemoteDisconnected\n")


def test_parts_come_with_all_that_they_need() -> None:
    assert with_needs(PLANS, ["faults"]) == ["python", "functions", "invariants", "faults"]


def test_part_comes_after_others_that_run_however_they_end() -> None:
    plans = {
        "reader": Plan(sleeps, Uses.PROCESSOR, after=("writer", "not chosen")),
        "writer": Plan(breaks, Uses.COMPILER),
    }
    watcher, jobs = run(plans)
    assert watcher.order == ["writer", "reader"]
    assert not jobs["reader"].failed


@pytest.mark.parametrize("name", PLANS)
def test_part_names_only_existing_parts(name: str) -> None:
    plan = PLANS[name]
    assert {*plan.needs, *plan.after} < PLANS.keys()
    assert set(plan.tools) <= tools.TOOLS.keys()
    assert plan.description


def test_command_is_killed_when_its_time_is_up() -> None:
    part = Job("test")
    began = time.monotonic()
    assert not part.succeeds(*script("import time; time.sleep(60)"), seconds=0.5)
    assert time.monotonic() - began < LIMIT_SECONDS
    assert not part.failed


def test_cpu_time_of_a_command_includes_its_children() -> None:
    part = Job("test")
    burn = "import time\nwhile time.process_time() < 0.4: pass"
    part.command(*script(f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}])"))
    assert part.cpu > 0.4


def test_goldens_are_rewritten_only_with_update(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(job.UPDATE_GOLDENS, "1")
    show = script("import os; print('UPDATE_GOLDENS' in os.environ)")
    for update in (False, True):
        part = Job("test", Options(update=update))
        part.command(*show)
        assert part.log.read_text().endswith(f"{update}\n")


def test_golden_is_compared_and_written_only_on_update(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "IS_UPDATE", False)
    table = tmp_path / "table.md"
    table.write_text("one\n")
    golden.compare(table, "one\n")
    with pytest.raises(AssertionError, match=r"(?s)-one.*\+two.*--update"):
        golden.compare(table, "two\n")
    assert table.read_text() == "one\n"
    monkeypatch.setattr(golden, "IS_UPDATE", True)
    golden.compare(table, "two\n")
    assert table.read_text() == "two\n"


def test_command_without_counts_is_one_test() -> None:
    part = Job("test")
    sleeps(part)
    breaks(part)
    part.command(*script("print('= 3 passed, 1 skipped in 0.1s =')"))
    assert (part.counts.passed, part.counts.failed, part.counts.skipped) == (4, 1, 1)


def test_failure_that_no_test_reports_is_counted() -> None:
    part = Job("test")
    part.command(*script("print('= 3 passed in 0.1s ='); raise SystemExit(1)"))
    assert (part.counts.passed, part.counts.failed) == (3, 1)


def test_skipped_check_is_not_passed_and_has_its_reason() -> None:
    part = Job("supply")
    part.skip("advisories: no network")
    assert report.outcome(part) == "skipped"
    text = report.summary([part], [])
    assert "skipped: advisories: no network" in text
    assert text.endswith("0 passed, 0 failed, 1 skipped")


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("     Summary [   3.2s] 12 tests run: 11 passed, 1 failed, 2 skipped", (11, 1, 2)),
        ("\x1b[32m     Summary\x1b[0m [   3.2s] 4/12 tests run: 3 passed, 1 failed, 8 skipped", (3, 1, 8)),
        ("test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured", (5, 0, 1)),
        ("===== 1 failed, 7 passed, 2 skipped, 1 error in 4.50s =====", (7, 2, 2)),
        ("= 3 passed, 2 skipped in 10.1s =", (3, 0, 2)),
        ("3 files checked", (0, 0, 0)),
    ],
)
def test_outcome_of_tests_is_read_from_their_output(output: str, wanted: tuple[int, int, int]) -> None:
    found = counts.read(output)
    assert (found.passed, found.failed, found.skipped) == wanted


def test_reasons_and_times_are_read_from_the_output_of_tests() -> None:
    found = counts.read(
        "SKIPPED [1] tests/e2e/test_x.py:3: no Docker\n"
        "8.12s setup    tests/e2e/test_x.py::test_one\n"
        "2.50s call     tests/e2e/test_x.py::test_one\n"
        "        PASS [   1.500s] (12/40) exports-domain lifecycle::tests::one\n"
    )
    assert found.skips == ["tests/e2e/test_x.py:3: no Docker"]
    assert found.fixtures == 8.12
    assert found.tests == [(1.5, "exports-domain lifecycle::tests::one"), (2.5, "tests/e2e/test_x.py::test_one")]


def test_interrupt_ends_also_what_left_the_process_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    # A grandchild in a separate session that ignores Ctrl-C, as an emulator may.
    inner = (
        "import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        f"open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(120)"
    )
    outer = (
        "import subprocess, sys; "
        f"subprocess.run([sys.executable, '-c', {inner!r}], start_new_session=True)"
    )  # fmt: skip

    def hangs(job: Job) -> None:
        job.command(*script(outer))

    plans = {"test": Plan(hangs, Uses.STACK)}
    jobs = {"test": Job("test")}
    schedule = Schedule(plans, jobs, limits(2), Interrupting(pid_file))
    with pytest.raises(KeyboardInterrupt):
        schedule.run()
    schedule.interrupt()
    pid = int(pid_file.read_text())
    deadline = time.monotonic() + LIMIT_SECONDS
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.05)


class Interrupting(Watcher):
    """Raises KeyboardInterrupt once this file has content."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def tick(self, running: object) -> None:
        if self._path.exists() and self._path.read_text():
            raise KeyboardInterrupt


def is_running(pid: int) -> bool:
    try:
        # A zombie has ended, even if its exit code was not collected.
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tests_run_ends_what_it_started_when_interrupted(number: int, tmp_path: Path) -> None:
    sleeper = f"""
import os, pathlib, time
folder = pathlib.Path({str(tmp_path)!r})
try:
    (folder / f"started-{{os.getpid()}}").touch()
    time.sleep(120)
finally:
    (folder / f"stopped-{{os.getpid()}}").touch()
"""
    main = f"""
import sys
from pathlib import Path
from runner import cli, job
from runner.schedule import Plan, Uses
def sleeps(job):
    job.command(sys.executable, "-c", {sleeper!r})
job.LOGS = Path({str(tmp_path)!r})
cli.PLANS = {{name: Plan(sleeps, Uses.STACK) for name in ("one", "two")}}
sys.argv = ["tests/run"]
sys.exit(cli.main())
"""
    search = os.pathsep.join((str(results.ROOT / "tests"), str(results.ROOT / "tests" / "stack")))
    process = subprocess.Popen(
        script(main), env={**os.environ, "PYTHONPATH": search}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        # As for a background process of a shell.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(started := list(tmp_path.glob("started-*"))) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, number)
    printed, _ = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 130, printed
    assert "Interrupted" in printed
    assert len(list(tmp_path.glob("stopped-*"))) == 2, "the commands were killed"
    assert not any(is_running(int(path.name.removeprefix("started-"))) for path in started)


def git(folder: Path, line: str) -> None:
    subprocess.run(["git", *shlex.split(line)], cwd=folder, check=True, capture_output=True)


def test_files_that_change_during_the_run_are_found(tmp_path: Path) -> None:
    git(tmp_path, "init")
    for name in ("same", "modified before", "rewritten"):
        (tmp_path / name).write_text("committed")
    git(tmp_path, "add .")
    git(tmp_path, "-c user.name=A -c user.email=a@example.com commit -m first")
    (tmp_path / "modified before").write_text("edited")
    before = worktree.changes(tmp_path)
    assert worktree.differences(before, worktree.changes(tmp_path)) == []
    (tmp_path / "modified before").write_text("edited again")
    (tmp_path / "rewritten").write_text("by a test")
    (tmp_path / "new").write_text("by a test")
    assert worktree.differences(before, worktree.changes(tmp_path)) == ["modified before", "new", "rewritten"]


def test_folder_that_is_no_checkout_is_the_reason(tmp_path: Path) -> None:
    assert "not a git repository" in worktree.changes(tmp_path).reason
