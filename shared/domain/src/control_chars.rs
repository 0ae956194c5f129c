//! Control and bidirectional characters. In untrusted text such as names they could break a line or reverse the text
//! next to them.

/// Whether `c` is a Unicode control character, a line or paragraph separator, or a character that embeds, overrides or
/// isolates a text direction.
pub(crate) fn is_control_or_bidi(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_are_found_and_letters_of_any_script_are_not() {
        assert!(
            ['\n', '\r', '\t', '\0', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2067}']
                .into_iter()
                .all(is_control_or_bidi)
        );
        assert!(!"Zoë O'Hara-Núñez 李小龍 דוד علي 😀\u{200d}".chars().any(is_control_or_bidi));
    }
}
