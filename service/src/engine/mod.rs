//! The engine: how commands become few writes, and how waiting costs no polling.
//!
//! It owns batches, memory, queues of this replica's waiters, timers, and the tasks that do I/O. It decides nothing:
//! every rule is the domain's, every statement the store's. Handlers send a command and wait for an answer; they never
//! touch the database, so a client that disconnects drops no transaction half-way.

mod clock;
mod gauges;
mod ids;
mod key_task;
mod membership;
mod memory;
mod metrics;
mod outage;
mod pending_request;
mod request_guard;
mod shard;
mod speculation;
mod sweeper;
mod timers;
mod waiting;
mod write_refusal;

#[cfg(test)]
mod tests;

use std::{
    convert::Infallible,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHasher;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use pending_request::EngineError;
pub use request_guard::RequestGuard;
pub use sweeper::SweepOptions;

use self::{
    clock::DatabaseClock,
    gauges::Gauges,
    key_task::Surroundings,
    membership::{Membership, Presence},
    metrics::EngineMetrics,
    outage::Outage,
    pending_request::{Answer, Message, PendingRequest},
    shard::Shard,
    waiting::Waiting,
    write_refusal::WriteRefusal,
};
use crate::{
    domain::{Command, KeyId, ReplicaId, Reply, RequestId, Version},
    store::{Store, StoreError},
    tasks::{self, spawn_critical},
};

/// The most commits of blocked keys at once.
const MOST_BLOCKED_COMMITS: usize = 2;

/// The most looks at keys that other replicas ask for and that no shard has taken up yet.
const MOST_LOOKS: usize = 4_096;

/// How long the last statements may take when the time to stop is over.
const LAST_STATEMENT: Duration = Duration::from_millis(500);

/// How the engine is set.
#[derive(Debug, Clone, Copy)]
pub struct EngineOptions {
    /// How many batches may be in flight at a time: shards of the keys, each with a batch of its own.
    pub shards: usize,
    /// How many bytes of states this replica remembers, about.
    pub memory_bytes: usize,
    /// The most acquires that may be queued for a batch before more are refused.
    pub max_queued: usize,
    /// The most waiters of one key.
    pub max_waiters_per_key: i64,
    /// The most waiters of one tenant at this replica.
    pub max_waiters_per_tenant: usize,
    /// The most waiters of this replica.
    pub max_waiters: usize,
    /// The sweeper.
    pub sweep: SweepOptions,
}

/// What the shards, the loops and the requests of one replica share.
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    clock: DatabaseClock,
    membership: Membership,
    metrics: EngineMetrics,
    gauges: Gauges,
    options: EngineOptions,
    /// The inboxes of the shards. What may stand in one is bounded by who sends: see [`Message`].
    shards: Vec<mpsc::UnboundedSender<Message>>,
    /// One for each look at a key that other replicas ask for and that no shard has taken up yet.
    looks: Arc<Semaphore>,
    /// Acquires that are not answered yet, those that stand in queues included.
    outstanding: AtomicUsize,
    /// Acquires of this replica that stand in queues.
    waiting: Waiting,
    /// Other commands that are not answered yet.
    executing: AtomicUsize,
    /// Under which name this replica holds the sweepers' lease.
    sweeper: ReplicaId,
    /// Whether the service stops.
    draining: AtomicBool,
    /// What keeps this replica from writing.
    write_refusal: WriteRefusal,
    /// What was logged of an outage of the database.
    outage: Outage,
    /// Everybody who waited is answered, and what is left of the engine stops too: membership and the sweeper.
    stop: CancellationToken,
    /// For commits that may have to wait for a row that somebody else keeps locked: they must leave connections to the others.
    blocked_commits: Semaphore,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Shared {
    fn shard_count(&self) -> usize {
        self.shards.len()
    }

    fn shard_of(&self, id: &KeyId) -> usize {
        let mut hasher = FxHasher::default();
        id.hash(&mut hasher);
        // The low bits choose the bucket in the shards' maps; the high ones choose the shard.
        usize::try_from(hasher.finish() >> 40).unwrap_or(0) % self.shards.len()
    }

    fn send(&self, id: &KeyId, message: Message) {
        self.send_to(self.shard_of(id), message);
    }

    fn send_to(&self, shard: usize, message: Message) {
        // A shard ends only with the process.
        let _ = self.shards[shard].send(message);
    }

    /// Sends a command to the shard of its key. Its answer comes by the receiver.
    fn begin(&self, id: KeyId, command: Command) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let shard = self.shard_of(&id);
        let request = PendingRequest { id, command, reply: Some(sender), arrived: Instant::now() };
        self.send_to(shard, Message::Command(request));
        receiver
    }

    /// Has a command carried out on each of these keys, and waits until that is done: so whoever goes through many keys does
    /// not run ahead of the shards. Returns whether all of them were carried out.
    async fn execute_all(&self, ids: Vec<KeyId>, command: &Command) -> bool {
        let answers: Vec<_> = ids.into_iter().map(|id| self.begin(id, command.clone())).collect();
        let mut all = true;
        for answer in answers {
            all &= matches!(answer.await, Ok(Ok(_)));
        }
        all
    }

    /// Has the queue of a key looked at, soon. Waits only while too many looks have not been taken up.
    async fn look_at(&self, id: KeyId) {
        // It is never closed.
        if let Ok(permit) = self.looks.clone().acquire_owned().await {
            let shard = self.shard_of(&id);
            self.send_to(shard, Message::Look { id, permit });
        }
    }

    fn broadcast(&self, message: impl Fn() -> Message) {
        for shard in 0..self.shards.len() {
            self.send_to(shard, message());
        }
    }

    /// Lets an acquire in, or refuses it before it costs anything. Heartbeats and releases are never refused.
    fn admit(&self) -> Result<Admission<'_>, EngineError> {
        if self.is_draining() {
            return Err(EngineError::Draining);
        }
        self.write_refusal.check()?;
        let (admission, outstanding) = Admission::count(&self.outstanding);
        let queued = outstanding.saturating_sub(self.waiting.count());
        if queued > self.options.max_queued { Err(EngineError::Overloaded) } else { Ok(admission) }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn surroundings(&self) -> Surroundings {
        let Presence { me, is_leaving } = self.membership.presence();
        Surroundings {
            me,
            is_leaving,
            dead: self.membership.dead(),
            suspects: self.membership.suspects(),
            max_waiters_per_key: self.options.max_waiters_per_key,
            is_full: self.waiting.is_full(),
            full_tenants: self.waiting.full_tenants(),
        }
    }

    /// A grant that reached nobody is given back: at once, or after its caller had time to ask again.
    fn undelivered(self: &Arc<Self>, id: &KeyId, version: Version, chosen: bool, request_id: RequestId) {
        self.send(id, Message::Undelivered { id: id.clone(), version, chosen, request_id });
    }

    /// Logs that the database does not do its work.
    fn report_outage(&self, error: &StoreError) {
        if EngineError::of_lasting(error).is_some() {
            // It is logged once, where it is noticed.
            return;
        }
        self.outage.note(error);
    }
}

