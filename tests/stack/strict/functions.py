"""Lambda: quotas of functions, and the freezing of functions between invocations.

A frozen function loses its connections. With STACK_FROZEN_CONNECTIONS=closed in its environment (the default), the
service closes them, which the function can notice when it is thawed. With `dead`, its next request is reset.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import queue
import select
import signal
import socket
import struct
import threading
from collections.abc import Iterable
from typing import Any, BinaryIO

from hypercorn.asyncio.tcp_server import TCPServer
from ministack import app
from ministack.core import lambda_runtime
from ministack.core.responses import error_response_json
from ministack.services import lambda_svc, sqs
from ministack.services.cloudformation import provisioners

from strict.connections import local_ports

MAX_NAME = 64
MAX_ENVIRONMENT_BYTES = 4096
MAX_REQUEST_BYTES = 6 << 20
MAX_RESPONSE_BYTES = 6_291_556
# Reservations must leave this concurrency to all other functions.
MIN_UNRESERVED = 100
QUOTA = int(os.environ.get("STACK_LAMBDA_QUOTA", 1000))
RESERVED_VARIABLES = {
    "_HANDLER", "_X_AMZN_TRACE_ID", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_EXECUTION_ENV", "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_LAMBDA_FUNCTION_NAME",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION", "AWS_LAMBDA_INITIALIZATION_TYPE",
    "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_RUNTIME_API", "LAMBDA_TASK_ROOT",
    "LAMBDA_RUNTIME_DIR",
}  # fmt: skip
INVALID = "InvalidParameterValueException"

_create, _update, _put_concurrency = (
    lambda_svc._create_function, lambda_svc._update_config, lambda_svc._put_function_concurrency
)  # fmt: skip
_update_code, _release = lambda_svc._update_code, lambda_svc.release_worker
_create_mapping, _handle = lambda_svc._create_esm, lambda_svc.handle_request
_dispatch = lambda_svc._execute_function_dispatch
_signal, _provided_environment = lambda_runtime._signal, lambda_svc._provided_worker_env


# ---------------------------------------------------------------------------------------------- sizes and quotas


def _name_problem(name: str) -> tuple[str, str] | None:
    """A function's name has at most 64 characters. Lambda API Reference, CreateFunction, FunctionName."""
    if len(name) <= MAX_NAME:
        return None
    constraint = f"Member must have length less than or equal to {MAX_NAME}"
    message = (
        f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: {constraint}"
    )
    return "ValidationException", message


