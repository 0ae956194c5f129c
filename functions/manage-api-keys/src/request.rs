//! Parses requests.

use std::str::FromStr;

use exports_domain::caller::{ClientType, KeyHash, PersonName};
use exports_domain::email::EmailAddress;
use exports_domain::fields::Fields;
use exports_domain::id::TenantId;
use serde_json::Value;

/// A valid request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Issue a key.
    Issue(Issue),
    /// List a tenant's keys.
    List(TenantId),
    /// Revoke a key.
    Revoke(KeyHash),
}

/// The owner of a new key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub tenant: TenantId,
    pub email: EmailAddress,
    pub name: PersonName,
    pub client: ClientType,
}

/// Parses an event, or returns all its validation errors.
pub(crate) fn parse(event: Value) -> Result<Action, Vec<String>> {
    let mut fields = Fields::new(event)?;
    let name = fields.required("action");
    let action = match name {
        Some(ActionName::Issue) => issue(&mut fields).map(Action::Issue),
        Some(ActionName::List) => fields.required("tenantId").map(Action::List),
        Some(ActionName::Revoke) => fields.required("keyId").map(Action::Revoke),
        // The valid fields depend on the action.
        None => return fields.finish(None),
    };
    fields.reject_unknown();
    fields.finish(action)
}

fn issue(fields: &mut Fields) -> Option<Issue> {
    let tenant = fields.required("tenantId");
    let email = fields.required("email");
    let name = fields.required("name");
    let client = fields.required("client");
    Some(Issue { tenant: tenant?, email: email?, name: name?, client: client? })
}

enum ActionName {
    Issue,
    List,
    Revoke,
}

#[derive(Debug, thiserror::Error)]
#[error("must be issue, list or revoke")]
struct ParseActionError;

impl FromStr for ActionName {
    type Err = ParseActionError;

    fn from_str(text: &str) -> Result<Self, ParseActionError> {
        match text {
            "issue" => Ok(Self::Issue),
            "list" => Ok(Self::List),
            "revoke" => Ok(Self::Revoke),
            _ => Err(ParseActionError),
        }
    }
}
