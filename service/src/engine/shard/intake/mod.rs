//! The commands of a shard that wait for a batch.
//!
//! A key is *busy* from the moment when a command for it is gathered for a batch until its task is finished. Commands
//! that arrive for a busy key are parked, so no two decisions on a key overlap within a replica.

mod deferred;
mod gather;
mod leaves;
mod lines;

use std::time::Duration;

use tokio::time::Instant;

use self::{deferred::DeferredAcquires, leaves::Leaves, lines::Lines};
use super::backpressure::Backpressure;
use crate::{
    SeededMap, SeededSet,
    domain::{Command, KEPT_FOR_REPEAT_MS, KeyId, Tenant},
    engine::{pending_request::PendingRequest, timers::Timers},
};

/// How long an undelivered grant is kept for a caller that chose the version and may repeat its request.
const UNDELIVERED_KEPT_FOR: Duration = Duration::from_millis(KEPT_FOR_REPEAT_MS.unsigned_abs());

/// The commands for a busy key.
#[derive(Debug, Default)]
struct KeyCommands {
    /// Commands that wait until the key is free.
    parked: Vec<PendingRequest>,
    /// The number of the batch that the key was gathered for.
    batch: u64,
    /// The index of the key's task in that batch.
    task: usize,
}

/// A command of the engine's own that is due later.
#[derive(Debug)]
enum DelayedCommand {
    /// A command that the database refused.
    Refused(PendingRequest),
    /// The command that gives back a kept grant.
    Kept(PendingRequest),
}

/// The commands of a shard that wait for a batch.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// Heartbeats, releases, and other commands that change what is held.
    urgent: Lines,
    /// Waiters that leave their queues.
    leaves: Leaves,
    /// Acquires and other commands that are not urgent.
    acquires: Lines,
    /// Commands that only read.
    reads: Lines,
    /// Acquires that can only join a queue.
    deferred: DeferredAcquires,
    /// The number of commands that wait for a busy key.
    parked: usize,
    /// The busy keys.
    busy: SeededMap<KeyId, KeyCommands>,
    /// Keys with a `ServeQueue` command of the engine's own that was not gathered yet. One command per key is enough.
    to_serve: SeededSet<KeyId>,
    /// Commands of the engine's own that are due later.
    delayed: Timers<DelayedCommand>,
    /// The number of the current batch.
    batch: u64,
    /// Whether the service stops. Then all waiters leave, and time is short.
    is_stopping: bool,
}

impl Intake {
    /// Adds a command. `has_queue` says whether a key is known to have waiters.
    pub(super) fn push(&mut self, request: PendingRequest, has_queue: impl Fn(&KeyId) -> bool) {
        if !request.is_own_serve() || self.to_serve.insert(request.id.clone()) {
            self.push_again(request, has_queue);
        }
    }

    /// Adds a command that may have been here before.
    fn push_again(&mut self, request: PendingRequest, has_queue: impl Fn(&KeyId) -> bool) {
        if matches!(request.command, Command::Leave { .. }) {
            self.leaves.push(request);
        } else if let Some(key) = self.busy.get_mut(&request.id) {
            key.parked.push(request);
            self.parked += 1;
        } else if request.command.is_urgent() {
            self.urgent.push_back(request);
        } else if matches!(request.command, Command::Get(_)) {
            self.reads.push_back(request);
        } else {
            let is_deferred_key = self.deferred.contains(&request.id);
            if DeferredAcquires::accepts(&request) && (is_deferred_key || has_queue(&request.id)) {
                self.deferred.push(request);
                return;
            }
            if is_deferred_key {
                self.admit_deferred();
            }
            self.acquires.push_back(request);
        }
    }

    /// Adds a command of the engine's own that the database refused. It is tried again at `at`.
    pub(super) fn push_refused(&mut self, at: Instant, request: PendingRequest) {
        self.delayed.set(at, DelayedCommand::Refused(request));
    }

    /// Adds the command that gives back a grant that is kept for a repeat of its request.
    pub(super) fn give_back_later(&mut self, id: KeyId, give_back: Command) {
        let now = Instant::now();
        let request = PendingRequest::internal(id, give_back, now);
        self.delayed.set(now + UNDELIVERED_KEPT_FOR, DelayedCommand::Kept(request));
    }

