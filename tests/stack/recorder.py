"""Records the form of every call that a function makes to the emulator, once per role.

Runs in the emulator's process. Each line of the file is `["<role>", "<form>"]`.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from ministack.core.iam_evaluator import resolve_caller_identity
from ministack.core.router import extract_access_key_id

from forms import form, operation_of

Application = Callable[[Any, Any, Any], Awaitable[None]]
# Calls by test_privileges.py, which uses the functions' credentials, are not recorded.
TESTS = "Boto3"


def recorded(application: Application, file: Path) -> Application:
    """Wraps the emulator to record the calls made with a role's credentials."""
    seen: set[tuple[str, str]] = set()

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in scope.get("headers", [])}
        query = scope.get("query_string", b"").decode()
        identity = resolve_caller_identity(extract_access_key_id(headers, parse_qs(query))) or {}
        role = identity.get("userArn", "")
        if ":assumed-role/" not in role or TESTS in headers.get("user-agent", ""):
            await application(scope, receive, send)
            return
        body = bytearray()

        async def tee() -> Any:
            message = await receive()
            # Other bodies are files, which are not part of the form.
            if "json" in headers.get("content-type", ""):
                body.extend(message.get("body", b""))
            return message

        await application(scope, tee, send)
        path = f"{scope['path']}?{query}"
        operation = operation_of(scope["method"], path, headers)
        call = (role, form(operation, path, headers, bytes(body)))
        if call not in seen:
            seen.add(call)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(call) + "\n")

    return recording
