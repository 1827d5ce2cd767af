//! Closes HTTP/2 connections that flood the service with SETTINGS frames.
//!
//! Each SETTINGS frame may change the windows of all streams, of which a connection can have a thousand. h2 does not limit the
//! frames, and no client needs many.

use std::time::Duration;

use tokio::time::Instant;

/// The number of frames that may arrive at once.
const AT_ONCE: u32 = 100;
/// The time after which one more frame is allowed.
const ONE_EVERY: Duration = Duration::from_millis(100);

/// The client preface: `PRI * HTTP/2.0` and more.
const PREFACE: usize = 24;
/// The head of a frame: its length in three bytes, its type, its flags, its stream.
const HEAD: usize = 9;
const SETTINGS: u8 = 4;
const ACK: u8 = 1;

/// Counts the SETTINGS frames of a connection.
#[derive(Debug)]
pub(super) struct SettingsCount {
    /// Bytes to skip before the next head.
    skip: usize,
    head: [u8; HEAD],
    /// The number of bytes of the head that were read.
    come: usize,
    /// The instant up to which the frames so far have used up the connection's time.
    used_until: Instant,
}

impl SettingsCount {
    /// The count of a new connection.
    pub(super) fn new(now: Instant) -> Self {
        Self { skip: PREFACE, head: [0; HEAD], come: 0, used_until: now }
    }

    /// Whether the connection has sent too many frames, these next bytes included.
    pub(super) fn are_too_many(&mut self, mut bytes: &[u8], now: Instant) -> bool {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD - self.come).min(bytes.len());
            if taken == 0 {
                return false;
            }
            self.head[self.come..self.come + taken].copy_from_slice(&bytes[..taken]);
            self.come += taken;
            bytes = &bytes[taken..];
            if self.come < HEAD {
                return false;
            }
            self.come = 0;
            let [a, b, c, kind, flags, ..] = self.head;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            if kind == SETTINGS && flags & ACK == 0 && !self.admit(now) {
                return true;
            }
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        self.used_until = self.used_until.max(now) + ONE_EVERY;
        self.used_until - now <= ONE_EVERY * AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = length.to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 0];
        // The payload of a frame is not a frame.
        frame.resize(HEAD + length, SETTINGS);
        frame
    }

    #[test]
    fn settings_without_end_are_too_many_however_they_are_cut() {
        let begin = Instant::now();
        for piece in [1, 7, 9, 16 * 1024] {
            let mut count = SettingsCount::new(begin);
            let mut come =
                |bytes: &[u8], now| bytes.chunks(piece).any(|bytes| count.are_too_many(bytes, now));
            assert!(!come(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", begin));
            let usual =
                [frame(SETTINGS, 0, 18), frame(1, 4, 40), frame(0, 1, 9_000), frame(SETTINGS, ACK, 0)];
            assert!(!come(&usual.concat().repeat(100), begin), "{piece}");
            assert!(!come(&frame(SETTINGS, ACK, 0).repeat(1_000), begin), "{piece}");
            assert!(!come(&frame(SETTINGS, 0, 0).repeat(10), begin + Duration::from_secs(1)), "{piece}");
            assert!(come(&frame(SETTINGS, 0, 6), begin + Duration::from_secs(1)), "{piece}");
        }
    }
}
