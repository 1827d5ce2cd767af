//! Percent-decoding that refuses malformed escapes, which most decoders accept.

use std::borrow::Cow;

/// Decodes a path segment or, with `plus_is_space`, a part of a query. The error is a text for the caller.
pub(super) fn decode(text: &str, plus_is_space: bool) -> Result<Cow<'_, str>, &'static str> {
    let escaped = |byte: u8| byte == b'%' || (plus_is_space && byte == b'+');
    if !text.bytes().any(escaped) {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let digits = bytes.next().and_then(hex_digit).zip(bytes.next().and_then(hex_digit));
                let (high, low) = digits.ok_or("has a '%' that is not followed by two hexadecimal digits")?;
                high << 4 | low
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| "is not valid UTF-8")
}

/// The value of a hexadecimal digit.
pub(super) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded_once() {
        assert_eq!(decode("a%2Fb", false).unwrap(), "a/b");
        assert_eq!(decode("%252F", false).unwrap(), "%2F");
        assert_eq!(decode("a+b%20c", false).unwrap(), "a+b c");
        assert_eq!(decode("a+b%2Bc", true).unwrap(), "a b+c");
        assert_eq!(decode("%C3%A9é", false).unwrap(), "éé");
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in ["%", "%2", "a%zz", "%G0", "%%20", "% 20"] {
            assert!(decode(text, false).is_err(), "{text}");
        }
        assert_eq!(decode("%ff", false), Err("is not valid UTF-8"));
        assert_eq!(decode("%C0%80", true), Err("is not valid UTF-8"));
    }
}
