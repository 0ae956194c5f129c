//! E-mail addresses and the recipients of an export.

use std::fmt;
use std::str::FromStr;

/// An e-mail address in a form that SES accepts: `local@domain` in ASCII.
///
/// The grammar is narrower than RFC 5321, as that of real mail systems is:
/// - The local part is 1 to 64 characters of dot-separated atoms, without quotes, comments or escapes.
/// - The domain has at least two labels of letters, digits and inner hyphens. The last label is not a number.
/// - An international domain must be in its `xn--` form: SES rejects a local part that is not ASCII anyway, and the
///   address is shown exactly as it is sent.
/// - The address has at most 254 characters (RFC 5321, 4.5.3.1.3: 256 for a path, less two angle brackets).
///
/// Surrounding white space is trimmed. Case is preserved.
///
/// ```
/// use exports_domain::email::{EmailAddress, ParseEmailAddressError};
///
/// let address: EmailAddress = " Finance@acme.example ".parse()?;
/// assert_eq!(address.as_str(), "Finance@acme.example");
/// let several = "a@acme.example, b@acme.example".parse::<EmailAddress>();
/// assert_eq!(several, Err(ParseEmailAddressError::Several));
/// # Ok::<(), ParseEmailAddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// Why a text is not a valid e-mail address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseEmailAddressError {
    /// The text is empty or blank.
    #[error("must not be empty")]
    Empty,
    /// More than one address, separated by `,` or `;`.
    #[error("only one address per array element")]
    Several,
    /// A display name, as in `Name <address>`.
    #[error("must be an address only, without a display name or angle brackets")]
    DisplayName,
    /// No `@`, or more than one.
    #[error("an address must have exactly one '@'")]
    At,
    /// The local part is not ASCII, which SES rejects.
    #[error("the part before '@' must be ASCII")]
    LocalNotAscii,
    /// The local part is empty or too long.
    #[error("the part before '@' must have 1 to 64 characters")]
    LocalLength,
    /// The local part has an invalid character or a misplaced dot.
    #[error(
        "the part before '@' must consist of letters, digits and !#$%&'*+/=?^_`{{|}}~- with single dots between them"
    )]
    LocalForm,
    /// The domain is not ASCII.
    #[error("an international domain must be in its ASCII form (xn--…)")]
    DomainNotAscii,
    /// The address is too long.
    #[error("an address must have at most 254 characters")]
    Length,
    /// The domain is not a host name.
    #[error("the part after '@' must be a domain name such as example.com")]
    DomainForm,
}

const MAX_CHARACTERS: usize = 254;

impl EmailAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// Whether both addresses are equal without regard to case, and so presumably name the same mailbox.
    #[must_use]
    pub fn is_same_mailbox(&self, other: &Self) -> bool {
        self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for EmailAddress {
    type Err = ParseEmailAddressError;

    fn from_str(text: &str) -> Result<Self, ParseEmailAddressError> {
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            return Err(ParseEmailAddressError::Empty);
        }
        if text.contains([',', ';']) {
            return Err(ParseEmailAddressError::Several);
        }
        if text.contains(['<', '>']) {
            return Err(ParseEmailAddressError::DisplayName);
        }
        let (local, domain) = text.split_once('@').ok_or(ParseEmailAddressError::At)?;
        if domain.contains('@') {
            return Err(ParseEmailAddressError::At);
        }
        check_local(local)?;
        check_domain(domain)?;
        if text.len() > MAX_CHARACTERS {
            return Err(ParseEmailAddressError::Length);
        }
        Ok(Self(text.to_owned()))
    }
}

fn check_local(local: &str) -> Result<(), ParseEmailAddressError> {
    if !local.is_ascii() {
        return Err(ParseEmailAddressError::LocalNotAscii);
    }
    if !(1..=64).contains(&local.len()) {
        return Err(ParseEmailAddressError::LocalLength);
    }
    let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b);
    let is_valid = local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext));
    if is_valid { Ok(()) } else { Err(ParseEmailAddressError::LocalForm) }
}

