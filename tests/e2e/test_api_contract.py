"""Common headers, the OpenAPI description, unknown paths and methods, and the caller and its keys."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

import description
import web
from interventions import changed_settings, timeout_of
from stack import Stack
from tenant import EXPORTS, Tenant
from waiting import wait_for

# The template's default.
ORIGIN = "https://none.invalid"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "dj-api-key,dj-client,idempotency-key,content-type",
}
# How long a function caches a key, and how long a revoked key may still be accepted.
CACHED_SECONDS, REVOKED_WITHIN_SECONDS = 45, 60


def test_description_is_openapi_3_1_and_served_unchanged(stack: Stack) -> None:
    validate(description.DOCUMENT)
    assert description.DOCUMENT["openapi"].startswith("3.1.")
    response = web.request("GET", f"{stack.apiUrl}/v1/openapi.json")
    assert response.status == 200
    assert response.json() == description.DOCUMENT


def test_examples_match_their_schemas() -> None:
    checked = 0
    for method, path, operation in description.operations():
        for status, described in operation["responses"].items():
            content = described["content"]["application/json"]
            validator = Draft202012Validator(description.closed(content["schema"]))
            for example in content.get("examples", {}).values():
                validator.validate(example["value"])
                checked += 1
            assert content.get("examples") or path == "/v1/openapi.json", f"{method} {path} {status}: no example"
    assert checked > len(description.operations())


def test_deployed_routes_are_described(stack: Stack) -> None:
    client = stack.client("apigatewayv2")
    (api,) = client.get_apis()["Items"]
    keys = {route["RouteKey"] for route in client.get_routes(ApiId=api["ApiId"])["Items"]}
    described = {f"{method} {path}" for method, path, _ in description.operations()}
    assert {key for key in keys if " /v1/" in key} == described
    assert "$default" in keys


def calls() -> list[tuple[str, str]]:
    """A call of every route, with the ID of an export that does not exist."""
    unknown = "mpo_01a11f3a-7000-7abc-8def-0123456789ab"
    return [(method, path.replace("{exportId}", unknown)) for method, path, _ in description.operations()]


def test_every_response_has_a_request_id_and_is_not_cached(tenant: Tenant) -> None:
    ids = set()
    for method, path in calls():
        response = tenant.call(method, path, headers={"Origin": ORIGIN})
        assert response.headers["Cache-Control"] == "no-store", f"{method} {path}"
        assert response.headers["Access-Control-Allow-Origin"] == ORIGIN, f"{method} {path}"
        exposed = response.headers["Access-Control-Expose-Headers"].replace(" ", "").lower().split(",")
        assert sorted(exposed) == ["location", "retry-after", "x-request-id"]
        ids.add(response.headers["X-Request-Id"])
    assert len(ids) == len(calls())


def test_unknown_origin_gets_no_cors_headers(tenant: Tenant) -> None:
    for method, path in calls():
        response = tenant.call(method, path, headers={"Origin": "https://elsewhere.example"})
        assert not [name for name in response.headers if name.lower().startswith("access-control-")], f"{method} {path}"


def test_preflight_allows_only_the_configured_origin(stack: Stack) -> None:
    for method, path, _ in description.operations():
        response = web.request("OPTIONS", stack.apiUrl + path, {"Origin": ORIGIN, **PREFLIGHT})
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN), f"{method} {path}"
        assert method in response.headers["Access-Control-Allow-Methods"]
        allowed = response.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in PREFLIGHT["Access-Control-Request-Headers"].split(","))
        response = web.request("OPTIONS", stack.apiUrl + path, {"Origin": "https://elsewhere.example", **PREFLIGHT})
        assert response.headers["Access-Control-Allow-Origin"] is None, f"{method} {path}"


def test_every_route_except_the_description_requires_a_key(tenant: Tenant) -> None:
    for method, path in calls():
        response = tenant.call(method, path, headers={"dj-api-key": ""})
        assert response.status == (200 if path == "/v1/openapi.json" else 401), f"{method} {path}: {response}"


def test_every_route_except_the_description_requires_an_operator(tenant: Tenant) -> None:
    key = tenant.stack.issue_key(tenant.id, "supplier@goods.example", client="SUPPLIER")
    for method, path in calls():
        for headers in ({"dj-client": "SUPPLIER"}, {"dj-api-key": key}, {"dj-client": "SUPPLIER", "dj-api-key": key}):
            response = tenant.call(method, path, headers=headers)
            assert response.status == (200 if path == "/v1/openapi.json" else 403), f"{method} {path}: {response}"
    assert tenant.items() == []


CRATES = {
    "create-export": ("POST", EXPORTS),
    "list-exports": ("GET", EXPORTS),
    "get-export": ("GET", f"{EXPORTS}/any"),
    "resend-email": ("POST", "/v1/exports/any/resend-email"),
    "cancel-export": ("POST", "/v1/exports/any/cancel"),
    "get-caller": ("GET", "/v1/caller"),
}


@pytest.mark.parametrize("crate", CRATES)
def test_permanent_error_is_500_without_retry_after_or_details(brisk_tenant: Tenant, crate: str) -> None:
    method, path = CRATES[crate]
    with changed_settings(brisk_tenant.stack, crate, API_KEYS_TABLE="no-such-table"):
        response = brisk_tenant.call(method, path)
    # The function may not read this table, so a retry would not help.
    assert (response.status, response.error_codes()) == (500, ["INTERNAL"]), response
    assert "Retry-After" not in response.headers
    assert "table" not in str(response).lower()


def test_hanging_dependency_is_503_and_logged_before_the_timeout(brisk_tenant: Tenant) -> None:
    stack = brisk_tenant.stack
    # Accepts connections and never responds.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            timeout_of(stack, "get-caller", 5),
            changed_settings(stack, "get-caller", AWS_ENDPOINT_URL_DYNAMODB=endpoint),
        ):
            response = brisk_tenant.call("GET", "/v1/caller")
    assert (response.status, response.error_codes()) == (503, ["SERVICE_UNAVAILABLE"]), response
    assert int(response.headers["Retry-After"]) > 0

    def log_lines() -> list[str]:
        return [line for line in stack.logs("get-caller") if response.headers["x-request-id"] in line]

    wait_for("a log line", log_lines)
    (line,) = map(json.loads, log_lines())
    assert (line["level"], line["message"]) == ("ERROR", "request failed")
    assert line["error"].startswith("could not respond in time")


@pytest.mark.parametrize("crate", CRATES)
def test_function_that_cannot_start_is_500_from_the_gateway(brisk_tenant: Tenant, crate: str) -> None:
    method, path = CRATES[crate]
    with changed_settings(brisk_tenant.stack, crate, API_KEYS_TABLE=""):
        response = brisk_tenant.call(method, path)
    assert (response.status, response.json()) == (500, {"message": "Internal Server Error"}), response


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/caller",
        "/v1/caller/",
        "/V1/caller",
        "/v1/exports",
        f"{EXPORTS}/a/b",
        "/v1/%2e%2e/caller",
    ],
)
def test_unknown_path_is_not_found(tenant: Tenant, path: str, method: str) -> None:
    response = tenant.call(method, path)
    assert response.status == 404, response
    if method != "HEAD":
        assert response.error_codes() == ["F-E-002"]
        assert response.headers["X-Request-Id"] == response.json()["requestId"]


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_unsupported_method_is_405_with_allowed_methods(tenant: Tenant, method: str) -> None:
    before = tenant.world()
    for path, (_, methods) in description.OPERATIONS.items():
        if method in methods:
            continue
        response = tenant.call(method, path.replace("{exportId}", "any"))
        assert response.status == 405, f"{method} {path}: {response}"
        assert sorted(response.headers["Allow"].split(", ")) == sorted(methods)
        if method != "HEAD":
            assert response.error_codes() == ["METHOD_NOT_ALLOWED"]
    assert tenant.world() == before


def test_caller_is_the_user_of_the_key(tenant: Tenant) -> None:
    key = tenant.stack.issue_key(tenant.id, "ada@operators.example", "Ada <Lovelace> & Söhne")
    response = tenant.call("GET", "/v1/caller", headers={"dj-api-key": key})
    expected = {
        "tenantId": tenant.id,
        "email": "ada@operators.example",
        "name": "Ada <Lovelace> & Söhne",
        "client": "OPERATOR",
    }
    assert (response.status, response.json()) == (200, expected)


def manage(tenant: Tenant, **event: Any) -> dict[str, Any]:
    response: dict[str, Any] = tenant.stack.invoke("manage-api-keys", event)
    return response


def test_listed_keys_belong_to_the_tenant_and_are_not_shown(tenant: Tenant) -> None:
    stranger = Tenant(tenant.stack, "stranger with keys")
    issued = manage(
        tenant, action="issue", tenantId=tenant.id, email="b@operators.example", name="B", client="SUPPLIER"
    )

    def both() -> list[dict[str, Any]]:
        keys: list[dict[str, Any]] = manage(tenant, action="list", tenantId=tenant.id)["apiKeys"]
        return keys if len(keys) == 2 else []

    first, second = wait_for("both keys to be listed", both)
    assert first["email"] == tenant.email
    assert second == {name: value for name, value in issued.items() if name != "apiKey"}
    listed = json.dumps([first, second])
    assert tenant.key not in listed
    assert issued["apiKey"] not in listed
    assert stranger.email not in listed


def test_revoked_key_is_rejected_everywhere_within_a_minute(timed_tenant: Tenant) -> None:
    tenant = timed_tenant
    key = tenant.stack.issue_key(tenant.id, "leaver@operators.example")
    used = [(method, path) for method, path in calls() if path != "/v1/openapi.json"]

    def is_rejected() -> bool:
        return {tenant.call(method, path, headers={"dj-api-key": key}).status for method, path in used} == {401}

    # Now every function has cached the key.
    assert not is_rejected()
    (key_id,) = [
        found["keyId"]
        for found in manage(tenant, action="list", tenantId=tenant.id)["apiKeys"]
        if found["email"] == "leaver@operators.example"
    ]
    revoked = manage(tenant, action="revoke", keyId=key_id)
    assert revoked["revokedAt"]
    # Polling would only keep the machine busy.
    time.sleep((CACHED_SECONDS + REVOKED_WITHIN_SECONDS) / 2)
    assert is_rejected()
    assert manage(tenant, action="revoke", keyId=key_id) == revoked
    (listed,) = [
        found for found in manage(tenant, action="list", tenantId=tenant.id)["apiKeys"] if "revokedAt" in found
    ]
    assert listed == revoked
    # The other key remains valid.
    assert tenant.call("GET", "/v1/caller").status == 200
