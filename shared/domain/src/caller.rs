//! Callers and their API keys.

use std::fmt;
use std::str::FromStr;

use crate::control_chars::is_control_or_bidi;
use crate::email::EmailAddress;
use crate::hex;
use crate::id::TenantId;
use crate::time::Timestamp;

/// The type of a client, as in the `dj-client` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::EnumString, strum::IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[strum(parse_err_ty = ParseClientTypeError, parse_err_fn = ParseClientTypeError::new)]
pub enum ClientType {
    /// Runs the marketplace. Only operators can use exports.
    Operator,
    /// Buys on the marketplace.
    Account,
    /// Sells on the marketplace.
    Supplier,
}

impl ClientType {
    /// The name in headers and records.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The text is not a client type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be OPERATOR, ACCOUNT or SUPPLIER")]
pub struct ParseClientTypeError;

impl ParseClientTypeError {
    const fn new(_: &str) -> Self {
        Self
    }
}

/// A person's name as shown in e-mails and the back office: 1 to 100 characters, without control or bidirectional
/// characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonName(String);

/// The text is not a valid name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to 100 characters, without control characters, and must not be blank")]
pub struct ParsePersonNameError;

impl PersonName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PersonName {
    type Err = ParsePersonNameError;

    fn from_str(text: &str) -> Result<Self, ParsePersonNameError> {
        let name = text.trim();
        if (1..=100).contains(&name.chars().count()) && !name.chars().any(is_control_or_bidi) {
            Ok(Self(name.to_owned()))
        } else {
            Err(ParsePersonNameError)
        }
    }
}

/// A user of the back office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The address for e-mails to this user.
    pub email: EmailAddress,
    /// The display name.
    pub name: PersonName,
}

/// The identity behind an API key: the connected user, and the tenant whose data the key gives access to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The only tenant whose data the caller can access.
    pub tenant: TenantId,
    /// The client type of the key.
    pub client: ClientType,
    /// The connected user.
    pub user: Person,
}

/// The SHA-256 of an API key, as 64 lower-case hexadecimal digits. The key itself is not stored.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash with these 32 bytes.
    #[must_use]
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(hex::encode(&digest))
    }

    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a key hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a key hash: 64 lower-case hexadecimal digits")]
pub struct ParseKeyHashError;

impl FromStr for KeyHash {
    type Err = ParseKeyHashError;

    fn from_str(text: &str) -> Result<Self, ParseKeyHashError> {
        let is_hash = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if is_hash { Ok(Self(text.to_owned())) } else { Err(ParseKeyHashError) }
    }
}

impl fmt::Debug for KeyHash {
    /// Redacted: a logged hash would let an attacker verify guessed keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// The stored record of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// The hash of the key, which identifies it.
    pub hash: KeyHash,
    /// The identity behind the key.
    pub caller: Caller,
    /// When it was issued.
    pub created_at: Timestamp,
    /// When it expires; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// The start of the last day (UTC) on which a use of it was recorded.
    pub last_used_on: Option<Timestamp>,
    /// When it was revoked; `None` if it was not.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKeyRecord {
    /// The record of a new key that never expires.
    #[must_use]
    pub const fn new(hash: KeyHash, caller: Caller, created_at: Timestamp) -> Self {
        Self { hash, caller, created_at, expires_at: None, last_used_on: None, revoked_at: None }
    }

    /// Whether it identifies a caller at `now`.
    #[must_use]
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| now < expiry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::operator;

    #[test]
    fn key_is_valid_until_it_expires_or_is_revoked() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let key = ApiKeyRecord::new(KeyHash::from_digest([7; 32]), operator("acme"), at(0));
        assert!(key.is_valid_at(at(i64::from(u32::MAX))));
        let expiring = ApiKeyRecord { expires_at: Some(at(60)), ..key.clone() };
        assert!(expiring.is_valid_at(at(59)) && !expiring.is_valid_at(at(60)));
        assert!(!ApiKeyRecord { revoked_at: Some(at(1)), ..key }.is_valid_at(at(2)));
    }

    #[test]
    fn key_hash_has_64_lower_case_digits_and_is_not_shown() {
        let hash = KeyHash::from_digest([0xab; 32]);
        assert_eq!(hash.as_str().parse().as_ref(), Ok(&hash));
        assert_eq!(format!("{hash:?}"), "KeyHash(…)");
        for text in ["", "ab", &"a".repeat(63), &"a".repeat(65), &"A".repeat(64), &"g".repeat(64)] {
            assert_eq!(text.parse::<KeyHash>(), Err(ParseKeyHashError), "{text}");
        }
    }

    #[test]
    fn name_of_any_script_is_valid_without_control_characters() {
        for text in ["Ann", "Zoë O'Hara-Núñez", "李小龍", "דוד", "علي", &"x".repeat(100)] {
            assert_eq!(text.parse::<PersonName>().map(|name| name.as_str().to_owned()), Ok(text.to_owned()));
        }
        for text in ["", "  ", "a\nb", "a\r\nBcc: x", "a\0", "a\u{85}b", "a\u{2028}b", "a\u{202e}b", "a\u{2067}b"] {
            assert_eq!(text.parse::<PersonName>(), Err(ParsePersonNameError), "{text:?}");
        }
        assert_eq!("x".repeat(101).parse::<PersonName>(), Err(ParsePersonNameError));
    }
}
