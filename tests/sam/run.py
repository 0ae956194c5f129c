"""Runs `sam build`, then `sam local` in containers: every event of every function, and the routes by URL.

The containers use a local stack. responses.json lists the expected responses; `tests/run --update sam` rewrites it.
Read the diff before you commit it. Skipped without Docker or SAM CLI.

Runs in the environment that tests/stack/venv.py creates.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "stack"))

import boto3  # noqa: E402
import yaml  # noqa: E402
from botocore.config import Config  # noqa: E402
from samtranslator.yaml_helper import yaml_parse  # noqa: E402

import build  # noqa: E402
import golden  # noqa: E402
from export_types import EXPORT_TYPES  # noqa: E402
from stack import Stack  # noqa: E402

RESPONSES = Path(__file__).with_name("responses.json")
BUILT = ROOT / ".aws-sam" / "build"
IMAGE = ["--skip-pull-image"]
# The tenant that the API key of the sample events belongs to.
TENANT = "acme"
# The export of the sample events, and its status before the events of a function. Other functions find what the events
# before left.
SAMPLE = "mpo_01a11aa2-3340-7707-8707-070707070707"
SAMPLE_STATUS = {
    "get-export": "READY", "resend-email": "READY", "cancel-export": "PENDING", "generate-export": "PENDING",
    "fail-export": "PENDING",
}  # fmt: skip
EXPORTS = "/v1/payments/marketplace-payouts/export"
EXPORT_SECONDS = 60.0
START_SECONDS = 60.0


def main() -> int:
    missing = [name for name in ("sam", "docker") if not shutil.which(name)]
    if missing or subprocess.run(["docker", "version"], capture_output=True).returncode != 0:
        # tests/run parses these lines like pytest's last lines.
        print(f"SKIPPED [1] sam local: needs {' and '.join(missing) or 'a Docker engine that runs'}")
        print("= 1 skipped in 0.0s =")
        return 0
    began = time.monotonic()
    subprocess.run(["sam", "build"], cwd=ROOT, env={**os.environ, **build.SAM_SETTINGS}, check=True)
    with Stack.start(report=print) as stack, reachable(stack) as endpoint, tempfile.TemporaryDirectory() as folder:
        issue_sample_keys(stack)
        records = sample_records(stack)
        template = local_template(stack, endpoint, Path(folder, "template.yaml"))
        found = by_event(template, stack, records) | by_url(template, stack)
    if golden.IS_UPDATE:
        RESPONSES.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    expected = json.loads(RESPONSES.read_text(encoding="utf-8"))
    wrong = {name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)}
    for name in sorted(wrong):
        print(f"{name}: {found.get(name)}, expected {expected.get(name)}")
    passed, seconds = len(found.keys() - wrong), time.monotonic() - began
    print(f"= {passed} passed, {len(wrong)} failed in {seconds:.1f}s =")
    return 1 if wrong else 0


def events() -> list[Path]:
    """All sample events. Those that revoke a key come last."""
    found = (ROOT / "events").glob("*/*.json")
    return sorted(found, key=lambda event: (event.parent.name == "manage-api-keys", event))


def function(event: Path) -> str:
    return "".join(word.capitalize() for word in event.parent.name.split("-")) + "Function"


@contextlib.contextmanager
def reachable(stack: Stack) -> Iterator[str]:
    """The URL of a proxy to the emulator that containers can reach. The emulator listens on the loopback only."""
    bridge = ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"]
    gateway = subprocess.run(bridge, check=True, capture_output=True, text=True).stdout.strip() or "172.17.0.1"
    port = int(stack.awsEndpointUrl.rpartition(":")[2])
    with socket.create_server((gateway, 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:
                    return
                upstream = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, upstream), (upstream, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://{gateway}:{server.getsockname()[1]}"


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one side has closed the connection


def issue_sample_keys(stack: Stack) -> None:
    """Stores the API keys of the sample events, except the unknown one."""
    table = {"TableName": stack.apiKeysTable}
    for event in events():
        key = json.loads(event.read_text(encoding="utf-8")).get("headers", {}).get("dj-api-key")
        if key and event.stem != "unknown-key":
            record = {
                "keyHash": hashlib.sha256(key.encode()).hexdigest(), "tenantId": TENANT, "client": "OPERATOR",
                "email": "operator@acme.example", "name": "Sample Operator", "createdAt": "2026-01-01T00:00:00.000Z",
            }  # fmt: skip
            stack.client("dynamodb").put_item(**table, Item={name: {"S": value} for name, value in record.items()})


def sample_records(stack: Stack) -> dict[str, dict[str, Any]]:
    """Records for the sample export by status, from real exports.

    From then on the queue is held, so that the next export stays pending and later launches are rejected.
    """
    key = stack.issue_key("samples", "operator@samples.example")
    records: dict[str, dict[str, Any]] = {}
    for status, held in (("READY", False), ("PENDING", True)):
        stack.hold_queue(held)
        export_id = call("POST", stack.apiUrl + EXPORTS, key)[1]["exportId"]
        deadline = time.monotonic() + EXPORT_SECONDS
        while call("GET", f"{stack.apiUrl}{EXPORTS}/{export_id}", key)[1]["status"] != status:
            assert time.monotonic() < deadline, f"{export_id} is not {status}"
            time.sleep(0.5)
        record_key = {"tenantId": {"S": "samples"}, "sk": {"S": f"EXPORT#{export_id}"}}
        records[status] = stack.client("dynamodb").get_item(TableName=stack.exportsTable, Key=record_key)["Item"]
    return records


def put_sample(stack: Stack, record: dict[str, Any]) -> None:
    """Stores a record as the sample export's."""
    own = {"tenantId": {"S": TENANT}, "exportId": {"S": SAMPLE}, "sk": {"S": f"EXPORT#{SAMPLE}"}}
    stack.client("dynamodb").put_item(TableName=stack.exportsTable, Item={**record, **own})


