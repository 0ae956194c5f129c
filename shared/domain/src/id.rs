//! The ids of tenants and exports.

use std::fmt;
use std::str::FromStr;

use crate::export_type::ExportType;
use crate::time::Timestamp;

/// A tenant: one marketplace. Comes from an API key's record, never from a request.
///
/// ```
/// use exports_domain::id::TenantId;
///
/// assert!("acme-market_01".parse::<TenantId>().is_ok());
/// assert!("acme/other".parse::<TenantId>().is_err(), "it is part of object keys");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(String);

/// The text is not a tenant id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tenant id has 1 to 64 characters, each a letter, a digit, '-' or '_'")]
pub struct ParseTenantIdError;

impl TenantId {
    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = ParseTenantIdError;

    fn from_str(text: &str) -> Result<Self, ParseTenantIdError> {
        // The id becomes part of table keys, object keys and file names: no separator of theirs may be in it.
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=64).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseTenantIdError)
        }
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An export: `<type's prefix>_<UUID version 7>`, such as `mpo_01a1b2c3-…`.
///
/// The UUID's first 48 bits are the time of acceptance in milliseconds, so that ids sort by it.
///
/// ```
/// use exports_domain::export_type::ExportType;
/// use exports_domain::id::{ExportId, ParseExportIdError};
///
/// let id: ExportId = "mpo_01999999-9999-7999-8999-999999999999".parse()?;
/// assert_eq!(id.export_type(), ExportType::MarketplacePayouts);
/// assert_eq!(id.created_at().to_string(), "2025-09-30T07:50:04.441Z");
/// assert_eq!("01999999-9999-7999-8999-999999999999".parse::<ExportId>(), Err(ParseExportIdError));
/// # Ok::<(), ParseExportIdError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExportId {
    export_type: ExportType,
    uuid: uuid::Uuid,
}

/// The text is not an export id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an export id")]
pub struct ParseExportIdError;

impl ExportId {
    /// A new id for an export accepted at `at`; `random` makes it unique.
    #[must_use]
    pub fn new(export_type: ExportType, at: Timestamp, random: &[u8; 10]) -> Self {
        let millis = u64::try_from(at.millis()).unwrap_or(0);
        let uuid = uuid::Builder::from_unix_timestamp_millis(millis, random).into_uuid();
        Self { export_type, uuid }
    }

    /// The type that the prefix names.
    #[must_use]
    pub const fn export_type(&self) -> ExportType {
        self.export_type
    }

    /// When the export was accepted.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        let (seconds, nanos) = self.uuid.get_timestamp().map_or((0, 0), |at| at.to_unix());
        Timestamp::from_millis(i64::try_from(seconds * 1000 + u64::from(nanos / 1_000_000)).unwrap_or(i64::MAX))
    }

    /// A random byte of the id, to spread exports evenly.
    #[must_use]
    pub fn random_byte(&self) -> u8 {
        self.uuid.as_bytes().last().copied().unwrap_or_default()
    }
}

impl FromStr for ExportId {
    type Err = ParseExportIdError;

    fn from_str(text: &str) -> Result<Self, ParseExportIdError> {
        let (prefix, uuid) = text.split_once('_').ok_or(ParseExportIdError)?;
        let export_type =
            ExportType::ALL.into_iter().find(|t| t.definition().id_prefix == prefix).ok_or(ParseExportIdError)?;
        let uuid = uuid::Uuid::try_parse(uuid).map_err(|_| ParseExportIdError)?;
        let id = Self { export_type, uuid };
        // Only the canonical form is valid: no upper case, no braces, no short form. A UUID of another version or variant,
        // or with a time outside the range of `Timestamp`, would sort outside the range of its time.
        let random = uuid.as_bytes().last_chunk().ok_or(ParseExportIdError)?;
        let is_possible = id == Self::new(export_type, id.created_at(), random);
        if is_possible && id.to_string() == text { Ok(id) } else { Err(ParseExportIdError) }
    }
}

impl fmt::Display for ExportId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.export_type.definition().id_prefix, self.uuid.as_hyphenated())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tenant_id_keeps_separators_out() {
        for text in ["t", "acme-market_01", &"x".repeat(64)] {
            assert_eq!(text.parse::<TenantId>().unwrap().as_str(), text);
        }
        for text in ["", "a/b", "a#b", "a b", "é", "a.b", "a\n", &"x".repeat(65)] {
            assert_eq!(text.parse::<TenantId>(), Err(ParseTenantIdError), "{text}");
        }
    }

    #[test]
    fn export_id_of_another_form_is_rejected() {
        let good = "mpo_01a11f3a-7000-7abc-8def-0123456789ab";
        assert_eq!(good.parse::<ExportId>().unwrap().to_string(), good);
        for text in [
            "",
            "mpo_",
            "01a11f3a-7000-7abc-8def-0123456789ab",
            "xpo_01a11f3a-7000-7abc-8def-0123456789ab",
            "mpo_01A11F3A-7000-7ABC-8DEF-0123456789AB",
            "mpo_01a11f3a70007abc8def0123456789ab",
            "mpo_{01a11f3a-7000-7abc-8def-0123456789ab}",
            "mpo_01a11f3a-7000-4abc-8def-0123456789ab",
            "mpo_01a11f3a-7000-7abc-7def-0123456789ab",
            "mpo_01a11f3a-7000-7abc-fdef-0123456789ab",
            // A millisecond after the year 9999.
            "mpo_e677d21f-dc00-7abc-8def-0123456789ab",
            "mpo_ffffffff-ffff-7abc-8def-0123456789ab",
            "mpo_01a11f3a-7000-7abc-8def-0123456789ab ",
            "mpo_../01a11f3a-7000-7abc-8def-0123456789ab",
        ] {
            assert_eq!(text.parse::<ExportId>(), Err(ParseExportIdError), "{text}");
        }
    }

    proptest! {
        #[test]
        fn export_ids_read_back_and_sort_by_time(
            a in 0..=253_402_300_799_999_i64, b in 0..=253_402_300_799_999_i64, random: [u8; 10],
            export_type in prop::sample::select(ExportType::ALL.to_vec()),
        ) {
            let id = |millis| ExportId::new(export_type, Timestamp::from_millis(millis), &random);
            prop_assert_eq!(id(a).to_string().parse::<ExportId>(), Ok(id(a)));
            prop_assert_eq!(id(a).created_at().millis(), a);
            prop_assert_eq!(id(a).to_string().cmp(&id(b).to_string()), a.cmp(&b));
        }
    }
}
