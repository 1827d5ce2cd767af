//! Keys whose rows somebody else keeps locked: an operator's session, a replica that was stopped inside a transaction.
//!
//! One of them would fail every batch that it is part of. A batch that could not have a row in time is taken apart: the store
//! tells which rows are locked, the others are decided again at once, and the locked keys are from then on tried apart from
//! the batches, after growing pauses, a bounded number at a time. As long as locked rows were seen lately, batches are
//! checked for more of them before they are sent, so that no batch waits for a lock again.
//!
//! What keeps a row from being written need not be seen on the row itself: rows of its queue or its permits may be locked, or
//! a row of the same key that is not committed yet. Then the suspects are tried one by one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::{
    super::{Shared, ids, key_task::KeyTask, pending_request::EngineError},
    Shard, TimerEvent,
    batch::{Batch, Decided, Side},
};
use crate::{
    domain::KeyId,
    store::{Committed, StoreError, Write},
};

/// The pause after a key was found blocked, which doubles each time: a row that another replica was just writing is free by then.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest of these pauses: so much later than the row does a key come free at the most.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A row that is locked for so long is not just being written by another replica.
const KEPT_LOCKED: Duration = Duration::from_millis(400);

/// For so long after a row was seen that somebody kept locked batches are checked before they are sent.
const CAREFUL_FOR: Duration = Duration::from_secs(5);

/// A key that was not asked for since is forgotten after so long.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// The most keys that are tried with one commit.
const MOST_KEYS: usize = 256;

/// What is known of a blocked key.
#[derive(Debug)]
struct BlockedKey {
    /// When it was found blocked first.
    since: Instant,
    /// When it was found blocked last.
    seen: Instant,
    /// The next pause.
    pause: Duration,
    /// What blocks it is not seen on its row: it has to be tried by itself.
    alone: bool,
    /// Whether the log has it.
    logged: bool,
}

impl BlockedKey {
    fn new(now: Instant) -> Self {
        Self { since: now, seen: now, pause: FIRST_PAUSE, alone: false, logged: false }
    }
}

/// The blocked keys of a shard, and the commit that tries them.
#[derive(Debug, Default)]
pub(super) struct Blocked {
    keys: FxHashMap<KeyId, BlockedKey>,
    /// Works for these keys that are decided and wait for their commit.
    ready: VecDeque<Decided>,
    /// The commit under way: its number, and what it came from.
    commit: Option<(u64, Vec<Side>)>,
    /// Until when batches are checked.
    careful_until: Option<Instant>,
}

impl Blocked {
    /// Whether a key is to be tried apart from the batches.
    pub(super) fn contains(&self, id: &KeyId) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(id)
    }

    /// Whether batches are checked for locked rows before they are sent.
    pub(super) fn is_careful(&self, now: Instant) -> bool {
        self.careful_until.is_some_and(|until| now < until)
    }

    /// Puts a decided work in line for the commit of blocked keys.
    pub(super) fn push(&mut self, decided: Decided) {
        self.ready.push_back(decided);
    }

    /// Takes the commit of this number, if it is that of the blocked keys.
    pub(super) fn take_commit(&mut self, number: u64) -> Option<Vec<Side>> {
        self.commit.take_if(|(under_way, _)| *under_way == number).map(|(_, sides)| sides)
    }

    /// All works that wait for this commit or are part of it.
    pub(super) fn key_tasks(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        let under_way = self.commit.iter_mut().flat_map(|(_, sides)| sides).map(|side| &mut side.key_task);
        self.ready.iter_mut().map(|decided| &mut decided.key_task).chain(under_way)
    }

    /// What a caller is told whose command could not be carried out in time, and was not written; where the key is not blocked
    /// it is something else.
    pub(super) fn unreached(&self, id: &KeyId, otherwise: EngineError) -> EngineError {
        if self.contains(id) { EngineError::RowLocked } else { otherwise }
    }

    /// A write of this key went through.
    pub(super) fn note_free(&mut self, id: &KeyId) {
        if !self.keys.is_empty() {
            self.keys.remove(id);
        }
    }

    /// Forgets keys that nobody asked for lately.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.keys.retain(|_, key| now.duration_since(key.seen) < REMEMBERED_FOR);
    }

    /// Notes that a key is blocked, maybe since a batch has `waited` for it in vain. Returns when to try again.
    fn note(&mut self, id: &KeyId, waited: bool, now: Instant) -> Instant {
        let key = self.keys.entry(id.clone()).or_insert_with(|| BlockedKey::new(now));
        // Only this counts: that another replica writes a row at this moment says nothing about the next batch.
        if waited || now.duration_since(key.since) >= KEPT_LOCKED {
            self.careful_until = Some(now + CAREFUL_FOR);
            if !std::mem::replace(&mut key.logged, true) {
                let (tenant, key) = (id.tenant.as_str(), id.key.as_str());
                tracing::warn!(tenant, key, "another session of the database keeps the row of a key locked");
            }
        }
        let again = now + key.pause;
        key.seen = now;
        key.pause = (key.pause * 2).min(LONGEST_PAUSE);
        again
    }

    /// Notes whether a blocked key has to be tried by itself.
    fn set_alone(&mut self, id: &KeyId, alone: bool) {
        if let Some(key) = self.keys.get_mut(id) {
            key.alone = alone;
        }
    }

    /// Notes that a key may be blocked by what is not seen on its row.
    fn suspect(&mut self, id: &KeyId, now: Instant) {
        self.careful_until = Some(now + CAREFUL_FOR);
        self.keys.entry(id.clone()).or_insert_with(|| BlockedKey::new(now)).alone = true;
    }

    /// The next works to be tried with one commit; none while one is under way.
    fn next(&mut self) -> Vec<Decided> {
        if self.commit.is_some() {
            return Vec::new();
        }
        let keys = &self.keys;
        let alone = |decided: &Decided| keys.get(&decided.key_task.id).is_some_and(|key| key.alone);
        let together = self.ready.iter().take(MOST_KEYS).take_while(|decided| !alone(decided)).count();
        let count = together.max(1).min(self.ready.len());
        self.ready.drain(..count).collect()
    }
}

