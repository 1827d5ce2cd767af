//! Handling of commits that failed because a row was locked.
//!
//! The batch is taken apart: the tasks of locked keys are tried apart from the batches, the others are decided again at
//! once. The locked row may not be the key's own: it may be a row of the key's queue or of its permits, or a row of the
//! same key that is not committed yet. Then the keys for which this is possible are tried one by one.

use tokio::time::Instant;

use super::{Shard, batch::Batch};
use crate::{
    engine::{commit_task::CommitMode, key_task::KeyTask, message::FoundBlocked},
    store::Write,
};

impl Shard {
    /// Tries blocked keys, if some are ready.
    pub(super) fn try_blocked(&mut self) {
        let Some(Batch { writes, tasks }) = self.in_flight.blocked.next_batch() else { return };
        let number = self.send_commit(writes, CommitMode::Blocked);
        self.in_flight.blocked.note_sent(number, tasks);
    }

    /// Handles a commit that failed because a row was locked.
    pub(super) fn on_blocked(&mut self, batch: Batch, found: &FoundBlocked) {
        let FoundBlocked { keys, waited, .. } = found;
        let now = Instant::now();
        let is_only = batch.writes.len() == 1;
        let is_suspect = |write: &Write| write.prev.is_none() || write.change.has_children();
        let some_suspect = batch.writes.iter().any(is_suspect);
        for (write, task) in batch.into_decided() {
            let mut key_task = task.key_task;
            let id = &key_task.id;
            if keys.contains(id) || (is_only && keys.is_empty()) {
                let again = self.in_flight.blocked.note(id, *waited, now);
                self.in_flight.blocked.set_alone(id, keys.is_empty());
                self.in_flight.retries.set(again, key_task);
                continue;
            }
            if keys.is_empty() {
                // The lock may be gone by now. If this happens twice, the lock is not on a key's own row.
                key_task.unexplained = key_task.unexplained.saturating_add(1);
                if key_task.unexplained > 1 && (!some_suspect || is_suspect(&write)) {
                    self.in_flight.blocked.note_possibly_blocked(id, now);
                }
            }
            self.in_flight.loads.push(key_task);
        }
    }

    /// Handles a decision under the database's lock that failed because its row was locked.
    pub(super) fn postpone_blocked(&mut self, key_task: KeyTask) {
        let again = self.in_flight.blocked.note(&key_task.id, true, Instant::now());
        self.in_flight.retries.set(again, key_task);
    }
}