def _environment_problem(variables: dict[str, str]) -> tuple[str, str] | None:
    """An environment has at most 4 KB and no reserved variables.

    Lambda Developer Guide, "Lambda quotas" and "Working with Lambda environment variables".
    """
    problem = "Lambda was unable to configure your environment variables because the environment variables you have"
    measured = json.dumps(variables, separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > MAX_ENVIRONMENT_BYTES:
        return INVALID, f"{problem} provided exceeded the 4KB limit. String measured: {measured}"
    if reserved := sorted(RESERVED_VARIABLES & set(variables)):
        why = "provided contains reserved keys that are currently not supported for modification. Reserved keys used in"
        return INVALID, f"{problem} {why} this request: {', '.join(reserved)}"
    return None


def _concurrency_problem(function: str, reserved: int) -> tuple[str, str] | None:
    """Reservations must leave 100 of the account's quota unreserved, or all of a smaller quota.

    Lambda API Reference, PutFunctionConcurrency; aws-samples/alarm-context-tool issue 2; awslabs/amazon-neptune-tools
    issue 324.
    """
    others = sum(int(f.get("concurrency") or 0) for name, f in lambda_svc._functions.items() if name != function)
    least = min(MIN_UNRESERVED, QUOTA)
    if reserved == 0 or QUOTA - others - reserved >= least:
        return None
    message = "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution"
    return INVALID, f"{message} below its minimum value of [{least}]."


def _mapping_problem(function: str, source: str) -> tuple[str, str] | None:
    """A queue's visibility time-out must not be shorter than the function's time-out.

    Lambda Developer Guide, "Creating and configuring an Amazon SQS event source mapping".
    """
    queue, known = sqs._queue_by_arn(source), lambda_svc._functions.get(function)
    if queue is None or known is None:
        return None
    visible, timeout = int(queue["attributes"]["VisibilityTimeout"]), int(known["config"]["Timeout"])
    if visible >= timeout:
        return None
    return INVALID, f"Queue visibility timeout: {visible} seconds is less than Function timeout: {timeout} seconds"


def _reject(*problems: tuple[str, str] | None) -> Any:
    for problem in filter(None, problems):
        return error_response_json(*problem, 400)
    return None


def _raise(*problems: tuple[str, str] | None) -> None:
    for problem in filter(None, problems):
        raise ValueError(f"{problem[1]} (Service: Lambda, Status Code: 400)")


def _variables(data: dict[str, Any]) -> dict[str, str]:
    return (data.get("Environment") or {}).get("Variables") or {}


def _create_checked(data: dict[str, Any]) -> Any:
    problems = _name_problem(data.get("FunctionName") or ""), _environment_problem(_variables(data))
    return _reject(*problems) or _create(data)


def _update_checked(name: str, data: dict[str, Any]) -> Any:
    if problem := _reject(_environment_problem(_variables(data))):
        return problem
    _retire_busy(name)
    return _update(name, data)


def _update_code_gently(name: str, data: dict[str, Any]) -> Any:
    _retire_busy(name)
    return _update_code(name, data)


def _retire_busy(name: str) -> None:
    """Keeps the update of a function from killing its running invocations. Their processes end with them.

    Lambda API Reference, UpdateFunctionConfiguration (a function can be invoked while it is updated).
    """
    with lambda_runtime._lock:
        for workers in lambda_runtime._workers.values():
            for worker in [known for known in workers if known.func_name == name and known.in_use]:
                workers.remove(worker)
                worker.is_retired = True


def _release_or_end(worker: Any) -> None:
    _release(worker)
    if getattr(worker, "is_retired", False):
        worker.kill()


def _put_concurrency_checked(name: str, data: dict[str, Any]) -> Any:
    problem = _concurrency_problem(name, int(data["ReservedConcurrentExecutions"]))
    return _reject(problem) or _put_concurrency(name, data)


def _create_mapping_checked(data: dict[str, Any]) -> Any:
    function = data.get("FunctionName", "").rpartition(":")[2]
    return _reject(_mapping_problem(function, data.get("EventSourceArn", ""))) or _create_mapping(data)


def _create_resource(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
    _raise(_name_problem(properties.get("FunctionName") or ""), _environment_problem(_variables(properties)))
    reserved = properties.get("ReservedConcurrentExecutions")
    if reserved is not None:
        _raise(_concurrency_problem("", int(reserved)))
    created = provisioners._lambda_create(logical_id, properties, stack_name)
    if reserved is not None:
        lambda_svc._functions[created[0]]["concurrency"] = int(reserved)
    return created


def _update_resource(
    physical_id: str, old: dict[str, Any], new: dict[str, Any], stack_name: str, logical_id: str | None = None
) -> Any:
    _raise(_environment_problem(_variables(new)))
    reserved = new.get("ReservedConcurrentExecutions")
    if reserved is not None:
        _raise(_concurrency_problem(physical_id, int(reserved)))
    updated = provisioners._lambda_update(physical_id, old, new, stack_name, logical_id)
    lambda_svc._functions[updated[0]]["concurrency"] = None if reserved is None else int(reserved)
    return updated


def _create_mapping_resource(logical_id: str, properties: dict[str, Any], stack_name: str) -> Any:
    _, function, _, _ = provisioners._lambda_function_for_cfn_ref(properties.get("FunctionName", ""))
    _raise(_mapping_problem(function, properties.get("EventSourceArn", "")))
    return provisioners._lambda_esm_create(logical_id, properties, stack_name)


async def _handle_small(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
    """A function's event has at most 6 MB. Lambda Developer Guide, "Lambda quotas", "Invocation payload"."""
    if path.endswith("/invocations") and len(body) > MAX_REQUEST_BYTES:
        message = f"Request must be smaller than {MAX_REQUEST_BYTES} bytes for the InvokeFunction operation"
        return error_response_json("RequestTooLargeException", message, 413)
    return await _handle(method, path, headers, body, query)


def _dispatch_small(func: dict[str, Any], config: dict[str, Any], event: Any, request_id: str, started: float) -> Any:
    """A function's response has at most 6 MB. Lambda Developer Guide, "Lambda quotas", "Invocation payload"."""
    result = _dispatch(func, config, event, request_id, started)
    body = result.get("body")
    texts = sum(len(text) for text in body.values() if isinstance(text, str)) if isinstance(body, dict) else 0
    # JSON escapes take at most six bytes per character, so a smaller body fits.
    if texts <= MAX_RESPONSE_BYTES // 6:
        return result
    if len(json.dumps(body, ensure_ascii=False).encode()) <= MAX_RESPONSE_BYTES:
        return result
    message = f"Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
    error = {"errorMessage": message, "errorType": "Function.ResponseSizeTooLarge"}
    return {**result, "body": error, "error": True}


# ------------------------------------------------------------------------------------------------------- freezing

# The emulator's end of each connection, by the client's port.
_connections: dict[int, TCPServer] = {}
_dead: set[TCPServer] = set()
_serve, _read_data = TCPServer.run, TCPServer._read_data


async def _serve_known(self: TCPServer) -> None:
    port = self.writer.get_extra_info("peername")[1]
    _connections[port] = self
    try:
        await _serve(self)
    finally:
        _dead.discard(self)
        if _connections.get(port) is self:
            del _connections[port]


async def _read_unless_dead(self: TCPServer) -> None:
    read = self.reader.read

    async def read_or_reset(most: int) -> bytes:
        data = await read(most)
        if data and self in _dead:
            linger = struct.pack("ii", 1, 0)
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self.writer.transport.abort()
            raise ConnectionResetError
        return data

    self.reader.read = read_or_reset  # type: ignore[assignment, method-assign]
    await _read_data(self)
    # Otherwise a connection that its client has closed stays until the keep-alive time-out, and thousands do.
    await self.idle_task.stop()


async def _cut(ports: Iterable[int], quietly: bool) -> None:
    for port in ports:
        if server := _connections.get(port):
            if quietly:
                _dead.add(server)
            else:
                server.writer.close()


def _environment(*arguments: Any) -> dict[str, str]:
    """Gives SES a separate host, as each service has in AWS.

    Otherwise a request to another service would detect a dead connection first.
    """
    environment: dict[str, str] = _provided_environment(*arguments)
    environment["AWS_ENDPOINT_URL_SESV2"] = environment["AWS_ENDPOINT_URL"].replace("127.0.0.1", "localhost")
    return environment


class _Output:
    """What a process writes, by line."""

    def __init__(self, stream: BinaryIO, lines: queue.Queue[str]) -> None:
        self._stream, self._lines, self._rest = stream, lines, b""
        self._reading = threading.Lock()
        os.set_blocking(stream.fileno(), False)

    def read(self) -> bool:
        """Reads all that is written so far. Returns whether the process may write more."""
        with self._reading, contextlib.suppress(BlockingIOError):
            while not self._stream.closed and (data := os.read(self._stream.fileno(), 1 << 16)):
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    with contextlib.suppress(queue.Full):
                        self._lines.put_nowait(line.decode(errors="replace"))
            return False
        return True

    def read_to_end(self) -> None:
        while select.select([self._stream], [], []) and self.read():
            pass
        with self._reading:
            self._stream.close()


class FrozenWorker(lambda_runtime.ProvidedWorker):
    """Stops the function's process while it waits for its next event.

    Lambda Developer Guide, "Understanding the Lambda execution environment lifecycle" (the environment is frozen
    between invocations) and "Best practices" (connections may be lost between invocations).

    The log of an invocation has all that the function wrote before its response. The emulator waits five milliseconds
    for the next line. On a busy machine, the last lines came with the next invocation or never.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._freezing = threading.Lock()
        self._is_invoked = self._is_waiting = self._is_frozen = False
        self._output: _Output | None = None

    def _pump_output(self, stream: BinaryIO, lines: queue.Queue[str]) -> None:
        self._output = _Output(stream, lines)
        self._output.read_to_end()

    def _drain_stderr_bounded(self, *_: Any, **__: Any) -> str:
        if self._output:
            self._output.read()
        return str(self._drain_stderr())

    def invoke(self, *arguments: Any, **more: Any) -> Any:
        with self._freezing:
            self._is_invoked = True
            self._thaw()
        try:
            return super().invoke(*arguments, **more)
        finally:
            with self._freezing:
                self._is_invoked = False
                self._freeze()

    def _mark_first_poll(self, generation: int) -> bool:
        is_current = super()._mark_first_poll(generation)
        with self._freezing:
            self._is_waiting = is_current
            self._freeze()
        return bool(is_current)

    def _record_result(self, *arguments: Any) -> bool:
        with self._freezing:
            self._is_waiting = False
        return bool(super()._record_result(*arguments))

    def _spawn(self, *arguments: Any) -> None:
        with self._freezing:
            self._is_waiting = self._is_frozen = False
        super()._spawn(*arguments)

    def _freeze(self) -> None:
        process = self._proc
        if self._is_waiting and not self._is_invoked and process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            self._is_frozen = True

    def _thaw(self) -> None:
        process = self._proc
        if not self._is_frozen or process is None:
            return
        self._is_frozen = False
        with contextlib.suppress(OSError):  # the process was killed
            quietly = _variables(self.config).get("STACK_FROZEN_CONNECTIONS") == "dead"
            ports = local_ports(process.pid, int(os.environ["GATEWAY_PORT"]))
            asyncio.run_coroutine_threadsafe(_cut(ports, quietly), app._MAIN_LOOP).result()
        process.send_signal(signal.SIGCONT)


def _signal_frozen(process: Any) -> None:
    """A stopped process handles the signal once it continues."""
    _signal(process)
    if process is not None:
        process.send_signal(signal.SIGCONT)


def enforce() -> None:
    lambda_svc._create_function = _create_checked
    lambda_svc._update_config = _update_checked
    lambda_svc._update_code, lambda_svc.release_worker = _update_code_gently, _release_or_end
    lambda_svc._put_function_concurrency = _put_concurrency_checked
    lambda_svc._create_esm = _create_mapping_checked
    lambda_svc._execute_function_dispatch = _dispatch_small
    lambda_svc.handle_request = _handle_small
    if "STACK_LAMBDA_QUOTA" in os.environ:
        lambda_svc._ACCOUNT_CONCURRENCY_CAP = QUOTA
    handlers = provisioners._RESOURCE_HANDLERS
    handlers["AWS::Lambda::Function"] |= {"create": _create_resource, "update": _update_resource}
    handlers["AWS::Lambda::EventSourceMapping"]["create"] = _create_mapping_resource
    TCPServer.run, TCPServer._read_data = _serve_known, _read_unless_dead  # type: ignore[method-assign]
    lambda_runtime.ProvidedWorker = FrozenWorker
    lambda_runtime._signal = _signal_frozen
    lambda_svc._provided_worker_env = _environment
