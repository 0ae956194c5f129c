//! What is asked for, checked whole.

use std::fmt::Display;
use std::str::FromStr;

use domain::export::Reason;
use domain::id::{ExportId, TenantId};
use serde_json::{Map, Value};

/// Which export to end, and why.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub tenant: TenantId,
    pub id: ExportId,
    pub reason: Option<Reason>,
}

/// What an event asks for, or everything that is wrong with it.
pub(crate) fn parse(event: Value) -> Result<Request, Vec<String>> {
    let Value::Object(mut fields) = event else {
        return Err(vec!["a JSON object is expected".to_owned()]);
    };
    let mut faults = Vec::new();
    let tenant = required(&mut fields, "tenantId", &mut faults);
    let id = required(&mut fields, "exportId", &mut faults);
    let reason = match fields.remove("reason") {
        None | Some(Value::Null) => None,
        Some(value) => parsed(value, "reason", &mut faults),
    };
    faults.extend(fields.keys().map(|name| format!("{name}: there is no such field")));
    match (tenant, id) {
        (Some(tenant), Some(id)) if faults.is_empty() => Ok(Request { tenant, id, reason }),
        _ => Err(faults),
    }
}

fn required<T: FromStr<Err: Display>>(
    fields: &mut Map<String, Value>,
    name: &str,
    faults: &mut Vec<String>,
) -> Option<T> {
    let Some(value) = fields.remove(name) else {
        faults.push(format!("{name}: missing"));
        return None;
    };
    parsed(value, name, faults)
}

fn parsed<T: FromStr<Err: Display>>(value: Value, name: &str, faults: &mut Vec<String>) -> Option<T> {
    let parsed = match value {
        Value::String(text) => text.parse().map_err(|error: T::Err| error.to_string()),
        _ => Err("a string is expected".to_owned()),
    };
    parsed.map_err(|fault| faults.push(format!("{name}: {fault}"))).ok()
}
