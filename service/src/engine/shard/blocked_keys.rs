//! Keys whose rows another session keeps locked: an operator's session, or a replica that was stopped within a
//! transaction.
//!
//! One such key would fail each batch that it is part of. So blocked keys are written apart from the batches, after
//! pauses that grow, in one commit at a time. For some time after a locked row was seen, batches are checked for locked
//! rows before they are sent, so that no batch waits for a lock again.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::batch::{Batch, DecidedTask};
use crate::{SeededMap, domain::KeyId, engine::key_task::KeyTask, store::Write, unavailable::Unavailable};

/// The pause after a key was first found blocked; the pause doubles each time. A row that another replica was just
/// writing is free by then.
const FIRST_PAUSE: Duration = Duration::from_millis(10);

/// The longest pause: a key is tried at most this much later than its row becomes free.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// A row that is locked for this long is not locked by another replica's write.
const KEPT_LOCKED: Duration = Duration::from_millis(400);

/// How long batches are checked for locked rows before they are sent, after a row was found that another session keeps
/// locked.
const CAREFUL_FOR: Duration = Duration::from_secs(5);

/// How long a blocked key without commands is remembered.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// The maximum number of blocked keys of one commit.
const MOST_KEYS: usize = 256;

/// The known facts about a blocked key.
#[derive(Debug)]
struct BlockedKey {
    /// When the key was first found blocked.
    since: Instant,
    /// When the key was last found blocked.
    seen: Instant,
    /// The next pause.
    pause: Duration,
    /// Whether the key needs a commit of its own, because the locked row is not the key's own row.
    alone: bool,
    /// Whether the block was logged.
    logged: bool,
}

impl BlockedKey {
    const fn new(now: Instant) -> Self {
        Self { since: now, seen: now, pause: FIRST_PAUSE, alone: false, logged: false }
    }
}

/// The blocked keys of a shard, their decided tasks, and the commit that tries them.
#[derive(Debug, Default)]
pub(super) struct BlockedKeys {
    keys: SeededMap<KeyId, BlockedKey>,
    /// Decided tasks of blocked keys that wait for a commit.
    ready: VecDeque<(Write, DecidedTask)>,
    /// The commit under way: its number and its tasks.
    commit: Option<(u64, Vec<DecidedTask>)>,
    /// The time until which batches are checked.
    careful_until: Option<Instant>,
}

impl BlockedKeys {
    /// Whether a key is blocked, so that it is written apart from the batches.
    pub(super) fn contains(&self, id: &KeyId) -> bool {
        !self.keys.is_empty() && self.keys.contains_key(id)
    }

    /// Whether batches are checked for locked rows before they are sent.
    pub(super) fn is_careful(&self, now: Instant) -> bool {
        self.careful_until.is_some_and(|until| now < until)
    }

    /// Adds a decided task to the next commit of blocked keys.
    pub(super) fn push(&mut self, write: Write, task: DecidedTask) {
        self.ready.push_back((write, task));
    }

