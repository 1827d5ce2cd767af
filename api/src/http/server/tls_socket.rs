//! The socket below TLS, which counts the records that arrive.
//!
//! A record without data takes time, too: one with a new key makes TLS derive new keys. So records count towards the turn of the
//! connection, whatever is in them.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::turns::Work;

/// A record takes as long as so many bytes, at most. With one, the turn of a connection has 512 records, which take two milliseconds if
/// each changes the keys.
pub(super) const BYTES_OF_RECORD: usize = 1024;

/// The socket below TLS.
#[derive(Debug)]
pub(super) struct TlsSocket {
    tcp: TcpStream,
    records: Records,
    work: Work,
}

impl TlsSocket {
    /// A socket that counts its records as this `work`.
    pub(super) fn new(tcp: TcpStream, work: Work) -> Self {
        Self { tcp, records: Records::default(), work }
    }

    /// The socket of the operating system.
    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }
}

impl AsyncRead for TlsSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.work.poll_room(cx));
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.tcp).poll_read(cx, buffer))?;
        let records = this.records.count(&buffer.filled()[before..]);
        this.work.add(records * BYTES_OF_RECORD);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsSocket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// Finds where records begin (RFC 8446, 5.1). rustls ends a connection whose records are malformed.
#[derive(Debug, Default)]
struct Records {
    /// The number of bytes of the header that were read, or 0 within the content.
    of_header: usize,
    /// The bytes of the content that are to come; within a header, the bytes of its length that were read.
    left: usize,
}

/// The bytes of a record's header: its type, a version and the length of its content.
const HEADER: usize = 5;
/// The bytes of the header before the length.
const BEFORE_LENGTH: usize = 3;

impl Records {
    /// The number of records that begin in these `bytes`, which follow the last ones.
    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut records = 0;
        while let Some((&first, rest)) = bytes.split_first() {
            if self.of_header == 0 && self.left > 0 {
                let content = self.left.min(bytes.len());
                self.left -= content;
                bytes = &bytes[content..];
                continue;
            }
            records += usize::from(self.of_header == 0);
            if self.of_header >= BEFORE_LENGTH {
                self.left = self.left << 8 | usize::from(first);
            }
            self.of_header = (self.of_header + 1) % HEADER;
            bytes = rest;
        }
        records
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(content: usize) -> Vec<u8> {
        let [_, .., a, b] = content.to_be_bytes();
        [vec![23, 3, 3, a, b], vec![0xff; content]].concat()
    }

    #[test]
    fn records_are_counted_in_whatever_pieces_they_arrive() {
        let contents = [0, 1, 0, 300, 5, 16_640, 2];
        let bytes = contents.map(record).concat();
        for piece in [1, 2, 3, 7, 4_096, bytes.len()] {
            let mut records = Records::default();
            let counted: usize = bytes.chunks(piece).map(|bytes| records.count(bytes)).sum();
            assert_eq!(counted, contents.len(), "in pieces of {piece} bytes");
        }
    }
}