def status_of_sample(stack: Stack) -> str:
    place = {"tenantId": {"S": TENANT}, "sk": {"S": f"EXPORT#{SAMPLE}"}}
    item = stack.client("dynamodb").get_item(TableName=stack.exportsTable, Key=place)["Item"]
    return str(item["status"]["S"])


def local_template(stack: Stack, endpoint: str, path: Path) -> Path:
    """The built template with the deployed functions' settings, because `sam local` does not resolve references."""
    template: dict[str, Any] = yaml_parse((BUILT / "template.yaml").read_text(encoding="utf-8"))
    for name, resource in template["Resources"].items():
        if resource["Type"] != "AWS::Serverless::Function":
            continue
        crate = resource["Properties"]["FunctionName"]["Fn::Sub"].removeprefix("${AWS::StackName}-")
        deployed = stack.client("lambda").get_function_configuration(FunctionName=stack.functions[crate])
        variables = {**deployed.get("Environment", {}).get("Variables", {}), "AWS_ENDPOINT_URL": endpoint}
        variables = {key: value.replace(stack.awsEndpointUrl, endpoint) for key, value in variables.items()}
        resource["Properties"]["Environment"] = {"Variables": variables}
        resource["Properties"]["CodeUri"] = str(BUILT / name)
    path.write_text(yaml.safe_dump(template, sort_keys=False), encoding="utf-8")
    return path


def environment() -> dict[str, str]:
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    return {**os.environ, **credentials, "SAM_CLI_TELEMETRY": "0"}


@contextlib.contextmanager
def served(command: str, template: Path) -> Iterator[str]:
    """Runs `sam local start-lambda` or `start-api` and yields its URL. Reuses containers, which start slowly."""
    port = free_port()
    words = ["sam", "local", command, f"--template={template}", f"--port={port}", "--warm-containers", "LAZY", *IMAGE]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(words, cwd=ROOT, env=environment(), stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + START_SECONDS
            while not listens(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    sys.exit(f"sam local {command} does not start:\n{log.read().decode(errors='replace')}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """A free port below those of outgoing connections, so that no connection takes it before sam listens."""
    for port in random.sample(range(20_000, 32_768), 100):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise OSError("no port is free")


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def by_event(template: Path, stack: Stack, records: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The shortened response to every sample event, and the status of the sample export if the event changed it."""
    found = {}
    with served("start-lambda", template) as url:
        session = boto3.session.Session("test", "test", region_name="us-east-1")
        config = Config(read_timeout=120, retries={"total_max_attempts": 1})
        client = session.client("lambda", endpoint_url=url, config=config)
        for event in events():
            if before := SAMPLE_STATUS.get(event.parent.name):
                put_sample(stack, records[before])
            response = client.invoke(FunctionName=function(event), Payload=event.read_bytes())
            name = str(event.relative_to(ROOT / "events"))
            found[name] = shortened(json.loads(response["Payload"].read() or b"null"))
            if before and (after := status_of_sample(stack)) != before:
                found[name] = {"response": found[name], "export": after}
            print(f"{name}: {found[name]}", flush=True)
    return found


def shortened(response: Any) -> Any:
    """The parts of a response that are equal in every run."""
    if not isinstance(response, dict):
        return response
    if "statusCode" in response:
        try:
            errors = [error["code"] for error in json.loads(response["body"]).get("errors", [])]
        except (TypeError, ValueError):
            errors = []
        return [response["statusCode"], *errors]
    if "errorType" in response:
        return response["errorType"]
    return [f"{key}: {len(value)}" if isinstance(value, list) else key for key, value in sorted(response.items())]


def by_url(template: Path, stack: Stack) -> dict[str, Any]:
    """The status of every route of `sam local start-api`, without and with an API key."""
    key, found = stack.issue_key("by-url", "operator@by-url.example"), {}
    routes = [
        ("GET", "/v1/openapi.json"), ("GET", "/back-office"), ("GET", "/v1/caller"),
        *(
            route
            for known in EXPORT_TYPES
            for route in (("GET", known.path), ("POST", known.path), ("GET", f"{known.path}/{{exportId}}"))
        ),
        ("POST", "/v1/exports/{exportId}/resend-email"),
        ("POST", "/v1/exports/{exportId}/cancel"),
    ]  # fmt: skip
    with served("start-api", template) as url:
        export_id = SAMPLE
        for method, path in routes:
            for api_key in ("", key) if path.startswith("/v1/") and "openapi" not in path else ("",):
                status, body = call(method, url + path.replace("{exportId}", export_id), api_key)
                name = f"{method} {path}{' with a key' if api_key else ''}"
                found[name] = status
                print(f"{name}: {status}", flush=True)
                if status == 202:
                    export_id = body["exportId"]
    return found


def call(method: str, url: str, key: str = "") -> tuple[int | str, Any]:
    """The status of a response, and its JSON body if it has one."""
    headers = {"dj-client": "OPERATOR", "dj-api-key": key} if key else {}
    try:
        request = urllib.request.Request(url, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, body = error.code, error.read()
    except OSError as error:
        return str(error), None
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None


if __name__ == "__main__":
    sys.exit(main())
