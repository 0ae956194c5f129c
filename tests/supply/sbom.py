#!/usr/bin/env python3
"""Writes a CycloneDX bill of materials of each function into target/sbom, with cargo-cyclonedx.

    python3 tests/supply/sbom.py

The first run installs the tool, which takes a few minutes.
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
    # Does nothing if this version is installed.
    install = ["cargo", "install", "--quiet", "--locked", "--root", str(TOOLS), f"cargo-cyclonedx@{VERSION}"]
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
    # The tool writes beside every manifest of the workspace, including those of test programs.
    for document in ROOT.glob("tests/**/*.cdx.json"):
        document.unlink()
    for manifest in sorted(ROOT.glob("functions/*/Cargo.toml")):
        (document,) = manifest.parent.glob("*.cdx.json")
        target = folder / f"{manifest.parent.name}.cdx.json"
        document.replace(target)
        names = {component["name"] for component in json.loads(target.read_text(encoding="utf-8"))["components"]}
        if not {"exports-telemetry", "tokio"} <= names or "proptest" in names:
            print(f"{target.relative_to(ROOT)} does not list the dependencies of {manifest.parent.name}")
            return 1
        print(f"{target.relative_to(ROOT)}: {len(names)} crates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
