//! Removes rows that are no longer needed: a bounded number at a time, by one replica at a time.
//!
//! Locks with `delete_on_release` are deleted soon after their lease ended, and idle locks if the configuration says
//! so. Both become tombstones, by the same decisions as any other deletion. Tombstones are removed much later: they
//! must outlive every replica's cache of the key and every statement that may still be under way.

mod removal;

use std::{sync::Arc, time::Duration};

use super::{Shared, membership, metrics::SWEPT};
use crate::{
    domain::{Command, KeyId, Timestamp, Version},
    store::{GrantPosition, StoreError, SweepPlace},
};

/// The settings of the sweeper.
#[derive(Debug, Clone, Copy)]
pub struct SweepOptions {
    /// The pause between two sweeps, in milliseconds.
    pub period_ms: u64,
    /// How long an ended grant with `delete_on_release` is kept, in milliseconds.
    pub expired_delete_after_ms: i64,
    /// Free locks that were not used for this many milliseconds are deleted; `None` keeps them.
    pub idle_lock_retention_ms: Option<i64>,
    /// How long a tombstone is kept, in milliseconds.
    pub tombstone_retention_ms: i64,
    /// The time between raising a token floor and removing the tombstones below it, in milliseconds: longer than any
    /// statement can last.
    pub floor_settle_ms: i64,
}

impl SweepOptions {
    /// The default settings.
    pub const DEFAULT: Self = Self {
        period_ms: 30_000,
        expired_delete_after_ms: 30_000,
        idle_lock_retention_ms: None,
        tombstone_retention_ms: 3_600_000,
        floor_settle_ms: 60_000,
    };
}

/// The maximum number of rows of one step.
const PIECE: u32 = 500;
/// The pause between two steps of a sweep.
const PAUSE_BETWEEN_PIECES: Duration = Duration::from_millis(50);
/// The maximum number of steps of one sweep.
const MOST_PIECES: u32 = 200;
/// The minimum time between the end of a lease and its audit record, in milliseconds. A repeat of the acquire that is
/// under way should still find the request id of the grant.
const NOTED_AFTER_MS: i64 = 2_000;
/// The number of rows that one step reads to find idle locks, expired grants or guard rows.
const ROWS_A_PIECE: u32 = 5_000;

/// Sweeps until the service stops.
pub(super) async fn run(shared: Arc<Shared>, options: SweepOptions) {
    let stop = shared.stop.clone();
    let mut sweeper = Sweeper {
        shared,
        options,
        ended_from: SweepPlace::FIRST,
        idle_after: None,
        expired_after: None,
        tombstones_from: SweepPlace::FIRST,
        guards_after: None,
    };
    // Finish releases that a replica began before it ended. This replica may be its successor.
    let finished = sweeper.finish_releases().await;
    sweeper.report(finished);
    let mut swept = async || {
        tokio::time::sleep(Duration::from_millis(options.period_ms)).await;
        if !sweeper.shared.is_draining() {
            let swept = sweeper.sweep().await;
            sweeper.report(swept);
        }
    };
    while stop.run_until_cancelled(swept()).await.is_some() {}
}

struct Sweeper {
    shared: Arc<Shared>,
    options: SweepOptions,
    /// Where the search for ended locks continues.
    ended_from: SweepPlace,
    /// The key after which the search for idle locks continues.
    idle_after: Option<KeyId>,
    /// The position after which the search for expired grants continues.
    expired_after: Option<GrantPosition>,
    /// Where the search for tombstones continues.
    tombstones_from: SweepPlace,
    /// The key after which the search for guard rows of keys that are gone continues.
    guards_after: Option<KeyId>,
}

impl Sweeper {
    async fn sweep(&mut self) -> Result<(), StoreError> {
        // Every replica counts, not only the one that sweeps: a gauge that only one replica sets goes stale at the
        // others.
        match self.shared.store.count_held().await {
            Ok(held) => self.shared.metrics.held(held),
            Err(error) => self.shared.report_outage(&error),
        }
        let period_ms = i64::try_from(self.options.period_ms).unwrap_or(i64::MAX / 4);
        let (me, lease_ms) = (self.shared.sweeper, period_ms.saturating_mul(3).max(10_000));
        if !self.shared.store.lead_sweep(me, lease_ms).await? {
            return Ok(());
        }
        // This finds dead replicas even if no replica has waiters and would notice.
        self.shared.membership.request_reaping();
        let now = self.shared.store.now().await?;
        // A step that fails does not keep the next ones from being carried out.
        let finished = self.finish_releases().await;
        self.report(finished);
        if self.shared.audit.is_on() {
            let noted = self.note_expired(now).await;
            self.report(noted);
        }
        let ended = self.sweep_ended(now).await;
        self.report(ended);
        let idle = self.sweep_idle(now).await;
        self.report(idle);
        let tombstones = self.sweep_tombstones(now).await;
        self.report(tombstones);
        let guards = self.sweep_guards().await;
        self.report(guards);
        self.sweep_queues().await
    }

