"""The permissions of each function, exercised with its own credentials: only the ones it needs.

The result is compared with results/privileges.md.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

import golden
from export_types import EXPORT_TYPES, ExportType
from interventions import processes
from roles import as_list
from stack import SENDER, Stack, StackError
from tenant import await_quiet

TABLE = Path(__file__).parent / "results" / "privileges.md"
HEAD = """# Permissions of each function

Tried with the credentials of each function and of the user that signs links: ● is allowed, blank is denied. Generated
by `test_privileges.py`, which fails if anything else is allowed or denied.

"""
SIGNER = "link signer"
FILE, PART, OTHER_FILE = "exports/privileges/file.csv", "unfinished/privileges/part", "privileges/file.csv"
DENIED = {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation"}
KEY = {"tenantId": {"S": "privileges"}, "sk": {"S": "EXPORT#none"}}
# The generator drops this job message.
JOB_OF_UNKNOWN_EXPORT = '{"version":1,"tenantId":"privileges","exportId":"mpo_01a11f3a-7000-7abc-8def-00000000000f"}'
# This condition is never true, so an allowed write changes nothing.
NEVER = {"ConditionExpression": "attribute_exists(neverThere)"}


@dataclass(frozen=True)
class World:
    """The resources to reach."""

    stack: Stack
    secret: str
    other_secret: str


Attempt = Callable[[Callable[[str], Any], World], Any]


def get(table: str) -> Attempt:
    key = {"keyHash": {"S": "0" * 64}} if table == "apiKeysTable" else KEY
    return lambda client, world: client("dynamodb").get_item(TableName=getattr(world.stack, table), Key=key)


def query(table: str, index: str | None, key: str) -> Attempt:
    extra = {"IndexName": index} if index else {}
    return lambda client, world: client("dynamodb").query(
        TableName=getattr(world.stack, table), KeyConditionExpression="#k = :k", ExpressionAttributeNames={"#k": key},
        ExpressionAttributeValues={":k": {"S": "privileges"}}, **extra,
    )  # fmt: skip


def write(operation: str, table: str) -> Attempt:
    key = {"keyHash": {"S": "0" * 64}} if table == "apiKeysTable" else KEY
    parameters = {
        "put_item": {"Item": key, **NEVER},
        "update_item": {
            "Key": key, "UpdateExpression": "SET neverThere = :v", "ExpressionAttributeValues": {":v": {"S": "x"}},
            **NEVER,
        },
        "delete_item": {"Key": key, **NEVER},
    }[operation]  # fmt: skip
    return lambda client, world: getattr(client("dynamodb"), operation)(
        TableName=getattr(world.stack, table), **parameters
    )


def record_key_use(condition: str) -> Attempt:
    return lambda client, world: client("dynamodb").update_item(
        TableName=world.stack.apiKeysTable, Key={"keyHash": {"S": "0" * 64}}, UpdateExpression="SET lastUsedOn = :day",
        ConditionExpression=condition, ExpressionAttributeValues={":day": {"S": "2026-10-08"}},
    )  # fmt: skip


def bucket(operation: str, **parameters: Any) -> Attempt:
    return lambda client, world: getattr(client("s3"), operation)(Bucket=world.stack.bucket, **parameters)


def queue(operation: str, url: str, **parameters: Any) -> Attempt:
    return lambda client, world: getattr(client("sqs"), operation)(QueueUrl=getattr(world.stack, url), **parameters)


def mail(sender: str, tracking: str = "DISABLED") -> Attempt:
    text = {"Data": "privileges"}
    content = {"Simple": {"Subject": text, "Body": {"Text": text}}}
    overrides = {"Tracking": {"OpenTrackingEnabled": tracking, "ClickTrackingEnabled": tracking}}
    return lambda client, world: client("sesv2").send_email(
        FromEmailAddress=sender, Destination={"ToAddresses": ["nobody@privileges.example"]}, Content=content,
        ConfigurationSetName=world.stack.configurationSet, ConfigurationOverrides=overrides,
    )  # fmt: skip


def on_rows(export_type: ExportType) -> Iterator[tuple[str, Attempt]]:
    """Attempts on the source table of a type."""
    rows, table = export_type.title.lower(), export_type.key
    yield f"{rows}: list a tenant's", query(table, None, "tenantId")
    yield f"{rows}: read all", lambda client, world: client("dynamodb").scan(TableName=getattr(world.stack, table))
    for name, operation in (("add", "put_item"), ("change", "update_item"), ("delete", "delete_item")):
        yield f"{rows}: {name}", write(operation, table)


ATTEMPTS: dict[str, Attempt] = {
    "API keys: read one": get("apiKeysTable"),
    "API keys: list a tenant's": query("apiKeysTable", "TenantIndex", "tenantId"),
    "API keys: read all": lambda client, world: client("dynamodb").scan(TableName=world.stack.apiKeysTable),
    "API keys: add": write("put_item", "apiKeysTable"),
    "API keys: record the day of use": record_key_use("attribute_exists(keyHash) AND NOT lastUsedOn >= :day"),
    "API keys: record a use on condition of an address": record_key_use(
        "attribute_exists(keyHash) AND attribute_exists(email)"
    ),
    "API keys: change": write("update_item", "apiKeysTable"),
    "API keys: delete": write("delete_item", "apiKeysTable"),
    "exports: read one": get("exportsTable"),
    "exports: list a tenant's": query("exportsTable", None, "tenantId"),
    "exports: find by next check time": query("exportsTable", "NextCheckIndex", "nextCheckState"),
    "exports: read all": lambda client, world: client("dynamodb").scan(TableName=world.stack.exportsTable),
    "exports: add": write("put_item", "exportsTable"),
    "exports: change": write("update_item", "exportsTable"),
    "exports: delete": write("delete_item", "exportsTable"),
    **{name: attempt for export_type in EXPORT_TYPES for name, attempt in on_rows(export_type)},
    "tables: delete one": lambda client, world: client("dynamodb").delete_table(TableName="no-such-table"),
    "files: read": bucket("get_object", Key=FILE),
    "files: write": bucket("put_object", Key=FILE, Body=b"x"),
    # Of a file that does not exist, because other attempts read theirs.
    "files: delete": bucket("delete_object", Key=f"{FILE}.never-there"),
    "files: list": bucket("list_objects_v2"),
    "unfinished parts: read": bucket("get_object", Key=PART),
    "unfinished parts: write": bucket("put_object", Key=PART, Body=b"x"),
    "unfinished parts: delete": bucket("delete_object", Key=f"{PART}.never-there"),
    "bucket elsewhere: read": bucket("get_object", Key=OTHER_FILE),
    "bucket elsewhere: write": bucket("put_object", Key=OTHER_FILE, Body=b"x"),
    "bucket: change its policy": bucket("delete_bucket_policy"),
    "jobs: send": queue("send_message", "jobsQueueUrl", MessageBody=JOB_OF_UNKNOWN_EXPORT),
    "jobs: receive": queue("receive_message", "jobsQueueUrl", VisibilityTimeout=0),
    "jobs: delete all": queue("purge_queue", "jobsQueueUrl"),
    "dead letters: send": queue("send_message", "deadLetterQueueUrl", MessageBody="x"),
    "dead letters: receive": queue("receive_message", "deadLetterQueueUrl", VisibilityTimeout=0),
    "signing key: read": lambda client, world: client("secretsmanager").get_secret_value(SecretId=world.secret),
    "signing key: change": lambda client, world: client("secretsmanager").put_secret_value(
        SecretId=world.secret, SecretString="{}"
    ),
    "another secret: read": lambda client, world: client("secretsmanager").get_secret_value(
        SecretId=world.other_secret
    ),
    "mail: send as the sender": mail(SENDER),
    "mail: send with tracking": mail(SENDER, "ENABLED"),
    "mail: send as another at the domain": mail(f"ceo@{SENDER.partition('@')[2]}"),
    "mail: send as the sender of another domain": mail("exports@another.example"),
    "functions: issue a key": lambda client, world: client("lambda").invoke(
        FunctionName=world.stack.functions["manage-api-keys"], InvocationType="DryRun"
    ),
    "functions: change one": lambda client, world: client("lambda").update_function_configuration(
        FunctionName=world.stack.functions["get-caller"], Description="x"
    ),
    "IAM: make a user": lambda client, world: client("iam").create_user(UserName="privileges"),
    "IAM: make a key of the signer": lambda client, world: client("iam").create_access_key(UserName="link-signer"),
}

AUTHENTICATION = {"API keys: read one", "API keys: record the day of use"}
ALLOWED: dict[str, set[str]] = {
    "back-office": set(),
    "describe-api": set(),
    "get-caller": AUTHENTICATION,
    "create-export": AUTHENTICATION | {"exports: read one", "exports: add", "jobs: send"},
    "list-exports": AUTHENTICATION | {"exports: list a tenant's"},
    "get-export": AUTHENTICATION | {"exports: read one", "files: read", "files: list", "signing key: read"},
    "resend-email": AUTHENTICATION
    | {
        "exports: read one", "exports: change", "files: read", "files: list", "signing key: read",
        "mail: send as the sender",
    },
    "cancel-export": AUTHENTICATION
    | {
        "exports: read one", "exports: change", "exports: delete", "unfinished parts: delete",
        "mail: send as the sender",
    },
    "generate-export": {
        "exports: read one", "exports: add", "exports: change", "exports: delete",
        *(f"{export_type.title.lower()}: list a tenant's" for export_type in EXPORT_TYPES),
        "files: read", "files: write", "files: delete", "files: list", "unfinished parts: read",
        "unfinished parts: write", "unfinished parts: delete", "jobs: send", "jobs: receive", "signing key: read",
        "mail: send as the sender",
    },
    "sweep-exports": {
        "exports: read one", "exports: find by next check time", "exports: change", "exports: delete", "jobs: send",
        "mail: send as the sender",
    },
    "fail-export": {"exports: read one", "exports: change", "exports: delete", "mail: send as the sender"},
    "manage-api-keys": {
        "API keys: list a tenant's", "API keys: add", "API keys: change", "API keys: record the day of use",
        "API keys: record a use on condition of an address",
    },
    SIGNER: {"files: read"},
}  # fmt: skip


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    await_quiet(stack)
    for key in (FILE, PART, OTHER_FILE):
        stack.client("s3").put_object(Bucket=stack.bucket, Key=key, Body=b"x")
    secrets = stack.client("secretsmanager")
    other = secrets.create_secret(Name="privileges", SecretString="x")["ARN"]
    variables = configuration(stack, "get-export")["Environment"]["Variables"]
    yield World(stack, variables["LINK_SIGNER_SECRET"], other)
    await_quiet(stack)
    secrets.delete_secret(SecretId=other, ForceDeleteWithoutRecovery=True)
    for key in (FILE, PART, OTHER_FILE):
        stack.client("s3").delete_object(Bucket=stack.bucket, Key=key)


@pytest.fixture(scope="module")
def table() -> dict[str, set[str]]:
    """The allowed attempts, filled by the tests below."""
    return {}


def configuration(stack: Stack, crate: str) -> dict[str, Any]:
    found: dict[str, Any] = stack.client("lambda").get_function_configuration(FunctionName=stack.functions[crate])
    return found


def role(stack: Stack, crate: str) -> str:
    arn: str = configuration(stack, crate)["Role"]
    return arn.rpartition("/")[2]


def credentials(world: World, who: str) -> Mapping[str, str]:
    """The credentials in the environment of a running process, or the signer's in the secret."""
    stack = world.stack
    if who == SIGNER:
        secret = stack.client("secretsmanager").get_secret_value(SecretId=world.secret)["SecretString"]
        key = json.loads(secret)
        return {"AWS_ACCESS_KEY_ID": key["accessKeyId"], "AWS_SECRET_ACCESS_KEY": key["secretAccessKey"]}
    # An empty event also starts the process.
    with contextlib.suppress(StackError):
        stack.invoke(who, {})
    return processes(stack, who)[0][1]


