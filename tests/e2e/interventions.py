"""Changes to a running stack, through AWS APIs or to its processes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from past_exports import days_from_now
from stack import Stack
from tenant import Tenant
from waiting import wait_for


@contextmanager
def held_queue(stack: Stack) -> Iterator[None]:
    """Keeps job messages in the queue."""
    stack.hold_queue(True)
    try:
        yield
    finally:
        stack.hold_queue(False)


@contextmanager
def changed_settings(stack: Stack, crate: str, **variables: str) -> Iterator[None]:
    """Changes environment variables of a function."""
    client = stack.client("lambda")
    before = client.get_function_configuration(FunctionName=stack.functions[crate])["Environment"]
    stack.configure(crate, **variables)
    try:
        yield
    finally:
        change_function(stack, crate, Environment={"Variables": before["Variables"]})


def unsigned_links(stack: Stack) -> AbstractContextManager[None]:
    """Keeps the generator from signing links: it records the file, and attempts the e-mail again after 8 s."""
    return changed_settings(stack, "generate-export", LINK_SIGNER_SECRET="no-such-secret", PERMANENT_ERROR_WAIT="8s")


@contextmanager
def timeout_of(stack: Stack, crate: str, seconds: int) -> Iterator[None]:
    """Changes the timeout of a function."""
    function = stack.functions[crate]
    before = stack.client("lambda").get_function_configuration(FunctionName=function)["Timeout"]
    change_function(stack, crate, Timeout=seconds)
    try:
        yield
    finally:
        change_function(stack, crate, Timeout=before)


def change_function(stack: Stack, crate: str, **configuration: Any) -> None:
    client, function = stack.client("lambda"), stack.functions[crate]
    client.update_function_configuration(FunctionName=function, **configuration)

    def is_applied() -> bool:
        current: Mapping[str, Any] = client.get_function_configuration(FunctionName=function)
        return current["LastUpdateStatus"] == "Successful"

    wait_for(f"{function} to apply its new configuration", is_applied)


@contextmanager
def fast_redelivery(stack: Stack, visibility_seconds: int, max_receives: int) -> Iterator[None]:
    """Shortens the time until a failed job message is redelivered or moved to the dead-letter queue."""
    client, url = stack.client("sqs"), stack.jobsQueueUrl
    before = client.get_queue_attributes(QueueUrl=url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"])
    redrive = {**json.loads(before["Attributes"]["RedrivePolicy"]), "maxReceiveCount": max_receives}
    attributes = {"VisibilityTimeout": str(visibility_seconds), "RedrivePolicy": json.dumps(redrive)}
    client.set_queue_attributes(QueueUrl=url, Attributes=attributes)
    try:
        yield
    finally:
        client.set_queue_attributes(QueueUrl=url, Attributes=before["Attributes"])


@contextmanager
def batches_of(stack: Stack, size: int) -> Iterator[None]:
    """Delivers several job messages to the generator in one invocation."""
    client = stack.client("lambda")
    function = stack.functions["generate-export"]
    (mapping,) = client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
    client.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=size)
    try:
        yield
    finally:
        client.update_event_source_mapping(UUID=mapping["UUID"], BatchSize=mapping["BatchSize"])


def stop_schedule(stack: Stack) -> None:
    """Disables scheduled sweeps."""
    client = stack.client("scheduler")
    (found,) = client.list_schedules()["Schedules"]
    schedule = client.get_schedule(Name=found["Name"], GroupName=found["GroupName"])
    kept = ("Name", "GroupName", "ScheduleExpression", "FlexibleTimeWindow", "Target")
    client.update_schedule(**{name: schedule[name] for name in kept}, State="DISABLED")


def processes(stack: Stack, crate: str) -> list[tuple[int, dict[str, str]]]:
    """The IDs and environments of the processes that run a function of this stack."""
    variables_of_function = {
        f"AWS_LAMBDA_FUNCTION_NAME={stack.functions[crate]}".encode(),
        f"AWS_ENDPOINT_URL={stack.awsEndpointUrl}".encode(),
    }
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = set(file.read_bytes().split(b"\0"))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue  # it has exited, or belongs to another user
        if variables_of_function <= variables:
            environment = dict(variable.decode().split("=", 1) for variable in variables if b"=" in variable)
            found.append((int(file.parent.name), environment))
    return found


def kill(stack: Stack, crate: str) -> int:
    """Kills the processes that run a function of this stack and waits until they are dead. Returns their number."""
    found = {process for process, _ in processes(stack, crate)}
    for process in found:
        with suppress(ProcessLookupError):  # it has exited
            os.kill(process, signal.SIGKILL)
    wait_for(f"{crate} to be dead", lambda: not found & {process for process, _ in processes(stack, crate)})
    return len(found)


def shorten_lease(tenant: Tenant, export_id: str) -> str:
    """Sets the end of an export's lease and its next check time to a second from now."""
    soon = days_from_now(1 / 86_400)
    tenant.stack.client("dynamodb").update_item(
        TableName=tenant.stack.exportsTable,
        Key={"tenantId": {"S": tenant.id}, "sk": {"S": f"EXPORT#{export_id}"}},
        UpdateExpression="SET leaseUntil = :soon, nextCheckAt = :soon",
        ExpressionAttributeValues={":soon": {"S": soon}},
    )
    return soon
