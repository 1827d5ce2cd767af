//! Characters that a terminal obeys instead of showing them. Owners, reasons and names may have them.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a terminal may obey a character: control characters, which move the cursor and change colours, and the characters
/// of Unicode that end a line or turn the direction of what follows.
pub fn is_obeyed(character: char) -> bool {
    let turns = matches!(character, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2066}'..='\u{2069}');
    turns || matches!(character, '\u{2028}'..='\u{202E}') || character.is_control()
}

/// Escapes such characters beyond ASCII as JSON does, for JSON and for lines of logs. In JSON they occur in texts only, and
/// whoever writes it has escaped those of ASCII.
pub fn escape_beyond_ascii(text: &str) -> Cow<'_, str> {
    let is_obeyed = |character: char| !character.is_ascii() && is_obeyed(character);
    if text.is_ascii() || !text.contains(is_obeyed) {
        return text.into();
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_obeyed(character) {
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
    fn what_a_terminal_obeys_is_escaped_and_nothing_else() {
        for range in ['\u{80}'..='\u{9f}', '\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'] {
            for character in range {
                let escaped = format!("\\u{:04x}", u32::from(character));
                assert_eq!(escape_beyond_ascii(&character.to_string()), escaped);
            }
        }
        assert_eq!(
            escape_beyond_ascii("ü\u{61c}\u{200e}\u{200f} 😀\n\u{1b}"),
            "ü\\u061c\\u200e\\u200f 😀\n\u{1b}"
        );
        for plain in ["", "ascii \u{7f}\n", "é\u{a0}\u{2027}\u{202f}\u{2065}\u{206a}😀"] {
            assert!(matches!(escape_beyond_ascii(plain), Cow::Borrowed(same) if same == plain));
        }
    }
}
