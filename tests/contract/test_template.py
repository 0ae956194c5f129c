"""The template and the workspace agree: every function is built and deployed, with the settings that it reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from emitted import ROOT
from roles import CRATES, RESOURCES, TEMPLATE, logical

# Rust reads a setting with `settings.text("NAME")`. Some methods have a default.
READ = re.compile(r'\bsettings\s*\.\s*([a-z_]+)\(\s*"([A-Z][A-Z0-9_]*)"')
HAS_DEFAULT = re.compile(r"^optional$|_or$")
# The setting that names the table of an export type.
TABLE = re.compile(r'\btable_setting: "([A-Z_]+)"')
# Set by Lambda.
RESERVED = re.compile(r"^(AWS|LAMBDA)_")


def function(crate: str) -> dict[str, Any]:
    """The properties of a function, including those from Globals."""
    return TEMPLATE["Globals"]["Function"] | RESOURCES[f"{logical(crate)}Function"]["Properties"]


def functions() -> dict[str, dict[str, Any]]:
    return {name: r for name, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}


def settings_read(folder: Path) -> tuple[set[str], set[str]]:
    """The required and the optional settings that the sources in a folder read."""
    required: set[str] = set()
    optional: set[str] = set()
    for source in folder.rglob("*.rs"):
        text = source.read_text(encoding="utf-8")
        required |= set(TABLE.findall(text))
        for method, name in READ.findall(text):
            if not RESERVED.match(name):
                (optional if HAS_DEFAULT.search(method) else required).add(name)
    return required, optional


@pytest.mark.parametrize("crate", CRATES)
def test_function_crate_has_its_resource(crate: str) -> None:
    assert f"{logical(crate)}Function" in functions(), (
        f"template.yaml: no {logical(crate)}Function for functions/{crate}"
    )
    properties = function(crate)
    assert properties["CodeUri"] == f"functions/{crate}/"
    assert properties["FunctionName"] == {"Fn::Sub": f"${{AWS::StackName}}-{crate}"}
    assert (properties["Handler"], properties["Runtime"]) == ("bootstrap", "provided.al2023")
    assert properties["Architectures"] == [{"Ref": "Architecture"}]


BUILD = Path("functions/build")
# Rust's name of the architecture and the field e_machine of its ELF files, by Lambda's name.
ARCHITECTURES = {"x86_64": ("x86_64", b"\x3e\x00"), "arm64": ("aarch64", b"\xb7\x00")}


class FakeBuild:
    """Runs the Makefile's rules as SAM does, in a separate folder and with fake Rust tools."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self.folder, self.architecture = folder, architecture
        self.bootstrap = folder / "artifacts" / "bootstrap"
        self.bootstrap.parent.mkdir()
        path = f"{folder / 'bin'}{os.pathsep}{os.defpath}"
        self.environment = {"PATH": path, "ARTIFACTS_DIR": str(self.bootstrap.parent)}
        shutil.copytree(ROOT / BUILD, folder / BUILD)
        (folder / "bin").mkdir()
        self.program("cargo", "echo cargo $*")
        # An x86_64 machine with the Rust targets of both architectures installed.
        self.program("rustc", f"[ $1 = -vV ] && echo host: x86_64-unknown-linux-gnu || echo {folder}")
        self.program("aarch64-linux-gnu-gcc", "")

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def compiled(self, path: str, machine: bytes) -> None:
        """Writes the program that cargo would have compiled."""
        program = self.folder / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_bytes(b"\x7fELF".ljust(18, b"\0") + machine + path.encode())

    def run(self, crate: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--makefile", BUILD / self.architecture / "Makefile", f"build-{logical(crate)}Function"],
            cwd=self.folder, capture_output=True, text=True, env=self.environment,
        )  # fmt: skip


def test_architectures_match_the_makefiles() -> None:
    parameter = TEMPLATE["Parameters"]["Architecture"]
    assert set(parameter["AllowedValues"]) == ARCHITECTURES.keys()
    assert parameter["Default"] == "x86_64"
    makefiles = {path.parent.name: path.read_text(encoding="utf-8") for path in (ROOT / BUILD).glob("*/Makefile")}
    assert makefiles.keys() == ARCHITECTURES.keys()
    for architecture, text in makefiles.items():
        assert f"ARCHITECTURE := {architecture}\n" in text


@pytest.mark.parametrize("crate", CRATES)
def test_function_is_built_for_its_deployed_architecture(crate: str, tmp_path: Path) -> None:
    metadata = RESOURCES[f"{logical(crate)}Function"]["Metadata"]
    # SAM CLI uses the Makefile in that folder and resolves the parameter as in Architectures.
    assert metadata == {
        "BuildMethod": "makefile", "ContextPath": {"Fn::Sub": f"{BUILD}/${{Architecture}}"}, "WorkingDirectory": ".",
    }  # fmt: skip
    for architecture, (cpu, machine) in ARCHITECTURES.items():
        folder = tmp_path / architecture
        folder.mkdir()
        build = FakeBuild(folder, architecture)
        other = "" if architecture == "x86_64" else f"{cpu}-unknown-linux-gnu/"
        build.compiled(f"target/{other}release/{crate}", machine)
        done = build.run(crate)
        assert done.returncode == 0, done.stderr
        assert build.bootstrap.read_bytes().endswith(f"target/{other}release/{crate}".encode())
        assert ("--target aarch64-unknown-linux-gnu" in done.stdout) == (architecture == "arm64")


