//! Being known to the other replicas, and knowing which of them live.
//!
//! A replica is an incarnation with a beat counter in a row; it has one only while somebody waits at it, so an idle
//! replica asks the database for nothing. Another one is dead when its counter has not moved for 3 s of this replica's
//! monotonic clock while this replica's own beats went through: never by comparing timestamps, or a database that was
//! away for 10 s would kill every replica but the first.
//!
//! Four loops, each while there is membership, and each for itself, so that a slow query of one does not delay the beat: the
//! beat; the look for offers to this replica's waiters; the listener for hints, where the database can push them; the audit
//! of waiters against their rows.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{
    Shared, chance,
    envelope::{Audit, Envelope, Message},
};
use crate::{
    domain::{Command, KeyId, ReplicaId},
    store::{Beat, StoreError},
};

/// The pause between two beats.
const BEAT: Duration = Duration::from_secs(1);
/// A counter that has not moved for so long is a dead replica's.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// If our own beats were further apart, nobody else's silence means anything.
const OWN_GAP: Duration = Duration::from_millis(2_500);
/// The pause before joining is tried again.
const JOIN_AGAIN: Duration = Duration::from_millis(200);
/// The pause between two looks for offers where others may offer and nobody pushes: at most 40 a second.
const LOOK_SHARED: Duration = Duration::from_millis(28);
/// The pause between two looks where offers are pushed, or where nobody else writes.
const LOOK_FALLBACK: Duration = Duration::from_secs(1);
/// Membership ends after so long without a waiter.
const LINGER: Duration = Duration::from_secs(30);
/// Longer than any statement of an earlier decision can still be under way.
const SETTLED_AFTER: Duration = Duration::from_secs(15);
/// Keys of a dead replica's waiters that are looked at in one go.
const BURIED_AT_ONCE: u32 = 500;

/// What the shards read of it.
#[derive(Debug)]
pub(super) struct Membership {
    /// This replica, while the others know it. Held only to copy.
    me: Mutex<Option<ReplicaId>>,
    /// Replicas that are dead. Replaced as a whole; held only to clone the `Arc`.
    dead: Mutex<Arc<BTreeSet<ReplicaId>>>,
    /// Replicas whose waiters are being taken out of their queues. Held only to add or remove one.
    being_buried: Mutex<BTreeSet<ReplicaId>>,
    /// Somebody wants to wait.
    wanted: Notify,
    /// Whether offers are pushed to this replica.
    pub(super) is_pushed: std::sync::atomic::AtomicBool,
}

impl Default for Membership {
    fn default() -> Self {
        Self {
            me: Mutex::default(),
            dead: Mutex::default(),
            being_buried: Mutex::default(),
            wanted: Notify::new(),
            is_pushed: false.into(),
        }
    }
}

impl Membership {
    /// This replica, if the others know it.
    pub(super) fn me(&self) -> Option<ReplicaId> {
        *self.me.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The dead.
    pub(super) fn dead(&self) -> Arc<BTreeSet<ReplicaId>> {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Somebody wants to wait.
    pub(super) fn want(&self) {
        self.wanted.notify_one();
    }

    fn set_me(&self, me: Option<ReplicaId>) {
        *self.me.lock().unwrap_or_else(PoisonError::into_inner) = me;
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

    /// Begins to bury a replica, unless somebody is at it.
    fn begin_burial(&self, replica: ReplicaId) -> Option<Burial<'_>> {
        let begun = self.being_buried.lock().unwrap_or_else(PoisonError::into_inner).insert(replica);
        begun.then(|| Burial { of: self, replica })
    }
}

/// The one burial of a replica, until it is dropped.
struct Burial<'m> {
    of: &'m Membership,
    replica: ReplicaId,
}

impl Drop for Burial<'_> {
    fn drop(&mut self) {
        self.of.being_buried.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.replica);
    }
}

