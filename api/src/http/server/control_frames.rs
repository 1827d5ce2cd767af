//! Closes HTTP/2 connections that flood the service with control frames.
//!
//! Requests and their bodies are limited by streams and windows. h2 does not limit most other frames. A SETTINGS frame may change
//! the windows of all streams, of which a connection can have a thousand, and a PING is answered. The others cost less, but are
//! work for nothing. Clients need some of them from time to time, for each request, and for each part of an answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{frame_work::FrameWork, request_heads::RequestHeads};

/// The number of SETTINGS and PING frames that may arrive at once.
const AT_ONCE: u32 = 100;
/// The time after which one more of them is allowed.
const ONE_EVERY: Duration = Duration::from_millis(100);

/// The credit of a new connection for other frames.
const CREDIT: usize = 100;
/// The credit for a request: the client may change its priority, open a window for its answer, or reset it and send a PING.
const FOR_REQUEST: usize = 4;
/// One more credit for so many bytes that are written.
const BYTES_FOR_ONE: usize = 1024;
/// One `WINDOW_UPDATE` frame answers so many bytes that are written. A client opens the windows of the stream and of the connection
/// whenever it has read a part of a window. So a window of 1 KiB may take four frames, and smaller windows are allowed too. But windows
/// of a few bytes would be work for nothing.
const BYTES_FOR_WINDOW_UPDATE: usize = 128;
/// The price of a PING beyond those that are always allowed.
const PING_PRICE: usize = 2;

/// The client preface: `PRI * HTTP/2.0` and more.
const PREFACE: usize = 24;
/// The head of a frame: its length in three bytes, its type, its flags, its stream.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Counts the control frames of a connection, and follows its heads.
#[derive(Debug)]
pub(super) struct ControlFrames {
    heads: RequestHeads,
    /// The work of all frames, requests and bodies included.
    pub(super) work: FrameWork,
    /// Bytes to skip before the next head.
    skip: usize,
    head: [u8; HEAD],
    /// The number of bytes of the head that were read.
    come: usize,
    /// The instant up to which SETTINGS and PING frames have used up the connection's time.
    used_until: Instant,
    /// The number of other frames that may arrive.
    credit: usize,
    /// The written bytes that have not become credit yet.
    written: usize,
    /// The written bytes that no `WINDOW_UPDATE` frame has answered.
    unanswered: usize,
}

