//! The domain of exports: their types, life cycle, file format, e-mails and ports.
//!
//! This crate holds the product's rules. It must not know AWS, HTTP or an async runtime. All other crates of the
//! workspace may depend on it, and it depends on none of them.
//!
//! | module | contents |
//! |---|---|
//! | [`id`], [`email`], [`money`], [`time`], [`time_bound`] | value types, validated when parsed |
//! | [`caller`] | the caller of the API, and API key records |
//! | [`export`], [`failure`] | the record of an export; why it failed |
//! | [`options`], [`filter`] | its options: the rows to include and the format of the file |
//! | [`lifecycle`] | the state machine: every transition of that record |
//! | [`history`], [`idempotency`] | filters and pages of the history; repeated requests |
//! | [`failure_mail`] | the mail to the requester of a failed export |
//! | [`export_type`] | the export types, one definition each: columns, row statuses, words |
//! | [`row`], [`row_selection`] | a row as read; the rows of a file |
//! | [`row_encoder`], [`csv_encoder`], [`sheet`] | checks rows, and makes lines of CSV or cells of a worksheet of them |
//! | [`invalid_rows`], [`totals`] | rows that cannot be written; control totals |
//! | [`file`](mod@file), [`checkpoint`] | a finished file; an unfinished one |
//! | [`mail`], [`summary`], [`csv_advice`] | the e-mails; an export's filter in words; how to open a CSV file |
//! | [`back_office`] | the back-office URL |
//! | [`ports`], [`error`] | traits for everything outside the process, and their error |
//! | [`fields`], [`hex`] | helpers: JSON fields, hexadecimal text |
//! | `invariants`, `testing` (feature `testing`) | the invariants of the whole system, with a checker; in-memory ports |

pub mod back_office;
pub mod caller;
pub mod checkpoint;
mod control_chars;
pub mod csv_advice;
pub mod csv_encoder;
pub mod email;
pub mod error;
pub mod export;
pub mod export_type;
pub mod failure;
pub mod failure_mail;
pub mod fields;
pub mod file;
pub mod filter;
pub mod hex;
pub mod history;
pub mod id;
pub mod idempotency;
pub mod invalid_rows;
#[cfg(feature = "testing")]
pub mod invariants;
pub mod lifecycle;
pub mod mail;
pub mod money;
pub mod options;
pub mod ports;
pub mod row;
pub mod row_encoder;
pub mod row_selection;
pub mod sheet;
pub mod summary;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
pub mod time_bound;
pub mod totals;
pub mod unfinished_file;
