"""An HTTP client that returns error responses like any other response.

It validates every response of the API against the API's description.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

import description

SECONDS = 60.0


@dataclass(frozen=True)
class Response:
    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error_codes(self) -> list[str]:
        return [error["code"] for error in self.json()["errors"]]

    def __str__(self) -> str:
        return f"{self.status} {self.body.decode(errors='replace')}"


def request(method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Response:
    outgoing = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(outgoing, timeout=SECONDS) as received:
            response = Response(received.status, received.headers, received.read())
    except urllib.error.HTTPError as error:
        with error:
            response = Response(error.code, error.headers, error.read())
    if (path := urlsplit(url).path).startswith("/v1/"):
        description.check_response(method, path, response.status, response.headers, response.body)
    return response
