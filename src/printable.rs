//! Text from other people, made safe for a terminal.

use db_locks_service::{escape_terminal_controls, is_terminal_control};

/// Escapes what would move the cursor, change colours or change the direction of the text.
pub(crate) fn printable(text: &str) -> String {
    let escape = |character: char| {
        let escaped = is_terminal_control(character).then(|| character.escape_default());
        let plain = escaped.is_none().then_some(character);
        escaped.into_iter().flatten().chain(plain)
    };
    text.chars().flat_map(escape).collect()
}

/// Escapes the same characters in JSON, as JSON does.
pub(crate) fn printable_json(json: &[u8]) -> String {
    escape_terminal_controls(&String::from_utf8_lossy(json)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An owner is any text; it must not be able to rewrite the reader's terminal.
    #[test]
    fn characters_that_control_a_terminal_are_shown_escaped() {
        assert_eq!(printable("a\u{1b}[2Jü\n\u{7f}\u{9b}\u{202e}"), "a\\u{1b}[2Jü\\n\\u{7f}\\u{9b}\\u{202e}");
        assert_eq!(printable_json("\"ü\u{7f}\u{9b}\u{202e}\"".as_bytes()), r#""ü\u007f\u009b\u202e""#);
    }
}
