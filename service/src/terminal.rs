//! Characters that control a terminal. Owners, reasons and names may contain them.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character may control a terminal. Control characters move the cursor and change colours; some characters of
/// Unicode end a line or change the direction of the text after them.
pub fn is_terminal_control(character: char) -> bool {
    let changes_direction =
        matches!(character, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2066}'..='\u{2069}');
    changes_direction || matches!(character, '\u{2028}'..='\u{202E}') || character.is_control()
}

/// Escapes such characters as JSON does, except those of ASCII, which a writer of JSON has escaped already. The text is JSON
/// or lines of a log.
pub fn escape_non_ascii_controls(text: &str) -> Cow<'_, str> {
    let is_terminal_control = |character: char| !character.is_ascii() && is_terminal_control(character);
    if text.is_ascii() || !text.contains(is_terminal_control) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_terminal_control(character) {
            // Writing to a String cannot fail, and all of them have four digits.
            let _ = write!(escaped, "\\u{:04x}", u32::from(character));
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_control_a_terminal_are_escaped_and_no_others() {
        for range in ['\u{80}'..='\u{9f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'] {
            for character in range {
                let escaped = format!("\\u{:04x}", u32::from(character));
                assert_eq!(escape_non_ascii_controls(&character.to_string()), escaped);
            }
        }
        assert_eq!(
            escape_non_ascii_controls("ü\u{61c}\u{200e}\u{200f} 😀\n\u{1b}"),
            "ü\\u061c\\u200e\\u200f 😀\n\u{1b}"
        );
        for plain in ["", "ascii \u{7f}\n", "é\u{a0}\u{2027}\u{202f}\u{2065}\u{206a}😀"] {
            assert!(matches!(escape_non_ascii_controls(plain), Cow::Borrowed(same) if same == plain));
        }
    }
}
