//! Refuses heads with bare line feeds.
//!
//! hyper accepts a line feed without a carriage return as the end of a line, which the specification allows. A proxy in front of
//! the service may read such a head differently, and then both disagree about where a request ends.

/// The part of a head that was read.
#[derive(Debug, Default)]
pub(super) struct HeadLines {
    /// The last byte.
    last: u8,
    /// The number of bytes of the current line.
    line: usize,
    /// Whether the request line was read. hyper skips empty lines before it.
    has_begun: bool,
    has_ended: bool,
}

impl HeadLines {
    /// Whether the next bytes of the head have a bare line feed. Bytes after the end of the head are ignored.
    pub(super) fn has_bare_line_feed(&mut self, mut bytes: &[u8]) -> bool {
        while !self.has_ended
            && let Some(at) = memchr::memchr(b'\n', bytes)
        {
            let (line, rest) = bytes.split_at(at);
            if line.last().copied().unwrap_or(self.last) != b'\r' {
                return true;
            }
            // An empty line is only a carriage return.
            let is_empty = self.line + line.len() == 1;
            self.has_ended = self.has_begun && is_empty;
            self.has_begun |= !is_empty;
            self.line = 0;
            bytes = &rest[1..];
        }
        self.line += bytes.len();
        self.last = bytes.last().copied().unwrap_or(b'\n');
        false
    }
}

#[cfg(test)]
mod tests {
    use super::HeadLines;

    fn is_refused(pieces: &[&str]) -> bool {
        let mut lines = HeadLines::default();
        pieces.iter().any(|piece| lines.has_bare_line_feed(piece.as_bytes()))
    }

    #[test]
    fn lines_of_a_head_end_with_both_characters() {
        for good in [
            &["GET / HTTP/1.1\r\nhost: x\r\n\r\n"][..],
            &["\r\n\r\nGET / HTTP/1.1\r", "\nhost: x", "\r\n\r", "\n"],
            &["POST / HTTP/1.1\r\n\r\n{\n}"],
            &["POST / HTTP/1.1\r\n\r\n", "{\n}"],
        ] {
            assert!(!is_refused(good), "{good:?}");
        }
        for bad in [
            &["GET / HTTP/1.1\nhost: x\r\n\r\n"][..],
            &["GET / HTTP/1.1\r\nhost: x\n\r\n"],
            &["GET / HTTP/1.1\r\nhost: x\r\n\n"],
            &["GET / HTTP/1.1\r\nhost: x", "\n\r\n"],
            &["\nGET / HTTP/1.1\r\n\r\n"],
        ] {
            assert!(is_refused(bad), "{bad:?}");
        }
    }
}
