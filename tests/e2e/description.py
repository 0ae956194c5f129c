"""The API's own description (OpenAPI), and whether an answer is what it promises.

Clients are told to expect new fields. Here an answer must not have any that the description does not name: what is sent
is described, and what is described is what is sent.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FILE = Path(__file__).resolve().parents[2] / "functions" / "describe-api" / "openapi.json"
# API Gateway answers these itself, by the CORS settings: no description can promise their answers.
GATEWAYS_METHODS = ("OPTIONS",)
# Headers that mean something to a client: none may come where the description has none.
TELLING_HEADERS = ("Location", "Retry-After", "Allow")

# How many answers were held against the description, by operation and status.
held = Counter[tuple[str, int]]()


def _resolved(node: Any, document: Mapping[str, Any]) -> Any:
    """The same without references. The description has no recursive schema."""
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
    """The same schema, but of objects that have no other fields than it names."""
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
    """Every method and path, with what is described of it."""
    return [(method, path, op) for path, (_, methods) in OPERATIONS.items() for method, op in methods.items()]


def _promised(method: str, path: str, status: int) -> tuple[str, dict[str, Any]]:
    """Which operation a request was for, and what is described of an answer with this status."""
    for template, (pattern, methods) in OPERATIONS.items():
        if pattern.fullmatch(path):
            if operation := methods.get(method):
                name = f"{method} {template}"
                assert str(status) in operation["responses"], f"{name}: the description has no {status}"
                return name, operation["responses"][str(status)]
            assert status == 405, f"{method} {path}: {status} for a method that is not described"
            return f"other method on {template}", RESOLVED["components"]["responses"]["MethodNotAllowed"]
    assert status == 404, f"{method} {path}: {status} for a path that is not described"
    return "other path", RESOLVED["components"]["responses"]["NoSuchRoute"]


def hold_against(method: str, path: str, status: int, headers: Mapping[str, Any], body: bytes) -> None:
    """Fails the test if the description does not promise this answer to this request."""
    if method in GATEWAYS_METHODS:
        return
    name, promised = _promised(method, path, status)
    where = f"{name}: {status} {body.decode(errors='replace')}"
    _hold_headers(promised.get("headers", {}), headers, where)
    if method != "HEAD":
        _hold_body(promised, headers, body, where)
    held[name, status] += 1


def _hold_headers(promised: Mapping[str, Any], headers: Mapping[str, Any], where: str) -> None:
    for name, header in promised.items():
        value = headers.get(name)
        if value is None:
            assert not header["required"], f"{where}\n{name} is missing"
            continue
        wanted = header["schema"]
        value = int(value) if wanted.get("type") == "integer" else value
        errors = [error.message for error in Draft202012Validator(wanted).iter_errors(value)]
        assert not errors, f"{where}\n{name}: {errors}"
    unexpected = [name for name in TELLING_HEADERS if name in headers and name not in promised]
    assert not unexpected, f"{where}\nnot described: {unexpected}"


def _hold_body(promised: Mapping[str, Any], headers: Mapping[str, Any], body: bytes, where: str) -> None:
    assert headers.get("Content-Type") == "application/json", f"{where}\n{headers.get('Content-Type')}"
    content = json.loads(body)
    schema = closed(promised["content"]["application/json"]["schema"])
    errors = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(content)]
    assert not errors, f"{where}\n" + "\n".join(errors)
    if "requestId" in content:
        assert headers.get("X-Request-Id") == content["requestId"], f"{where}\n{headers.get('X-Request-Id')}"


def described() -> set[tuple[str, int]]:
    """Every answer that is described, by operation and status."""
    return {(f"{method} {path}", int(status)) for method, path, op in operations() for status in op["responses"]}


def summary() -> str:
    """How much of the description was met, for the end of a test run."""
    seen = described() & set(held)
    text = f"{held.total()} answers held against openapi.json; {len(seen)} of {len(described())} described answers met"
    missing = sorted(described() - seen)
    return text + "".join(f"\n  not met: {status} of {name}" for name, status in missing)
