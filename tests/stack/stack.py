"""The local stack: template.yaml, deployed by CloudFormation into an emulated AWS.

The template and the functions are unchanged. The functions named `_bridge_…` make up for features that the emulator
lacks; each says which.

Runs in the environment that venv.py creates.
"""

from __future__ import annotations

import functools
import io
import json
import re
import shlex
import threading
import time
import urllib.request
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3
import botocore.loaders
import botocore.session
from boto3.dynamodb.table import BatchWriter
from botocore.config import Config
from botocore.exceptions import ClientError

import build
from emulator import Emulator, EmulatorError
from export_types import EXPORT_TYPES, MARKETPLACE_PAYOUTS, ExportType
from gateway import Gateway

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "template.yaml"
NAME = "payouts-export"
REGION = "us-east-1"
SENDER = "exports@marketplace.example"
TENANT = "acme"
OPERATOR_EMAIL = "operator@acme.example"
OPERATOR_NAME = "Sample Operator"
DEPLOY_SECONDS = 120.0
SETTLE_SECONDS = 30.0


class StackError(Exception):
    """The stack cannot be started or used. The message says why."""


@dataclass(frozen=True)
class Mail:
    """A mail that the emulated SES accepted."""

    sender: str
    to: list[str]
    cc: list[str]
    subject: str
    text: str
    html: str
    configuration_set: str


