//! Two replicas behind a proxy that loses one answer of the database in fifty, with its connection.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use super::proxy::Proxy;
use crate::support::{Answer, Client, Database, Service, go_on_until_enough, random_version};

on_every_server![no_holder_is_answered_that_it_lost_its_lock];

/// The time for which the clients work.
const GOES_ON: Duration = Duration::from_secs(3);

/// Guards invariants 4 and 9.
async fn no_holder_is_answered_that_it_lost_its_lock(database: Database) {
    let proxy = Proxy::before(&database).await;
    let url = database.through_port(proxy.port());
    let services = [Service::start(&url).await, Service::start(&url).await];
    let first = services[0].client();
    let clients = [first.clone(), first.at(services[1].port())];
    proxy.lose_one_in(50);
    let progress = Arc::new(Progress::default());
    let tasks = (0..8).map(|number| tokio::spawn(take_turns(clients.clone(), number, progress.clone())));
    let tasks = tasks.collect::<Vec<_>>();
    let is_enough = || progress.rounds.load(Ordering::Relaxed) > 20 && proxy.cuts() > 5;
    go_on_until_enough("rounds and lost answers", GOES_ON, is_enough).await;
    progress.over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
}

/// What the clients have done so far, and whether they are to stop.
#[derive(Default)]
struct Progress {
    rounds: AtomicUsize,
    over: AtomicBool,
}

/// Acquires one of two locks, renews and releases it, each at a random replica.
async fn take_turns(clients: [Client; 2], number: usize, progress: Arc<Progress>) {
    let mut rounds = 0;
    while !progress.over.load(Ordering::Relaxed) {
        let at = |step: usize| &clients[(number / 2 + rounds + step) % 2];
        let key = format!("k{}", number % 2);
        let version = random_version();
        let ask = json!({"version": version, "lease_duration_ms": 60_000, "wait_ms": 20_000});
        let post = async |step: usize, action: &str, body: &serde_json::Value| -> Answer {
            at(step).post(&format!("/locks/{key}/{action}"), body.clone()).await
        };
        let acquired = post(0, "acquire", &ask).await;
        if acquired.status == 503 {
            // A repeat with the version could find the grant. This caller gives it up instead.
            let _ = post(0, "release", &json!({"version": version})).await;
            continue;
        }
        acquired.grant();
        let renewed = post(1, "heartbeat", &json!({"version": version})).await;
        assert!([200, 503].contains(&renewed.status), "heartbeat: {}", renewed.text);
        let mut released = post(2, "release", &json!({"version": version})).await;
        assert!([200, 503].contains(&released.status), "release: {}", released.text);
        while released.status == 503 {
            // The release may have been carried out, and another caller may have the lock by now.
            released = post(2, "release", &json!({"version": version})).await;
        }
        rounds += 1;
        progress.rounds.fetch_add(1, Ordering::Relaxed);
    }
}
