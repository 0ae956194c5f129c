"""The template against rules of AWS's that show only in a real account, because the local AWS does not know them.

Checked on the template as CloudFormation gets it, after SAM's transform, and with the resource types' own schemas.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import boto3
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
REGION = "us-east-1"


def processed() -> dict[str, Any]:
    """The template after SAM's transform."""
    template = copy.deepcopy(TEMPLATE)
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Serverless::Function":
            resource["Properties"]["CodeUri"] = "s3://bucket/key"
    translator = Translator({}, Parser(), boto_session=boto3.Session(region_name=REGION))
    translated: dict[str, Any] = translator.translate(template, {})
    return translated


RESOURCES: dict[str, dict[str, Any]] = processed()["Resources"]


def schema(resource_type: str) -> dict[str, Any]:
    found: dict[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema(REGION, resource_type).schema
    return found


def names(resource_id: str) -> dict[str, Any]:
    """The names that identify a resource and that the template chooses, by property."""
    resource = RESOURCES[resource_id]
    definition = schema(resource["Type"])
    identifiers = [definition["primaryIdentifier"], *definition.get("additionalIdentifiers", [])]
    properties = {path.removeprefix("/properties/") for paths in identifiers for path in paths}
    return {name: value for name, value in resource.get("Properties", {}).items() if name in properties}


NAMED = [resource for resource in RESOURCES if names(resource)]


# ------------------------------------------------------------------------------------------- two stacks in an account


@pytest.mark.parametrize("resource", NAMED)
def test_name_is_the_stacks_own(resource: str) -> None:
    # What belongs to another resource of this stack cannot meet another stack's.
    own = [
        isinstance(value, dict) and (value.get("Ref") in RESOURCES or "${AWS::StackName}" in value.get("Fn::Sub", ""))
        for value in names(resource).values()
    ]
    assert any(own), f"{resource}: {names(resource)}"


def test_name_that_is_unique_across_regions_has_the_region_in_it() -> None:
    # A dashboard's ARN has no region; of the other types that are like this (users, roles, buckets) none has a name.
    everywhere = {"AWS::CloudWatch::Dashboard", "AWS::IAM::User", "AWS::IAM::Role", "AWS::S3::Bucket"}
    for resource in NAMED:
        if RESOURCES[resource]["Type"] in everywhere:
            assert all("${AWS::Region}" in value["Fn::Sub"] for value in names(resource).values()), resource


def test_schedule_gets_its_name_from_cloudformation() -> None:
    # SAM makes up a name of logical ids, the same in each stack, unless it is told not to
    # (github.com/aws/serverless-application-model, issue 3109).
    (schedule,) = (r for r in RESOURCES.values() if r["Type"] == "AWS::Scheduler::Schedule")
    assert "Name" not in schedule["Properties"]
