//! The tables of the database, with conditional writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use tokio::time::Instant;

use super::key_rows::KeyRows;
use crate::{
    domain::{Epoch, KeyId, KeyState, ReplicaId, Tenant, Token, Version, Waiter},
    store::Write,
};

/// The session that has a row locked, and the latest end of the lock.
#[derive(Debug, Clone, Copy)]
pub(super) struct RowLock {
    pub(super) owner: u64,
    pub(super) until: Instant,
}

/// A tenant's floor of tokens.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Floor {
    pub(super) height: i64,
    pub(super) settled: i64,
    pub(super) raised_at: i64,
}

/// A user's transaction.
#[derive(Debug, Clone)]
pub(super) struct UserTransaction {
    pub(super) id: KeyId,
    pub(super) began: u64,
    /// When the transaction read the data that it will write.
    pub(super) read: u64,
    /// The grant for which the guard passed, and its slot. The transaction has that guard row locked.
    pub(super) passed: Option<(Version, i32)>,
}

/// The server that answers, and the row of the epoch.
#[derive(Debug, Default, Clone)]
pub(super) struct Server {
    /// The number that distinguishes the server from others.
    pub(super) number: u64,
    pub(super) epoch: Epoch,
    /// The server for which the epoch is valid.
    pub(super) identity: Option<u64>,
    /// The tables of the standby, since its replication stopped.
    pub(super) standby: Option<Box<Tables>>,
    /// When the replication stopped.
    pub(super) left_behind: i64,
    /// When the epoch was last raised.
    pub(super) raised: Option<Instant>,
}

/// All tables.
#[derive(Debug, Default, Clone)]
pub(super) struct Tables {
    pub(super) keys: BTreeMap<KeyId, KeyRows>,
    pub(super) replicas: BTreeMap<ReplicaId, i64>,
    pub(super) floors: BTreeMap<Tenant, Floor>,
    pub(super) sweep_lease: Option<(ReplicaId, i64)>,
    pub(super) locks: BTreeMap<KeyId, RowLock>,
    next_lock: u64,
    /// Notifications that were sent and not received yet, with the time of their arrival.
    pub(super) notifications: BTreeMap<ReplicaId, VecDeque<(Instant, KeyId)>>,
    /// The difference between the clock and the milliseconds since the start.
    pub(super) clock_offset: i64,
    /// The time until which no connection can be made.
    pub(super) away_until: Option<Instant>,
    /// The transactions of users that are open, by number.
    pub(super) transactions: BTreeMap<u64, UserTransaction>,
    /// The number of events, to compare their order.
    serial: u64,
    /// The server, and the row of the epoch.
    pub(super) server: Server,
}

/// A write that was applied.
pub(super) struct Applied {
    pub(super) token: Token,
    /// The states of the key before the write, after each of its commands, and at the end.
    pub(super) states: Vec<KeyState>,
}

impl Tables {
    /// Applies a write if its row still has the version on which it was decided; otherwise returns `None`.
    pub(super) fn apply(&mut self, write: &Write) -> Option<Result<Applied, String>> {
        let (id, change) = (&write.change.id, &write.change);
        let floor = self.floors.get(&id.tenant).map_or(0, |floor| floor.height);
        let serial = self.next_serial();
        let rows = self.keys.entry(id.clone()).or_default();
        if rows.row.as_ref().and_then(|row| row.row_version) != write.prev {
            return None;
        }
        let floor = if rows.row.is_none() { floor } else { 0 };
        let mut states = vec![rows.whole()];
        let mut changed = rows.clone();
        for step in change.steps.before.iter().chain([change.as_ref()]) {
            changed = rows.clone();
            if let Err(corruption) = changed.change(step, floor, serial) {
                return Some(Err(corruption));
            }
            states.push(changed.whole());
        }
        if let Some(row) = &mut changed.row {
            row.row_version = Some(write.row_version);
        }
        *rows = changed;
        let token = rows.row.as_ref().map_or(Token(0), |row| row.token);
        Some(Ok(Applied { token, states }))
    }

    /// All waiters with the keys of their rows.
    pub(super) fn waiters(&self) -> impl Iterator<Item = (&KeyId, &Waiter)> {
        self.keys.iter().flat_map(|(id, rows)| rows.waiters.values().map(move |waiter| (id, waiter)))
    }

    /// The keys with a waiter for which `wanted` is true.
    pub(super) fn keys_with(&self, wanted: impl Fn(&Waiter) -> bool) -> Vec<KeyId> {
        let keys: BTreeSet<_> =
            self.waiters().filter(|(_, waiter)| wanted(waiter)).map(|(id, _)| id.clone()).collect();
        keys.into_iter().collect()
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Continues the numbers of the former server, so that none is used twice.
    pub(super) fn go_on_counting(&mut self, before: &Self) {
        (self.serial, self.next_lock) = (before.serial, before.next_lock);
    }

    pub(super) fn new_lock(&mut self) -> u64 {
        self.next_lock += 1;
        self.next_lock
    }

    /// Whether one of these rows is locked by another.
    pub(super) fn is_locked<'k>(&self, mut ids: impl Iterator<Item = &'k KeyId>, now: Instant) -> bool {
        ids.any(|id| self.locks.get(id).is_some_and(|lock| lock.until > now))
    }

    pub(super) fn unlock(&mut self, owner: u64) {
        self.locks.retain(|_, lock| lock.owner != owner);
    }
}