    /// Removes and returns the next of the later commands that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<PendingRequest> {
        self.delayed
            .pop_due(now)
            .map(|(DelayedCommand::Refused(request) | DelayedCommand::Kept(request))| request)
    }

    /// Begins to stop. Removes all commands that are due later, and returns those that must be carried out before the
    /// service stops. Grants that are kept for a repeat are left to their leases.
    pub(super) fn begin_stop(&mut self) -> Vec<PendingRequest> {
        self.is_stopping = true;
        let refused = |later| match later {
            DelayedCommand::Refused(request) => Some(request),
            DelayedCommand::Kept(_) => None,
        };
        self.delayed.take_all().filter_map(refused).collect()
    }

    /// Ends the pause of deferred acquires if it is over.
    pub(super) fn admit_due(&mut self, now: Instant) {
        if self.deferred.until().is_some_and(|until| until <= now) {
            self.admit_deferred();
        }
    }

    fn admit_deferred(&mut self) {
        self.deferred.move_to(&mut self.acquires);
    }

    /// When [`Intake::pop_due`] or [`Intake::admit_due`] has something to do.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.delayed.next_at().into_iter().chain(self.deferred.until()).min()
    }

    /// Parks commands before those that are parked for their key already.
    pub(super) fn park_first(&mut self, requests: Vec<PendingRequest>) {
        let Some(first) = requests.first() else { return };
        self.parked += requests.len();
        let key = self.busy.entry(first.id.clone()).or_default();
        key.parked.splice(0..0, requests);
    }

    /// Notes that a key is no longer busy. Its parked commands wait for a batch again, sorted by arrival: commands for
    /// which a batch had no room were parked behind commands that arrived while the batch was written.
    pub(super) fn free(&mut self, id: &KeyId, has_queue: impl Fn(&KeyId) -> bool) {
        let mut parked = self.busy.remove(id).map(|key| key.parked).unwrap_or_default();
        self.parked -= parked.len();
        parked.sort_by_key(|request| request.arrived);
        for request in parked {
            self.push_again(request, &has_queue);
        }
        self.leaves.note_free(id);
    }

    /// Whether a key is busy.
    pub(super) fn is_busy(&self, id: &KeyId) -> bool {
        self.busy.contains_key(id)
    }

    /// The number of waiting commands that can start a batch. All leaves count as one.
    pub(super) fn waiting(&self, backpressure: Backpressure<'_>) -> usize {
        let urgent = self.urgent.len_unless(|tenant| backpressure.holds_urgent(tenant));
        let holds_others = |tenant: &Tenant| backpressure.holds_others(tenant);
        let others = self.acquires.len_unless(holds_others) + self.leaves.ready_keys(holds_others).min(1);
        urgent + others + self.reads.len_unless(|tenant| backpressure.holds_reads(tenant))
    }

    /// How long an acquire of this tenant that arrives now would wait for a batch; `None` if that is not known.
    pub(super) fn would_wait(&self, tenant: &Tenant, now: Instant) -> Option<Duration> {
        self.acquires.would_wait(tenant, now)
    }

    /// Removes the acquires for which `keep` returns false, only in lines whose pace was measured.
    pub(super) fn retain_backlogged(&mut self, keep: impl FnMut(&mut PendingRequest) -> bool) {
        self.acquires.retain_backlogged(keep);
    }

    /// The number of acquires, of commands that only read, and of parked commands.
    pub(super) const fn queued(&self) -> usize {
        self.acquires.len() + self.reads.len() + self.parked
    }

    /// All acquires, commands that only read, and parked commands.
    pub(super) fn requests(&self) -> impl Iterator<Item = &PendingRequest> {
        let parked = self.busy.values().flat_map(|key| &key.parked);
        self.acquires.iter().chain(self.reads.iter()).chain(parked)
    }

    /// Whether no command waits here and no gathered command is unfinished: the key of a gathered command is busy.
    pub(super) fn is_empty(&self) -> bool {
        self.urgent.is_empty()
            && self.leaves.is_empty()
            && self.acquires.is_empty()
            && self.reads.is_empty()
            && self.deferred.is_empty()
            && self.busy.is_empty()
    }

    /// Removes the commands for which `keep` returns false.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&mut PendingRequest) -> bool) {
        self.urgent.retain(&mut keep);
        self.acquires.retain(&mut keep);
        self.reads.retain(&mut keep);
        self.deferred.retain(&mut keep);
        self.leaves.retain(&mut keep);
        self.parked = 0;
        for key in self.busy.values_mut() {
            key.parked.retain_mut(&mut keep);
            self.parked += key.parked.len();
        }
    }
}

#[cfg(test)]
mod tests;
