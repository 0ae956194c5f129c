"""CloudFormation: names that are in use, and route settings without a route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ministack.services import apigateway, cloudwatch, cloudwatch_logs, dynamodb, lambda_svc, scheduler, sqs
from ministack.services.cloudformation import provisioners

_handlers = provisioners._RESOURCE_HANDLERS

# The name property of each resource type, and whether a resource with that name exists.
NAMED: dict[str, tuple[str, Callable[[dict[str, Any]], bool]]] = {
    "AWS::Scheduler::Schedule": (
        "Name", lambda p: f"{p.get('GroupName', 'default')}/{p['Name']}" in scheduler._schedules
    ),
    "AWS::Lambda::Function": ("FunctionName", lambda p: p["FunctionName"] in lambda_svc._functions),
    "AWS::Logs::LogGroup": ("LogGroupName", lambda p: p["LogGroupName"] in cloudwatch_logs._log_groups),
    "AWS::SQS::Queue": ("QueueName", lambda p: sqs._queue_url(p["QueueName"]) in sqs._queues),
    "AWS::DynamoDB::Table": ("TableName", lambda p: p["TableName"] in dynamodb._tables),
    "AWS::CloudWatch::Dashboard": ("DashboardName", lambda p: p["DashboardName"] in cloudwatch._dashboards),
}  # fmt: skip


def _require_new_name(kind: str) -> None:
    """A stack cannot create a resource whose name is in use.

    serverless-application-model issues 3109 and 3120 (schedules); CloudFormation User Guide, "Name type".
    """
    member, is_taken = NAMED[kind]
    create = _handlers[kind]["create"]

    def checked(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
        name = properties.get(member)
        if name and is_taken(properties):
            raise ValueError(f"Resource of type '{kind}' with identifier '{name}' already exists.")
        return create(logical_id, properties, stack_name)

    _handlers[kind]["create"] = checked


# The routes of the APIs that have an OpenAPI body, by API id.
_routes: dict[str, set[str]] = {}
_create_api, _update_api = provisioners._apigw_v2_api_create, provisioners._apigw_v2_api_update
_create_stage, _update_stage = provisioners._apigw_v2_stage_create, provisioners._apigw_v2_stage_update


def _routes_of(body: dict[str, Any]) -> set[str]:
    return {
        "$default" if path.strip("/") == "$default" else f"{_method(method)} {path}"
        for path, methods in body.get("paths", {}).items()
        for method in methods
    }


def _method(name: str) -> str:
    return "ANY" if name == "x-amazon-apigateway-any-method" else name.upper()


def _require_routes(settings: dict[str, Any], routes: set[str]) -> None:
    """A stage has settings only for existing routes, also during an update. serverless-application-model issue 1939."""
    for key in settings:
        if key not in routes:
            message = f"Unable to find Route by key {key} within the provided RouteSettings"
            raise ValueError(f"{message} (Service: AmazonApiGatewayV2; Status Code: 404)")


def _create_described_api(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
    created = _create_api(logical_id, properties, stack_name)
    if body := properties.get("Body"):
        _routes[created[0]] = _routes_of(body)
    return created


def _update_described_api(
    physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str | None = None
) -> Any:
    if body := new.get("Body"):
        for stage in apigateway._stages.get(physical_id, {}).values():
            _require_routes(stage["routeSettings"], _routes_of(body))
        _routes[physical_id] = _routes_of(body)
    return _update_api(physical_id, old, new, stack_name, logical_id)


def _create_routed_stage(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
    _check_stage(properties)
    return _create_stage(logical_id, properties, stack_name)


def _update_routed_stage(
    physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str | None = None
) -> Any:
    _check_stage(new)
    return _update_stage(physical_id, old, new, stack_name, logical_id)


def _check_stage(properties: dict[str, Any]) -> None:
    if (routes := _routes.get(properties.get("ApiId", ""))) is not None:
        _require_routes(properties.get("RouteSettings") or {}, routes)


def enforce() -> None:
    for kind in NAMED:
        _require_new_name(kind)
    _handlers["AWS::ApiGatewayV2::Api"] |= {"create": _create_described_api, "update": _update_described_api}
    _handlers["AWS::ApiGatewayV2::Stage"] |= {"create": _create_routed_stage, "update": _update_routed_stage}
