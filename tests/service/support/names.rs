//! Names that no other test uses.

use std::fmt::Write;

pub(crate) use db_locks_testing::free_port;

/// Random letters and digits.
pub(crate) fn random_text() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// A version as a caller chooses it: a random UUID in its usual form.
pub(crate) fn random_version() -> String {
    let mut bytes = rand::random::<[u8; 16]>();
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// A key as one path segment.
pub(crate) fn segment(key: &str) -> String {
    let mut segment = String::new();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() {
            segment.push(char::from(byte));
        } else {
            write!(segment, "%{byte:02X}").unwrap();
        }
    }
    segment
}
