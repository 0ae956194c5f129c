//! JSON, read in place: texts are borrowed from the body of an response, and there is no tree.

use std::borrow::Cow;

use serde::de::IgnoredAny;

/// The body is not of the form of such an response; at this byte it could not be read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the response cannot be read from byte {0} on")]
pub(super) struct NotJson(pub usize);

/// A place in a text of JSON.
pub(super) struct Json<'a> {
    pub(super) text: &'a str,
    pub(super) at: usize,
    /// Whether there may be control characters, white space among them.
    pub(super) has_controls: bool,
}

impl<'a> Json<'a> {
    /// The beginning of `body`.
    ///
    /// # Errors
    /// [`NotJson`] if it is not UTF-8.
    pub(super) fn new(body: &'a [u8]) -> Result<Self, NotJson> {
        let text = str::from_utf8(body).map_err(|error| NotJson(error.valid_up_to()))?;
        // DynamoDB writes no white space, so nearly every body is found to have no control character at all, at once.
        // The least byte, because the compiler makes vector instructions of that and not of an early end.
        let has_controls = body.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ';
        Ok(Self { text, at: 0, has_controls })
    }

    pub(super) const fn invalid<T>(&self) -> Result<T, NotJson> {
        Err(NotJson(self.at))
    }

    /// The next byte that is no white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                byte => return byte.copied(),
            }
        }
    }

    /// Where that byte is.
    pub(super) fn peek_at(&mut self) -> usize {
        self.peek();
        self.at
    }

    pub(super) fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            self.invalid()
        }
    }

    pub(super) fn end(&mut self) -> Result<(), NotJson> {
        if self.peek().is_none() { Ok(()) } else { self.invalid() }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, NotJson> {
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
            // The escaped character is one byte at least, and may itself be a quote.
            is_escaped = true;
            self.at += 2;
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        if self.has_controls && text.bytes().any(|byte| byte < b' ') {
            return Err(NotJson(start));
        }
        self.at += 1;
        if !is_escaped {
            return Ok(Cow::Borrowed(text));
        }
        serde_json::from_str(&format!("\"{text}\"")).map(Cow::Owned).map_err(|_| NotJson(start))
    }

    /// A name and its colon.
    pub(super) fn name(&mut self) -> Result<Cow<'a, str>, NotJson> {
        let name = self.string()?;
        self.expect(b':')?;
        Ok(name)
    }

    /// An object, whose members `member` reads: it is called behind each name and its colon.
    pub(super) fn object(
        &mut self,
        mut member: impl FnMut(&mut Self, Cow<'a, str>) -> Result<(), NotJson>,
    ) -> Result<(), NotJson> {
        self.members(|json| {
            let name = json.name()?;
            member(json, name)
        })
    }

    /// An object, whose members `member` reads: it is called before each name.
    pub(super) fn members(&mut self, mut member: impl FnMut(&mut Self) -> Result<(), NotJson>) -> Result<(), NotJson> {
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

    /// An array, whose elements `element` reads.
    pub(super) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), NotJson>) -> Result<(), NotJson> {
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

    /// Goes past a value of any kind.
    pub(super) fn skip(&mut self) -> Result<(), NotJson> {
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
