"""The requests to AWS that shared/aws/golden/wire records, read back into the parameters of AWS's API models.

The models are those that botocore ships. Every part of a request must belong to its model.
"""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from forms import form

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "shared" / "aws" / "golden" / "wire"
TIME_OUTS = "time-outs.json"
BUCKET = "exports"

# What the SDK adds to the parameters.
HEADERS_OF_THE_SDK = {"amz-sdk-request", "content-type", "x-amz-content-sha256", "x-amz-target", "x-amzn-query-mode"}
QUERY_OF_THE_SDK = {"x-id"}

_session = botocore.session.get_session()


@dataclass(frozen=True)
class Request:
    """One recorded request."""

    golden: str
    step: str | None
    site: str
    port: str | None
    service: str
    operation: str
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any

    @property
    def model(self) -> OperationModel:
        service = _session.get_service_model("sesv2" if self.service == "ses" else self.service)
        model: OperationModel = service.operation_model(self.operation)
        return model

    def __str__(self) -> str:
        return f"{self.golden} {self.service}:{self.operation}"


def request(golden: str, step: str | None, recorded: dict[str, Any]) -> Request:
    url = urlsplit(recorded["url"])
    service, operation = recorded["operation"].split(":")
    # The models have the bucket in the path; the SDKs put it in front of the host.
    path = f"/{BUCKET}{url.path}" if url.netloc.startswith(f"{BUCKET}.s3.") else url.path
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Request(
        golden, step, recorded["site"], recorded["port"], service, operation, recorded["method"], path, query,
        recorded["headers"], recorded.get("body"),
    )  # fmt: skip


def requests() -> list[Request]:
    """Every recorded request, a link among them: it is what its reader sends."""
    found = []
    for file in sorted(GOLDEN.glob("*.json")):
        if file.name == TIME_OUTS:
            continue
        recorded = json.loads(file.read_text(encoding="utf-8"))
        found += [request(file.name, recorded.get("step"), sent) for sent in recorded["requests"]]
        if link := recorded.get("link"):
            got = {"operation": "s3:GetObject", "method": "GET", "url": link, "headers": {}, "site": "Place::link"}
            found.append(request(file.name, None, {**got, "port": "SignLink::sign_link"}))
    return found


# ---------------------------------------------------------------------------------------------------------- parameters


class NotOfTheModelError(Exception):
    """A part of the request is not in the model."""


def parameters(request: Request) -> dict[str, Any]:
    """The parameters of the call that this request is, as botocore takes them."""
    model = request.model
    if request.headers.get("x-amz-target"):
        return _json_parameters(request, model)
    shape: StructureShape = model.input_shape
    verb, template = model.http["method"], urlsplit(model.http["requestUri"])
    if request.method != verb:
        raise NotOfTheModelError(f"{request.method}, not {verb}")
    found: dict[str, Any] = _path(request.path, template.path, shape)
    fixed = dict(parse_qsl(template.query, keep_blank_values=True))
    left = {name: value for name, value in request.query.items() if name not in QUERY_OF_THE_SDK | {*fixed}}
    if missing := fixed.keys() - request.query.keys():
        raise NotOfTheModelError(f"no {missing} in the query")
    headers = {name: value for name, value in request.headers.items() if name not in HEADERS_OF_THE_SDK - _named(shape)}
    for name, member in shape.members.items():
        location, serialized = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "querystring" and serialized in left:
            found[name] = _text(left.pop(serialized), member)
        elif location == "header" and serialized.lower() in headers:
            found[name] = _text(headers.pop(serialized.lower()), member)
    # The rest of a presigned request is its signature.
    if unknown := [name for name in [*left, *headers] if not name.startswith("X-Amz-")]:
        raise NotOfTheModelError(f"the model has no {unknown}")
    found |= _body(request, model)
    return found


def _named(shape: StructureShape) -> set[str]:
    """The headers that are parameters."""
    return {
        member.serialization["name"].lower()
        for member in shape.members.values()
        if member.serialization.get("location") == "header"
    }


def _json_parameters(request: Request, model: OperationModel) -> dict[str, Any]:
    metadata = model.service_model.metadata
    target = f"{metadata['targetPrefix']}.{model.name}"
    if request.headers["x-amz-target"] != target:
        raise NotOfTheModelError(f"{request.headers['x-amz-target']}, not {target}")
    content = f"application/x-amz-json-{metadata['jsonVersion']}"
    if request.headers["content-type"] != content:
        raise NotOfTheModelError(f"{request.headers['content-type']}, not {content}")
    found: dict[str, Any] = _json(request.body, model.input_shape)
    return found


