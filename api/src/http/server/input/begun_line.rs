//! A line of a head or of trailers that arrives in pieces.

/// The longest line that is kept whole. Of a longer one the beginning is kept, with at least one byte more than this.
pub(super) const KEPT: usize = 64;

/// The beginning of a line whose end has not arrived.
#[derive(Debug, Default)]
pub(super) struct BegunLine {
    kept: Vec<u8>,
    /// The last byte that has arrived.
    last: u8,
}

impl BegunLine {
    /// Whether no byte of the line has arrived.
    pub(super) const fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Adds the next bytes of the line.
    pub(super) fn keep(&mut self, piece: &[u8]) {
        // One byte more for the carriage return, and one that shows that the line is longer.
        let room = (KEPT + 2).saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&piece[..piece.len().min(room)]);
        self.last = piece.last().copied().unwrap_or(self.last);
    }

    /// Adds the last bytes of the line, and takes it. A long line is shortened between its beginning and its last byte.
    pub(super) fn end_with(&mut self, piece: &[u8]) -> Vec<u8> {
        self.keep(piece);
        let mut line = std::mem::take(&mut self.kept);
        if line.len() > KEPT + 1 {
            line.push(self.last);
        }
        line
    }
}
