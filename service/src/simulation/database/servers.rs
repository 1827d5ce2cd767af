//! Servers of the database: a standby that lacks the last commits is promoted, and the epoch of tokens is raised.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use rand::Rng;
use tokio::time::Instant;

use super::{
    Database,
    key_rows::KeyRows,
    tables::{Tables, UserTransaction},
};
use crate::{
    domain::{Body, Epoch, Guard, KeyId, KeyState, RowVersion, Timestamp},
    store::{StoreError, Write},
};

/// Two raises within a second may have the same number if the second one does not know the first. No failover is that
/// fast.
const LEAST_BETWEEN_RAISES: Duration = Duration::from_millis(1_100);

/// A replica's knowledge of the server.
#[derive(Debug)]
pub(super) struct Session {
    /// The server to which its connections lead.
    server: AtomicU64,
    /// The number of the highest epoch that it has seen.
    epoch: AtomicI64,
}

impl Default for Session {
    fn default() -> Self {
        Self { server: AtomicU64::new(u64::MAX), epoch: AtomicI64::new(0) }
    }
}

impl Session {
    fn server(&self) -> u64 {
        self.server.load(Ordering::Relaxed)
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch::new(self.epoch.load(Ordering::Relaxed)).unwrap_or_default()
    }

    pub(super) fn note(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch.number(), Ordering::Relaxed);
    }

    /// Refuses writes that were decided under an earlier epoch.
    pub(super) fn fence(&self, writes: &[Write]) -> Result<(), StoreError> {
        let under = writes.iter().filter_map(|write| write.change.decided_under).min();
        if under.is_some_and(|under| under < self.epoch()) {
            return Err(StoreError::Transient("decided under an earlier epoch".into()));
        }
        Ok(())
    }
}

impl Database {
    /// Checks a new connection before it is used, like the real pools. Returns the server.
    pub(super) fn check_server(&self, session: &Session) -> u64 {
        let seconds = self.record.at() / 1_000;
        let mut tables = self.tables();
        let server = &mut tables.server;
        if session.server() == server.number {
            return server.number;
        }
        let is_other = server.identity.is_some_and(|identity| identity != server.number);
        let raised = (is_other || server.epoch < session.epoch())
            .then(|| Epoch::after(server.epoch, session.epoch(), seconds))
            .flatten();
        if let Some(epoch) = raised {
            server.epoch = epoch;
            server.raised = Some(Instant::now());
        }
        server.identity = Some(server.number);
        session.server.store(server.number, Ordering::Relaxed);
        session.note(server.epoch);
        let number = server.number;
        drop(tables);
        if let Some(epoch) = raised {
            self.record.note(&format!("the epoch is raised to {}", epoch.number()));
            self.record.count("epochs raised");
        }
        number
    }

    /// Stops the replication to the standby. Returns whether it ran.
    pub(in super::super) fn leave_standby_behind(&self) -> bool {
        let mut tables = self.tables();
        if tables.server.standby.is_some() {
            return false;
        }
        let copy = Box::new(tables.clone());
        (tables.server.standby, tables.server.left_behind) = (Some(copy), self.record.at());
        true
    }

    /// Replaces the server by the standby: commits since the replication stopped are lost.
    pub(in super::super) async fn fail_over(&self) {
        let raised = self.tables().server.raised;
        if let Some(raised) = raised {
            tokio::time::sleep_until(raised + LEAST_BETWEEN_RAISES).await;
        }
        let mut tables = self.tables();
        let Some(standby) = tables.server.standby.take() else { return };
        let before = std::mem::replace(&mut *tables, *standby);
        tables.take_over_from(&before);
        let states = tables.whole_states(before.keys.keys());
        drop(tables);
        self.record.note("the server dies, and a standby that lacks the last commits takes its place");
        self.record.count("failovers");
        self.disrupt(before.server.left_behind, states);
    }

    /// Raises the epoch as an operator does: all grants end, and no earlier decision is written.
    pub(in super::super) async fn raise_by_hand(&self) {
        // The raise locks all guard rows, so it waits for the transactions that have locked them.
        while self.tables().transactions.values().any(UserTransaction::has_passed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (clock, seconds) = (self.clock(), self.record.at() / 1_000);
        let mut tables = self.tables();
        let serial = tables.next_serial();
        let now = Timestamp(clock);
        for rows in tables.keys.values_mut() {
            if rows.row.as_ref().is_none_or(|row| matches!(row.body, Body::Absent)) {
                continue;
            }
            rows.clear_guards(serial);
            for permit in rows.permits.values_mut() {
                permit.grant.released = true;
                permit.grant.expires_at = permit.grant.expires_at.min(now);
                permit.updated_at = now;
            }
            if let Some(row) = &mut rows.row {
                let version =
                    self.draw(|random| uuid::Builder::from_random_bytes(random.random()).into_uuid());
                end_all(row, RowVersion(version), now);
            }
        }
        let server = &mut tables.server;
        server.epoch = Epoch::after(server.epoch, server.epoch, seconds).unwrap_or(server.epoch);
        (server.identity, server.raised) = (Some(server.number), Some(Instant::now()));
        let epoch = server.epoch;
        let keys: Vec<_> = tables.keys.keys().cloned().collect();
        let states = tables.whole_states(keys.iter());
        drop(tables);
        self.record.note(&format!("an operator raises the epoch to {}, and all grants end", epoch.number()));
        self.record.count("epochs raised by hand");
        self.disrupt(i64::MAX, states);
    }

    /// Tells the checker that all keys may have other states than were answered.
    fn disrupt(&self, lost_from: i64, states: Vec<(KeyId, KeyState)>) {
        let clock = self.clock();
        self.record.inform(|checker, at| checker.disrupted(at, clock, lost_from, states));
        self.changed.notify_waiters();
    }
}

/// Changes a row as a raise by hand does.
fn end_all(row: &mut KeyState, row_version: RowVersion, now: Timestamp) {
    row.row_version = Some(row_version);
    row.updated_at = now;
    if let Body::Mutex(mutex) = &mut row.body {
        if mutex.guard.is_named() {
            mutex.guard = Guard::Free;
        }
        if let Some(grant) = &mut mutex.grant {
            grant.released = true;
            grant.expires_at = grant.expires_at.min(now);
        }
    }
}

impl Tables {
    /// Turns the tables of a standby into those of the new server: they keep the replicated rows, but no sessions.
    fn take_over_from(&mut self, before: &Self) {
        self.locks.clear();
        self.notifications.clear();
        self.transactions.clear();
        self.clock_offset = before.clock_offset;
        self.away_until = before.away_until;
        self.server.number = before.server.number + 1;
        self.server.raised = before.server.raised;
        self.go_on_counting(before);
    }

    fn whole_states<'k>(&self, ids: impl Iterator<Item = &'k KeyId>) -> Vec<(KeyId, KeyState)> {
        let whole = |id| self.keys.get(id).map_or_else(KeyState::absent, KeyRows::whole);
        ids.map(|id| (id.clone(), whole(id))).collect()
    }
}
