"""CloudFormation, with SAM's transform."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from conftest import Account, Responses

SECONDS = 20.0


@pytest.fixture(scope="module")
def stacks(account: Account) -> Stacks:
    return Stacks(account)


class Stacks:
    def __init__(self, account: Account) -> None:
        self.client = account.client("cloudformation")

    def create(self, name: str, resources: Mapping[str, Any], transform: bool = False) -> tuple[str, str]:
        """The final status of a stack's creation, and why its first resource failed."""
        return self._deploy(self.client.create_stack, name, resources, transform)

    def update(self, name: str, resources: Mapping[str, Any]) -> tuple[str, str]:
        return self._deploy(self.client.update_stack, name, resources, False)

    def _deploy(self, call: Any, name: str, resources: Mapping[str, Any], transform: bool) -> tuple[str, str]:
        template = {"Resources": resources} | ({"Transform": "AWS::Serverless-2016-10-31"} if transform else {})
        capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
        call(StackName=name, TemplateBody=json.dumps(template), Capabilities=capabilities)
        deadline = time.monotonic() + SECONDS
        while (state := self._state(name)).endswith("_IN_PROGRESS"):
            assert time.monotonic() < deadline, state
            time.sleep(0.05)
        events = self.client.describe_stack_events(StackName=name)["StackEvents"]
        failures = [e.get("ResourceStatusReason", "") for e in events if e["ResourceStatus"].endswith("_FAILED")]
        return state, failures[-1] if failures else ""

    def _state(self, name: str) -> str:
        return str(self.client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"])


def table(policy: str, name: str) -> dict[str, Any]:
    return {
        "Type": "AWS::DynamoDB::Table",
        "DeletionPolicy": policy,
        "Properties": {
            "TableName": name,
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [{"AttributeName": "pk", "AttributeType": "S"}],
            "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}],
        },
    }


def queue_policy(*queues: str) -> dict[str, Any]:
    arns = [{"Fn::GetAtt": [queue, "Arn"]} for queue in queues]
    statement = {"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": arns}
    return {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [{"Ref": queue} for queue in queues],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": [statement]},
        },
    }


def test_policy_for_two_queues_fails_the_stack(stacks: Stacks, responses: Responses) -> None:
    """A queue policy with a statement that names two queues fails its stack.

    Source: SQS Developer Guide, "Special Information for SQS Policies"; cloudtools/stacker_blueprints PR 71
    """
    queues = {name: {"Type": "AWS::SQS::Queue"} for name in ("A", "B")}
    state, reason = stacks.create("policy-of-two", {**queues, "Policy": queue_policy("A", "B")})
    assert (state, "Invalid value for the parameter Policy" in reason) == ("ROLLBACK_COMPLETE", True), reason
    responses.add(reason)
    assert stacks.create("policy-of-one", {**queues, "Policy": queue_policy("A")})[0] == "CREATE_COMPLETE"


def test_failed_creation_keeps_retained_resources(account: Account, stacks: Stacks, responses: Responses) -> None:
    """A failed creation keeps resources with the deletion policy Retain and deletes those with RetainExceptOnCreate.

    Source: CloudFormation User Guide, "DeletionPolicy attribute"
    """
    failing = {"Type": "AWS::SQS::QueuePolicy", "DependsOn": ["Kept", "Gone"]}
    failing |= {"Properties": queue_policy("A", "B")["Properties"]}
    resources = {
        "A": {"Type": "AWS::SQS::Queue"},
        "B": {"Type": "AWS::SQS::Queue"},
        "Kept": table("Retain", "kept"),
        "Gone": table("RetainExceptOnCreate", "gone"),
        "Failing": failing,
    }
    assert stacks.create("failed", resources)[0] == "ROLLBACK_COMPLETE"
    tables = account.client("dynamodb").list_tables()["TableNames"]
    assert ("kept" in tables, "gone" in tables) == (True, False)
    responses.add("ROLLBACK_COMPLETE: Retain is kept, RetainExceptOnCreate is deleted")


