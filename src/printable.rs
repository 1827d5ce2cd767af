//! Text of others on a terminal.

use db_locks_service::{escape_beyond_ascii, is_obeyed};

/// Text of others: what would move the cursor, change colours or turn the direction of writing is shown escaped.
pub(crate) fn printable(text: &str) -> String {
    let escape = |character: char| {
        let escaped = is_obeyed(character).then(|| character.escape_default());
        let plain = escaped.is_none().then_some(character);
        escaped.into_iter().flatten().chain(plain)
    };
    text.chars().flat_map(escape).collect()
}

/// JSON with text of others: the same is shown escaped, in the form of JSON.
pub(crate) fn printable_json(json: &[u8]) -> String {
    escape_beyond_ascii(&String::from_utf8_lossy(json)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An owner is any text; it must not be able to rewrite the reader's terminal.
    #[test]
    fn what_a_terminal_obeys_is_shown_escaped() {
        assert_eq!(printable("a\u{1b}[2Jü\n\u{9b}\u{202e}"), "a\\u{1b}[2Jü\\n\\u{9b}\\u{202e}");
    }
}
