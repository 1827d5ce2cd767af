//! Refuses requests of HTTP/1.1 whose end a proxy may see at another place than the service.
//!
//! hyper accepts a line feed without a carriage return as the end of a line, which the specification allows. A proxy in front of the
//! service may read such lines differently, and then both disagree about where a request ends. So all that a connection sends is checked
//! before hyper reads it: each head, the sizes of chunks, and trailers. For this the check knows where bodies end. It refuses what it and
//! hyper could read differently, and hyper refuses other malformed heads itself and closes the connection.

mod begun_line;
mod body_length;

#[cfg(test)]
mod tests;

use std::io;

use tokio::io::ReadBuf;

use self::{
    begun_line::BegunLine,
    body_length::{BodyLength, chunk_size},
};

/// Passed to hyper in place of the rest of a refused head. hyper refuses it like any malformed head.
const MALFORMED: &[u8] = b"\0\r\n\r\n";

/// The part of a request that is read next.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// The request line. hyper skips empty lines before it.
    RequestLine,
    /// A header, or the empty line after the last one; with the length that the headers so far declare.
    Header(BodyLength),
    /// A body with this many bytes left.
    Body(u64),
    /// The size of a chunk.
    ChunkSize,
    /// A chunk with this many bytes left, its line end included. hyper checks the line end.
    Chunk(u64),
    /// A trailer, or the empty line after the last one.
    Trailer,
}

/// What hyper reads once a request was refused.
#[derive(Debug)]
enum Refusal {
    /// The rest of [`MALFORMED`], and then the end.
    Head(&'static [u8]),
    /// An error, which hyper passes to the reader of the body.
    Body,
}

/// The check of one connection.
#[derive(Debug)]
pub(super) struct InputCheck {
    part: Part,
    begun: BegunLine,
    refusal: Option<Refusal>,
}

impl Default for InputCheck {
    fn default() -> Self {
        Self { part: Part::RequestLine, begun: BegunLine::default(), refusal: None }
    }
}

impl InputCheck {
    /// Whether a request was refused. Nothing more is read from the client then.
    pub(super) const fn has_refused(&self) -> bool {
        self.refusal.is_some()
    }

    /// Checks the bytes behind the first `checked` ones of a buffer. Those of a refused request are removed from its first wrong line end on.
    pub(super) fn check(&mut self, buffer: &mut ReadBuf<'_>, checked: usize) -> io::Result<()> {
        let Some(good) = self.follow(&buffer.filled()[checked..]) else { return Ok(()) };
        buffer.set_filled(checked + good);
        match self.part {
            Part::RequestLine | Part::Header(_) => {
                self.refusal = Some(Refusal::Head(MALFORMED));
                self.read_refusal(buffer)
            }
            Part::Body(_) | Part::ChunkSize | Part::Chunk(_) | Part::Trailer => {
                self.refusal = Some(Refusal::Body);
                // Requests before this one are answered first.
                if good > 0 { Ok(()) } else { self.read_refusal(buffer) }
            }
        }
    }

    /// Reads what hyper gets after a refusal.
    pub(super) fn read_refusal(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        match &mut self.refusal {
            Some(Refusal::Head(rest)) => {
                let (now, later) = rest.split_at(rest.len().min(buffer.remaining()));
                buffer.put_slice(now);
                *rest = later;
                Ok(())
            }
            Some(Refusal::Body) => Err(io::ErrorKind::InvalidData.into()),
            None => Ok(()),
        }
    }

    /// Follows the requests in the next bytes. If one of them must be refused: the number of bytes before its wrong line end.
    fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut rest = bytes;
        while !rest.is_empty() {
            match &mut self.part {
                Part::Body(left) | Part::Chunk(left) => {
                    let skipped = rest.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                    rest = &rest[skipped..];
                    *left -= skipped as u64;
                    if *left == 0 {
                        self.part = self.part.after_bytes();
                    }
                }
                part => {
                    let Some(at) = memchr::memchr(b'\n', rest) else {
                        self.begun.keep(rest);
                        return None;
                    };
                    let (line, others) = rest.split_at(at);
                    let is_good = if self.begun.is_empty() {
                        part.take(line)
                    } else {
                        part.take(&self.begun.end_with(line))
                    };
                    if !is_good {
                        return Some(bytes.len() - others.len());
                    }
                    rest = &others[1..];
                }
            }
        }
        None
    }
}

impl Part {
    /// Takes a line of this part, without its line feed. False if the request must be refused.
    #[inline]
    fn take(&mut self, line: &[u8]) -> bool {
        let Some(line) = line.strip_suffix(b"\r") else { return false };
        match self {
            // Most lines by far.
            Self::Header(length) if !line.is_empty() => length.add(line),
            _ => self.take_other(line),
        }
    }

    /// Takes another line than a header.
    fn take_other(&mut self, line: &[u8]) -> bool {
        let is_empty = line.is_empty();
        *self = match self {
            Self::RequestLine if !is_empty => Self::Header(BodyLength::Undeclared),
            Self::Header(BodyLength::Known(bytes @ 1..)) => Self::Body(*bytes),
            Self::Header(BodyLength::Chunked) => Self::ChunkSize,
            Self::RequestLine | Self::Header(_) => Self::RequestLine,
            Self::ChunkSize => match chunk_size(line) {
                Some(0) => Self::Trailer,
                Some(bytes) => Self::Chunk(bytes.saturating_add(2)),
                None => return false,
            },
            Self::Trailer if is_empty => Self::RequestLine,
            // Bodies and chunks have no lines.
            Self::Trailer | Self::Body(_) | Self::Chunk(_) => return true,
        };
        true
    }

    /// The part after the last byte of a body or of a chunk.
    const fn after_bytes(self) -> Self {
        if matches!(self, Self::Chunk(_)) { Self::ChunkSize } else { Self::RequestLine }
    }
}
