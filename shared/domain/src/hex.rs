//! Hexadecimal text.

use std::fmt::Write;

/// Encodes `bytes` as lower-case hexadecimal digits, two per byte.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn encode_writes_two_digits_per_byte() {
        assert_eq!(super::encode(&[0, 10, 255]), "000aff");
    }
}
