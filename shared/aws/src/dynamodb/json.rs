//! A pull parser for JSON. It borrows strings from the response body and builds no tree.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The body is not the expected response. The number is the byte at which reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid response at byte {0}")]
pub(super) struct JsonError(pub usize);

/// A position in a JSON text.
pub(super) struct JsonReader<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// Whether the text has control characters, including white space other than spaces.
    pub(super) has_controls: bool,
}

impl<'a> JsonReader<'a> {
    /// A reader at the start of `body`.
    ///
    /// # Errors
    /// [`JsonError`] if it is not UTF-8.
    pub(super) fn new(body: &'a [u8]) -> Result<Self, JsonError> {
        let text = str::from_utf8(body).map_err(|error| JsonError(error.valid_up_to()))?;
        // DynamoDB writes no white space, so nearly every body has no control characters, and strings need not be
        // checked. A minimum over all bytes, because the compiler vectorizes that, but not a loop with an early exit.
        let has_controls = body.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ';
        Ok(Self { text, at: 0, has_controls })
    }

    pub(super) const fn invalid<T>(&self) -> Result<T, JsonError> {
        Err(JsonError(self.at))
    }

    /// The next byte that is not white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// The position of the next byte that is not white space.
    pub(super) fn peek_at(&mut self) -> usize {
        self.peek();
        self.at
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.invalid()
        }
    }

    pub(super) fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_none() { Ok(()) } else { self.invalid() }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, JsonError> {
        self.expect(b'"')?;
        let start = self.at;
        let mut is_escaped = false;
        loop {
            let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
            let Some(length) = memchr::memchr2(b'"', b'\\', rest) else { return self.invalid() };
            self.at += length;
            if rest.get(length) == Some(&b'"') {
                break;
            }
            // Skip the escaped character, which may be a quote.
            is_escaped = true;
            self.at += 2;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if self.has_controls && text.bytes().any(|byte| byte < b' ') {
            return Err(JsonError(start));
        }
        self.at += 1;
        if !is_escaped {
            return Ok(Cow::Borrowed(text));
        }
        serde_json::from_str(&format!("\"{text}\"")).map(Cow::Owned).map_err(|_| JsonError(start))
    }

    /// Reads a member's name and the colon after it.
    pub(super) fn name(&mut self) -> Result<Cow<'a, str>, JsonError> {
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// Reads an object. `member` is called after each name and colon, and reads the value.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.members(|json| {
            let name = json.name()?;
            member(json, name)
        })
    }

    /// Reads an object. `member` is called before each name, and reads name and value.
    pub(super) fn members(
        &mut self,
        mut member: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'{')?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(());
        }
        loop {
            member(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b'}'),
            }
        }
    }

    /// Reads an array. `element` reads one element.
    pub(super) fn array(
        &mut self,
        mut element: impl FnMut(&mut Self) -> Result<(), JsonError>,
    ) -> Result<(), JsonError> {
        self.expect(b'[')?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            element(self)?;
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(b']'),
            }
        }
    }

    /// Skips a value of any type.
    pub(super) fn skip(&mut self) -> Result<(), JsonError> {
        let start = self.peek_at();
        let rest = self.text.get(start..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<IgnoredAny>();
        match values.next() {
            Some(Ok(_)) => {
                self.at = start + values.byte_offset();
                Ok(())
            }
            _ => self.invalid(),
        }
    }
}
