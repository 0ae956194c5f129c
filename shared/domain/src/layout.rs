//! Characters that are for layout, not for reading: in a name or an id from outside they would end a line, or turn the
//! direction of what stands beside them.

/// Whether a character is one of them: Unicode's control characters, its separators of lines and paragraphs, and those
/// that embed, override or isolate a direction.
pub(crate) fn is_layout(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_told_from_what_is_read_in_any_script() {
        assert!(
            ['\n', '\r', '\t', '\0', '\u{85}', '\u{2028}', '\u{2029}', '\u{202e}', '\u{2067}']
                .into_iter()
                .all(is_layout)
        );
        assert!(!"Zoë O'Hara-Núñez 李小龍 דוד علي 😀\u{200d}".chars().any(is_layout));
    }
}
