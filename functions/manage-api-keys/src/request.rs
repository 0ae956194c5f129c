//! What is asked for, checked whole.

use std::str::FromStr;

use domain::caller::{ClientType, KeyHash, PersonName};
use domain::email::EmailAddress;
use domain::fields::Fields;
use domain::id::TenantId;
use serde_json::Value;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Issue a key.
    Issue(Issue),
    /// List a tenant's keys.
    List(TenantId),
    /// Revoke a key.
    Revoke(KeyHash),
}

/// Whom a new key stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub tenant: TenantId,
    pub email: EmailAddress,
    pub name: PersonName,
    pub client: ClientType,
}

/// The action that an event asks for, or everything that is wrong with it.
pub(crate) fn parse(event: Value) -> Result<Action, Vec<String>> {
    let mut fields = Fields::of(event)?;
    let name = fields.required("action");
    let action = match name {
        Some(ActionName::Issue) => issue(&mut fields).map(Action::Issue),
        Some(ActionName::List) => fields.required("tenantId").map(Action::List),
        Some(ActionName::Revoke) => fields.required("keyId").map(Action::Revoke),
        // Which fields there may be is known once the action is.
        None => return fields.finish(None),
    };
    fields.refuse_others();
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
#[error("not an action: issue, list or revoke")]
struct NotAnAction;

impl FromStr for ActionName {
    type Err = NotAnAction;

    fn from_str(text: &str) -> Result<Self, NotAnAction> {
        match text {
            "issue" => Ok(Self::Issue),
            "list" => Ok(Self::List),
            "revoke" => Ok(Self::Revoke),
            _ => Err(NotAnAction),
        }
    }
}
