"""SES: permissions to send and override tracking, validation of messages, and links when an account tracks clicks."""

from __future__ import annotations

import json
from email.utils import parseaddr
from typing import Any

from ministack import app
from ministack.core.responses import get_account_id, get_region, json_response
from ministack.services import ses, ses_v2

SEND_EMAIL = ("POST", "/v2/email/outbound-emails")
SENDING = ("PUT", "/v2/email/account/sending")
MAX_RECIPIENTS = 50
# Stands for the redirect of SES, which is on a domain of AWS.
TRACKER = "https://tracker.example/"

_authorize_other = app._enforce_ses_v2
_handle_other = ses_v2.handle_request
_list_messages = app._handle_ses_messages_request

# Accounts with paused sending, and the configuration set of each message.
_paused: set[str] = set()
_sets: dict[str, str] = {}


def _recipients(mail: dict[str, Any]) -> list[str]:
    destination = mail.get("Destination") or {}
    return [a for kind in ("ToAddresses", "CcAddresses", "BccAddresses") for a in destination.get(kind) or []]


def _verified_identity(address: str) -> str | None:
    """The most specific verified identity of an address: the address, its domain or a parent domain.

    SES Developer Guide, "Verified identities".
    """
    address = parseaddr(address)[1]
    domains = ses._domain_and_parents(address.rpartition("@")[2].lower())
    return next((name for name in (address, *domains) if name in ses._identities or name in ses_v2._identities), None)


def _authorize(
    method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any], request_id: str
) -> Any:
    """SendEmail is authorized on the sender's identity and the configuration set and, in the sandbox, on the verified
    identities of the recipients. ses:FromAddress is the sender. An override of tracking is authorized as well.

    Service authorization reference, "Amazon Simple Email Service v2"; aws/aws-sdk-js 3641, GSA/data.gov 3810; SES
    Developer Guide, "Using configuration overrides in Amazon SES".
    """
    if (method, path.rstrip("/")) != SEND_EMAIL:
        return _authorize_other(method, path, headers, body, query, request_id)
    mail = json.loads(body)
    sender = parseaddr(mail["FromEmailAddress"])[1]
    resources = [f"identity/{_verified_identity(sender) or sender}"]
    if name := mail.get("ConfigurationSetName"):
        resources.append(f"configuration-set/{name}")
    if not ses._production_access_enabled():
        verified = [_verified_identity(address) for address in _recipients(mail)]
        resources += [f"identity/{name}" for name in verified if name]
    prefix = f"arn:aws:ses:{get_region()}:{get_account_id()}:"
    checks = [("ses:SendEmail", prefix + name, {"ses:FromAddress": sender}) for name in dict.fromkeys(resources)]
    tracking = mail.get("ConfigurationOverrides", {}).get("Tracking")
    if tracking is not None:
        values = {f"ses:{name}": value for name, value in tracking.items()}
        checks.append(("ses:ApplyTrackingConfigurationOverrides", "*", values))
    for action, resource, values in checks:
        denied = app._enforce_data_plane(
            "sesv2", action, headers, query, request_id, resource_arn=resource, service_context=values,
            named_resource=resource,
        )  # fmt: skip
        if denied:
            return denied
    return None


def _address_problem(address: str) -> str | None:
    """Why an address is invalid, if it is.

    SES API v2 Reference, Destination: the local part is 7-bit ASCII, the domain is in Punycode. The messages are those
    of JavaMail's InternetAddress, which SES returns.
    """
    bare = parseaddr(address)[1] if "<" in address else address
    local, at, domain = bare.rpartition("@")
    if not at:
        return "Missing final '@domain'"
    if not local:
        return "Missing local name"
    if not domain:
        return "Missing domain"
    if not all("!" <= character <= "~" for character in local):
        return "Local address contains control or whitespace"
    if not all(character.isascii() and (character.isalnum() or character in "-.") for character in domain):
        return "Domain contains illegal character"
    for part, name in ((local, "Local address"), (domain, "Domain")):
        if part.startswith("."):
            return f"{name} starts with dot"
        if part.endswith("."):
            return f"{name} ends with dot"
        if ".." in part:
            return f"{name} contains dot-dot"
    return None


def _rejection(mail: dict[str, Any]) -> Any:
    """The rejection of a message, if any, except for permissions. SES API v2 Reference, SendEmail."""
    if get_account_id() in _paused:
        return ses_v2._json_err("SendingPausedException", "Sending is paused for this account.")
    if name := mail.get("ConfigurationSetName"):
        configuration = ses_v2._config_sets.get(name)
        if configuration is None:
            return ses_v2._missing_config_set(name)
        if not configuration.get("SendingOptions", {}).get("SendingEnabled", True):
            return ses_v2._json_err("SendingPausedException", f"Sending is paused for configuration set <{name}>.")
    recipients = _recipients(mail)
    if len(recipients) > MAX_RECIPIENTS:
        return ses_v2._json_err("BadRequestException", f"Recipient count exceeds {MAX_RECIPIENTS}.")
    problem = next(filter(None, map(_address_problem, recipients)), None)
    return ses_v2._json_err("BadRequestException", problem) if problem else None


def _track_clicks(mail: dict[str, Any]) -> None:
    """Replaces the links of the HTML, as in an account that tracks clicks, unless the message overrides that."""
    tracking = mail.get("ConfigurationOverrides", {}).get("Tracking", {})
    html = mail["Content"].get("Simple", {}).get("Body", {}).get("Html")
    if html and tracking.get("ClickTrackingEnabled") != "DISABLED":
        html["Data"] = html["Data"].replace('href="', f'href="{TRACKER}')


async def _handle(method: str, path: str, headers: dict[str, str], body: bytes, query: dict[str, Any]) -> Any:
    call = (method, path.rstrip("/"))
    if call == SENDING:
        change = _paused.discard if json.loads(body).get("SendingEnabled", False) else _paused.add
        change(get_account_id())
        return json_response({})
    if call != SEND_EMAIL:
        return await _handle_other(method, path, headers, body, query)
    mail = json.loads(body)
    if rejected := _rejection(mail):
        return rejected
    _track_clicks(mail)
    status, response_headers, response = await _handle_other(method, path, headers, json.dumps(mail).encode(), query)
    if status == 200:
        _sets[json.loads(response)["MessageId"]] = mail.get("ConfigurationSetName", "")
    return status, response_headers, response


async def _messages(method: str, path: str, headers: dict[str, str], query: dict[str, Any]) -> Any:
    """The mailbox, with the configuration set of each message."""
    listed = await _list_messages(method, path, headers, query)
    if listed is None or listed[0] != 200:
        return listed
    found = json.loads(listed[2])
    for messages in found["messages"].values():
        for message in messages:
            message["ConfigurationSetName"] = _sets.get(message["MessageId"], "")
    return listed[0], listed[1], json.dumps(found).encode()


def enforce() -> None:
    app._enforce_ses_v2 = _authorize
    app._handle_ses_messages_request = _messages
    ses_v2.handle_request = _handle
