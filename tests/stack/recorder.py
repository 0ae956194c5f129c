"""Writes down the form of every call that a function makes to the emulator, once for each role.

Runs in the emulator's process. A line of the file is `["<role>", "<form>"]`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ministack.core.iam_evaluator import resolve_caller_identity
from ministack.core.router import extract_access_key_id

from forms import form, operation_of

Application = Callable[[Any, Any, Any], Awaitable[None]]
# The functions' SDK. The tests' own calls, and CloudFormation's, are of others.
SDK = "aws-sdk-rust"


def recorded(application: Application, file: Path) -> Application:
    """The emulator, with its calls written to the file."""
    seen: set[tuple[str, str]] = set()

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in scope.get("headers", [])}
        if SDK not in headers.get("user-agent", ""):
            return await application(scope, receive, send)
        body = bytearray()

        async def tee() -> Any:
            message = await receive()
            # What else S3 is sent are files, which have no form.
            if "json" in headers.get("content-type", ""):
                body.extend(message.get("body", b""))
            return message

        await application(scope, tee, send)
        path = f"{scope['path']}?{scope['query_string'].decode()}"
        operation = operation_of(scope["method"], path, headers)
        identity = resolve_caller_identity(extract_access_key_id(headers, {})) or {}
        call = (identity.get("userArn", ""), form(operation, path, headers, bytes(body)))
        if call not in seen:
            seen.add(call)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(call) + "\n")
        return None

    return recording
