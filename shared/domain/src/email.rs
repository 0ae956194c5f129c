//! E-mail addresses and who gets an export's mail.

use std::fmt;
use std::str::FromStr;

/// An address that SES accepts for its form: `local@domain` in ASCII.
///
/// The rules are narrower than RFC 5321 where mail systems are: the local part is dot-atoms of up to 64 characters (no
/// quotes, no comments, no escapes), the domain at least two labels of letters, digits and inner hyphens, the last label
/// not a number, and all of it 254 characters at most (RFC 5321, 4.5.3.1.3: a path of 256 has two angle brackets). A domain in another script is written in its `xn--` form, because
/// the local part must be ASCII anyway (SES refuses others) and the reader should see what is sent. Surrounding white
/// space is dropped; the address keeps its letters' case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EmailAddress(String);

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEmailAddress {
    /// Nothing there.
    #[error("the address is empty")]
    Empty,
    /// A list where one address belongs.
    #[error("one address a value: separate addresses by using several values")]
    Several,
    /// `Name <address>`.
    #[error("only the address itself, without a display name or angle brackets")]
    DisplayName,
    /// No `@`, or more than one.
    #[error("an address has exactly one '@'")]
    At,
    /// Letters that SES refuses before the `@`.
    #[error("the part before '@' may only have ASCII characters")]
    LocalNotAscii,
    /// The local part is empty or too long.
    #[error("the part before '@' has 1 to 64 characters")]
    LocalLength,
    /// The local part has a character or a dot where it may not.
    #[error("the part before '@' has letters, digits and !#$%&'*+/=?^_`{{|}}~- with single dots between them")]
    LocalForm,
    /// A domain in another script.
    #[error("a domain with non-ASCII letters is written in its ASCII form (xn--…)")]
    DomainNotAscii,
    /// More characters than mail systems carry.
    #[error("an address has at most 254 characters")]
    Length,
    /// The domain is not a host name.
    #[error("the part after '@' is not a domain name such as example.com")]
    DomainForm,
}

/// How many characters an address may have.
const MOST_CHARACTERS: usize = 254;

impl EmailAddress {
    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands after the `@`.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.0.rsplit_once('@').map_or("", |(_, domain)| domain)
    }

    /// Whether mail to both reaches the same mailbox, for all a sender can know: letters' case is ignored.
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
    type Err = NotAnEmailAddress;

    fn from_str(text: &str) -> Result<Self, NotAnEmailAddress> {
        let text = text.trim_matches([' ', '\t']);
        if text.is_empty() {
            return Err(NotAnEmailAddress::Empty);
        }
        if text.contains([',', ';']) {
            return Err(NotAnEmailAddress::Several);
        }
        if text.contains(['<', '>']) {
            return Err(NotAnEmailAddress::DisplayName);
        }
        let (local, domain) = text.split_once('@').ok_or(NotAnEmailAddress::At)?;
        if domain.contains('@') {
            return Err(NotAnEmailAddress::At);
        }
        check_local(local)?;
        check_domain(domain)?;
        if text.len() > MOST_CHARACTERS {
            return Err(NotAnEmailAddress::Length);
        }
        Ok(Self(text.to_owned()))
    }
}

fn check_local(local: &str) -> Result<(), NotAnEmailAddress> {
    if !local.is_ascii() {
        return Err(NotAnEmailAddress::LocalNotAscii);
    }
    if !(1..=64).contains(&local.len()) {
        return Err(NotAnEmailAddress::LocalLength);
    }
    let atext = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b);
    let atoms_are_good = local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(atext));
    if atoms_are_good { Ok(()) } else { Err(NotAnEmailAddress::LocalForm) }
}

pub(crate) fn check_domain(domain: &str) -> Result<(), NotAnEmailAddress> {
    if !domain.is_ascii() {
        return Err(NotAnEmailAddress::DomainNotAscii);
    }
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let (_, top) = domain.rsplit_once('.').ok_or(NotAnEmailAddress::DomainForm)?;
    let good = domain.split('.').all(label_is_good) && !top.bytes().all(|b| b.is_ascii_digit());
    if good { Ok(()) } else { Err(NotAnEmailAddress::DomainForm) }
}

/// The domains that copies may go to; all of them unless some are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedDomains(Vec<String>);

