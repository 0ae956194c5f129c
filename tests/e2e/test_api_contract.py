"""What every answer has, what the description promises, and what is answered where nothing is."""

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
from interventions import changed, timeout_of
from stack import Stack
from tenant import EXPORTS, Tenant
from waiting import wait_for

# The template's default.
ORIGIN = "https://none.invalid"
PREFLIGHT = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "dj-api-key,dj-client,idempotency-key,content-type",
}
# How long a function remembers a key, and how long after it is revoked it may open something.
REMEMBERED_SECONDS, REVOKED_WITHIN_SECONDS = 45, 60


def test_description_is_openapi_3_1_and_served_as_it_stands_in_the_repository(stack: Stack) -> None:
    validate(description.DOCUMENT)
    assert description.DOCUMENT["openapi"].startswith("3.1.")
    answer = web.request("GET", f"{stack.apiUrl}/v1/openapi.json")
    assert answer.status == 200
    assert answer.json() == description.DOCUMENT


def test_examples_of_the_description_are_what_it_describes() -> None:
    checked = 0
    for method, path, operation in description.operations():
        for status, promised in operation["responses"].items():
            content = promised["content"]["application/json"]
            validator = Draft202012Validator(description.closed(content["schema"]))
            for example in content.get("examples", {}).values():
                validator.validate(example["value"])
                checked += 1
            assert content.get("examples") or path == "/v1/openapi.json", f"{method} {path} {status}: no example"
    assert checked > len(description.operations())


def test_description_describes_the_routes_that_are_deployed(stack: Stack) -> None:
    client = stack.client("apigatewayv2")
    (api,) = client.get_apis()["Items"]
    keys = {route["RouteKey"] for route in client.get_routes(ApiId=api["ApiId"])["Items"]}
    described = {f"{method} {path}" for method, path, _ in description.operations()}
    assert {key for key in keys if " /v1/" in key} == described
    assert "$default" in keys


def calls(tenant: Tenant) -> list[tuple[str, str]]:
    """A call of every route, with ids of exports that are not there."""
    nowhere = "mpo_01a11f3a-7000-7abc-8def-0123456789ab"
    return [(method, path.replace("{exportId}", nowhere)) for method, path, _ in description.operations()]


def test_every_route_answers_with_its_request_id_and_is_not_to_be_kept(tenant: Tenant) -> None:
    ids = set()
    for method, path in calls(tenant):
        answer = tenant.call(method, path, headers={"Origin": ORIGIN})
        assert answer.headers["Cache-Control"] == "no-store", f"{method} {path}"
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN, f"{method} {path}"
        exposed = answer.headers["Access-Control-Expose-Headers"].replace(" ", "").lower().split(",")
        assert sorted(exposed) == ["location", "retry-after", "x-request-id"]
        ids.add(answer.headers["X-Request-Id"])
    assert len(ids) == len(calls(tenant))


