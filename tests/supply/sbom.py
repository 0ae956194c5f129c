#!/usr/bin/env python3
"""Writes what each function is built from into target/sbom: a CycloneDX document each, by cargo-cyclonedx.

    python3 tests/supply/sbom.py

Builds the tool the first time, which takes some minutes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "target" / "tools"
VERSION = "0.5.9"


def main() -> int:
    # Does nothing when this version is there.
    install = ["cargo", "install", "--quiet", "--locked", "--root", TOOLS, f"cargo-cyclonedx@{VERSION}"]
    subprocess.run(install, cwd=ROOT, check=True)
    subprocess.run(
        [
            TOOLS / "bin" / "cargo-cyclonedx", "cyclonedx", "--quiet", "--format", "json", "--spec-version", "1.5",
            "--describe", "binaries", "--target", "x86_64-unknown-linux-gnu", "--no-build-deps",
        ],
        cwd=ROOT, check=True,
    )  # fmt: skip
    folder = ROOT / "target" / "sbom"
    folder.mkdir(parents=True, exist_ok=True)
    # The tool writes beside the manifests, for the tests' programs as well.
    for document in ROOT.glob("tests/**/*.cdx.json"):
        document.unlink()
    for manifest in sorted(ROOT.glob("functions/*/Cargo.toml")):
        # Of one binary, which has the name of its folder.
        (document,) = manifest.parent.glob("*.cdx.json")
        target = folder / f"{manifest.parent.name}.cdx.json"
        document.replace(target)
        names = {component["name"] for component in json.loads(target.read_text(encoding="utf-8"))["components"]}
        if not {"exports-telemetry", "tokio"} <= names or "proptest" in names:
            print(f"{target.relative_to(ROOT)} does not list what {manifest.parent.name} is built from")
            return 1
        print(f"{target.relative_to(ROOT)}: {len(names)} crates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