def test_program_for_another_architecture_is_rejected(tmp_path: Path) -> None:
    build = FakeBuild(tmp_path, "arm64")
    build.compiled("target/aarch64-unknown-linux-gnu/release/get-caller", ARCHITECTURES["x86_64"][1])
    done = build.run("get-caller")
    assert done.returncode != 0
    assert "GetCaller is not built for arm64" in done.stderr
    assert not build.bootstrap.exists()


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("target", "arm64 needs Rust's target: rustup target add aarch64-unknown-linux-gnu"),
        ("linker", "install gcc-aarch64-linux-gnu"),
    ],
)
def test_build_without_cross_tools_names_what_to_install(missing: str, advice: str, tmp_path: Path) -> None:
    build = FakeBuild(tmp_path, "arm64")
    build.compiled("target/aarch64-unknown-linux-gnu/release/get-caller", ARCHITECTURES["arm64"][1])
    if missing == "target":
        build.program("rustc", "[ $1 = -vV ] && echo host: x86_64-unknown-linux-gnu || echo /nowhere/lib")
    else:
        build.environment["CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"] = "a-linker-that-is-not-there"
    done = build.run("get-caller")
    reported = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert done.returncode != 0
    assert len(reported) == 1
    assert advice in reported[0]
    assert not build.bootstrap.exists()


def test_every_function_resource_has_a_crate() -> None:
    assert set(functions()) == {f"{logical(crate)}Function" for crate in CRATES}


@pytest.mark.parametrize("crate", CRATES)
def test_function_crate_has_sample_events(crate: str) -> None:
    events = sorted((ROOT / "events" / crate).glob("*.json"))
    assert events, f"events/{crate}/ has no .json file"
    for event in events:
        json.loads(event.read_text(encoding="utf-8"))


def test_every_event_folder_belongs_to_a_crate() -> None:
    assert {folder.name for folder in (ROOT / "events").iterdir()} == set(CRATES)


@pytest.mark.parametrize("crate", CRATES)
def test_function_has_a_log_group_with_retention(crate: str) -> None:
    group = logical(crate) + "LogGroup"
    assert RESOURCES[group]["Type"] == "AWS::Logs::LogGroup"
    properties = RESOURCES[group]["Properties"]
    assert properties["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{crate}"}
    assert properties["RetentionInDays"] > 0
    assert function(crate)["LoggingConfig"]["LogGroup"] == {"Ref": group}


def test_settings_are_found_in_the_sources() -> None:
    required, optional = settings_read(ROOT / "functions")
    assert "EXPORTS_TABLE" in required
    assert "MAX_ATTEMPTS" in optional


def test_an_export_takes_half_of_a_partition_unless_the_parameter_changes_it() -> None:
    parameter = TEMPLATE["Parameters"]["ReadShare"]
    assert (parameter["Default"], parameter["MinValue"], parameter["MaxValue"]) == (50, 5, 100)
    assert function("generate-export")["Environment"]["Variables"]["READ_SHARE"] == {"Ref": "ReadShare"}
    source = (ROOT / "functions/generate-export/src/main.rs").read_text(encoding="utf-8")
    assert f"const READ_SHARE: u64 = {parameter['Default']};" in source
    # The share is in percent.
    assert "bytes_per_second: PARTITION_BYTES_PER_SECOND * read_share / 100," in source


def test_files_outlive_their_retention_and_the_longest_export() -> None:
    choices = TEMPLATE["Parameters"]["FileRetentionDays"]["AllowedValues"]
    mapping = TEMPLATE["Mappings"]["FileRetention"]
    assert {days: rule["DeleteAfterDays"] for days, rule in mapping.items()} == {str(d): d + 7 + 1 for d in choices}


def test_samconfig_has_no_placeholder_sender() -> None:
    samconfig = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    overrides = re.findall(r'^parameter_overrides = "(.*)"$', samconfig, re.MULTILINE)
    assert overrides
    for override in overrides:
        parameters = dict(pair.split("=", 1) for pair in override.split())
        assert parameters.keys() <= TEMPLATE["Parameters"].keys()
        assert "Stage" in parameters
        assert not re.search(r"@(.*\.)?example(\.com|\.org|\.net)?$", parameters.get("SenderAddress", ""))
    assert "Default" not in TEMPLATE["Parameters"]["SenderAddress"]
