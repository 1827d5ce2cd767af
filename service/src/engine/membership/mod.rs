//! Being known to the other replicas, and knowing which of them live.
//!
//! A replica is an incarnation with a beat counter in a row; it has one only while somebody waits at it, so an idle
//! replica asks the database for nothing. Another one is dead when its counter has not moved for 3 s of this replica's
//! monotonic clock while this replica's own beats went through: never by comparing timestamps, or a database that was
//! away for 10 s would kill every replica but the first.
//!
//! Four loops, each while there is membership, and each for itself, so that a slow query of one does not delay the beat: the
//! beat, here; the look for offers to this replica's waiters, and the listener for notifications, where the database can push them
//! (`offers`); the audit of waiters against their rows (`audit`).

mod audit;
mod offers;
mod reaper;
mod reaping;
mod watch;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use tokio::sync::Notify;
use tokio::time::Instant;

use self::{
    audit::keep_auditing,
    offers::{listen, look_for_offers},
    reaper::act_on,
    watch::Watch,
};
pub(super) use self::{reaper::reap_when_wanted, reaping::reap_replica};
use super::{Shared, ids, message::Message, tasks::spawn_critical};
use crate::domain::ReplicaId;

/// The pause between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// The pause before joining is tried again.
const JOIN_AGAIN: Duration = Duration::from_millis(200);
/// Membership ends after so long without a waiter.
const LINGER: Duration = Duration::from_secs(30);
/// Longer than any statement of an earlier decision can still be under way.
const SETTLED_AFTER: Duration = Duration::from_secs(15);

/// This replica as the others know it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Presence {
    /// Who it is, while the others know it.
    pub(super) me: Option<ReplicaId>,
    /// Whether it is about to leave: it serves the waiters that it has, and takes in none.
    pub(super) is_leaving: bool,
}

/// What the shards read of it.
#[derive(Debug)]
pub(super) struct Membership {
    /// This replica as the others know it. Held only to copy.
    presence: Mutex<Presence>,
    /// Replicas that are dead. Replaced as a whole; held only to clone the `Arc`.
    dead: Mutex<Arc<BTreeSet<ReplicaId>>>,
    /// Replicas that let an offer lapse, until it is known whether they are dead. Replaced as a whole; held only to clone the
    /// `Arc`.
    suspects: Mutex<Arc<BTreeSet<ReplicaId>>>,
    /// Replicas whose waiters are being taken out of their queues. Held only to add or remove one.
    being_reaped: Mutex<BTreeSet<ReplicaId>>,
    /// Somebody wants to wait.
    wanted: Notify,
    /// Somebody wants to know which replicas are dead.
    reaping_wanted: Notify,
    /// Whether offers are pushed to this replica.
    pub(super) is_pushed: std::sync::atomic::AtomicBool,
}

impl Default for Membership {
    fn default() -> Self {
        Self {
            presence: Mutex::default(),
            dead: Mutex::default(),
            suspects: Mutex::default(),
            being_reaped: Mutex::default(),
            wanted: Notify::new(),
            reaping_wanted: Notify::new(),
            is_pushed: false.into(),
        }
    }
}

impl Membership {
    /// This replica, if the others know it.
    pub(super) fn me(&self) -> Option<ReplicaId> {
        self.presence().me
    }

    /// This replica as the others know it.
    pub(super) fn presence(&self) -> Presence {
        *self.presence.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dead.
    pub(super) fn dead(&self) -> Arc<BTreeSet<ReplicaId>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody wants to wait.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Replicas to which nothing is offered.
    pub(super) fn suspects(&self) -> Arc<BTreeSet<ReplicaId>> {
        self.suspects.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A replica let an offer lapse: nothing more is offered to it before it is known whether it is dead.
    pub(super) fn suspect(&self, replica: ReplicaId) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut suspects).insert(replica);
        drop(suspects);
        self.want_reaping();
    }

    /// A replica is dead, or alive after all.
    fn clear(&self, replica: ReplicaId) {
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.contains(&replica) {
            Arc::make_mut(&mut suspects).remove(&replica);
        }
    }

    /// Has the beats of the others watched until it is known which of them are dead.
    pub(super) fn want_reaping(&self) {
        self.reaping_wanted.notify_one();
    }

    fn set_me(&self, me: Option<ReplicaId>) {
        *self.presence.lock().unwrap_or_else(PoisonError::into_inner) = Presence { me, is_leaving: false };
    }

