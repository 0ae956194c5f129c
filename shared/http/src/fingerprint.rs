//! SHA-256 over a list of texts.

use exports_domain::hex;
use sha2::{Digest, Sha256};

/// The SHA-256 of `texts` as 64 lower-case hexadecimal digits. Each text is preceded by its length, so different lists
/// have different hash inputs.
pub fn of<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update(text.len().to_be_bytes());
        hash.update(text);
    }
    hex::encode(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_list_has_the_known_sha256() {
        assert_eq!(of([]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    }

    proptest! {
        #[test]
        fn different_lists_have_different_fingerprints(
            a in prop::collection::vec("[ab]{0,3}", 0..4), b in prop::collection::vec("[ab]{0,3}", 0..4),
        ) {
            let fingerprint = |texts: &[String]| of(texts.iter().map(String::as_str));
            prop_assert_eq!(fingerprint(&a) == fingerprint(&b), a == b);
        }
    }
}
