//! A tenant asks for very many long lists, and does not read them.

use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http2::SendRequest,
};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::{Guarded, on_every_database};
use crate::support::{
    Answer, Client, Database, Dialect, TRIES, Times, connect_http2, expect, try_until_undisturbed,
};

/// The connections of the flood, and the lists that each of them asks for at a time.
const CONNECTIONS: usize = 4;
const LISTS: usize = 250;

/// The number of locks of the flooding tenant. A page of them has 4 MiB.
const LOCKS: usize = 140;

/// More pages than there is room for: also of small ones in what the large ones leave.
const MORE_THAN_ALL_ROOM: usize = 100;

/// The duration of the flood.
const FLOOD: Duration = Duration::from_secs(5);

/// The time within which a token is created and revoked, on top of the time that the machine takes for any request.
const IN_TIME: Duration = Duration::from_secs(1);
/// The number of times that the two requests wait for a processor, where `/health` waits once.
const TURNS: u32 = 10;
/// On a slow machine the two changes may take longer than [`IN_TIME`], but less than the three lists divided by this. If
/// both waited in one line, they would take longer.
const FASTER: u32 = 2;

on_every_database![with_database: a_tenants_flood_of_lists_delays_no_list_of_another_and_no_change_of_tokens];

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
        let sender = connect_http2(port).await;
        let mut lists = tokio::task::JoinSet::new();
        for _ in 0..LISTS {
            lists.spawn(leave_unread(sender.clone(), request.clone()));
        }
        // The first one ends when the connection does.
        lists.join_next().await;
    }
}

/// A request for a list of this caller's locks.
fn list(svc: &Client, limit: u32) -> Request<Empty<Bytes>> {
    Request::get(format!("http://localhost/locks?limit={limit}"))
        .header("x-tenant", svc.tenant())
        .header("authorization", format!("Bearer {}", svc.token().unwrap()))
        .body(Empty::new())
        .unwrap()
}

/// Asks for lists until one is refused, and returns the other answers without reading them.
async fn fill(
    sender: &mut SendRequest<Empty<Bytes>>,
    request: &Request<Empty<Bytes>>,
) -> Vec<Response<Incoming>> {
    let mut unread = Vec::new();
    for _ in 0..MORE_THAN_ALL_ROOM {
        let answer = sender.send_request(request.clone()).await.unwrap();
        if answer.status() == 503 {
            return unread;
        }
        assert_eq!(answer.status(), 200);
        unread.push(answer);
    }
    panic!("no list was refused");
}

/// Begins the flood, on a thread of its own.
fn begin_flood(svc: &Client) -> Runtime {
    let flooding = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let request = list(svc, 1_000);
    for _ in 0..CONNECTIONS {
        flooding.spawn(flood(svc.port(), request.clone()));
    }
    flooding
}

/// A client of a new tenant.
async fn client_of(guarded: &Guarded, tenant: &str) -> Client {
    guarded.client(json!({"name": tenant, "role": "write", "tenant": tenant})).await.with_tenant(tenant)
}

/// Creates locks with 32 kB each.
async fn create_locks(svc: &Client, count: usize) {
    for number in 0..count {
        svc.put(&format!("/locks/{number}"), json!({"data": "d".repeat(32_000)})).await.expect_success();
    }
}

/// Measures three lists, two changes of tokens, and `/health`, for the duration of a flood.
async fn measure(guarded: &Guarded, other: &Client) -> Result<[Times; 3], String> {
    let is = |answer: Answer, status: u16| {
        expect(answer.status == status, || format!("{} {}", answer.status, answer.text)).map(|()| answer.body)
    };
    let until = Instant::now() + FLOOD;
    let (mut lists, mut changes, mut machine) = (Times::default(), Times::default(), Times::default());
    while Instant::now() < until || lists.0.is_empty() {
        let asked = Instant::now();
        is(other.get("/health").await, 200)?;
        machine.0.push(asked.elapsed());
        let asked = Instant::now();
        is(other.get("/locks").await, 200)?;
        is(other.get("/semaphores").await, 200)?;
        is(guarded.admin.get("/tokens").await, 200)?;
        lists.0.push(asked.elapsed());
        let asked = Instant::now();
        let made = is(guarded.admin.post("/tokens", json!({"name": "n", "role": "read"})).await, 201)?;
        is(guarded.admin.delete(&format!("/tokens/{}", made["id"].as_str().unwrap())).await, 204)?;
        changes.0.push(asked.elapsed());
    }
    Ok([lists, changes, machine])
}

async fn a_tenants_flood_of_lists_delays_no_list_of_another_and_no_change_of_tokens(database: Database) {
    let guarded = Guarded::start(&database).await;
    let (flooding, other) = (client_of(&guarded, "flooding").await, client_of(&guarded, "other").await);
    create_locks(&flooding, LOCKS).await;
    other.hold("a").await;
    let page = flooding.get("/locks?limit=1000").await.expect(200);
    assert!(page.text.len() > 4_000_000, "it is a long page: {}", page.text.len());

    let dialect = database.dialect;
    try_until_undisturbed(TRIES, async || {
        let threads = begin_flood(&flooding);
        let measured = measure(&guarded, &other).await;
        threads.shutdown_background();
        let [lists, changes, machine] = measured?.map(|mut times| times.median());
        eprintln!(
            "{dialect:?}: half of the times {lists:?} for three lists, {changes:?} for two changes of tokens, {machine:?} for /health"
        );
        expect(changes < IN_TIME.max(lists / FASTER) + TURNS * machine, || {
            format!("changes of tokens: {changes:?}, lists: {lists:?}, /health: {machine:?}")
        })
    })
    .await;
    guarded.service.client().get("/ready").await.expect(200);
    let log = guarded.service.log();
    assert!(!log.contains("does not answer as it should"), "overload is no outage:\n{log}");
}

#[tokio::test]
async fn lists_that_a_tenant_does_not_read_refuse_none_of_another() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let guarded = Guarded::start(&database).await;
    let (filling, other) = (client_of(&guarded, "filling").await, client_of(&guarded, "other").await);
    create_locks(&filling, LOCKS).await;
    create_locks(&other, 3).await;
    let mut sender = connect_http2(guarded.service.port()).await;
    let _unread =
        [fill(&mut sender, &list(&filling, 1_000)).await, fill(&mut sender, &list(&filling, 3)).await];
    other.get("/locks").await.expect(200);
    filling.get("/locks?limit=3").await.problem(503, "unavailable");
    filling.get("/locks?limit=1").await.expect(200);
}
