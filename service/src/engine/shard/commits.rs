//! The commits of a shard that are under way, and the writes that wait for the next one.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    batch::{Batch, DecidedTask},
    contested_keys::ContestedKeys,
    decided_lines::DecidedLines,
};
use crate::{
    SeededMap,
    domain::{KeyId, Tenant},
    engine::key_task::KeyTask,
    store::{BatchLimits, Write},
};

/// One more commit may be under way when the last one was sent this long ago: that one may be waiting for a row that
/// another session keeps locked.
const SLOW_COMMIT: Duration = Duration::from_millis(50);

/// The maximum number of keys of a batch of contested keys. Some of its writes will probably lose.
const MOST_CONTESTED: usize = 16;

/// Commits succeed if the last one did so at most this long ago.
const RECENTLY: Duration = Duration::from_secs(1);

/// The commits under way, and the writes that wait for one.
#[derive(Debug)]
pub(super) struct Commits {
    /// Decided tasks that wait for the next batch.
    ordinary: DecidedLines,
    /// Those of contested keys. One batch of them is under way at a time.
    contested: DecidedLines,
    contested_keys: ContestedKeys,
    /// The batch of contested keys, until it comes back.
    contested_batch: ContestedBatch,
    /// Halves of batches that the database refused. They are sent again, to find the refused write.
    halves: VecDeque<Batch>,
    /// The limits of batches on this database.
    limits: BatchLimits,
    /// The key tasks of the commits under way, by number.
    under_way: SeededMap<u64, Vec<DecidedTask>>,
    /// The number of the next commit.
    next_number: u64,
    /// When the last batch was sent.
    last_sent: Instant,
    /// The number of commands of the last batch.
    last_commands: usize,
    /// When the last commit succeeded.
    last_success: Option<Instant>,
}

/// The batch of contested keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ContestedBatch {
    /// There is none, and the last batch was an ordinary one.
    None,
    /// There is none, and it is the turn of an ordinary one.
    Ended,
    /// It was formed.
    Formed,
    /// It is under way as the commit of this number.
    Sent(u64),
}

impl ContestedBatch {
    const fn is_under_way(self) -> bool {
        matches!(self, Self::Formed | Self::Sent(_))
    }
}

impl Commits {
    /// Starts with nothing under way. One commit more than `limits` say is under way while they are slow.
    pub(super) fn new(limits: BatchLimits, now: Instant) -> Self {
        Self {
            ordinary: DecidedLines::default(),
            contested: DecidedLines::default(),
            contested_keys: ContestedKeys::new(now),
            contested_batch: ContestedBatch::None,
            halves: VecDeque::new(),
            limits,
            under_way: SeededMap::default(),
            next_number: 0,
            last_sent: now,
            last_commands: 0,
            last_success: None,
        }
    }

    /// Adds a decided task to the next batch.
    pub(super) fn push(&mut self, write: Write, task: DecidedTask) {
        let is_contested = self.contested_keys.contains(&task.key_task.id);
        let lines = if is_contested { &mut self.contested } else { &mut self.ordinary };
        lines.push(write, task);
    }

    /// Notes that the write of a key has lost its race.
    pub(super) fn note_lost_race(&mut self, id: &KeyId, now: Instant) {
        if self.limits.loses_as_a_whole {
            self.contested_keys.note(id, now);
        }
    }

    /// Queues the two halves of a refused batch.
    pub(super) fn send_halves(&mut self, mut batch: Batch) {
        let second = batch.split();
        self.halves.extend([batch, second]);
    }

    /// Removes and returns the next half of a refused batch.
    pub(super) fn next_half(&mut self) -> Option<Batch> {
        self.halves.pop_front()
    }

    /// The limits of batches on this database.
    pub(super) const fn limits(&self) -> BatchLimits {
        self.limits
    }

    /// Whether a whole batch of urgent tasks waits, and the tenant has its share of them.
    pub(super) fn is_full_of_urgent(&self, tenant: &Tenant) -> bool {
        [&self.ordinary, &self.contested]
            .iter()
            .any(|lines| lines.is_full_of_urgent(tenant, self.limits.keys))
    }

