//! The record of an export.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::caller::{Caller, Person};
use crate::email::Recipients;
use crate::export_type::FileColumns;
use crate::failure::{Failure, FailureCode};
use crate::file::ExportFile;
use crate::id::{ExportId, TenantId};
use crate::options::ExportOptions;
use crate::ports::KeyRange;
use crate::row_selection::RowSelection;
use crate::time::Timestamp;

/// The status of an export.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    strum::Display,
    strum::EnumString,
    strum::IntoStaticStr,
    strum::VariantArray,
)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
#[strum(parse_err_ty = ParseStatusError, parse_err_fn = ParseStatusError::new)]
pub enum Status {
    /// Accepted and not finished.
    Pending,
    /// The file is generated **and** the e-mail was accepted.
    Ready,
    /// Could not be finished.
    Failed,
    /// Was ready, and its link has expired.
    Expired,
}

impl Status {
    /// All statuses.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// The name in records and responses.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The text is not an export status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be PENDING, READY, FAILED or EXPIRED")]
pub struct ParseStatusError;

impl ParseStatusError {
    const fn new(_: &str) -> Self {
        Self
    }
}

/// The settings that an export was accepted with. They are frozen on its record, so that a deployment does not change
/// pending exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExportSettings {
    /// Whether the file starts with a byte-order mark.
    pub byte_order_mark: bool,
    /// The lifetime of the link in the e-mail, at most [`Self::MAX_LINK_LIFETIME`].
    pub link_lifetime: Duration,
    /// How long the file is kept once it is complete.
    pub file_retention: Duration,
    /// How long the export can be pending: from its acceptance to its deadline.
    pub time_limit: Duration,
    /// How long the record is kept after its acceptance; `None` for ever.
    pub history_retention: Option<Duration>,
}

impl ExportSettings {
    /// The longest lifetime of a presigned URL (AWS Signature Version 4).
    pub const MAX_LINK_LIFETIME: Duration = Duration::from_secs(7 * 24 * 3600);

    /// The settings for new exports, without a history retention. `link_lifetime` is capped at
    /// [`Self::MAX_LINK_LIFETIME`].
    #[must_use]
    pub fn new(link_lifetime: Duration, file_retention: Duration, time_limit: Duration, byte_order_mark: bool) -> Self {
        let link_lifetime = link_lifetime.min(Self::MAX_LINK_LIFETIME);
        Self { byte_order_mark, link_lifetime, file_retention, time_limit, history_retention: None }
    }

    /// The same settings with this history retention.
    #[must_use]
    pub const fn with_history_retention(self, history_retention: Option<Duration>) -> Self {
        Self { history_retention, ..self }
    }
}

/// The exclusive right to work on an export until it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The request id of the invocation that owns the export.
    pub owner: String,
    /// When it expires.
    pub until: Timestamp,
}

/// How far the work on a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The number of rows read.
    pub rows_read: u64,
    /// The number of rows written.
    pub rows_written: u64,
}

/// The state of an export, with the data that it has in this state only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// [`Status::Pending`].
    Pending(Pending),
    /// [`Status::Ready`].
    Ready {
        /// The file.
        file: ExportFile,
        /// The expiry of the latest link in an e-mail.
        link_expires_at: Timestamp,
    },
    /// [`Status::Failed`].
    Failed {
        /// Why it failed.
        failure: Failure,
        /// The file, if it was complete.
        file: Option<ExportFile>,
    },
    /// [`Status::Expired`].
    Expired {
        /// The file.
        file: ExportFile,
        /// The expiry of the latest link in an e-mail.
        link_expires_at: Timestamp,
    },
}

/// The work on a pending export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The lease, if any; it may have expired.
    pub lease: Option<Lease>,
    /// When the sweeper looks again, to re-enqueue or fail the export.
    pub next_check_at: Timestamp,
    /// The earliest time of the attempt that follows the latest error.
    pub retry_at: Option<Timestamp>,
    /// The time of the latest permanent error since the checkpoint last advanced.
    pub permanent_error_at: Option<Timestamp>,
    /// The file, once it is complete: only the e-mail is left to send.
    pub file: Option<ExportFile>,
}

