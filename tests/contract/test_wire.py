"""The recorded requests (shared/aws/golden/wire) match AWS's API models, as shipped with botocore.

shared/aws/src/wire.rs tests that the code sends these requests and that no call is missing.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from typing import Any

import pytest
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator

from wire import ModelMismatchError, Request, expressions, parameters, requests, violations

REQUESTS = requests()


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_request_matches_its_service_model(request_: Request) -> None:
    shape = request_.model.input_shape
    given = parameters(request_)
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()
    assert not list(violations(given, shape))


@pytest.mark.parametrize("request_", REQUESTS, ids=str)
def test_botocore_sends_the_same_request(request_: Request) -> None:
    """botocore serializes the parameters independently, and must send the same request."""
    model = request_.model
    sent = create_serializer(model.service_model.resolved_protocol).serialize_to_request(parameters(request_), model)
    path, _, fixed = sent["url_path"].partition("?")
    assert (sent["method"], path) == (request_.method, request_.path)
    query = {name: str(value) for name, value in sent["query_string"].items()} if sent["query_string"] else {}
    query |= {name: "" for name in fixed.split("&") if name}
    # The SDK adds x-id and the signature.
    assert query == {
        name: value for name, value in request_.query.items() if name != "x-id" and not name.startswith("X-Amz-")
    }
    # botocore adds a content type and length when it prepares the request.
    headers = {name.lower(): value for name, value in sent["headers"].items()}
    assert headers.items() <= request_.headers.items()
    assert same_body(sent["body"], request_)


def same_body(sent: Any, request: Request) -> bool:
    if isinstance(request.body, dict):
        return bool(json.loads(sent or "{}") == request.body)
    text = sent.decode() if isinstance(sent, bytes) else str(sent or "")
    if request.headers.get("content-type") == "application/xml":
        return elements(ElementTree.fromstring(text)) == elements(ElementTree.fromstring(request.body))
    return text == (request.body or "")


def elements(element: ElementTree.Element) -> tuple[str, str, list[Any]]:
    """An element and its content, sorted: AWS ignores the order of a structure's members in XML."""
    return element.tag, (element.text or "").strip(), sorted(elements(child) for child in element)


@pytest.mark.parametrize("request_", [r for r in REQUESTS if r.service == "dynamodb"], ids=str)
def test_expressions_use_exactly_the_defined_placeholders(request_: Request) -> None:
    """DynamoDB rejects others (Developer Guide, "Expression attribute names (aliases) in DynamoDB")."""
    for given, texts in expressions(request_.body):
        used = set(re.findall(r"[#:]\w+", " ".join(texts)))
        defined = {*given.get("ExpressionAttributeNames", {}), *given.get("ExpressionAttributeValues", {})}
        assert used == defined


def of(operation: str) -> Request:
    return next(request for request in REQUESTS if request.operation == operation)


def altered(operation: str, **changes: Any) -> Request:
    """A recorded request with changes in its body."""
    found = of(operation)
    return replace(found, body={**found.body, **changes})


@pytest.mark.parametrize(
    ("bad", "violation"),
    [
        (altered("Query", IndexName="no/index"), "does not match"),
        (altered("GetItem", TableName="x" * 1025), "more than 1024"),
        (altered("UpdateItem", ReturnValues="ALL"), "is not one of"),
        (altered("Query", Limit=0), "less than 1"),
        (altered("TransactWriteItems", ClientRequestToken="x" * 37), "more than 36"),
        (altered("TransactWriteItems", TransactItems=[]), "less than 1"),
    ],
    ids=lambda given: None if isinstance(given, str) else str(given),
)
def test_value_outside_the_model_is_found(bad: Request, violation: str) -> None:
    assert violation in "\n".join(violations(parameters(bad), bad.model.input_shape))


@pytest.mark.parametrize(
    "bad",
    [
        altered("GetItem", Colour="red"),
        replace(of("GetItem"), headers={**of("GetItem").headers, "x-amz-target": "DynamoDB_20120810.Query"}),
        replace(of("PutObject"), headers={**of("PutObject").headers, "x-amz-colour": "red"}),
        replace(of("ListParts"), query={**of("ListParts").query, "colour": "red"}),
        replace(of("SendEmail"), path="/v2/email"),
        replace(of("HeadObject"), method="GET"),
        replace(of("CompleteMultipartUpload"), body="<CompleteMultipartUpload><Colour/></CompleteMultipartUpload>"),
    ],
    ids=str,
)
def test_request_part_unknown_to_the_model_is_found(bad: Request) -> None:
    with pytest.raises(ModelMismatchError):
        parameters(bad)
