//! Callers that retry while connections are cut at random places.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::Rng;
use serde_json::json;

use super::proxy::Proxy;
use crate::support::{Answer, Client, Database, SOON, Service, eventually, random_version};

on_every_server![retries_through_a_storm_of_cuts_grant_nothing_twice];

const FOR: Duration = Duration::from_secs(5);
/// The longest duration on a machine that is too busy for enough in [`FOR`].
const LONGEST: Duration = Duration::from_mins(1);
const CALLERS: usize = 6;

#[derive(Default)]
struct Guarded {
    inside: AtomicI64,
    last_token: AtomicI64,
    grants: AtomicI64,
    over: AtomicBool,
}

/// Guards invariants 1, 2 and 9: callers with chosen versions retry until they are answered. There is one holder at a
/// time, with growing tokens, whatever was lost.
async fn retries_through_a_storm_of_cuts_grant_nothing_twice(database: Database) {
    let proxy = Proxy::before(&database).await;
    let url = database.through_port(proxy.port());
    let replicas = [Service::start(&url).await, Service::start(&url).await];
    let first = replicas[0].client();
    let guarded = Arc::new(Guarded::default());
    let mut callers = Vec::new();
    for caller in 0..CALLERS {
        let svc = first.at(replicas[caller % 2].port());
        callers.push(tokio::spawn(call(svc, guarded.clone())));
    }
    let begin = Instant::now();
    let seen = || (proxy.cuts(), guarded.grants.load(Ordering::SeqCst));
    let is_enough = || seen().0 >= 5 && seen().1 >= 10;
    while begin.elapsed() < FOR || (!is_enough() && begin.elapsed() < LONGEST) {
        let (skip, forward) = rand::rng().random::<(u32, bool)>();
        proxy.arm("storm", skip % 4, forward);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    proxy.disarm();
    guarded.over.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(is_enough(), "(cuts, grants) {:?}", seen());
}

async fn call(svc: Client, guarded: Arc<Guarded>) {
    while !guarded.over.load(Ordering::SeqCst) {
        let version = random_version();
        let ask = json!({"version": version, "wait_ms": 2_000, "lease_duration_ms": 60_000});
        let answer = until_answered(&svc, "acquire", &ask).await;
        match answer.status {
            200 => {
                let token = answer.grant().token;
                assert_eq!(guarded.inside.fetch_add(1, Ordering::SeqCst), 0, "two holders at once");
                let before = guarded.last_token.swap(token, Ordering::SeqCst);
                assert!(token > before, "token {token} after {before}");
                guarded.grants.fetch_add(1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(3)).await;
                guarded.inside.fetch_sub(1, Ordering::SeqCst);
                until_answered(&svc, "release", &json!({"version": version})).await.expect_release();
            }
            423 => drop(answer.not_granted("timed_out").clone()),
            // The service had answered 503, and gave the grant back.
            _ => drop(answer.problem(409, "version-mismatch").clone()),
        }
    }
}

async fn until_answered(svc: &Client, action: &str, body: &serde_json::Value) -> Answer {
    let ask = async || {
        let answer = svc.post(&format!("/locks/storm/{action}"), body.clone()).await;
        (answer.status != 503).then_some(answer)
    };
    eventually("the service answers", SOON * 2, ask).await
}

impl Answer {
    /// Released now, or by an earlier try after which another caller was granted the lock.
    #[track_caller]
    fn expect_release(&self) {
        if self.status != 200 {
            self.problem(409, "version-mismatch");
        }
    }
}
