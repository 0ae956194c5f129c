"""The template against the workspace: what is built is deployed, what is deployed is built, settings agree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
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
    assert properties["Architectures"] == ["x86_64"]


@pytest.mark.parametrize("crate", CRATES)
def test_function_is_built_by_the_rule_of_the_makefile(crate: str) -> None:
    metadata = RESOURCES[logical_id(crate)]["Metadata"]
    assert metadata == {"BuildMethod": "makefile", "ContextPath": ".", "WorkingDirectory": "."}
    # What SAM does for a function, with `cargo` as a program that builds nothing.
    with tempfile.TemporaryDirectory() as folder:
        built, artifacts = Path(folder, "target", "release"), Path(folder, "artifacts")
        for made in (built, artifacts):
            made.mkdir(parents=True)
        (built / crate).write_text(crate)
        cargo = Path(folder, "cargo")
        cargo.write_text("#!/bin/sh\n")
        cargo.chmod(0o755)
        subprocess.run(
            ["make", "--makefile", ROOT / "Makefile", f"build-{logical_id(crate)}"],
            cwd=folder, check=True, stdout=subprocess.DEVNULL,
            env={"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "ARTIFACTS_DIR": str(artifacts)},
        )  # fmt: skip
        assert (artifacts / "bootstrap").read_text() == crate


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


def test_files_are_deleted_a_day_after_their_retention() -> None:
    choices = TEMPLATE["Parameters"]["FileRetentionDays"]["AllowedValues"]
    mapping = TEMPLATE["Mappings"]["FileRetention"]
    assert {days: rule["DeleteAfterDays"] for days, rule in mapping.items()} == {str(d): d + 1 for d in choices}


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
