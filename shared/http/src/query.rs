//! Query strings.
//!
//! | query string | response |
//! |---|---|
//! | a parameter without a value, as in `?status=&size=` | ignored |
//! | a duplicate parameter, unless it is a list | 400 |
//! | an unknown parameter | 400 |
//!
//! Names and values are decoded as `application/x-www-form-urlencoded` (WHATWG URL): `%2B` is a plus, `+` is a space.
//! Invalid UTF-8 becomes U+FFFD, which is valid in no value.

use std::fmt::Display;

use crate::validation::{ValidationCode, ValidationError, ValidationErrors, shortened};

/// The parameters of a query string, which are taken one by one, and their validation errors.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
    /// The validation errors so far.
    pub errors: ValidationErrors,
}

impl Query {
    /// Decodes a query string.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        let parameters = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
        Self { parameters, errors: ValidationErrors::default() }
    }

    /// Takes a list parameter: repeated, comma-separated, or both.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let values = self.take(name);
        values.iter().filter(|value| !value.is_empty()).flat_map(|value| value.split(',')).map(str::to_owned).collect()
    }

    /// Takes a parameter and parses its value. An error of `parse` becomes a validation error.
    pub fn single<T, E: Display>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, (ValidationCode, E)>,
    ) -> Option<T> {
        match &self.take(name)[..] {
            [] => None,
            [value] if value.is_empty() => None,
            [value] => match parse(value) {
                Ok(value) => Some(value),
                Err((code, detail)) => {
                    self.errors.push(name, code, detail);
                    None
                }
            },
            _ => {
                self.errors.push(name, ValidationCode::Format, "duplicate parameter");
                None
            }
        }
    }

    /// Returns `value` if there are no validation errors. Parameters that were not taken are unknown.
    ///
    /// # Errors
    /// All validation errors.
    pub fn finish<T>(mut self, value: T) -> Result<T, Vec<ValidationError>> {
        for (name, _) in &self.parameters {
            self.errors.push(shortened(name), ValidationCode::Format, "unknown parameter");
        }
        self.errors.into_result(value)
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.parameters.extract_if(.., |(other, _)| other == name).map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Result<u8, (ValidationCode, &'static str)> {
        text.parse().map_err(|_| (ValidationCode::Range, "not a u8"))
    }

    /// The codes and fields of the errors.
    fn codes_and_fields(errors: Result<(), Vec<ValidationError>>) -> Vec<(ValidationCode, Option<String>)> {
        errors.unwrap_err().into_iter().map(|error| (error.code, error.field)).collect()
    }

    #[test]
    fn list_keeps_repeated_and_comma_separated_values_in_order() {
        let mut query = Query::new("s=a,b&x=1&s=c&s=&%73=d%2Ce");
        assert_eq!(query.list("s"), ["a", "b", "c", "d", "e"]);
        assert_eq!((query.list("s"), query.single("x", number)), (vec![], Some(1)));
        assert_eq!(query.finish(()), Ok(()));
    }

    #[test]
    fn value_is_form_urldecoded() {
        let text = |raw: &str| Query::new(raw).single("a", |text| Ok::<_, (ValidationCode, &str)>(text.to_owned()));
        for (raw, value) in
            [("a=1+2", "1 2"), ("a=1%2B2", "1+2"), ("a=%E2%82%AC", "€"), ("a=%zz%", "%zz%"), ("a=b=c", "b=c")]
        {
            assert_eq!(text(raw).as_deref(), Some(value), "{raw}");
        }
        assert_eq!(text("a=%FF").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn parameter_without_value_is_ignored() {
        for raw in ["", "n", "n=", "&&n=&"] {
            let mut query = Query::new(raw);
            assert_eq!((query.single("n", number), query.list("s")), (None, vec![]));
            assert_eq!(query.finish(()), Ok(()), "{raw}");
        }
    }

    #[test]
    fn every_invalid_parameter_is_reported() {
        let mut query = Query::new(&format!("n=x&m=1&m=1&o=&o=&{}=1&k", "y".repeat(100)));
        for name in ["n", "m", "o"] {
            assert_eq!(query.single(name, number), None);
        }
        let field = |name: &str| Some(name.to_owned());
        let format = ValidationCode::Format;
        let unknown = Some("y".repeat(64));
        assert_eq!(
            codes_and_fields(query.finish(())),
            [
                (ValidationCode::Range, field("n")),
                (format, field("m")),
                (format, field("o")),
                (format, unknown),
                (format, field("k"))
            ]
        );
    }

    proptest! {
        #[test]
        fn arbitrary_query_string_never_panics(raw in "\\PC{0,200}") {
            let mut query = Query::new(&raw);
            let _ = (query.single("a", number), query.list("b"), query.finish(()));
        }
    }
}
