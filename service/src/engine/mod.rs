//! The engine turns many commands into few writes, and lets thousands of callers wait without polling.
//!
//! It owns batches, cached states, the waiters of this replica, timers, and the tasks that do I/O. It contains no rule
//! of locking and no SQL: rules are in the domain, statements in the store. Handlers send a command and wait for its
//! answer; they never touch the database. So a client that disconnects drops no transaction half-way.

mod cache;
mod clock;
mod commit_task;
mod gauges;
mod grant_log;
mod ids;
mod key_task;
mod membership;
mod message;
mod metrics;
mod outage;
mod pending_request;
mod request_guard;
mod shard;
mod shared;
mod storage_use;
mod sweeper;
mod timers;
mod waiter_count;
mod write_refusal;

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{sync::mpsc, time::Instant};
use tokio_util::task::TaskTracker;

pub use request_guard::RequestGuard;
pub use sweeper::SweepOptions;

use self::{message::Message, shard::Shard, shared::Shared};
use crate::{
    audit::AuditLog,
    domain::{Command, KeyId, Reply, RequestFlags, RequestId, Timestamp, Version},
    store::{Store, StoreError},
    tasks::{self, spawn_critical},
    unavailable::Unavailable,
};

/// How long the last statements may take after the time to stop is over.
const LAST_STATEMENT: Duration = Duration::from_millis(500);

/// The settings of the engine.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// The number of shards. Each has its own keys and its own batches.
    pub shards: usize,
    /// The approximate maximum size of the cached states of this replica in bytes.
    pub memory_bytes: usize,
    /// The number of queued acquires from which on tenants above their share have further ones refused. From about
    /// twice that many on all further acquires are refused.
    pub max_queued: usize,
    /// How long acquires may wait for a batch; acquires that would wait longer are refused.
    pub max_queue_wait: Duration,
    /// The maximum number of waiters of one key.
    pub max_waiters_per_key: i64,
    /// The maximum number of waiters of one tenant at this replica.
    pub max_waiters_per_tenant: usize,
    /// The maximum number of waiters of this replica.
    pub max_waiters: usize,
    /// The approximate maximum number of bytes that a tenant may store.
    pub max_bytes_per_tenant: u64,
    /// How long a release waits for the end of a transaction that called the guard.
    pub guard_wait: Duration,
    /// The settings of the sweeper.
    pub sweep: SweepOptions,
}

impl EngineOptions {
    /// The default of [`max_queued`](Self::max_queued).
    pub const MAX_QUEUED: usize = 20_000;
    /// The default of [`max_queue_wait`](Self::max_queue_wait), in milliseconds.
    pub const MAX_QUEUE_MS: u64 = 2_000;
    /// The default of [`max_bytes_per_tenant`](Self::max_bytes_per_tenant).
    pub const MAX_BYTES_PER_TENANT: u64 = 1 << 30;
    /// The default of [`guard_wait`](Self::guard_wait), in milliseconds.
    pub const GUARD_WAIT_MS: u64 = 5_000;
}

/// The engine of one replica.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    /// The tasks that stop when the service stops. The shards run until the process ends, because releases still
    /// arrive.
    tasks: TaskTracker,
}

impl Engine {
    /// Starts the engine's tasks on the current runtime. They run as long as the runtime. `audit` receives a record of
    /// each event of a grant.
    pub fn start(store: Arc<dyn Store>, options: EngineOptions, audit: AuditLog) -> Arc<Self> {
        let count = options.shards.max(1);
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let shared = Arc::new(Shared::new(store, options, audit, senders.clone()));
        for (inbox, outbox) in inboxes.into_iter().zip(senders) {
            let task = Shard::new(shared.clone(), outbox, options.memory_bytes / count);
            spawn_critical(task.run(inbox));
        }
        let tasks = TaskTracker::new();
        spawn_critical(tasks.track_future(membership::run(shared.clone())));
        spawn_critical(membership::reap_when_wanted(shared.clone()));
        spawn_critical(write_refusal::watch(shared.clone()));
        spawn_critical(storage_use::count_when_wanted(shared.clone()));
        spawn_critical(tasks.track_future(sweeper::run(shared.clone(), options.sweep)));
        Arc::new(Self { shared, tasks })
    }

    /// Creates the guard of a request for a lease.
    pub fn attach(&self, id: &KeyId, chosen: Option<Version>, flags: RequestFlags) -> RequestGuard {
        RequestGuard::new(self.shared.clone(), id.clone(), chosen, flags)
    }

    /// Creates a request id, for a heartbeat.
    pub fn request_id(&self) -> RequestId {
        ids::request_id(RequestFlags::default())
    }

    /// Carries out a command other than an acquire.
    ///
    /// # Errors
    /// Fails if the database did not carry out the command in time.
    pub async fn execute(&self, id: KeyId, command: Command) -> Result<Reply, Unavailable> {
        let answer = self.shared.begin(id, command, Some(self.shared.count_executing()));
        answer.await.unwrap_or(Err(Unavailable::ShuttingDown)).map(|answered| answered.reply)
    }

    /// The audit log.
    pub fn audit(&self) -> &AuditLog {
        &self.shared.audit
    }

    /// Database time by the last reading, for records.
    pub fn db_time(&self) -> Timestamp {
        self.shared.clock.last_known(Instant::now()).unwrap_or_default()
    }

    /// Notes a reading of the database's clock that was asked for at `sent`.
    pub fn note_time(&self, db_time: Timestamp, sent: Instant) {
        self.shared.clock.observe(db_time, sent, Instant::now());
    }

    /// The number of requests of this replica that wait in queues.
    pub fn waiters(&self) -> usize {
        self.shared.waiting.count()
    }

    /// Sets the gauges that are only updated when the metrics are read.
    pub fn update_gauges(&self) {
        let shared = &self.shared;
        let busy = shared.guards_busy.load(Ordering::Relaxed);
        shared.gauges.update(self.waiters(), shared.queued(), busy, &shared.store.connections());
    }

    /// Fails while this replica refuses all writes.
    pub(crate) fn check_writes(&self) -> Result<(), Unavailable> {
        self.shared.write_refusal.check()
    }

    /// Notes that the database answers and accepts writes. The end of an outage is logged.
    pub(crate) fn report_recovery(&self) {
        self.shared.outage.end_if_any();
    }

    /// Logs an error of the database, at most once a second.
    pub(crate) fn report_outage(&self, error: &StoreError) {
        self.shared.report_outage(error);
    }

    /// Whether the service stops.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Stops the engine within about `grace`: refuses new acquires, answers all waiters 503, waits for the commands
    /// under way, and ends this replica's membership.
    pub async fn drain(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.shared.begin_draining();
        let (busy, mut all_idle) = mpsc::channel(1);
        self.shared.broadcast(|| Message::Evict { draining: Some(busy.clone()) });
        drop(busy);
        // Nothing is ever sent: this returns when each shard has dropped its sender.
        let _: Result<Option<Infallible>, _> = tokio::time::timeout_at(until, all_idle.recv()).await;
        self.shared.stop.cancel();
        self.tasks.close();
        let until = until.max(Instant::now() + LAST_STATEMENT);
        if tokio::time::timeout_at(until, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "the database does not answer; the other replicas will find that this one has stopped"
            );
        }
        // Without this the next sweep would wait until this replica's lease as sweeper ends.
        if let Err(error) = self.shared.store.yield_sweep(self.shared.sweeper).await {
            self.shared.report_outage(&error);
        }
    }
}