pub(crate) fn check_domain(domain: &str) -> Result<(), ParseEmailAddressError> {
    if !domain.is_ascii() {
        return Err(ParseEmailAddressError::DomainNotAscii);
    }
    let is_valid_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (_, top) = domain.rsplit_once('.').ok_or(ParseEmailAddressError::DomainForm)?;
    let is_valid = domain.split('.').all(is_valid_label) && !top.bytes().all(|b| b.is_ascii_digit());
    if is_valid { Ok(()) } else { Err(ParseEmailAddressError::DomainForm) }
}

/// The domains that CC recipients may have. Empty allows all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedDomains(Vec<String>);

/// The text is not a list of domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be a comma-separated list of domains such as example.com,example.org")]
pub struct ParseDomainsError;

impl AllowedDomains {
    /// Whether the domain of `address` is allowed. An allowed domain does not include its subdomains.
    #[must_use]
    pub fn allow(&self, address: &EmailAddress) -> bool {
        self.0.is_empty() || self.0.iter().any(|domain| domain.eq_ignore_ascii_case(address.domain()))
    }
}

impl FromStr for AllowedDomains {
    type Err = ParseDomainsError;

    fn from_str(text: &str) -> Result<Self, ParseDomainsError> {
        let domains = text.split(',').map(str::trim);
        let checked = domains.map(|domain| check_domain(domain).map(|()| domain.to_owned()));
        checked.collect::<Result<_, _>>().map(Self).map_err(|_| ParseDomainsError)
    }
}

/// The recipients of an export's e-mail: the main recipient and up to [`Self::MAX_CC`] CC recipients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    to: EmailAddress,
    cc: Vec<EmailAddress>,
}

/// There are too many CC recipients for one e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {} CC recipients are allowed, not {given}", Recipients::MAX_CC)]
pub struct TooManyCc {
    /// The number of distinct CC recipients in the request.
    pub given: usize,
}

impl Recipients {
    /// The most CC recipients: SES allows 50 recipients per message, including the main recipient.
    pub const MAX_CC: usize = 49;

    /// The recipients, in the given order. Duplicates in `cc`, including the main recipient, are dropped without regard
    /// to case.
    ///
    /// # Errors
    /// [`TooManyCc`] if more than [`Self::MAX_CC`] CC recipients remain.
    pub fn new(to: EmailAddress, cc: impl IntoIterator<Item = EmailAddress>) -> Result<Self, TooManyCc> {
        let mut kept: Vec<EmailAddress> = Vec::new();
        for address in cc {
            if !address.is_same_mailbox(&to) && !kept.iter().any(|known| known.is_same_mailbox(&address)) {
                kept.push(address);
            }
        }
        if kept.len() > Self::MAX_CC {
            return Err(TooManyCc { given: kept.len() });
        }
        Ok(Self { to, cc: kept })
    }

    /// A single recipient without CC.
    #[must_use]
    pub const fn only(to: EmailAddress) -> Self {
        Self { to, cc: Vec::new() }
    }

    /// The main recipient.
    #[must_use]
    pub const fn to(&self) -> &EmailAddress {
        &self.to
    }

