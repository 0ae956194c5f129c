"""API Gateway's HTTP API, as emulated by gateway.py."""

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
def proxy(account: Account, functions: Any) -> Iterator[Gateway]:
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
    proxy: Gateway, path: str = "/?length=2", headers: dict[str, str] | None = None, body: bytes = b""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=20)
    connection.request("POST", path, body, headers or {})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


OK = (200, b'{"body": "xx"}')


def expect(responses: Responses, response: tuple[int, bytes], status: int, message: str) -> None:
    assert (response[0], json.loads(response[1])) == (status, {"message": message})
    responses.add(f"{status} {message}")


def test_headers_of_more_than_10240_bytes_are_rejected(proxy: Gateway, responses: Responses) -> None:
    """The request line and the header values have at most 10,240 bytes in total.

    Source: API Gateway Developer Guide, "Quotas for configuring and running an HTTP API" (the status is not documented)
    """
    assert send(proxy, headers={"X-Long": "x" * 10_000}) == OK
    for path, value in (("/?length=2", "x" * 10_240), (f"/?length=2&q={'q' * 10_240}", "x")):
        expect(responses, send(proxy, path, {"X-Long": value}), 431, "Request Header Fields Too Large")


def test_body_of_more_than_10_megabytes_is_rejected(proxy: Gateway, responses: Responses) -> None:
    """A request body has at most 10 MB.

    Source: API Gateway Developer Guide, "Quotas for configuring and running an HTTP API"
    """
    expect(responses, send(proxy, body=b" " * (10 * 1024 * 1024 + 1)), 413, "Request Entity Too Large")


def test_body_too_large_for_an_event_is_rejected(proxy: Gateway, responses: Responses) -> None:
    """A body that makes the event larger than 6 MB does not reach the function.

    Source: Lambda Developer Guide, "Lambda quotas", "Invocation payload"
    """
    text = {"Content-Type": "text/plain"}
    assert send(proxy, headers=text, body=b"x" * 6_000_000) == OK
    expect(responses, send(proxy, headers=text, body=b"x" * 6_300_000), 413, "Request Entity Too Large")
    expect(responses, send(proxy, body=b"\xff" * 5_000_000), 413, "Request Entity Too Large")


def test_response_of_more_than_6_megabytes_is_an_error(proxy: Gateway, responses: Responses) -> None:
    """A function response of more than 6 MB is an internal error.

    Source: Lambda Developer Guide, "Lambda quotas", "Invocation payload"
    """
    expect(responses, send(proxy, "/?length=6300000"), 500, "Internal Server Error")


def test_function_that_takes_too_long_times_out(
    proxy: Gateway, responses: Responses, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A function must respond within 30 seconds.

    Source: API Gateway Developer Guide, "Quotas for configuring and running an HTTP API"
    """
    assert gateway.INTEGRATION_SECONDS == 30
    monkeypatch.setattr(gateway, "INTEGRATION_SECONDS", 0.3)
    expect(responses, send(proxy, "/?sleep=0.6&length=2"), 503, "Service Unavailable")
