//! Request bodies.
//!
//! | body | response |
//! |---|---|
//! | absent or empty | accepted, with any Content-Type |
//! | more than 64 KiB | 413 |
//! | a Content-Type other than `application/json` in UTF-8 | 415 |
//! | not JSON, not an object, an unknown or duplicate field, a value of the wrong type or format | 400 |
//!
//! A 400 lists all validation errors, up to [`MAX_VALIDATION_ERRORS`](crate::validation::MAX_VALIDATION_ERRORS).
//!
//! `cc` is an array of strings, each a valid [`EmailAddress`]. Duplicates and the main recipient are dropped, ignoring
//! case. At most [`Recipients::MAX_CC`] addresses may remain. `null` means not set. Each address at a domain that is not
//! allowed is an error. A launch also has [`options`].

use std::collections::HashSet;
use std::fmt;

use exports_domain::email::{AllowedDomains, EmailAddress, Recipients, TooManyCc};
use exports_domain::export_type::Definition;
use exports_domain::options::ExportOptions;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::api_error::ApiError;
#[cfg(doc)]
use crate::options;
use crate::options::{parse_filter, parse_format};
use crate::request::Request;
use crate::validation::{ValidationCode, ValidationError, ValidationErrors, shortened};

/// The maximum size of a body.
pub const MAX_BYTES: usize = 64 * 1024;

/// Why a body was rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// More than [`MAX_BYTES`].
    #[error("the body is too large")]
    TooLarge,
    /// The Content-Type is not JSON in UTF-8.
    #[error("the Content-Type is not application/json in UTF-8")]
    UnsupportedMediaType,
    /// At least one validation error.
    #[error("the body is invalid")]
    ValidationErrors(Vec<ValidationError>),
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => Self::BodyTooLarge(MAX_BYTES),
            BodyError::UnsupportedMediaType => Self::UnsupportedMediaType,
            BodyError::ValidationErrors(errors) => Self::BadRequest(errors),
        }
    }
}

/// The body of a launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The recipients of the e-mail: the caller, and the addresses in `cc`.
    pub recipients: Recipients,
    /// `filter` and `format`.
    pub options: ExportOptions,
}

/// The body of a launch of an export of this type by the caller `to`.
///
/// # Errors
/// [`BodyError`], by the rules of this module and of [`options`].
pub fn launch(
    request: &Request,
    definition: &Definition,
    to: &EmailAddress,
    allowed: &AllowedDomains,
) -> Result<Launch, BodyError> {
    let mut options = ExportOptions::default();
    let recipients = parse(request, to, allowed, |name, value, errors| {
        match name {
            "filter" => options.filter = parse_filter(value, definition, errors),
            "format" => options.format = parse_format(value, errors),
            _ => return false,
        }
        true
    })?;
    Ok(Launch { recipients: recipients.unwrap_or_else(|| Recipients::only(to.clone())), options })
}

/// The recipients of the e-mail: `to`, and the addresses in `cc`. `None` if the body has no `cc`.
///
/// # Errors
/// [`BodyError`], by the rules of this module.
pub fn recipients(
    request: &Request,
    to: &EmailAddress,
    allowed: &AllowedDomains,
) -> Result<Option<Recipients>, BodyError> {
    parse(request, to, allowed, |_, _, _| false)
}

/// Parses `cc`, and all other fields with `parse_other`, which returns whether it knows the field.
fn parse(
    request: &Request,
    to: &EmailAddress,
    allowed: &AllowedDomains,
    mut parse_other: impl FnMut(&str, FieldValue, &mut ValidationErrors) -> bool,
) -> Result<Option<Recipients>, BodyError> {
    let mut errors = ValidationErrors::default();
    let mut recipients = None;
    let mut seen = HashSet::new();
    for (name, value) in fields(request)?.0 {
        if !seen.insert(name.clone()) {
            errors.push(shortened(&name), ValidationCode::Format, "duplicate field");
            continue;
        }
        match name.as_str() {
            "cc" => match value.into_value() {
                Value::Null => {}
                value => recipients = parse_cc(&value, to, allowed, &mut errors),
            },
            name if parse_other(name, value, &mut errors) => {}
            name => errors.push(shortened(name), ValidationCode::Format, "unknown field"),
        }
    }
    errors.into_result(recipients).map_err(BodyError::ValidationErrors)
}

