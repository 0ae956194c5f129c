"""Validates responses against the API's OpenAPI description.

Clients must accept unknown fields. These tests reject them, so that every field is described.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from email.message import Message
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = Path(__file__).resolve().parents[2] / "functions" / "describe-api" / "openapi.json"
# API Gateway responds to these itself, by the CORS settings.
GATEWAY_METHODS = ("OPTIONS",)
# Headers that clients act on. Each must be described for every response that has it.
SIGNIFICANT_HEADERS = ("Location", "Retry-After", "Allow")

# The number of validated responses, by operation and status.
checked = Counter[tuple[str, int]]()


def _resolved(node: Any, document: Mapping[str, Any]) -> Any:
    """Replaces all references. The description has no recursive schema."""
    if isinstance(node, list):
        return [_resolved(item, document) for item in node]
    if not isinstance(node, dict):
        return node
    if reference := node.get("$ref"):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        return _resolved(target, document)
    return {key: _resolved(value, document) for key, value in node.items()}


def closed(schema: Any) -> Any:
    """The schema without additional properties."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    if schema.get("type") == "object" and "properties" in schema:
        inner.setdefault("additionalProperties", False)
    return inner


DOCUMENT: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
RESOLVED: dict[str, Any] = _resolved(DOCUMENT, DOCUMENT)


def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")))


OPERATIONS = {
    path: (_pattern(path), {name.upper(): operation for name, operation in methods.items()})
    for path, methods in RESOLVED["paths"].items()
}


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    """Every method and path with its description."""
    return [(method, path, op) for path, (_, methods) in OPERATIONS.items() for method, op in methods.items()]


def _described_response(method: str, path: str, status: int) -> tuple[str, dict[str, Any]]:
    """The operation of a request and its described response with this status."""
    for template, (pattern, methods) in OPERATIONS.items():
        if pattern.fullmatch(path):
            if operation := methods.get(method):
                name = f"{method} {template}"
                assert str(status) in operation["responses"], f"{name}: the description has no {status}"
                return name, operation["responses"][str(status)]
            assert status == 405, f"{method} {path}: {status} for a method that is not described"
            return f"other method on {template}", RESOLVED["components"]["responses"]["MethodNotAllowed"]
    assert status == 404, f"{method} {path}: {status} for a path that is not described"
    return "other path", RESOLVED["components"]["responses"]["RouteNotFound"]


def check_response(method: str, path: str, status: int, headers: Message, body: bytes) -> None:
    """Fails the test if the response does not match the description."""
    if method in GATEWAY_METHODS:
        return
    name, described = _described_response(method, path, status)
    where = f"{name}: {status} {body.decode(errors='replace')}"
    _check_headers(described.get("headers", {}), headers, where)
    if method != "HEAD":
        _check_body(described, headers, body, where)
    checked[name, status] += 1


def _check_headers(described: Mapping[str, Any], headers: Message, where: str) -> None:
    for name, header in described.items():
        value = headers.get(name)
        if value is None:
            assert not header["required"], f"{where}\n{name} is missing"
            continue
        schema = header["schema"]
        read = int(value) if schema.get("type") == "integer" else value
        errors = [error.message for error in Draft202012Validator(schema).iter_errors(read)]
        assert not errors, f"{where}\n{name}: {errors}"
    unexpected = [name for name in SIGNIFICANT_HEADERS if name in headers and name not in described]
    assert not unexpected, f"{where}\nnot described: {unexpected}"


def _check_body(described: Mapping[str, Any], headers: Message, body: bytes, where: str) -> None:
    assert headers.get("Content-Type") == "application/json", f"{where}\n{headers.get('Content-Type')}"
    content = json.loads(body)
    schema = closed(described["content"]["application/json"]["schema"])
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(content)]
    assert not errors, f"{where}\n" + "\n".join(errors)
    if "requestId" in content:
        assert headers.get("X-Request-Id") == content["requestId"], f"{where}\n{headers.get('X-Request-Id')}"


def described_responses() -> set[tuple[str, int]]:
    """Every described response, by operation and status."""
    return {(f"{method} {path}", int(status)) for method, path, op in operations() for status in op["responses"]}


def summary() -> str:
    """The coverage of the description, for the end of a test run."""
    described = described_responses()
    seen = described & set(checked)
    text = (
        f"{checked.total()} responses checked against openapi.json; {len(seen)} of {len(described)} responses covered"
    )
    return text + "".join(f"\n  not covered: {status} of {name}" for name, status in sorted(described - seen))
