"""The template against what a security reviewer asks of it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE: dict[str, Any] = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES: dict[str, dict[str, Any]] = TEMPLATE["Resources"]
FUNCTIONS = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::Serverless::Function"]
ROLES = [name for name, resource in RESOURCES.items() if resource["Type"] == "AWS::IAM::Role"]


def of_type(kind: str) -> dict[str, dict[str, Any]]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def properties(name: str) -> dict[str, Any]:
    found: dict[str, Any] = RESOURCES[name]["Properties"]
    return found


def statements(name: str) -> Iterator[dict[str, Any]]:
    """The statements of a role or a user, and those of the policies that are attached to it."""
    attached = (
        p["Properties"] for p in of_type("AWS::IAM::Policy").values() if {"Ref": name} in p["Properties"]["Roles"]
    )
    for policy in (*properties(name)["Policies"], *attached):
        yield from policy["PolicyDocument"]["Statement"]


def environment(function: str) -> dict[str, Any]:
    found: dict[str, Any] = properties(function).get("Environment", {}).get("Variables", {})
    return found


def nested(value: Any) -> list[Any]:
    """All values in a value, itself among them."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for item in inner for found in nested(item))]


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def denies_plain_http(policy: str, service: str, resources: Any) -> None:
    """A bucket's or queue's policy denies everybody everything on all these resources unless it comes by TLS."""
    (deny,) = (s for s in properties(policy)["PolicyDocument"]["Statement"] if s["Effect"] == "Deny")
    assert (deny["Principal"], deny["Action"]) == ("*", f"{service}:*")
    assert deny["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert deny["Resource"] == resources


# ------------------------------------------------------------------------------------------------------------- roles


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function_has_a_role_of_its_own_and_nothing_attached_to_it(name: str) -> None:
    function = properties(name)
    role = name.removesuffix("Function") + "Role"
    assert function["Role"] == {"Fn::GetAtt": [role, "Arn"]}, f"write out {role}, with only what {name} does"
    assert "Policies" not in function, "SAM ignores them where there is a role"
    assert set(properties(role)) == {"AssumeRolePolicyDocument", "Policies", "Tags"}
    assert properties(role)["AssumeRolePolicyDocument"]["Statement"] == [
        {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ]


@pytest.mark.parametrize("name", [*ROLES, "LinkSignerUser"])
def test_policy_grants_single_actions_on_named_resources(name: str) -> None:
    for statement in statements(name):
        assert statement["Effect"] == "Allow"
        for action in as_list(statement["Action"]):
            assert "*" not in action, f"{name}: name the actions of {action}"
        for resource in as_list(statement["Resource"]):
            text = json.dumps(resource)
            # Files have no names yet, and SES checks the identities of recipients, too, whoever they will be.
            bare = text.replace("${ExportsBucket.Arn}/exports/*", "").replace(IDENTITIES, "")
            assert "*" not in bare, f"{name}: name the resource {text}"


@pytest.mark.parametrize("name", ROLES)
def test_role_writes_logs_of_its_own_function_only(name: str) -> None:
    groups = [s["Resource"] for s in statements(name) if any(a.startswith("logs:") for a in as_list(s["Action"]))]
    assert groups == [{"Fn::GetAtt": [name.removesuffix("Role") + "LogGroup", "Arn"]}]


IDENTITIES = "arn:${AWS::Partition}:ses:${AWS::Region}:${AWS::AccountId}:identity/*"


def test_mail_goes_out_from_the_one_sender_through_the_one_configuration_set() -> None:
    senders = {name: s for name in ROLES for s in statements(name) if "ses:SendEmail" in as_list(s["Action"])}
    assert set(senders) == {name for name in ROLES if "SENDER" in environment(name.removesuffix("Role") + "Function")}
    for name, statement in senders.items():
        assert statement["Condition"] == {"StringEquals": {"ses:FromAddress": {"Ref": "SenderAddress"}}}, name
        assert as_list(statement["Action"]) == ["ses:SendEmail"]
        # In the sandbox the role is denied on a recipient's identity (github.com/GSA/data.gov, issue 3810, and
        # aws/aws-sdk-js, issue 3641), and a sender on a subdomain is checked as the verified domain above it.
        configuration_set = IDENTITIES.replace("identity/*", "configuration-set/${MailConfigurationSet}")
        assert statement["Resource"] == [{"Fn::Sub": IDENTITIES}, {"Fn::Sub": configuration_set}]


def test_roles_with_a_right_to_the_signing_key_are_those_that_make_links() -> None:
    readers = {name for name in ROLES if "secretsmanager:GetSecretValue" in json.dumps(list(statements(name)))}
    assert readers == {"GetExportRole", "ResendEmailRole", "GenerateExportRole"}


def test_link_signer_may_read_files_and_nothing_else() -> None:
    (statement,) = statements("LinkSignerUser")
    assert statement["Action"] == "s3:GetObject"
    assert statement["Resource"] == {"Fn::Sub": "${ExportsBucket.Arn}/exports/*"}
    assert set(properties("LinkSignerUser")) == {"Policies", "Tags"}, "no console, no group, no managed policy"


@pytest.mark.parametrize("name", ["GetExportRole", "ResendEmailRole"])
def test_role_that_looks_for_a_file_gets_404_for_a_missing_one(name: str) -> None:
    """S3 answers a HEAD of a missing object with 403 to whoever may not list the bucket (HeadObject, Permissions)."""
    of_the_bucket = [
        {key: value for key, value in statement.items() if key != "Sid"}
        for statement in statements(name)
        if "ExportsBucket" in json.dumps(statement["Resource"])
    ]
    assert of_the_bucket == [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": {"Fn::Sub": "${ExportsBucket.Arn}/exports/*"}},
        {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": {"Fn::GetAtt": ["ExportsBucket", "Arn"]}},
    ]


# --------------------------------------------------------------------------------------------------------- link keys


def condition(name: str, parameters: dict[str, str]) -> bool:
    """What a condition of the template comes to."""

    def value(expression: Any) -> Any:
        if not isinstance(expression, dict):
            return expression
        ((operation, operands),) = expression.items()
        if operation == "Ref":
            return parameters[operands]
        if operation == "Condition":
            return condition(operands, parameters)
        values = [value(operand) for operand in operands]
        return {
            "Fn::Equals": lambda: values[0] == values[1],
            "Fn::Not": lambda: not values[0],
            "Fn::And": lambda: all(values),
            "Fn::Or": lambda: any(values),
        }[operation]()

    return bool(value(TEMPLATE["Conditions"][name]))


@pytest.mark.parametrize(("active", "keep"), list(itertools.product("AB", ["true", "false"])))
def test_rotation_keeps_the_key_of_mailed_links_as_long_as_it_is_told_to(active: str, keep: str) -> None:
    parameters = {
        "LinkSignerSecretArn": "", "KeepLinkSigner": "false", "ActiveSignerKey": active, "KeepOtherSignerKey": keep,
    }  # fmt: skip
    slots = {slot for slot in "AB" if condition(RESOURCES[f"SignerKey{slot}"]["Condition"], parameters)}
    assert slots == (set("AB") if keep == "true" else {active})
    chosen, if_a, if_b = properties("LinkSignerSecret")["SecretString"]["Fn::If"]
    signing = if_a if condition(chosen, parameters) else if_b
    expected = '{{"accessKeyId":"${{SignerKey{0}}}","secretAccessKey":"${{SignerKey{0}.SecretAccessKey}}"}}'
    assert signing == {"Fn::Sub": expected.format(active)}
    for slot in "AB":
        # A new serial number would delete the old key, and with it every link that it signed.
        assert properties(f"SignerKey{slot}") == {"UserName": {"Ref": "LinkSignerUser"}}


SIGNER = ("LinkSignerUser", "LinkSignerSecret", "SignerKeyA", "SignerKeyB")


@pytest.mark.parametrize(("active", "keep"), list(itertools.product("AB", ["true", "false"])))
def test_own_secret_makes_no_user_no_key_and_no_secret_but_keeps_them_if_told_to(active: str, keep: str) -> None:
    def made(secret: str, kept: str) -> set[str]:
        parameters = {
            "LinkSignerSecretArn": secret, "KeepLinkSigner": kept,
            "ActiveSignerKey": active, "KeepOtherSignerKey": keep,
        }  # fmt: skip
        return {name for name in SIGNER if condition(RESOURCES[name]["Condition"], parameters)}

    assert made("arn:…", "false") == set()
    # The same keys as before: those that sign links which are mailed already.
    assert made("arn:…", "true") == made("", "false")
    assert TEMPLATE["Parameters"]["KeepLinkSigner"]["Default"] == "false"


ARN = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:"


@pytest.mark.parametrize("secret", ["", f"{ARN}signer-Ab12Cd", f"{ARN}team/payouts_signer-a1b2c3"])
def test_whole_arn_of_a_secret_is_accepted(secret: str) -> None:
    assert re.search(TEMPLATE["Parameters"]["LinkSignerSecretArn"]["AllowedPattern"], secret)


# Secrets Manager finds a secret by a part of its ARN, but IAM compares the whole one with the policy (Secrets Manager
# User Guide, "Finding a secret from a partial ARN").
@pytest.mark.parametrize("secret", ["signer", f"{ARN}signer", f"{ARN}team/signer", f"{ARN}signer-Ab12C", f"{ARN}*"])
def test_part_of_an_arn_of_a_secret_is_rejected(secret: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["LinkSignerSecretArn"]["AllowedPattern"], secret)


@pytest.mark.parametrize(
    ("parameter", "service", "reader"),
    [
        ("PayoutsTableKeyArn", "dynamodb", lambda s: s.get("Sid") == "ReadPayouts"),
        ("LinkSignerSecretKeyArn", "secretsmanager", lambda s: s["Action"] == "secretsmanager:GetSecretValue"),
    ],
)
def test_key_of_the_owners_is_for_decrypting_by_those_who_read_what_it_encrypts(
    parameter: str, service: str, reader: Callable[[dict[str, Any]], bool]
) -> None:
    (policy,) = (p for p in of_type("AWS::IAM::Policy").values() if {"Ref": parameter} in nested(p["Properties"]))
    readers = [{"Ref": name} for name in ROLES if any(reader(statement) for statement in statements(name))]
    assert policy["Properties"]["Roles"] == readers
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"], statement["Resource"]) == (
        "Allow",
        "kms:Decrypt",
        {"Ref": parameter},
    )
    # Only where the service asks on the role's behalf, never by a call of the function's own.
    via = {"kms:ViaService": {"Fn::Sub": f"{service}.${{AWS::Region}}.amazonaws.com"}}
    assert statement["Condition"] == {"StringEquals": via}
    assert not condition(policy["Condition"], {parameter: ""})
    key = "arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"
    assert condition(policy["Condition"], {parameter: key})
    assert re.search(TEMPLATE["Parameters"][parameter]["AllowedPattern"], key)
    # Permissions hold for a key, not for its alias.
    alias = "arn:aws:kms:eu-central-1:123456789012:alias/payouts"
    assert not re.search(TEMPLATE["Parameters"][parameter]["AllowedPattern"], alias)


# -------------------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize("name", of_type("AWS::S3::Bucket"))
def test_bucket_is_closed_encrypted_kept_and_for_tls_only(name: str) -> None:
    bucket = properties(name)
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert len(bucket["PublicAccessBlockConfiguration"]) == 4
    assert bucket["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    (rule,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    denies_plain_http(f"{name}Policy", "s3", [{"Fn::GetAtt": [name, "Arn"]}, {"Fn::Sub": f"${{{name}.Arn}}/*"}])
    assert "WebsiteConfiguration" not in bucket


def test_files_and_unfinished_uploads_are_deleted_in_their_time() -> None:
    rules = {rule["Id"]: rule for rule in properties("ExportsBucket")["LifecycleConfiguration"]["Rules"]}
    files = rules["delete-files-after-retention"]
    assert (files["Status"], files["Prefix"]) == ("Enabled", "exports/")
    uploads = rules["abort-unfinished-uploads"]
    assert uploads["Status"] == "Enabled"
    # An export may be told to take seven days, and goes on with the upload it began.
    assert uploads["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 8


def test_trail_records_all_that_is_done_to_files_and_forgets_it_in_time() -> None:
    trail = properties("DownloadTrail")
    assert trail["IsLogging"] is True
    assert trail["EnableLogFileValidation"] is True
    (selector,) = trail["AdvancedEventSelectors"]
    assert selector["FieldSelectors"] == [
        {"Field": "eventCategory", "Equals": ["Data"]},
        {"Field": "resources.type", "Equals": ["AWS::S3::Object"]},
        {"Field": "resources.ARN", "StartsWith": [{"Fn::Sub": "${ExportsBucket.Arn}/exports/"}]},
    ]
    assert trail["S3BucketName"] == {"Ref": "DownloadLogBucket"}
    (rule,) = properties("DownloadLogBucket")["LifecycleConfiguration"]["Rules"]
    assert (rule["Status"], rule["ExpirationInDays"]) == ("Enabled", 365)
    for statement in properties("DownloadLogBucketPolicy")["PolicyDocument"]["Statement"]:
        if statement["Effect"] == "Allow":
            assert statement["Principal"] == {"Service": "cloudtrail.amazonaws.com"}
            # Another account's trail could write here otherwise.
            (source,) = statement["Condition"]["StringEquals"].values()
            assert source["Fn::Sub"].endswith(":trail/${AWS::StackName}-downloads")
    assert trail["TrailName"] == {"Fn::Sub": "${AWS::StackName}-downloads"}


@pytest.mark.parametrize("name", of_type("AWS::DynamoDB::Table"))
def test_table_is_encrypted_and_can_be_put_back_to_any_moment(name: str) -> None:
    assert properties(name)["SSESpecification"] == {"SSEEnabled": True}
    assert properties(name)["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}


def test_records_are_forgotten_by_the_attribute_that_the_code_writes() -> None:
    assert properties("ExportsTable")["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    code = (ROOT / "shared/aws/src/dynamodb/record.rs").read_text(encoding="utf-8")
    assert 'TTL: &str = "ttl"' in code


def test_tables_and_files_outlive_the_stack() -> None:
    for name, resource in RESOURCES.items():
        if resource["Type"] in ("AWS::DynamoDB::Table", "AWS::S3::Bucket"):
            # Retain alone would also keep what a failed first deployment has made, under names that nobody uses.
            kept = resource.get("DeletionPolicy"), resource.get("UpdateReplacePolicy")
            assert kept == ("RetainExceptOnCreate", "Retain"), name


def test_trail_is_made_when_little_is_left_that_could_fail() -> None:
    # CloudTrail may write to its bucket at once, and CloudFormation deletes no bucket that is not empty.
    before = RESOURCES["DownloadTrail"]["DependsOn"]
    body = properties("Dashboard")["DashboardBody"]["Fn::Sub"]
    needed = set(re.findall(r"\$\{(\w+)", body)) & RESOURCES.keys()
    assert {"DownloadLogBucketPolicy", "HttpApi", "JobsMapping", *FUNCTIONS} <= {*before, *needed}
    assert "Dashboard" in before


def test_queues_are_encrypted_and_for_tls_only() -> None:
    queues = list(of_type("AWS::SQS::Queue"))
    assert set(of_type("AWS::SQS::QueuePolicy")) == {f"{name}Policy" for name in queues}
    for name in queues:
        assert properties(name)["SqsManagedSseEnabled"] is True
        # SQS answers "Invalid value for the parameter Policy" to a statement that names a second queue (SQS Developer
        # Guide, "Special Information for SQS Policies").
        assert properties(f"{name}Policy")["Queues"] == [{"Ref": name}]
        denies_plain_http(f"{name}Policy", "sqs", {"Fn::GetAtt": [name, "Arn"]})


def test_logs_are_kept_for_a_time() -> None:
    for name in of_type("AWS::Logs::LogGroup"):
        assert 1 <= properties(name)["RetentionInDays"] <= 400, name


def test_mails_cross_the_network_encrypted_or_not_at_all() -> None:
    assert properties("MailConfigurationSet")["DeliveryOptions"] == {"TlsPolicy": "REQUIRE"}


def test_no_secret_stands_in_an_environment_or_an_output() -> None:
    for name in FUNCTIONS:
        assert "SecretAccessKey" not in json.dumps(properties(name)), name
    assert "SecretAccessKey" not in json.dumps(TEMPLATE["Outputs"])


# ------------------------------------------------------------------------------------------------------------- abuse


def test_every_route_is_throttled_and_those_that_write_more_so() -> None:
    api = properties("HttpApi")
    default = api["DefaultRouteSettings"]
    assert default["ThrottlingRateLimit"] > 0
    posts = {
        f"POST {event['Properties']['Path']}"
        for name in FUNCTIONS
        for event in properties(name).get("Events", {}).values()
        if event["Type"] == "HttpApi" and event["Properties"].get("Method") == "POST"
    }
    assert set(api["RouteSettings"]) == posts
    for route in posts:
        settings = api["RouteSettings"][route]
        assert settings["ThrottlingRateLimit"] <= default["ThrottlingRateLimit"] / 10
        assert settings["ThrottlingBurstLimit"] < default["ThrottlingBurstLimit"]


# The fewest concurrent executions that new accounts are known to have, and how many Lambda keeps for the functions that
# reserve none (github.com/awslabs/fhir-works-on-aws-deployment, issue 691; Lambda Developer Guide, "Configuring
# reserved concurrency for a function").
SMALLEST_QUOTA = 10
KEPT_UNRESERVED = 100


def test_nothing_is_reserved_unless_asked_for() -> None:
    assert TEMPLATE["Parameters"]["ReserveConcurrency"]["Default"] == "false"
    for name in FUNCTIONS:
        reserved = properties(name).get("ReservedConcurrentExecutions")
        if reserved:
            condition_name, _, otherwise = reserved["Fn::If"]
            assert (condition_name, otherwise) == ("ReservesConcurrency", {"Ref": "AWS::NoValue"})


def test_generator_leaves_the_api_and_the_sweep_room_in_a_new_account() -> None:
    parameter = TEMPLATE["Parameters"]["ConcurrentExports"]
    assert properties("JobsMapping")["ScalingConfig"]["MaximumConcurrency"] == {"Ref": "ConcurrentExports"}
    assert parameter["Default"] <= SMALLEST_QUOTA / 2
    # What an event source mapping accepts (Lambda API Reference, ScalingConfig).
    assert (parameter["MinValue"], parameter["MaxValue"]) == (2, 1000)


def test_generator_has_room_for_all_that_its_queue_hands_it_at_once() -> None:
    reserved = properties("GenerateExportFunction")["ReservedConcurrentExecutions"]
    assert reserved["Fn::If"][1] == properties("JobsMapping")["ScalingConfig"]["MaximumConcurrency"]


def test_reserved_concurrency_is_what_template_and_readme_say_an_account_must_have() -> None:
    reserved = [properties(name).get("ReservedConcurrentExecutions") for name in FUNCTIONS]
    fixed = [setting["Fn::If"][1] for setting in reserved if setting]
    fixed.remove({"Ref": "ConcurrentExports"})
    needed = f"ConcurrentExports + {KEPT_UNRESERVED + sum(fixed)} "
    assert needed in TEMPLATE["Parameters"]["ReserveConcurrency"]["Description"]
    deploy = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Deploy\n")[2]
    assert needed in deploy.replace("`", "")
    assert f"{KEPT_UNRESERVED + sum(fixed) + TEMPLATE['Parameters']['ConcurrentExports']['Default']} " in deploy


def test_functions_that_only_administrators_may_invoke_have_no_trigger() -> None:
    for name in ("ManageApiKeysFunction", "EndExportFunction"):
        assert "Events" not in properties(name)


# ------------------------------------------------------------------------------------------------------ SECURITY.md


def test_tests_that_the_security_page_names_are_there() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    table = page.partition("## Attacks tried")[2].partition("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    sources = [*(ROOT / "tests").glob("*/test_*.py"), *(ROOT / "shared").glob("**/*.rs")]
    defined = set(re.findall(r"\b(?:def|fn) (\w+)", "\n".join(file.read_text(encoding="utf-8") for file in sources)))
    for row in rows:
        named = re.findall(r"`(\w+)`", row.rpartition(" | ")[2])
        assert named, row
        assert set(named) <= defined, set(named) - defined


@pytest.mark.parametrize(
    "domains", ["", "example.com", "a.example.com, b-c.example", "EXAMPLE.com,xn--bcher-kva.example"]
)
def test_domains_that_the_functions_read_are_taken_by_the_template(domains: str) -> None:
    assert re.search(TEMPLATE["Parameters"]["AllowedRecipientDomains"]["AllowedPattern"], domains)


@pytest.mark.parametrize(
    "domains", ["10.0.0.1", "example.123", "-foo.com", "foo-.com", "localhost", "a.com;b.com", "a..com"]
)
def test_domains_that_no_function_would_start_with_are_refused_by_the_template(domains: str) -> None:
    assert not re.search(TEMPLATE["Parameters"]["AllowedRecipientDomains"]["AllowedPattern"], domains)


BACK_OFFICE_URLS: dict[str, list[str]] = json.loads(
    Path(__file__).with_name("back_office_urls.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("url", ["", *BACK_OFFICE_URLS["pages"]])
def test_page_that_mails_may_lead_to_is_taken_by_the_template(url: str) -> None:
    assert re.fullmatch(TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["AllowedPattern"], url)


@pytest.mark.parametrize("url", BACK_OFFICE_URLS["refused"])
def test_page_that_no_function_would_start_with_is_refused_by_the_template(url: str) -> None:
    assert not re.fullmatch(TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["AllowedPattern"], url)


def test_page_that_mails_may_lead_to_is_as_long_as_a_function_takes_it() -> None:
    source = (ROOT / "shared/domain/src/back_office.rs").read_text(encoding="utf-8")
    (most,) = re.findall(r"MOST_LETTERS: usize = (\d+);", source)
    assert TEMPLATE["Parameters"]["MailedBackOfficeUrl"]["MaxLength"] == int(most)
