"""Lambda."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from conftest import ACCOUNT, REGION, Account, Responses, function

INVALID = "InvalidParameterValueException"


def invoke(functions: Any, event: Any, name: str = "rules") -> dict[str, Any]:
    response = functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    result: dict[str, Any] = json.loads(response["Payload"].read())
    return result


def test_name_of_more_than_64_characters_is_rejected(functions: Any, responses: Responses) -> None:
    """A function's name has at most 64 characters.

    Source: Lambda API Reference, CreateFunction, FunctionName
    """
    functions.create_function(**function("n" * 64))
    message = "at 'functionName' failed to satisfy constraint: Member must have length less than or equal to 64"
    responses.rejects(functions.create_function, "ValidationException", message, **function("n" * 65))


def test_environment_of_more_than_4_kilobytes_is_rejected(functions: Any, responses: Responses) -> None:
    """A function's environment has at most 4 KB.

    Source: Lambda Developer Guide, "Lambda quotas", "Environment variables"
    """

    def environment(size: int) -> dict[str, Any]:
        """An environment whose JSON has this size."""
        return {"Environment": {"Variables": {"X": "x" * (size - len('{"X":""}'))}}}

    message = "exceeded the 4KB limit"
    responses.rejects(functions.create_function, INVALID, message, **function("large", **environment(4097)))
    update = functions.update_function_configuration
    responses.rejects(update, INVALID, message, FunctionName="rules", **environment(4097))
    update(FunctionName="rules", **environment(4096))


def test_reserved_variable_is_rejected(functions: Any, responses: Responses) -> None:
    """A function's environment has no reserved variables.

    Source: Lambda Developer Guide, "Working with Lambda environment variables", "Defined runtime environment variables"
    """
    message = "Reserved keys used in this request: AWS_REGION"
    environment = {"Variables": {"AWS_REGION": "eu-west-1"}}
    update = functions.update_function_configuration
    responses.rejects(update, INVALID, message, FunctionName="rules", Environment=environment)


def test_reservation_that_leaves_too_little_is_rejected(functions: Any, responses: Responses) -> None:
    """Reservations leave 100 of the account's quota (`STACK_LAMBDA_QUOTA`) unreserved, or all of a smaller quota.

    Source: Lambda API Reference, PutFunctionConcurrency; aws-samples/alarm-context-tool issue 2
    """
    put = functions.put_function_concurrency
    message = "decreases account's UnreservedConcurrentExecution below its minimum value of [100]"
    responses.rejects(put, INVALID, message, FunctionName="rules", ReservedConcurrentExecutions=901)
    put(FunctionName="rules", ReservedConcurrentExecutions=900)
    responses.rejects(put, INVALID, message, FunctionName="n" * 64, ReservedConcurrentExecutions=1)
    functions.delete_function_concurrency(FunctionName="rules")


def test_queue_with_too_short_a_visibility_time_out_is_rejected(
    account: Account, functions: Any, responses: Responses
) -> None:
    """A queue's visibility time-out is at least the time-out of the function that consumes it.

    Source: Lambda Developer Guide, "Creating and configuring an Amazon SQS event source mapping"
    """
    attributes = {"VisibilityTimeout": "9"}
    account.client("sqs").create_queue(QueueName="impatient", Attributes=attributes)
    source = f"arn:aws:sqs:{REGION}:{ACCOUNT}:impatient"
    message = "Queue visibility timeout: 9 seconds is less than Function timeout: 10 seconds"
    create = functions.create_event_source_mapping
    responses.rejects(create, INVALID, message, FunctionName="rules", EventSourceArn=source)


def test_event_of_more_than_6_megabytes_is_rejected(functions: Any, responses: Responses) -> None:
    """A function's event has at most 6 MB.

    Source: Lambda Developer Guide, "Lambda quotas", "Invocation payload"
    """
    message = "Request must be smaller than 6291456 bytes for the InvokeFunction operation"
    large = json.dumps("x" * 6291455).encode()
    responses.rejects(functions.invoke, "RequestTooLargeException", message, FunctionName="rules", Payload=large)


def test_response_of_more_than_6_megabytes_is_rejected(functions: Any, responses: Responses) -> None:
    """A function's response has at most 6 MB.

    Source: Lambda Developer Guide, "Lambda quotas", "Invocation payload"
    """
    assert len(invoke(functions, {"length": 6_000_000})["body"]) == 6_000_000
    error = invoke(functions, {"length": 6_300_000})
    assert error["errorType"] == "Function.ResponseSizeTooLarge", error
    responses.add(f"{error['errorType']}: {error['errorMessage']}")


@pytest.mark.parametrize("kept", ["closed", "dead"])
def test_function_is_frozen_between_invocations(functions: Any, kept: str, responses: Responses) -> None:
    """A function is frozen between invocations and loses its connections: they are closed or, with
    `STACK_FROZEN_CONNECTIONS=dead` in its environment, reset at the next request.

    Source: Lambda Developer Guide, "Understanding the Lambda execution environment lifecycle"; "Best practices"
    """
    name = f"frozen-{kept}"
    functions.create_function(**function(name, Environment={"Variables": {"STACK_FROZEN_CONNECTIONS": kept}}))
    first = invoke(functions, {}, name)
    assert first["kept"] == "usable"
    time.sleep(0.5)
    second = invoke(functions, {}, name)
    assert second["process"] == first["process"]
    assert second["frozen"] > 0.4, second
    assert second["kept"] == {"closed": "RemoteDisconnected", "dead": "ConnectionResetError"}[kept]
    responses.add("frozen; the kept connection is closed, or reset at the next request")


def test_update_does_not_end_running_invocations(functions: Any, responses: Responses) -> None:
    """A function can be invoked while it is updated. A running invocation ends as it began.

    Source: Lambda API Reference, UpdateFunctionConfiguration
    """
    invoke(functions, {})
    with ThreadPoolExecutor() as threads:
        running = threads.submit(invoke, functions, {"sleep": 5})
        time.sleep(1)
        functions.update_function_configuration(FunctionName="rules", Timeout=20)
        functions.get_waiter("function_updated_v2").wait(FunctionName="rules")
    assert invoke(functions, {})["process"] != running.result()["process"]
    responses.add("the invocation succeeds; the next has a new process")


def test_log_of_an_invocation_is_complete(account: Account, functions: Any, responses: Responses) -> None:
    """The log of an invocation has all that the function wrote before its response.

    Source: Lambda Developer Guide, "Sending Lambda function logs to CloudWatch Logs"
    """
    logs = account.client("logs")
    for number in range(5):
        line = f"last line of invocation {number}"
        invoke(functions, {"log": "line\n" * 9000 + line, "length": 1})
        events = logs.filter_log_events(logGroupName="/aws/lambda/rules", filterPattern=f'"{line}"')["events"]
        assert [event["message"] for event in events] == [line]
    responses.add("the line is in the log when the response is returned")
