//! Requests of HTTP/1.1: callers that hang up, what is refused, and who is cut off.

use socket2::SockRef;
use tokio::time::Instant;

use super::*;

/// Guards invariant 7: whatever a caller sent behind its request, its handler ends when it hangs up.
#[tokio::test]
async fn a_caller_that_hangs_up_drops_its_handler() {
    let server = Server::start(DEADLINE).await;
    let long = NOW.repeat(1_000);
    for more in ["", "\r\n", "x", NOW, &long] {
        let stream = server.send_waiting(more).await;
        drop(stream);
        in_time(server.ended.notified()).await;
        // Half of it closed is hung up, too: the two look the same.
        let mut stream = server.send_waiting(more).await;
        stream.shutdown().await.unwrap();
        in_time(server.ended.notified()).await;
        let stream = server.send_waiting(more).await;
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        drop(stream);
        in_time(server.ended.notified()).await;
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_after_more_bytes_came_later_drops_its_handler() {
    let server = Server::start(DEADLINE).await;
    let mut stream = server.send_waiting("").await;
    for more in ["\r", "\n", NOW, NOW] {
        stream.write_all(more.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(stream);
    in_time(server.ended.notified()).await;
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let server = Server::start(DEADLINE).await;
    let mut stream = server.send_waiting(&format!("{NOW}{NOW}")).await;
    is_kept(&mut stream).await;
    server.go_on.notify_one();
    let text = answer(&mut stream, "now").await;
    assert!(text.contains("waited"), "{text}");
    let text = if text.matches("now").count() == 2 { text } else { text + &answer(&mut stream, "now").await };
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3, "{text}");
}

#[tokio::test]
async fn an_answer_that_looks_like_a_refusal_arrives_whole_at_a_slow_reader() {
    let server = Server::start(DEADLINE).await;
    for pause in [Duration::ZERO, Duration::from_micros(100)] {
        let mut stream = server.send("GET /large HTTP/1.0\r\nhost: x\r\n\r\n").await;
        SockRef::from(&stream).set_recv_buffer_size(65_536).unwrap();
        let mut bytes = Vec::new();
        while in_time(stream.read_buf(&mut bytes)).await.unwrap() > 0 {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.split_once("\r\n\r\n").unwrap().1 == large_text(), "{} bytes", text.len());
    }
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start(DEADLINE).await;
    let long = format!("GET /now HTTP/1.1\r\nhost: x\r\nlong: {}\r\n\r\n", "x".repeat(MAX_HEAD as usize));
    for (bytes, status) in [
        ("NONSENSE\r\n\r\n", "400"),
        ("GET /now HTTP/1.1\nhost: x\n\n", "400"),
        ("GET /now HTTP/1.1\r\nhost: x\n\r\n", "400"),
        (&long, "431"),
    ] {
        let answer = rest(server.send(bytes).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:.40}: {answer}");
    }
    // A later head, and one that comes in pieces.
    let mut stream = server.send(NOW).await;
    answer(&mut stream, "now").await;
    stream.write_all(b"GET /now HTTP/1.1\r\nho").await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    stream.write_all(b"st: x\n\r\n").await.unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 400 "));
}

/// Time is paused: it advances when nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start(DEADLINE).await;
    let stream = server.send("GET /large HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let begin = Instant::now();
    // No other timer runs: time must not advance before the connection is accepted.
    server.ended.notified().await;
    assert!(begin.elapsed() >= Duration::from_secs(20), "{:?}", begin.elapsed());
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_sends_no_head_is_closed() {
    let server = Server::start(DEADLINE).await;
    for begun in ["", "GET /no"] {
        let begin = Instant::now();
        let mut stream = server.send(begun).await;
        let closed = stream.read(&mut [0]).await;
        assert!(closed.is_err() || closed.is_ok_and(|bytes| bytes == 0));
        assert!(begin.elapsed() < Duration::from_secs(11), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn more_connections_than_may_be_are_answered_503() {
    let server = Server::start_with(ServeOptions {
        max_connections: 1,
        requires_credentials: false,
        grace: DEADLINE,
        tls: None,
    })
    .await;
    let mut first = server.send(NOW).await;
    answer(&mut first, "now").await;
    let refused = rest(server.send(NOW).await).await;
    assert!(refused.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{refused}");
    assert!(refused.contains("retry-after: ") && refused.contains("/problems/unavailable"), "{refused}");
    first.write_all(NOW.as_bytes()).await.unwrap();
    answer(&mut first, "now").await;
    drop(first);
    let retry = async {
        while !rest(server.send(&NOW.replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n")).await)
            .await
            .starts_with("HTTP/1.1 200")
        {}
    };
    in_time(retry).await;
}
