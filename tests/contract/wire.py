"""Parses the requests recorded in shared/aws/golden/wire into the parameters of AWS's API models.

The models are those of botocore. Every part of a request must be in its model.
"""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
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

# Added by the SDK.
SDK_HEADERS = {"amz-sdk-request", "content-type", "x-amz-content-sha256", "x-amz-target", "x-amzn-query-mode"}
SDK_QUERY = {"x-id"}

_session = botocore.session.get_session()


@dataclass(frozen=True)
class Request:
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
    # The models have the bucket in the path, the SDKs in the host name.
    path = f"/{BUCKET}{url.path}" if url.netloc.startswith(f"{BUCKET}.s3.") else url.path
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    return Request(
        golden, step, recorded["site"], recorded["port"], service, operation, recorded["method"], path, query,
        recorded["headers"], recorded.get("body"),
    )  # fmt: skip


def requests() -> list[Request]:
    """Every recorded request, including the download that a presigned URL makes."""
    found = []
    for file in sorted(GOLDEN.glob("*.json")):
        if file.name == TIME_OUTS:
            continue
        recorded = json.loads(file.read_text(encoding="utf-8"))
        found += [request(file.name, recorded.get("step"), sent) for sent in recorded["requests"]]
        if link := recorded.get("link"):
            download = {
                "operation": "s3:GetObject",
                "method": "GET",
                "url": link,
                "headers": {},
                "site": "Place::presigned",
            }
            found.append(request(file.name, None, {**download, "port": "FileStore::sign_link"}))
    return found


# ---------------------------------------------------------------------------------------------------------- parameters


class ModelMismatchError(Exception):
    """A part of the request is not in the model."""


def parameters(request: Request) -> dict[str, Any]:
    """The parameters of a request, as botocore accepts them."""
    model = request.model
    if request.headers.get("x-amz-target"):
        return _json_parameters(request, model)
    shape: StructureShape = model.input_shape
    verb, template = model.http["method"], urlsplit(model.http["requestUri"])
    if request.method != verb:
        raise ModelMismatchError(f"{request.method}, not {verb}")
    found: dict[str, Any] = _path(request.path, template.path, shape)
    fixed = dict(parse_qsl(template.query, keep_blank_values=True))
    left = {name: value for name, value in request.query.items() if name not in SDK_QUERY | {*fixed}}
    if missing := fixed.keys() - request.query.keys():
        raise ModelMismatchError(f"no {missing} in the query")
    headers = {name: value for name, value in request.headers.items() if name not in SDK_HEADERS - _named(shape)}
    for name, member in shape.members.items():
        location, serialized = member.serialization.get("location"), member.serialization.get("name", name)
        if location == "querystring" and serialized in left:
            found[name] = _text(left.pop(serialized), member)
        elif location == "header" and serialized.lower() in headers:
            found[name] = _text(headers.pop(serialized.lower()), member)
    # The other query parameters of a presigned URL are its signature.
    if unknown := [name for name in [*left, *headers] if not name.startswith("X-Amz-")]:
        raise ModelMismatchError(f"the model has no {unknown}")
    found |= _body(request, model)
    return found


def _named(shape: StructureShape) -> set[str]:
    """The headers that the model defines as parameters."""
    return {
        member.serialization["name"].lower()
        for member in shape.members.values()
        if member.serialization.get("location") == "header"
    }


def _json_parameters(request: Request, model: OperationModel) -> dict[str, Any]:
    metadata = model.service_model.metadata
    target = f"{metadata['targetPrefix']}.{model.name}"
    if request.headers["x-amz-target"] != target:
        raise ModelMismatchError(f"{request.headers['x-amz-target']}, not {target}")
    content = f"application/x-amz-json-{metadata['jsonVersion']}"
    if request.headers["content-type"] != content:
        raise ModelMismatchError(f"{request.headers['content-type']}, not {content}")
    found: dict[str, Any] = _json(request.body, model.input_shape)
    return found


def _path(path: str, template: str, shape: StructureShape) -> dict[str, Any]:
    labels = re.sub(r"\\\{(\w+)(\\\+)?\\\}", lambda m: f"(?P<{m[1]}>{'.+' if m[2] else '[^/]+'})", re.escape(template))
    match = re.fullmatch(labels, path)
    if not match:
        raise ModelMismatchError(f"{path} is not of the form {template}")
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
    read: dict[str, Callable[[str], Any]] = {"integer": int, "long": int, "boolean": lambda text: text == "true"}
    return read.get(shape.type_name, str)(text)


def _json(value: Any, shape: Shape) -> Any:
    if isinstance(shape, StructureShape):
        names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
        if unknown := value.keys() - names.keys():
            raise ModelMismatchError(f"the model has no {unknown}")
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
            raise ModelMismatchError(f"the model has no {child.tag}")
        name = names[child.tag]
        member = shape.members[name]
        if isinstance(member, ListShape):
            found.setdefault(name, []).append(_xml(child, member.member))
        else:
            found[name] = _xml(child, member)
    return found


# --------------------------------------------------------------------------------------------------------- constraints


def violations(value: Any, shape: Shape, where: str = "") -> Iterator[str]:
    """Violations of the model's enumerations, patterns and bounds. botocore checks few of them."""
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
            yield f"{where}: {value} is not one of {metadata['enum']}"
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
    """Each DynamoDB request, or operation of a transaction, with its expressions."""
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
    operation = f"{request.service}:{request.operation}"
    return form(operation, f"{request.path}?{urlencode(request.query)}", request.headers, as_bytes(request.body))


def as_bytes(body: Any) -> bytes:
    return (body if isinstance(body, str) else json.dumps(body)).encode()
