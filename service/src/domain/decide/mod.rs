//! The decisions: what a command does to the state of its key.
//!
//! [`KeyChange`] takes a state, changes it command by command, and records what has to be written and who has to be
//! notified. Nothing of this takes effect before the store has committed the change. A change that lost its race is
//! thrown away, and its commands are decided again on the state that won.

mod acquire;
mod again;
mod context;
mod delete;
mod detach;
mod ends;
mod force;
mod grants;
mod guard_ends;
mod guarded_permits;
mod guards;
mod held;
mod manage;
mod outcome;
mod reentrant;
mod serve_queue;
mod storage;
mod target;
mod upkeep;
mod views;

pub use acquire::DEFAULT_LEASE_MS;
pub use again::EarlierDecision;
pub use context::{Context, WaiterRoom};
pub use ends::{EndReason, Ended};
pub use outcome::{Decided, Effects, Freed, Need, Verdict};
pub use storage::ROW_BYTES;
pub use views::MOST_HOLDERS;

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Body, Command, Epoch, GuardBusy, KeyId, KeyState, Kind, Now, Permit, Place, Refusal, Reply, Version,
    Waiter, size,
};

/// How long a free place is kept for a waiter of another replica that has to claim it, in milliseconds.
pub const OFFER_MS: i64 = 2_000;

/// How long a caller without a connection keeps its place in the queue or its undelivered grant if it chose its
/// version, in milliseconds.
pub const KEPT_FOR_REPEAT_MS: i64 = 10_000;

/// The state of a key while a batch changes it, and a record of the changes.
#[derive(Debug, Clone)]
pub struct KeyChange {
    /// Tenant and key.
    pub id: KeyId,
    /// The state with all changes so far.
    pub state: Box<KeyState>,
    /// The effects of the change once it is committed.
    pub effects: Effects,
    /// Whether the key's row has to be written.
    pub dirty: bool,
    /// The slots whose permits have to be written.
    pub permits: BTreeSet<i32>,
    /// The first slot whose permits are deleted, with those of all later slots; `None` if none are. They are deleted
    /// before permits are written.
    pub cleared_from: Option<i32>,
    /// The waiters to write, or to remove (`None`), by `seq`.
    pub waiters: BTreeMap<i64, Option<Waiter>>,
    /// The epoch under which this change was decided; `None` before the first command. The change must not be written
    /// once a later epoch is known: its tokens belong to the earlier one, and after a failover that lost commits the row
    /// may have the version that it was decided on again, but not the permits and waiters.
    pub decided_under: Option<Epoch>,
    /// Whether the key had no row and no tokens before. Then the store may raise the tokens that this change grants.
    fresh_tokens: bool,
    /// The bytes of the key's rows before this change, as counted for the storage limit.
    stored_before: u64,
    /// The bytes of the data of requests that this change adds to the queue.
    queued_bytes: u64,
    /// The approximate bytes of the permits and waiters that this change writes.
    pub(super) child_bytes: usize,
    /// The versions that the guard rows name before this change, by slot.
    named_before: BTreeMap<i32, Version>,
    /// Set if guard rows were found locked lately. The change leaves those rows alone.
    pub guard_busy: Option<GuardBusy>,
    /// The room for new waiters.
    pub waiter_room: WaiterRoom,
    /// The change before each command but the first, for tests that check every step.
    #[cfg(test)]
    pub(crate) steps: Steps,
}

/// The steps of a change, and how many commands were decided.
#[cfg(test)]
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps {
    pub(crate) before: Vec<KeyChange>,
    decided: usize,
}

impl KeyChange {
    /// Begins a change of a state.
    pub fn new(id: KeyId, state: impl Into<Box<KeyState>>) -> Self {
        let state = state.into();
        let fresh_tokens = state.row_version.is_none();
        let stored_before = state.stored_before();
        let named_before = state.named_versions();
        Self {
            id,
            state,
            effects: Effects::default(),
            dirty: false,
            permits: BTreeSet::new(),
            cleared_from: None,
            waiters: BTreeMap::new(),
            decided_under: None,
            fresh_tokens,
            stored_before,
            queued_bytes: 0,
            child_bytes: 0,
            named_before,
            guard_busy: None,
            waiter_room: WaiterRoom::UNLIMITED,
            #[cfg(test)]
            steps: Steps::default(),
        }
    }

    /// Records the change as it is before the next command.
    #[cfg(test)]
    fn record_step(&mut self) {
        if crate::simulation::process::running().is_some() && self.steps.decided > 0 {
            let before = std::mem::take(&mut self.steps.before);
            let step = self.clone();
            self.steps.before = before;
            self.steps.before.push(step);
        }
        self.steps.decided += 1;
    }

    /// Whether rows other than the key's own have to be written.
    pub fn has_children(&self) -> bool {
        self.cleared_from.is_some() || !self.permits.is_empty() || !self.waiters.is_empty()
    }

