//! The key tasks of a shard between the moment when they are gathered and their answers.

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::{
    batch::DecidedTask, blocked_keys::BlockedKeys, commits::Commits, guarded_keys::GuardedKeys, loads::Loads,
};
use crate::{
    domain::KeyId,
    engine::{key_task::KeyTask, timers::Timers},
    store::Write,
};

/// The key tasks that are being loaded or committed, or that wait for that.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) loads: Loads,
    pub(super) commits: Commits,
    /// Tasks of keys whose rows another session keeps locked.
    pub(super) blocked: BlockedKeys,
    /// Changes that need the guard rows of their keys.
    pub(super) guarded: GuardedKeys,
    /// Tasks that are being decided under the database's lock.
    pub(super) locked: FxHashMap<KeyId, KeyTask>,
    /// Tasks that are loaded and decided again after a pause.
    pub(super) retries: Timers<KeyTask>,
}

impl InFlight {
    /// Nothing is in flight yet.
    pub(super) fn new(now: Instant, guarded: GuardedKeys) -> Self {
        Self {
            loads: Loads::default(),
            commits: Commits::new(now),
            blocked: BlockedKeys::default(),
            guarded,
            locked: FxHashMap::default(),
            retries: Timers::default(),
        }
    }

    /// Has a decided task written: with the next batch, or apart from the batches if it needs a guard row or its key is
    /// blocked.
    pub(super) fn write(&mut self, write: Write, task: DecidedTask) {
        if self.guarded.takes(&write) {
            self.guarded.push(write, task);
        } else if self.blocked.contains(&task.key_task.id) {
            self.blocked.push(write, task);
        } else {
            self.commits.push(write, task);
        }
    }

    /// Has the tasks loaded whose pause is over.
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
