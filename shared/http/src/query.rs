//! What a query string may be.
//!
//! | query string | answer |
//! |---|---|
//! | a parameter without a value, as in `?status=&size=` | as if it was not there |
//! | a parameter that may be there once, repeated | 400 |
//! | a parameter that there is not | 400, which names it |
//!
//! Names and values are decoded as browsers encode them (WHATWG URL, `application/x-www-form-urlencoded`): `%2B` is a
//! plus, a bare `+` is a space, and what is no UTF-8 becomes U+FFFD, which no value may have.

use std::fmt::Display;

use crate::fault::{Fault, FaultCode, Faults, shortened};

/// The parameters of a query string, to be taken one by one. What is wrong with them is gathered meanwhile.
#[derive(Debug)]
pub struct Query {
    parameters: Vec<(String, String)>,
    /// What is wrong so far.
    pub faults: Faults,
}

impl Query {
    /// The parameters of a query string as it came.
    #[must_use]
    pub fn new(raw: &str) -> Self {
        let parameters = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
        Self { parameters, faults: Faults::default() }
    }

    /// Takes a parameter that may be repeated and may hold several values with commas between them.
    pub fn list(&mut self, name: &str) -> Vec<String> {
        let values = self.take(name);
        values.iter().filter(|value| !value.is_empty()).flat_map(|value| value.split(',')).map(str::to_owned).collect()
    }

    /// Takes a parameter that may be there once, and reads it; what `read` says of a bad value becomes a fault.
    pub fn single<T, E: Display>(
        &mut self,
        name: &str,
        read: impl FnOnce(&str) -> Result<T, (FaultCode, E)>,
    ) -> Option<T> {
        match &self.take(name)[..] {
            [] => None,
            [value] if value.is_empty() => None,
            [value] => match read(value) {
                Ok(value) => Some(value),
                Err((code, detail)) => {
                    self.faults.of(name, code, detail);
                    None
                }
            },
            _ => {
                self.faults.of(name, FaultCode::Format, "the parameter is repeated: it may be there once");
                None
            }
        }
    }

    /// `value`, if nothing was wrong and nothing is left that nobody took.
    ///
    /// # Errors
    /// Everything that is wrong.
    pub fn finish<T>(mut self, value: T) -> Result<T, Vec<Fault>> {
        for (name, _) in &self.parameters {
            self.faults.of(shortened(name), FaultCode::Format, "there is no such parameter");
        }
        self.faults.or(value)
    }

    fn take(&mut self, name: &str) -> Vec<String> {
        self.parameters.extract_if(.., |(known, _)| known == name).map(|(_, value)| value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Result<u8, (FaultCode, &'static str)> {
        text.parse().map_err(|_| (FaultCode::Range, "no small number"))
    }

    /// The codes and fields of the faults.
    fn places(faults: Result<(), Vec<Fault>>) -> Vec<(FaultCode, Option<String>)> {
        faults.unwrap_err().into_iter().map(|fault| (fault.code, fault.field)).collect()
    }

    #[test]
    fn list_takes_repeated_and_comma_separated_values_in_their_order() {
        let mut query = Query::new("s=a,b&x=1&s=c&s=&%73=d%2Ce");
        assert_eq!(query.list("s"), ["a", "b", "c", "d", "e"]);
        assert_eq!((query.list("s"), query.single("x", number)), (vec![], Some(1)));
        assert_eq!(query.finish(()), Ok(()));
    }

    #[test]
    fn value_is_decoded_as_browsers_encode_it() {
        let text = |raw: &str| Query::new(raw).single("a", |text| Ok::<_, (FaultCode, &str)>(text.to_owned()));
        for (raw, value) in
            [("a=1+2", "1 2"), ("a=1%2B2", "1+2"), ("a=%E2%82%AC", "€"), ("a=%zz%", "%zz%"), ("a=b=c", "b=c")]
        {
            assert_eq!(text(raw).as_deref(), Some(value), "{raw}");
        }
        assert_eq!(text("a=%FF").as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn parameter_without_a_value_is_as_if_it_was_not_there() {
        for raw in ["", "n", "n=", "&&n=&"] {
            let mut query = Query::new(raw);
            assert_eq!((query.single("n", number), query.list("s")), (None, vec![]));
            assert_eq!(query.finish(()), Ok(()), "{raw}");
        }
    }

    #[test]
    fn every_fault_is_told_with_its_parameter() {
        let mut query = Query::new(&format!("n=x&m=1&m=1&o=&o=&{}=1&k", "y".repeat(100)));
        for name in ["n", "m", "o"] {
            assert_eq!(query.single(name, number), None);
        }
        let field = |name: &str| Some(name.to_owned());
        let format = FaultCode::Format;
        let unknown = Some("y".repeat(64));
        assert_eq!(
            places(query.finish(())),
            [
                (FaultCode::Range, field("n")),
                (format, field("m")),
                (format, field("o")),
                (format, unknown),
                (format, field("k"))
            ]
        );
    }

    proptest! {
        #[test]
        fn any_query_string_is_read_without_panic(raw in "\\PC{0,200}") {
            let mut query = Query::new(&raw);
            let _ = (query.single("a", number), query.list("b"), query.finish(()));
        }
    }
}
