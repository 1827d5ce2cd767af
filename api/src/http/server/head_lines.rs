//! Bare line feeds in heads.
//!
//! hyper takes a line feed without a carriage return for the end of a line, which its specification allows. A proxy in
//! front of the service may read such a head differently, so that the two disagree where a request ends. Such a head is
//! refused.

/// The end of what has come of a head.
#[derive(Debug, Default)]
pub(super) struct HeadLines {
    /// The last byte before those that are looked at.
    last: u8,
    /// Bytes in the line so far, without its end.
    line: usize,
    /// Whether the request line has begun: empty lines before it are skipped by hyper.
    has_begun: bool,
    has_ended: bool,
}

impl HeadLines {
    /// Whether the head has a bare line feed among these bytes, the next ones of a connection that waits for a head. What
    /// follows the head's end is not looked at.
    pub(super) fn has_bare_line_feed(&mut self, bytes: &[u8]) -> bool {
        for &byte in bytes {
            if self.has_ended {
                return false;
            }
            match byte {
                b'\n' if self.last != b'\r' => return true,
                b'\n' => {
                    self.has_ended = self.has_begun && self.line == 0;
                    self.line = 0;
                }
                b'\r' => {}
                _ => {
                    self.line += 1;
                    self.has_begun = true;
                }
            }
            self.last = byte;
        }
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
