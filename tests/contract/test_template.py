"""The template against the workspace: what is built is deployed, what is deployed is built, settings agree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
CRATES = sorted(manifest.parent.name for manifest in (ROOT / "functions").glob("*/Cargo.toml"))

# How Rust reads a setting: `settings.text("NAME")`. It must be there, unless the method says otherwise.
READ = re.compile(r'\bsettings\s*\.\s*([a-z_]+)\(\s*"([A-Z][A-Z0-9_]*)"')
MAY_BE_MISSING = re.compile(r"^optional$|_or$")
# Lambda sets these itself.
OF_LAMBDA = re.compile(r"^(AWS|LAMBDA)_")


def logical_id(crate: str) -> str:
    return "".join(word.capitalize() for word in crate.split("-")) + "Function"


def function(crate: str) -> dict[str, Any]:
    """The properties of a function, with what it has from Globals."""
    return TEMPLATE["Globals"]["Function"] | RESOURCES[logical_id(crate)]["Properties"]


def functions() -> dict[str, dict[str, Any]]:
    return {name: r for name, r in RESOURCES.items() if r["Type"] == "AWS::Serverless::Function"}


def environment(crate: str) -> set[str]:
    everywhere = TEMPLATE["Globals"]["Function"].get("Environment", {}).get("Variables", {})
    own = RESOURCES[logical_id(crate)]["Properties"].get("Environment", {}).get("Variables", {})
    return {*everywhere, *own}


def settings_read(folder: Path) -> tuple[set[str], set[str]]:
    """The settings that the sources under a folder read: those that must be there, and the others."""
    required: set[str] = set()
    optional: set[str] = set()
    for source in folder.rglob("*.rs"):
        for method, name in READ.findall(source.read_text(encoding="utf-8")):
            if not OF_LAMBDA.match(name):
                (optional if MAY_BE_MISSING.search(method) else required).add(name)
    return required, optional


@pytest.mark.parametrize("crate", CRATES)
def test_function_crate_has_its_resource(crate: str) -> None:
    assert logical_id(crate) in functions(), f"template.yaml: no {logical_id(crate)} for functions/{crate}"
    properties = function(crate)
    assert properties["CodeUri"] == f"functions/{crate}/"
    assert properties["FunctionName"] == {"Fn::Sub": f"${{AWS::StackName}}-{crate}"}
    assert (properties["Handler"], properties["Runtime"]) == ("bootstrap", "provided.al2023")
    assert properties["Architectures"] == [{"Ref": "Architecture"}]


BUILD = Path("functions/build")
# By Lambda's name of an architecture: Rust's, and what the header of its programs says (ELF, e_machine).
ARCHITECTURES = {"x86_64": ("x86_64", b"\x3e\x00"), "arm64": ("aarch64", b"\xb7\x00")}


class Made:
    """The Makefile's rules in a folder of their own, run as SAM does, with stand-ins for Rust's programs."""

    def __init__(self, folder: Path, architecture: str) -> None:
        self.folder, self.architecture = folder, architecture
        self.bootstrap = folder / "artifacts" / "bootstrap"
        self.bootstrap.parent.mkdir()
        path = f"{folder / 'bin'}{os.pathsep}{os.defpath}"
        self.environment = {"PATH": path, "ARTIFACTS_DIR": str(self.bootstrap.parent)}
        shutil.copytree(ROOT / BUILD, folder / BUILD)
        (folder / "bin").mkdir()
        self.program("cargo", "echo cargo $*")
        # A machine of x86_64 that has Rust's target of either architecture.
        self.program("rustc", f"[ $1 = -vV ] && echo host: x86_64-unknown-linux-gnu || echo {folder}")
        self.program("aarch64-linux-gnu-gcc", "")

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def built(self, path: str, machine: bytes) -> None:
        """What cargo would have left there."""
        program = self.folder / path
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_bytes(b"\x7fELF".ljust(18, b"\0") + machine + path.encode())

    def run(self, crate: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--makefile", BUILD / self.architecture / "Makefile", f"build-{logical_id(crate)}"],
            cwd=self.folder, capture_output=True, text=True, env=self.environment,
        )  # fmt: skip


def test_architecture_is_one_that_lambda_has_and_the_makefile_knows() -> None:
    parameter = TEMPLATE["Parameters"]["Architecture"]
    assert set(parameter["AllowedValues"]) == ARCHITECTURES.keys()
    assert parameter["Default"] == "x86_64"
    makefiles = {path.parent.name: path.read_text(encoding="utf-8") for path in (ROOT / BUILD).glob("*/Makefile")}
    assert makefiles.keys() == ARCHITECTURES.keys()
    for architecture, text in makefiles.items():
        assert f"ARCHITECTURE := {architecture}\n" in text


@pytest.mark.parametrize("crate", CRATES)
def test_function_is_built_for_the_architecture_that_it_is_deployed_as(crate: str, tmp_path: Path) -> None:
    metadata = RESOURCES[logical_id(crate)]["Metadata"]
    # SAM CLI takes the Makefile of that folder, and fills in the parameter as it does for the function's Architectures.
    assert metadata == {
        "BuildMethod": "makefile", "ContextPath": {"Fn::Sub": f"{BUILD}/${{Architecture}}"}, "WorkingDirectory": ".",
    }  # fmt: skip
    for architecture, (cpu, machine) in ARCHITECTURES.items():
        folder = tmp_path / architecture
        folder.mkdir()
        made = Made(folder, architecture)
        other = "" if architecture == "x86_64" else f"{cpu}-unknown-linux-gnu/"
        made.built(f"target/{other}release/{crate}", machine)
        done = made.run(crate)
        assert done.returncode == 0, done.stderr
        assert made.bootstrap.read_bytes().endswith(f"target/{other}release/{crate}".encode())
        assert ("--target aarch64-unknown-linux-gnu" in done.stdout) == (architecture == "arm64")


def test_program_for_another_architecture_is_not_left_to_be_deployed(tmp_path: Path) -> None:
    made = Made(tmp_path, "arm64")
    made.built("target/aarch64-unknown-linux-gnu/release/get-caller", ARCHITECTURES["x86_64"][1])
    done = made.run("get-caller")
    assert done.returncode != 0
    assert "GetCaller is not built for arm64" in done.stderr
    assert not made.bootstrap.exists()


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("target", "arm64 needs Rust's target: rustup target add aarch64-unknown-linux-gnu"),
        ("linker", "install gcc-aarch64-linux-gnu"),
    ],
)
def test_build_without_the_other_architectures_tools_says_which_to_install(
    missing: str, advice: str, tmp_path: Path
) -> None:
    made = Made(tmp_path, "arm64")
    made.built("target/aarch64-unknown-linux-gnu/release/get-caller", ARCHITECTURES["arm64"][1])
    if missing == "target":
        made.program("rustc", "[ $1 = -vV ] && echo host: x86_64-unknown-linux-gnu || echo /nowhere/lib")
    else:
        made.environment["CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER"] = "a-linker-that-is-not-there"
    done = made.run("get-caller")
    told = [line for line in done.stderr.splitlines() if not line.startswith("make: ")]
    assert done.returncode != 0
    assert len(told) == 1
    assert advice in told[0]
    assert not made.bootstrap.exists()


def test_function_resources_all_have_a_crate() -> None:
    assert set(functions()) == {logical_id(crate) for crate in CRATES}


@pytest.mark.parametrize("crate", CRATES)
def test_function_crate_has_sample_events(crate: str) -> None:
    events = sorted((ROOT / "events" / crate).glob("*.json"))
    assert events, f"events/{crate}/ has no .json file"
    for event in events:
        json.loads(event.read_text(encoding="utf-8"))


def test_sample_events_all_belong_to_a_crate() -> None:
    assert {folder.name for folder in (ROOT / "events").iterdir()} == set(CRATES)


@pytest.mark.parametrize("crate", CRATES)
def test_function_logs_to_a_group_that_forgets(crate: str) -> None:
    group = logical_id(crate).removesuffix("Function") + "LogGroup"
    assert RESOURCES[group]["Type"] == "AWS::Logs::LogGroup"
    properties = RESOURCES[group]["Properties"]
    assert properties["LogGroupName"] == {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{crate}"}
    assert properties["RetentionInDays"] > 0
    assert function(crate)["LoggingConfig"]["LogGroup"] == {"Ref": group}


@pytest.mark.parametrize("crate", CRATES)
def test_function_gets_the_settings_it_reads_and_no_others(crate: str) -> None:
    required, optional = settings_read(ROOT / "functions" / crate)
    shared = set().union(*settings_read(ROOT / "shared"))
    assert required <= environment(crate), "read by the function, not set by the template"
    assert environment(crate) <= required | optional | shared, "set by the template, read by nothing"


def test_settings_are_read_in_the_way_that_these_tests_look_for() -> None:
    required, optional = settings_read(ROOT / "functions")
    assert "EXPORTS_TABLE" in required
    assert "MAX_TRIES" in optional


def test_job_messages_stay_hidden_for_six_times_the_generators_time_out() -> None:
    queue = RESOURCES["JobsQueue"]["Properties"]
    assert queue["VisibilityTimeout"] >= 6 * function("generate-export")["Timeout"]


def test_files_are_deleted_a_day_after_their_retention_and_the_longest_export() -> None:
    choices = TEMPLATE["Parameters"]["FileRetentionDays"]["AllowedValues"]
    mapping = TEMPLATE["Mappings"]["FileRetention"]
    assert {days: rule["DeleteAfterDays"] for days, rule in mapping.items()} == {str(d): d + 7 + 1 for d in choices}


def test_environments_deploy_with_no_sender_that_nobody_owns() -> None:
    samconfig = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    overrides = re.findall(r'^parameter_overrides = "(.*)"$', samconfig, re.MULTILINE)
    assert overrides
    for override in overrides:
        parameters = dict(pair.split("=", 1) for pair in override.split())
        assert parameters.keys() <= TEMPLATE["Parameters"].keys()
        assert "Stage" in parameters
        assert not re.search(r"@(.*\.)?example(\.com|\.org|\.net)?$", parameters.get("SenderAddress", ""))
    assert "Default" not in TEMPLATE["Parameters"]["SenderAddress"]
