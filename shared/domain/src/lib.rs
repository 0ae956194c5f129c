//! What an export is and what may happen to it.
//!
//! This crate owns the product's rules: the types, the life cycle, the file's format, the wording of the mails and the
//! ports through which the outside is reached. It must not know AWS, HTTP or an async runtime; everything else in the
//! workspace depends on it, and it depends on none of them.
//!
//! | module | what it decides |
//! |---|---|
//! | [`id`], [`email`], [`money`], [`time`] | the values, parsed on the way in |
//! | [`export`] | the record of an export |
//! | [`lifecycle`] | every transition of that record: the one state machine |
//! | [`hex`] | bytes as text |
//! | [`history`], [`idempotency`] | which exports are listed; requests that come twice |
//! | [`ending`] | ending an export as failed |
//! | [`payout`], [`file`](mod@file), [`checkpoint`] | a payout as it is stored, and as a line of the CSV file; a file half written |
//! | [`mail`], [`back_office`] | what the recipients read, and where it leads them |
//! | [`ports`] | what the functions need from the outside |
//! | `invariants` (feature `testing`) | what holds of the whole system whatever fails, stated and checked |

pub mod back_office;
pub mod caller;
pub mod checkpoint;
pub mod email;
pub mod ending;
pub mod export;
pub mod fields;
pub mod file;
pub mod hex;
pub mod history;
pub mod id;
pub mod idempotency;
#[cfg(feature = "testing")]
pub mod invariants;
mod layout;
pub mod lifecycle;
pub mod mail;
pub mod money;
pub mod payout;
pub mod ports;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