@pytest.mark.parametrize("who", ALLOWED)
def test_function_has_only_the_permissions_it_needs(world: World, table: dict[str, set[str]], who: str) -> None:
    keys = credentials(world, who)
    session = boto3.session.Session(
        keys["AWS_ACCESS_KEY_ID"], keys["AWS_SECRET_ACCESS_KEY"], keys.get("AWS_SESSION_TOKEN"),
        region_name=world.stack.region,
    )  # fmt: skip
    config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, parameter_validation=False)

    @functools.cache
    def client(service: str) -> Any:
        return session.client(service, endpoint_url=world.stack.awsEndpointUrl, config=config)

    table[who] = {name for name, attempt in ATTEMPTS.items() if is_allowed(attempt, client, world)}
    assert table[who] == ALLOWED[who]


def is_allowed(attempt: Attempt, client: Callable[[str], Any], world: World) -> bool:
    """Whether IAM allows the call, even if it then fails for another reason."""
    try:
        attempt(client, world)
    except ClientError as error:
        return error.response["Error"]["Code"] not in DENIED
    return True


def test_every_function_is_covered(stack: Stack) -> None:
    assert set(ALLOWED) - {SIGNER} == set(stack.functions)


def test_deployed_roles_name_actions_and_resources_of_the_stack(stack: Stack) -> None:
    iam = stack.client("iam")
    known = (
        stack.exportsTable, *map(stack.source_table, EXPORT_TYPES), stack.apiKeysTable, stack.bucket, ":identity/*",
        stack.jobsQueueUrl.rpartition("/")[2], "link-signer", "configuration-set/", "/aws/lambda/",
    )  # fmt: skip
    for crate in stack.functions:
        name = role(stack, crate)
        assert iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"] == [], crate
        (policy,) = iam.list_role_policies(RoleName=name)["PolicyNames"]
        for statement in iam.get_role_policy(RoleName=name, PolicyName=policy)["PolicyDocument"]["Statement"]:
            actions, resources = (as_list(statement[part]) for part in ("Action", "Resource"))
            assert statement["Effect"] == "Allow"
            assert not [action for action in actions if "*" in action]
            if actions == ["ses:ApplyTrackingConfigurationOverrides"]:
                # SES has no resource for it.
                assert resources == ["*"]
                continue
            for resource in resources:
                assert resource.startswith("arn:aws:"), f"{crate}: {resource}"
                assert any(part in resource for part in known), f"{crate}: {resource}"
            if any(action.startswith("logs:") for action in actions):
                # The emulator writes the logs itself, so it does not enforce this.
                assert all(f":log-group:/aws/lambda/{stack.functions[crate]}:" in resource for resource in resources)
            if "ses:SendEmail" in actions:
                assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": SENDER}}


