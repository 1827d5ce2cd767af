//! Answers over HTTP/2 that hyper has taken, and the client has not read.

use std::future::pending;

use super::*;
use crate::http::{
    connection::LastParty,
    server::{
        client,
        connection_memory::{RequestMemory, STREAM_BYTES},
    },
};

const ANSWERS: usize = 10;
/// The first piece of an answer has room for all of it.
const BYTES: usize = 1_000;
/// The length of a long query.
const LONG: usize = 2_000;
/// A client must not open a window of a few bytes without end, so the test has a larger one.
const WINDOW: u32 = 100;

fn answer(path: &str) -> Response {
    let mut response = Response::new(Body::from("x".repeat(BYTES)));
    if path == "/empty" {
        *response.body_mut() = Body::empty();
        *response.status_mut() = axum::http::StatusCode::NO_CONTENT;
    }
    response
}

/// A connection, and the memory of its requests and answers that the server counts.
async fn accepted() -> (TcpStream, Arc<ConnectionMemory>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, peer) = listener.accept().await.unwrap();
    let memory = Arc::<ConnectionMemory>::default();
    let protocols =
        Protocols { http1: http1(), tls: None, memory: Arc::clone(&memory), turns: Turns::new(1) };
    let party = LastParty::of_newcomer(peer.ip(), &Arc::default());
    let slot = Slots::new(1, false).take(party.get(), peer.ip()).unwrap();
    let counted = (slot, ConnectionMetrics::new(1).opened());
    let (phase, phases) = watch::channel(Phase::Serving);
    let service = tower::service_fn(|request: Request<ClientBody>| {
        request.body().connection().set_known();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            if path == "/waits" {
                pending::<()>().await;
            }
            Ok::<_, Infallible>(answer(&path))
        })
    });
    tokio::spawn(async move {
        client::serve(protocols, (accepted, peer, party), false, service, phases, counted).await;
        drop(phase);
    });
    (stream, memory)
}

/// A client with windows of this size, and the memory of its connection that the server counts.
async fn connect(window: u32) -> (h2::client::SendRequest<bytes::Bytes>, Arc<ConnectionMemory>) {
    let (stream, memory) = accepted().await;
    let mut builder = h2::client::Builder::new();
    let handshake = builder.initial_window_size(window).handshake(stream);
    let (client, connection) = in_time(handshake).await.unwrap();
    tokio::spawn(connection);
    (client, memory)
}

/// Waits until no answer counts as unread: the service notices what it has written a moment after the client.
async fn until_none_is_unread(memory: &ConnectionMemory) {
    let none = async {
        while memory.bytes() > 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time(none).await;
}

/// hyper takes a whole small answer as soon as the client has room for a byte of it.
#[tokio::test]
async fn an_answer_over_http2_is_unread_until_all_of_it_is_written() {
    let (client, memory) = connect(WINDOW).await;
    let mut bodies = Vec::new();
    for _ in 0..ANSWERS {
        let mut body = in_time(http2::send_http2(&client, "/").await.0).await.unwrap().into_body();
        let first = in_time(body.data()).await.unwrap().unwrap();
        bodies.push((body, first.len()));
    }
    assert_eq!((memory.bytes(), memory.waiting()), (ANSWERS * (STREAM_BYTES + BYTES), 0));
    // One half of the answers is reset, and the other one is read.
    drop(bodies.split_off(ANSWERS / 2));
    for (mut body, mut read) in bodies {
        body.flow_control().release_capacity(read).unwrap();
        while let Some(piece) = in_time(body.data()).await {
            let piece = piece.unwrap();
            body.flow_control().release_capacity(piece.len()).unwrap();
            read += piece.len();
        }
        assert_eq!(read, BYTES);
    }
    until_none_is_unread(&memory).await;
}

#[tokio::test]
async fn answers_that_are_read_do_not_count() {
    let (client, memory) = connect(64 * 1024).await;
    for _ in 0..ANSWERS {
        let (response, _) = http2::send_http2(&client, "/").await;
        assert_eq!(http2::text_http2(response).await.len(), BYTES);
        until_none_is_unread(&memory).await;
    }
}

/// It has no bytes that could be unread, but its stream takes memory until its head is written.
#[tokio::test]
async fn an_empty_answer_ends_and_has_no_length() {
    let (client, memory) = connect(64 * 1024).await;
    let answer = in_time(http2::send_http2(&client, "/empty").await.0).await.unwrap();
    assert_eq!(answer.status(), 204);
    assert!(!answer.headers().contains_key("content-length"));
    let mut body = answer.into_body();
    while let Some(piece) = in_time(body.data()).await {
        assert!(piece.unwrap().is_empty());
    }
    until_none_is_unread(&memory).await;
}

/// A client can send a thousand requests with its first bytes, on each of thousands of connections.
#[tokio::test]
async fn a_request_over_http2_counts_until_its_stream_ends() {
    let (client, memory) = connect(WINDOW).await;
    let mut waiting = Vec::new();
    let long = "a".repeat(LONG);
    for _ in 0..ANSWERS {
        let request = Request::get(format!("http://x/waits?{long}")).header("x-a", "b").body(()).unwrap();
        waiting.push(in_time(client.clone().ready()).await.unwrap().send_request(request, true).unwrap());
    }
    // A request that has begun keeps its path, and no head of the connection.
    let request = Request::get(format!("http://x/waits?{long}")).body(()).unwrap();
    let all = ANSWERS * RequestMemory::of(&request, LONG, None).waiting();
    let counted = async {
        while memory.waiting() < all {
            tokio::task::yield_now().await;
        }
    };
    in_time(counted).await;
    assert_eq!((memory.bytes(), memory.waiting()), (all, all));
    drop((waiting, client));
    until_none_is_unread(&memory).await;
}

/// HPACK remembers their headers, and keeps all that came with them.
#[tokio::test]
async fn heads_that_h2_refuses_count() {
    const HEAD: u16 = 16 * 1024;
    let (mut client, memory) = accepted().await;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for stream in [1, 3, 5, 7] {
        let [a, b] = HEAD.to_be_bytes();
        sent.extend([0, a, b, 1, 5, 0, 0, 0, stream]);
        // `:method: GET` again and again.
        sent.extend(std::iter::repeat_n(0x82, usize::from(HEAD)));
    }
    client.write_all(&sent).await.unwrap();
    let counted = async {
        while memory.bytes() < 4 * usize::from(HEAD) {
            tokio::task::yield_now().await;
        }
    };
    in_time(counted).await;
    drop(client);
    until_none_is_unread(&memory).await;
}
