//! One short text that stands for several.

use domain::hex;
use sha2::{Digest, Sha256};

/// The SHA-256 of several texts, as 64 lower-case hexadecimal digits. Each text goes in with its length, so that no two
/// lists of texts look the same.
pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hex::digits(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fingerprint_is_64_digits() {
        assert_eq!(of([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    proptest! {
        #[test]
        fn lists_that_differ_have_other_fingerprints(
            a in prop::collection::vec("[ab]{0,3}", 0..4), b in prop::collection::vec("[ab]{0,3}", 0..4),
        ) {
            let fingerprint = |texts: &[String]| of(texts.iter().map(String::as_str));
            prop_assert_eq!(fingerprint(&a) == fingerprint(&b), a == b);
        }
    }
}
