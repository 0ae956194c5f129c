//! The URL of the back office, for links in e-mails.

use std::fmt;
use std::str::FromStr;

use crate::email::check_domain;

/// The longest URL, so that it fits on a line of an e-mail.
const MAX_LENGTH: usize = 300;

/// The URL of the back office: `https://host[:port][/path]`. Plain `http` is valid for localhost only.
///
/// The grammar is narrow because the URL appears in e-mails: no user name, which could disguise another host, no query,
/// and no character that ends a link in an e-mail client or an attribute in HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackOfficeUrl(String);

/// The text is not such a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a back-office URL such as https://back-office.example.com/payouts")]
pub struct ParseBackOfficeUrlError;

impl FromStr for BackOfficeUrl {
    type Err = ParseBackOfficeUrlError;

    fn from_str(text: &str) -> Result<Self, ParseBackOfficeUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(ParseBackOfficeUrlError)?;
        let (authority, path) = rest.split_once('/').map_or((rest, None), |(authority, path)| (authority, Some(path)));
        let (host, port) = authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)));
        let is_valid_host = match scheme {
            "https" => check_domain(host).is_ok(),
            "http" => host == "localhost" || host == "127.0.0.1",
            _ => false,
        };
        let is_valid_port = |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok();
        let is_valid_path =
            |path: &str| path.is_empty() || path.strip_suffix('/').unwrap_or(path).split('/').all(is_valid_segment);
        let is_valid = is_valid_host && port.is_none_or(is_valid_port) && path.is_none_or(is_valid_path);
        if is_valid && text.len() <= MAX_LENGTH { Ok(Self(text.to_owned())) } else { Err(ParseBackOfficeUrlError) }
    }
}

fn is_valid_segment(segment: &str) -> bool {
    // Without a leading dot: `..` would lead out of the path.
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

    /// The test of the template's pattern uses the same values.
    const VALUES: &str = include_str!("../../../tests/contract/back_office_urls.json");

    fn values(which: &str) -> Vec<String> {
        let all: serde_json::Value = serde_json::from_str(VALUES).unwrap();
        all[which].as_array().unwrap().iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn valid_url_is_kept_as_given() {
        for text in values("pages") {
            assert_eq!(text.parse::<BackOfficeUrl>().map(|url| url.to_string()), Ok(text));
        }
    }

    #[test]
    fn ambiguous_or_unsafe_url_is_rejected() {
        for text in values("rejected") {
            assert_eq!(text.parse::<BackOfficeUrl>(), Err(ParseBackOfficeUrlError), "{text:?}");
        }
        let long = format!("https://a.example/{}", "a/".repeat(MAX_LENGTH / 2));
        assert_eq!(long.parse::<BackOfficeUrl>(), Err(ParseBackOfficeUrlError));
    }
}
