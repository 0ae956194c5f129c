"""SES, version 2 of its API."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from conftest import ACCOUNT, REGION, Account, Responses

SENDER = "exports@mail.market.example"
SET = "rules"


@pytest.fixture(scope="module")
def ses(account: Account) -> Any:
    client = account.client("sesv2")
    client.create_email_identity(EmailIdentity="market.example")
    client.create_configuration_set(ConfigurationSetName=SET)
    production(client, True)
    return client


def production(client: Any, granted: bool) -> None:
    client.put_account_details(
        MailType="TRANSACTIONAL", WebsiteURL="https://market.example", ProductionAccessEnabled=granted
    )


@pytest.fixture
def sandbox(ses: Any) -> Iterator[None]:
    production(ses, False)
    yield
    production(ses, True)


def mail(sender: str = SENDER, **parameters: Any) -> dict[str, Any]:
    return {
        "FromEmailAddress": sender,
        "Destination": {"ToAddresses": ["operator@acme.example"]},
        "Content": {"Simple": {"Subject": {"Data": "Hello"}, "Body": {"Text": {"Data": "Hello"}}}},
        "ConfigurationSetName": SET,
        **parameters,
    }


def to(*addresses: str) -> dict[str, Any]:
    return mail(Destination={"ToAddresses": list(addresses)})


def identity(name: str) -> str:
    return f"arn:aws:ses:{REGION}:{ACCOUNT}:identity/{name}"


def test_unverified_sender_is_rejected(ses: Any, responses: Responses) -> None:
    """The sender's address, its domain or a parent domain is a verified identity.

    Source: SES Developer Guide, "Creating and verifying identities", "Verifying a domain" (subdomains)
    """
    ses.send_email(**mail())
    ses.send_email(**mail("exports@market.example"))
    for sender in ("exports@other.example", "exports@supermarket.example"):
        responses.rejects(ses.send_email, "MessageRejected", "Email address is not verified", **mail(sender))


def test_unverified_recipient_is_rejected_in_the_sandbox(ses: Any, sandbox: None, responses: Responses) -> None:
    """In the sandbox, every recipient is a verified identity as well.

    Source: SES Developer Guide, "Request production access"
    """
    message = "Email address is not verified. The following identities failed the check in region US-EAST-1: operator@"
    responses.rejects(ses.send_email, "MessageRejected", message, **mail())
    ses.send_email(**to("finance@market.example"))


def test_sandbox_denies_role_without_the_recipients_identity(
    account: Account, ses: Any, sandbox: None, responses: Responses
) -> None:
    """In the sandbox, the caller is authorized on the recipients' verified identities as well as the sender's.

    Source: aws/aws-sdk-js issue 3641; GSA/data.gov issue 3810
    """
    ses.create_email_identity(EmailIdentity="operator@verified.example")
    resources = [identity("market.example"), f"arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{SET}"]
    narrow = {"Effect": "Allow", "Action": "ses:SendEmail", "Resource": resources}
    user = account.client_of_user("sesv2", "mail-narrow", narrow)
    send = to("operator@verified.example")
    denied = responses.rejects(user.send_email, "AccessDeniedException", "is not authorized to perform", **send)
    assert identity("operator@verified.example") in denied["Error"]["Message"]
    pinned = {"StringEquals": {"ses:FromAddress": SENDER}}
    wide = {**narrow, "Resource": [identity("*"), resources[1]], "Condition": pinned}
    account.client_of_user("sesv2", "mail-wide", wide).send_email(**send)
    production(ses, True)
    user.send_email(**send)


def test_role_is_authorized_on_the_verified_identity(account: Account, ses: Any, responses: Responses) -> None:
    """The caller is authorized on the sender's most specific verified identity and on the configuration set.
    `ses:FromAddress` is the sender.

    Source: SES Developer Guide, "Identity and access management in Amazon SES"; service authorization reference, SES v2
    """
    set_arn = f"arn:aws:ses:{REGION}:{ACCOUNT}:configuration-set/{SET}"

    def allow(number: int, *resources: str, sender: str = SENDER) -> Any:
        condition = {"StringEquals": {"ses:FromAddress": sender}}
        allowed = {"Effect": "Allow", "Action": "ses:SendEmail", "Resource": resources, "Condition": condition}
        return account.client_of_user("sesv2", f"mail-{number}", allowed)

    allow(1, identity("market.example"), set_arn).send_email(**mail())
    violations = (
        allow(2, identity(SENDER), identity("mail.market.example"), set_arn),
        allow(3, identity("market.example")),
        allow(4, identity("*"), set_arn, sender="other@market.example"),
    )
    for user in violations:
        responses.rejects(user.send_email, "AccessDeniedException", "is not authorized to perform", **mail())


def test_override_of_tracking_needs_its_own_permission(account: Account, ses: Any, responses: Responses) -> None:
    """The caller of a message that overrides tracking is authorized on that, too, on the resource `*`. The values are
    condition keys.

    Source: SES Developer Guide, "Using configuration overrides in Amazon SES"
    """
    send = {"Effect": "Allow", "Action": "ses:SendEmail", "Resource": "*"}
    disabled = dict.fromkeys(("OpenTrackingEnabled", "ClickTrackingEnabled"), "DISABLED")
    override = {
        "Effect": "Allow", "Action": "ses:ApplyTrackingConfigurationOverrides", "Resource": "*",
        "Condition": {"StringEquals": {f"ses:{name}": value for name, value in disabled.items()}},
    }  # fmt: skip

    def overriding(**tracking: str) -> dict[str, Any]:
        return mail(ConfigurationOverrides={"Tracking": tracking})

    account.client_of_user("sesv2", "mail-override", send, override).send_email(**overriding(**disabled))
    sender = account.client_of_user("sesv2", "mail-no-override", send)
    sender.send_email(**mail())
    violations = (
        (sender, overriding(**disabled)),
        (account.client_of_user("sesv2", "mail-on-identity", send, {**override, "Resource": identity("*")}),
         overriding(**disabled)),
        (account.client_of_user("sesv2", "mail-disable", send, override),
         overriding(**disabled | {"ClickTrackingEnabled": "ENABLED"})),
        (account.client_of_user("sesv2", "mail-one", send, override), overriding(ClickTrackingEnabled="DISABLED")),
    )  # fmt: skip
    for user, message in violations:
        responses.rejects(user.send_email, "AccessDeniedException", "is not authorized to perform", **message)


def test_missing_configuration_set_is_rejected(ses: Any, responses: Responses) -> None:
    """The configuration set of a message exists.

    Source: SES API v2 Reference, SendEmail, NotFoundException
    """
    message = "Configuration set <missing> does not exist"
    responses.rejects(ses.send_email, "NotFoundException", message, **mail(ConfigurationSetName="missing"))


def test_fifty_first_recipient_is_rejected(ses: Any, responses: Responses) -> None:
    """To, CC and BCC have at most 50 addresses in total.

    Source: SES API v2 Reference, Destination; SES Developer Guide, "Service quotas"
    """
    to, cc = ["operator@acme.example"], [f"cc{number}@acme.example" for number in range(50)]
    ses.send_email(**mail(Destination={"ToAddresses": to, "CcAddresses": cc[1:]}))
    message = "Recipient count exceeds 50"
    parameters = mail(Destination={"ToAddresses": to, "CcAddresses": cc})
    responses.rejects(ses.send_email, "BadRequestException", message, **parameters)


def test_malformed_recipient_is_rejected(ses: Any, responses: Responses) -> None:
    """One malformed address rejects the whole message. The local part is 7-bit ASCII.

    Source: SES API v2 Reference, Destination (no SMTPUTF8); the messages are those of JavaMail's InternetAddress
    """
    violations = {
        "operator": "Missing final '@domain'",
        "@acme.example": "Missing local name",
        "operator@": "Missing domain",
        "jürgen@acme.example": "Local address contains control or whitespace",
        "two words@acme.example": "Local address contains control or whitespace",
        ".operator@acme.example": "Local address starts with dot",
        "operator.@acme.example": "Local address ends with dot",
        "op..erator@acme.example": "Local address contains dot-dot",
        "operator@acme..example": "Domain contains dot-dot",
        "operator@münchen.example": "Domain contains illegal character",
    }
    for address, message in violations.items():
        responses.rejects(ses.send_email, "BadRequestException", message, **to("fine@acme.example", address))
    ses.send_email(**to("Operator <operator@acme.example>", "o'brien+exports@xn--mnchen-3ya.example"))


def test_mail_is_rejected_while_sending_is_paused(ses: Any, responses: Responses) -> None:
    """No message is accepted while the account's or the configuration set's sending is paused.

    Source: SES API v2 Reference, SendEmail, SendingPausedException; SES Developer Guide, "Pausing email sending"
    """
    try:
        ses.put_account_sending_attributes(SendingEnabled=False)
        responses.rejects(ses.send_email, "SendingPausedException", "paused", **mail())
    finally:
        ses.put_account_sending_attributes(SendingEnabled=True)
    try:
        ses.put_configuration_set_sending_options(ConfigurationSetName=SET, SendingEnabled=False)
        responses.rejects(ses.send_email, "SendingPausedException", "paused", **mail())
    finally:
        ses.put_configuration_set_sending_options(ConfigurationSetName=SET, SendingEnabled=True)
    ses.send_email(**mail())


def test_links_are_replaced_unless_the_message_overrides_it(account: Account, ses: Any, responses: Responses) -> None:
    """The account tracks clicks: SES replaces the links of a message, unless it overrides ClickTrackingEnabled.

    Source: SES API v2 Reference, TrackingConfigurationOverrides
    """
    html = {"Html": {"Data": '<a href="https://link.example">Download</a>'}}
    content = {"Simple": {"Subject": {"Data": "Hello"}, "Body": html}}
    tracked = received(account, ses, mail(Content=content))
    assert tracked["BodyHtml"] == '<a href="https://tracker.example/https://link.example">Download</a>'
    overrides = {"Tracking": {"ClickTrackingEnabled": "DISABLED"}}
    untracked = received(account, ses, mail(Content=content, ConfigurationOverrides=overrides))
    assert untracked["BodyHtml"] == html["Html"]["Data"]
    responses.add("a link to another domain, which redirects")


def test_mailbox_names_the_configuration_set(account: Account, ses: Any) -> None:
    assert received(account, ses, mail())["ConfigurationSetName"] == SET


def received(account: Account, ses: Any, message: dict[str, Any]) -> dict[str, Any]:
    """The message in the mailbox."""
    sent = ses.send_email(**message)["MessageId"]
    with urllib.request.urlopen(f"{account.emulator.url}/_ministack/ses/messages", timeout=10) as response:
        (mails,) = json.load(response)["messages"].values()
    (found,) = (found for found in mails if found["MessageId"] == sent)
    return dict(found)