    /// Takes the next tasks to be tried with one commit; `None` while one is under way.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        if self.commit.is_some() {
            return None;
        }
        let keys = &self.keys;
        let is_alone = |task: &DecidedTask| keys.get(&task.key_task.id).is_some_and(|key| key.alone);
        let together = self.ready.iter().take(MOST_KEYS).take_while(|(_, task)| !is_alone(task)).count();
        let count = together.max(1).min(self.ready.len());
        Batch::new(self.ready.drain(..count).collect())
    }

    /// Notes that the commit of these tasks was sent.
    pub(super) fn note_sent(&mut self, number: u64, tasks: Vec<DecidedTask>) {
        self.commit = Some((number, tasks));
    }

    /// Removes and returns the tasks of the commit with this number.
    pub(super) fn take_commit(&mut self, number: u64) -> Option<Vec<DecidedTask>> {
        self.commit.take_if(|(under_way, _)| *under_way == number).map(|(_, tasks)| tasks)
    }

    /// All tasks that wait for a commit or are part of one.
    pub(super) fn key_tasks(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        let under_way = self.commit.iter_mut().flat_map(|(_, tasks)| tasks);
        let ready = self.ready.iter_mut().map(|(_, task)| task);
        ready.chain(under_way).map(|task| &mut task.key_task)
    }

    /// The error for the caller of a command that was never written: the row is locked, or `otherwise` if the key is
    /// not blocked.
    pub(super) fn error_for(&self, id: &KeyId, otherwise: Unavailable) -> Unavailable {
        if self.contains(id) { Unavailable::RowLocked } else { otherwise }
    }

    /// Notes that a key was written, so that it is no longer blocked.
    pub(super) fn note_free(&mut self, id: &KeyId) {
        if !self.keys.is_empty() {
            self.keys.remove(id);
        }
    }

    /// Forgets keys that were not tried lately.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.keys.retain(|_, key| now.duration_since(key.seen) < REMEMBERED_FOR);
    }

    /// Notes that a key is blocked. `waited` says that a commit waited for the key's lock until its time limit. Returns
    /// when to try again.
    pub(super) fn note(&mut self, id: &KeyId, waited: bool, now: Instant) -> Instant {
        let key = self.keys.entry(id.clone()).or_insert_with(|| BlockedKey::new(now));
        // A row that another replica is writing at this moment says nothing about the next batch.
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

    /// Sets whether a blocked key needs a commit of its own.
    pub(super) fn set_alone(&mut self, id: &KeyId, alone: bool) {
        if let Some(key) = self.keys.get_mut(id) {
            key.alone = alone;
        }
    }

    /// Notes that a key may be blocked although its own row is not locked.
    pub(super) fn note_possibly_blocked(&mut self, id: &KeyId, now: Instant) {
        self.careful_until = Some(now + CAREFUL_FOR);
        self.keys.entry(id.clone()).or_insert_with(|| BlockedKey::new(now)).alone = true;
    }
}

#[cfg(test)]
mod tests {
    use super::{super::batch::tests::decided, *};

    fn push(blocked: &mut BlockedKeys, key: &str) -> KeyId {
        let (write, task) = decided(key);
        let id = task.key_task.id.clone();
        blocked.push(write, task);
        id
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_the_key_is_written() {
        let mut blocked = BlockedKeys::default();
        let (id, now) = (decided("a").1.key_task.id, Instant::now());
        let pauses = |blocked: &mut BlockedKeys| [(); 9].map(|()| blocked.note(&id, false, now) - now);
        let first = pauses(&mut blocked);
        assert_eq!(first[..2], [FIRST_PAUSE, FIRST_PAUSE * 2]);
        assert_eq!(first[8], LONGEST_PAUSE);
        assert!(blocked.contains(&id) && !blocked.is_careful(now), "another replica may just write the row");
        blocked.note_free(&id);
        assert!(!blocked.contains(&id));
        assert_eq!(pauses(&mut blocked)[0], FIRST_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn batches_are_checked_for_a_while_after_one_waited_for_a_lock() {
        let mut blocked = BlockedKeys::default();
        let now = Instant::now();
        blocked.note(&decided("a").1.key_task.id, true, now);
        assert!(blocked.is_careful(now) && !blocked.is_careful(now + CAREFUL_FOR));
    }

    #[tokio::test(start_paused = true)]
    async fn one_commit_of_blocked_keys_is_under_way_and_a_suspect_is_in_one_of_its_own() {
        let mut blocked = BlockedKeys::default();
        let now = Instant::now();
        for key in ["a", "b", "suspect", "c"] {
            let id = push(&mut blocked, key);
            if key == "suspect" {
                blocked.note_possibly_blocked(&id, now);
            }
        }
        let mut sizes = Vec::new();
        while let Some(batch) = blocked.next_batch() {
            sizes.push(batch.writes.len());
            blocked.note_sent(7, batch.tasks);
            assert!(blocked.next_batch().is_none(), "a commit is under way");
            assert!(blocked.take_commit(8).is_none() && blocked.take_commit(7).is_some());
        }
        assert_eq!(sizes, [2, 1, 1]);
    }
}
