//! Who asks, and what it may do: identities, roles, key patterns, and bearer tokens. Nothing here knows of HTTP.

mod glob;
mod identity;
mod role;
mod secret;
mod token;
mod token_cache;
mod tokens;

pub use self::{
    glob::{Glob, InvalidGlob, KeyPatterns},
    identity::{Identity, credential},
    role::{InvalidRole, Role},
    secret::{Secret, SecretHash},
    token::{Scope, Token, TokenId},
    token_cache::{Checked, TokenCache},
    tokens::{NewToken, TokenError, Tokens},
};

/// Bytes in the alphabet of base64 that URLs can bear, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let group =
            chunk.iter().fold(0_u32, |group, byte| group << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            let value = group >> (18 - 6 * digit) & 63;
            text.push(char::from(DIGITS[usize::try_from(value).unwrap_or_default()]));
        }
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