/// A command that is counted until it is answered or given up.
struct Admission<'a>(&'a AtomicUsize);

impl<'a> Admission<'a> {
    /// Counts one more. Returns how many there are now.
    fn count(of: &'a AtomicUsize) -> (Self, usize) {
        let count = of.fetch_add(1, Ordering::Relaxed) + 1;
        (Self(of), count)
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The engine of one replica.
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    /// The tasks that stop when the service does. The shards go on until the process ends: releases still come.
    tasks: TaskTracker,
}

impl Engine {
    /// Starts the engine's tasks on the current runtime. They run until it ends.
    pub fn start(store: Arc<dyn Store>, options: EngineOptions) -> Arc<Self> {
        let count = options.shards.max(1);
        let (senders, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::unbounded_channel()).unzip();
        let gauges = Gauges::new(&options, &store.connections());
        let shared = Arc::new(Shared {
            store,
            clock: DatabaseClock::default(),
            membership: Membership::default(),
            metrics: EngineMetrics::new(),
            gauges,
            options,
            shards: senders.clone(),
            outstanding: AtomicUsize::new(0),
            waiting: Waiting::new(options.max_waiters, options.max_waiters_per_tenant),
            executing: AtomicUsize::new(0),
            sweeper: ids::replica(),
            looks: Arc::new(Semaphore::new(MOST_LOOKS)),
            draining: AtomicBool::new(false),
            write_refusal: WriteRefusal::default(),
            outage: Outage::default(),
            stop: CancellationToken::new(),
            blocked_commits: Semaphore::new(MOST_BLOCKED_COMMITS),
        });
        for (inbox, outbox) in inboxes.into_iter().zip(senders) {
            let task = Shard::new(shared.clone(), inbox, outbox, options.memory_bytes / count);
            spawn_critical(task.run());
        }
        let tasks = TaskTracker::new();
        spawn_critical(tasks.track_future(membership::run(shared.clone())));
        spawn_critical(membership::reap_when_wanted(shared.clone()));
        spawn_critical(write_refusal::watch(shared.clone()));
        spawn_critical(tasks.track_future(sweeper::run(shared.clone(), options.sweep)));
        Arc::new(Self { shared, tasks })
    }

