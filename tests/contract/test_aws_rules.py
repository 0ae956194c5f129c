"""The template follows AWS rules that the emulator does not enforce.

The checks use the template after SAM's transform, as CloudFormation receives it, and the schemas of the resource types.
"""

from __future__ import annotations

import copy
import functools
import json
import re
from typing import Any

import boto3
import pytest
from cfnlint.schema import PROVIDER_SCHEMA_MANAGER
from samtranslator.parser.parser import Parser
from samtranslator.translator.translator import Translator

from emitted import ROOT
from roles import TEMPLATE

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
    """The properties that name and identify a resource and that the template sets."""
    resource = RESOURCES[resource_id]
    definition = schema(resource["Type"])
    identifiers = [definition["primaryIdentifier"], *definition.get("additionalIdentifiers", [])]
    properties = {path.removeprefix("/properties/") for paths in identifiers for path in paths}
    return {name: value for name, value in resource.get("Properties", {}).items() if name in properties}


NAMED = [resource for resource in RESOURCES if names(resource)]


# --------------------------------------------------------------------------------------- two stacks in one account


@pytest.mark.parametrize("resource", NAMED)
def test_resource_name_contains_the_stack_name(resource: str) -> None:
    # A reference to another resource of the stack is unique as well.
    own = [
        isinstance(value, dict) and (value.get("Ref") in RESOURCES or "${AWS::StackName}" in value.get("Fn::Sub", ""))
        for value in names(resource).values()
    ]
    assert any(own), f"{resource}: {names(resource)}"


def test_global_resource_name_contains_the_region() -> None:
    # ARNs of these types contain no region. Only the dashboard has a name in the template.
    everywhere = {"AWS::CloudWatch::Dashboard", "AWS::IAM::User", "AWS::IAM::Role", "AWS::S3::Bucket"}
    (dashboard,) = [resource for resource in NAMED if RESOURCES[resource]["Type"] in everywhere]
    assert all("${AWS::Region}" in value["Fn::Sub"] for value in names(dashboard).values())


def test_schedule_gets_its_name_from_cloudformation() -> None:
    # Without OmitName, SAM derives the name from logical ids, and it is the same in every stack
    # (github.com/aws/serverless-application-model, issue 3109).
    (schedule,) = (r for r in RESOURCES.values() if r["Type"] == "AWS::Scheduler::Schedule")
    assert "Name" not in schedule["Properties"]


# --------------------------------------------------------------------------------------------------- sizes and names


# The maximum length of a generated name, ARN or URL that an environment references.
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
    """The maximum length of an environment variable for all allowed parameters."""
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
    # Lambda measures JSON, where quotes, backslashes and non-ASCII characters are longer.
    free = re.sub(r"\\.|\[(?!\^)[^]]*\]", "", parameter["AllowedPattern"])
    assert not re.search(r"\.|\[\^", free), f"{operand} may have characters that JSON escapes"
    return int(parameter["MaxLength"])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_environment_fits_with_the_longest_parameters(function: str) -> None:
    variables = RESOURCES[function]["Properties"].get("Environment", {}).get("Variables", {})
    # Lambda measures names and values as JSON, as its error message shows ("String measured: {…}",
    # github.com/github-aws-runners/terraform-aws-github-runner, issue 3594).
    measured = json.dumps({name: "x" * longest(value) for name, value in variables.items()}, separators=(",", ":"))
    assert len(measured) <= ENVIRONMENT


@pytest.mark.parametrize("name", TEMPLATE["Parameters"])
def test_parameter_is_bounded(name: str) -> None:
    parameter = TEMPLATE["Parameters"][name]
    bounds = {"MaxValue"} if parameter["Type"] == "Number" else {"MaxLength"}
    assert parameter.keys() & {"AllowedValues", *bounds}


def test_recipient_domains_are_bounded_in_number_and_length() -> None:
    parameter = TEMPLATE["Parameters"]["AllowedRecipientDomains"]
    assert parameter["MaxLength"] == 1000
    assert re.search(parameter["AllowedPattern"], ", ".join(["a.example"] * 20))
    assert not re.search(parameter["AllowedPattern"], ", ".join(["a.example"] * 21))


# CloudFormation allows 128 characters, and a template cannot restrict the name of its stack. The README states this
# limit.
LONGEST_STACK_NAME = 48


