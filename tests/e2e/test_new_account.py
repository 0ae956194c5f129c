"""A new AWS account: a small Lambda quota, and SES in its sandbox."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from payouts import payout
from stack import Stack, StackError
from tenant import Tenant

DOMAIN = "marketplace.example"
QUOTA = {"STACK_LAMBDA_QUOTA": "10"}


@pytest.fixture(scope="module")
def new_stack() -> Iterator[Stack]:
    """A stack with a single parameter, a sender on a subdomain of the verified domain."""
    parameters = {"SenderAddress": f"exports@mail.{DOMAIN}"}
    with Stack.start(auth=True, rules=QUOTA, parameters=parameters) as running:
        ses = running.client("sesv2")
        ses.delete_email_identity(EmailIdentity=parameters["SenderAddress"])
        ses.create_email_identity(EmailIdentity=DOMAIN)
        ses.put_account_details(MailType="TRANSACTIONAL", WebsiteURL=f"https://{DOMAIN}", ProductionAccessEnabled=False)
        yield running


@pytest.fixture
def new_tenant(new_stack: Stack, request: pytest.FixtureRequest) -> Tenant:
    return Tenant(new_stack, request.node.name)


def test_export_in_a_new_account_reaches_a_verified_recipient(new_tenant: Tenant) -> None:
    new_tenant.stack.client("sesv2").create_email_identity(EmailIdentity=new_tenant.email)
    new_tenant.put_payouts([payout("po_1")])
    assert new_tenant.export()["file"]["rows"] == 1
    assert new_tenant.mail().to == [new_tenant.email]


def test_export_to_an_unverified_recipient_fails_with_its_file(new_tenant: Tenant) -> None:
    export = new_tenant.await_status(new_tenant.launch(), "FAILED")
    assert export["failure"]["code"] == "EMAIL_NOT_SENT"
    assert len(new_tenant.objects()) == 1
    assert not new_tenant.mails()


def test_failed_first_deployment_leaves_no_resources(new_stack: Stack) -> None:
    with pytest.raises(StackError, match="below its minimum value"):
        Stack.start(name="failed", parameters={"ReserveConcurrency": "true"}, beside=new_stack)
    left = {
        "tables": new_stack.client("dynamodb").list_tables()["TableNames"],
        "buckets": [bucket["Name"] for bucket in new_stack.client("s3").list_buckets()["Buckets"]],
        "queues": new_stack.client("sqs").list_queues()["QueueUrls"],
        "log groups": [group["logGroupName"] for group in new_stack.client("logs").describe_log_groups()["logGroups"]],
        "roles": [role["RoleName"] for role in new_stack.client("iam").list_roles()["Roles"]],
    }
    # The code bucket belongs to the deployment, not to the stack.
    assert {kind: [name for name in names if "failed" in name] for kind, names in left.items()} == {
        kind: ["failed-code"] if kind == "buckets" else [] for kind in left
    }
