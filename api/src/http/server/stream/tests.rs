//! How much of a flood one poll of a connection reads.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use futures_util::task::noop_waker_ref;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The bytes of a request.
const HEADERS: usize = 13;
const FRAMES: u32 = 4_000;
/// The bytes that h2 reads at once.
const PIECE: usize = 8 * 1024;

/// A request in this stream, with headers of h2's static table.
fn request(stream: u32) -> [u8; HEADERS] {
    let [a, b, c, d] = stream.to_be_bytes();
    [0, 0, 4, 1, 5, a, b, c, d, 0x82, 0x86, 0x84, 0x84]
}

/// Reads like h2 until there are no more bytes for now. Returns the number of bytes.
fn poll(stream: &mut ClientStream) -> usize {
    let mut cx = Context::from_waker(noop_waker_ref());
    let mut read = 0;
    loop {
        let mut piece = [0; PIECE];
        let mut buffer = ReadBuf::new(&mut piece);
        let Poll::Ready(result) = Pin::new(&mut *stream).poll_read(&mut cx, &mut buffer) else { return read };
        result.unwrap();
        read += buffer.filled().len();
    }
}

/// h2 refuses streams beyond the limit, so they are no requests of a turn.
#[tokio::test]
async fn frames_without_end_take_a_poll_for_each_piece() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let connection = Connection::for_test(true);
    let mut stream = ClientStream::new(Transport::Plain(tcp), connection, true, Turns::new(1));
    let requests = (0..FRAMES).flat_map(|number| request(2 * number + 1));
    let sent: Vec<_> = PREFACE.iter().copied().chain(requests).collect();
    client.write_all(&sent).await.unwrap();
    stream.transport.tcp().readable().await.unwrap();
    let mut read = 0;
    while read < sent.len() {
        let polled = poll(&mut stream);
        assert!(polled > 0 && polled <= FRAMES_OF_TURN * HEADERS + PIECE, "{polled} bytes in a poll");
        read += polled;
    }
}
