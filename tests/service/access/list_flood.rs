//! A tenant asks for very many long lists, and does not read them.

use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http2::SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::{
    net::TcpStream,
    runtime::{Builder, Runtime},
};

use super::{Guarded, on_every_database};
use crate::support::{Client, Database};

/// The connections of the flood, and the lists that each of them asks for at a time.
const CONNECTIONS: usize = 4;
const LISTS: usize = 250;

/// The number of locks of the flooding tenant. A page of them has 4 MiB.
const LOCKS: usize = 140;

/// The duration of the flood.
const FLOOD: Duration = Duration::from_secs(5);

/// The time within which a token is created and revoked, on top of the time that the machine takes for any request.
const IN_TIME: Duration = Duration::from_secs(1);
/// The number of times that the two requests wait for a processor, where `/health` waits once.
const TURNS: u32 = 10;

on_every_database![with_database: a_tenants_flood_of_lists_delays_no_list_of_another_and_no_change_of_tokens];

async fn connect(port: u16) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    sender
}

/// Asks for a list until the answer has a page, which stays unread until the connection ends.
async fn leave_unread(mut sender: SendRequest<Empty<Bytes>>, request: Request<Empty<Bytes>>) {
    while let Ok(answer) = sender.send_request(request.clone()).await {
        if answer.status() == 200 {
            return std::future::pending().await;
        }
    }
}

/// Asks for lists over one connection, and over another one when the service has closed it.
async fn flood(port: u16, request: Request<Empty<Bytes>>) {
    loop {
        let sender = connect(port).await;
        let mut lists = tokio::task::JoinSet::new();
        for _ in 0..LISTS {
            lists.spawn(leave_unread(sender.clone(), request.clone()));
        }
        // The first one ends when the connection does.
        lists.join_next().await;
    }
}

/// Begins the flood, on a thread of its own.
fn begin_flood(svc: &Client) -> Runtime {
    let flooding = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let request = Request::get("http://localhost/locks?limit=1000")
        .header("x-tenant", svc.tenant())
        .header("authorization", format!("Bearer {}", svc.token().unwrap()))
        .body(Empty::new())
        .unwrap();
    for _ in 0..CONNECTIONS {
        flooding.spawn(flood(svc.port(), request.clone()));
    }
    flooding
}

async fn a_tenants_flood_of_lists_delays_no_list_of_another_and_no_change_of_tokens(database: Database) {
    let guarded = Guarded::start(&database).await;
    let of = async |tenant| {
        guarded.client(json!({"name": tenant, "role": "write", "tenant": tenant})).await.with_tenant(tenant)
    };
    let (flooding, other) = (of("flooding").await, of("other").await);
    for number in 0..LOCKS {
        flooding.put(&format!("/locks/{number}"), json!({"data": "d".repeat(32_000)})).await.expect_success();
    }
    other.hold("a").await;
    let page = flooding.get("/locks?limit=1000").await.expect(200);
    assert!(page.text.len() > 4_000_000, "it is a long page: {}", page.text.len());

    let threads = begin_flood(&flooding);
    let until = Instant::now() + FLOOD;
    let (mut rounds, mut lists, mut changes, mut machine) =
        (0, Duration::ZERO, Duration::ZERO, Duration::ZERO);
    while Instant::now() < until || rounds == 0 {
        let asked = Instant::now();
        other.get("/health").await.expect(200);
        machine = machine.max(asked.elapsed());
        let asked = Instant::now();
        other.get("/locks").await.expect(200);
        other.get("/semaphores").await.expect(200);
        guarded.admin.get("/tokens").await.expect(200);
        lists = lists.max(asked.elapsed());
        let asked = Instant::now();
        let made = guarded.admin.post("/tokens", json!({"name": "n", "role": "read"})).await.expect(201).body;
        guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await.expect(204);
        changes = changes.max(asked.elapsed());
        rounds += 1;
    }
    threads.shutdown_background();
    let dialect = database.dialect;
    eprintln!(
        "{dialect:?}: {rounds} rounds, at most {lists:?} for three lists, {changes:?} for two changes of tokens, {machine:?} for /health"
    );
    assert!(changes < IN_TIME + TURNS * machine, "changes of tokens: {changes:?}, {machine:?}");
    guarded.service.client().get("/ready").await.expect(200);
    let log = guarded.service.log();
    assert!(!log.contains("does not answer as it should"), "overload is no outage:\n{log}");
}