class Stack:
    """A running stack. Use it as a context manager, or call stop(), which stops everything it started."""

    def __init__(self, report: Callable[[str], None] = lambda _: None) -> None:
        self._report = report
        self._emulator: Emulator | None = None
        # Whether the emulator belongs to another stack, which stops it.
        self._is_guest = False
        self._gateway: Gateway | None = None
        self._clients: dict[str, Any] = {}
        self._mails: list[Mail] = []
        self._logs: dict[str, _Log] = {}
        self._reading = threading.Lock()
        self.name = NAME
        self.apiUrl = ""
        self.backOfficeUrl = ""
        self.apiKey = ""
        self.operatorEmail = OPERATOR_EMAIL
        self.tenantId = TENANT
        self.awsEndpointUrl = ""
        self.region = REGION
        self.exportsTable = ""
        self.payoutsTable = ""
        self.supplierPayoutsTable = ""
        self.fundingTransfersTable = ""
        self.apiKeysTable = ""
        self.bucket = ""
        self.jobsQueueUrl = ""
        self.deadLetterQueueUrl = ""
        self.mailboxUrl = ""
        self.configurationSet = ""
        self.functions: dict[str, str] = {}

    # ------------------------------------------------------------------------------------------------- life cycle

    @classmethod
    def start(
        cls,
        port: int = 0,
        auth: bool = False,
        parameters: Mapping[str, str] | None = None,
        settings: Mapping[str, Mapping[str, str]] | None = None,
        linked: bool = False,
        name: str = NAME,
        deploy: Callable[[Stack, Mapping[str, str]], None] | None = None,
        report: Callable[[str], None] = lambda _: None,
        rules: Mapping[str, str] | None = None,
        beside: Stack | None = None,
    ) -> Stack:
        """Builds the functions, starts the emulator, deploys the template and issues an operator's API key.

        `port` is the port of the API (0: any free port). With `auth`, the emulator enforces IAM policies. `parameters`
        are the template's parameters. `settings` are environment variables by function, for settings without a
        parameter. With `linked`, mails link to this stack's back office. `deploy` replaces the deployment: it gets the
        stack, with the emulator running, and the parameters; it must create the CloudFormation stack `name` and issue
        the first key. `rules` are settings of the package `strict`. A stack `beside` another one is in the same
        account: it shares that stack's emulator and must be stopped first.
        """
        stack = cls(report)
        stack.name = name
        if beside:
            stack._emulator, stack._is_guest = beside._emulator, True
        else:
            stack._emulator = Emulator(auth, rules)
        try:
            stack._start(port, dict(parameters or {}), settings or {}, linked, deploy)
        except BaseException:
            stack.stop()
            raise
        return stack

    def _start(
        self,
        port: int,
        parameters: dict[str, str],
        settings: Mapping[str, Mapping[str, str]],
        linked: bool,
        deploy: Callable[[Stack, Mapping[str, str]], None] | None,
    ) -> None:
        try:
            self._gateway = Gateway(port)
        except OSError as error:
            raise StackError(f"port {port} cannot be used: {error.strerror or error}") from error
        if not deploy:
            self._report("Building the functions")
            build.build()
        assert self._emulator is not None
        if not self._is_guest:
            self._report("Starting the emulated AWS")
            self._emulator.start()
        self.awsEndpointUrl = self._emulator.url
        self.mailboxUrl = f"{self._emulator.url}/_ministack/ses/messages"
        self._report("Deploying template.yaml")
        if not deploy:
            parameters.setdefault("SenderAddress", SENDER)
        if linked:
            parameters.setdefault("MailedBackOfficeUrl", f"{self._gateway.url}/back-office")
        # The emulator's CloudFormation does not support AWS::CloudTrail::Trail.
        parameters.setdefault("RecordDownloads", "false")
        if not deploy:
            self._bridge_verified_sender(parameters["SenderAddress"])
        user = self._bridge_signer_key(parameters)
        (deploy or Stack._deploy)(self, parameters)
        resources = self._deployed()
        processed = self.client("cloudformation").get_template(StackName=self.name, TemplateStage="Processed")
        template = processed["TemplateBody"]
        if user:
            self._bridge_signer_policy(user, template)
        self._bridge_routes(template, resources)
        self._bridge_recursion(template, resources)
        for crate, variables in settings.items():
            self.configure(crate, **variables)
        self._gateway.serve(self._emulator.port, resources["HttpApi"])
        self.apiUrl = self._gateway.url
        self.backOfficeUrl = f"{self.apiUrl}/back-office"
        if not deploy:
            self.apiKey = self.issue_key(self.tenantId, self.operatorEmail, OPERATOR_NAME)

    def stop(self) -> None:
        """Stops everything that start() started. Can be called again."""
        gateway, self._gateway = self._gateway, None
        if gateway is not None:
            gateway.close()
        emulator, self._emulator = self._emulator, None
        if emulator is not None and not self._is_guest:
            emulator.stop()

    def __enter__(self) -> Stack:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def alive(self) -> bool:
        """Whether the emulator is running."""
        return self._emulator is not None and self._emulator.alive()

    @property
    def emulator_log(self) -> Path:
        if self._emulator is None:
            raise StackError("the stack is not running")
        return self._emulator.log

    # ----------------------------------------------------------------------------------------------------- in use

    def client(self, service: str) -> Any:
        """A boto3 client of the account's root user, to which no IAM policies apply."""
        if service not in self._clients:
            session = _session(self.region)
            # Path style, because bucket host names do not resolve. No retries: tests must see the first response.
            config = Config(
                s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, max_pool_connections=64,
                read_timeout=330,
            )  # fmt: skip
            self._clients[service] = session.client(service, endpoint_url=self.awsEndpointUrl, config=config)
        return self._clients[service]

    def issue_key(self, tenant: str, email: str, name: str = OPERATOR_NAME, client: str = "OPERATOR") -> str:
        event = {"action": "issue", "tenantId": tenant, "email": email, "name": name, "client": client}
        return str(self.invoke("manage-api-keys", event)["apiKey"])

    def invoke(self, crate: str, event: Mapping[str, Any]) -> Any:
        """Invokes a function and returns its response. Raises function errors with their message."""
        response = self.client("lambda").invoke(FunctionName=self.functions[crate], Payload=json.dumps(event).encode())
        payload = json.loads(response["Payload"].read() or b"null")
        if "FunctionError" in response:
            raise StackError(f"{crate}: {payload.get('errorMessage', payload)}")
        return payload

    def put_payouts(self, tenant: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Writes payouts as the payments service does. `rows` have the attributes of its table except the keys."""
        return self.put_rows(MARKETPLACE_PAYOUTS, tenant, rows)

    def put_rows(self, export_type: ExportType, tenant: str, rows: Iterable[Mapping[str, Any]]) -> int:
        """Writes rows of a type as the payments service does."""
        count = 0
        # Not the table's own writer: boto3 builds a class for each table object.
        with BatchWriter(self.source_table(export_type), self._dynamodb.meta.client) as batch:
            for row in rows:
                key = f"{row['createdAt']}#{row[export_type.id_attribute]}"
                batch.put_item(Item={"tenantId": tenant, "sk": key, **row})
                count += 1
        return count

    def source_table(self, export_type: ExportType) -> str:
        """The name of a type's source table."""
        name: str = getattr(self, export_type.key)
        return name

    def table(self, name: str) -> Any:
        """A table whose items have plain Python values."""
        return self._dynamodb.Table(name)

    @functools.cached_property
    def _dynamodb(self) -> Any:
        """Cached, because boto3 needs 0.1 s to create it."""
        session = _session(self.region)
        return session.resource("dynamodb", endpoint_url=self.awsEndpointUrl)

    def configure(self, crate: str, **variables: str) -> None:
        """Merges variables into a function's environment. Returns once new invocations use them."""
        function, client = self.functions[crate], self.client("lambda")
        environment = client.get_function_configuration(FunctionName=function).get("Environment", {})
        merged = {**environment.get("Variables", {}), **variables}
        client.update_function_configuration(FunctionName=function, Environment={"Variables": merged})
        self._await_update(function)

    def update_code(self, packages: Path) -> None:
        """Updates all functions to the programs in a folder. Returns once new invocations use them."""
        for crate, function in self.functions.items():
            package = _package_of(packages / crate / "bootstrap")
            self.client("lambda").update_function_code(FunctionName=function, ZipFile=package)
        for function in self.functions.values():
            self._await_update(function)

    def _await_update(self, function: str) -> None:
        client = self.client("lambda")
        _await(
            lambda: client.get_function_configuration(FunctionName=function).get("LastUpdateStatus") == "Successful",
            f"{function} is not updated",
        )

    def hold_queue(self, held: bool) -> None:
        """Disables or enables the delivery of jobs to the generator."""
        client = self.client("lambda")
        function = self.functions["generate-export"]
        (mapping,) = client.list_event_source_mappings(FunctionName=function)["EventSourceMappings"]
        client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=not held)
        wanted = "Disabled" if held else "Enabled"
        _await(
            lambda: client.get_event_source_mapping(UUID=mapping["UUID"])["State"] == wanted,
            f"the event source mapping of the jobs queue is not {wanted}",
        )

    def sweep(self) -> None:
        """Runs a sweep and waits for it, in addition to those of the schedule."""
        self.invoke("sweep-exports", {})

    def logs(self, crate: str) -> list[str]:
        """All log lines of a function so far, in order. Fetches only new lines."""
        with self._reading:
            return list(self._logs.setdefault(crate, _Log(self.client("logs"), self.functions[crate])).lines())

    def calls(self) -> list[tuple[str, str]]:
        """The functions' calls so far: pairs of a role's ARN and a form, without duplicates."""
        assert self._emulator is not None
        if not self._emulator.calls.exists():
            return []
        return [tuple(json.loads(line)) for line in self._emulator.calls.read_text(encoding="utf-8").splitlines()]

    def mails(self) -> list[Mail]:
        """All mails of this stack's configuration set that SES accepted so far, in order. Fetches only new mails."""
        with self._reading:
            with urllib.request.urlopen(f"{self.mailboxUrl}?after={len(self._mails)}", timeout=60) as response:
                accounts = json.load(response)["messages"]
            self._mails += [
                Mail(
                    m["Source"], m["To"], m["CC"], m["Subject"], m["BodyText"] or "", m["BodyHtml"] or "",
                    m["ConfigurationSetName"],
                )
                for messages in accounts.values()
                for m in messages
            ]  # fmt: skip
            return [mail for mail in self._mails if mail.configuration_set in ("", self.configurationSet)]

    def describe(self) -> dict[str, Any]:
        """The content of target/local/stack.json."""
        keys = (
            "apiUrl", "backOfficeUrl", "apiKey", "operatorEmail", "tenantId", "awsEndpointUrl", "region",
            "exportsTable", *(export_type.key for export_type in EXPORT_TYPES), "apiKeysTable", "bucket",
            "jobsQueueUrl", "deadLetterQueueUrl", "mailboxUrl", "functions",
        )  # fmt: skip
        return {key: getattr(self, key) for key in keys}

    # ----------------------------------------------------------------------------------------------------- deploy

    def _deploy(self, parameters: Mapping[str, str]) -> None:
        """Deploys the template as `sam deploy` does: uploads the code, executes a change set and waits for it."""
        client = self.client("cloudformation")
        try:
            created = client.create_change_set(
                StackName=self.name,
                ChangeSetName="deploy",
                ChangeSetType="CREATE",
                TemplateURL=self._package(),
                Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
                Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            )
        except ClientError as error:
            raise StackError(f"the template is rejected: {error.response['Error']['Message']}") from error
        change_set = {"StackName": self.name, "ChangeSetName": created["Id"]}
        described = client.describe_change_set(**change_set)
        deadline = time.monotonic() + DEPLOY_SECONDS
        while described["Status"] in ("CREATE_PENDING", "CREATE_IN_PROGRESS") and time.monotonic() < deadline:
            time.sleep(0.1)
            described = client.describe_change_set(**change_set)
        if described["Status"] != "CREATE_COMPLETE":
            raise StackError(f"the template is rejected: {described.get('StatusReason', described['Status'])}")
        client.execute_change_set(**change_set)
        while (stack := client.describe_stacks(StackName=self.name)["Stacks"][0])["StackStatus"].endswith(
            "_IN_PROGRESS"
        ):
            if time.monotonic() > deadline:
                raise StackError(f"the deployment did not finish within {DEPLOY_SECONDS:.0f} s")
            time.sleep(0.1)
        if stack["StackStatus"] != "CREATE_COMPLETE":
            raise StackError(f"the deployment failed: {self._first_failure() or stack['StackStatus']}")

    def _deployed(self) -> dict[str, str]:
        """Reads the names of the deployed resources. Returns their physical ids by logical id."""
        client = self.client("cloudformation")
        (stack,) = client.describe_stacks(StackName=self.name)["Stacks"]
        outputs = {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}
        self.exportsTable = outputs["ExportsTable"]
        for export_type in EXPORT_TYPES:
            setattr(self, export_type.key, outputs[export_type.output])
        self.apiKeysTable = outputs["ApiKeysTable"]
        self.bucket = outputs["ExportsBucket"]
        self.jobsQueueUrl = outputs["JobsQueueUrl"]
        self.deadLetterQueueUrl = outputs["DeadLetterQueueUrl"]
        pages = client.get_paginator("list_stack_resources").paginate(StackName=self.name)
        resources = [resource for page in pages for resource in page["StackResourceSummaries"]]
        (self.configurationSet,) = (
            r["PhysicalResourceId"] for r in resources if r["ResourceType"] == "AWS::SES::ConfigurationSet"
        )
        functions = [r["PhysicalResourceId"] for r in resources if r["ResourceType"] == "AWS::Lambda::Function"]
        self.functions = {function.removeprefix(f"{self.name}-"): function for function in sorted(functions)}
        return {resource["LogicalResourceId"]: resource["PhysicalResourceId"] for resource in resources}

    def _package(self) -> str:
        """Uploads the template and the functions, as `sam deploy` does. Returns the template's URL.

        The template is too large to be part of the request. The uploaded packages only start the function's program,
        because uploading the programs to the emulator takes seconds.
        """
        client, bucket = self.client("s3"), f"{self.name}-code"
        client.create_bucket(Bucket=bucket)
        assert self._emulator is not None
        programs = self._emulator.folder / "programs" / self.name
        programs.mkdir(parents=True)

        def upload(match: re.Match[str]) -> str:
            # A hard link, so that a later build does not change this stack.
            program = programs / match["crate"]
            program.hardlink_to(build.PACKAGES / program.name / "bootstrap")
            key = f"{program.name}.zip"
            client.put_object(Bucket=bucket, Key=key, Body=_package_of(program))
            return f"CodeUri: s3://{bucket}/{key}"

        source = TEMPLATE.read_text(encoding="utf-8")
        packaged = re.sub(r"CodeUri: functions/(?P<crate>[a-z-]+)/", upload, source)
        client.put_object(Bucket=bucket, Key=TEMPLATE.name, Body=packaged.encode())
        return f"https://s3.{self.region}.amazonaws.com/{bucket}/{TEMPLATE.name}"

    def _first_failure(self) -> str | None:
        pages = self.client("cloudformation").get_paginator("describe_stack_events").paginate(StackName=self.name)
        events = [event for page in pages for event in page["StackEvents"]]
        failures = [e for e in events if e["ResourceStatus"].endswith("_FAILED")]
        oldest = failures[-1] if failures else None
        return f"{oldest['LogicalResourceId']}: {oldest.get('ResourceStatusReason', '')}" if oldest else None

    # ---------------------------------------------------------------------------------------------------- bridges

    def _bridge_verified_sender(self, sender: str) -> None:
        """A new account needs a verified sender and SES production access."""
        client = self.client("sesv2")
        client.create_email_identity(EmailIdentity=sender)
        client.put_account_details(
            MailType="TRANSACTIONAL",
            WebsiteURL="https://marketplace.example",
            UseCaseDescription="Local stack",
            ProductionAccessEnabled=True,
        )

    def _bridge_signer_key(self, parameters: dict[str, str]) -> str | None:
        """The emulator's CloudFormation does not support AWS::IAM::AccessKey.

        Creates user, key and secret, and passes the secret as a parameter. Returns the user's name, or None if the
        parameters already name a secret.
        """
        if "LinkSignerSecretArn" in parameters:
            return None
        iam, user = self.client("iam"), f"{self.name}-link-signer"
        iam.create_user(UserName=user)
        key = iam.create_access_key(UserName=user)["AccessKey"]
        secret = json.dumps({"accessKeyId": key["AccessKeyId"], "secretAccessKey": key["SecretAccessKey"]})
        created = self.client("secretsmanager").create_secret(Name=user, SecretString=secret)
        parameters["LinkSignerSecretArn"] = created["ARN"]
        return user

    def _bridge_signer_policy(self, user: str, template: Mapping[str, Any]) -> None:
        """Gives the user created by `_bridge_signer_key` the policies of the template's user."""
        arn = f"arn:aws:s3:::{self.bucket}"
        for policy in template["Resources"]["LinkSignerUser"]["Properties"]["Policies"]:
            document = resolve(policy["PolicyDocument"], {"ExportsBucket.Arn": arn})
            self.client("iam").put_user_policy(
                UserName=user, PolicyName=policy["PolicyName"], PolicyDocument=json.dumps(document)
            )

    def _bridge_routes(self, template: Mapping[str, Any], resources: Mapping[str, str]) -> None:
        """The emulator ignores the OpenAPI body of the HTTP API, with its routes and CORS settings."""
        client, api = self.client("apigatewayv2"), resources["HttpApi"]
        body = template["Resources"]["HttpApi"]["Properties"]["Body"]
        for path, methods in body["paths"].items():
            for method, operation in methods.items():
                uri = operation["x-amazon-apigateway-integration"]["uri"]["Fn::Sub"]
                (function,) = re.findall(r"\$\{(\w+)\.Arn\}", uri)
                integration = client.create_integration(
                    ApiId=api,
                    IntegrationType="AWS_PROXY",
                    IntegrationUri=f"arn:aws:lambda:{self.region}:000000000000:function:{resources[function]}",
                    PayloadFormatVersion="2.0",
                )
                if path.removeprefix("/") == "$default":
                    key = "$default"
                else:
                    key = f"{'ANY' if method == 'x-amazon-apigateway-any-method' else method.upper()} {path}"
                # API Gateway's greedy path variable matches an empty path (`/back-office/`). The emulator's does not.
                for route in {key, key.removesuffix("{proxy+}")}:
                    target = f"integrations/{integration['IntegrationId']}"
                    client.create_route(ApiId=api, RouteKey=route, Target=target)
        # The processed template has the parameters' defaults, so the origin is read from the stack.
        deployed = self.client("cloudformation").describe_stacks(StackName=self.name)["Stacks"][0]["Parameters"]
        (origin,) = (p["ParameterValue"] for p in deployed if p["ParameterKey"] == "CorsOrigin")
        cors = {**body["x-amazon-apigateway-cors"], "allowOrigins": [origin]}
        client.update_api(ApiId=api, CorsConfiguration={key[0].upper() + key[1:]: cors[key] for key in cors})

    def _bridge_recursion(self, template: Mapping[str, Any], resources: Mapping[str, str]) -> None:
        """The emulator stops recursive invocations as Lambda does, but its CloudFormation ignores RecursiveLoop."""
        for name, resource in template["Resources"].items():
            if setting := resource["Properties"].get("RecursiveLoop"):
                self.client("lambda").put_function_recursion_config(FunctionName=resources[name], RecursiveLoop=setting)