const DOMAIN_NOT_ALLOWED: &str = "CC recipients at this domain are not allowed; ask your administrator";

/// Checks recorded CC recipients: the list of allowed domains may have changed since.
///
/// # Errors
/// [`BodyError::ValidationErrors`], one for each address at a domain that is no longer allowed.
pub fn check_recorded_cc(recipients: &Recipients, allowed: &AllowedDomains) -> Result<(), BodyError> {
    let mut errors = ValidationErrors::default();
    for (index, _) in recipients.cc().iter().enumerate().filter(|(_, address)| !allowed.allow(address)) {
        errors.push(format!("cc[{index}]"), ValidationCode::Enumeration, DOMAIN_NOT_ALLOWED);
    }
    errors.into_result(()).map_err(BodyError::ValidationErrors)
}

/// Parses `cc`, and adds its validation errors to `errors`.
fn parse_cc(
    cc: &Value,
    to: &EmailAddress,
    allowed: &AllowedDomains,
    errors: &mut ValidationErrors,
) -> Option<Recipients> {
    let Value::Array(elements) = cc else {
        errors.push("cc", ValidationCode::Format, "must be an array of e-mail addresses");
        return None;
    };
    // A set, because comparing all pairs of a long list would take quadratic time.
    let mut seen = HashSet::from([to.as_str().to_ascii_lowercase()]);
    let mut kept = Vec::new();
    for (index, element) in elements.iter().enumerate() {
        let field = || format!("cc[{index}]");
        match element.as_str().map(str::parse::<EmailAddress>) {
            None => errors.push(field(), ValidationCode::Format, "must be a string with one e-mail address"),
            Some(Err(reason)) => errors.push(field(), ValidationCode::Format, reason),
            Some(Ok(address)) if seen.insert(address.as_str().to_ascii_lowercase()) => {
                if !allowed.allow(&address) {
                    errors.push(field(), ValidationCode::Enumeration, DOMAIN_NOT_ALLOWED);
                }
                kept.push(address);
            }
            Some(Ok(_)) => {}
        }
    }
    if kept.len() > Recipients::MAX_CC {
        errors.push("cc", ValidationCode::Size, TooManyCc { given: kept.len() });
        return None;
    }
    Recipients::new(to.clone(), kept).ok()
}

/// The fields of a body or of an object in it, in order. Empty if there is no body.
#[derive(Debug, Default)]
pub(crate) struct Fields(pub Vec<(String, FieldValue)>);

/// The value of a field.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum FieldValue {
    /// An object, with its duplicate fields.
    Object(Fields),
    /// Any other value.
    Other(Value),
}

impl FieldValue {
    /// The value where no object is valid: an object is empty.
    pub(crate) fn into_value(self) -> Value {
        match self {
            Self::Object(_) => Value::Object(Map::new()),
            Self::Other(value) => value,
        }
    }
}

fn fields(request: &Request) -> Result<Fields, BodyError> {
    let body = request.body();
    if body.is_empty() {
        return Ok(Fields::default());
    }
    if body.len() > MAX_BYTES {
        return Err(BodyError::TooLarge);
    }
    if !request.header("content-type").is_some_and(is_json) {
        return Err(BodyError::UnsupportedMediaType);
    }
    serde_json::from_slice(body).map_err(|error| {
        let detail = if error.is_data() {
            "the body must be a JSON object".to_owned()
        } else {
            format!("invalid JSON: {error}")
        };
        BodyError::ValidationErrors(vec![ValidationError { code: ValidationCode::Format, field: None, detail }])
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
    /// Keeps duplicate fields. A map would keep only the last one.
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
