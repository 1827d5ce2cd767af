//! Finds offers to this replica's waiters: by notifications where the database pushes them, otherwise by polling.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    super::{Shared, metrics::NOTIFICATIONS},
    HEARTBEAT_PERIOD,
};
use crate::{
    domain::{KeyId, ReplicaId},
    store::StoreError,
};

/// The shortest pause between two searches where other replicas may offer and nothing is pushed.
const SHORTEST_PAUSE: Duration = Duration::from_millis(2);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_millis(75);
/// The pause is the time for which nothing has happened, divided by this. So offers are found late by at most that
/// fraction.
const PAUSE_DIVISOR: u32 = 20;
/// The pause between two searches where offers are pushed, or where no other replica writes.
const FALLBACK_PAUSE: Duration = Duration::from_secs(1);

/// Searches for offers while this replica has waiters, with one query for all of them. It searches often where other
/// replicas may offer and nothing is pushed, and now and then otherwise. A lock that was handed over a moment ago is
/// likely to be handed over again soon, so the pause begins short, and grows while nothing happens.
pub(super) async fn search_for_offers(shared: Arc<Shared>, me: ReplicaId) {
    let membership = &shared.membership;
    let mut searched = Instant::now();
    let mut happened = Instant::now();
    loop {
        let pushed = membership.is_pushed.load(Ordering::Relaxed);
        let often = !pushed && shared.store.has_other_writers();
        if often && membership.offers_expected_within(pause(happened.elapsed())).await {
            happened = Instant::now();
            tokio::time::sleep(SHORTEST_PAUSE).await;
        } else if !often {
            tokio::time::sleep(LONGEST_PAUSE).await;
        }
        let due = often || searched.elapsed() >= FALLBACK_PAUSE;
        if !due || shared.waiting.count() == 0 {
            continue;
        }
        searched = Instant::now();
        match shared.store.offers(me).await {
            Ok(ids) => {
                if !ids.is_empty() {
                    happened = Instant::now();
                }
                let event = if pushed { "missed" } else { "found" };
                let offers = metrics::counter!(NOTIFICATIONS, "event" => event);
                offers.increment(ids.len() as u64);
                serve_queues(&shared, ids).await;
            }
            Err(error) => shared.report_outage(&error),
        }
    }
}

/// The pause before the next search, when nothing has happened for `quiet`.
fn pause(quiet: Duration) -> Duration {
    (quiet / PAUSE_DIVISOR).clamp(SHORTEST_PAUSE, LONGEST_PAUSE)
}

async fn serve_queues(shared: &Shared, ids: Vec<KeyId>) {
    for id in ids {
        shared.serve_queue(id).await;
    }
}

/// Listens for notifications where the database can push them.
pub(super) async fn listen(shared: Arc<Shared>, me: ReplicaId) {
    loop {
        let result = listen_once(&shared, me).await;
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
        match result {
            Ok(()) => return,
            Err(error) => shared.report_outage(&error),
        }
        tokio::time::sleep(HEARTBEAT_PERIOD).await;
    }
}

async fn listen_once(shared: &Shared, me: ReplicaId) -> Result<(), StoreError> {
    let received = metrics::counter!(NOTIFICATIONS, "event" => "received");
    let Some(mut notifications) = shared.store.notifications(me).await? else { return Ok(()) };
    loop {
        // Offers that were made before the listener was connected were not pushed.
        serve_queues(shared, shared.store.offers(me).await?).await;
        shared.membership.is_pushed.store(true, Ordering::Relaxed);
        while let Some(id) = notifications.next().await? {
            received.increment(1);
            shared.serve_queue(id).await;
        }
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
    }
}