    fn begin_leaving(&self) {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).is_leaving = true;
    }

    /// Returns whether it was not among the dead yet.
    fn add_dead(&self, replica: ReplicaId) -> bool {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        !dead.contains(&replica) && Arc::make_mut(&mut dead).insert(replica)
    }

    /// Returns whether it was among the dead.
    fn revive(&self, replica: ReplicaId) -> bool {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.contains(&replica) && Arc::make_mut(&mut dead).remove(&replica)
    }
}

/// Joins when somebody wants to wait, and parts when nobody has for long. Returns when the service stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let joined = async || {
        shared.membership.wanted.notified().await;
        join(&shared).await
    };
    while let Some(me) = shared.stop.run_until_cancelled(joined()).await {
        let notifications = spawn_critical(listen(shared.clone(), me));
        let looks = spawn_critical(look_for_offers(shared.clone(), me));
        let audits = spawn_critical(keep_auditing(shared.clone(), me));
        stay(&shared, me).await;
        for task in [notifications, looks, audits] {
            task.abort();
            // It has ended, and changes nothing any more.
            let _ = task.await;
        }
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
    }
}

async fn join(shared: &Shared) -> ReplicaId {
    loop {
        let me = ids::replica();
        match shared.store.join(me).await {
            Ok(()) => {
                shared.membership.set_me(Some(me));
                shared.broadcast(|| Message::Joined);
                tracing::debug!(replica = %me, "known to the other replicas");
                return me;
            }
            Err(error) => {
                shared.report_outage(&error);
                tokio::time::sleep(JOIN_AGAIN).await;
            }
        }
    }
}

/// Beats and watches the others until membership ends.
async fn stay(shared: &Arc<Shared>, me: ReplicaId) {
    let mut watch = Watch::default();
    let mut idle_since = None;
    let mut ticks = every_beat();
    while shared.stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match shared.store.beat(me).await {
            Ok(beat) if !beat.known => return forget_me(shared, me),
            Ok(beat) => {
                shared.outage.end_if_any();
                act_on(shared, watch.note(Some(me), &beat.peers, Instant::now()));
            }
            Err(error) => shared.report_outage(&error),
        }
        if shared.waiting.count() > 0 {
            idle_since = None;
        } else if shared.is_draining() || idle_since.get_or_insert_with(Instant::now).elapsed() >= LINGER {
            if part(shared, me).await {
                return;
            }
            idle_since = None;
        }
    }
    shared.membership.set_me(None);
    // Where somebody could not be taken out of a queue the row stays, and the others find that nobody beats for it.
    if shared.waiting.count() == 0
        && let Err(error) = shared.store.part(me, None).await
    {
        shared.report_outage(&error);
    }
}

/// The row is gone: the others took this replica for dead. Who wants to wait here has it join with a new identity.
fn forget_me(shared: &Shared, me: ReplicaId) {
    tracing::warn!(replica = %me, "the other replicas took this one for dead; its waiters lost their places");
    shared.membership.set_me(None);
    shared.broadcast(|| Message::Evict { draining: None });
}

fn every_beat() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Ends membership, unless somebody began to wait just now. Returns whether it did.
async fn part(shared: &Shared, me: ReplicaId) -> bool {
    if !shared.is_draining() {
        // Who waits here, or is just beginning to, is served until the end.
        shared.membership.begin_leaving();
        let settled = Instant::now() + SETTLED_AFTER;
        let mut wanted = false;
        while Instant::now() < settled && !wanted && !shared.stop.is_cancelled() {
            // The row is there, and beats, while a statement that names it may be under way.
            match shared.store.beat(me).await {
                Ok(beat) if !beat.known => {
                    forget_me(shared, me);
                    return true;
                }
                Ok(_) => {}
                Err(error) => shared.report_outage(&error),
            }
            let somebody = shared.stop.run_until_cancelled(shared.membership.wanted.notified());
            wanted = matches!(tokio::time::timeout(BEAT, somebody).await, Ok(Some(())));
        }
        if wanted || shared.waiting.count() > 0 {
            shared.membership.set_me(Some(me));
            shared.broadcast(|| Message::Joined);
            return false;
        }
    }
    shared.membership.set_me(None);
    if let Err(error) = shared.store.part(me, None).await {
        shared.report_outage(&error);
    }
    true
}