    /// Begins a caller's request to a lease it is going to ask for.
    pub fn attach(&self, id: &KeyId, chosen: Option<Version>, reentrant: bool) -> RequestGuard {
        RequestGuard::new(self.shared.clone(), id.clone(), chosen, reentrant)
    }

    /// A request id for a caller that attaches itself to a grant by a heartbeat.
    pub fn request_id(&self) -> RequestId {
        ids::request_id(false)
    }

    /// Brings a command other than an acquire to its answer.
    ///
    /// # Errors
    /// When the database did not do its part in time.
    pub async fn execute(&self, id: KeyId, command: Command) -> Result<Reply, EngineError> {
        let (_counted, _) = Admission::count(&self.shared.executing);
        let answer = self.shared.begin(id, command);
        answer.await.unwrap_or(Err(EngineError::Draining)).map(|answered| answered.reply)
    }

    /// How many requests of this replica stand in queues.
    pub fn waiters(&self) -> usize {
        self.shared.waiting.count()
    }

    /// Brings the gauges up to date that are not worth keeping so all the time: for whoever reads the metrics.
    pub fn update_gauges(&self) {
        let outstanding = self.shared.outstanding.load(Ordering::Relaxed);
        let executing = self.shared.executing.load(Ordering::Relaxed);
        let queued = outstanding.saturating_sub(self.waiters()) + executing;
        self.shared.gauges.update(self.waiters(), queued, &self.shared.store.connections());
    }

    /// The database is there and takes writes; logged if it did not before.
    pub(crate) fn report_recovery(&self) {
        self.shared.outage.end_if_any();
    }

    /// Logs an error of the database that a request met, at most once a second.
    pub(crate) fn report_outage(&self, error: &StoreError) {
        self.shared.report_outage(error);
    }

    /// Whether the service stops.
    pub fn is_draining(&self) -> bool {
        self.shared.is_draining()
    }

    /// Answers all who wait 503, refuses new acquires, writes what is being written, and makes this replica unknown to the
    /// others; at most for about `grace`.
    pub async fn drain(&self, grace: Duration) {
        let until = Instant::now() + grace;
        self.shared.draining.store(true, Ordering::Relaxed);
        let (busy, mut all_idle) = mpsc::channel(1);
        self.shared.broadcast(|| Message::Evict { draining: Some(busy.clone()) });
        drop(busy);
        // Nothing is ever sent: it comes back when no shard has a sender left.
        let _: Result<Option<Infallible>, _> = tokio::time::timeout_at(until, all_idle.recv()).await;
        self.shared.stop.cancel();
        self.tasks.close();
        let until = until.max(Instant::now() + LAST_STATEMENT);
        if tokio::time::timeout_at(until, self.tasks.wait()).await.is_err() {
            tracing::warn!(
                "the database does not answer; the other replicas will find that this one has stopped"
            );
        }
        // Another replica need not wait for the end of the lease to sweep.
        if let Err(error) = self.shared.store.yield_sweep(self.shared.sweeper).await {
            self.shared.report_outage(&error);
        }
    }
}
