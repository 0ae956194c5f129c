//! Where the back office's page is, for mails to lead there.

use std::fmt;
use std::str::FromStr;

use crate::email::check_domain;

/// How long the URL may be: a line of a mail.
const MOST_LETTERS: usize = 300;

/// The address of the page: `https://host`, with a port and a path if need be. Plain `http` only for this machine.
///
/// Nothing else is let through, because it stands in mails: no user's name that makes another host look like this one,
/// no query, and no letter that ends a link in a mail program or an attribute in HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackOfficeUrl(String);

/// The text is no such URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the URL of a page, such as https://back-office.example.com/payouts")]
pub struct NotAPage;

impl FromStr for BackOfficeUrl {
    type Err = NotAPage;

    fn from_str(text: &str) -> Result<Self, NotAPage> {
        let (scheme, rest) = text.split_once("://").ok_or(NotAPage)?;
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let host_is_good = match scheme {
            "https" => check_domain(host).is_ok(),
            "http" => host == "localhost" || host == "127.0.0.1",
            _ => false,
        };
        let port_is_good = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let path_is_good =
            |path: &str| path.is_empty() || path.strip_suffix('/').unwrap_or(path).split('/').all(segment_is_good);
        let good = host_is_good && port.is_none_or(port_is_good) && path.is_none_or(path_is_good);
        if good && text.len() <= MOST_LETTERS { Ok(Self(text.to_owned())) } else { Err(NotAPage) }
    }
}

fn segment_is_good(segment: &str) -> bool {
    // No dot at its beginning: `..` would lead out of the path.
    !segment.is_empty()
        && !segment.starts_with('.')
        && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"._~-".contains(&b))
}

impl fmt::Display for BackOfficeUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The template's pattern is held to the same values.
    const VALUES: &str = include_str!("../../../tests/contract/back_office_urls.json");

    fn values(which: &str) -> Vec<String> {
        let all: serde_json::Value = serde_json::from_str(VALUES).unwrap();
        all[which].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn page_is_https_or_on_this_machine_and_stays_as_it_was_given() {
        for text in values("pages") {
            assert_eq!(text.parse::<BackOfficeUrl>().map(|url| url.to_string()), Ok(text));
        }
    }

    #[test]
    fn anything_that_would_lead_elsewhere_or_break_a_mail_is_refused() {
        for text in values("refused") {
            assert_eq!(text.parse::<BackOfficeUrl>(), Err(NotAPage), "{text:?}");
        }
        let long = format!("https://a.example/{}", "a/".repeat(MOST_LETTERS / 2));
        assert_eq!(long.parse::<BackOfficeUrl>(), Err(NotAPage));
    }
}
