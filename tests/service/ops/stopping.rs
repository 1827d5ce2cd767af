//! SIGTERM.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::on_every_database;
use crate::support::{
    Client, Database, Fleet, SOON, Service, TRIES, eventually, expect, go_on_until_enough,
    try_until_undisturbed, wire,
};

on_every_database![with_database:
    a_stop_answers_waiters_and_ends,
    a_stop_finishes_what_is_being_written,
    a_stop_leaves_the_queue_to_other_replicas,
    an_idle_connection_does_not_delay_the_stop,
    a_new_connection_is_answered_while_the_last_request_runs,
    a_stop_leaves_no_request_without_an_answer,
];

/// The grace time. The service keeps idle connections of clients for half of it.
const GRACE: [(&str, &str); 1] = [("DB_LOCKS_SHUTDOWN_GRACE_MS", "2000")];

/// How long a stop may take.
const AT_MOST: Duration = Duration::from_secs(10);

async fn ends_cleanly(service: &mut Service, since: Instant) {
    let status = service.end(AT_MOST.saturating_sub(since.elapsed())).await;
    assert_eq!(status.code(), Some(0), "its log:\n{}", service.log());
}

/// Guards invariant 7: waiters are answered 503, leave the queue, and never hold the lock.
async fn a_stop_answers_waiters_and_ends(database: Database) {
    let mut service = Service::start_with(&database.url, &GRACE).await;
    let svc = service.client();
    svc.acquire("k", json!({"lease_duration_ms": 600_000})).await.grant();
    let ask = json!({"wait_ms": 60_000, "lease_duration_ms": 600_000});
    let waiting = [svc.queue_up("k", ask.clone(), 1).await, svc.queue_up("k", ask, 2).await];
    service.signal("TERM");
    let begin = Instant::now();
    for task in waiting {
        task.await.unwrap().unavailable_because("shutting down");
    }
    not_ready(&svc).await;
    ends_cleanly(&mut service, begin).await;
    let again = Service::start(&database.url).await;
    assert_eq!(svc.at(again.port()).lock("k").await.grant().body["waiters"], 0);
}