impl ControlFrames {
    /// The count of a new connection.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heads: RequestHeads::default(),
            work: FrameWork::default(),
            skip: PREFACE,
            head: [0; HEAD],
            come: 0,
            used_until: now,
            credit: CREDIT,
            written: 0,
            unanswered: 0,
        }
    }

    /// The length of the longest head of a request, in bytes.
    pub(super) const fn longest_head(&self) -> usize {
        self.heads.longest()
    }

    /// Notes that bytes were written to the client.
    pub(super) const fn written(&mut self, bytes: usize) {
        self.unanswered = self.unanswered.saturating_add(bytes);
        let bytes = self.written + bytes;
        self.credit = self.credit.saturating_add(bytes / BYTES_FOR_ONE);
        self.written = bytes % BYTES_FOR_ONE;
    }

    /// Whether the connection has sent too many frames, trailers, or a head that is too long, these next bytes included.
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
            let [a, b, c, kind, _, stream @ ..] = self.head;
            self.skip = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
            self.work.add(if kind == DATA { 0 } else { self.skip });
            let is_allowed = match kind {
                HEADERS => {
                    self.credit = self.credit.saturating_add(FOR_REQUEST);
                    self.heads.may_begin(u32::from_be_bytes(stream), self.skip)
                }
                CONTINUATION => self.heads.may_go_on(self.skip),
                // h2 limits these.
                DATA => true,
                SETTINGS => self.admit(now),
                PING => self.admit(now) || self.pay(PING_PRICE),
                WINDOW_UPDATE => self.answer() || self.pay(1),
                _ => self.pay(1),
            };
            if !is_allowed {
                return true;
            }
        }
    }

    fn admit(&mut self, now: Instant) -> bool {
        let used_until = self.used_until.max(now) + ONE_EVERY;
        let is_allowed = used_until - now <= ONE_EVERY * AT_ONCE;
        if is_allowed {
            self.used_until = used_until;
        }
        is_allowed
    }

    /// Whether a `WINDOW_UPDATE` frame answers written bytes.
    const fn answer(&mut self) -> bool {
        let left = self.unanswered.checked_sub(BYTES_FOR_WINDOW_UPDATE);
        if let Some(left) = left {
            self.unanswered = left;
        }
        left.is_some()
    }

    const fn pay(&mut self, price: usize) -> bool {
        let left = self.credit.checked_sub(price);
        if let Some(left) = left {
            self.credit = left;
        }
        left.is_some()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use super::*;

    const PREFACE_BYTES: &[u8; PREFACE] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const ACK: u8 = 1;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let [.., a, b, c] = length.to_be_bytes();
        let mut frame = vec![a, b, c, kind, flags, 0, 0, 0, 0];
        // The payload of a frame is not a frame.
        frame.resize(HEAD + length, SETTINGS);
        frame
    }

    #[test]
    fn control_frames_without_end_are_too_many_however_they_are_cut() {
        let begin = Instant::now();
        let later = begin + Duration::from_secs(1);
        let [priority, reset, go_away, window_update, unknown] = [(2, 5), (3, 4), (7, 8), (8, 4), (0xbe, 0)];
        let kinds = [
            (SETTINGS, 0, 18, AT_ONCE, 10),
            (SETTINGS, ACK, 0, AT_ONCE, 10),
            (PING, 0, 8, AT_ONCE + 50, 10),
            (PING, ACK, 8, AT_ONCE + 50, 10),
        ];
        let others = [priority, reset, go_away, window_update, unknown];
        let others = others.map(|(kind, length)| (kind, 0, length, 100, 0));
        for (kind, flags, length, at_once, after_a_second) in kinds.into_iter().chain(others) {
            let control = |times: u32| frame(kind, flags, length).repeat(usize::try_from(times).unwrap());
            for (now, more) in [(begin, 0), (later, after_a_second)] {
                for piece in [1, 7, 9, 16 * 1024] {
                    let mut count = ControlFrames::new(begin);
                    let mut come =
                        |bytes: &[u8], now| bytes.chunks(piece).any(|bytes| count.are_too_many(bytes, now));
                    assert!(!come(PREFACE_BYTES, begin));
                    assert!(!come(&control(at_once), begin), "{kind} {piece}");
                    assert!(!come(&frame(DATA, 1, 9_000), begin), "{kind} {piece}");
                    assert!(!come(&control(more), now), "{kind} {piece}");
                    assert!(come(&control(1), now), "{kind} {piece}");
                }
            }
        }
    }

    #[test]
    fn a_client_may_send_some_for_each_request_and_for_what_it_is_answered() {
        let now = Instant::now();
        let mut count = ControlFrames::new(now);
        assert!(!count.are_too_many(PREFACE_BYTES, now));
        let (reset, window_update) = (frame(3, 0, 4), frame(8, 0, 4));
        for request in 0_u32..10_000 {
            let mut head = frame(HEADERS, 4, 40);
            head[HEAD - 4..HEAD].copy_from_slice(&(2 * request + 1).to_be_bytes());
            let cancelled = [head, window_update.clone(), reset.clone(), frame(PING, 0, 8)];
            assert!(!count.are_too_many(&cancelled.concat(), now));
        }
        // A client reads 4 MiB that were written before it opens the windows.
        (0..4 * 1024).for_each(|_| count.written(1024));
        assert!(!count.are_too_many(&window_update.repeat(2 * 1024), now));
    }

    #[test]
    fn a_window_update_that_answers_written_bytes_is_allowed_and_no_other() {
        let now = Instant::now();
        let mut count = ControlFrames::new(now);
        assert!(!count.are_too_many(PREFACE_BYTES, now));
        let window_update = frame(WINDOW_UPDATE, 0, 4);
        assert!(!count.are_too_many(&window_update.repeat(CREDIT), now));
        // A client with windows of 1 KiB opens both whenever it has read half of one.
        for _ in 0..10_000 {
            count.written(HEAD + 512);
            assert!(!count.are_too_many(&window_update.repeat(2), now));
        }
        let mut answered = 0;
        while !count.are_too_many(&window_update, now) {
            answered += 1;
        }
        let written = 10_000 * (HEAD + 512);
        assert_eq!(answered, written / BYTES_FOR_WINDOW_UPDATE + written / BYTES_FOR_ONE - 20_000);
    }

    #[test]
    fn other_frames_answer_no_bytes() {
        let now = Instant::now();
        let mut count = ControlFrames::new(now);
        assert!(!count.are_too_many(PREFACE_BYTES, now));
        count.written((1024 - CREDIT) * BYTES_FOR_ONE);
        assert!(!count.are_too_many(&frame(3, 0, 4).repeat(1024), now));
        assert!(count.are_too_many(&frame(3, 0, 4), now));
    }
}
