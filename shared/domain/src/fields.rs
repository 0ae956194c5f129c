//! The fields of a JSON object from outside, read one by one: all faults at once, each with its field.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

/// The fields that are not read yet, and what was wrong with the others.
#[derive(Debug)]
pub struct Fields {
    left: Map<String, Value>,
    faults: Vec<String>,
}

impl Fields {
    /// The fields of `value`.
    ///
    /// # Errors
    /// One fault, if it is no object.
    pub fn of(value: Value) -> Result<Self, Vec<String>> {
        match value {
            Value::Object(left) => Ok(Self { left, faults: Vec::new() }),
            _ => Err(vec!["a JSON object is expected".to_owned()]),
        }
    }

    /// A field that must be there; `None`, and a fault more, if it is not, or of another form.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        let value = self.left.remove(name);
        self.parse(name, value)
    }

    /// A field that may be missing or null.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, name: &str) -> Option<T> {
        match self.left.remove(name) {
            None | Some(Value::Null) => None,
            value => self.parse(name, value),
        }
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &str, value: Option<Value>) -> Option<T> {
        let parsed = match value {
            None => Err("missing".to_owned()),
            Some(Value::String(text)) => text.parse().map_err(|error: T::Err| error.to_string()),
            Some(_) => Err("a string is expected".to_owned()),
        };
        parsed.map_err(|fault| self.faults.push(format!("{name}: {fault}"))).ok()
    }

    /// Finds fault with every field that was not read.
    pub fn refuse_others(&mut self) {
        self.faults.extend(self.left.keys().map(|name| format!("{name}: there is no such field")));
    }

    /// What was read, if no fault was found.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Vec<String>> {
        match read {
            Some(read) if self.faults.is_empty() => Ok(read),
            _ => Err(self.faults),
        }
    }
}