impl Pending {
    /// Whether an owner holds the lease at `now`.
    #[must_use]
    pub fn is_leased_at(&self, now: Timestamp) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.until > now)
    }
}

/// An export: the request, its progress and its outcome.
///
/// The fields are public so that stores can read and build records. Only the steps of [`lifecycle`](crate::lifecycle)
/// change them.
///
/// ```
/// use std::time::Duration;
///
/// use exports_domain::caller::{Caller, ClientType, Person};
/// use exports_domain::email::Recipients;
/// use exports_domain::export::{Export, ExportSettings, Status};
/// use exports_domain::export_type::ExportType;
/// use exports_domain::id::ExportId;
/// use exports_domain::options::ExportOptions;
///
/// let user = Person { email: "ann@example.com".parse()?, name: "Ann".parse()? };
/// let caller = Caller { tenant: "acme".parse()?, client: ClientType::Operator, user };
/// let recipients = Recipients::new(caller.user.email.clone(), ["bob@example.com".parse()?])?;
/// let hours = |hours: u64| Duration::from_secs(hours * 3600);
/// let settings = ExportSettings::new(hours(72), hours(30 * 24), hours(6), false);
/// let id = ExportId::new(ExportType::MarketplacePayouts, "2026-10-08T08:30:00.000Z".parse()?, &[7; 10]);
///
/// let export = Export::accept(id, &caller, recipients, ExportOptions::default(), settings, hours(1));
/// assert_eq!(export.status(), Status::Pending);
/// assert_eq!(export.as_of().to_string(), "2026-10-08T08:30:00.000Z");
/// assert_eq!(export.deadline.to_string(), "2026-10-08T14:30:00.000Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The id, which contains the time of acceptance.
    pub id: ExportId,
    /// The tenant whose rows are exported.
    pub tenant: TenantId,
    /// The requester.
    pub requested_by: Person,
    /// The recipients of the e-mail.
    pub recipients: Recipients,
    /// The filter and the format that it was launched with.
    pub options: ExportOptions,
    /// The columns of its file, which a deployment does not change.
    pub columns: FileColumns,
    /// The settings it was accepted with.
    pub settings: ExportSettings,
    /// The id of the request that launched it, for the logs. `None` if a build that did not record it accepted it.
    pub launch_request_id: Option<String>,
    /// The recorded state. Responses show the status at the [time of the request](Self::status_at).
    pub state: State,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// The time at which it fails if it is still pending.
    pub deadline: Timestamp,
    /// The fencing token of the latest owner: the number of times the lease was acquired.
    pub fencing_token: u64,
    /// The number of times the lease was acquired since the checkpoint last advanced.
    pub attempts: u32,
    /// The number of rows read so far.
    pub rows_read: u64,
    /// The number of rows written so far.
    pub rows_written: u64,
    /// How often the e-mail was resent on each day, by the start of the day (UTC).
    pub resends: BTreeMap<Timestamp, u32>,
}

impl Export {
    /// A new pending export whose next check is `re_enqueue_after` after its acceptance.
    #[must_use]
    pub fn accept(
        id: ExportId,
        caller: &Caller,
        recipients: Recipients,
        options: ExportOptions,
        settings: ExportSettings,
        re_enqueue_after: Duration,
    ) -> Self {
        let now = id.created_at();
        let deadline = now.plus(settings.time_limit);
        Self {
            id,
            tenant: caller.tenant.clone(),
            requested_by: caller.user.clone(),
            recipients,
            options,
            columns: FileColumns::current(id.export_type()),
            settings,
            launch_request_id: None,
            state: State::Pending(Pending {
                lease: None,
                next_check_at: now.plus(re_enqueue_after).min(deadline),
                retry_at: None,
                permanent_error_at: None,
                file: None,
            }),
            updated_at: now,
            deadline,
            fencing_token: 0,
            attempts: 0,
            rows_read: 0,
            rows_written: 0,
            resends: BTreeMap::new(),
        }
    }

    /// The time of acceptance.
    #[must_use]
    pub fn created_at(&self) -> Timestamp {
        self.id.created_at()
    }