    fn report(&self, step: Result<(), StoreError>) {
        if let Err(error) = step {
            self.shared.report_outage(&error);
        }
    }

    /// Finishes releases of guarded keys that waited for the end of a transaction.
    async fn finish_releases(&self) -> Result<(), StoreError> {
        let ids = self.shared.store.unfinished_releases(PIECE).await?;
        self.shared.execute_all(ids, &Command::ServeQueue).await;
        Ok(())
    }

    /// Adds expired leases to the audit log whose keys were not written since. A sweep reads each lock and permit once. If
    /// there are too many, the next sweep goes on where this one ended.
    async fn note_expired(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let before = now.plus_ms(-NOTED_AFTER_MS);
        for _ in 0..MOST_PIECES {
            let after = self.expired_after.as_ref();
            let page = self.shared.store.expired_grants(before, after, ROWS_A_PIECE).await?;
            // Grants that cannot be noted now are found again when the search comes to them once more.
            self.expired_after = page.next;
            let mut all = true;
            for grants in page.items.chunks(PIECE as usize) {
                let note = |(id, version): &(KeyId, Version)| {
                    (id.clone(), Command::NoteExpiry { version: *version })
                };
                all &= self.shared.execute_each(grants.iter().map(note)).await;
            }
            if self.expired_after.is_none() || !all || self.shared.is_draining() {
                break;
            }
            tokio::time::sleep(PAUSE_BETWEEN_PIECES).await;
        }
        Ok(())
    }

    async fn sweep_ended(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let ended_before = now.plus_ms(-self.options.expired_delete_after_ms);
        let command = Command::Sweep { ended_before, idle_since: None };
        for _ in 0..MOST_PIECES {
            let from = self.ended_from;
            let page = self.shared.store.ended_to_delete(ended_before, from, PIECE).await?;
            let all_went = !page.items.is_empty() && self.command_all(page.items, &command, "ended").await;
            let next = page.next.map(|last| from.after_page(last, all_went));
            self.ended_from = next.unwrap_or(SweepPlace::FIRST);
            if next.is_none() || self.shared.is_draining() {
                break;
            }
            tokio::time::sleep(PAUSE_BETWEEN_PIECES).await;
        }
        Ok(())
    }

    async fn sweep_idle(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let Some(retention_ms) = self.options.idle_lock_retention_ms else { return Ok(()) };
        let since = now.plus_ms(-retention_ms);
        let command = Command::Sweep { ended_before: Timestamp(i64::MIN), idle_since: Some(since) };
        for _ in 0..MOST_PIECES {
            let after = self.idle_after.take();
            let page = self.shared.store.idle_mutexes(since, after.as_ref(), ROWS_A_PIECE).await?;
            self.command_all(page.items, &command, "idle").await;
            self.idle_after = page.next;
            if self.idle_after.is_none() || self.shared.is_draining() {
                break;
            }
            tokio::time::sleep(PAUSE_BETWEEN_PIECES).await;
        }
        Ok(())
    }

    /// Removes detached waiters whose time is over, and waiters of replicas that are not registered.
    async fn sweep_queues(&self) -> Result<(), StoreError> {
        let lapsed = self.shared.store.lapsed_places(PIECE).await?;
        self.command_all(lapsed, &Command::ServeQueue, "place").await;
        // A member looks for such waiters when it compares its waiters with their rows.
        if self.shared.membership.me().is_none() && self.shared.waiting.count() == 0 {
            for replica in self.shared.store.unknown_replicas().await? {
                membership::reap_replica(self.shared.clone(), replica, None).await;
            }
        }
        Ok(())
    }

    /// Carries out one step, and returns whether it did so for all keys. The next sweep finds again what this one failed
    /// to remove.
    async fn command_all(&self, ids: Vec<KeyId>, command: &Command, what: &'static str) -> bool {
        count(what, ids.len() as u64);
        self.shared.execute_all(ids, command).await
    }
}

fn count(what: &'static str, rows: u64) {
    metrics::counter!(SWEPT, "what" => what).increment(rows);
}
