"""The template against rules of AWS's that show only in a real account, because the local AWS does not know them.

Checked on the template as CloudFormation gets it, after SAM's transform, and with the resource types' own schemas.
"""

from __future__ import annotations

import copy
import functools
import json
import re
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


@functools.cache
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


# --------------------------------------------------------------------------------------------------- sizes and names


# The longest that CloudFormation or a service makes what a function's environment refers to.
LONGEST_REFERENCE = {
    "AWS::DynamoDB::Table": 255,
    "AWS::S3::Bucket": 63,
    "AWS::SES::ConfigurationSet": 64,
    "AWS::SQS::Queue": len("https://sqs.ap-southeast-99.amazonaws.com.cn/123456789012/") + 80,
    "AWS::SecretsManager::Secret": len("arn:aws-us-gov:secretsmanager:ap-southeast-99:123456789012:secret:") + 512 + 7,
}
ENVIRONMENT = 4096
FUNCTIONS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Lambda::Function"]


def longest(value: Any) -> int:
    """How long a value of an environment can get, whatever the parameters are."""
    if isinstance(value, str):
        return len(value)
    ((operation, operand),) = value.items()
    if operation == "Fn::If":
        return max(longest(operand[1]), longest(operand[2]))
    if operation == "Fn::Sub":
        references = re.findall(r"\$\{([^}]+)\}", operand)
        return len(re.sub(r"\$\{[^}]+\}", "", operand)) + sum(longest({"Ref": name}) for name in references)
    assert operation == "Ref"
    if operand in RESOURCES:
        return LONGEST_REFERENCE[RESOURCES[operand]["Type"]]
    parameter = TEMPLATE["Parameters"][operand]
    if "AllowedValues" in parameter:
        return max(len(str(choice)) for choice in parameter["AllowedValues"])
    if parameter["Type"] == "Number":
        return len(str(parameter["MaxValue"]))
    assert "MaxLength" in parameter, f"{operand} reaches an environment and needs a MaxLength"
    # What Lambda would measure longer than it is: quotes, backslashes, and what is not ASCII.
    free = re.sub(r"\\.|\[(?!\^)[^]]*\]", "", parameter["AllowedPattern"])
    assert not re.search(r"\.|\[\^", free), f"{operand} may have characters that JSON escapes"
    return int(parameter["MaxLength"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_environment_fits_whatever_the_parameters_are(function: str) -> None:
    variables = RESOURCES[function]["Properties"].get("Environment", {}).get("Variables", {})
    # Lambda measures names and values as the JSON that it prints when it refuses them ("String measured: {…}",
    # github.com/github-aws-runners/terraform-aws-github-runner, issue 3594).
    measured = json.dumps({name: "x" * longest(value) for name, value in variables.items()}, separators=(",", ":"))
    assert len(measured) <= ENVIRONMENT


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_parameter_is_bounded(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    bounds = {"MaxValue"} if parameter["Type"] == "Number" else {"MaxLength"}
    assert parameter.keys() & {"AllowedValues", *bounds}


def test_domains_that_copies_may_go_to_are_bounded_in_number_and_length() -> None:
    parameter = TEMPLATE["Parameters"]["AllowedRecipientDomains"]
    assert parameter["MaxLength"] == 1000
    assert re.search(parameter["AllowedPattern"], ", ".join(["a.example"] * 20))
    assert not re.search(parameter["AllowedPattern"], ", ".join(["a.example"] * 21))


# How long a stack's name may be: CloudFormation takes 128 characters, and no rule of a template can look at it.
LONGEST_STACK_NAME = 48


@pytest.mark.parametrize("resource", NAMED)
def test_name_fits_whatever_the_stack_is_called_within_what_the_readme_says(resource: str) -> None:
    properties = schema(RESOURCES[resource]["Type"])["properties"]
    for name, value in names(resource).items():
        if "Fn::Sub" not in value:
            continue
        longest_name = value["Fn::Sub"].replace("${AWS::StackName}", "s" * LONGEST_STACK_NAME)
        longest_name = longest_name.replace("${AWS::Region}", "ap-southeast-99")
        most = 64 if name == "FunctionName" else properties[name].get("maxLength", 128)
        assert "$" not in longest_name
        assert len(longest_name) <= most, f"{resource}.{name}"


def test_stack_names_keep_to_what_the_readme_says() -> None:
    deploy = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Deploy\n")[2]
    assert f"at most {LONGEST_STACK_NAME} characters" in deploy
    # Not longer than needed: one more, and the longest function's name would not fit.
    suffixes = [names(function)["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}") for function in FUNCTIONS]
    assert LONGEST_STACK_NAME + max(map(len, suffixes)) == 64
    stacks = re.findall(r'^stack_name = "(.*)"$', (ROOT / "samconfig.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert stacks
    # A trail's name has no two hyphens in a row (CloudTrail User Guide, "Trail naming requirements").
    assert all(re.fullmatch(r"[A-Za-z](-?[A-Za-z0-9])*", name) and len(name) <= LONGEST_STACK_NAME for name in stacks)


# -------------------------------------------------------------------------------------------------------- access log


# The variables that an HTTP API knows (API Gateway Developer Guide, "Customize HTTP API access logs"), as far as a line
# without personal data may have them. Their values are strings: one that is missing is a hyphen.
VARIABLES = {
    "requestTime", "requestId", "routeKey", "status", "responseLatency", "error.messageString",
    "integrationErrorMessage",
}  # fmt: skip
ACCESS_LOG = TEMPLATE["Resources"]["HttpApi"]["Properties"]["AccessLogSettings"]


def test_access_log_goes_to_a_group_that_needs_no_resource_policy_of_its_own() -> None:
    # The policy that API Gateway writes names each group, until it has 5,120 characters and further deployments fail;
    # what begins like this is covered by one entry (Step Functions Developer Guide, "Avoiding Amazon CloudWatch Logs
    # resource policy size restrictions"; github.com/serverless/serverless, issue 10469).
    destination, _ = ACCESS_LOG["DestinationArn"]["Fn::GetAtt"]
    assert RESOURCES[destination]["Properties"]["LogGroupName"]["Fn::Sub"].startswith("/aws/vendedlogs/")


def test_access_log_is_a_line_of_json() -> None:
    line = ACCESS_LOG["Format"]
    # API Gateway: "Access Log format must be single line".
    assert "\n" not in line
    assert set(re.findall(r"\$context\.([\w.]+)", line)) == VARIABLES
    # This one brings quotes along, and escapes what is between them. The others need them.
    printed = re.sub(r"(?<!\")\$context\.error\.messageString(?!\")", '"Service \\\\"Unavailable\\\\""', line)
    printed = re.sub(r"(?<=\")\$context\.[\w.]+(?=\")", "value", printed)
    assert json.loads(printed)["error"] == 'Service "Unavailable"'


def test_trail_can_be_left_out_where_a_region_has_all_that_it_may_have() -> None:
    # CloudTrail User Guide, "Quotas in AWS CloudTrail".
    assert "a region allows five trails" in TEMPLATE["Parameters"]["RecordDownloads"]["Description"]


# ------------------------------------------------------------------------------------------------------ the template


def test_template_is_deployed_from_a_bucket_and_small_enough_for_that() -> None:
    # CloudFormation takes 51,200 bytes with a request, and 1 MB from a bucket (CloudFormation User Guide, "Understand
    # CloudFormation quotas").
    template = (ROOT / "template.yaml").read_bytes()
    samconfig = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    deploying = re.findall(r"^\[\w+\.deploy\.parameters\]\n((?:\w.*\n?)*)", samconfig, re.MULTILINE)
    assert len(template) > 51_200
    assert len(json.dumps(RESOURCES)) + len(template) < 1_000_000
    assert len(deploying) == 3
    assert all("resolve_s3 = true\n" in settings for settings in deploying)
