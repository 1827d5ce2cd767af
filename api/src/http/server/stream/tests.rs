//! How much of a flood one poll of a connection reads, and what is written to a client that is gone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::{
    iter::repeat_n,
    sync::atomic::{AtomicBool, Ordering},
    task::Wake,
    time::Duration,
};

use futures_util::task::noop_waker_ref;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use super::{
    super::{
        frame_work::MOST_OF_TURN,
        turns::{Busy, MOST_BYTES},
    },
    *,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The bytes of a request.
const HEADERS: usize = 13;
const FRAMES: u32 = 4_000;
const LONG_HEADS: u32 = 20;
/// The bytes of a long head.
const LONG_HEAD: usize = 16 * 1024;
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

/// Notes that a task was woken.
#[derive(Debug, Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A new connection, and the client's end of it.
async fn connect(is_http2: bool) -> (TcpStream, ClientStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (tcp, _) = listener.accept().await.unwrap();
    let (connection, turns) = (Connection::for_test(true), (Turns::new(1), Work::default()));
    (client, ClientStream::new(Transport::Plain(tcp), connection, is_http2, turns, Arc::default()))
}

/// Whether the last poll has ended its turn before it had read or written all. The next turn begins.
fn ends_turn(busy: &mut Busy) -> bool {
    let ends = busy.has_more();
    let mut cx = Context::from_waker(noop_waker_ref());
    let _: Poll<()> = busy.poll_in_turn(&mut cx, || 0, |_| Poll::Pending);
    ends
}

/// Sends these frames, and checks that each turn reads at most `most` bytes of them before the last piece.
async fn assert_turns_end_after(most: usize, frames: Vec<u8>) {
    let (mut client, mut stream) = connect(true).await;
    let sent = [PREFACE, &frames].concat();
    client.write_all(&sent).await.unwrap();
    let (mut read, mut has_ended) = (0, false);
    let mut busy = Busy::new(stream.turns.clone(), stream.work.clone());
    while read < sent.len() {
        stream.transport.tcp().readable().await.unwrap();
        let polled = poll(&mut stream);
        assert!(polled <= most + PIECE, "{polled} bytes in a poll");
        read += polled;
        has_ended |= ends_turn(&mut busy);
    }
    assert!(has_ended, "a turn is over");
}

/// h2 refuses streams beyond the limit, so they are no requests of a turn.
#[tokio::test]
async fn frames_without_end_take_a_poll_for_each_piece() {
    let requests = (0..FRAMES).flat_map(|number| request(2 * number + 1));
    assert_turns_end_after(MOST_OF_TURN * HEADERS, requests.collect()).await;
}

/// h2 reads again before it hands out each request that it has read.
#[tokio::test]
async fn a_turn_that_has_ended_reads_no_more() {
    let (mut client, mut stream) = connect(true).await;
    let requests: Vec<_> = (0..FRAMES).flat_map(|number| request(2 * number + 1)).collect();
    client.write_all(&[PREFACE, &requests].concat()).await.unwrap();
    let mut busy = Busy::new(stream.turns.clone(), stream.work.clone());
    stream.transport.tcp().readable().await.unwrap();
    assert!(poll(&mut stream) > 0);
    assert_eq!(poll(&mut stream), 0);
    assert!(ends_turn(&mut busy));
    assert!(poll(&mut stream) > 0, "the next turn reads on");
}

/// h2 itself answers malformed heads, of which each byte may be a header.
#[tokio::test]
async fn long_heads_take_a_poll_each() {
    let heads = (0..LONG_HEADS).flat_map(|number| {
        let [a, b, c, d] = (2 * number + 1).to_be_bytes();
        [0, 0x40, 0, 1, 5, a, b, c, d].into_iter().chain(repeat_n(0x82, LONG_HEAD))
    });
    assert_turns_end_after(LONG_HEAD, heads.collect()).await;
}

/// Otherwise a connection with one request after the other would be busy now and then.
#[tokio::test]
async fn frames_that_come_one_after_the_other_end_no_turn() {
    let (mut client, mut stream) = connect(true).await;
    let mut busy = Busy::new(stream.turns.clone(), stream.work.clone());
    client.write_all(PREFACE).await.unwrap();
    for number in 0..FRAMES / 10 {
        client.write_all(&request(2 * number + 1)).await.unwrap();
        stream.transport.tcp().readable().await.unwrap();
        assert!(poll(&mut stream) >= HEADERS);
        assert!(!ends_turn(&mut busy));
    }
}

/// Guards holders against connections that read or write all the time.
#[tokio::test]
async fn a_turn_ends_after_many_bytes_and_the_connection_is_polled_again() {
    const BYTES: usize = 8;
    type Move = fn(&mut ClientStream, &mut Context<'_>) -> Poll<io::Result<()>>;
    let read: Move = |stream, cx| Pin::new(stream).poll_read(cx, &mut ReadBuf::new(&mut [0; BYTES]));
    let write: Move = |stream, cx| Pin::new(stream).poll_write(cx, &[0; BYTES]).map_ok(|_| ());
    for (is_http2, bytes) in [(false, read), (false, write), (true, read), (true, write)] {
        let (mut client, mut stream) = connect(is_http2).await;
        client.write_all(if is_http2 { PREFACE } else { b"GET / HTTP/1.1\r\nHost: a" }).await.unwrap();
        stream.transport.tcp().readable().await.unwrap();
        let mut busy = Busy::new(stream.turns.clone(), stream.work.clone());
        for _ in 0..2 {
            let woken = Arc::<Woken>::default();
            let waker = Arc::clone(&woken).into();
            let mut cx = Context::from_waker(&waker);
            stream.work.add(MOST_BYTES - BYTES);
            assert!(matches!(bytes(&mut stream, &mut cx), Poll::Ready(Ok(()))));
            assert!(!woken.0.load(Ordering::Relaxed) && !busy.has_more());
            assert!(bytes(&mut stream, &mut cx).is_pending());
            assert!(woken.0.load(Ordering::Relaxed) && ends_turn(&mut busy));
        }
    }
}

#[tokio::test]
async fn bytes_that_are_discarded_at_the_end_take_turns_too() {
    let (mut client, mut stream) = connect(false).await;
    client.write_all(&[b' '; 2 * PIECE]).await.unwrap();
    stream.transport.tcp().readable().await.unwrap();
    stream.connection.leave_body();
    let mut busy = Busy::new(stream.turns.clone(), stream.work.clone());
    stream.work.add(MOST_BYTES - 1);
    let woken = Arc::<Woken>::default();
    let waker = Arc::clone(&woken).into();
    assert!(Pin::new(&mut stream).poll_shutdown(&mut Context::from_waker(&waker)).is_pending());
    assert!(woken.0.load(Ordering::Relaxed) && ends_turn(&mut busy));
    let mut rest = vec![0; 2 * PIECE];
    assert!(stream.transport.tcp().try_read(&mut rest).unwrap() > PIECE, "one piece was read");
}

/// On a busy machine the runtime does not know it yet.
#[tokio::test]
async fn a_grant_is_not_written_to_a_client_that_has_waited_for_some_milliseconds_and_hung_up() {
    let (mut client, mut stream) = connect(false).await;
    client.write_all(b"POST / HTTP/1.1\r\n").await.unwrap();
    stream.transport.tcp().readable().await.unwrap();
    poll(&mut stream);
    stream.connection.unconfirmed().pretend();
    stream.hang_up.age(Duration::from_millis(3));
    drop(client);
    let written =
        Pin::new(&mut stream).poll_write(&mut Context::from_waker(noop_waker_ref()), b"HTTP/1.1 200 OK\r\n");
    assert!(matches!(written, Poll::Ready(Err(_))), "{written:?}");
}

/// It has closed its side just now.
#[tokio::test]
async fn a_grant_is_not_written_to_a_client_whose_end_was_read() {
    for is_http2 in [false, true] {
        let (mut client, mut stream) = connect(is_http2).await;
        client.shutdown().await.unwrap();
        stream.transport.tcp().readable().await.unwrap();
        let mut cx = Context::from_waker(noop_waker_ref());
        assert!(Pin::new(&mut stream).poll_read(&mut cx, &mut ReadBuf::new(&mut [0; 8])).is_ready());
        stream.connection.unconfirmed().pretend();
        let written = Pin::new(&mut stream).poll_write(&mut cx, b"HTTP/1.1 200 OK\r\n");
        assert!(matches!(written, Poll::Ready(Err(_))), "{written:?}");
    }
}

/// Then the client may have read it, and the connection may end before the rest is written. With HTTP/1.1 the answer ends with the last
/// byte.
#[tokio::test]
async fn with_http2_a_grant_counts_as_delivered_once_a_part_of_the_buffer_is_written() {
    for is_http2 in [false, true] {
        let (_client, mut stream) = connect(is_http2).await;
        stream.connection.unconfirmed().pretend();
        stream.transport.tcp().writable().await.unwrap();
        let answers = vec![0; 64 << 20];
        let written = Pin::new(&mut stream).poll_write(&mut Context::from_waker(noop_waker_ref()), &answers);
        assert!(matches!(written, Poll::Ready(Ok(some)) if some < answers.len()), "{written:?}");
        assert_eq!(stream.connection.unconfirmed().exist(), !is_http2);
    }
}
