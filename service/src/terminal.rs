//! Characters that control a terminal, or that it does not show. Owners, reasons and names may contain them.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character may control a terminal, or is invisible there. Control characters move the cursor and change colours; some
/// characters of Unicode end a line or change the direction of the text after them. With an invisible one a name looks like another.
pub fn is_terminal_control(character: char) -> bool {
    let changes_direction =
        matches!(character, '\u{61C}' | '\u{200E}' | '\u{200F}' | '\u{2066}'..='\u{2069}');
    changes_direction
        || matches!(character, '\u{2028}'..='\u{202E}')
        || character.is_control()
        || is_invisible(character)
}

/// Whether a terminal shows nothing for a character, or a space: those that Unicode calls default ignorable, and fillers. A variation
/// selector or a joiner within an emoji is one of them.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{AD}'
            | '\u{34F}'
            | '\u{115F}'..='\u{1160}'
            | '\u{17B4}'..='\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200D}'
            | '\u{2060}'..='\u{206F}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{FE00}'..='\u{FE0F}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E0FFF}'
    )
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
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
                let _ = write!(escaped, "\\u{unit:04x}");
            }
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
        for plain in ["", "ascii ~\n\u{1f}", "é\u{a0}\u{2027}\u{202f}\u{2010}😀", "e\u{301}中文한글"] {
            assert!(matches!(escape_terminal_controls(plain), Cow::Borrowed(same) if same == plain));
        }
    }

    /// A name with such a character looks like the one without it.
    #[test]
    fn invisible_characters_are_escaped_as_json_does() {
        for character in ['\u{ad}', '\u{200b}', '\u{200d}', '\u{2060}', '\u{3164}', '\u{fe0f}', '\u{feff}'] {
            let escaped = format!("bootstrap\\u{:04x}", u32::from(character));
            assert_eq!(escape_terminal_controls(&format!("bootstrap{character}")), escaped);
        }
        assert_eq!(escape_terminal_controls("bootstrap\u{e0020}"), "bootstrap\\udb40\\udc20");
        let text: String = serde_json::from_str("\"\\udb40\\udc20\"").expect("it is JSON");
        assert_eq!(text, "\u{e0020}");
    }
}