/// The text is no list of domains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of domains such as example.com,example.org")]
pub struct NotDomains;

impl AllowedDomains {
    /// Whether mail may go to this address. A domain does not stand for those below it.
    #[must_use]
    pub fn allow(&self, address: &EmailAddress) -> bool {
        self.0.is_empty() || self.0.iter().any(|domain| domain.eq_ignore_ascii_case(address.domain()))
    }
}

impl FromStr for AllowedDomains {
    type Err = NotDomains;

    fn from_str(text: &str) -> Result<Self, NotDomains> {
        let domains = text.split(',').map(str::trim);
        let checked = domains.map(|domain| check_domain(domain).map(|()| domain.to_owned()));
        checked.collect::<Result<_, _>>().map(Self).map_err(|_| NotDomains)
    }
}

/// Who gets an export's mail: the main recipient, and copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipients {
    to: EmailAddress,
    cc: Vec<EmailAddress>,
}

/// More copies than one mail can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at most {} CC addresses, not {given}", Recipients::MAX_CC)]
pub struct TooManyCc {
    /// How many different CC addresses were given.
    pub given: usize,
}

impl Recipients {
    /// How many CC addresses a mail can have: SES takes 50 recipients, and one is the main recipient.
    pub const MAX_CC: usize = 49;

    /// The main recipient and the copies, in the order given; an address that is there already, the main recipient's
    /// included, is dropped without regard to case.
    ///
    /// # Errors
    /// [`TooManyCc`] if more than [`Self::MAX_CC`] addresses are left.
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

    /// One recipient and no copies.
    #[must_use]
    pub const fn only(to: EmailAddress) -> Self {
        Self { to, cc: Vec::new() }
    }

    /// The main recipient.
    #[must_use]
    pub const fn to(&self) -> &EmailAddress {
        &self.to
    }

    /// The copies.
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
    fn address_of_good_form_is_accepted() {
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
    fn address_of_bad_form_is_refused_with_the_reason() {
        use NotAnEmailAddress::*;
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
    fn domains_allow_their_own_addresses_and_none_below_or_like_them() {
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
    fn text_that_is_no_list_of_domains_is_refused() {
        for text in ["", "example", "example.com,", "@example.com", "*.example.com", "example.com;example.org"] {
            assert_eq!(text.parse::<AllowedDomains>(), Err(NotDomains), "{text:?}");
        }
    }

    #[test]
    fn recipients_drop_repeated_addresses_without_regard_to_case() {
        let cc = ["B@x.com", "a@x.com", "b@X.com", "c@x.com", "C@x.com"].map(address);
        let recipients = Recipients::new(address("A@x.com"), cc).unwrap();
        assert_eq!(recipients.cc(), ["B@x.com", "c@x.com"].map(address));
    }

    #[test]
    fn recipients_beyond_49_copies_are_refused() {
        let cc = |n: usize| (0..n).map(|i| address(&format!("cc{i}@example.com")));
        assert_eq!(Recipients::new(address("a@example.com"), cc(49)).unwrap().cc().len(), 49);
        assert_eq!(Recipients::new(address("a@example.com"), cc(50)), Err(TooManyCc { given: 50 }));
        assert_eq!(Recipients::new(address("cc0@example.com"), cc(50)).unwrap().cc().len(), 49);
    }

    proptest! {
        #[test]
        fn accepted_addresses_are_plain_ascii_without_header_characters(text in ".{0,80}@?.{0,80}") {
            if let Ok(address) = text.parse::<EmailAddress>() {
                let good = |b: u8| b.is_ascii_graphic() && !b"\"(),:;<>[]\\".contains(&b);
                prop_assert!(address.as_str().bytes().all(good));
                prop_assert_eq!(address.as_str().matches('@').count(), 1);
                prop_assert!(address.as_str().len() <= MOST_CHARACTERS);
                prop_assert_eq!(address.as_str().parse::<EmailAddress>(), Ok(address));
            }
        }

        #[test]
        fn addresses_built_from_the_grammar_are_accepted(
            text in "[a-z0-9!#$%&'*+/=?^_`{|}~-]{1,20}(\\.[a-z0-9+]{1,10}){0,3}@([a-z0-9]{1,10}\\.){1,3}[a-z]{2,8}",
        ) {
            prop_assert!(text.parse::<EmailAddress>().is_ok());
        }
    }
}
