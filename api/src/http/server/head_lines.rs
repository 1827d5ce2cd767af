//! Bare line feeds in heads.
//!
//! hyper takes a line feed without a carriage return for the end of a line, which its specification allows. A proxy in
//! front of the service may read such a head differently, so that the two disagree where a request ends. Such a head is
//! refused.

/// How far a head has come.
#[derive(Debug, Default)]
pub(super) struct HeadLines {
    /// The last byte that was looked at.
    last: u8,
    /// Number of bytes that have come of the current line.
    line: usize,
    /// Whether the request line has come: hyper skips empty lines before it.
    has_begun: bool,
    has_ended: bool,
}

impl HeadLines {
    /// Whether the head has a bare line feed among these bytes, the next ones of a connection that waits for a head. What
    /// follows the head's end is not looked at.
    pub(super) fn has_bare_line_feed(&mut self, mut bytes: &[u8]) -> bool {
        while !self.has_ended
            && let Some(at) = memchr::memchr(b'\n', bytes)
        {
            let (line, rest) = bytes.split_at(at);
            if line.last().copied().unwrap_or(self.last) != b'\r' {
                return true;
            }
            // An empty line has nothing but its carriage return.
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