def _path(path: str, template: str, shape: StructureShape) -> dict[str, Any]:
    labels = re.sub(r"\\\{(\w+)(\\\+)?\\\}", lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", re.escape(template))
    match = re.fullmatch(labels, path)
    if not match:
        raise NotOfTheModelError(f"{path} is not of the form {template}")
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    return {names[label]: unquote(value) for label, value in match.groupdict().items()}


def _body(request: Request, model: OperationModel) -> dict[str, Any]:
    shape: StructureShape = model.input_shape
    payload = shape.serialization.get("payload")
    if payload and request.body is not None:
        member = shape.members[payload]
        if member.type_name == "blob":
            return {payload: request.body.encode()}
        return {payload: _xml(_without_namespace(ElementTree.fromstring(request.body)), member)}
    if request.body is None:
        return {}
    found: dict[str, Any] = _json(request.body, shape)
    return found


def _without_namespace(element: ElementTree.Element) -> ElementTree.Element:
    for each in element.iter():
        each.tag = each.tag.rpartition("}")[2]
    return element


def _text(text: str, shape: Shape) -> Any:
    return {"integer": int, "long": int, "boolean": lambda text: text == "true"}.get(shape.type_name, str)(text)


def _json(value: Any, shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        if unknown := value.keys() - names.keys():
            raise NotOfTheModelError(f"the model has no {unknown}")
        return {names[name]: _json(member, shape.members[names[name]]) for name, member in value.items()}
    if isinstance(shape, ListShape):
        return [_json(member, shape.member) for member in value]
    if isinstance(shape, MapShape):
        return {key: _json(member, shape.value) for key, member in value.items()}
    return base64.b64decode(value) if shape.type_name == "blob" else value


def _xml(element: ElementTree.Element, shape: Shape) -> Any:
    if not isinstance(shape, StructureShape):
        return _text(element.text or "", shape)
    found: dict[str, Any] = {}
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    for child in element:
        if child.tag not in names:
            raise NotOfTheModelError(f"the model has no {child.tag}")
        name = names[child.tag]
        member = shape.members[name]
        if isinstance(member, ListShape):
            found.setdefault(name, []).append(_xml(child, member.member))
        else:
            found[name] = _xml(child, member)
    return found


# --------------------------------------------------------------------------------------------------------- constraints


def violations(value: Any, shape: Shape, where: str = "") -> Iterator[str]:
    """What the model's enumerations, patterns and bounds forbid. botocore itself checks few of them."""
    metadata = shape.metadata
    if isinstance(shape, StructureShape):
        for name, member in value.items():
            yield from violations(member, shape.members[name], f"{where}.{name}")
    elif isinstance(shape, ListShape):
        for index, member in enumerate(value):
            yield from violations(member, shape.member, f"{where}[{index}]")
    elif isinstance(shape, MapShape):
        for key, member in value.items():
            yield from violations(key, shape.key, f"{where}.{key}")
            yield from violations(member, shape.value, f"{where}.{key}")
    elif shape.type_name == "string":
        if value not in metadata.get("enum", [value]):
            yield f"{where}: {value} is none of {metadata['enum']}"
        if not re.fullmatch(metadata.get("pattern", ".*"), value, re.DOTALL):
            yield f"{where}: {value} does not match {metadata['pattern']}"
    size = len(value) if hasattr(value, "__len__") else value
    if isinstance(size, int) and not isinstance(size, bool):
        least, most = metadata.get("min"), metadata.get("max")
        if least is not None and size < least:
            yield f"{where}: {size} is less than {least}"
        if most is not None and size > most:
            yield f"{where}: {size} is more than {most}"


def expressions(given: Any) -> Iterator[tuple[dict[str, Any], list[str]]]:
    """Each request to DynamoDB, or part of a transaction, that has expressions, with these."""
    if isinstance(given, dict):
        texts = [value for name, value in given.items() if name.endswith("Expression")]
        if texts:
            yield given, texts
        else:
            for value in given.values():
                yield from expressions(value)
    elif isinstance(given, list):
        for value in given:
            yield from expressions(value)


def form_of(request: Request) -> str:
    """The form of a recorded request."""
    operation = f"{request.service}:{request.operation}"
    return form(operation, f"{request.path}?{urlencode(request.query)}", request.headers, as_bytes(request.body))


def as_bytes(body: Any) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body)).encode()
