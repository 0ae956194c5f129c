"""Plain HTTP, with the answer as it came: an error status is an answer like any other.

Every answer of the API is held against its description on the way.
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
class Answer:
    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error_codes(self) -> list[str]:
        return [error["code"] for error in self.json()["errors"]]

    def __str__(self) -> str:
        return f"{self.status} {self.body.decode(errors='replace')}"


def request(method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
    outgoing = urllib.request.Request(url, data=body, headers=dict(headers or {}), method=method)
    try:
        with urllib.request.urlopen(outgoing, timeout=SECONDS) as taken:
            answer = Answer(taken.status, taken.headers, taken.read())
    except urllib.error.HTTPError as error:
        with error:
            answer = Answer(error.code, error.headers, error.read())
    if (path := urlsplit(url).path).startswith("/v1/"):
        description.hold_against(method, path, answer.status, answer.headers, answer.body)
    return answer
