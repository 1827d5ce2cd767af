//! Names that no other test uses.

use std::{
    fmt::Write,
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Ports below those that the kernel gives to outgoing connections, so that nobody takes one between here and its use.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A free port of the loopback.
pub(crate) fn free_port() -> u16 {
    let span = PORTS.end - PORTS.start;
    // Two test processes on one machine begin at different places.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(span)).unwrap();
    for _ in 0..span {
        let port = PORTS.start + (begin + TAKEN.fetch_add(1, Ordering::Relaxed) % span) % span;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}

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
