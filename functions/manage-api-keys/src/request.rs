//! Parses requests.

use std::str::FromStr;

use exports_domain::caller::{ClientType, KeyHash, PersonName};
use exports_domain::email::EmailAddress;
use exports_domain::fields::Fields;
use exports_domain::id::TenantId;
use exports_domain::time::Timestamp;
use exports_domain::time_bound::TimeBound;
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
    /// Revoke all keys of a person in a tenant.
    RevokePerson(TenantId, EmailAddress),
    /// Revoke all keys of a tenant.
    RevokeTenant(TenantId),
}

/// The owner of a new key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Issue {
    pub tenant: TenantId,
    pub email: EmailAddress,
    pub name: PersonName,
    pub client: ClientType,
    pub expires_at: Option<Timestamp>,
}

/// Parses an event, or returns all its validation errors.
pub(crate) fn parse(event: Value) -> Result<Action, Vec<String>> {
    let mut fields = Fields::new(event)?;
    let name = fields.required("action");
    let action = match name {
        Some(ActionName::Issue) => issue(&mut fields).map(Action::Issue),
        Some(ActionName::List) => fields.required("tenantId").map(Action::List),
        Some(ActionName::Revoke) => fields.required("keyId").map(Action::Revoke),
        Some(ActionName::RevokePerson) => revoke_person(&mut fields),
        Some(ActionName::RevokeTenant) => fields.required("tenantId").map(Action::RevokeTenant),
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
    let expires_at = fields.optional("expiresAt").map(TimeBound::as_to);
    Some(Issue { tenant: tenant?, email: email?, name: name?, client: client?, expires_at })
}

fn revoke_person(fields: &mut Fields) -> Option<Action> {
    let (tenant, email) = (fields.required("tenantId"), fields.required("email"));
    Some(Action::RevokePerson(tenant?, email?))
}

enum ActionName {
    Issue,
    List,
    Revoke,
    RevokePerson,
    RevokeTenant,
}

#[derive(Debug, thiserror::Error)]
#[error("must be issue, list, revoke, revoke-person or revoke-tenant")]
struct ParseActionError;

impl FromStr for ActionName {
    type Err = ParseActionError;

    fn from_str(text: &str) -> Result<Self, ParseActionError> {
        match text {
            "issue" => Ok(Self::Issue),
            "list" => Ok(Self::List),
            "revoke" => Ok(Self::Revoke),
            "revoke-person" => Ok(Self::RevokePerson),
            "revoke-tenant" => Ok(Self::RevokeTenant),
            _ => Err(ParseActionError),
        }
    }
}