impl Shard {
    /// Tries blocked keys, if any wait for it.
    pub(super) fn try_blocked(&mut self) {
        let mut decided = self.blocked.next();
        if decided.is_empty() {
            return;
        }
        decided.sort_unstable_by(|a, b| a.key_task.id.cmp(&b.key_task.id));
        let Batch { writes, sides } = Batch::of(decided);
        let number = self.send_commit(writes, Sending::Blocked);
        self.blocked.commit = Some((number, sides));
    }

    /// A batch could not have a row: its locked keys are tried apart, the others are decided again.
    pub(super) fn on_blocked(&mut self, batch: Batch, blocked: &FoundBlocked) {
        let FoundBlocked { locked, waited } = blocked;
        let now = Instant::now();
        let is_only = batch.writes.len() == 1;
        let is_suspect = |write: &Write| write.prev.is_none() || write.change.has_children();
        let some_suspect = batch.writes.iter().any(is_suspect);
        for (write, Side { mut key_task, .. }) in batch.writes.into_iter().zip(batch.sides) {
            let id = &key_task.id;
            if locked.contains(id) || (is_only && locked.is_empty()) {
                let again = self.blocked.note(id, *waited, now);
                self.blocked.set_alone(id, locked.is_empty());
                self.timers.set(again, TimerEvent::Retry(Box::new(key_task)));
                continue;
            }
            if locked.is_empty() {
                // Where nothing was seen the lock may be gone by now. The second time it must be one that is not seen.
                key_task.unexplained = key_task.unexplained.saturating_add(1);
                if key_task.unexplained > 1 && (!some_suspect || is_suspect(&write)) {
                    self.blocked.suspect(id, now);
                }
            }
            self.to_load.push(key_task);
        }
    }

    /// A key is blocked that was to be decided under the database's lock.
    pub(super) fn postpone_blocked(&mut self, key_task: KeyTask) {
        let again = self.blocked.note(&key_task.id, true, Instant::now());
        self.timers.set(again, TimerEvent::Retry(Box::new(key_task)));
    }
}

/// How a batch is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    /// At once.
    Plain,
    /// After a check for locked rows.
    Checked,
    /// After such a check, and beside no more than a few others of this replica: it may have to wait for a lock.
    Blocked,
}

/// What is known of the rows of a batch that could not have one of them.
#[derive(Debug, Default)]
pub(in super::super) struct FoundBlocked {
    /// Keys whose rows are known to be locked by somebody else.
    locked: Vec<KeyId>,
    /// Whether the batch was sent, and waited for a lock in vain.
    waited: bool,
}

/// Sends a batch. Where it could not have a row in time, or was found to have to wait for one, the second value tells more.
pub(super) async fn send(
    shared: &Shared,
    writes: &Arc<Vec<Write>>,
    sending: Sending,
) -> (Result<Committed, StoreError>, FoundBlocked) {
    if sending != Sending::Plain {
        match find_locked(shared, writes).await {
            Ok(locked) if locked.is_empty() => {}
            Ok(locked) => {
                let error = StoreError::Blocked("the row is locked".into());
                return (Err(error), FoundBlocked { locked, waited: false });
            }
            Err(error) => return (Err(error), FoundBlocked::default()),
        }
    }
    let result = shared.store.commit(Arc::clone(writes)).await;
    let mut blocked = FoundBlocked::default();
    if matches!(result, Err(StoreError::Blocked(_))) {
        blocked.waited = true;
        if writes.len() > 1 {
            // Without an answer nothing is known.
            blocked.locked = find_locked(shared, writes).await.unwrap_or_default();
        }
    }
    (result, blocked)
}

/// The keys of these writes whose rows somebody else keeps locked.
async fn find_locked(shared: &Shared, writes: &[Write]) -> Result<Vec<KeyId>, StoreError> {
    let known = writes.iter().filter(|write| write.prev.is_some());
    let ids: Vec<_> = known.map(|write| write.change.id.clone()).collect();
    if ids.is_empty() { Ok(Vec::new()) } else { shared.store.find_locked(&ids).await }
}

impl Batch {
    /// The writes of decided works, and what they came from.
    pub(super) fn of(decided: impl IntoIterator<Item = Decided>) -> Self {
        let parts = |Decided { key_task, verdicts, basis, prev, change }| {
            (Write { prev, row_version: ids::row_version(), change }, Side { key_task, verdicts, basis })
        };
        let (writes, sides) = decided.into_iter().map(parts).unzip();
        Self { writes, sides }
    }
}
