"""The measured results that are committed, and the inputs of each.

A result names the digest of the inputs that it was made from. Results that every run compares have no digest.
`python3 tests/runner/results.py RESULT` prints the digest of the present inputs: the benchmarks run it.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DIGITS = 16


@dataclass(frozen=True)
class Result:
    """The files that a command writes, and what they depend on."""

    command: str
    files: tuple[str, ...]
    # Crates, with the crates of the project that they depend on.
    crates: tuple[str, ...] = ()
    # Patterns. Of a template, only the lines that contain the word after the colon.
    others: tuple[str, ...] = ()


def _e2e(*modules: str) -> tuple[str, ...]:
    return tuple(f"tests/e2e/{module}.py" for module in modules)


_BUILD = ("Cargo.toml", "Cargo.lock", ".cargo/config.toml", "rust-toolchain.toml")
_PICTURED = ("md", "json", "svg")
_BENCH = "tests/bench/results"
_TOOL = ("tests/bench/Cargo.toml", *(f"tests/bench/src/{name}.rs" for name in ("lib", "process", "runtime_api")))
_FAKE = ("tests/bench/src/fake/*.rs", "tests/bench/src/source_rows.rs", "tests/bench/src/contender.rs")
_REPORT = ("tests/bench/src/report.rs", "tests/bench/src/comparison.rs")
_STACK = ("template.yaml", "tests/stack/*.py", "tests/stack/strict/*.py", "tests/requirements.txt")

RESULTS = {
    "generator": Result(
        "cargo bench-generator",
        tuple(f"{_BENCH}/generator.{kind}" for kind in _PICTURED),
        ("functions/generate-export",),
        (
            *(*_BUILD, *_TOOL, *_FAKE, "tests/bench/src/bin/generator.rs", "tests/requirements.txt"),
            *(*_REPORT, "tests/bench/src/plan.rs", "tests/bench/src/chart.rs", "template.yaml:MemorySize"),
            *(
                "tests/bench/peers/*.*",
                "tests/bench/peers/rust/Cargo.*",
                "tests/bench/peers/rust/src/bin/peer-plain.rs",
            ),
        ),
    ),
    "start": Result(
        "cargo bench-start",
        tuple(f"{_BENCH}/start.{kind}" for kind in _PICTURED),
        ("functions/*",),
        (
            *(*_BUILD, *_TOOL, *_FAKE, *_REPORT, "events/*/*.json"),
            *("tests/bench/src/start*.rs", "tests/bench/src/bin/start.rs"),
            *("tests/bench/peers/node/*", "tests/bench/peers/python/*"),
            *("tests/bench/peers/rust/Cargo.*", "tests/bench/peers/rust/src/bin/peer-routes.rs"),
        ),
    ),
    "cost": Result(
        "cargo bench-start",
        (f"{_BENCH}/cost.md",),
        others=(
            *(f"{_BENCH}/{name}.json" for name in ("generator", "start")),
            *("tests/bench/src/cost.rs", "tests/bench/src/start*.rs", *_REPORT, "template.yaml:MemorySize"),
        ),
    ),
    "sweeper": Result(
        "cargo bench-sweeper",
        (f"{_BENCH}/sweeper.md",),
        ("functions/sweep-exports",),
        (*_BUILD, *_TOOL, *_FAKE, "tests/bench/src/bin/sweeper.rs"),
    ),
    "coverage": Result(
        "tests/run --whole --update simulation",
        ("tests/simulation/results/coverage.md",),
        ("tests/simulation",),
        ("Cargo.lock", "shared/*/src/testing.rs", "shared/*/src/testing/*.rs"),
    ),
    "faults": Result(
        "tests/run --whole --update faults",
        ("tests/faults/results/faults.md",),
        ("functions/*", "tests/invariants"),
        (
            "Cargo.lock",
            *_STACK,
            "tests/faults/*.py",
            "tests/contract/roles.py",
            *_e2e("expected_csv", "payouts", "xlsx"),
        ),
    ),
    "load": Result(
        "tests/run --update load",
        ("tests/faults/results/load.md",),
        ("functions/*",),
        ("Cargo.lock", *_STACK, "tests/faults/load.py", *_e2e("expected_csv", "payouts", "tenant", "web")),
    ),
    # Of the changed code, not of the tests: with more tests, no less is noticed.
    "noticed": Result(
        "tests/run --update noticed",
        ("tests/noticed/results/noticed.md",),
        ("functions/*",),
        ("Cargo.lock", "tests/noticed/changes.py", "tests/noticed/mutants.toml"),
    ),
}

# Parts of a crate's folder that are not in its binary.
_ONLY_FOR_TESTS = {"tests", "tests.rs", "testing", "testing.rs", "server.rs", "wire", "wire.rs", "golden", "results"}
_TEST_MODULE = re.compile(r"\n#\[cfg\(test\)\]\n(?:pub(?:\(\w+\))? )?mod \w+ \{\n.*?\n\}\n", re.DOTALL)
_COMMENT = re.compile(r"^[ \t]*//.*\n", re.MULTILINE)


def digest(result: Result, root: Path = ROOT) -> str:
    """The digest of the inputs: paths and contents, without comments and test modules in Rust."""
    found = hashlib.sha256()
    for path, text in sorted(_inputs(result, root)):
        found.update(f"{path}\0{text}\0".encode())
    return found.hexdigest()[:DIGITS]


def line(name: str) -> str:
    """The line of a result that names its inputs."""
    return f"Inputs: `{digest(RESULTS[name])}` (`tests/runner/results.py`)"


def stale(root: Path = ROOT) -> dict[str, list[str]]:
    """The results that were made from other inputs than the present ones, with their files."""
    found = {}
    for name, result in RESULTS.items():
        present = digest(result, root)
        if files := [file for file in result.files if present not in (root / file).read_text()]:
            found[name] = files
    return found


def _inputs(result: Result, root: Path) -> Iterator[tuple[str, str]]:
    files: set[Path] = set()
    for pattern in result.crates:
        for manifest in _matching(root, f"{pattern}/Cargo.toml"):
            _add_crate(manifest.parent, root, files)
    for pattern in result.others:
        name, _, word = pattern.partition(":")
        if word:
            lines = [line for line in (root / name).read_text().splitlines() if word in line]
            yield name, "\n".join(lines)
        else:
            files.update(_matching(root, name))
    for path in files:
        text = path.read_text()
        if path.suffix == ".rs":
            text = _COMMENT.sub("", _TEST_MODULE.sub("\n", text)).rstrip()
        yield path.relative_to(root).as_posix(), text


def _matching(root: Path, pattern: str) -> list[Path]:
    found = [path for path in root.glob(pattern) if path.is_file()]
    if not found:
        raise FileNotFoundError(f"no input matches {pattern}")
    return found


def _add_crate(folder: Path, root: Path, files: set[Path]) -> None:
    """Adds the files of a crate and of the crates of the project that it depends on."""
    manifest = folder / "Cargo.toml"
    if manifest in files:
        return
    paths = (path for path in folder.rglob("*") if not _ONLY_FOR_TESTS & set(path.relative_to(folder).parts))
    files.update(path for path in paths if path.is_file())
    dependencies, _, _ = manifest.read_text().partition("[dev-dependencies]")
    for name in re.findall(r"^([\w-]+)(?:\.workspace)? =", dependencies, re.MULTILINE):
        is_shared = name.startswith("exports-")
        other = root / ("shared" if is_shared else "functions") / name.removeprefix("exports-")
        if (other / "Cargo.toml").exists():
            _add_crate(other, root, files)


if __name__ == "__main__":
    print(digest(RESULTS[sys.argv[1]]))
