//! The replicas of a simulated world: each one starts again after its end.

use std::{sync::Arc, time::Duration};

use rand::Rng;
use tokio::time::sleep;

use super::{
    database::Connection,
    plan::{Plan, Stream, stream},
    process::{Entered, Process},
    world::{GUARD_WAIT, Replica, World},
};
use crate::{
    Limits, LockService,
    audit::AuditLog,
    engine::{Engine, EngineOptions, SweepOptions},
};

impl World {
    /// Starts an incarnation of a replica, and another one whenever it ends.
    pub(super) fn start(self: &Arc<Self>, number: usize, life: usize) {
        let plan = &self.plan;
        let order = stream(plan.seed, Stream::Order(number, life));
        let ids = stream(plan.seed, Stream::Ids(number, life));
        let process = Process::new(life, plan.defer, order, ids);
        let store = Connection::new(self.database.clone(), number, life);
        let entered = Entered::new(&process);
        let engine = Engine::start(store.clone(), options(plan), AuditLog::off());
        drop(entered);
        let service = LockService::new(engine.clone(), store, Limits::default());
        self.record.note(&format!("replica {number} starts"));
        self.replicas()[number] = Some(Replica { process: process.clone(), service, engine, pauses: 0 });
        let world = self.clone();
        tokio::spawn(async move {
            process.ended.notified().await;
            world.replicas()[number] = None;
            if let Some(panic) = process.panic() {
                world.record.fail(format!("replica {number} panics: {panic}"));
            }
            world.record.note(&format!("replica {number} is gone"));
            let members = world.record.members();
            let ended =
                members.iter().filter(|(_, member)| **member == (number, life)).map(|(name, _)| *name);
            world.record.inform(|checker, at| {
                checker.replica_stops(at);
                checker.replica_gone(number, ended);
            });
            let down = world.draw(|random| random.random_range(1..5_000));
            sleep(Duration::from_millis(down)).await;
            world.start(number, life + 1);
        });
    }
}

fn options(plan: &Plan) -> EngineOptions {
    EngineOptions {
        guard_wait: GUARD_WAIT,
        shards: plan.shards,
        memory_bytes: 1 << 20,
        max_queued: 1_000,
        max_queue_wait: Duration::from_secs(2),
        max_waiters_per_key: 100,
        max_waiters_per_tenant: 1_000,
        max_waiters: 1_000,
        max_bytes_per_tenant: u64::MAX,
        sweep: SweepOptions {
            period_ms: 2_000,
            expired_delete_after_ms: 500,
            idle_lock_retention_ms: Some(4_000),
            // Longer than any cache keeps a key, and than any statement is under way.
            tombstone_retention_ms: 14_000,
            floor_settle_ms: 8_000,
        },
    }
}
