"""The permissions that each function's role grants, and those that the function needs.

The needed permissions come from the recorded requests of the ports that the function uses, and from what Lambda,
DynamoDB and Secrets Manager do on its behalf. Log actions are excluded.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from samtranslator.yaml_helper import yaml_parse

from emitted import FUNCTIONS, ROOT, sources
from export_types import EXPORT_TYPES
from wire import Request, form_of, requests

TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
REGION, ACCOUNT = "eu-west-1", "123456789012"
SIGNER = "link signer"

Parameters = dict[str, str]

SENDER = {"SenderAddress": "exports@marketplace.example"}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OWN_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:signer-AbCdEf"
SOURCE_TABLES = [export_type.output for export_type in EXPORT_TYPES]
OWN_TABLES = {f"{table}Name": f"payments-{table}" for table in SOURCE_TABLES}
# Deployments with different roles.
DEPLOYMENTS: dict[str, Parameters] = {
    "defaults": SENDER,
    "existing tables and secret": {
        **SENDER, **OWN_TABLES, "LinkSignerSecretArn": OWN_SECRET,
    },
    "existing tables and secret with customer managed keys": {
        **SENDER, **OWN_TABLES, **{f"{table}KeyArn": f"{KEY}{number}" for number, table in enumerate(SOURCE_TABLES)},
        "LinkSignerSecretArn": OWN_SECRET, "LinkSignerSecretKeyArn": f"{KEY}a",
    },
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Permission:
    """An action on a resource. If granted by a policy, the resource may be a pattern."""

    action: str
    resource: str

    def covers(self, other: Permission) -> bool:
        return self.action == other.action and fnmatchcase(other.resource, self.resource)


# ------------------------------------------------------------------------------------------------------------ template


class Deployment:
    """The template with these parameters and its defaults for the others."""

    def __init__(self, parameters: Parameters) -> None:
        defaults = {name: str(p.get("Default", "")) for name, p in TEMPLATE["Parameters"].items()}
        self.parameters = defaults | parameters

    def value(self, expression: Any) -> Any:
        """The value of a template expression. Resources are named by their logical ids."""
        if isinstance(expression, list):
            return [value for value in map(self.value, expression) if value is not None]
        if not isinstance(expression, dict) or len(expression) != 1:
            return expression
        ((function, operand),) = expression.items()
        if function == "Ref":
            return self._reference(operand)
        if function == "Condition":
            return self.holds(operand)
        if function == "Fn::GetAtt":
            resource, attribute = operand if isinstance(operand, list) else operand.split(".")
            return self._attribute(resource, attribute)
        if function == "Fn::If":
            chosen, if_so, if_not = operand
            return self.value(if_so if self.holds(chosen) else if_not)
        if function == "Fn::Sub":
            text, more = operand if isinstance(operand, list) else (operand, {})
            return re.sub(r"\$\{([\w:.]+)\}", lambda match: str(self._substitute(match[1], more)), text)
        values = self.value(operand)
        if function == "Fn::Equals":
            return values[0] == values[1]
        if function == "Fn::Not":
            return not values[0]
        if function in ("Fn::And", "Fn::Or"):
            return (all if function == "Fn::And" else any)(values)
        if function == "Fn::Select":
            return values[1][int(values[0])]
        if function == "Fn::Split":
            return values[1].split(values[0])
        return {function: values}

    def holds(self, condition: str) -> bool:
        return bool(self.value(TEMPLATE["Conditions"][condition]))

    def has(self, resource: str) -> bool:
        condition = RESOURCES[resource].get("Condition")
        return condition is None or self.holds(condition)

    def _substitute(self, name: str, more: dict[str, Any]) -> Any:
        if name in more:
            return self.value(more[name])
        return self._attribute(*name.split(".")) if "." in name else self._reference(name)

    def _reference(self, name: str) -> Any:
        pseudo = {
            "AWS::Partition": "aws", "AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::StackName": "stack",
            "AWS::NoValue": None,
        }  # fmt: skip
        if name in pseudo:
            return pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        kind = RESOURCES[name]["Type"]
        if kind == "AWS::SQS::Queue":
            return f"https://sqs.{REGION}.amazonaws.com/{ACCOUNT}/{name}"
        if kind == "AWS::SecretsManager::Secret":
            return f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:{name}-AbCdEf"
        return name.lower() if kind == "AWS::S3::Bucket" else name

    def _attribute(self, resource: str, attribute: str) -> str:
        assert attribute == "Arn", f"{resource}.{attribute}"
        return {
            "AWS::DynamoDB::Table": f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{resource}",
            "AWS::SQS::Queue": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{resource}",
            "AWS::S3::Bucket": f"arn:aws:s3:::{resource.lower()}",
            "AWS::Logs::LogGroup": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{resource}:*",
            "AWS::SNS::Topic": f"arn:aws:sns:{REGION}:{ACCOUNT}:{resource}",
            "AWS::Serverless::Function": f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{resource}",
        }[RESOURCES[resource]["Type"]]

    # -------------------------------------------------------------------------------------------------------- allowed

    def statements(self, principal: str) -> Iterator[dict[str, Any]]:
        """The statements of a role or user: inline and from attached policies."""
        for policy in RESOURCES[principal]["Properties"].get("Policies", []):
            yield from policy["PolicyDocument"]["Statement"]
        for name, resource in RESOURCES.items():
            attached = resource["Properties"].get("Roles", []) if resource["Type"] == "AWS::IAM::Policy" else []
            if {"Ref": principal} in attached and self.has(name):
                yield from resource["Properties"]["PolicyDocument"]["Statement"]

    def allowed(self, principal: str) -> set[Permission]:
        """The permissions of a role or user."""
        return {
            Permission(action, resource)
            for statement in self.statements(principal)
            for action in as_list(statement["Action"])
            for resource in as_list(self.value(statement["Resource"]))
            if not action.startswith("logs:")
        }

    # --------------------------------------------------------------------------------------------------------- needed

    def needed(self, crate: str) -> set[Permission]:
        """The permissions that a function, or the link signer, needs."""
        needed = {permission for request in calls(crate) for permission in self.permissions(crate, request)}
        return needed | self._of_mappings(crate) | self._of_keys(needed)

    def environment(self, crate: str) -> dict[str, Any]:
        variables = RESOURCES[f"{logical(crate)}Function"]["Properties"].get("Environment", {}).get("Variables", {})
        return {name: self.value(value) for name, value in variables.items()}

    def permissions(self, crate: str, request: Request) -> Iterator[Permission]:
        """The permissions that a function needs for one request, except for KMS keys."""
        # The link signer reads the files that generate-export writes.
        environment = self.environment("generate-export" if crate == SIGNER else crate)
        for action, resource in actions(request, environment):
            yield Permission(action, resource)

    def _of_mappings(self, crate: str) -> set[Permission]:
        """Lambda receives and deletes a mapping's messages with the function's role.

        Lambda Developer Guide, "Creating and configuring an Amazon SQS event source mapping"
        (AWSLambdaSQSQueueExecutionRole).
        """
        return {
            Permission(f"sqs:{action}", self.value(mapping["Properties"]["EventSourceArn"]))
            for mapping in RESOURCES.values()
            if mapping["Type"] == "AWS::Lambda::EventSourceMapping"
            and mapping["Properties"]["FunctionName"] == {"Ref": f"{logical(crate)}Function"}
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        }

    def _of_keys(self, needed: set[Permission]) -> set[Permission]:
        """DynamoDB and Secrets Manager decrypt with a customer managed key on behalf of the caller.

        DynamoDB Developer Guide, "DynamoDB encryption at rest: usage notes"; Secrets Manager User Guide, "Secret
        encryption and decryption in AWS Secrets Manager". Keys of AWS need no permission.
        """
        keys = {f"{table}KeyArn": f"{table}Name" for table in SOURCE_TABLES}
        keys["LinkSignerSecretKeyArn"] = "LinkSignerSecretArn"
        return {
            Permission("kms:Decrypt", self.parameters[key])
            for key, encrypted in keys.items()
            if self.parameters[key] and any(p.resource.endswith(self.parameters[encrypted]) for p in needed)
        }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def principal(crate: str) -> str:
    """The logical id of a function's role, or of the link signer's user."""
    return "LinkSignerUser" if crate == SIGNER else f"{logical(crate)}Role"


def logical(crate: str) -> str:
    return "".join(word.capitalize() for word in crate.split("-"))


# -------------------------------------------------------------------------------------------------------------- calls

# The tables of the recorded requests, with the setting that names each. A source table is recorded by its setting.
TABLES = {"Exports": "EXPORTS_TABLE", "ApiKeys": "API_KEYS_TABLE"}
# A verified recipient, as required in the SES sandbox.
RECIPIENT = "ann@example.com"


def actions(request: Request, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The actions that AWS authorizes for a request, each with its resource."""
    operation, body = request.operation, request.body
    if request.service == "dynamodb":
        # A transaction needs the permissions of its operations (DynamoDB Developer Guide, "Using IAM with DynamoDB
        # transactions").
        parts = body["TransactItems"] if operation == "TransactWriteItems" else [{operation.removesuffix("Item"): body}]
        for part in parts:
            ((kind, parameters),) = part.items()
            name = parameters["TableName"]
            table = environment[TABLES.get(name, name)]
            index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
            action = kind if kind in ("Query", "Scan") else f"{kind}Item"
            yield f"dynamodb:{action}", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}{index}"
    elif request.service == "s3":
        bucket = f"arn:aws:s3:::{environment['EXPORTS_BUCKET']}"
        key = request.path.split("/", 2)[2]
        yield f"s3:{S3_ACTIONS[operation]}", f"{bucket}/{key}"
        if operation == "HeadObject" or (operation == "GetObject" and not is_download(request)):
            # Without it, a missing object is 403 instead of 404 (S3 API Reference, "Permissions" of both).
            yield "s3:ListBucket", bucket
    elif request.service == "sqs":
        assert operation == "SendMessage"
        yield "sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{environment['JOBS_QUEUE_URL'].rpartition('/')[2]}"
    elif request.service == "ses":
        # Authorized on the sender's verified identity (address, domain or parent domain) and, in the sandbox, on each
        # recipient's (Service Authorization Reference, "SES v2"; aws/aws-sdk-js 3641).
        assert operation == "SendEmail"
        sender = environment["SENDER"]
        arn = f"arn:aws:ses:{REGION}:{ACCOUNT}:"
        for identity in (sender, sender.partition("@")[2], RECIPIENT):
            yield "ses:SendEmail", f"{arn}identity/{identity}"
        yield "ses:SendEmail", f"{arn}configuration-set/{environment['MAIL_CONFIGURATION_SET']}"
        if "Tracking" in body.get("ConfigurationOverrides", {}):
            # SES Developer Guide, "Using configuration overrides in Amazon SES".
            yield "ses:ApplyTrackingConfigurationOverrides", "*"
    else:
        assert (request.service, operation) == ("secretsmanager", "GetSecretValue")
        yield "secretsmanager:GetSecretValue", environment["LINK_SIGNER_SECRET"]