    /// The CC recipients.
    #[must_use]
    pub fn cc(&self) -> &[EmailAddress] {
        &self.cc
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> EmailAddress {
        text.parse().unwrap()
    }

    #[test]
    fn valid_address_is_accepted() {
        let local_64 = format!("{}@example.com", "x".repeat(64));
        let address_254 = format!("{}@{}.example", "x".repeat(60), vec!["x".repeat(30); 6].join("."));
        assert_eq!(address_254.len(), 254);
        for text in [
            "a@b.c",
            "finance+payouts@example.com",
            "o'brien@example.com",
            "first.last@sub.example.co.uk",
            "{curly}|pipe@example.com",
            "a@xn--bcher-kva.example",
            "a@1and1.com",
            local_64.as_str(),
            address_254.as_str(),
        ] {
            assert_eq!(text.parse::<EmailAddress>().map(|a| a.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(address("  A.b@Example.COM\t").as_str(), "A.b@Example.COM");
    }

    #[test]
    fn invalid_address_is_rejected_with_the_reason() {
        use ParseEmailAddressError::*;
        let local_65 = format!("{}@example.com", "x".repeat(65));
        let label_64 = format!("a@{}.com", "x".repeat(64));
        let address_255 = format!("{}@{}.example", "x".repeat(61), vec!["x".repeat(30); 6].join("."));
        assert_eq!(address_255.len(), 255);
        for (text, reason) in [
            ("", Empty),
            ("  ", Empty),
            ("a@b.com,c@d.com", Several),
            ("a@b.com;c@d.com", Several),
            ("A <a@b.com>", DisplayName),
            ("<a@b.com>", DisplayName),
            ("a", At),
            ("a@b@c.com", At),
            ("@b.com", LocalLength),
            (local_65.as_str(), LocalLength),
            ("é@b.com", LocalNotAscii),
            ("a b@c.com", LocalForm),
            (".a@b.com", LocalForm),
            ("a.@b.com", LocalForm),
            ("a..b@c.com", LocalForm),
            ("\"a b\"@c.com", LocalForm),
            ("\"ab\"@c.com", LocalForm),
            ("a\n@b.com", LocalForm),
            ("a@bücher.example", DomainNotAscii),
            ("a@b", DomainForm),
            ("a@b.com.", DomainForm),
            ("a@.com", DomainForm),
            ("a@-b.com", DomainForm),
            ("a@b-.com", DomainForm),
            ("a@b_c.com", DomainForm),
            ("a@[127.0.0.1]", DomainForm),
            ("a@127.0.0.1", DomainForm),
            ("a@b.com\n", DomainForm),
            ("a@b.com\r\nBcc: x", DomainForm),
            (label_64.as_str(), DomainForm),
            (address_255.as_str(), Length),
        ] {
            assert_eq!(text.parse::<EmailAddress>(), Err(reason), "{text:?}");
        }
    }

    #[test]
    fn allowed_domain_excludes_subdomains_and_lookalikes() {
        let domains: AllowedDomains = "example.com, Example.ORG".parse().unwrap();
        for text in ["a@example.com", "a@EXAMPLE.com", "b@example.org"] {
            assert!(domains.allow(&address(text)), "{text}");
        }
        for text in ["a@sub.example.com", "a@badexample.com", "a@example.com.evil.net", "a@example.co"] {
            assert!(!domains.allow(&address(text)), "{text}");
        }
        assert!(AllowedDomains::default().allow(&address("a@anything.example")));
    }

    #[test]
    fn invalid_domain_list_is_rejected() {
        for text in ["", "example", "example.com,", "@example.com", "*.example.com", "example.com;example.org"] {
            assert_eq!(text.parse::<AllowedDomains>(), Err(ParseDomainsError), "{text:?}");
        }
    }

    #[test]
    fn recipients_drop_duplicates_without_regard_to_case() {
        let cc = ["B@x.com", "a@x.com", "b@X.com", "c@x.com", "C@x.com"].map(address);
        let recipients = Recipients::new(address("A@x.com"), cc).unwrap();
        assert_eq!(recipients.cc(), ["B@x.com", "c@x.com"].map(address));
    }

    #[test]
    fn recipients_have_at_most_49_cc() {
        let cc = |n: usize| (0..n).map(|i| address(&format!("cc{i}@example.com")));
        assert_eq!(Recipients::new(address("a@example.com"), cc(49)).unwrap().cc().len(), 49);
        assert_eq!(Recipients::new(address("a@example.com"), cc(50)), Err(TooManyCc { given: 50 }));
        assert_eq!(Recipients::new(address("cc0@example.com"), cc(50)).unwrap().cc().len(), 49);
    }

    proptest! {
        #[test]
        fn accepted_address_is_ascii_without_header_characters(text in ".{0,80}@?.{0,80}") {
            if let Ok(address) = text.parse::<EmailAddress>() {
                let is_plain = |b: u8| b.is_ascii_graphic() && !b"\"(),:;<>[]\\".contains(&b);
                prop_assert!(address.as_str().bytes().all(is_plain));
                prop_assert_eq!(address.as_str().matches('@').count(), 1);
                prop_assert!(address.as_str().len() <= MAX_CHARACTERS);
                prop_assert_eq!(address.as_str().parse::<EmailAddress>(), Ok(address));
            }
        }

        #[test]
        fn address_generated_from_the_grammar_is_accepted(
            text in "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9+]{1,10}){0,3}@([a-z0-9]{1,10}\\.){1,3}[a-z]{2,8}",
        ) {
            prop_assert!(text.parse::<EmailAddress>().is_ok());
        }
    }
}
