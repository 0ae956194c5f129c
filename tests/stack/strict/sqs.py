"""SQS: the resources of queue policies, and the maximum delay of a message."""

from __future__ import annotations

import json
from typing import Any

from ministack.services import sqs
from ministack.services.cloudformation import provisioners

MAX_DELAY_SECONDS = 900

_create_queue, _set_attributes, _send = sqs._act_create_queue, sqs._act_set_queue_attributes, sqs._act_send_message


def _require_own_queue(policy: str, arn: str) -> None:
    """A policy covers a single queue. SQS Developer Guide, "Special Information for SQS Policies"."""
    statements = json.loads(policy).get("Statement", [])
    for statement in statements if isinstance(statements, list) else [statements]:
        named = statement.get("Resource")
        if named not in ("*", arn, ["*"], [arn]):
            raise sqs._Err("InvalidAttributeValue", "Invalid value for the parameter Policy.", 400)


def _create(data: dict[str, Any], url: str) -> Any:
    if policy := (data.get("Attributes") or {}).get("Policy"):
        _require_own_queue(policy, f"arn:aws:sqs:{sqs.get_region()}:{sqs.get_account_id()}:{data.get('QueueName')}")
    return _create_queue(data, url)


def _set(data: dict[str, Any], url: str) -> Any:
    if policy := (data.get("Attributes") or {}).get("Policy"):
        _require_own_queue(policy, sqs._get_q(data.get("QueueUrl", url))["attributes"]["QueueArn"])
    return _set_attributes(data, url)


def _send_within_delay(data: dict[str, Any], url: str) -> Any:
    """DelaySeconds is at most 900. SQS API Reference, SendMessage."""
    delay = data.get("DelaySeconds")
    if delay is not None and not 0 <= int(delay) <= MAX_DELAY_SECONDS:
        reason = f"Reason: DelaySeconds must be >= 0 and <= {MAX_DELAY_SECONDS}."
        message = f"Value {delay} for parameter DelaySeconds is invalid. {reason}"
        raise sqs._Err("InvalidParameterValue", message, 400)
    return _send(data, url)


def _check_queue_policy(properties: dict[str, Any]) -> None:
    """CloudFormation sets the policy on every listed queue with SetQueueAttributes."""
    for url in properties.get("Queues", []):
        arn = sqs._queues[url]["attributes"]["QueueArn"]
        try:
            _require_own_queue(provisioners._policy_document_json(properties), arn)
        except sqs._Err as error:
            raise ValueError(f"{error.message} (Service: Sqs, Status Code: 400)") from error


def _create_queue_policy(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
    _check_queue_policy(properties)
    return provisioners._sqs_queue_policy_create(logical_id, properties, stack_name)


def _update_queue_policy(physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str) -> Any:
    _check_queue_policy(new)
    return provisioners._sqs_queue_policy_update(physical_id, old, new, stack_name)


def enforce() -> None:
    sqs._act_send_message = _send_within_delay
    sqs._HANDLERS |= {"CreateQueue": _create, "SetQueueAttributes": _set, "SendMessage": _send_within_delay}
    handlers = provisioners._RESOURCE_HANDLERS["AWS::SQS::QueuePolicy"]
    handlers |= {"create": _create_queue_policy, "update": _update_queue_policy}
