//! Closes HTTP/2 connections that send trailers, or heads that are too long on the wire.
//!
//! h2 limits what it decodes. But it keeps the trailers of a request until its stream ends, where nobody can count them, and a kilobyte on
//! the wire may take a hundred in memory. No request of the service has trailers. And a head may have any number of bytes on the wire that
//! decode to nothing, while a few others keep the buffer of all of them alive.

/// The most bytes of a head on the wire.
const MOST_BYTES: usize = super::MAX_HEAD as usize;

/// Follows the heads of the requests of a connection.
#[derive(Debug, Default)]
pub(super) struct RequestHeads {
    /// The last stream that a head has opened. The streams of a client grow.
    last_stream: u32,
    /// The bytes of the last head.
    bytes: usize,
    /// The bytes of the longest one.
    longest: usize,
}

impl RequestHeads {
    /// Whether a head with so many bytes may begin in this stream. If the stream is not new, they are trailers.
    pub(super) const fn may_begin(&mut self, stream: u32, bytes: usize) -> bool {
        const RESERVED: u32 = 1 << 31;
        let stream = stream & !RESERVED;
        let is_new = stream > self.last_stream;
        self.last_stream = stream;
        self.bytes = 0;
        is_new && self.may_go_on(bytes)
    }

    /// Whether the head may go on with so many bytes.
    pub(super) const fn may_go_on(&mut self, bytes: usize) -> bool {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > self.longest {
            self.longest = self.bytes;
        }
        self.bytes <= MOST_BYTES
    }

    /// The length of the longest head, in bytes.
    pub(super) const fn longest(&self) -> usize {
        self.longest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_opens_a_new_stream_and_trailers_do_not() {
        let mut heads = RequestHeads::default();
        assert!(heads.may_begin(1, 100) && heads.may_begin(7, 100) && heads.may_begin(9 | 1 << 31, 100));
        assert!(!heads.may_begin(9, 1));
        assert!(!heads.may_begin(7, 1) && !RequestHeads::default().may_begin(0, 1));
    }

    #[test]
    fn a_head_in_one_frame_or_several_has_a_bound() {
        let mut heads = RequestHeads::default();
        assert!(heads.may_begin(1, MOST_BYTES) && !heads.may_begin(3, MOST_BYTES + 1));
        assert!(heads.may_begin(5, 1) && heads.may_go_on(MOST_BYTES - 1) && !heads.may_go_on(1));
        assert!(heads.may_begin(7, 1) && heads.may_go_on(MOST_BYTES - 1));
    }

    #[test]
    fn the_longest_head_is_known() {
        let mut heads = RequestHeads::default();
        for (stream, bytes, more) in [(1, 100, 0), (3, 100, 50), (5, 120, 0)] {
            assert!(heads.may_begin(stream, bytes) && heads.may_go_on(more));
        }
        assert_eq!(heads.longest(), 150);
    }
}
