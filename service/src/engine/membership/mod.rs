//! Membership: registers this replica with the others, and detects dead replicas.
//!
//! A replica registers an incarnation, a row with a heartbeat counter, only while it has waiters: an idle replica sends
//! no heartbeats. Another replica is dead when its counter has not moved for 3 s of this replica's monotonic clock
//! while this replica's own heartbeats succeeded. Timestamps are never compared: otherwise every replica would declare
//! the others dead after an outage of 10 s.
//!
//! A member runs four loops, in tasks of their own, so that a slow query of one loop does not delay the heartbeat: the
//! heartbeat (here); the search for offers and the listener for notifications (`offers`); the comparison of waiters with
//! their rows (`waiter_check`).

mod offers;
mod reaper;
mod reaping;
mod snapshot;
mod waiter_check;
mod watch;

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;
use tokio::time::Instant;

use self::{
    offers::{listen, search_for_offers},
    reaper::act_on,
    snapshot::{ReplicaSet, Snapshot},
    waiter_check::keep_checking_waiters,
    watch::Watch,
};
pub(super) use self::{reaper::reap_when_wanted, reaping::reap_replica};
use super::{Shared, ids, message::Message, tasks::spawn_critical};
use crate::domain::{ReplicaId, Suspects, Tenant};

/// The pause between two heartbeats.
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(1);
/// The pause before this replica tries again to join.
const JOIN_RETRY_PAUSE: Duration = Duration::from_millis(200);
/// How long a replica without waiters stays registered.
const LEAVE_AFTER: Duration = Duration::from_secs(30);
/// How long a leaving replica stays registered: longer than a statement of an earlier decision can be under way.
const SETTLED_AFTER: Duration = Duration::from_secs(15);

/// This replica as it is registered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Registration {
    /// The incarnation; `None` while this replica is not registered.
    pub(super) me: Option<ReplicaId>,
    /// Whether this replica is about to leave. Then it serves the waiters that it has and accepts no new ones.
    pub(super) is_leaving: bool,
}

/// The state of membership that the shards read.
#[derive(Debug, Default)]
pub(super) struct Membership {
    /// This replica as it is registered. The lock is held only to copy.
    registration: Mutex<Registration>,
    /// Dead replicas.
    dead: ReplicaSet,
    /// Replicas that left an offer unclaimed, until it is known whether they are dead.
    suspects: Snapshot<Suspects>,
    /// Replicas that are being reaped.
    being_reaped: ReplicaSet,
    /// Notified when a request wants to wait.
    wanted: Notify,
    /// Notified when a shard needs to know which replicas are dead.
    reaping_wanted: Notify,
    /// Notified when a waiter here was put into its queue or granted: other replicas may offer something soon.
    offers_expected: Notify,
    /// Whether the database pushes notifications of offers to this replica.
    pub(super) is_pushed: AtomicBool,
}

impl Membership {
    /// The incarnation of this replica, if it is registered.
    pub(super) fn me(&self) -> Option<ReplicaId> {
        self.registration().me
    }

    /// This replica as it is registered.
    pub(super) fn registration(&self) -> Registration {
        *self.registration.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dead replicas.
    pub(super) fn dead(&self) -> Arc<BTreeSet<ReplicaId>> {
        self.dead.get()
    }

    /// Makes this replica join, because a request wants to wait.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Notes that a waiter here was put into its queue or granted.
    pub(super) fn expect_offers(&self) {
        self.offers_expected.notify_one();
    }

    /// Waits for `pause`. Returns early, and true, when offers are expected.
    async fn offers_expected_within(&self, pause: Duration) -> bool {
        tokio::time::timeout(pause, self.offers_expected.notified()).await.is_ok()
    }

    /// The replicas that left an offer unclaimed.
    pub(super) fn suspects(&self) -> Arc<Suspects> {
        self.suspects.get()
    }

    /// Notes that a replica left an offer of a tenant unclaimed.
    pub(super) fn mark_suspect(&self, replica: ReplicaId, tenant: &Tenant) {
        self.suspects.change(|suspects| suspects.insert(replica, tenant));
        self.request_reaping();
    }

    /// Notes that it is known whether a replica is dead.
    fn clear_suspicion(&self, replica: ReplicaId) {
        // This is asked for each replica at each heartbeat.
        if !self.suspects.get().is_empty() {
            self.suspects.change(|suspects| suspects.remove(replica));
        }
    }

    /// Makes this replica watch the heartbeats of the others until it is known which of them are dead.
    pub(super) fn request_reaping(&self) {
        self.reaping_wanted.notify_one();
    }

    fn set_me(&self, me: Option<ReplicaId>) {
        *self.registration.lock().unwrap_or_else(PoisonError::into_inner) =
            Registration { me, is_leaving: false };
    }

    fn begin_leaving(&self) {
        self.registration.lock().unwrap_or_else(PoisonError::into_inner).is_leaving = true;
    }
}

/// Joins when a request wants to wait, and leaves after [`LEAVE_AFTER`] without a waiter. Returns when the service stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let joined = async || {
        shared.membership.wanted.notified().await;
        join(&shared).await
    };
    while let Some(me) = shared.stop.run_until_cancelled(joined()).await {
        let notifications = spawn_critical(listen(shared.clone(), me));
        let searches = spawn_critical(search_for_offers(shared.clone(), me));
        let checks = spawn_critical(keep_checking_waiters(shared.clone(), me));
        keep_membership(&shared, me).await;
        for task in [notifications, searches, checks] {
            task.abort();
            // Once it has ended, the task changes nothing more.
            let _ = task.await;
        }
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
        // This replica's heartbeats no longer show whether those that it declared dead send heartbeats again.
        shared.membership.request_reaping();
    }
}

