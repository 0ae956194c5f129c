"""What each function's role allows, and what the function needs: both as actions on resources.

What it needs comes from the recorded requests of the ports that its code uses, and from the few things that Lambda,
DynamoDB and Secrets Manager do for it. Log actions are left out.
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
from wire import Request, form_of, requests

TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
REGION, ACCOUNT = "eu-west-1", "123456789012"
SIGNER = "link signer"

Parameters = dict[str, str]

SENDER = {"SenderAddress": "exports@marketplace.example"}
KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OWN_SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:signer-AbCdEf"
# Deployments between which roles differ.
DEPLOYMENTS: dict[str, Parameters] = {
    "by default": SENDER,
    "with a table and a secret of the owner's": {
        **SENDER, "PayoutsTableName": "payments-payouts", "LinkSignerSecretArn": OWN_SECRET,
    },
    "with the owner's keys, too": {
        **SENDER, "PayoutsTableName": "payments-payouts", "PayoutsTableKeyArn": f"{KEY}1",
        "LinkSignerSecretArn": OWN_SECRET, "LinkSignerSecretKeyArn": f"{KEY}2",
    },
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Right:
    """An action on a resource; of a role, the resource may be a pattern."""

    action: str
    resource: str

    def covers(self, other: Right) -> bool:
        return self.action == other.action and fnmatchcase(other.resource, self.resource)


# ------------------------------------------------------------------------------------------------------------ template


class Deployment:
    """The template with these parameters, and its own defaults for the others."""

    def __init__(self, parameters: Parameters) -> None:
        defaults = {name: str(p.get("Default", "")) for name, p in TEMPLATE["Parameters"].items()}
        self.parameters = defaults | parameters

    def value(self, expression: Any) -> Any:
        """What an expression of the template comes to; names of resources are their ids."""
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
        """The statements of a role or a user, its own and those of policies that are attached to it."""
        for policy in RESOURCES[principal]["Properties"].get("Policies", []):
            yield from policy["PolicyDocument"]["Statement"]
        for name, resource in RESOURCES.items():
            attached = resource["Properties"].get("Roles", []) if resource["Type"] == "AWS::IAM::Policy" else []
            if {"Ref": principal} in attached and self.has(name):
                yield from resource["Properties"]["PolicyDocument"]["Statement"]

    def allowed(self, principal: str) -> set[Right]:
        """What a role or a user may do."""
        return {
            Right(action, resource)
            for statement in self.statements(principal)
            for action in as_list(statement["Action"])
            for resource in as_list(self.value(statement["Resource"]))
            if not action.startswith("logs:")
        }

    # --------------------------------------------------------------------------------------------------------- needed

    def needed(self, crate: str) -> set[Right]:
        """What a function, or the user that signs links, does."""
        rights = {right for request in calls(crate) for right in self.rights(crate, request)}
        return rights | self._of_mappings(crate) | self._of_keys(rights)

    def environment(self, crate: str) -> dict[str, Any]:
        variables = RESOURCES[f"{logical(crate)}Function"]["Properties"].get("Environment", {}).get("Variables", {})
        return {name: self.value(value) for name, value in variables.items()}

    def rights(self, crate: str, request: Request) -> Iterator[Right]:
        """What a function needs for one request, but for keys."""
        # What the user's links lead to are the files of the function that writes them.
        environment = self.environment("generate-export" if crate == SIGNER else crate)
        for action, resource in actions(request, environment):
            yield Right(action, resource)

    def _of_mappings(self, crate: str) -> set[Right]:
        """Lambda receives and deletes the messages of a mapping with the role of its function (Lambda Developer Guide,
        "Creating and configuring an Amazon SQS event source mapping": AWSLambdaSQSQueueExecutionRole)."""
        return {
            Right(f"sqs:{action}", self.value(mapping["Properties"]["EventSourceArn"]))
            for mapping in RESOURCES.values()
            if mapping["Type"] == "AWS::Lambda::EventSourceMapping"
            and mapping["Properties"]["FunctionName"] == {"Ref": f"{logical(crate)}Function"}
            for action in ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes")
        }

    def _of_keys(self, rights: set[Right]) -> set[Right]:
        """DynamoDB and Secrets Manager decrypt with a customer-managed key on behalf of the caller (DynamoDB Developer
        Guide, "DynamoDB encryption at rest: usage notes"; Secrets Manager User Guide, "Secret encryption and decryption
        in AWS Secrets Manager"). AWS's own keys need no right."""
        keys = {"PayoutsTableKeyArn": "PayoutsTableName", "LinkSignerSecretKeyArn": "LinkSignerSecretArn"}
        return {
            Right("kms:Decrypt", self.parameters[key])
            for key, encrypted in keys.items()
            if self.parameters[key] and any(r.resource.endswith(self.parameters[encrypted]) for r in rights)
        }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def principal(who: str) -> str:
    """The role of a function, or the user that signs links."""
    return "LinkSignerUser" if who == SIGNER else f"{logical(who)}Role"


def logical(crate: str) -> str:
    return "".join(word.capitalize() for word in crate.split("-"))


# -------------------------------------------------------------------------------------------------------------- calls

# How the recorded requests name what a function knows by its environment.
TABLES = {"Exports": "EXPORTS_TABLE", "Payouts": "PAYOUTS_TABLE", "ApiKeys": "API_KEYS_TABLE"}
# One that was verified with SES. In the sandbox all recipients are.
RECIPIENT = "ann@example.com"


def actions(request: Request, environment: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The actions that AWS checks for a request, each with its resource."""
    operation, body = request.operation, request.body
    if request.service == "dynamodb":
        # "Using IAM with DynamoDB transactions", DynamoDB Developer Guide: as for the operations of its parts.
        parts = body["TransactItems"] if operation == "TransactWriteItems" else [{operation.removesuffix("Item"): body}]
        for part in parts:
            ((kind, parameters),) = part.items()
            table = environment[TABLES[parameters["TableName"]]]
            index = f"/index/{parameters['IndexName']}" if "IndexName" in parameters else ""
            action = kind if kind in ("Query", "Scan") else f"{kind}Item"
            yield f"dynamodb:{action}", f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/{table}{index}"
    elif request.service == "s3":
        bucket = f"arn:aws:s3:::{environment['EXPORTS_BUCKET']}"
        key = request.path.split("/", 2)[2]
        yield f"s3:{S3_ACTIONS[operation]}", f"{bucket}/{key}"
        if operation == "HeadObject":
            # API reference, HeadObject, "Permissions": without it what is not there is 403 and not 404.
            yield "s3:ListBucket", bucket
    elif request.service == "sqs":
        assert operation == "SendMessage"
        yield "sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:{environment['JOBS_QUEUE_URL'].rpartition('/')[2]}"
    elif request.service == "ses":
        # Checked against each verified identity that takes part: the sender's address, its domain or one above, and in
        # the sandbox each recipient's (Service Authorization Reference, "SES v2"; aws/aws-sdk-js 3641).
        assert operation == "SendEmail"
        sender = environment["SENDER"]
        arn = f"arn:aws:ses:{REGION}:{ACCOUNT}:"
        for identity in (sender, sender.partition("@")[2], RECIPIENT):
            yield "ses:SendEmail", f"{arn}identity/{identity}"
        yield "ses:SendEmail", f"{arn}configuration-set/{environment['MAIL_CONFIGURATION_SET']}"
    else:
        assert (request.service, operation) == ("secretsmanager", "GetSecretValue")
        yield "secretsmanager:GetSecretValue", environment["LINK_SIGNER_SECRET"]


# User Guide, "Required permissions for Amazon S3 API operations".
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
    """The recorded requests that a function can send: those of the ports' methods and steps that its code calls. The
    link signer's is the one that a link is."""
    if crate == SIGNER:
        return tuple(request for request in requests() if request.operation == "GetObject")
    return tuple(
        request
        for request in requests()
        if request.operation != "GetObject" and request.port in methods(crate)
        if request.step is None or request.step in steps(crate)
    )


@functools.cache
def methods(crate: str) -> set[str]:
    """The methods of ports that a function calls, itself or through the shared crates: `FindExport::find_export`. Of a
    port's methods those count whose port the function's own code names: its types must, because they are generic."""
    own = sources(ROOT / "functions" / crate)
    text = own + "".join(sources(ROOT / "shared" / shared) for shared in ("domain", "http"))
    return {
        port
        for port in {request.port for request in requests() if request.port}
        for name, method in [port.split("::")]
        if re.search(rf"\b{name}\b", own) and re.search(rf"\.{method}\(", text)
    }


@functools.cache
def steps(crate: str) -> set[str]:
    """The transitions that a function makes, itself or by ending an export."""
    own = sources(ROOT / "functions" / crate)
    found = set(re.findall(r"\blifecycle::(\w+)\(", own))
    ending = (ROOT / "shared/domain/src/ending.rs").read_text(encoding="utf-8").partition("#[cfg(test)]")[0]
    imported = re.findall(r"^use crate::lifecycle::\{(.*)\};", ending, re.MULTILINE)
    for function in re.findall(r"pub async fn (\w+)", ending):
        if re.search(rf"\b{function}\(", own):
            found |= {name for name in re.findall(r"\w+", imported[0]) if re.search(rf"\b{name}\(", ending)}
    return found


CRATES = [function.name for function in FUNCTIONS]


def unrecorded(seen: Iterable[tuple[str, str]]) -> list[str]:
    """Those calls of functions, by their form, that no recorded request of the function has."""
    known = {(crate, form_of(request)) for crate in CRATES for request in calls(crate)}
    return [f"{crate}: {call}" for crate, call in sorted(set(seen) - known)]


def crate_of(role: str) -> str:
    """The function whose role this ARN is, of the role or of a session."""
    return next(crate for crate in CRATES if f"-{logical(crate)}Role-" in role)