    /// When the record of a finished export can be deleted; `None` for never. The record always outlives the file,
    /// which is completed shortly after the deadline at the latest, by an owner whose lease outlives it.
    #[must_use]
    pub fn keep_until(&self) -> Option<Timestamp> {
        const DAY: Duration = Duration::from_secs(86_400);
        let after_file = self.deadline.plus(self.settings.file_retention).plus(DAY);
        self.settings.history_retention.map(|retention| self.created_at().plus(retention).max(after_file))
    }

    /// The time up to which rows are included: those created later are left out.
    #[must_use]
    pub fn as_of(&self) -> Timestamp {
        self.id.created_at()
    }

    /// The last creation time of the rows that are included: the filter's bound, unless it is after [`Self::as_of`].
    #[must_use]
    pub fn created_up_to(&self) -> Timestamp {
        self.options.filter.created_at_to.map_or(self.as_of(), |to| to.min(self.as_of()))
    }

    /// The keys of the rows in the period of the export.
    #[must_use]
    pub fn key_range(&self) -> KeyRange {
        KeyRange::created(self.options.filter.created_at_from, self.created_up_to())
    }

    /// The columns to read of the rows in that period, and the conditions on them.
    #[must_use]
    pub fn row_selection(&self) -> RowSelection {
        RowSelection::of(self.columns, &self.options)
    }

    /// The recorded status.
    #[must_use]
    pub const fn status(&self) -> Status {
        match self.state {
            State::Pending(_) => Status::Pending,
            State::Ready { .. } => Status::Ready,
            State::Failed { .. } => Status::Failed,
            State::Expired { .. } => Status::Expired,
        }
    }

    /// The status at `now`. A ready export is expired as soon as its link is, before the sweeper records it.
    #[must_use]
    pub fn status_at(&self, now: Timestamp) -> Status {
        match self.state {
            State::Ready { link_expires_at, .. } if link_expires_at <= now => Status::Expired,
            _ => self.status(),
        }
    }

    /// The work, if it is pending.
    #[must_use]
    pub const fn pending(&self) -> Option<&Pending> {
        if let State::Pending(pending) = &self.state { Some(pending) } else { None }
    }

    /// The lease, if any; it may have expired.
    #[must_use]
    pub fn lease(&self) -> Option<&Lease> {
        self.pending()?.lease.as_ref()
    }

    /// The file, once it is complete.
    #[must_use]
    pub const fn file(&self) -> Option<&ExportFile> {
        match &self.state {
            State::Ready { file, .. } | State::Expired { file, .. } => Some(file),
            State::Pending(Pending { file, .. }) | State::Failed { file, .. } => file.as_ref(),
        }
    }

    /// The expiry of the latest link in an e-mail, if the export is ready or expired.
    #[must_use]
    pub const fn link_expires_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Ready { link_expires_at, .. } | State::Expired { link_expires_at, .. } => Some(link_expires_at),
            State::Pending(_) | State::Failed { .. } => None,
        }
    }

    /// The failure, if it failed.
    #[must_use]
    pub const fn failure(&self) -> Option<&Failure> {
        if let State::Failed { failure, .. } = &self.state { Some(failure) } else { None }
    }

    /// When the sweeper looks again: at a pending export to re-enqueue or fail it, at a ready one to expire it.
    #[must_use]
    pub const fn next_check_at(&self) -> Option<Timestamp> {
        match self.state {
            State::Pending(Pending { next_check_at, .. }) => Some(next_check_at),
            State::Ready { link_expires_at, .. } => Some(link_expires_at),
            State::Failed { .. } | State::Expired { .. } => None,
        }
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.failure().is_some_and(|failure| failure.code == FailureCode::Cancelled)
    }

    /// Whether it has ended without a file while the owner with this fencing token was its latest. Nothing will refer to
    /// what that owner wrote.
    #[must_use]
    pub fn ended_without_file_under(&self, fencing_token: u64) -> bool {
        matches!(self.state, State::Failed { file: None, .. }) && self.fencing_token == fencing_token
    }
}