async fn join(shared: &Shared) -> ReplicaId {
    loop {
        let me = ids::replica();
        match shared.store.join(me).await {
            Ok(()) => {
                shared.membership.set_me(Some(me));
                shared.broadcast(|| Message::Registered);
                tracing::debug!(replica = %me, "this replica is registered");
                return me;
            }
            Err(error) => {
                shared.report_outage(&error);
                tokio::time::sleep(JOIN_RETRY_PAUSE).await;
            }
        }
    }
}

/// Sends heartbeats and watches those of the other replicas until this replica leaves.
async fn keep_membership(shared: &Arc<Shared>, me: ReplicaId) {
    let mut watch = Watch::default();
    let mut idle_since = None;
    let mut ticks = heartbeat_interval();
    while shared.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match shared.store.heartbeat(me).await {
            Ok(beat) if !beat.known => return on_own_row_lost(shared, me),
            Ok(beat) => {
                shared.outage.end_if_any();
                act_on(shared, watch.note(Some(me), &beat.peers, Instant::now()));
            }
            Err(error) => shared.report_outage(&error),
        }
        if shared.waiting.count() > 0 {
            idle_since = None;
        } else if shared.is_draining() || idle_since.get_or_insert_with(Instant::now).elapsed() >= LEAVE_AFTER
        {
            if leave_unless_needed(shared, me).await {
                return;
            }
            idle_since = None;
        }
    }
    shared.membership.set_me(None);
    // If a waiter could not be removed from its queue the row stays. The other replicas miss its heartbeats and reap
    // it.
    if shared.waiting.count() == 0
        && let Err(error) = shared.store.leave(me, None).await
    {
        shared.report_outage(&error);
    }
}

/// Handles the loss of this replica's row: the others declared it dead. The next request that wants to wait makes it
/// join as a new incarnation.
fn on_own_row_lost(shared: &Shared, me: ReplicaId) {
    tracing::warn!(replica = %me, "the other replicas declared this one dead; its waiters lost their places");
    shared.membership.set_me(None);
    shared.broadcast(|| Message::Evict { draining: None });
}

fn heartbeat_interval() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(HEARTBEAT_PERIOD);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Leaves, unless a request began to wait meanwhile. Returns whether this replica left.
async fn leave_unless_needed(shared: &Shared, me: ReplicaId) -> bool {
    if !shared.is_draining() {
        // Requests that already wait here, or are just beginning to, are served until the end.
        shared.membership.begin_leaving();
        let settled = Instant::now() + SETTLED_AFTER;
        let mut wanted = false;
        while Instant::now() < settled && !wanted && !shared.stop.is_cancelled() {
            // The row and its heartbeats stay as long as a statement that names it may be under way.
            match shared.store.heartbeat(me).await {
                Ok(beat) if !beat.known => {
                    on_own_row_lost(shared, me);
                    return true;
                }
                Ok(_) => {}
                Err(error) => shared.report_outage(&error),
            }
            let somebody = shared.stop.run_until_cancelled(shared.membership.wanted.notified());
            wanted = matches!(tokio::time::timeout(HEARTBEAT_PERIOD, somebody).await, Ok(Some(())));
        }
        if wanted || shared.waiting.count() > 0 {
            shared.membership.set_me(Some(me));
            shared.broadcast(|| Message::Registered);
            return false;
        }
    }
    shared.membership.set_me(None);
    if let Err(error) = shared.store.leave(me, None).await {
        shared.report_outage(&error);
    }
    true
}
