"""One emulated AWS for all tests of the stack's strictness, and the table of what it rejects.

Each test is a rule: its docstring says what AWS does, and after `Source:` where AWS says so. The table rules.md lists
rule, response, source and test; a test fails if its line there is another one. `tests/run --update` writes the table.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import golden
from emulator import Emulator

HERE = Path(__file__).parent
TABLE = HERE / "rules.md"
HEAD = """# What the local stack rejects, as AWS does

Made by the tests beside it (`tests/run --update rules`), which fail if a response differs.
"""
ACCOUNT, REGION = "000000000000", "us-east-1"
# S3's minimum is 5 MiB. Scaled, so that the tests do not send that much.
PART_MINIMUM = 1 << 16


class Account:
    """Clients of the emulated account: root's, or those of a user with the given policy."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.client = functools.cache(self._client)

    def _client(self, service: str, key: str = "test", secret: str = "test") -> Any:
        session = boto3.session.Session(key, secret, region_name=REGION)
        config = Config(
            signature_version="s3v4" if service == "s3" else None,
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            parameter_validation=False,
            max_pool_connections=32,
        )
        return session.client(service, endpoint_url=self.emulator.url, config=config)

    def client_of_user(self, service: str, name: str, *statements: dict[str, Any]) -> Any:
        iam = self.client("iam")
        iam.create_user(UserName=name)
        document = {"Version": "2012-10-17", "Statement": list(statements)}
        iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=json.dumps(document))
        made = iam.create_access_key(UserName=name)["AccessKey"]
        return self.client(service, made["AccessKeyId"], made["SecretAccessKey"])


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    emulator = Emulator(auth=True, settings={"STACK_S3_PART_MINIMUM": str(PART_MINIMUM)})
    emulator.start()
    try:
        yield Account(emulator)
    finally:
        emulator.stop()


@pytest.fixture(scope="session")
def functions(account: Account) -> Any:
    """Lambda's client; there is a function called `rules`, of the program `bootstrap` beside this file."""
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    account.client("iam").create_role(RoleName="rules", AssumeRolePolicyDocument=document)
    client = account.client("lambda")
    client.create_function(**function("rules"))
    return client


def function(name: str, **parameters: Any) -> dict[str, Any]:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        files.writestr(entry, (HERE / "bootstrap").read_bytes())
    return {
        "FunctionName": name,
        "Runtime": "provided.al2023",
        "Handler": "bootstrap",
        "Role": f"arn:aws:iam::{ACCOUNT}:role/rules",
        "Timeout": 10,
        "Code": {"ZipFile": archive.getvalue()},
        **parameters,
    }


class Responses:
    """What the stack answered to the offences of one test."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def rejects(self, call: Callable[..., Any], code: str, message: str = "", **parameters: Any) -> dict[str, Any]:
        """The call fails with this code and, somewhere in it, this message."""
        with pytest.raises(ClientError) as caught:
            call(**parameters)
        response: dict[str, Any] = caught.value.response
        assert response["Error"]["Code"] == code, response
        assert message in response["Error"]["Message"], response
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        self.add(f"{status} {code}: {message}" if message else f"{status} {code}")
        return response

    def add(self, response: str) -> None:
        if response not in self.seen:
            self.seen.append(response)


@pytest.fixture
def responses(request: pytest.FixtureRequest) -> Iterator[Responses]:
    responses = Responses()
    yield responses
    test = request.function.__name__
    rule, found, source = (request.function.__doc__ or "").partition("Source:")
    assert found, f"{test} names no source"
    cells = (_cell(rule), "<br>".join(responses.seen), _cell(source), f"`{test}`")
    line = f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    service = request.path.stem.removeprefix("test_")
    assert responses.seen, f"{test} saw no response"
    if golden.IS_UPDATE:
        written.setdefault(service, {})[test] = line
    else:
        assert line in TABLE.read_text(encoding="utf-8").splitlines(), f"not in {TABLE.name}: {line}"


written: dict[str, dict[str, str]] = {}


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not written:
        return
    sections = [HEAD]
    kept = _lines()
    for service, tests in rules().items():
        lines = [written.get(service, {}).get(test) or kept.get(test) for test in tests]
        rows = "\n".join(line for line in lines if line)
        sections.append(f"## {service}\n\n| rule | response | source | test |\n|---|---|---|---|\n{rows}\n")
    TABLE.write_text("\n".join(sections), encoding="utf-8")


def rules() -> dict[str, list[str]]:
    """The tests that are rules, in order, by service."""
    found = {}
    for file in sorted(HERE.glob("test_*.py")):
        nodes = ast.parse(file.read_text(encoding="utf-8")).body
        functions = [node for node in nodes if isinstance(node, ast.FunctionDef)]
        tests = [function for function in functions if function.name.startswith("test_")]
        names = [test.name for test in tests if any(argument.arg == "responses" for argument in test.args.args)]
        if names:
            found[file.stem.removeprefix("test_")] = names
    return found


def _lines() -> dict[str, str]:
    """The table's rows by test."""
    text = TABLE.read_text(encoding="utf-8") if TABLE.exists() else ""
    return {match[1]: match[0] for match in re.finditer(r"^\|.*\| `(test_\w+)` \|$", text, re.MULTILINE)}


def _cell(text: str) -> str:
    return " ".join(text.split())
