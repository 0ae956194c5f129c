//! Who calls: the person or program behind an API key.

use std::fmt;
use std::str::FromStr;

use crate::email::EmailAddress;
use crate::hex;
use crate::id::TenantId;
use crate::layout::is_layout;
use crate::time::Timestamp;

/// What kind of client a key belongs to, as `dj-client` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientType {
    /// Runs the marketplace. Only operators may use exports.
    Operator,
    /// Buys on the marketplace.
    Account,
    /// Sells on the marketplace.
    Supplier,
}

impl ClientType {
    /// The name in headers and records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "OPERATOR",
            Self::Account => "ACCOUNT",
            Self::Supplier => "SUPPLIER",
        }
    }
}

/// The text names no client type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a client type: OPERATOR, ACCOUNT or SUPPLIER")]
pub struct NotAClientType;

impl FromStr for ClientType {
    type Err = NotAClientType;

    fn from_str(text: &str) -> Result<Self, NotAClientType> {
        [Self::Operator, Self::Account, Self::Supplier]
            .into_iter()
            .find(|client| client.as_str() == text)
            .ok_or(NotAClientType)
    }
}

/// A person's name as it appears in mails and on the page: 1 to 100 characters, none of which ends a line or turns the
/// direction of what stands beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonName(String);

/// The text is not a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a name has 1 to 100 characters, no control characters, and is not blank")]
pub struct NotAPersonName;

impl PersonName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PersonName {
    type Err = NotAPersonName;

    fn from_str(text: &str) -> Result<Self, NotAPersonName> {
        let name = text.trim();
        if (1..=100).contains(&name.chars().count()) && !name.chars().any(is_layout) {
            Ok(Self(name.to_owned()))
        } else {
            Err(NotAPersonName)
        }
    }
}

/// A user of the back office.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// Where mails for this user go.
    pub email: EmailAddress,
    /// How the user is called.
    pub name: PersonName,
}

/// The caller that an API key stands for: the connected user, and the tenant whose data is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The only tenant this caller sees.
    pub tenant: TenantId,
    /// The kind of client.
    pub client: ClientType,
    /// The connected user.
    pub user: Person,
}

/// An API key's hash: 64 lower-case hexadecimal digits of the SHA-256 of the key. The key itself is stored nowhere.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KeyHash(String);

impl KeyHash {
    /// The hash whose 32 bytes these are.
    #[must_use]
    pub fn from_digest(digest: [u8; 32]) -> Self {
        Self(hex::digits(&digest))
    }

    /// The hash as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is no hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the hash of a key: 64 lower-case hexadecimal digits")]
pub struct NotAKeyHash;

impl FromStr for KeyHash {
    type Err = NotAKeyHash;

    fn from_str(text: &str) -> Result<Self, NotAKeyHash> {
        let digits = text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if digits { Ok(Self(text.to_owned())) } else { Err(NotAKeyHash) }
    }
}

impl fmt::Debug for KeyHash {
    /// A hash is as good as its key to whoever can guess keys: logs do not get it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(…)")
    }
}

/// What is stored of an API key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKeyRecord {
    /// Which key.
    pub hash: KeyHash,
    /// Whom it stands for.
    pub caller: Caller,
    /// When it was issued.
    pub created_at: Timestamp,
    /// Since when it opens nothing any more.
    pub revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_in_any_script_is_taken_and_one_with_layout_in_it_refused() {
        for text in ["Ann", "Zoë O'Hara-Núñez", "李小龍", "דוד", "علي", &"x".repeat(100)] {
            assert_eq!(text.parse::<PersonName>().map(|name| name.as_str().to_owned()), Ok(text.to_owned()));
        }
        for text in ["", "  ", "a\nb", "a\r\nBcc: x", "a\0", "a\u{85}b", "a\u{2028}b", "a\u{202e}b", "a\u{2067}b"] {
            assert_eq!(text.parse::<PersonName>(), Err(NotAPersonName), "{text:?}");
        }
        assert_eq!("x".repeat(101).parse::<PersonName>(), Err(NotAPersonName));
    }
}
