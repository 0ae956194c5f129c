//! Translates life cycle steps to conditional updates: each guard becomes a condition, each change a clause.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::export::Status;
use exports_domain::id::ExportId;
use exports_domain::lifecycle::{Change, Guard, Step};
use exports_domain::time::Timestamp;

use super::item::{number, text};
use super::record::{
    KEEP_UNTIL, NEXT_CHECK_AT, NEXT_CHECK_STATE, PERMANENT_ERROR_AT, RETRY_AT, TTL, cc_value, failure_value,
    file_value, next_check_state, resends_name,
};

const LEASE: [&str; 2] = ["leaseHolder", "leaseUntil"];
const NEXT_CHECK: [&str; 2] = [NEXT_CHECK_AT, NEXT_CHECK_STATE];

/// The parameters of an UpdateItem of a record.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Update {
    conditions: Vec<String>,
    sets: Vec<String>,
    removes: Vec<String>,
    adds: Vec<String>,
    /// Expression attribute names. Every name has a placeholder, because it may be a reserved word.
    pub names: HashMap<String, String>,
    /// Expression attribute values, `:v0`, `:v1`, …
    pub values: HashMap<String, AttributeValue>,
}

impl Update {
    /// The update that applies `step` to the record of export `id`.
    pub(super) fn of(id: &ExportId, step: &Step) -> Self {
        let mut update = Self::default();
        for guard in &step.guards {
            update.require(guard);
        }
        for change in &step.changes {
            update.write(id, change);
        }
        if step.leaves_pending() {
            update.set_ttl();
        }
        update
    }

    /// Lets DynamoDB delete the record when its retention ends. It ignores a `ttl` that is not a number.
    fn set_ttl(&mut self) {
        let keep_until = self.name(KEEP_UNTIL);
        let never = self.value(AttributeValue::Null(true));
        let clause = format!("{} = if_not_exists({keep_until}, {never})", self.name(TTL));
        self.sets.push(clause);
    }

    pub(super) fn condition(&self) -> String {
        self.conditions.join(" AND ")
    }

    pub(super) fn expression(&self) -> String {
        [("SET", &self.sets), ("REMOVE", &self.removes), ("ADD", &self.adds)]
            .into_iter()
            .filter(|(_, clauses)| !clauses.is_empty())
            .map(|(keyword, clauses)| format!("{keyword} {}", clauses.join(", ")))
            .collect::<Vec<_>>()
            .join(" ")
    }

    fn require(&mut self, guard: &Guard) {
        let condition = match guard {
            Guard::StatusIs(status) => self.compare("status", "=", text(status)),
            Guard::NotPending => self.compare("status", "<>", text(Status::Pending)),
            Guard::FencingTokenIs(fencing_token) => self.compare("fencingToken", "=", number(fencing_token)),
            Guard::Leased => format!("attribute_exists({})", self.name("leaseUntil")),
            Guard::LeaseExpiredAt(now) => {
                let over = self.compare("leaseUntil", "<=", text(now));
                format!("(attribute_not_exists(#leaseUntil) OR {over})")
            }
            Guard::AttemptsBelow(max) => self.compare("attempts", "<", number(max)),
            Guard::AttemptsAtLeast(min) => self.compare("attempts", ">=", number(min)),
            Guard::RowsReadAtMost(rows) => self.compare("rowsRead", "<=", number(rows)),
            Guard::DeadlineAfter(now) => self.compare("deadline", ">", text(now)),
            Guard::DeadlinePassedAt(now) => self.compare("deadline", "<=", text(now)),
            Guard::FileRecorded => format!("attribute_exists({})", self.name("file")),
            Guard::NoFileRecorded => format!("attribute_not_exists({})", self.name("file")),
            Guard::LinkExpiryIs(end) => self.compare("linkExpiresAt", "=", text(end)),
            Guard::LinkExpiryBefore(end) => {
                let before = self.compare("linkExpiresAt", "<", text(end));
                format!("(attribute_not_exists(#linkExpiresAt) OR {before})")
            }
            Guard::ResendsBelow { day, limit } => {
                let (resends, limit) = (self.resends(*day), self.value(number(limit)));
                format!("(attribute_not_exists({resends}) OR {resends} < {limit})")
            }
            Guard::NextCheckIs(at) => self.compare(NEXT_CHECK_AT, "=", text(at)),
            Guard::RetryAtIs(None) => format!("attribute_not_exists({})", self.name(RETRY_AT)),
            Guard::RetryAtIs(Some(at)) => self.compare(RETRY_AT, "=", text(at)),
        };
        self.conditions.push(condition);
    }

