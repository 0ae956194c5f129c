//! What is asked for, checked whole.

use std::fmt::Display;
use std::str::FromStr;

use domain::caller::{ClientType, KeyHash, PersonName};
use domain::email::EmailAddress;
use domain::id::TenantId;
use serde_json::{Map, Value};

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
    let Value::Object(fields) = event else {
        return Err(vec!["a JSON object is expected".to_owned()]);
    };
    let mut fields = Fields { fields, faults: Vec::new() };
    let action = fields.parsed::<ActionName>("action");
    let action = match action {
        Some(ActionName::Issue) => issue(&mut fields).map(Action::Issue),
        Some(ActionName::List) => fields.parsed("tenantId").map(Action::List),
        Some(ActionName::Revoke) => fields.parsed("keyId").map(Action::Revoke),
        None => None,
    };
    // Which fields there may be is known once the action is.
    if !fields.faults.iter().any(|fault| fault.starts_with("action: ")) {
        let unknown: Vec<String> = fields.fields.keys().map(|name| format!("{name}: there is no such field")).collect();
        fields.faults.extend(unknown);
    }
    match action {
        Some(action) if fields.faults.is_empty() => Ok(action),
        _ => Err(fields.faults),
    }
}

fn issue(fields: &mut Fields) -> Option<Issue> {
    let tenant = fields.parsed("tenantId");
    let email = fields.parsed("email");
    let name = fields.parsed("name");
    let client = fields.parsed("client");
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

/// The fields that are not read yet, and what was wrong with the others.
struct Fields {
    fields: Map<String, Value>,
    faults: Vec<String>,
}

impl Fields {
    fn parsed<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let parsed = match self.fields.remove(name) {
            None => Err("missing".to_owned()),
            Some(Value::String(text)) => text.parse().map_err(|error: T::Err| error.to_string()),
            Some(_) => Err("a string is expected".to_owned()),
        };
        parsed.map_err(|fault| self.faults.push(format!("{name}: {fault}"))).ok()
    }
}