class _Log:
    """A function's log, read incrementally.

    The emulator writes the lines of an invocation when it ends, to a separate stream and with the same time.
    """

    # How long after its time a line may appear.
    LATENESS_MS = 10_000

    def __init__(self, client: Any, function: str) -> None:
        self._client = client
        self._group = f"/aws/lambda/{function}"
        self._lines: list[str] = []
        self._latest = 0
        self._seen: Counter[str] = Counter()

    def lines(self) -> list[str]:
        start = max(0, self._latest - self.LATENESS_MS)
        while self._read(start):
            # A response has a limited number of events. The rest starts at the time of its last event.
            start = self._latest
        return self._lines

    def _read(self, start: int) -> bool:
        """Whether there were new lines."""
        events = self._client.filter_log_events(logGroupName=self._group, startTime=start)["events"]
        found: Counter[str] = Counter()
        known = len(self._lines)
        for event in events:
            stream = event["logStreamName"]
            found[stream] += 1
            if found[stream] > self._seen[stream]:
                self._lines.append(event["message"])
                self._seen[stream] += 1
                self._latest = max(self._latest, event["timestamp"])
        return len(self._lines) > known


@functools.cache
def _models() -> Any:
    """The models of the AWS services, shared by all sessions. Otherwise boto3 reads them for each."""
    return botocore.loaders.create_loader()


