"""What cargo compiles once for the whole of `tests/run`."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def features(edges: str) -> dict[str, set[str]]:
    """Every crate with the features it is compiled with."""
    command = ["cargo", "tree", "--locked", "--workspace", "--all-features", "--prefix", "none", "--format", "{p}|{f}"]
    listed = subprocess.run([*command, "--edges", edges], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found: dict[str, set[str]] = {}
    for line in listed.splitlines():
        crate, _, enabled = line.removesuffix(" (*)").partition("|")
        found.setdefault(crate, set()).add(enabled)
    return found


def test_dev_dependencies_add_no_features_to_what_others_use() -> None:
    """If they did, cargo would compile a crate and all that uses it again, for rustdoc and for check-invariants."""
    without, tests = features("normal,build"), features("normal,build,dev")
    differ = {crate: (without[crate], tests[crate]) for crate in without if not without[crate] & tests[crate]}
    assert not differ, "name these features in a dependency that is not for tests only, as tests/bench/Cargo.toml does"
