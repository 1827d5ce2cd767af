//! Text of others on a terminal.

/// Text of others: what would move the cursor or change colours is shown escaped.
pub(crate) fn printable(text: &str) -> String {
    let escape = |character: char| {
        let escaped = character.is_control().then(|| character.escape_default());
        let plain = escaped.is_none().then_some(character);
        escaped.into_iter().flatten().chain(plain)
    };
    text.chars().flat_map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An owner is any text; it must not be able to rewrite the reader's terminal.
    #[test]
    fn control_characters_are_shown_escaped() {
        assert_eq!(printable("a\u{1b}[2Jü\n"), "a\\u{1b}[2Jü\\n");
    }
}
