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

/// A record takes as long as so many bytes, at most. So a turn of a connection has 256 records, which take about two milliseconds if each
/// changes the keys.
pub(super) const BYTES_OF_RECORD: usize = 2 * 1024;

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
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use futures_util::task::noop_waker_ref;
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::{
        super::turns::{MOST_BYTES, Turns},
        *,
    };
    use crate::http::connection::Party;

    /// The bytes that rustls reads at once.
    const PIECE: usize = 4_096;

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

    /// Guards holders against connections that change their keys without end.
    #[tokio::test]
    async fn a_turn_ends_after_many_records_whatever_is_in_them() {
        const MOST_RECORDS: usize = MOST_BYTES / BYTES_OF_RECORD;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        let (turns, work) = (Turns::new(1), Work::default());
        let mut socket = TlsSocket::new(tcp, work.clone());
        let sent = record(0).repeat(16 * MOST_RECORDS);
        client.write_all(&sent).await.unwrap();
        let (mut read, mut turns_taken) = (0, 0);
        while read < sent.len() {
            socket.tcp().readable().await.unwrap();
            let turn = turns.begin(1, (Party::UNKNOWN, &work), None, async {
                let mut cx = Context::from_waker(noop_waker_ref());
                let mut of_turn = 0;
                loop {
                    let mut piece = [0; PIECE];
                    let mut buffer = ReadBuf::new(&mut piece);
                    match Pin::new(&mut socket).poll_read(&mut cx, &mut buffer) {
                        Poll::Ready(result) => result.unwrap(),
                        Poll::Pending => break of_turn,
                    }
                    of_turn += buffer.filled().len();
                }
            });
            let of_turn = turn.await;
            assert!(of_turn < MOST_RECORDS * HEADER + PIECE, "{of_turn} bytes in a turn");
            read += of_turn;
            turns_taken += 1;
        }
        assert!(turns_taken >= 4);
    }
}