def test_other_origin_gets_no_cors_headers(tenant: Tenant) -> None:
    for method, path in calls(tenant):
        answer = tenant.call(method, path, headers={"Origin": "https://elsewhere.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], f"{method} {path}"


def test_preflight_lets_the_configured_origin_in_and_no_other(stack: Stack) -> None:
    for method, path, _ in description.operations():
        answer = web.request("OPTIONS", stack.apiUrl + path, {"Origin": ORIGIN, **PREFLIGHT})
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (204, ORIGIN), f"{method} {path}"
        assert method in answer.headers["Access-Control-Allow-Methods"]
        allowed = answer.headers["Access-Control-Allow-Headers"].lower()
        assert all(name in allowed for name in PREFLIGHT["Access-Control-Request-Headers"].split(","))
        answer = web.request("OPTIONS", stack.apiUrl + path, {"Origin": "https://elsewhere.example", **PREFLIGHT})
        assert answer.headers["Access-Control-Allow-Origin"] is None, f"{method} {path}"


def test_every_route_but_the_descriptions_needs_a_key(tenant: Tenant) -> None:
    for method, path in calls(tenant):
        answer = tenant.call(method, path, headers={"dj-api-key": ""})
        assert answer.status == (200 if path == "/v1/openapi.json" else 401), f"{method} {path}: {answer}"


def test_every_route_but_the_descriptions_is_for_operators(tenant: Tenant) -> None:
    for method, path in calls(tenant):
        answer = tenant.call(method, path, headers={"dj-client": "SUPPLIER"})
        assert answer.status == (200 if path == "/v1/openapi.json" else 403), f"{method} {path}: {answer}"


CRATES = {
    "create-export": ("POST", EXPORTS),
    "list-exports": ("GET", EXPORTS),
    "get-export": ("GET", f"{EXPORTS}/any"),
    "resend-email": ("POST", "/v1/exports/any/resend-email"),
    "get-caller": ("GET", "/v1/caller"),
}


@pytest.mark.parametrize("crate", CRATES)
def test_permanent_error_is_told_without_a_wait_and_says_nothing_of_the_inside(
    brisk_tenant: Tenant, crate: str
) -> None:
    method, path = CRATES[crate]
    with changed(brisk_tenant.stack, crate, API_KEYS_TABLE="no-such-table"):
        answer = brisk_tenant.call(method, path)
    # Sending the request again would not help: the table is not there.
    assert (answer.status, answer.error_codes()) == (500, ["INTERNAL"]), answer
    assert "Retry-After" not in answer.headers
    assert "table" not in str(answer).lower()


def test_service_that_hangs_is_told_and_logged_before_lambda_ends_the_function(brisk_tenant: Tenant) -> None:
    stack = brisk_tenant.stack
    # It takes connections and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with timeout_of(stack, "get-caller", 5), changed(stack, "get-caller", AWS_ENDPOINT_URL_DYNAMODB=endpoint):
            answer = brisk_tenant.call("GET", "/v1/caller")
    assert (answer.status, answer.error_codes()) == (503, ["SERVICE_UNAVAILABLE"]), answer
    assert int(answer.headers["Retry-After"]) > 0

    def told() -> list[str]:
        return [line for line in stack.logs("get-caller") if answer.headers["x-request-id"] in line]

    wait_for("a log line", told)
    (line,) = map(json.loads, told())
    assert (line["level"], line["message"]) == ("ERROR", "request failed")
    assert line["error"].startswith("could not answer in time")


@pytest.mark.parametrize("crate", CRATES)
def test_function_that_cannot_start_is_told_by_the_gateway(brisk_tenant: Tenant, crate: str) -> None:
    method, path = CRATES[crate]
    with changed(brisk_tenant.stack, crate, API_KEYS_TABLE=""):
        answer = brisk_tenant.call(method, path)
    assert (answer.status, answer.json()) == (500, {"message": "Internal Server Error"}), answer


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
def test_path_where_nothing_is_is_not_found(tenant: Tenant, path: str, method: str) -> None:
    answer = tenant.call(method, path)
    assert answer.status == 404, answer
    if method != "HEAD":
        assert answer.error_codes() == ["F-E-002"]
        assert answer.headers["X-Request-Id"] == answer.json()["requestId"]


@pytest.mark.parametrize("method", ["HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"])
def test_other_method_on_a_known_path_is_not_allowed_and_says_which_are(tenant: Tenant, method: str) -> None:
    before = tenant.world()
    for path, (_, methods) in description.OPERATIONS.items():
        if method in methods:
            continue
        answer = tenant.call(method, path.replace("{exportId}", "any"))
        assert answer.status == 405, f"{method} {path}: {answer}"
        assert sorted(answer.headers["Allow"].split(", ")) == sorted(methods)
        if method != "HEAD":
            assert answer.error_codes() == ["METHOD_NOT_ALLOWED"]
    assert tenant.world() == before


def test_caller_is_told_who_the_key_stands_for(tenant: Tenant) -> None:
    key = tenant.stack.issue_key(tenant.id, "ada@operators.example", "Ada <Lovelace> & Söhne")
    answer = tenant.call("GET", "/v1/caller", headers={"dj-api-key": key})
    expected = {
        "tenantId": tenant.id,
        "email": "ada@operators.example",
        "name": "Ada <Lovelace> & Söhne",
        "client": "OPERATOR",
    }
    assert (answer.status, answer.json()) == (200, expected)


def manage(tenant: Tenant, **event: Any) -> dict[str, Any]:
    done: dict[str, Any] = tenant.stack.invoke("manage-api-keys", event)
    return done


def test_keys_are_listed_by_tenant_and_never_shown_again(tenant: Tenant) -> None:
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
    told = json.dumps([first, second])
    assert tenant.key not in told
    assert issued["apiKey"] not in told
    assert stranger.email not in told


def test_revoked_key_opens_nothing_within_a_minute_wherever_it_was_used(timed_tenant: Tenant) -> None:
    tenant = timed_tenant
    key = tenant.stack.issue_key(tenant.id, "leaver@operators.example")
    used = [(method, path) for method, path in calls(tenant) if path != "/v1/openapi.json"]

    def refused() -> bool:
        return {tenant.call(method, path, headers={"dj-api-key": key}).status for method, path in used} == {401}

    # Now every function remembers it.
    assert not refused()
    (key_id,) = [
        found["keyId"]
        for found in manage(tenant, action="list", tenantId=tenant.id)["apiKeys"]
        if found["email"] == "leaver@operators.example"
    ]
    revoked = manage(tenant, action="revoke", keyId=key_id)
    assert revoked["revokedAt"]
    # To ask again and again meanwhile would only keep the machine busy.
    time.sleep((REMEMBERED_SECONDS + REVOKED_WITHIN_SECONDS) / 2)
    assert refused()
    assert manage(tenant, action="revoke", keyId=key_id) == revoked
    (listed,) = [
        found for found in manage(tenant, action="list", tenantId=tenant.id)["apiKeys"] if "revokedAt" in found
    ]
    assert listed == revoked
    # The other one still does.
    assert tenant.call("GET", "/v1/caller").status == 200