    fn write(&mut self, id: &ExportId, change: &Change) {
        match change {
            Change::UpdatedAt(now) => self.set("updatedAt", text(now)),
            Change::FencingToken(fencing_token) => self.set("fencingToken", number(fencing_token)),
            Change::Attempts(attempts) => self.set("attempts", number(attempts)),
            Change::RowsRead(rows) => self.set("rowsRead", number(rows)),
            Change::RowsWritten(rows) => self.set("rowsWritten", number(rows)),
            Change::AddResend(day) => {
                let clause = format!("{} {}", self.resends(*day), self.value(number(1)));
                self.adds.push(clause);
            }
            Change::ForgetResends(day) => {
                let placeholder = format!("#resends{}", self.removes.len());
                self.names.insert(placeholder.clone(), resends_name(*day));
                self.removes.push(placeholder);
            }
            Change::Lease(Some(lease)) => {
                self.set("leaseHolder", text(&lease.owner));
                self.set("leaseUntil", text(lease.until));
            }
            Change::Lease(None) => self.remove(&LEASE),
            Change::NextCheck(at) => self.set_next_check(Status::Pending, id, *at),
            Change::RetryAt(at) => self.set(RETRY_AT, text(at)),
            Change::PermanentError(Some(at)) => self.set(PERMANENT_ERROR_AT, text(at)),
            Change::PermanentError(None) => self.remove(&[PERMANENT_ERROR_AT]),
            Change::File(file) => {
                self.set("rowsWritten", number(file.rows));
                self.set("file", file_value(file));
            }
            Change::Ready { link_expires_at } => {
                self.set("status", text(Status::Ready));
                self.set_link_expiry(id, *link_expires_at);
                self.remove(&LEASE);
            }
            Change::Failed(failure) => {
                self.set("status", text(Status::Failed));
                self.set("failure", failure_value(failure));
                self.remove(&LEASE);
                self.remove(&NEXT_CHECK);
            }
            Change::Expired => {
                self.set("status", text(Status::Expired));
                self.remove(&NEXT_CHECK);
            }
            Change::Resent { recipients, link_expires_at } => {
                self.set("status", text(Status::Ready));
                self.set("recipientTo", text(recipients.to()));
                self.set("recipientsCc", cc_value(recipients));
                self.set_link_expiry(id, *link_expires_at);
                self.remove(&["failure"]);
            }
        }
    }

    /// A READY export is checked when its link expires.
    fn set_link_expiry(&mut self, id: &ExportId, at: Timestamp) {
        self.set("linkExpiresAt", text(at));
        self.set_next_check(Status::Ready, id, at);
    }

    fn set_next_check(&mut self, status: Status, id: &ExportId, at: Timestamp) {
        self.set(NEXT_CHECK_AT, text(at));
        self.set(NEXT_CHECK_STATE, AttributeValue::S(next_check_state(status, id)));
    }

    fn compare(&mut self, name: &str, operator: &str, value: AttributeValue) -> String {
        format!("{} {operator} {}", self.name(name), self.value(value))
    }

    fn set(&mut self, name: &str, value: AttributeValue) {
        let clause = format!("{} = {}", self.name(name), self.value(value));
        self.sets.push(clause);
    }

    fn remove(&mut self, names: &[&str]) {
        for name in names {
            let name = self.name(name);
            self.removes.push(name);
        }
    }

    fn name(&mut self, name: &str) -> String {
        let placeholder = format!("#{name}");
        self.names.insert(placeholder.clone(), name.to_owned());
        placeholder
    }

    /// The placeholder of the attribute that counts the resends of a day.
    fn resends(&mut self, day: Timestamp) -> &'static str {
        let placeholder = "#resends";
        self.names.insert(placeholder.to_owned(), resends_name(day));
        placeholder
    }

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}