# S3 User Guide, "Required permissions for Amazon S3 API operations".
S3_ACTIONS = {
    "PutObject": "PutObject",
    "CreateMultipartUpload": "PutObject",
    "UploadPart": "PutObject",
    "CompleteMultipartUpload": "PutObject",
    "AbortMultipartUpload": "AbortMultipartUpload",
    "ListParts": "ListMultipartUploadParts",
    "GetObject": "GetObject",
    "HeadObject": "GetObject",
    "DeleteObject": "DeleteObject",
}


@functools.cache
def calls(crate: str) -> tuple[Request, ...]:
    """The recorded requests that a function can send, by the port methods and life cycle steps that its code calls.

    For the link signer, the request that a presigned URL makes.
    """
    if crate == SIGNER:
        return tuple(request for request in requests() if is_download(request))
    return tuple(
        request
        for request in requests()
        if not is_download(request) and request.port in methods(crate)
        if request.step is None or request.step in steps(crate)
    )


def is_download(request: Request) -> bool:
    """Whether it is the request that a presigned URL makes."""
    return (request.port, request.operation) == ("FileStore::sign_link", "GetObject")


@functools.cache
def methods(crate: str) -> set[str]:
    """The port methods that a function calls, such as `ExportStore::find_export`, itself or through shared crates.

    Only ports that the function's own code names count, and in shared crates only the methods of types that it names.
    """
    folder = ROOT / "functions" / crate
    own, manifest = sources(folder), (folder / "Cargo.toml").read_text(encoding="utf-8")
    shared = [name for name in ("domain", "http") if re.search(rf"^exports-{name}\b", manifest, re.MULTILINE)]
    text = own + "".join(
        re.sub(
            r"^impl(?:<.*?>)? (\w+).*?^\}",
            lambda methods: methods[0] if re.search(rf"\b{methods[1]}\b", own) else "",
            sources(ROOT / "shared" / name, frozenset()),
            flags=re.DOTALL | re.MULTILINE,
        )
        for name in shared
    )
    return {
        port
        for port in {request.port for request in requests() if request.port}
        for name, method in [port.split("::")]
        if re.search(rf"\b{name}\b", own) and re.search(rf"\.{method}\(", text)
    }


@functools.cache
def steps(crate: str) -> set[str]:
    """The life cycle steps that a function takes."""
    return set(re.findall(r"\blifecycle::(\w+)\(", sources(ROOT / "functions" / crate)))


CRATES = [function.name for function in FUNCTIONS]


def unrecorded(seen: Iterable[tuple[str, str]]) -> list[str]:
    """The observed calls, by their form, that match no recorded request of the function."""
    known = {(crate, form_of(request)) for crate in CRATES for request in calls(crate)}
    return [f"{crate}: {call}" for crate, call in sorted(set(seen) - known)]


def crate_of(role: str) -> str:
    """The function that the ARN of a role, or of a session of it, belongs to."""
    return next(crate for crate in CRATES if f"-{logical(crate)}Role-" in role)
