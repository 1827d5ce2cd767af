//! The key tasks of a shard from when they are gathered until they are answered.

use tokio::time::Instant;

use super::{
    batch::DecidedTask, blocked_keys::BlockedKeys, commits::Commits, guarded_keys::GuardedKeys, loads::Loads,
};
use crate::{
    SeededMap,
    domain::KeyId,
    engine::{key_task::KeyTask, timers::Timers},
    store::{BatchLimits, Write},
};

/// Key tasks that are loaded or committed, or that wait for a load or commit.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) loads: Loads,
    pub(super) commits: Commits,
    /// Tasks of keys whose rows another session keeps locked.
    pub(super) blocked: BlockedKeys,
    /// Changes that need the guard rows of their keys.
    pub(super) guarded: GuardedKeys,
    /// Tasks that are being decided under the database's lock.
    pub(super) locked: SeededMap<KeyId, KeyTask>,
    /// Tasks that wait for a pause to end before they are loaded and decided again.
    pub(super) retries: Timers<KeyTask>,
}

impl InFlight {
    /// Starts with nothing in flight.
    pub(super) fn new(now: Instant, limits: BatchLimits, guarded: GuardedKeys) -> Self {
        Self {
            loads: Loads::default(),
            commits: Commits::new(limits, now),
            blocked: BlockedKeys::default(),
            guarded,
            locked: SeededMap::default(),
            retries: Timers::default(),
        }
    }

    /// Queues a decided task for the next batch. If it needs a guard row or its key is blocked, it is written apart
    /// from the batches.
    pub(super) fn write(&mut self, write: Write, task: DecidedTask) {
        if self.guarded.takes(&write) {
            self.guarded.push(write, task);
        } else if self.blocked.contains(&task.key_task.id) {
            self.blocked.push(write, task);
        } else {
            self.commits.push(write, task);
        }
    }

    /// Queues the tasks whose pause is over for a load.
    pub(super) fn retry_due(&mut self, now: Instant) {
        while let Some(key_task) = self.retries.pop_due(now) {
            self.loads.push(key_task);
        }
    }

    /// Removes and returns the tasks of a commit that came back.
    pub(super) fn take_commit(&mut self, number: u64) -> Option<Vec<DecidedTask>> {
        let (blocked, guarded) = (&mut self.blocked, &mut self.guarded);
        let of_keys = || blocked.take_commit(number).or_else(|| guarded.take_commit(number));
        self.commits.take(number).or_else(of_keys)
    }

    /// Whether no load or commit of a batch is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.commits.is_idle() && self.loads.is_idle()
    }
}