@pytest.mark.parametrize("resource", NAMED)
def test_resource_name_fits_with_the_longest_stack_name(resource: str) -> None:
    properties = schema(RESOURCES[resource]["Type"])["properties"]
    for name, value in names(resource).items():
        if "Fn::Sub" not in value:
            continue
        longest_name = value["Fn::Sub"].replace("${AWS::StackName}", "s" * LONGEST_STACK_NAME)
        longest_name = longest_name.replace("${AWS::Region}", "ap-southeast-99")
        most = 64 if name == "FunctionName" else properties[name].get("maxLength", 128)
        assert "$" not in longest_name
        assert len(longest_name) <= most, f"{resource}.{name}"


def test_stack_names_respect_the_limit() -> None:
    deploy = (ROOT / "DEPLOY.md").read_text(encoding="utf-8")
    assert f"at most {LONGEST_STACK_NAME} characters" in deploy
    # The limit is as high as the longest function name allows.
    suffixes = [names(function)["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}") for function in FUNCTIONS]
    assert LONGEST_STACK_NAME + max(map(len, suffixes)) == 64
    stacks = re.findall(r'^stack_name = "(.*)"$', (ROOT / "samconfig.toml").read_text(encoding="utf-8"), re.MULTILINE)
    assert stacks
    # A trail's name cannot contain consecutive hyphens (CloudTrail User Guide, "Trail naming requirements").
    assert all(re.fullmatch(r"[A-Za-z](-?[A-Za-z0-9])*", name) and len(name) <= LONGEST_STACK_NAME for name in stacks)


# -------------------------------------------------------------------------------------------------------- access log


# Variables of an HTTP API (API Gateway Developer Guide, "Customize HTTP API access logs") that contain no personal
# data. A missing value is a hyphen.
VARIABLES = {
    "requestTime", "requestId", "routeKey", "status", "responseLatency", "error.message", "integrationErrorMessage",
}  # fmt: skip
ACCESS_LOG = TEMPLATE["Resources"]["HttpApi"]["Properties"]["AccessLogSettings"]


def test_access_log_group_needs_no_resource_policy() -> None:
    # API Gateway adds each group to one policy. When the policy exceeds 5,120 characters, deployments fail. One entry
    # covers all groups with this prefix (Step Functions Developer Guide, "Avoiding Amazon CloudWatch Logs resource
    # policy size restrictions"; github.com/serverless/serverless, issue 10469).
    destination, _ = ACCESS_LOG["DestinationArn"]["Fn::GetAtt"]
    assert RESOURCES[destination]["Properties"]["LogGroupName"]["Fn::Sub"].startswith("/aws/vendedlogs/")


def test_access_log_format_is_one_line_of_json() -> None:
    line = ACCESS_LOG["Format"]
    # API Gateway: "Access Log format must be single line".
    assert "\n" not in line
    assert set(re.findall(r"\$context\.([\w.]+)", line)) == VARIABLES
    # A missing value is a bare hyphen, also that of error.messageString, which otherwise includes its quotes.
    for value in ("-", "Service Unavailable"):
        printed = json.loads(re.sub(r"\$context\.[\w.]+", value, line))
        assert set(printed.values()) == {value}


def test_record_downloads_description_states_the_trail_quota() -> None:
    # CloudTrail User Guide, "Quotas in AWS CloudTrail".
    assert "a region allows five trails" in TEMPLATE["Parameters"]["RecordDownloads"]["Description"]


def test_only_the_api_the_schedule_and_the_queue_invoke_functions() -> None:
    # SAM adds the permission for a function URL. The schedule and the queue use roles.
    assert not [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Lambda::Url"]
    permissions = [r["Properties"] for r in RESOURCES.values() if r["Type"] == "AWS::Lambda::Permission"]
    assert {permission["Principal"] for permission in permissions} == {"apigateway.amazonaws.com"}


# ------------------------------------------------------------------------------------------------------ the template


def test_template_fits_a_deployment_from_a_bucket() -> None:
    # CloudFormation accepts 51,200 bytes in a request and 1 MB from a bucket (CloudFormation User Guide, "Understand
    # CloudFormation quotas").
    template = (ROOT / "template.yaml").read_bytes()
    samconfig = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    deploying = re.findall(r"^\[\w+\.deploy\.parameters\]\n((?:\w.*\n?)*)", samconfig, re.MULTILINE)
    assert len(template) > 51_200
    assert len(json.dumps(RESOURCES)) + len(template) < 1_000_000
    assert len(deploying) == 3
    assert all("resolve_s3 = true\n" in settings for settings in deploying)
