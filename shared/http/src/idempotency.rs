//! The header `Idempotency-Key`.
//!
//! A key has 1 to 255 printable ASCII characters, including spaces. It is scoped to the API key and the route. Requests
//! are compared in their normal form: `{"cc":[]}` and no body are the same request.

use exports_domain::caller::KeyHash;
use exports_domain::idempotency::Idempotency;
use serde_json::{Value, json};

use crate::fingerprint;
use crate::request::Request;
use crate::validation::{ValidationCode, ValidationError};

/// The header's name, as responses spell it.
pub const HEADER: &str = "Idempotency-Key";

const MAX_CHARACTERS: usize = 255;

/// The idempotency key of the request, if it has one.
///
/// # Errors
/// [`ValidationError`] if the header is invalid.
pub fn key(request: &Request) -> Result<Option<&str>, ValidationError> {
    let Some(value) = request.header_bytes(HEADER) else { return Ok(None) };
    let printable = (1..=MAX_CHARACTERS).contains(&value.len()) && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    str::from_utf8(value).ok().filter(|_| printable).map(Some).ok_or_else(|| ValidationError {
        code: ValidationCode::Format,
        field: Some(HEADER.to_owned()),
        detail: format!("must be 1 to {MAX_CHARACTERS} printable ASCII characters"),
    })
}

/// The version of the normal form.
///
/// Adding an option does not require a new version: the normal form omits options that have their default value, so
/// stored fingerprints stay valid.
const FORM: u32 = 1;

/// The idempotency record of a request. `request` is its normal form.
#[must_use]
pub fn record(key: &str, api_key: &KeyHash, route: &str, request: &Value) -> Idempotency {
    let form = json!({"form": FORM, "request": request, "route": route}).to_string();
    Idempotency { key: fingerprint::of([api_key.as_str(), route, key]), fingerprint: fingerprint::of([form.as_str()]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::hash_of;
    use crate::tests::request;
    use serde_json::json;

    fn idempotency(key: &str, api_key: &str, route: &str, request: &Value) -> Idempotency {
        record(key, &hash_of(api_key), route, request)
    }

    #[test]
    fn key_of_1_to_255_printable_characters_is_accepted() {
        let longest = "x".repeat(255);
        for text in ["a", " ", "~", "a, b", "01890a5d-ac96-774b-bcce-b302099a8057", &longest] {
            assert_eq!(key(&request(json!({"Idempotency-Key": text}), None)), Ok(Some(text)));
        }
        assert_eq!(key(&request(json!({}), None)), Ok(None));
    }

    #[test]
    fn malformed_key_is_rejected() {
        for text in ["", "a\tb", "é", &"x".repeat(256)] {
            let error = key(&request(json!({"idempotency-key": text}), None)).unwrap_err();
            assert_eq!(
                (error.code, error.field.as_deref()),
                (ValidationCode::Format, Some("Idempotency-Key")),
                "{text}"
            );
        }
    }

    #[test]
    fn key_is_scoped_to_api_key_and_route() {
        let known = idempotency("k", "a", "r", &json!({}));
        assert_eq!(idempotency("k", "a", "r", &json!({"cc": ["x"]})).key, known.key, "the request does not matter");
        for other in [("k2", "a", "r"), ("k", "b", "r"), ("k", "a", "s"), ("rk", "a", ""), ("", "a", "rk")] {
            assert_ne!(idempotency(other.0, other.1, other.2, &json!({})).key, known.key, "{other:?}");
        }
    }

    #[test]
    fn fingerprint_covers_route_and_request_not_field_order() {
        let of = |route: &str, request: Value| idempotency("k", "a", route, &request).fingerprint;
        let known = of("r", json!({"to": "a@x.com", "cc": ["b@x.com"]}));
        assert_eq!(of("r", json!({"cc": ["b@x.com"], "to": "a@x.com"})), known);
        for (route, request) in [
            ("s", json!({"to": "a@x.com", "cc": ["b@x.com"]})),
            ("r", json!({"to": "a@x.com", "cc": []})),
            ("r", json!({"to": "b@x.com", "cc": ["a@x.com"]})),
            ("r", json!({"to": "a@x.com", "cc": ["b@x.com"], "format": "XLSX"})),
            ("r", json!(["a@x.com", "b@x.com"])),
        ] {
            assert_ne!(of(route, request.clone()), known, "{route} {request}");
        }
    }

    #[test]
    fn fingerprint_of_form_1_is_stable() {
        let known = idempotency("k", "a", "r", &json!({"to": "a@x.com", "cc": ["b@x.com"]})).fingerprint;
        assert_eq!(known, fingerprint::of([r#"{"form":1,"request":{"cc":["b@x.com"],"to":"a@x.com"},"route":"r"}"#]));
    }
}