def _session(region: str) -> boto3.session.Session:
    """Not boto3's default session, which threads cannot create safely."""
    core = botocore.session.get_session()
    core.register_component("data_loader", _models())
    return boto3.session.Session("test", "test", region_name=region, botocore_session=core)


def _package_of(program: Path) -> bytes:
    """A function's package that only starts this program."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        entry = zipfile.ZipInfo("bootstrap")
        entry.external_attr = 0o755 << 16
        files.writestr(entry, f"#!/bin/sh\nexec {shlex.quote(str(program))}\n")
    return archive.getvalue()


def resolve(value: Any, names: Mapping[str, str]) -> Any:
    """A part of a template, with Ref, Fn::GetAtt and Fn::Sub resolved."""
    if isinstance(value, list):
        return [resolve(item, names) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return names[value["Ref"]]
    if set(value) == {"Fn::GetAtt"}:
        return names[".".join(value["Fn::GetAtt"])]
    if set(value) == {"Fn::Sub"}:
        return re.sub(r"\$\{([\w.]+)\}", lambda match: names[match[1]], value["Fn::Sub"])
    return {key: resolve(item, names) for key, item in value.items()}


def _await(condition: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StackError(f"{problem} after {SETTLE_SECONDS:.0f} s")
        time.sleep(0.05)


__all__ = ["EmulatorError", "Mail", "Stack", "StackError"]
