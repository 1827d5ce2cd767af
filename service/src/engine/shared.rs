//! State that the shards, the background tasks and the requests of one replica share.

use std::{
    hash::BuildHasher as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    EngineOptions,
    clock::DatabaseClock,
    gauges::Gauges,
    grant_log, ids,
    membership::{Membership, Registration},
    message::{Message, UndeliveredGrant},
    metrics::{EngineMetrics, ShedReason},
    outage::Outage,
    pending_request::{Answer, CountGuard, PendingRequest, ReplySender},
    storage_use::StorageUse,
    waiter_count::WaiterCount,
    write_refusal::WriteRefusal,
};
use crate::{
    Hashing,
    audit::{AuditLog, Origin},
    domain::{Command, Context, KeyId, Now, ReplicaId},
    store::{Store, StoreError},
    unavailable::Unavailable,
};

/// The maximum number of commits of blocked keys at a time. Such a commit may wait for a row, and must leave
/// connections to other commits.
const MOST_BLOCKED_COMMITS: usize = 2;

/// An upper bound for the commands of a shard that are being loaded and committed.
const MOST_UNDER_WAY: usize = 2_048;

/// The maximum number of [`Message::ServeQueue`] that no shard has received yet.
const MOST_SERVE_MESSAGES: usize = 4_096;

