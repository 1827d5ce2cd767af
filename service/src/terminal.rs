//! Characters that control a terminal. Owners, reasons and names may contain them.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character may control a terminal. Control characters move the cursor and change colours; some characters of
/// Unicode end a line or change the direction of the text after them.
pub fn is_terminal_control(character: char) -> bool {
    let changes_direction =
        matches!(character, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2066}'..='\u{2069}');
    changes_direction || matches!(character, '\u{2028}'..='\u{202E}') || character.is_control()
}

/// Escapes such characters as JSON does, except those below U+0020, which a writer of JSON has escaped already. The text is JSON
/// or lines of a log.
pub fn escape_terminal_controls(text: &str) -> Cow<'_, str> {
    let is_left_by_json = |character: char| character >= ' ' && is_terminal_control(character);
    let is_plain_ascii = text.is_ascii() && !text.as_bytes().contains(&0x7f);
    if is_plain_ascii || !text.contains(is_left_by_json) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_left_by_json(character) {
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
        for range in ['\u{7f}'..='\u{9f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'] {
            for character in range {
                let escaped = format!("\\u{:04x}", u32::from(character));
                assert_eq!(escape_terminal_controls(&character.to_string()), escaped);
            }
        }
        assert_eq!(
            escape_terminal_controls("ü\u{61c}\u{200e}\u{200f} 😀\n\u{1b}\u{7f}"),
            "ü\\u061c\\u200e\\u200f 😀\n\u{1b}\\u007f"
        );
        for plain in ["", "ascii ~\n\u{1f}", "é\u{a0}\u{2027}\u{202f}\u{2065}\u{206a}😀"] {
            assert!(matches!(escape_terminal_controls(plain), Cow::Borrowed(same) if same == plain));
        }
    }
}
