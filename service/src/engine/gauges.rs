//! Gauges of used resources and their limits. They are set when the metrics are read.

use metrics::{Gauge, describe_gauge, gauge};

use super::EngineOptions;
use crate::store::PoolUse;

const WAITERS: &str = "db_locks_waiters";
const WAITERS_LIMIT: &str = "db_locks_waiters_limit";
const QUEUED: &str = "db_locks_queued_commands";
const QUEUED_LIMIT: &str = "db_locks_queued_commands_limit";
const CONNECTIONS: &str = "db_locks_database_connections";
const GUARDS_BUSY: &str = "db_locks_guarded_keys_blocked";
const CONNECTIONS_LIMIT: &str = "db_locks_database_connections_limit";

/// The gauges of one replica.
pub(super) struct Gauges {
    waiters: Gauge,
    queued: Gauge,
    guards_busy: Gauge,
}

impl Gauges {
    /// Describes and registers all gauges, and sets the limits, which do not change.
    pub(super) fn new(options: &EngineOptions, pools: &[PoolUse]) -> Self {
        describe();
        gauge!(WAITERS_LIMIT).set(as_f64(options.max_waiters));
        gauge!(QUEUED_LIMIT).set(as_f64(options.max_queued));
        for pool in pools {
            gauge!(CONNECTIONS_LIMIT, "pool" => pool.pool).set(f64::from(pool.limit));
        }
        let gauges =
            Self { waiters: gauge!(WAITERS), queued: gauge!(QUEUED), guards_busy: gauge!(GUARDS_BUSY) };
        gauges.update(0, 0, 0, pools);
        gauges
    }

    /// Sets the gauges.
    pub(super) fn update(&self, waiters: usize, queued: usize, guards_busy: usize, pools: &[PoolUse]) {
        self.waiters.set(as_f64(waiters));
        self.queued.set(as_f64(queued));
        self.guards_busy.set(as_f64(guards_busy));
        for pool in pools {
            let connections =
                |state: &'static str| gauge!(CONNECTIONS, "pool" => pool.pool, "state" => state);
            connections("in_use").set(f64::from(pool.in_use));
            connections("idle").set(f64::from(pool.idle));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}

fn describe() {
    describe_gauge!(WAITERS, "Requests of this replica that wait in queues");
    describe_gauge!(WAITERS_LIMIT, "The maximum number of requests of this replica in queues");
    describe_gauge!(QUEUED, "Commands of this replica that wait for the database");
    describe_gauge!(QUEUED_LIMIT, "The number of queued commands from which on acquires are refused");
    describe_gauge!(
        GUARDS_BUSY,
        "Guarded keys that wait for the end of a transaction that called db_locks_guard"
    );
    describe_gauge!(CONNECTIONS, "Connections to the database, by pool and state");
    describe_gauge!(CONNECTIONS_LIMIT, "The maximum number of connections to the database, by pool");
}
