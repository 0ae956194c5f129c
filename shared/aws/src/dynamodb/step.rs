//! Translates life cycle steps to conditional updates: each guard becomes a condition, each change a clause.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use exports_domain::export::Status;
use exports_domain::id::ExportId;
use exports_domain::lifecycle::{Change, Guard, Step};

use super::item::{number, text};
use super::record::{
    KEEP_UNTIL, NEXT_CHECK_AT, NEXT_CHECK_STATE, PERMANENT_ERROR_AT, TTL, cc_value, failure_value, file_value,
    next_check_state, resends_value,
};

/// The parameters of an UpdateItem of a record.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Update {
    conditions: Vec<String>,
    sets: Vec<String>,
    removes: Vec<String>,
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
        if step.leaves_pending {
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
        let mut expression = format!("SET {}", self.sets.join(", "));
        if !self.removes.is_empty() {
            expression.push_str(" REMOVE ");
            expression.push_str(&self.removes.join(", "));
        }
        expression
    }

    fn require(&mut self, guard: &Guard) {
        let condition = match guard {
            Guard::StatusIs(status) => self.compare("status", "=", text(status)),
            Guard::NotPending => self.compare("status", "<>", text(Status::Pending)),
            Guard::FencingTokenIs(fencing_token) => self.compare("fencingToken", "=", number(fencing_token)),
            Guard::LeaseExpiredAt(now) => {
                let over = self.compare("leaseUntil", "<=", text(now));
                format!("(attribute_not_exists(#leaseUntil) OR {over})")
            }
            Guard::AttemptsBelow(most) => self.compare("attempts", "<", number(most)),
            Guard::AttemptsAtLeast(most) => self.compare("attempts", ">=", number(most)),
            Guard::DeadlineAfter(now) => self.compare("deadline", ">", text(now)),
            Guard::DeadlinePassedAt(now) => self.compare("deadline", "<=", text(now)),
            Guard::FileRecorded => format!("attribute_exists({})", self.name("file")),
            Guard::NoFileRecorded => format!("attribute_not_exists({})", self.name("file")),
            Guard::LinkExpiryIs(end) => self.compare("linkExpiresAt", "=", text(end)),
            Guard::LinkExpiryBefore(end) => {
                let before = self.compare("linkExpiresAt", "<", text(end));
                format!("(attribute_not_exists(#linkExpiresAt) OR {before})")
            }
            Guard::ResendsAre(None) => format!("attribute_not_exists({})", self.name("resends")),
            Guard::ResendsAre(Some(resends)) => self.compare("resends", "=", resends_value(resends)),
            Guard::NextCheckIs(at) => self.compare(NEXT_CHECK_AT, "=", text(at)),
            Guard::PermanentErrorIs(None) => format!("attribute_not_exists({})", self.name(PERMANENT_ERROR_AT)),
            Guard::PermanentErrorIs(Some(at)) => self.compare(PERMANENT_ERROR_AT, "=", text(at)),
        };
        self.conditions.push(condition);
    }

    fn write(&mut self, id: &ExportId, change: &Change) {
        match change {
            Change::Status(status) => self.set("status", text(status)),
            Change::UpdatedAt(now) => self.set("updatedAt", text(now)),
            Change::FencingToken(fencing_token) => self.set("fencingToken", number(fencing_token)),
            Change::Attempts(attempts) => self.set("attempts", number(attempts)),
            Change::Lease(Some(lease)) => {
                self.set("leaseHolder", text(&lease.holder));
                self.set("leaseUntil", text(lease.until));
            }
            Change::Lease(None) => self.remove(&["leaseHolder", "leaseUntil"]),
            Change::NextCheck { status, at } => {
                self.set(NEXT_CHECK_AT, text(at));
                self.set(NEXT_CHECK_STATE, AttributeValue::S(next_check_state(*status, id)));
            }
            Change::NoNextCheck => self.remove(&[NEXT_CHECK_AT, NEXT_CHECK_STATE]),
            Change::RowsRead(rows) => self.set("rowsRead", number(rows)),
            Change::Rows(rows) => self.set("rowsWritten", number(rows)),
            Change::File(file) => {
                self.set("rowsWritten", number(file.rows));
                self.set("file", file_value(file));
            }
            Change::LinkExpiry(end) => self.set("linkExpiresAt", text(end)),
            Change::Failure(Some(failure)) => self.set("failure", failure_value(failure)),
            Change::Failure(None) => self.remove(&["failure"]),
            Change::Recipients(recipients) => {
                self.set("recipientTo", text(recipients.to()));
                self.set("recipientsCc", cc_value(recipients));
            }
            Change::Resends(resends) => self.set("resends", resends_value(resends)),
            Change::PermanentError(Some(at)) => self.set(PERMANENT_ERROR_AT, text(at)),
            Change::PermanentError(None) => self.remove(&[PERMANENT_ERROR_AT]),
        }
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

    fn value(&mut self, value: AttributeValue) -> String {
        let placeholder = format!(":v{}", self.values.len());
        self.values.insert(placeholder.clone(), value);
        placeholder
    }
}