def test_second_schedule_of_a_name_fails_its_stack(stacks: Stacks, responses: Responses) -> None:
    """SAM names a schedule after its function and event, the same in every stack, unless Name or OmitName is set.

    Source: aws/serverless-application-model issues 3109 and 3120
    """

    def sweep(**event: Any) -> dict[str, Any]:
        schedule = {"Type": "ScheduleV2", "Properties": {"ScheduleExpression": "rate(1 hour)", **event}}
        properties = {"Runtime": "python3.13", "Handler": "index.handler", "InlineCode": "handler = print"}
        events = {"EveryHour": schedule}
        return {"Sweep": {"Type": "AWS::Serverless::Function", "Properties": {**properties, "Events": events}}}

    assert stacks.create("sweep-1", sweep(), transform=True)[0] == "CREATE_COMPLETE"
    state, reason = stacks.create("sweep-2", sweep(), transform=True)
    assert (state, "already exists" in reason) == ("ROLLBACK_COMPLETE", True), reason
    responses.add(reason)
    assert stacks.create("sweep-3", sweep(OmitName=True), transform=True)[0] == "CREATE_COMPLETE"


def test_second_resource_of_a_name_fails_its_stack(stacks: Stacks, responses: Responses) -> None:
    """A stack cannot create a resource whose name is in use.

    Source: CloudFormation User Guide, "Name type"
    """
    resources = {
        "Group": {"Type": "AWS::Logs::LogGroup", "Properties": {"LogGroupName": "/rules"}},
        "Queue": {"Type": "AWS::SQS::Queue", "Properties": {"QueueName": "rules-of-a-stack"}},
        "Table": table("Delete", "rules-of-a-stack"),
        "Board": {
            "Type": "AWS::CloudWatch::Dashboard",
            "Properties": {"DashboardName": "rules", "DashboardBody": '{"widgets": []}'},
        },
    }
    assert stacks.create("names", resources)[0] == "CREATE_COMPLETE"
    for name, resource in resources.items():
        state, reason = stacks.create(f"names-{name}", {name: resource})
        assert state == "ROLLBACK_COMPLETE", (name, reason)
        responses.add(reason)


def test_function_over_its_limits_fails_its_stack(stacks: Stacks, responses: Responses) -> None:
    """A stack applies the limits of a function's name, environment and reservation.

    Source: Lambda API Reference, CreateFunction and PutFunctionConcurrency
    """
    violations: dict[str, tuple[dict[str, Any], str]] = {
        "name": ({"FunctionName": "n" * 65}, "Member must have length less than or equal to 64"),
        "environment": ({"Environment": {"Variables": {"X": "x" * 4096}}}, "exceeded the 4KB limit"),
        "reservation": ({"ReservedConcurrentExecutions": 901}, "below its minimum value of [100]"),
    }
    for name, (properties, message) in violations.items():
        function = {"Runtime": "python3.13", "Handler": "index.handler", "Code": {"ZipFile": "handler = print"}}
        resource = {"Type": "AWS::Lambda::Function", "Properties": {**function, **properties}}
        state, reason = stacks.create(f"large-{name}", {"Function": resource})
        assert (state, message in reason) == ("ROLLBACK_COMPLETE", True), reason
        responses.add(message)


def test_route_with_settings_cannot_be_removed(stacks: Stacks, responses: Responses) -> None:
    """A stage's RouteSettings name existing routes. A route and its settings cannot be removed in the same update.

    Source: aws/serverless-application-model issue 1939; serverless/serverless issue 12776
    """

    def api(routes: list[str], settings: list[str]) -> dict[str, Any]:
        body = {"openapi": "3.0.1", "info": {"title": "rules"}, "paths": {path: {"get": {}} for path in routes}}
        throttled = {f"GET {path}": {"ThrottlingRateLimit": 5} for path in settings}
        stage = {"ApiId": {"Ref": "Api"}, "StageName": "$default", "AutoDeploy": True, "RouteSettings": throttled}
        return {
            "Api": {"Type": "AWS::ApiGatewayV2::Api", "Properties": {"Body": body}},
            "Stage": {"Type": "AWS::ApiGatewayV2::Stage", "Properties": stage},
        }

    message = "Unable to find Route by key GET /b within the provided RouteSettings"
    state, reason = stacks.create("api-without", api(["/a"], ["/b"]))
    assert (state, message in reason) == ("ROLLBACK_COMPLETE", True), reason
    assert stacks.create("api", api(["/a", "/b"], ["/b"]))[0] == "CREATE_COMPLETE"
    state, reason = stacks.update("api", api(["/a"], []))
    assert (state, message in reason) == ("UPDATE_ROLLBACK_COMPLETE", True), reason
    responses.add(reason)
    assert stacks.update("api", api(["/a", "/b"], []))[0] == "UPDATE_COMPLETE"
    assert stacks.update("api", api(["/a"], []))[0] == "UPDATE_COMPLETE"