/// Joins when somebody wants to wait, and parts when nobody has for long. Never returns.
pub(super) async fn run(shared: Arc<Shared>) {
    loop {
        shared.membership.wanted.notified().await;
        let me = join(&shared).await;
        let hints = tokio::spawn(listen(shared.clone(), me));
        let looks = tokio::spawn(look_for_offers(shared.clone(), me));
        let audits = tokio::spawn(keep_auditing(shared.clone(), me));
        stay(&shared, me).await;
        for task in [hints, looks, audits] {
            task.abort();
            // It has ended, and changes nothing any more.
            let _ = task.await;
        }
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
    }
}

async fn join(shared: &Shared) -> ReplicaId {
    loop {
        let me = chance::replica();
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
    loop {
        ticks.tick().await;
        match shared.store.beat(me).await {
            Ok(beat) if !beat.known => return forget_me(shared, me),
            Ok(beat) => on_beat(shared, me, &beat, &mut watch),
            Err(error) => shared.report_outage(&error),
        }
        if shared.waiting.load(Ordering::Relaxed) > 0 {
            idle_since = None;
        } else if shared.is_draining() || idle_since.get_or_insert_with(Instant::now).elapsed() >= LINGER {
            if part(shared, me).await {
                return;
            }
            idle_since = None;
        }
    }
}

/// The row is gone: the others took this replica for dead. Who wants to wait here has it join with a new identity.
fn forget_me(shared: &Shared, me: ReplicaId) {
    tracing::warn!(replica = %me, "the other replicas took this one for dead; its waiters lost their places");
    shared.membership.set_me(None);
    shared.broadcast(|| Message::Evict { draining: false });
}

fn every_beat() -> tokio::time::Interval {
    let mut ticks = tokio::time::interval(BEAT);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}

/// Audits while somebody waits, and now and then looks for those who wait at replicas that nobody knows.
async fn keep_auditing(shared: Arc<Shared>, me: ReplicaId) {
    const UNKNOWN_EVERY: u64 = 10;
    let mut audits = 0_u64;
    let mut ticks = every_beat();
    loop {
        ticks.tick().await;
        if shared.waiting.load(Ordering::Relaxed) == 0 {
            continue;
        }
        audit(&shared, me).await;
        if audits.is_multiple_of(UNKNOWN_EVERY) {
            find_unknown(&shared).await;
        }
        audits += 1;
    }
}

/// Ends membership, unless somebody began to wait just now. Returns whether it did.
async fn part(shared: &Shared, me: ReplicaId) -> bool {
    shared.membership.set_me(None);
    if !shared.is_draining() {
        let settled = Instant::now() + SETTLED_AFTER;
        let mut wanted = false;
        while Instant::now() < settled && !wanted {
            // The row must not look dead while a statement that names it may be under way.
            match shared.store.beat(me).await {
                Ok(beat) if !beat.known => {
                    forget_me(shared, me);
                    return true;
                }
                Ok(_) => {}
                Err(error) => shared.report_outage(&error),
            }
            wanted = tokio::time::timeout(BEAT, shared.membership.wanted.notified()).await.is_ok();
        }
        if wanted || shared.waiting.load(Ordering::Relaxed) > 0 {
            shared.membership.set_me(Some(me));
            shared.broadcast(|| Message::Joined);
            return false;
        }
    }
    if let Err(error) = shared.store.part(me, None).await {
        shared.report_outage(&error);
    }
    true
}

/// What this replica has seen of the others.
#[derive(Debug, Default)]
struct Watch {
    /// Each peer's counter, and since when it has stood there.
    seen: FxHashMap<ReplicaId, (i64, Instant)>,
    /// When our own last beat went through.
    own: Option<Instant>,
}

/// What a look at the others' counters told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Noted {
    /// Those who are dead, with the counters at which they stopped.
    dead: Vec<(ReplicaId, i64)>,
    /// Those whose counters have moved.
    alive: Vec<ReplicaId>,
}

