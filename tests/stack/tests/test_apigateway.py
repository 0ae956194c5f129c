"""API Gateway's HTTP API, as the local front door (gateway.py) plays it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

import gateway
from conftest import ACCOUNT, REGION, Account, Responses
from gateway import Gateway


@pytest.fixture(scope="module")
def door(account: Account, functions: Any) -> Iterator[Gateway]:
    api = account.client("apigatewayv2")
    made = api.create_api(Name="rules", ProtocolType="HTTP")["ApiId"]
    integration = api.create_integration(
        ApiId=made,
        IntegrationType="AWS_PROXY",
        IntegrationUri=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:rules",
        PayloadFormatVersion="2.0",
    )
    api.create_route(ApiId=made, RouteKey="$default", Target=f"integrations/{integration['IntegrationId']}")
    api.create_stage(ApiId=made, StageName="$default", AutoDeploy=True)
    source = f"arn:aws:execute-api:{REGION}:{ACCOUNT}:{made}/*"
    functions.add_permission(
        FunctionName="rules", StatementId="api", Action="lambda:InvokeFunction",
        Principal="apigateway.amazonaws.com", SourceArn=source,
    )  # fmt: skip
    opened = Gateway(0)
    opened.serve(account.emulator.port, made)
    yield opened
    opened.close()


def send(
    door: Gateway, path: str = "/?answer=2", headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", door.server_port, timeout=20)
    connection.request("POST", path, body, headers or {})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


ANSWER = (200, b'{"body": "xx"}')


def note(responses: Responses, answer: tuple[int, bytes], status: int, message: str) -> None:
    assert (answer[0], json.loads(answer[1])) == (status, {"message": message})
    responses.add(f"{status} {message}")


def test_headers_of_more_than_10240_bytes_are_rejected(door: Gateway, responses: Responses) -> None:
    """The request line and the values of the headers have 10,240 bytes at most, together.

    Source: API Gateway Developer Guide, "Quotas for configuring and running an HTTP API" (the status is not documented)
    """
    assert send(door, headers={"X-Long": "x" * 10_000}) == ANSWER
    for path, value in (("/?answer=2", "x" * 10_240), (f"/?answer=2&q={'q' * 10_240}", "x")):
        note(responses, send(door, path, {"X-Long": value}), 431, "Request Header Fields Too Large")


def test_body_of_more_than_10_megabytes_is_rejected(door: Gateway, responses: Responses) -> None:
    """A request's body has 10 MB at most.

    Source: API Gateway Developer Guide, "Quotas for configuring and running an HTTP API"
    """
    note(responses, send(door, body=b" " * (10 * 1024 * 1024 + 1)), 413, "Request Entity Too Large")


def test_body_of_more_than_an_event_holds_is_rejected(door: Gateway, responses: Responses) -> None:
    """A body that makes an event of more than 6 MB does not reach the function.

    Source: Lambda Developer Guide, "Lambda quotas", "Invocation payload"
    """
    text = {"Content-Type": "text/plain"}
    assert send(door, headers=text, body=b"x" * 6_000_000) == ANSWER
    note(responses, send(door, headers=text, body=b"x" * 6_300_000), 413, "Request Entity Too Large")
    note(responses, send(door, body=b"\xff" * 5_000_000), 413, "Request Entity Too Large")


def test_response_of_more_than_6_megabytes_is_an_error(door: Gateway, responses: Responses) -> None:
    """A function's response of more than 6 MB is an internal error.

    Source: Lambda Developer Guide, "Lambda quotas", "Invocation payload"
    """
    note(responses, send(door, "/?answer=6300000"), 500, "Internal Server Error")


def test_function_that_takes_too_long_is_not_awaited(
    door: Gateway, responses: Responses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function has 30 seconds to answer.

    Source: API Gateway Developer Guide, "Quotas for configuring and running an HTTP API"
    """
    assert gateway.INTEGRATION_SECONDS == 30
    monkeypatch.setattr(gateway, "INTEGRATION_SECONDS", 0.3)
    note(responses, send(door, "/?sleep=0.6&answer=2"), 503, "Service Unavailable")