    /// Whether a whole batch of other tasks waits, and the tenant has its share of them.
    pub(super) fn is_full_of_others(&self, tenant: &Tenant) -> bool {
        [&self.ordinary, &self.contested]
            .iter()
            .any(|lines| lines.is_full_of_others(tenant, self.limits.keys))
    }

    /// Takes a batch of the tasks that wait for one; `None` if there are none.
    pub(super) fn next_batch(&mut self) -> Option<Batch> {
        if let Some(batch) = self.contested_batch() {
            return Some(batch);
        }
        if self.contested_batch == ContestedBatch::Ended {
            self.contested_batch = ContestedBatch::None;
        }
        self.ordinary.take_batch(self.limits.keys, self.limits.bytes)
    }

    /// Takes a batch of contested keys, if it is their turn: batches of other keys come in between.
    fn contested_batch(&mut self) -> Option<Batch> {
        let is_their_turn = match self.contested_batch {
            ContestedBatch::None => true,
            ContestedBatch::Ended => self.ordinary.len() == 0,
            ContestedBatch::Formed | ContestedBatch::Sent(_) => false,
        };
        if !is_their_turn {
            return None;
        }
        let batch = self.contested.take_batch(MOST_CONTESTED, self.limits.bytes)?;
        self.contested_batch = ContestedBatch::Formed;
        Some(batch)
    }

    /// Whether a batch may be sent while `waiting` commands have not been gathered. It may if no commit is under way.
    /// It may also if fewer than the maximum are under way and at least as many commands have gathered as the last batch
    /// had, or if the last commit is slow.
    pub(super) fn may_send(&self, waiting: usize) -> bool {
        let under_way = self.under_way.len();
        let gathered = self.gathered(waiting);
        // Reading the clock costs more than all else here.
        if gathered == 0 {
            return false;
        }
        under_way == 0
            || (under_way < self.limits.under_way && gathered >= self.last_commands)
            || (under_way <= self.limits.under_way && self.last_sent.elapsed() >= SLOW_COMMIT)
    }

    /// When the last commit becomes slow, so that another batch may be sent; `None` if there is nothing to send.
    pub(super) fn slow_at(&self, waiting: usize) -> Option<Instant> {
        let may_become_slow =
            (1..=self.limits.under_way).contains(&self.under_way.len()) && self.gathered(waiting) > 0;
        may_become_slow.then(|| self.last_sent + SLOW_COMMIT)
    }

    fn gathered(&self, waiting: usize) -> usize {
        let contested = if self.contested_batch.is_under_way() { 0 } else { self.contested.len() };
        waiting + self.ordinary.len() + contested + self.halves.len()
    }

    /// Returns the number of a new commit.
    pub(super) const fn take_number(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        number
    }

    /// Notes that a batch of these tasks was sent.
    pub(super) fn note_sent(&mut self, number: u64, tasks: Vec<DecidedTask>, now: Instant) {
        self.last_sent = now;
        self.contested_keys.forget(now);
        if self.contested_batch == ContestedBatch::Formed {
            self.contested_batch = ContestedBatch::Sent(number);
        }
        self.last_commands = tasks.iter().map(|task| task.key_task.requests.len()).sum();
        self.under_way.insert(number, tasks);
    }

    /// Notes that a commit succeeded.
    pub(super) const fn note_success(&mut self, now: Instant) {
        self.last_success = Some(now);
    }

    /// Whether a commit succeeded a short time ago.
    pub(super) fn succeed(&self, now: Instant) -> bool {
        self.last_success.is_some_and(|at| now.duration_since(at) < RECENTLY)
    }

    /// Removes and returns the tasks of a commit that came back.
    pub(super) fn take(&mut self, number: u64) -> Option<Vec<DecidedTask>> {
        if self.contested_batch == ContestedBatch::Sent(number) {
            self.contested_batch = ContestedBatch::Ended;
        }
        self.under_way.remove(&number)
    }

    /// Whether no commit is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// All tasks that wait for a commit or are part of one.
    pub(super) fn key_tasks(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        let halves = self.halves.iter_mut().map(|half| &mut half.tasks);
        let sent = halves.chain(self.under_way.values_mut()).flatten();
        let ready = self.ordinary.iter_mut().chain(self.contested.iter_mut());
        sent.chain(ready).map(|task| &mut task.key_task)
    }
}

#[cfg(test)]
mod tests;
