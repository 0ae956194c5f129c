"""Calls of the emulated AWS that cost little: a case asks tens of times how things stand, and boto3 needs longer to ask
than the emulator to answer."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60.0


class Emulated:
    """The JSON services, by the names that AWS gives their operations and parameters."""

    def __init__(self, url: str, region: str) -> None:
        self._address = urlsplit(url).netloc
        self._region = region

    def dynamodb(self, operation: str, **parameters: Any) -> Any:
        return self._call("dynamodb", f"DynamoDB_20120810.{operation}", parameters)

    def sqs(self, operation: str, **parameters: Any) -> Any:
        return self._call("sqs", f"AmazonSQS.{operation}", parameters)

    def _call(self, service: str, target: str, parameters: dict[str, Any]) -> Any:
        scope = f"Credential=test/20260101/{self._region}/{service}/aws4_request"
        headers = {
            "Content-Type": "application/x-amz-json-1.0",
            "X-Amz-Target": target,
            # Whose it is: nobody looks at the signature.
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
        }
        # A connection for each: one that is kept would be closed by the emulator while its case waits.
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=SECONDS)) as connection:
            connection.request("POST", "/", json.dumps(parameters), headers)
            answer = connection.getresponse()
            status, body = answer.status, answer.read()
        if status != 200:
            raise AssertionError(f"{target}: {status} {body.decode(errors='replace')}")
        return json.loads(body or b"{}")