impl Watch {
    /// Takes note of the counters.
    fn note(&mut self, me: ReplicaId, beat: &Beat, now: Instant) -> Noted {
        let gap = self.own.replace(now).is_none_or(|own| now.duration_since(own) > OWN_GAP);
        let mut seen = FxHashMap::default();
        let mut noted = Noted::default();
        for peer in beat.peers.iter().filter(|peer| peer.replica != me) {
            let before = self.seen.get(&peer.replica);
            if before.is_some_and(|(counter, _)| *counter != peer.beat) {
                noted.alive.push(peer.replica);
            }
            let since = match before {
                Some((counter, since)) if *counter == peer.beat && !gap => *since,
                Some(_) | None => now,
            };
            if now.duration_since(since) >= DEAD_AFTER {
                noted.dead.push((peer.replica, peer.beat));
            }
            seen.insert(peer.replica, (peer.beat, since));
        }
        self.seen = seen;
        noted
    }
}

fn on_beat(shared: &Arc<Shared>, me: ReplicaId, beat: &Beat, watch: &mut Watch) {
    let Noted { dead, alive } = watch.note(me, beat, Instant::now());
    for replica in alive {
        if shared.membership.revive(replica) {
            tracing::warn!(%replica, "a replica that was taken for dead beats again");
        }
    }
    for (replica, counter) in dead {
        if shared.membership.add_dead(replica) {
            tracing::warn!(%replica, "a replica has stopped beating; its waiters leave their queues");
            metrics::counter!("db_locks_replicas_buried_total").increment(1);
            shared.broadcast(|| Message::LookAround);
        }
        // With every beat that shows it dead, since a burial may end before its row is gone; one goes on at a time.
        tokio::spawn(bury(shared.clone(), replica, Some(counter)));
    }
}

/// Replicas that have waiters and no row died while they were being buried, or parted too early.
async fn find_unknown(shared: &Arc<Shared>) {
    match shared.store.unknown_replicas().await {
        Ok(replicas) => {
            for replica in replicas {
                shared.membership.add_dead(replica);
                tokio::spawn(bury(shared.clone(), replica, None));
            }
        }
        Err(error) => shared.report_outage(&error),
    }
}

/// Takes a dead replica's waiters out of all queues, a bounded piece at a time, then its row. With the counter at which its
/// `beat` stopped it ends when the replica beats again.
pub(super) async fn bury(shared: Arc<Shared>, replica: ReplicaId, beat: Option<i64>) {
    const PIECE: Duration = Duration::from_millis(100);
    const MOST_PIECES: usize = 3_000;
    let Some(_burial) = shared.membership.begin_burial(replica) else { return };
    for _ in 0..MOST_PIECES {
        if beat.is_some() && !shared.membership.dead().contains(&replica) {
            return;
        }
        match shared.store.keys_waited_for(replica, BURIED_AT_ONCE).await {
            Ok(ids) if ids.is_empty() => {
                if let Err(error) = shared.store.part(replica, beat).await {
                    shared.report_outage(&error);
                }
                return;
            }
            Ok(ids) => {
                for id in ids {
                    shared.command(id, Command::Bury { replica });
                }
            }
            Err(error) => shared.report_outage(&error),
        }
        tokio::time::sleep(PIECE).await;
    }
}

/// One query a replica, not one a waiter, looks for offers to its waiters, only while it has any: often where others may
/// offer and nobody pushes, else now and then.
async fn look_for_offers(shared: Arc<Shared>, me: ReplicaId) {
    let membership = &shared.membership;
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(LOOK_SHARED).await;
        let pushed = membership.is_pushed.load(Ordering::Relaxed);
        let often = !pushed && shared.store.has_other_writers();
        let due = often || looked.elapsed() >= LOOK_FALLBACK;
        if !due || shared.waiting.load(Ordering::Relaxed) == 0 {
            continue;
        }
        looked = Instant::now();
        match shared.store.offers(me).await {
            Ok(ids) => {
                let event = if pushed { "missed" } else { "found" };
                let offers = metrics::counter!("db_locks_handover_notifications_total", "event" => event);
                offers.increment(ids.len() as u64);
                settle_all(&shared, ids);
            }
            Err(error) => shared.report_outage(&error),
        }
    }
}

