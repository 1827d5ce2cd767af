//! base64 in the alphabet for URLs, without padding.

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Encodes three bytes as four digits.
pub(crate) const fn digits_of([a, b, c]: [u8; 3]) -> [u8; 4] {
    [
        DIGITS[(a >> 2) as usize],
        DIGITS[((a << 4 | b >> 4) & 63) as usize],
        DIGITS[((b << 2 | c >> 6) & 63) as usize],
        DIGITS[(c & 63) as usize],
    ]
}

/// Encodes bytes as text.
pub(crate) fn base64url(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        text.extend(digits_of(group).into_iter().take(chunk.len() + 1).map(char::from));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64url;

    #[test]
    fn bytes_are_written_without_padding() {
        let written = [&b""[..], b"f", b"fo", b"foo", b"foob", &[0xFB, 0xFF]].map(base64url);
        assert_eq!(written, ["", "Zg", "Zm8", "Zm9v", "Zm9vYg", "-_8"]);
    }
}
