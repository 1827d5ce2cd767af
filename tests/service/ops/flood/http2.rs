//! HTTP/2 connections with many requests each, which are sent again as soon as they are answered.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, body::Bytes, client::conn::http2::SendRequest};
use serde_json::json;
use tokio::runtime::Builder;

use super::{FLOODS, IN_TIME, MAX_QUEUED, SlowDown, acquires, keep, resident_bytes};
use crate::support::{Dialect, Service, Times, connect_http2, expect, may_open_files, try_until_undisturbed};

const CONNECTIONS: usize = 400;

/// The requests that each connection has under way. Together they are more than a debug build answers in a second.
const REQUESTS: usize = 25;

/// The number of locks that are held and renewed meanwhile.
const HOLDERS: usize = 10;

/// The duration of the flood.
const FLOOD: Duration = Duration::from_secs(8);

/// The time after the flood within which acquires are granted as before.
const AS_BEFORE_WITHIN: Duration = Duration::from_secs(2);

/// On a slow machine a heartbeat may take longer than [`IN_TIME`], but less than the average request of the flood divided by this. If
/// both waited in one line, the heartbeat would take longer, since it waits there several times.
const FASTER: u32 = 2;

/// The status of each answer, and whether it has `Retry-After`.
type Answers = Arc<Mutex<Vec<(u16, bool)>>>;

type Sender = SendRequest<Full<Bytes>>;

async fn ask_again(mut sender: Sender, request: Request<Full<Bytes>>, answers: Answers) {
    // The connection is closed when the flood ends.
    while let Ok(answer) = sender.send_request(request.clone()).await {
        let may_retry = answer.headers().contains_key("retry-after");
        answers.lock().unwrap().push((answer.status().as_u16(), may_retry));
        if answer.into_body().collect().await.is_err() {
            return;
        }
    }
}

fn ask(path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let method = if body.is_empty() { Method::GET } else { Method::POST };
    let request = Request::builder().method(method).uri(format!("http://localhost{path}"));
    request.header("content-type", "application/json").body(Full::from(body)).unwrap()
}

/// Floods a service with the requests that `path` and `body` make.
async fn flood(name: &str, path: impl Fn(usize) -> String, body: &'static str) -> Result<(), String> {
    assert!(may_open_files(CONNECTIONS), "the limit of open files is too low (ulimit -n)");
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start_with(&database.url, &[("DB_LOCKS_MAX_QUEUED", MAX_QUEUED)]).await;
    let svc = service.client();
    let slow = SlowDown::start(database.url.clone());
    let mut before = acquires(&svc, "before").await?;
    let mut held = Vec::new();
    for number in 0..HOLDERS {
        held.push(svc.hold(&format!("held-{number}")).await.version);
    }
    let resident_before = resident_bytes(&svc).await;
    // A thread of its own, so that the holders do not wait for it here.
    let flooding = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let mut senders = Vec::new();
    for _ in 0..CONNECTIONS {
        senders.push(flooding.spawn(connect_http2(service.port())).await);
    }
    let until = Instant::now() + FLOOD;
    let answers = Answers::default();
    for (number, sender) in senders.iter().flatten().cycle().take(CONNECTIONS * REQUESTS).enumerate() {
        flooding.spawn(ask_again(sender.clone(), ask(&path(number), body), answers.clone()));
    }
    let keep = |(number, version)| tokio::spawn(keep(svc.clone(), number, version, until));
    let holders: Vec<_> = held.into_iter().enumerate().map(keep).collect();
    let mut kept = Vec::new();
    for holder in holders {
        kept.push(holder.await.unwrap());
    }
    let resident = resident_bytes(&svc).await - resident_before;
    flooding.shutdown_background();
    let mut renewed = Times::default();
    for times in kept {
        renewed.0.extend(times?.0);
    }
    let ended = Instant::now();
    let mut are_shed = true;
    while are_shed && ended.elapsed() < AS_BEFORE_WITHIN {
        are_shed = svc.acquire("first", json!({"wait_ms": 0})).await.status != 200;
    }
    expect(!are_shed, || "acquires are still shed".to_owned())?;
    // One that is granted does not mean that none is shed any more.
    tokio::time::sleep(AS_BEFORE_WITHIN.saturating_sub(ended.elapsed())).await;
    let mut after = acquires(&svc, "after").await?;
    slow.end().await;

    let answers = std::mem::take(&mut *answers.lock().unwrap());
    let refused = answers.iter().filter(|(status, _)| matches!(status, 503 | 404)).count();
    assert!(
        answers.iter().all(|(status, may_retry)| *status != 503 || *may_retry),
        "a 503 says when to ask again"
    );
    expect(refused >= CONNECTIONS && refused > answers.len() / 2, || format!("no flood: {refused} refused"))?;
    let requests = u32::try_from(CONNECTIONS * REQUESTS).unwrap();
    // So many are under way all the time.
    let average = FLOOD * requests / u32::try_from(answers.len()).unwrap();
    // Not the 99th percentile: a disk that stalls for a moment delays heartbeats, but not a flood that needs no disk.
    let p90 = renewed.percentile(90);
    eprintln!(
        "{name}: {} answers, {refused} of them refusals, {average:?} each; {} heartbeats and releases, p50 {:?}, p90 {p90:?}, p99 {:?}; \
         acquires before p50 {:?}, afterwards {:?}; {:.0} MB more resident",
        answers.len(),
        renewed.0.len(),
        renewed.percentile(50),
        renewed.percentile(99),
        before.percentile(50),
        after.percentile(50),
        resident / 1e6,
    );
    expect(p90 < IN_TIME.max(average / FASTER), || {
        format!("heartbeats and releases: {p90:?}, the flood: {average:?}")
    })?;
    let (before, after) = (before.percentile(50), after.percentile(50));
    expect(after < before + IN_TIME, || format!("afterwards: {after:?}"))?;
    expect(resident < 150e6, || format!("{resident} bytes more"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn acquires_over_http2_without_end_keep_no_heartbeat_waiting() {
    let body = r#"{"wait_ms":0,"lease_duration_ms":1}"#;
    let path = |number| format!("/locks/flood-{number}/acquire");
    try_until_undisturbed(FLOODS, async || flood("acquires", path, body).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn requests_over_http2_that_no_route_has_keep_no_heartbeat_waiting() {
    try_until_undisturbed(FLOODS, async || flood("404", |_| "/nothing".to_owned(), "").await).await;
}