    /// Decides one command.
    pub fn decide(&mut self, command: &Command, ctx: &Context) -> Decided {
        #[cfg(test)]
        self.record_step();
        self.decided_under = Some(ctx.epoch);
        if let Body::Semaphore(semaphore) = &mut self.state.body {
            semaphore.permits.recount(ctx.now);
        }
        self.finish_ending(command, ctx.now);
        match command {
            Command::Acquire(acquire) => self.acquire(acquire, ctx),
            Command::Heartbeat(heartbeat) => self.heartbeat(heartbeat, ctx),
            Command::Release(release) => self.release(release, ctx),
            Command::ForceRelease(forced) => self.force_release(forced, ctx),
            Command::Get(Kind::Mutex) => Ok(self.get_lock(ctx)),
            Command::Get(Kind::Semaphore) => self.get_semaphore(ctx),
            Command::PutLock { data, guarded } => self.put_lock(data.as_ref(), *guarded, ctx),
            Command::DeleteLock { version } => self.delete_lock(*version, ctx),
            Command::PutSemaphore { max_size, lease_ms, default_lease_ms, guarded } => {
                self.put_semaphore(*max_size, *lease_ms, *default_lease_ms, *guarded, ctx)
            }
            Command::DeleteSemaphore => self.delete_semaphore(ctx),
            Command::Leave { version, request_id, reason } => self.leave(*version, *request_id, *reason, ctx),
            Command::GiveBack { version, request_id } => self.give_back(*version, *request_id, ctx),
            Command::Keep { version, request_id } => self.keep(*version, *request_id, ctx),
            Command::ServeQueue => {
                self.drop_lapsed(ctx);
                self.serve_queue(ctx)?;
                self.withdraw_lapsed(ctx);
                Ok(Verdict::Reply(Reply::Done))
            }
            Command::ReapReplica { replica } => self.reap_replica(*replica, ctx),
            Command::NoteExpiry { version } => self.note_expiry(*version, ctx),
            Command::Sweep { ended_before, idle_since } => Ok(self.sweep(*ended_before, *idle_since, ctx)),
        }
    }

    /// Notes that the visible state of the key changes now. A change of the queue alone only makes the row dirty.
    fn mark_changed(&mut self, now: Now) {
        self.dirty = true;
        self.state.updated_at = now.at_most;
    }

    /// Marks the row to be written although nothing has changed. Its new row version keeps any statement that was
    /// decided on the old one from being applied later. A key without a lock gets a tombstone that counts as written
    /// now, since the sweeper counts the age of a tombstone from then.
    pub fn touch(&mut self, now: Now) {
        self.dirty = true;
        if matches!(self.state.body, super::Body::Absent) {
            self.mark_changed(now);
        }
    }

    /// Marks the row to be written although nothing has changed, because the answer reports an active grant that this
    /// change did not make. The rows that were decided on may be old: those of a primary that was cut off, or of a
    /// standby. The write proves that they are current.
    const fn prove(&mut self) {
        self.dirty = true;
    }

    /// Removes a waiter from the queue.
    fn remove_waiter(&mut self, found: super::queue::FoundWaiter) -> Option<Waiter> {
        let waiter = self.state.queue.remove(found)?;
        // SQLite reads and frees each page of its data.
        self.count_child(waiter.data.bytes());
        self.waiters.insert(waiter.seq, None);
        self.dirty = true;
        Some(waiter)
    }

    /// Changes the place of a waiter.
    fn move_waiter(&mut self, found: super::queue::FoundWaiter, place: Place) {
        let waiter = self.state.queue.get_mut(found);
        waiter.place = place;
        let copy = waiter.clone();
        self.write_waiter(copy);
    }

    /// Marks a waiter to be written.
    fn write_waiter(&mut self, waiter: Waiter) {
        self.count_child(waiter.data.bytes());
        self.waiters.insert(waiter.seq, Some(waiter));
        self.dirty = true;
    }

    /// Marks a permit to be written.
    fn write_permit(&mut self, permit: &Permit) {
        self.count_child(size::bytes_of(permit.data.as_ref()));
        self.permits.insert(permit.slot);
    }

    /// Answers the request that waited at a place with a refusal, or notifies its replica.
    fn dismiss(&mut self, place: Place, refusal: Refusal, ctx: &Context) {
        let Place::Attached { replica, request_id, .. } = place else { return };
        if ctx.me == Some(replica) {
            self.effects.answered.push((request_id, Reply::Refused(refusal)));
        } else if !ctx.dead.contains(&replica) {
            self.effects.notified.insert(replica);
        }
    }
}

/// A refusal as a verdict.
const fn refuse(refusal: Refusal) -> Verdict {
    Verdict::Reply(Reply::Refused(refusal))
}