/// Fails unless the answer is 503, or the service is gone.
async fn not_ready(svc: &Client) {
    if let Ok(answer) = wire::exchange(svc.port(), &wire::request("GET", "/ready", &[], b"")).await {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
}

/// Guards invariant 3: every request is either written and answered, or refused.
async fn a_stop_finishes_what_is_being_written(database: Database) {
    let mut service = Service::start_with(&database.url, &GRACE).await;
    let svc = service.client();
    let answered = Arc::new(AtomicUsize::new(0));
    let callers = (0..8)
        .map(|caller| tokio::spawn(acquire_until_stopped(svc.clone(), caller, answered.clone())))
        .collect::<Vec<_>>();
    let are_enough = || answered.load(Ordering::Relaxed) >= 8;
    go_on_until_enough("acquires are answered", Duration::from_millis(300), are_enough).await;
    service.signal("TERM");
    let begin = Instant::now();
    let mut granted = Vec::new();
    for caller in callers {
        granted.extend(caller.await.unwrap());
    }
    ends_cleanly(&mut service, begin).await;
    let again = Service::start(&database.url).await;
    let svc = svc.at(again.port());
    for (key, version) in granted {
        assert_eq!(svc.lock(&key).await.grant().version, version);
    }
}

async fn acquire_until_stopped(
    svc: Client,
    caller: usize,
    answered: Arc<AtomicUsize>,
) -> Vec<(String, String)> {
    let mut granted = Vec::new();
    for round in 0.. {
        let key = format!("k{caller}-{round}");
        let ask = json!({"lease_duration_ms": 600_000});
        match svc.try_post(&format!("/locks/{key}/acquire"), &ask).await {
            Some(answer) if answer.status == 200 => {
                granted.push((key, answer.grant().version));
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Some(answer) => {
                answer.unavailable();
                break;
            }
            None => break,
        }
    }
    granted
}

/// Guards invariants 5 and 6: the waiters behind those of a stopping replica are granted at once.
async fn a_stop_leaves_the_queue_to_other_replicas(database: Database) {
    let mut fleet = Fleet::start_with(database, 2, &GRACE).await;
    let held = fleet.at(0).hold("k").await;
    let ask = json!({"wait_ms": 60_000, "lease_duration_ms": 60_000});
    let stopped = fleet.at(1).queue_up("k", ask.clone(), 1).await;
    let waiting = fleet.at(0).queue_up("k", ask, 2).await;
    fleet.replicas[1].signal("TERM");
    let begin = Instant::now();
    stopped.await.unwrap().unavailable();
    fleet.at(0).until_waiters("/locks/k", 1).await;
    fleet.at(0).release("k", &held.version).await.unheld(200);
    waiting.await.unwrap().grant();
    ends_cleanly(&mut fleet.replicas[1], begin).await;
}

async fn an_idle_connection_does_not_delay_the_stop(database: Database) {
    try_until_undisturbed(TRIES, async || {
        let mut service = Service::start_with(&database.url, &GRACE).await;
        let svc = service.client();
        // One connection is kept alive by the client's pool, and one never sent anything.
        svc.get("/health").await.expect(200);
        let _silent = TcpStream::connect(("127.0.0.1", service.port())).await.unwrap();
        service.signal("TERM");
        let begin = Instant::now();
        ends_cleanly(&mut service, begin).await;
        let took = begin.elapsed();
        expect(took < Duration::from_millis(1_900), || format!("{took:?}"))
    })
    .await;
}

/// New connections are answered that the service is not ready, instead of being refused. The running request is
/// finished.
async fn a_new_connection_is_answered_while_the_last_request_runs(database: Database) {
    // Half of it is left for what follows after the end of the idle connection.
    let mut service = Service::start_with(&database.url, &[("DB_LOCKS_SHUTDOWN_GRACE_MS", "6000")]).await;
    let svc = service.client();
    let held = svc.hold("k").await;
    let connect = || TcpStream::connect(("127.0.0.1", service.port()));
    let (mut running, mut idle) = (connect().await.unwrap(), connect().await.unwrap());
    let release = json!({"version": held.version}).to_string();
    let headers =
        [("X-Tenant", svc.tenant()), ("Content-Type", "application/json"), ("Expect", "100-continue")];
    let request = wire::request("POST", "/locks/k/release", &headers, release.as_bytes());
    let (opening, body) = request.split_at(request.len() - release.len());
    running.write_all(opening).await.unwrap();
    let mut go_on = *b"HTTP/1.1 100 Continue\r\n\r\n";
    running.read_exact(&mut go_on).await.unwrap();
    service.signal("TERM");
    let begin = Instant::now();
    // The idle connection is kept for half of the grace time.
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
    let ready = wire::exchange(svc.port(), &wire::request("GET", "/ready", &[], b"")).await.unwrap();
    assert_eq!((ready.status, ready.header("connection")), (503, "close"));
    wire::send(&svc, "POST", "/locks/other/acquire", b"{}").await.unavailable();
    running.write_all(body).await.unwrap();
    let mut answer = String::new();
    running.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    ends_cleanly(&mut service, begin).await;
}

/// Guards invariant 3: a client gets an answer to each of its requests, and knows which answer is the last one.
async fn a_stop_leaves_no_request_without_an_answer(database: Database) {
    let mut service = Service::start_with(&database.url, &GRACE).await;
    let served = Arc::new(AtomicUsize::new(0));
    let clients =
        (0..20).map(|client| tokio::spawn(ask_until_told_to_stop(service.port(), client, served.clone())));
    let clients = clients.collect::<Vec<_>>();
    let all_are_served = async || (served.load(Ordering::Relaxed) == clients.len()).then_some(());
    eventually("every client is served", SOON, all_are_served).await;
    service.signal("TERM");
    let begin = Instant::now();
    for client in clients {
        client.await.unwrap();
    }
    ends_cleanly(&mut service, begin).await;
}

/// Sends one request after the other on one connection, until an answer says that it is the last one. Counts itself in
/// `served` when it has its first answer.
async fn ask_until_told_to_stop(port: u16, client: usize, served: Arc<AtomicUsize>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    for round in 0.. {
        let body = r#"{"wait_ms": 0}"#;
        let request = format!(
            "POST /locks/k{client}-{round}/acquire HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Every answer is a JSON object in one piece.
        while !answer.trim_ascii_end().ends_with(b"}") {
            assert!(
                stream.read_buf(&mut answer).await.unwrap() > 0,
                "closed without an answer to request {round}"
            );
        }
        let answer = String::from_utf8(answer).unwrap();
        if round == 0 {
            served.fetch_add(1, Ordering::Relaxed);
        }
        if answer.contains("connection: close\r\n") {
            return;
        }
    }
}
