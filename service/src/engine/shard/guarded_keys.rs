//! Changes of the holder of guarded keys. Such a change needs the key's guard row, which a user's transaction may keep
//! locked for any time. So each change is committed alone, beside the batches, and never waits for the row.
//!
//! If the guard row is locked, the key is tried again later: see [`super::busy_guards`].

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    batch::{Batch, DecidedTask},
    busy_guards::BusyGuards,
    guarded_lines::GuardedLines,
};
use crate::{SeededMap, domain::Tenant, engine::key_task::KeyTask, store::Write};

/// The maximum number of such commits under way. The other connections are left to the batches.
const MOST_COMMITS: usize = 8;

/// The maximum number of such commits that try a locked row again. The others are left to keys whose row was not found
/// locked.
const MOST_RETRIES: usize = 2;

/// The changes of a shard that need guard rows.
#[derive(Debug)]
pub(super) struct GuardedKeys {
    /// Whether others can lock guard rows. They cannot where the database has one writer at a time.
    can_be_locked: bool,
    /// Decided tasks that wait for their commit.
    lines: GuardedLines,
    /// The tasks of the commits under way, by number.
    under_way: SeededMap<u64, Vec<DecidedTask>>,
    /// The keys whose guard rows were found locked.
    pub(super) busy: BusyGuards,
}

impl GuardedKeys {
    /// `can_be_locked` says whether others can lock guard rows, and `wait` how long a command waits for one. `count` is the number of
    /// keys of all shards whose guard rows are locked.
    pub(super) fn new(can_be_locked: bool, wait: Duration, count: Arc<AtomicUsize>) -> Self {
        let (lines, under_way) = (GuardedLines::default(), SeededMap::default());
        Self { can_be_locked, lines, under_way, busy: BusyGuards::new(wait, count) }
    }

    /// Whether a write has to be committed alone.
    pub(super) fn takes(&self, write: &Write) -> bool {
        self.can_be_locked && write.change.needs_guard_rows()
    }

    /// Adds a decided task.
    pub(super) fn push(&mut self, write: Write, task: DecidedTask) {
        if self.busy.contains(&task.key_task.id) {
            self.lines.push_retry(write, task);
        } else {
            self.lines.push(write, task);
        }
    }

    /// Whether a tenant's urgent commands stay in the intake.
    pub(super) fn is_full_of_urgent(&self, tenant: &Tenant) -> bool {
        self.lines.is_full_of_urgent(tenant)
    }

    /// Whether a tenant's other commands that write stay in the intake.
    pub(super) fn is_full(&self, tenant: &Tenant) -> bool {
        self.lines.is_full(tenant)
    }

    /// Takes the next task to be committed. The flag says whether to search thoroughly for the session that keeps the
    /// guard row locked. `None` if there is no task, or if the maximum number of commits is under way.
    pub(super) fn next(&mut self, now: Instant) -> Option<(Batch, bool)> {
        if self.under_way.len() >= MOST_COMMITS {
            return None;
        }
        let under_way = self.under_way.values().flatten();
        let retries = under_way.filter(|task| self.busy.contains(&task.key_task.id)).count();
        let retry = if retries < MOST_RETRIES { self.lines.pop_retry() } else { None };
        let (write, task) = retry.or_else(|| self.lines.pop())?;
        // A row that is found locked for the first time is mostly free a moment later, so no search is made.
        let searches = self.busy.begin_search(&write.change.id, now);
        Some((Batch { writes: vec![write], tasks: vec![task] }, searches))
    }

    /// Notes that a task was sent.
    pub(super) fn note_sent(&mut self, number: u64, tasks: Vec<DecidedTask>) {
        self.under_way.insert(number, tasks);
    }

    /// Removes and returns the task of a commit that came back.
    pub(super) fn take_commit(&mut self, number: u64) -> Option<Vec<DecidedTask>> {
        self.under_way.remove(&number)
    }

    /// All tasks that wait for their commit or are part of one.
    pub(super) fn key_tasks(&mut self) -> impl Iterator<Item = &mut KeyTask> {
        let under_way = self.under_way.values_mut().flatten().map(|task| &mut task.key_task);
        self.lines.key_tasks().chain(under_way)
    }
}
