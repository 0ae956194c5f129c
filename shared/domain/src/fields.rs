//! Parses the fields of a JSON object one by one and collects all validation errors, each with its field. A serde
//! deserializer stops at the first one.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

/// The fields that have not been read yet, and the errors so far.
#[derive(Debug)]
pub struct Fields {
    unread: Map<String, Value>,
    errors: Vec<String>,
}

impl Fields {
    /// The fields of a JSON object.
    ///
    /// # Errors
    /// One error if `value` is not an object.
    pub fn new(value: Value) -> Result<Self, Vec<String>> {
        match value {
            Value::Object(unread) => Ok(Self { unread, errors: Vec::new() }),
            _ => Err(vec!["must be a JSON object".to_owned()]),
        }
    }

    /// Parses a required string field. Records an error and returns `None` if it is missing or invalid.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let value = self.unread.remove(name);
        self.parse(name, value)
    }

    /// Parses a string field that may be missing or null. Records an error and returns `None` if it is invalid.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        match self.unread.remove(name) {
            None | Some(Value::Null) => None,
            value => self.parse(name, value),
        }
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &str, value: Option<Value>) -> Option<T> {
        let parsed = match value {
            None => Err("missing".to_owned()),
            Some(Value::String(text)) => text.parse().map_err(|error: T::Err| error.to_string()),
            Some(_) => Err("must be a string".to_owned()),
        };
        parsed.map_err(|error| self.errors.push(format!("{name}: {error}"))).ok()
    }

    /// Records an error for each field that has not been read.
    pub fn reject_unknown(&mut self) {
        self.errors.extend(self.unread.keys().map(|name| format!("{name}: unknown field")));
    }

    /// Returns `parsed` if there were no errors.
    ///
    /// # Errors
    /// All errors. `parsed` must be `None` only if an error was recorded.
    pub fn finish<T>(self, parsed: Option<T>) -> Result<T, Vec<String>> {
        match parsed {
            Some(parsed) if self.errors.is_empty() => Ok(parsed),
            _ => Err(self.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn object_with_errors_is_rejected_although_its_fields_were_parsed() {
        let mut fields = Fields::new(json!({"count": "7", "colour": "red"})).unwrap();
        let count = fields.required::<u8>("count");
        fields.reject_unknown();
        assert_eq!((count, fields.finish(count)), (Some(7), Err(vec!["colour: unknown field".to_owned()])));
    }
}
