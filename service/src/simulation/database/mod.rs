//! The simulated database: tables in memory, a clock of its own, and all faults of the connections to it.

mod guards;
mod key_rows;
mod server;
mod servers;
mod sessions;
mod store;
mod sweeping;
mod tables;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rand::{Rng, rngs::SmallRng};
use tokio::{sync::Notify, time::Instant};

use self::tables::{RowLock, Tables};
use super::{
    plan::{Plan, Stream, stream},
    record::Record,
};
use crate::domain::KeyId;

pub(super) use self::store::Connection;

/// The time of the clock when a simulation begins.
pub(super) const CLOCK_STARTS_AT: i64 = 1_000_000;

/// The database of a simulated world.
pub(super) struct Database {
    plan: Plan,
    record: Arc<Record>,
    tables: Mutex<Tables>,
    random: Mutex<SmallRng>,
    /// Wakes tasks when a row lock is gone or a notification has come.
    changed: Notify,
}

impl Database {
    pub(super) fn new(plan: &Plan, record: Arc<Record>) -> Arc<Self> {
        let mut tables = Tables::default();
        tables.clock_offset = CLOCK_STARTS_AT;
        Arc::new(Self {
            plan: plan.clone(),
            record,
            tables: Mutex::new(tables),
            random: Mutex::new(stream(plan.seed, Stream::Database)),
            changed: Notify::new(),
        })
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The time of the clock, in milliseconds.
    pub(super) fn clock(&self) -> i64 {
        self.record.at() + self.tables().clock_offset
    }

    /// Steps the clock.
    pub(super) fn step_clock(&self, by: i64) {
        let before = self.clock();
        self.tables().clock_offset += by;
        self.record.clock_stepped(before, by);
    }

    /// Refuses connections for a while.
    pub(super) fn go_away(&self, time: Duration) {
        self.tables().away_until = Some(Instant::now() + time);
    }

    /// Locks a row for a while, as another program's transaction.
    pub(super) fn block_row(self: &Arc<Self>, id: KeyId, time: Duration) {
        let until = Instant::now() + time;
        let mut tables = self.tables();
        let owner = tables.new_lock();
        tables.locks.insert(id, RowLock { owner, until });
        drop(tables);
        let database = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            database.tables().unlock(owner);
            database.changed.notify_waiters();
        });
    }

    fn is_lively(&self) -> bool {
        Plan::is_lively(self.record.at())
    }

    /// Draws whether a fault of this probability happens now.
    fn happens(&self, probability: f64) -> bool {
        probability > 0.0 && self.is_lively() && self.draw(|random| random.random_bool(probability))
    }
}
