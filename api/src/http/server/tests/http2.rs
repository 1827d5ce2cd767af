//! HTTP/2 on the same port.

use super::*;

/// A client of HTTP/2 that knows before that the server speaks it.
async fn http2(server: &Server) -> h2::client::SendRequest<bytes::Bytes> {
    http2_with(server, &h2::client::Builder::new()).await
}

async fn http2_with(server: &Server, builder: &h2::client::Builder) -> h2::client::SendRequest<bytes::Bytes> {
    let stream = TcpStream::connect(server.address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = in_time(builder.handshake(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

pub(super) async fn send_http2(
    client: &h2::client::SendRequest<bytes::Bytes>,
    path: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<bytes::Bytes>) {
    let mut client = in_time(client.clone().ready()).await.unwrap();
    let request = axum::http::Request::get(format!("http://x{path}")).body(()).unwrap();
    client.send_request(request, true).unwrap()
}

pub(super) async fn text_http2(response: h2::client::ResponseFuture) -> String {
    let mut body = in_time(response).await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(piece) = in_time(body.data()).await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        text.extend_from_slice(&piece);
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn http2_is_spoken_with_who_begins_with_it() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (waiting, _) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    let (now, _) = send_http2(&client, "/now").await;
    assert_eq!(text_http2(now).await, "now", "beside a request that waits");
    let (large, _) = send_http2(&client, "/large").await;
    assert_eq!(text_http2(large).await, large_text());
    server.go_on.notify_one();
    assert_eq!(text_http2(waiting).await, "waited");
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    for piece in ["P", "OST /now HTTP/1.1\r\nhost: x\r\n\r\n"] {
        slow.write_all(piece.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(answer(&mut slow, "\r\n\r\n").await.starts_with("HTTP/1.1 405"));
}

/// Guards invariant 7: with HTTP/2 a stream that is reset is hung up, and so is each stream of a connection that ends.
#[tokio::test]
async fn a_reset_stream_drops_its_handler_and_no_other() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (kept, _) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    let (_, mut reset) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    reset.send_reset(h2::Reason::CANCEL);
    in_time(server.ended.notified()).await;
    server.go_on.notify_one();
    assert_eq!(text_http2(kept).await, "waited");
    in_time(server.ended.notified()).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = in_time(h2::client::handshake(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let _waiting = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    connection.abort();
    in_time(server.ended.notified()).await;
}

#[tokio::test]
async fn a_client_with_windows_of_1_kib_is_served() {
    let server = Server::start(DEADLINE).await;
    let client = http2_with(&server, h2::client::Builder::new().initial_window_size(1024)).await;
    let (large, _) = send_http2(&client, "/large").await;
    let mut body = in_time(large).await.unwrap().into_body();
    let mut read = 0;
    while read < 512 * 1024 {
        let piece = in_time(body.data()).await.unwrap().unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        read += piece.len();
    }
}

/// h2 would keep them until the stream ends, where nobody counts them.
#[tokio::test]
async fn trailers_end_the_connection() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (waiting, _) = send_http2(&client, "/waits").await;
    let mut ready = in_time(client.ready()).await.unwrap();
    let request = axum::http::Request::get("http://x/waits").body(()).unwrap();
    let (_, mut body) = ready.send_request(request, false).unwrap();
    for _ in 0..2 {
        in_time(server.began.notified()).await;
    }
    body.send_trailers(axum::http::HeaderMap::new()).unwrap();
    assert!(in_time(waiting).await.is_err());
}

/// hyper's own 200 streams would let waiting acquires block the heartbeats of their client.
#[tokio::test]
async fn a_connection_has_a_thousand_streams() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let mut waiting = Vec::new();
    for _ in 0..999 {
        waiting.push(send_http2(&client, "/waits").await);
    }
    let (now, _) = send_http2(&client, "/now").await;
    assert_eq!(text_http2(now).await, "now");
}

#[tokio::test]
async fn http2_ends_with_the_service() {
    let server = Server::start(DEADLINE).await;
    let client = http2(&server).await;
    let (waiting, _) = send_http2(&client, "/waits").await;
    in_time(server.began.notified()).await;
    server.stop.notify_one();
    server.go_on.notify_one();
    assert_eq!(text_http2(waiting).await, "waited");
    in_time(server.served).await.unwrap();
}