/// State that the shards, the background tasks and the requests of one replica share.
pub(crate) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: DatabaseClock,
    pub(super) membership: Membership,
    pub(super) metrics: EngineMetrics,
    pub(super) gauges: Gauges,
    pub(super) options: EngineOptions,
    /// The senders of the shards' messages. [`Message`] explains why these channels need no bound.
    shards: Vec<mpsc::UnboundedSender<Message>>,
    /// Chooses the shard of a key.
    hashing: Hashing,
    /// One permit for each [`Message::ServeQueue`] that no shard has received yet.
    serve_permits: Arc<Semaphore>,
    /// The number of acquires that were not answered yet, including those that wait in queues.
    outstanding: Arc<AtomicUsize>,
    /// The acquires of this replica that wait in queues.
    pub(super) waiting: Arc<WaiterCount>,
    /// The bytes that the tenants store.
    pub(super) storage: StorageUse,
    /// The number of other commands that were not answered yet.
    executing: Arc<AtomicUsize>,
    /// The identity under which this replica holds the sweepers' lease.
    pub(super) sweeper: ReplicaId,
    draining: AtomicBool,
    pub(super) write_refusal: WriteRefusal,
    pub(super) outage: Outage,
    /// The audit log: grants, their ends, and refusals.
    pub(super) audit: AuditLog,
    /// Stops membership and the sweeper, once all waiters are answered.
    pub(super) stop: CancellationToken,
    pub(super) blocked_commits: Semaphore,
    /// The number of guarded keys that wait for the end of a transaction.
    pub(super) guards_busy: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("waiting", &self.waiting).finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        options: EngineOptions,
        audit: AuditLog,
        shards: Vec<mpsc::UnboundedSender<Message>>,
    ) -> Self {
        let gauges = Gauges::new(&options, &store.connections());
        Self {
            store,
            clock: DatabaseClock::default(),
            membership: Membership::default(),
            metrics: EngineMetrics::new(),
            gauges,
            options,
            shards,
            hashing: Hashing::default(),
            serve_permits: Arc::new(Semaphore::new(MOST_SERVE_MESSAGES)),
            outstanding: Arc::default(),
            waiting: Arc::new(WaiterCount::new(options.max_waiters, options.max_waiters_per_tenant)),
            storage: StorageUse::new(options.max_bytes_per_tenant),
            executing: Arc::default(),
            sweeper: ids::replica(),
            draining: AtomicBool::new(false),
            write_refusal: WriteRefusal::default(),
            outage: Outage::default(),
            audit,
            stop: CancellationToken::new(),
            blocked_commits: Semaphore::new(MOST_BLOCKED_COMMITS),
            guards_busy: Arc::default(),
        }
    }

    pub(super) fn shard_count(&self) -> usize {
        self.shards.len()
    }

    pub(super) fn shard_of(&self, id: &KeyId) -> usize {
        // 24 bits are left, which fit into an index on every processor.
        usize::try_from(self.hashing.hash_one(id) >> 40).unwrap_or(0) % self.shards.len()
    }

    pub(super) fn send(&self, id: &KeyId, message: Message) {
        self.send_to(self.shard_of(id), message);
    }

    pub(super) fn send_to(&self, shard: usize, message: Message) {
        // A shard ends only with the process.
        let _ = self.shards[shard].send(message);
    }

    pub(super) fn broadcast(&self, message: impl Fn() -> Message) {
        for shard in 0..self.shards.len() {
            self.send_to(shard, message());
        }
    }

    /// Sends a command to the shard of its key. The receiver gets its answer. The command is `counted` until then.
    pub(super) fn begin(
        &self,
        id: KeyId,
        command: Command,
        counted: Option<CountGuard>,
    ) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = ReplySender::new(counted);
        let shard = self.shard_of(&id);
        let origin = if self.audit.is_on() { Origin::current() } else { None };
        self.send_to(shard, Message::Command(PendingRequest::new(id, command, Some(sender), origin)));
        receiver
    }

    /// Carries out a command on each of these keys and waits for the answers, so that a task with many keys does not
    /// outrun the shards. Returns whether all commands were carried out.
    pub(super) async fn execute_all(&self, ids: Vec<KeyId>, command: &Command) -> bool {
        self.execute_each(ids.into_iter().map(|id| (id, command.clone()))).await
    }

    /// Does the same as `execute_all`, with a command for each key.
    pub(super) async fn execute_each(&self, commands: impl Iterator<Item = (KeyId, Command)>) -> bool {
        let answers: Vec<_> = commands.map(|(id, command)| self.begin(id, command, None)).collect();
        let mut all = true;
        for answer in answers {
            all &= matches!(answer.await, Ok(Ok(_)));
        }
        all
    }

    /// Requests that the queue of a key is served soon. Waits only while too many such messages have not been received.
    pub(super) async fn serve_queue(&self, id: KeyId) {
        // The semaphore is never closed.
        if let Ok(permit) = self.serve_permits.clone().acquire_owned().await {
            let shard = self.shard_of(&id);
            self.send_to(shard, Message::ServeQueue { id, permit });
        }
    }

    /// Gives an undelivered grant back: at once, or after its caller had time to repeat the request.
    pub(super) fn undelivered(&self, grant: UndeliveredGrant) {
        let shard = self.shard_of(&grant.id);
        self.send_to(shard, Message::Undelivered(grant));
    }

    /// Admits an acquire, or refuses it before it causes any work. Other commands are never refused.
    ///
    /// The limit is twice `max_queued` plus the commands under way. Below this limit the shards refuse acquires of
    /// tenants that are above their share.
    pub(super) fn admit(&self) -> Result<CountGuard, Unavailable> {
        if self.is_draining() {
            return Err(Unavailable::ShuttingDown);
        }
        self.write_refusal.check()?;
        let counted = CountGuard::in_counter(&self.outstanding);
        let under_way = self.shards.len() * MOST_UNDER_WAY;
        if self.queued_acquires() > self.options.max_queued.saturating_mul(2).saturating_add(under_way) {
            self.metrics.shed(ShedReason::QueueFull);
            Err(Unavailable::Overloaded)
        } else {
            Ok(counted)
        }
    }

    /// Counts a command other than an acquire until it is answered.
    pub(super) fn count_executing(&self) -> CountGuard {
        CountGuard::in_counter(&self.executing)
    }

    /// The number of commands that wait for the database.
    pub(super) fn queued(&self) -> usize {
        self.queued_acquires() + self.executing.load(Ordering::Relaxed)
    }

    fn queued_acquires(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed).saturating_sub(self.waiting.count())
    }

    pub(super) fn begin_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// The facts that decisions at this time depend on besides commands and states.
    pub(super) fn context(&self, now: Now) -> Context {
        let Registration { me, is_leaving } = self.membership.registration();
        Context {
            now,
            me,
            is_leaving,
            dead: self.membership.dead(),
            suspects: self.membership.suspects(),
            max_waiters_per_key: self.options.max_waiters_per_key,
            lists_changes: self.audit.is_on() || grant_log::is_enabled(),
            epoch: self.store.epoch(),
            over_storage: self.storage.over(),
        }
    }

    /// Logs an error of the database, at most once a second.
    pub(super) fn report_outage(&self, error: &StoreError) {
        // Lasting errors are logged once, where they are noticed.
        if !error.is_lasting() {
            self.outage.note(error);
        }
    }
}
