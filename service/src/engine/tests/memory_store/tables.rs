//! The tables of the database in memory.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use tokio::time::Instant;

use super::Fault;
use crate::{
    domain::{Body, KeyId, KeyState, Permit, Permits, ReplicaId, Token},
    store::Write,
};

#[derive(Default)]
pub(super) struct Tables {
    pub(super) keys: BTreeMap<KeyId, KeyState>,
    pub(super) replicas: BTreeMap<ReplicaId, i64>,
    /// Keys that cannot be read.
    pub(super) corrupt: BTreeSet<KeyId>,
    /// The replica that sweeps. It keeps its lease until it gives it back.
    pub(super) sweeper: Option<ReplicaId>,
    pub(super) faults: VecDeque<Fault>,
    /// Commits that their senders have given up, and that are applied later.
    pub(super) late: Vec<Late>,
    /// Rows that sessions keep locked.
    pub(super) locks: Vec<RowLock>,
}

/// A commit that is applied later.
pub(super) struct Late {
    pub(super) at: Instant,
    pub(super) writes: Arc<Vec<Write>>,
    pub(super) locks_rows: bool,
}

/// A row that a session keeps locked.
pub(super) struct RowLock {
    pub(super) id: KeyId,
    pub(super) until: Instant,
    /// Whether the locked row is the key's own; otherwise it is a row of its queue or permits.
    pub(super) is_seen: bool,
}

impl Tables {
    /// Applies each write whose row still has the row version that it was decided on.
    pub(super) fn apply(&mut self, writes: &[Write]) -> Vec<Option<Token>> {
        writes.iter().map(|write| self.apply_one(write)).collect()
    }

    fn apply_one(&mut self, write: &Write) -> Option<Token> {
        let id = &write.change.id;
        if self.keys.get(id).and_then(|state| state.row_version) != write.prev {
            return None;
        }
        let before = self.keys.remove(id).unwrap_or_else(KeyState::absent);
        let state = merged(before, write);
        let token = state.token;
        self.keys.insert(id.clone(), state);
        Some(token)
    }

    /// Applies the late commits that are due.
    pub(super) fn catch_up(&mut self) {
        let now = Instant::now();
        while let Some(index) = self.late.iter().position(|late| late.at <= now) {
            let late = self.late.remove(index);
            self.apply(&late.writes);
        }
    }

    /// The time until which a row that one of these writes needs is locked.
    pub(super) fn locked_until(&self, writes: &[Write]) -> Option<Instant> {
        writes.iter().filter_map(|write| self.key_locked_until(&write.change.id, false)).max()
    }

    /// The time until which a key cannot be written. With `seen` only locks of its own row count.
    pub(super) fn key_locked_until(&self, id: &KeyId, seen: bool) -> Option<Instant> {
        let now = Instant::now();
        let writes = |late: &Late| late.writes.iter().any(|write| write.change.id == *id);
        let late = self.late.iter().filter(|late| late.locks_rows && writes(late)).map(|late| late.at);
        let locks = self.locks.iter().filter(|lock| lock.id == *id && (lock.is_seen || !seen));
        late.chain(locks.map(|lock| lock.until)).filter(|until| *until > now).max()
    }
}

/// The rows of a key after a write. The write was decided on a view, and only its changes count.
fn merged(before: KeyState, write: &Write) -> KeyState {
    let change = &write.change;
    let mut state = KeyState::clone(&change.state);
    state.row_version = Some(write.row_version);
    state.queue.trim(usize::MAX);
    let mut queue: BTreeMap<_, _> =
        before.queue.head.into_iter().map(|waiter| (waiter.seq, waiter)).collect();
    for (seq, waiter) in &change.waiters {
        match waiter {
            Some(waiter) => {
                let mut waiter = waiter.clone();
                waiter.data = waiter.data.or_stored(queue.get(seq).map(|stored| &stored.data));
                queue.insert(*seq, waiter);
            }
            None => drop(queue.remove(seq)),
        }
    }
    state.queue.head = queue.into_values().collect();
    assert!(state.queue.is_complete(), "the row has the number of waiters");
    if let Body::Semaphore(semaphore) = &mut state.body {
        let before = match before.body {
            Body::Semaphore(before) => before.permits.known,
            _ => Vec::new(),
        };
        let is_kept = |permit: &Permit| change.cleared_from.is_none_or(|from| permit.slot < from);
        let mut permits: BTreeMap<_, _> =
            before.into_iter().filter(is_kept).map(|permit| (permit.slot, permit)).collect();
        let changed = semaphore.permits.known.iter().filter(|permit| change.permits.contains(&permit.slot));
        permits.extend(changed.map(|permit| (permit.slot, permit.clone())));
        let known: Vec<_> = permits.into_values().collect();
        semaphore.permits = Permits { known, slots: semaphore.permits.slots, ..Permits::default() };
    }
    state
}
