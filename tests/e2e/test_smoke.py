"""`tests/smoke`: its checks, its messages, and that it revokes its key in every case."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import exceptions

from expected_csv import HEADER
from export_types import EXPORT_TYPES, ExportType
from interventions import changed_settings, held_queue
from stack import SENDER, Stack
from tenant import EXPORTS, Tenant, await_quiet, deserialize
from waiting import wait_for

PROGRAM = Path(__file__).resolve().parents[1] / "smoke"
SMOKE_SECONDS = 90
TOTAL = {"currency": "EUR", "status": "PENDING", "count": 1, "amount": "1.00"}
# A minimal stack that is rejected before any of its resources is used.
TEMPLATE: dict[str, Any] = {
    "Parameters": {"SenderAddress": {"Type": "String"}, "PayoutsTableName": {"Type": "String"}},
    "Resources": {"ManageApiKeysFunction": {"Type": "AWS::SQS::Queue"}},
    "Outputs": {"ApiUrl": {"Value": "https://api.example"}, "PayoutsTable": {"Value": "payments-payouts"}},
}


def start(stack: Stack, *options: str, name: str = "", **environment: str) -> subprocess.Popen[str]:
    words = [sys.executable, str(PROGRAM), name or stack.name, "--region", stack.region, "--api-url", stack.apiUrl]
    words += ["--wait", "30"]
    return subprocess.Popen(
        [*words, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={
            "PATH": os.environ.get("PATH", os.defpath), "AWS_ENDPOINT_URL": stack.awsEndpointUrl,
            "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "nowhere", "AWS_SHARED_CREDENTIALS_FILE": "nowhere", **environment,
        },
    )  # fmt: skip


def smoke(stack: Stack, *options: str, name: str = "", **environment: str) -> tuple[int, str, str]:
    """Runs the program. Returns exit code, output and error output."""
    with start(stack, *options, name=name, **environment) as process:
        printed, error = process.communicate(timeout=SMOKE_SECONDS)
    return process.returncode, printed, error


def tenant_in(printed: str) -> str:
    return re.findall(r"^Key +issued for the tenant (smoke-[0-9]{8}-[0-9]{6}-[0-9a-f]{4})$", printed, re.MULTILINE)[0]


def assert_key_is_revoked(stack: Stack, tenant: str, printed: str) -> None:
    (key,) = stack.invoke("manage-api-keys", {"action": "list", "tenantId": tenant})["apiKeys"]
    assert "revokedAt" in key, key
    assert f"the record of the API key {key['keyId']}" in printed


def payouts_of(stack: Stack, tenant: str) -> list[dict[str, Any]]:
    found = stack.client("dynamodb").query(
        TableName=stack.payoutsTable,
        KeyConditionExpression="tenantId = :tenant",
        ExpressionAttributeValues={":tenant": {"S": tenant}},
    )
    return [{key: deserialize(value) for key, value in item.items()} for item in found["Items"]]


def assert_all_remains_are_listed(stack: Stack, tenant: str, printed: str) -> None:
    """Checks that the output lists everything that the tables, the bucket and the logs still hold."""
    listed = printed.partition("What remains:")[2]
    remains = Tenant.__new__(Tenant)
    remains.stack, remains.id = stack, tenant
    for item in remains.items():
        kind = item["sk"].partition("#")[0]
        assert kind in ("EXPORT", "IDEMPOTENCY"), item
        assert (item["sk"] if kind == "EXPORT" else "idempotency record") in listed
    (key,) = remains.objects()
    assert f"s3://{stack.bucket}/{key.rpartition('/')[0]}/" in listed
    for row in payouts_of(stack, tenant):
        assert row["sk"] in listed
    groups = {group["logGroupName"] for group in stack.client("logs").describe_log_groups()["logGroups"]}
    assert groups == set(re.findall(r"/aws/[\w/-]+", listed))


@contextmanager
def sandbox(stack: Stack) -> Iterator[None]:
    def production_access(enabled: bool) -> None:
        stack.client("sesv2").put_account_details(
            MailType="TRANSACTIONAL", WebsiteURL="https://marketplace.example", ProductionAccessEnabled=enabled
        )

    production_access(False)
    try:
        yield
    finally:
        production_access(True)


@contextmanager
def special_stack(stack: Stack, name: str, template: dict[str, Any], **parameters: str) -> Iterator[None]:
    client = stack.client("cloudformation")
    given = [{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()]
    client.create_stack(StackName=name, TemplateBody=json.dumps(template), Parameters=given)
    try:
        wait_for(
            f"{name} to be deployed",
            lambda: client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] == "CREATE_COMPLETE",
            SMOKE_SECONDS,
        )
        yield
    finally:
        client.delete_stack(StackName=name)


# -------------------------------------------------------------------------------------------------------------- success


def test_empty_export_passes_and_lists_what_remains(stack: Stack) -> None:
    code, printed, error = smoke(stack)
    assert (code, error) == (0, ""), printed + error
    tenant = tenant_in(printed)
    assert re.search(r"^File +\S+\.csv has only its header: \d+ bytes, SHA-256 [0-9a-f]{64} verified$", printed, re.M)
    assert f"SES accepted the mail to {SENDER}" in printed
    assert any(mail.to == [SENDER] and tenant in mail.text for mail in stack.mails())
    assert payouts_of(stack, tenant) == []
    assert_key_is_revoked(stack, tenant, printed)
    assert_all_remains_are_listed(stack, tenant, printed)


@pytest.mark.parametrize("export_type", EXPORT_TYPES[1:], ids=lambda export_type: export_type.slug)
def test_empty_export_of_another_type_passes(stack: Stack, export_type: ExportType) -> None:
    code, printed, error = smoke(stack, "--type", export_type.slug)
    assert (code, error) == (0, ""), printed + error
    assert re.search(rf"^File +{export_type.slug}-\S+\.csv has only its header: ", printed, re.M)


def test_rows_of_another_type_are_not_written(stack: Stack) -> None:
    code, _, error = smoke(stack, "--type", EXPORT_TYPES[1].slug, "--write-rows")
    assert (code, "--write-rows writes marketplace payouts only" in error) == (2, True), error


def test_written_rows_are_found_in_the_file(stack: Stack) -> None:
    code, printed, error = smoke(stack, "--write-rows", "--recipient", "you@marketplace.example")
    assert (code, error) == (0, ""), printed + error
    tenant = tenant_in(printed)
    rows = payouts_of(stack, tenant)
    assert sorted((row["currency"], int(row["amountMinor"])) for row in rows) == [
        ("EUR", 123_456), ("JPY", -7_890), ("KWD", 1_234_567),
    ]  # fmt: skip
    assert "has 3 rows with their totals" in printed
    assert any(mail.to == ["you@marketplace.example"] and tenant in mail.text for mail in stack.mails())
    assert_key_is_revoked(stack, tenant, printed)
    assert_all_remains_are_listed(stack, tenant, printed)


@pytest.mark.parametrize("recipient", [SENDER, "success@simulator.amazonses.com"])
def test_sandbox_with_an_allowed_recipient_passes(stack: Stack, recipient: str) -> None:
    with sandbox(stack):
        code, printed, error = smoke(stack, "--recipient", recipient)
    assert (code, error) == (0, ""), printed + error
    assert f"in the sandbox; {SENDER} may send to {recipient}" in printed


def test_verified_domain_covers_subdomains_and_addresses(stack: Stack) -> None:
    client = stack.client("sesv2")
    client.create_email_identity(EmailIdentity="owner.example")
    try:
        with sandbox(stack):
            code, printed, error = smoke(stack, "--recipient", "you@mail.owner.example")
    finally:
        client.delete_email_identity(EmailIdentity="owner.example")
    assert (code, error) == (0, ""), printed + error


# ------------------------------------------------------------------------------------- rejected before anything is done


def test_unverified_recipient_in_the_sandbox_is_rejected(stack: Stack) -> None:
    with sandbox(stack):
        code, printed, error = smoke(stack, "--recipient", "stranger@elsewhere.example")
    assert (code, "Key" in printed) == (1, False), printed
    assert one_line(error) == (
        "tests/smoke: SES is in its sandbox in us-east-1 and mails to verified identities only; "
        "stranger@elsewhere.example is not verified. Verify it (aws sesv2 create-email-identity --region us-east-1 "
        "--email-identity stranger@elsewhere.example; the mail has a link), or choose another one, such as --recipient "
        "success@simulator.amazonses.com."
    )


def test_unverified_sender_is_rejected(stack: Stack) -> None:
    parameters = {"SenderAddress": "nobody@unverified.example", "PayoutsTableName": ""}
    with special_stack(stack, "unverified", TEMPLATE, **parameters):
        code, printed, error = smoke(stack, name="unverified")
    assert (code, "Key" in printed) == (1, False), printed
    assert "Neither the sender nobody@unverified.example nor its domain is a verified SES identity" in one_line(error)


@pytest.mark.parametrize("resources", [{}, {"PayoutsTable": {"Type": "AWS::SQS::Queue"}}], ids=["none", "another"])
def test_rows_are_not_written_to_a_table_of_another_owner(stack: Stack, resources: dict[str, Any]) -> None:
    template = {**TEMPLATE, "Resources": {**TEMPLATE["Resources"], **resources}}
    parameters = {"SenderAddress": SENDER, "PayoutsTableName": "payments-payouts"}
    with special_stack(stack, "foreign-table", template, **parameters):
        code, printed, error = smoke(stack, "--write-rows", name="foreign-table")
    assert (code, "Key" in printed) == (1, False), printed
    assert "--write-rows writes only to a table that the stack created, and payments-payouts is not one." in one_line(
        error
    )


def test_missing_stack_is_reported_with_account_and_region(stack: Stack) -> None:
    code, _, error = smoke(stack, name="no-such-stack")
    assert code == 1
    assert one_line(error) == (
        "tests/smoke: There is no stack no-such-stack in account 000000000000, region us-east-1. Choose others with "
        "--region and --profile."
    )


def test_stack_of_another_template_is_rejected(stack: Stack) -> None:
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    with special_stack(stack, "something-else", template):
        code, _, error = smoke(stack, name="something-else")
    assert code == 1
    assert "something-else in account 000000000000, region us-east-1 is not one of this project's" in one_line(error)


def test_missing_credentials_are_reported(stack: Stack) -> None:
    code, _, error = smoke(stack, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert code == 1
    assert one_line(error) == "tests/smoke: There are no AWS credentials: sign in, or choose a profile with --profile."


def test_missing_profile_is_reported(stack: Stack) -> None:
    code, _, error = smoke(stack, "--profile", "nobodys")
    assert code == 1
    assert "nobodys" in one_line(error)


def one_line(error: str) -> str:
    (line,) = error.strip().splitlines()
    return line


# ------------------------------------------------------------------------------- failures after the key has been issued


def test_failed_export_is_reported_and_the_key_revoked(brisk_stack: Stack) -> None:
    with changed_settings(brisk_stack, "generate-export", SENDER="nobody@unverified.example"):
        code, printed, error = smoke(brisk_stack)
    assert code == 1, printed
    assert re.search(r"mpo_\S+ is FAILED: EMAIL_NOT_SENT: \w+", error), error
    logs = f"sam logs --stack-name {brisk_stack.name} --region us-east-1 --name GenerateExportFunction --filter"
    assert re.search(rf"""{logs} '"mpo_[0-9a-f-]{{36}}"'$""", error, re.MULTILINE), error
    assert_key_is_revoked(brisk_stack, tenant := tenant_in(printed), printed)
    assert_all_remains_are_listed(brisk_stack, tenant, printed)


def test_export_still_pending_is_reported_and_the_key_revoked(brisk_stack: Stack) -> None:
    with held_queue(brisk_stack):
        code, printed, error = smoke(brisk_stack, "--wait", "1")
    await_quiet(brisk_stack)
    assert code == 1, printed
    assert re.search(r"mpo_\S+ is still PENDING after 1 s\.$", error, re.MULTILINE), error
    assert "sam logs" in error
    assert "the export, which the stack continues" in printed
    assert_key_is_revoked(brisk_stack, tenant_in(printed), printed)


def test_interrupt_revokes_the_key(brisk_stack: Stack) -> None:
    printed = ""
    with held_queue(brisk_stack), start(brisk_stack) as process:
        assert process.stdout is not None
        for line in process.stdout:
            printed += line
            if line.startswith("Export"):
                process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        error = process.stderr.read()
    await_quiet(brisk_stack)
    assert (process.returncode, error.strip()) == (1, "tests/smoke: interrupted"), printed + error
    assert_key_is_revoked(brisk_stack, tenant_in(printed), printed)


@pytest.fixture
def program() -> ModuleType:
    """The program as a module, for situations that no stack can be put into."""
    loader = importlib.machinery.SourceFileLoader("smoke", str(PROGRAM))
    spec = importlib.util.spec_from_loader("smoke", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["smoke"] = module
    loader.exec_module(module)
    return module


def run_in_process(program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch) -> int:
    # Keep pytest's signal handlers.
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    given = {"ENDPOINT_URL": stack.awsEndpointUrl, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}
    for name, value in given.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    words = ["smoke", stack.name, "--region", stack.region, "--api-url", stack.apiUrl, "--wait", "30"]
    monkeypatch.setattr(sys, "argv", words)
    return int(program.main())


def test_key_with_a_lost_issue_response_is_revoked(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, tenants = program.Check.keys, []

    def lost(check: Any, **event: str) -> Any:
        issued = keys(check, **event)
        if event["action"] == "issue":
            tenants.append(event["tenantId"])
            raise exceptions.ReadTimeoutError(endpoint_url=stack.awsEndpointUrl)
        return issued

    monkeypatch.setattr(program.Check, "keys", lost)
    assert run_in_process(program, stack, monkeypatch) == 1
    printed, error = capsys.readouterr()
    assert "Read timeout" in one_line(error)
    assert_key_is_revoked(stack, tenants[0], printed)


def test_key_that_cannot_be_revoked_is_reported_as_well(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = program.Check.keys

    def denied(check: Any, **event: str) -> Any:
        if event["action"] == "issue":
            return keys(check, **event)
        raise client_error("AccessDeniedException", "not authorized to perform: lambda:InvokeFunction.")

    def failing(_: Any) -> None:
        raise program.SmokeError("the first failure")

    with monkeypatch.context() as patched:
        patched.setattr(program.Check, "keys", denied)
        patched.setattr(program.Check, "launch", failing)
        assert run_in_process(program, stack, patched) == 1
        printed, error = capsys.readouterr()
        assert one_line(error) == "tests/smoke: the first failure"
        (key,) = stack.invoke("manage-api-keys", {"action": "list", "tenantId": tenant_in(printed)})["apiKeys"]
        assert "NOT REVOKED: The AWS credentials lack a permission: not authorized" in printed
        assert f'{stack.functions["manage-api-keys"]} with {{"action": "revoke", "keyId": "{key["keyId"]}"}}' in printed
    with monkeypatch.context() as patched:
        patched.setattr(program.Check, "keys", denied)
        # A key that is not revoked is a failure in itself.
        assert run_in_process(program, stack, patched) == 1
        assert "is not revoked: see above" in one_line(capsys.readouterr().err)


def test_unreachable_api_is_reported(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "REACH_SECONDS", 0)
    monkeypatch.setattr(stack, "apiUrl", "http://127.0.0.1:1")
    assert run_in_process(program, stack, monkeypatch) == 1
    error = one_line(capsys.readouterr().err)
    assert error.startswith("tests/smoke: http://127.0.0.1:1 cannot be reached: ")
    assert error.endswith("If the API is served elsewhere, specify it with --api-url.")


@pytest.mark.parametrize(
    ("path", "old", "new", "words"),
    [
        ("/back-office", "Content-Security-Policy", None, "has no Content-Security-Policy"),
        ("/v1/openapi.json", "marketplace-payouts", "others", "is it another API?"),
        ("/v1/openapi.json", "{", "<html>", "This is not JSON"),
        ("/v1/caller", "smoke-", "acme-", "does not name the tenant and address"),
        (EXPORTS, '"content":[', '"content":[{"exportId":"mpo_other"},', "must contain only this export"),
        (f"{EXPORTS}/mpo_", '"downloadUrl"', '"elsewhere"', "READY without a downloadUrl"),
        (f"{EXPORTS}/mpo_", '"totals":[]', f'"totals":[{json.dumps(TOTAL)}]', "The totals are"),
        ("/payouts-export", "payout_id;", "payout_id,", "Bytes, SHA-256 and rows of the file are"),
    ],
)
def test_unexpected_response_fails_the_check(
    path: str, old: str, new: str | None, words: str, program: ModuleType, stack: Stack,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    send, altered = program.send, []

    def sent(method: str, url: str, headers: Mapping[str, str] | None = None) -> Any:
        response = send(method, url, headers)
        found = urlsplit(url).path
        if (
            method != "GET"
            or response.status != 200
            or not (found.startswith(path) if path != EXPORTS else found == path)
            or (path.startswith(f"{EXPORTS}/") and response.json()["status"] == "PENDING")
        ):
            return response
        altered.append(url)
        if new is None:
            del response.headers[old]
            return response
        assert old.encode() in response.body
        return program.Response(200, response.headers, response.body.replace(old.encode(), new.encode()))

    monkeypatch.setattr(program, "send", sent)
    assert run_in_process(program, stack, monkeypatch) == 1
    assert altered
    assert words in capsys.readouterr().err


def test_file_of_another_version_is_reported_with_both_headers(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "expected_csv", lambda *_: f"{HEADER};new_column\n".encode())
    assert run_in_process(program, stack, monkeypatch) == 1
    assert f"{HEADER}\nexpected: {HEADER};new_column\nIs another version deployed?" in capsys.readouterr().err


def test_unknown_key_that_is_accepted_fails_the_check(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hexadecimal(_: int) -> str:
        return stack.apiKey

    monkeypatch.setattr(program.secrets, "token_hex", hexadecimal)
    assert run_in_process(program, stack, monkeypatch) == 1
    printed, error = capsys.readouterr()
    assert "returned 200" in error
    assert "expected: 401" in error
    assert "Key" not in printed


def test_paused_sending_is_reported(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    client = program.Check.client

    def paused(check: Any, service: str) -> Any:
        if service != "sesv2":
            return client(check, service)
        account = {"SendingEnabled": False, "EnforcementStatus": "SHUTDOWN", "ProductionAccessEnabled": True}
        return SimpleNamespace(get_account=lambda: account)

    monkeypatch.setattr(program.Check, "client", paused)
    assert run_in_process(program, stack, monkeypatch) == 1
    assert "SES does not send for this account in us-east-1 (SHUTDOWN)" in one_line(capsys.readouterr().err)


def test_launch_with_a_lost_response_is_listed_among_remains(
    program: ModuleType, stack: Stack, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    send = program.send

    def sent(method: str, url: str, headers: Mapping[str, str] | None = None) -> Any:
        response = send(method, url, headers)
        if method == "POST":
            raise program.SmokeError("no response.")
        return response

    monkeypatch.setattr(program, "send", sent)
    assert run_in_process(program, stack, monkeypatch) == 1
    printed, error = capsys.readouterr()
    assert "no response." in one_line(error)
    assert f"- perhaps an export of the tenant {tenant_in(printed)}: its launch got no response" in printed


def client_error(code: str, message: str = "") -> exceptions.ClientError:
    return exceptions.ClientError({"Error": {"Code": code, "Message": message}}, "DescribeStacks")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (client_error("ExpiredTokenException"), "The AWS credentials have expired: sign in again"),
        (client_error("InvalidClientTokenId"), "AWS rejects the credentials (InvalidClientTokenId)"),
        (client_error("AccessDenied", "User: u is not authorized."), "lack a permission: User: u is not authorized."),
        (client_error("Throttling"), "AWS throttles DescribeStacks"),
        (client_error("Strange", "all else"), "DescribeStacks fails: Strange: all else"),
        (exceptions.TokenRetrievalError(provider="sso", error_msg="expired"), "The AWS session has expired"),
        (exceptions.EndpointConnectionError(endpoint_url="https://sts.x"), "Is the region's name right"),
        (exceptions.ConnectTimeoutError(endpoint_url="https://sts.x"), "AWS cannot be called: Connect timeout"),
    ],
)
def test_aws_error_is_explained_in_one_line(program: ModuleType, error: Exception, words: str) -> None:
    assert words in one_line(program.explained(error))
