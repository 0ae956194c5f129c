//! Requests that a client may send twice: the header `Idempotency-Key`.
//!
//! A key has 1 to 255 printable ASCII characters, spaces included. It is the client's own within its API key and one
//! route: nobody meets another's keys, and a key that was used on one route is free on the others. What was asked for
//! counts as it was understood, not as it was written: `{"cc":[]}` and no body are the same request.

use domain::caller::KeyHash;
use domain::idempotency::Idempotency;
use serde_json::{Value, json};

use crate::fault::{Fault, FaultCode};
use crate::fingerprint;
use crate::request::Request;

/// The header, as answers name it.
pub const HEADER: &str = "Idempotency-Key";

/// How many characters a key may have.
const MOST_CHARACTERS: usize = 255;

/// The idempotency key that the request carries, if it carries one.
///
/// # Errors
/// What is wrong with the header.
pub fn key(request: &Request) -> Result<Option<&str>, Fault> {
    let Some(value) = request.header_bytes(HEADER) else { return Ok(None) };
    let printable =
        (1..=MOST_CHARACTERS).contains(&value.len()) && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    str::from_utf8(value).ok().filter(|_| printable).map(Some).ok_or_else(|| Fault {
        code: FaultCode::Format,
        field: Some(HEADER.to_owned()),
        detail: format!("an idempotency key has 1 to {MOST_CHARACTERS} printable ASCII characters"),
    })
}

/// The version of the form that fingerprints are made of.
///
/// A new option that is left out of a request's normal form while it has its default changes no stored fingerprint, so it
/// needs no new version.
const FORM: u32 = 1;

/// What is remembered of a request of the holder of `api_key` to `route` with this `key`. `request` is its normal form:
/// whatever it asks for, in one way of writing.
#[must_use]
pub fn remembered(key: &str, api_key: &KeyHash, route: &str, request: &Value) -> Idempotency {
    let form = json!({"form": FORM, "request": request, "route": route}).to_string();
    Idempotency { key: fingerprint::of([api_key.as_str(), route, key]), fingerprint: fingerprint::of([form.as_str()]) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::hash_of;
    use crate::tests::request;
    use serde_json::json;

    fn remember(key: &str, api_key: &str, route: &str, request: &Value) -> Idempotency {
        remembered(key, &hash_of(api_key), route, request)
    }

    #[test]
    fn key_of_1_to_255_printable_characters_is_taken() {
        let longest = "x".repeat(255);
        for text in ["a", " ", "~", "a, b", "01890a5d-ac96-774b-bcce-b302099a8057", &longest] {
            assert_eq!(key(&request(json!({"Idempotency-Key": text}), None)), Ok(Some(text)));
        }
        assert_eq!(key(&request(json!({}), None)), Ok(None));
    }

    #[test]
    fn key_of_another_form_is_a_fault_of_the_header() {
        for text in ["", "a\tb", "é", &"x".repeat(256)] {
            let fault = key(&request(json!({"idempotency-key": text}), None)).unwrap_err();
            assert_eq!((fault.code, fault.field.as_deref()), (FaultCode::Format, Some("Idempotency-Key")), "{text}");
        }
    }

    #[test]
    fn keys_of_other_callers_and_routes_do_not_meet() {
        let known = remember("k", "a", "r", &json!({}));
        assert_eq!(remember("k", "a", "r", &json!({"cc": ["x"]})).key, known.key, "whatever was asked for");
        for other in [("k2", "a", "r"), ("k", "b", "r"), ("k", "a", "s"), ("rk", "a", ""), ("", "a", "rk")] {
            assert_ne!(remember(other.0, other.1, other.2, &json!({})).key, known.key, "{other:?}");
        }
    }

    #[test]
    fn fingerprint_covers_route_and_request_whatever_the_order_of_fields() {
        let of = |route: &str, request: Value| remember("k", "a", route, &request).fingerprint;
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
    fn fingerprint_of_this_form_stays_what_it_is() {
        let known = remember("k", "a", "r", &json!({"to": "a@x.com", "cc": ["b@x.com"]})).fingerprint;
        assert_eq!(known, fingerprint::of([r#"{"form":1,"request":{"cc":["b@x.com"],"to":"a@x.com"},"route":"r"}"#]));
    }
}
