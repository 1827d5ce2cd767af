//! How connections end when the service stops.

use std::future::{pending, poll_fn};

use tokio::time::Instant;

use super::{by_hand::ByHand, *};
use crate::http::{
    connection::Party,
    server::turns::{Busy, Work},
};

const ASKS: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

/// Lets idle connections be closed, after the time in which a new one is kept for its first request.
async fn close_idle(connection: &ByHand) {
    connection.phase.send_replace(Phase::Closing);
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_stop_announces_the_last_answer_of_each_connection() {
    let server = Server::start(DEADLINE).await;
    let mut idle = server.send(NOW).await;
    let kept = answer(&mut idle, "now").await;
    assert!(!kept.contains("connection: close"), "{kept}");
    let waiting = server.send_waiting("").await;
    server.stop.notify_one();
    is_kept(&mut idle).await;
    idle.write_all(NOW.as_bytes()).await.unwrap();
    let last = rest(idle).await;
    assert!(last.contains("connection: close\r\n") && last.ends_with("now"), "{last}");
    // A new connection is answered too, once.
    let late = rest(server.send(&NOW.repeat(2)).await).await;
    assert!(late.contains("connection: close\r\n") && late.matches("HTTP/1.1 200").count() == 1, "{late}");
    assert!(!server.served.is_finished());
    server.go_on.notify_one();
    let waited = rest(waiting).await;
    assert!(waited.contains("connection: close\r\n") && waited.ends_with("waited"), "{waited}");
    in_time(server.served).await.unwrap();
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_half_of_the_grace_time() {
    // Half of it is left for a busy machine.
    let grace = Duration::from_secs(4);
    let server = Server::start(grace).await;
    let mut idle = server.send(NOW).await;
    answer(&mut idle, "now").await;
    let silent = server.send("").await;
    let begin = Instant::now();
    server.stop.notify_one();
    assert_eq!((rest(idle).await, rest(silent).await), (String::new(), String::new()));
    assert!(begin.elapsed() >= grace / 2 && begin.elapsed() < grace, "{:?}", begin.elapsed());
    in_time(server.served).await.unwrap();
    assert!(begin.elapsed() < grace, "{:?}", begin.elapsed());
}

/// A client that connected just now has its request on the way; one that says nothing does not keep the service.
#[tokio::test]
async fn who_connects_while_idle_connections_are_closed_is_answered() {
    let grace = Duration::from_secs(6);
    let server = Server::start(grace).await;
    let idle = server.send("").await;
    let _waiting = server.send_waiting("").await;
    server.stop.notify_one();
    assert_eq!(rest(idle).await, "", "idle connections are being closed");
    // On a busy machine a request may come too late.
    let mut is_answered = false;
    for _ in 0..3 {
        is_answered = is_answered || asks_late(&server).await;
    }
    assert!(is_answered);
    let silent = server.send("").await;
    let begin = Instant::now();
    assert_eq!(rest(silent).await, "");
    assert!(begin.elapsed() < grace / 4, "{:?}", begin.elapsed());
}

/// In a flood of new connections it waits for seconds.
#[tokio::test]
async fn a_new_connection_whose_request_waits_for_a_turn_is_answered() {
    let mut connection = ByHand::open().await;
    let turn = connection.turns.first(Party::UNKNOWN, pending::<()>()).await;
    connection.client.write_all(ASKS).await.unwrap();
    assert!(!connection.poll().await);
    close_idle(&connection).await;
    assert!(!connection.poll().await, "it is not idle");
    drop(turn);
    connection.answer(Response::default());
    connection.serve_until_read("HTTP/1.1 200", 1).await;
}

#[tokio::test]
async fn a_kept_connection_whose_next_request_waits_for_a_turn_is_answered() {
    let mut connection = ByHand::open().await;
    connection.answer(Response::default());
    // Many requests at once make it wait for turns from now on.
    connection.client.write_all(&ASKS.repeat(3)).await.unwrap();
    connection.serve_until_read("HTTP/1.1 200", 3).await;
    let mut other = Busy::until_known(connection.turns.clone(), Work::default());
    let turn = poll_fn(|cx| other.poll_turn(cx)).await;
    connection.client.write_all(ASKS).await.unwrap();
    close_idle(&connection).await;
    assert!(!connection.poll().await);
    drop(turn);
    connection.serve_until_read("connection: close", 1).await;
}

/// Connects, and asks a moment later. Returns whether that is answered.
async fn asks_late(server: &Server) -> bool {
    let mut late = server.send("").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut text = String::new();
    let asked = late.write_all(NOW.as_bytes()).await;
    asked.is_ok() && in_time(late.read_to_string(&mut text)).await.is_ok() && text.ends_with("now")
}

#[tokio::test]
async fn a_head_that_began_before_the_stop_is_answered() {
    let server = Server::start(DEADLINE).await;
    let (half, other_half) = NOW.split_at(20);
    let mut stream = server.send(half).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    server.stop.notify_one();
    is_kept(&mut stream).await;
    stream.write_all(other_half.as_bytes()).await.unwrap();
    assert!(rest(stream).await.ends_with("now"));
    in_time(server.served).await.unwrap();
}

#[tokio::test]
async fn a_stop_takes_no_longer_than_the_grace_time() {
    let server = Server::start(Duration::from_millis(100)).await;
    let waiting = server.send_waiting("").await;
    let half = server.send("GET /no").await;
    server.stop.notify_one();
    in_time(server.served).await.unwrap();
    assert_eq!((rest(waiting).await, rest(half).await), (String::new(), String::new()));
}

#[tokio::test]
async fn a_stop_without_connections_is_immediate() {
    let server = Server::start(DEADLINE).await;
    let mut done = server.send(NOW).await;
    answer(&mut done, "now").await;
    drop(done);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let begin = Instant::now();
    server.stop.notify_one();
    in_time(server.served).await.unwrap();
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
}
