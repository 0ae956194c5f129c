//! What a body may be.
//!
//! | body | answer |
//! |---|---|
//! | absent or of no bytes | taken, whatever the Content-Type |
//! | more than 64 KiB | 413 |
//! | another Content-Type than `application/json`, or another charset than UTF-8 | 415 |
//! | not JSON, not an object, an unknown or repeated field, a value of another type or form | 400 |
//!
//! All faults of a body are told at once, the first [`MOST_FAULTS`](crate::fault::MOST_FAULTS) of them.
//!
//! `cc` is an array of strings, each an address by the rules of [`EmailAddress`]. An address that is there already, or
//! is the main recipient, is dropped without regard to case; at most [`Recipients::MAX_CC`] may be left. `null` is no
//! array: leave `cc` out instead. An address at a domain that is not an allowed one is a fault of its place.

use std::collections::HashSet;
use std::fmt;

use domain::email::{AllowedDomains, EmailAddress, Recipients, TooManyCc};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use crate::fault::{Fault, FaultCode, Faults, shortened};
use crate::problem::Problem;
use crate::request::Request;

/// How many bytes a body may have.
pub const MOST_BYTES: usize = 64 * 1024;

/// Why a body was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBody {
    /// More than [`MOST_BYTES`].
    #[error("the body is too large")]
    TooLarge,
    /// Of another media type.
    #[error("the body is not JSON by its Content-Type")]
    NotJson,
    /// JSON is wrong, or what it says; at least one fault.
    #[error("the body has faults")]
    Faults(Vec<Fault>),
}

impl From<BadBody> for Problem {
    fn from(error: BadBody) -> Self {
        match error {
            BadBody::TooLarge => Self::BodyTooLarge(MOST_BYTES),
            BadBody::NotJson => Self::NotJson,
            BadBody::Faults(faults) => Self::BadRequest(faults),
        }
    }
}

/// Who gets the mail, if the body says so by `cc`: `to`, and the copies, which are at `allowed` domains.
///
/// # Errors
/// [`BadBody`], by the rules of this module.
pub fn recipients(
    request: &Request,
    to: &EmailAddress,
    allowed: &AllowedDomains,
) -> Result<Option<Recipients>, BadBody> {
    let mut faults = Faults::default();
    let mut recipients = None;
    for (name, value) in fields(request)?.0 {
        match name.as_str() {
            "cc" if recipients.is_some() => faults.of("cc", FaultCode::Format, "the field is repeated"),
            "cc" => recipients = Some(copies(&value, to, allowed, &mut faults)),
            _ => faults.of(shortened(&name), FaultCode::Format, "there is no such field"),
        }
    }
    faults.or(recipients.flatten()).map_err(BadBody::Faults)
}

/// What is told of an address at a domain that copies may not go to.
const NOT_ALLOWED: &str =
    "copies may not go to this domain: ask your administrator, who keeps the list of allowed ones";

/// What is wrong with copies that a record has kept since another list of domains was `allowed`.
///
/// # Errors
/// [`BadBody::Faults`], each with the place in the record's `cc`.
pub fn check_kept(recipients: &Recipients, allowed: &AllowedDomains) -> Result<(), BadBody> {
    let mut faults = Faults::default();
    for (index, _) in recipients.cc().iter().enumerate().filter(|(_, address)| !allowed.allow(address)) {
        faults.of(format!("cc[{index}]"), FaultCode::Enumeration, NOT_ALLOWED);
    }
    faults.or(()).map_err(BadBody::Faults)
}

/// The copies that `cc` names; what is wrong with them goes to `faults`.
fn copies(cc: &Value, to: &EmailAddress, allowed: &AllowedDomains, faults: &mut Faults) -> Option<Recipients> {
    let Value::Array(elements) = cc else {
        faults.of("cc", FaultCode::Format, "an array of e-mail addresses is expected");
        return None;
    };
    // A set, because a list of many addresses that are compared one with another would take its square in time.
    let mut known = HashSet::from([to.as_str().to_ascii_lowercase()]);
    let mut kept = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let field = || format!("cc[{index}]");
        match element.as_str().map(str::parse::<EmailAddress>) {
            None => faults.of(field(), FaultCode::Format, "a string with an e-mail address is expected"),
            Some(Err(reason)) => faults.of(field(), FaultCode::Format, reason),
            Some(Ok(address)) if known.insert(address.as_str().to_ascii_lowercase()) => {
                if !allowed.allow(&address) {
                    faults.of(field(), FaultCode::Enumeration, NOT_ALLOWED);
                }
                kept.push(address);
            }
            Some(Ok(_)) => {}
        }
    }
    if kept.len() > Recipients::MAX_CC {
        faults.of("cc", FaultCode::Size, TooManyCc { given: kept.len() });
        return None;
    }
    Recipients::new(to.clone(), kept).ok()
}

/// The fields of a body, in their order; none if there is no body.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

fn fields(request: &Request) -> Result<Fields, BadBody> {
    let body = request.body();
    if body.is_empty() {
        return Ok(Fields::default());
    }
    if body.len() > MOST_BYTES {
        return Err(BadBody::TooLarge);
    }
    if !request.header("content-type").is_some_and(is_json) {
        return Err(BadBody::NotJson);
    }
    serde_json::from_slice(body).map_err(|error| {
        let detail = if error.is_data() {
            "the body must be a JSON object".to_owned()
        } else {
            format!("the body cannot be read as JSON: {error}")
        };
        BadBody::Faults(vec![Fault { code: FaultCode::Format, field: None, detail }])
    })
}

/// Whether a Content-Type is JSON in UTF-8.
fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    parts.next().is_some_and(|media_type| media_type.eq_ignore_ascii_case("application/json"))
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

impl<'de> Deserialize<'de> for Fields {
    /// An object as its fields: one that is repeated is there twice, where a map would keep the last.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}

#[cfg(test)]
mod tests;
