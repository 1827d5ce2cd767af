//! Free ports.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Ports below those that the kernel gives to outgoing connections, so that nobody takes one before it is used.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

static TAKEN: AtomicU16 = AtomicU16::new(0);

/// A free port of the loopback.
///
/// # Panics
///
/// If there is none.
pub fn free_port() -> u16 {
    let span = u32::from(PORTS.end - PORTS.start);
    // Two processes on one machine begin at different ports.
    let begin = std::process::id().wrapping_mul(97);
    for _ in 0..span {
        let offset = begin.wrapping_add(u32::from(TAKEN.fetch_add(1, Ordering::Relaxed))) % span;
        let port = u16::try_from(u32::from(PORTS.start) + offset).unwrap_or(PORTS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port in {PORTS:?}");
}
