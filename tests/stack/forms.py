"""The form of a call to AWS: its operation, parameter names, expressions and index, without its values.

Every call that a function makes in a test run must have the form of a request recorded in shared/aws/golden/wire.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from email.message import Message
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

# Added to the query by the SDK, in addition to a signature.
SDK_QUERY = {"x-id"}
SIGNATURE = "X-Amz-"
MULTIPART = {
    ("POST", "uploads"): "CreateMultipartUpload",
    ("PUT", "partNumber"): "UploadPart",
    ("GET", "uploadId"): "ListParts",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
# Prefixes of the S3 headers that are parameters.
PARAMETERS = ("content-disposition", "content-type", "x-amz-checksum-", "x-amz-mp-object-size")


def operation_of(method: str, path: str, headers: Mapping[str, str] | Message) -> str:
    """The operation of a request, such as `dynamodb:UpdateItem`."""
    signed = headers.get("authorization") or unquote(path)
    scope = re.search(r"Credential=[^/]+/\d+/[^/]+/([^/]+)/aws4_request", signed)
    service = scope[1] if scope else "unsigned"
    if target := headers.get("x-amz-target"):
        return f"{service}:{target.rpartition('.')[2]}"
    url = urlsplit(path)
    query = parse_qs(url.query, keep_blank_values=True)
    if service == "ses":
        return "ses:SendEmail" if url.path == "/v2/email/outbound-emails" else f"ses:{method} {url.path}"
    for (verb, parameter), name in MULTIPART.items():
        if method == verb and parameter in query:
            return f"{service}:{name}"
    return f"{service}:{method.capitalize()}Object"


def form(operation: str, path: str, headers: Mapping[str, str] | Message, body: bytes) -> str:
    if operation.startswith("s3:"):
        query = {*parse_qs(urlsplit(path).query, keep_blank_values=True)} - SDK_QUERY
        query = {name for name in query if not name.startswith(SIGNATURE)}
        return f"{operation} {sorted(query)} {sorted(name.lower() for name in headers if is_parameter(name.lower()))}"
    return f"{operation} {_of(json.loads(body))}"


def is_parameter(header: str) -> bool:
    return header.startswith(PARAMETERS)


def _of(given: Any) -> str:
    if isinstance(given, list):
        return "[" + ", ".join(_of(member) for member in given) + "]"
    if not isinstance(given, dict):
        return ""
    return "{" + ", ".join(_member(name, given[name]) for name in sorted(given) if name != "ClientRequestToken") + "}"


def _member(name: str, value: Any) -> str:
    if name.endswith("Expression") or name in ("IndexName", "ReturnValues"):
        return f"{name}={value}"
    # The members of these are parameters as well. The members of others are values.
    nested = ("TransactItems", "Put", "Update", "Delete", "ConditionCheck", "Destination", "Content", "Simple", "Body")
    return f"{name}{_of(value)}" if name in nested else name
