//! The engine: how commands become few writes, and how waiting costs no polling.
//!
//! It owns batches, memory, queues of this replica's waiters, timers, and the tasks that do I/O. It decides nothing:
//! every rule is the domain's, every statement the store's. Handlers send a command and wait for an answer; they never
//! touch the database, so a client that disconnects drops no transaction half-way.

mod attachment;
mod chance;
mod clock;
mod envelope;
mod foresight;
mod gauges;
mod membership;
mod memory;
mod metrics;
mod outage;
mod shard;
mod sweeper;
mod timers;
mod vital;
mod work;

#[cfg(test)]
mod tests;

use std::{
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rustc_hash::FxHasher;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

pub use attachment::Attachment;
pub use envelope::EngineError;
pub use sweeper::SweepOptions;

use self::{
    clock::DatabaseClock,
    envelope::{Envelope, Message},
    gauges::Gauges,
    membership::{Membership, Presence},
    metrics::EngineMetrics,
    outage::Outage,
    shard::Shard,
    vital::spawn_vital,
    work::Surroundings,
};
use crate::{
    domain::{Command, KeyId, Nonce, ReplicaId, Reply, Version},
    store::{Store, StoreError},
};

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
    /// The most waiters of this replica.
    pub max_waiters: usize,
    /// The sweeper.
    pub sweep: SweepOptions,
}

/// What the shards, the loops and the attachments of one replica share.
pub(crate) struct Shared {
    store: Arc<dyn Store>,
    clock: DatabaseClock,
    membership: Membership,
    metrics: EngineMetrics,
    gauges: Gauges,
    options: EngineOptions,
    /// The inboxes of the shards.
    shards: Vec<mpsc::UnboundedSender<Message>>,
    /// Acquires that are not answered yet, those that stand in queues included.
    outstanding: AtomicUsize,
    /// Acquires of this replica that stand in queues.
    waiting: AtomicUsize,
    /// Other commands that are not answered yet.
    executing: AtomicUsize,
    /// Shards with nothing to do and nobody waiting, by a bit each in the order of `shards`.
    idle: Vec<AtomicBool>,
    /// Under which name this replica holds the sweepers' lease.
    sweeper: ReplicaId,
    /// Whether the service stops.
    draining: AtomicBool,
    /// What was logged of an outage of the database.
    outage: Outage,
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

    /// Sends a command of the engine's own to the shard of its key.
    fn command(&self, id: KeyId, command: Command) {
        let shard = self.shard_of(&id);
        self.send_to(shard, Message::Command(Envelope::internal(id, command, Instant::now())));
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
        let (admission, outstanding) = Admission::count(&self.outstanding);
        let queued = outstanding.saturating_sub(self.waiting.load(Ordering::Relaxed));
        if queued > self.options.max_queued { Err(EngineError::Overloaded) } else { Ok(admission) }
    }

    fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    fn surroundings(&self) -> Surroundings {
        let full = self.waiting.load(Ordering::Relaxed) >= self.options.max_waiters;
        let Presence { me, is_leaving } = self.membership.presence();
        Surroundings {
            me,
            is_leaving,
            dead: self.membership.dead(),
            suspects: self.membership.suspects(),
            max_waiters_per_key: if full { 0 } else { self.options.max_waiters_per_key },
        }
    }

    /// A grant that reached nobody is given back: at once, or after its caller had time to ask again.
    fn undelivered(self: &Arc<Self>, id: &KeyId, version: Version, chosen: bool, nonce: Nonce) {
        self.send(id, Message::Undelivered { id: id.clone(), version, chosen, nonce });
    }

    fn note_idle(&self, shard: usize, idle: bool) {
        self.idle[shard].store(idle, Ordering::Relaxed);
    }

    /// Logs that the database does not do its work.
    fn report_outage(&self, error: &StoreError) {
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
            waiting: AtomicUsize::new(0),
            executing: AtomicUsize::new(0),
            idle: (0..count).map(|_| AtomicBool::new(true)).collect(),
            sweeper: chance::replica(),
            draining: AtomicBool::new(false),
            outage: Outage::default(),
        });
        for (number, (inbox, outbox)) in inboxes.into_iter().zip(senders).enumerate() {
            let task = Shard::new(shared.clone(), number, inbox, outbox, options.memory_bytes / count);
            spawn_vital(task.run());
        }
        spawn_vital(membership::run(shared.clone()));
        spawn_vital(membership::reap_when_wanted(shared.clone()));
        spawn_vital(sweeper::run(shared.clone(), options.sweep));
        Arc::new(Self { shared })
    }

    /// Begins a caller's attachment to a lease it is going to ask for.
    pub fn attach(&self, id: &KeyId, chosen: Option<Version>, reentrant: bool) -> Attachment {
        Attachment::new(self.shared.clone(), id.clone(), chosen, reentrant)
    }

    /// A nonce for a caller that attaches itself to a grant by a heartbeat.
    pub fn nonce(&self) -> Nonce {
        chance::nonce(false)
    }

    /// Brings a command other than an acquire to its answer.
    ///
    /// # Errors
    /// When the database did not do its part in time.
    pub async fn execute(&self, id: KeyId, command: Command) -> Result<Reply, EngineError> {
        let (_counted, _) = Admission::count(&self.shared.executing);
        let (sender, receiver) = oneshot::channel();
        let envelope = Envelope { id, command, reply: Some(sender), arrived: Instant::now() };
        let shard = self.shared.shard_of(&envelope.id);
        self.shared.send_to(shard, Message::Command(envelope));
        receiver.await.unwrap_or(Err(EngineError::Draining)).map(|answered| answered.reply)
    }

    /// How many requests of this replica stand in queues.
    pub fn waiters(&self) -> usize {
        self.shared.waiting.load(Ordering::Relaxed)
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
    /// others; at most for `grace`.
    pub async fn drain(&self, grace: Duration) {
        const LOOK: Duration = Duration::from_millis(10);
        self.shared.draining.store(true, Ordering::Relaxed);
        self.shared.broadcast(|| Message::Evict { draining: true });
        let until = Instant::now() + grace;
        let idle = || self.shared.idle.iter().all(|idle| idle.load(Ordering::Relaxed));
        // The first look comes after every shard had the chance to see the message.
        tokio::time::sleep(LOOK).await;
        while !(idle() && self.waiters() == 0) && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
        if let Some(me) = self.shared.membership.me()
            && let Err(error) = self.shared.store.part(me, None).await
        {
            self.shared.report_outage(&error);
        }
        // Another replica need not wait for the end of the lease to sweep.
        if let Err(error) = self.shared.store.yield_sweep(self.shared.sweeper).await {
            self.shared.report_outage(&error);
        }
    }
}
