//! Workers of a holder: transactions on the user's own data that call the guard, and commit or roll back.

use std::{sync::Arc, time::Duration};

use rand::{Rng, rngs::SmallRng};
use tokio::time::sleep;

use super::database::Database;
use crate::domain::{KeyId, Version};

/// The plan of one transaction.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// The transaction, if it was begun before the grant.
    early: Option<u64>,
    /// The moment when the data was read, if that was before the transaction.
    read: Option<u64>,
    /// The time until the transaction begins, and the time for which it stays open.
    begins_after_ms: u64,
    takes_ms: u64,
    /// Whether the transaction is committed. Otherwise it is rolled back, by the worker or because the worker is gone.
    commits: bool,
}

impl Work {
    /// Plans a transaction of a grant that was just received.
    pub(super) fn of(
        random: &mut SmallRng,
        database: &Database,
        is_lively: bool,
        early: Option<u64>,
    ) -> Self {
        let takes_ms = match random.random_range(0..10) {
            _ if !is_lively => random.random_range(0..100),
            0..5 => random.random_range(0..100),
            // The worker is paused, and may outlive its lease by far.
            5 => random.random_range(1_000..7_000),
            _ => random.random_range(100..1_500),
        };
        let begins_after_ms = if is_lively { random.random_range(0..600) } else { 0 };
        let reads_before = random.random_bool(0.3);
        let read = reads_before.then(|| database.moment());
        Self { early, read, begins_after_ms, takes_ms, commits: random.random_bool(0.8) }
    }
    /// Runs the transaction.
    pub(super) async fn carry_out(self, database: Arc<Database>, id: KeyId, version: Version) {
        sleep(Duration::from_millis(self.begins_after_ms)).await;
        let Some(number) = self.early.or_else(|| database.begin(&id)) else { return };
        if self.early.is_none() && self.read.is_some() {
            database.read(number, self.read);
        }
        if database.guard(number, version).await.is_err() {
            database.end(number, false);
            return;
        }
        if self.early.is_none() && self.read.is_none() {
            database.read(number, None);
        }
        sleep(Duration::from_millis(self.takes_ms)).await;
        database.end(number, self.commits);
    }
}