def test_bucket_policy_denies_plain_http(world: World) -> None:
    """The emulator treats all requests as TLS. With the condition inverted, the policy must deny them."""
    s3, name = world.stack.client("s3"), world.stack.bucket
    deployed = s3.get_bucket_policy(Bucket=name)["Policy"]
    reader = boto3.session.Session(
        *(credentials(world, SIGNER)[key] for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")),
        region_name=world.stack.region,
    ).client("s3", endpoint_url=world.stack.awsEndpointUrl, config=Config(s3={"addressing_style": "path"}))
    assert reader.get_object(Bucket=name, Key=FILE)["ContentLength"] == 1
    inverted = deployed.replace('"aws:SecureTransport": "false"', '"aws:SecureTransport": "true"')
    assert inverted != deployed
    s3.put_bucket_policy(Bucket=name, Policy=inverted)
    try:
        with pytest.raises(ClientError, match="AccessDenied"):
            reader.get_object(Bucket=name, Key=FILE)
    finally:
        s3.delete_bucket_policy(Bucket=name)
        s3.put_bucket_policy(Bucket=name, Policy=deployed)


def test_table_of_privileges_is_up_to_date(table: dict[str, set[str]]) -> None:
    if missing := [who for who in ALLOWED if who not in table]:
        pytest.skip(f"needs a run of all functions; missing: {', '.join(missing)}")
    lines = ["| | " + " | ".join(ALLOWED) + " |", "|---|" + ":-:|" * len(ALLOWED)]
    lines += [
        f"| {name} | " + " | ".join("●" if name in table[who] else "" for who in ALLOWED) + " |" for name in ATTEMPTS
    ]
    golden.compare(TABLE, HEAD + "\n".join(lines) + "\n")