fn settle_all(shared: &Shared, ids: Vec<KeyId>) {
    for id in ids {
        shared.command(id, Command::Settle);
    }
}

/// Listens for hints where the database can push them.
async fn listen(shared: Arc<Shared>, me: ReplicaId) {
    loop {
        let result = listen_once(&shared, me).await;
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
        match result {
            Ok(()) => return,
            Err(error) => shared.report_outage(&error),
        }
        tokio::time::sleep(BEAT).await;
    }
}

async fn listen_once(shared: &Shared, me: ReplicaId) -> Result<(), StoreError> {
    let received = metrics::counter!("db_locks_handover_notifications_total", "event" => "received");
    let Some(mut hints) = shared.store.hints(me).await? else { return Ok(()) };
    loop {
        // What came before the listener did, or while it was away, was not pushed.
        settle_all(shared, shared.store.offers(me).await?);
        shared.membership.is_pushed.store(true, Ordering::Relaxed);
        while let Some(id) = hints.next().await? {
            received.increment(1);
            shared.command(id, Command::Settle);
        }
        shared.membership.is_pushed.store(false, Ordering::Relaxed);
    }
}

/// Compares the number of waiters with the rows, and if they differ, who they are.
async fn audit(shared: &Arc<Shared>, me: ReplicaId) {
    let asked = Instant::now();
    let result = async {
        let rows = shared.store.count_waiting(me).await?;
        if usize::try_from(rows).is_ok_and(|rows| rows == shared.waiting.load(Ordering::Relaxed)) {
            return Ok(());
        }
        let mut found: Vec<FxHashMap<_, _>> = vec![FxHashMap::default(); shared.shard_count()];
        for row in shared.store.waiting(me).await? {
            found[shared.shard_of(&row.id)].insert(row.nonce, row);
        }
        for (shard, found) in found.into_iter().enumerate() {
            shared.send_to(shard, Message::Audit(Box::new(Audit { found, asked })));
        }
        Ok(())
    };
    if let Err(error) = result.await {
        shared.report_outage(&error);
    }
}

impl Shared {
    /// Sends a command of the engine's own to the shard of its key.
    pub(super) fn command(&self, id: KeyId, command: Command) {
        let shard = self.shard_of(&id);
        self.send_to(shard, Message::Command(Envelope::internal(id, command, Instant::now())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::Timestamp, store::Peer};

    fn beat(peers: &[(ReplicaId, i64)]) -> Beat {
        let peers = peers.iter().map(|&(replica, beat)| Peer { replica, beat }).collect();
        Beat { known: true, peers, told: Timestamp(0) }
    }

    /// Guards invariant 6: the queue behind a killed replica moves.
    #[test]
    fn a_counter_that_stands_still_for_three_seconds_is_a_dead_replica() {
        let (me, other) = (chance::replica(), chance::replica());
        let start = Instant::now();
        let mut watch = Watch::default();
        for second in 0..3 {
            let at = start + Duration::from_secs(second);
            assert!(watch.note(me, &beat(&[(other, 7)]), at).dead.is_empty(), "after {second} s");
        }
        let noted = watch.note(me, &beat(&[(other, 7)]), start + Duration::from_secs(3));
        assert_eq!(noted, Noted { dead: vec![(other, 7)], alive: Vec::new() });
        let noted = watch.note(me, &beat(&[(other, 8)]), start + Duration::from_secs(4));
        assert_eq!(noted, Noted { dead: Vec::new(), alive: vec![other] });
    }

    /// Guards invariant 8: no timestamps are compared, and an outage of the database kills nobody.
    #[test]
    fn a_database_that_was_away_for_ten_seconds_kills_nobody() {
        let (me, other) = (chance::replica(), chance::replica());
        let start = Instant::now();
        let mut watch = Watch::default();
        watch.note(me, &beat(&[(other, 7)]), start);
        assert!(watch.note(me, &beat(&[(other, 7)]), start + Duration::from_secs(10)).dead.is_empty());
        assert!(watch.note(me, &beat(&[(other, 8)]), start + Duration::from_secs(11)).dead.is_empty());
    }
}
