//! Cursors: the position after which a list continues, as opaque text that callers pass back.

use db_locks_service::{access::TokenId, domain::Key};
use uuid::Uuid;

use super::escape::hex_digit;

/// A position after which a list continues.
pub(crate) trait Cursor: Sized {
    /// Writes the position as text that needs no escaping in a query.
    fn write(&self) -> String;

    /// Reads the text; `None` if `write` did not create it.
    fn read(text: &str) -> Option<Self>;
}

impl Cursor for Key {
    fn write(&self) -> String {
        to_hex(self.as_str().as_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        Self::new(&String::from_utf8(from_hex(text)?).ok()?).ok()
    }
}

impl Cursor for i32 {
    fn write(&self) -> String {
        to_hex(&self.to_be_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        Some(Self::from_be_bytes(from_hex(text)?.try_into().ok()?))
    }
}

impl Cursor for TokenId {
    fn write(&self) -> String {
        to_hex(self.0.as_bytes())
    }

    fn read(text: &str) -> Option<Self> {
        Some(Self(Uuid::from_bytes(from_hex(text)?.try_into().ok()?)))
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?)).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_were() {
        for key in ["a", "a/b c", "é😀", &"x".repeat(255)] {
            let key = Key::new(key).unwrap();
            assert_eq!(Key::read(&key.write()), Some(key));
        }
        for slot in [0, 1, 999_999, i32::MAX] {
            assert_eq!(i32::read(&slot.write()), Some(slot));
        }
    }

    #[test]
    fn made_up_cursors_are_refused() {
        for text in ["", "6", "zz", "ff", "00", "2e", "6 1", "é"] {
            assert_eq!(Key::read(text), None, "{text}");
        }
        for text in ["", "00", "0000000000", "xxxxxxxx"] {
            assert_eq!(i32::read(text), None, "{text}");
        }
    }
}
