"""Which functions emit which metrics and failure codes, as read from the sources."""

from __future__ import annotations

import functools
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
METRICS = ROOT / "shared/telemetry/src/metrics.rs"
FAILURE = ROOT / "shared/domain/src/failure.rs"
FUNCTIONS = sorted(manifest.parent for manifest in (ROOT / "functions").glob("*/Cargo.toml"))


@functools.cache
def sources(crate: Path, features: frozenset[str] | None = None) -> str:
    """The code of a crate without tests, and without the modules of features that are not in `features`."""
    src = crate / "src"
    manifest = (crate / "Cargo.toml").read_text(encoding="utf-8")
    others = set(re.findall(r"^(\w+) = \[", manifest, re.MULTILINE)) - features if features is not None else set()
    text = ""
    for file in sorted(src.rglob("*.rs")):
        module = file.relative_to(src).parts[0].removesuffix(".rs")
        if module not in others and not {"tests", "tests.rs"} & set(file.relative_to(src).parts):
            text += file.read_text(encoding="utf-8").partition("#[cfg(test)]\nmod tests {")[0]
    return text


@functools.cache
def linked(function: Path) -> str:
    """The code of a function and of the shared crates that it depends on, limited to the features it enables."""
    manifest = (function / "Cargo.toml").read_text(encoding="utf-8")
    dependencies = manifest.partition("[dependencies]")[2].partition("\n[")[0]
    text = sources(function)
    shared = re.findall(r"^exports-(\w+)(?:\.workspace = true| = \{.*features = \[(.*)\].*)", dependencies, re.M)
    for name, features in shared:
        if name != "telemetry":
            text += sources(ROOT / "shared" / name, frozenset(re.findall(r"\w+", features)))
    return text


@functools.cache
def metrics_by_variant() -> dict[str, set[str]]:
    """The names of the metrics that each variant of `Metric` emits."""
    numbers = METRICS.read_text(encoding="utf-8").partition("fn numbers(")[2].partition("\n    }\n")[0]
    _, *arms = re.split(r"Self::(\w+)", numbers)
    return {variant: set(re.findall(r'"(\w+)"', arm)) for variant, arm in zip(arms[::2], arms[1::2], strict=True)}


@functools.cache
def emitters() -> dict[str, set[str]]:
    """The functions that emit each metric."""
    found: dict[str, set[str]] = {name: set() for names in metrics_by_variant().values() for name in names}
    for function in FUNCTIONS:
        for variant in re.findall(r"\bMetric::(\w+)", linked(function)):
            for name in metrics_by_variant()[variant]:
                found[name].add(function.name)
    return found


@functools.cache
def codes_by_constructor() -> dict[str, str]:
    """The failure code that each constructor of `Failure` sets."""
    source = FAILURE.read_text(encoding="utf-8")
    constructors = re.findall(
        r"pub fn (\w+)\([^)]*\) -> Self \{(?:(?!\n    \}\n).)*?FailureCode::(\w+)", source, re.DOTALL
    )
    return {constructor: re.sub(r"(?<!^)(?=[A-Z])", "_", variant).upper() for constructor, variant in constructors}


def failures() -> set[tuple[str, str]]:
    """Pairs of a function and a failure code that it sets."""
    return {
        (function.name, codes_by_constructor()[constructor])
        for function in FUNCTIONS
        for constructor in re.findall(r"\bFailure::(\w+)\(", sources(function))
    }
