"""A fast client for the emulated AWS. Cases poll often, and boto3 takes longer to send a request than the emulator
takes to respond."""

from __future__ import annotations

import contextlib
import http.client
import json
from typing import Any
from urllib.parse import urlsplit

SECONDS = 60.0


class Emulated:
    """The services with a JSON protocol, with AWS's names of operations and parameters."""

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
            # The emulator does not check the signature.
            "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
        }
        # A new connection for each call, because the emulator closes idle ones.
        with contextlib.closing(http.client.HTTPConnection(self._address, timeout=SECONDS)) as connection:
            connection.request("POST", "/", json.dumps(parameters), headers)
            response = connection.getresponse()
            status, body = response.status, response.read()
        if status != 200:
            raise AssertionError(f"{target}: {status} {body.decode(errors='replace')}")
        return json.loads(body or b"{}")
