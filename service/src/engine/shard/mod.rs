//! A shard: one task that owns the commands, the cached states and the waiters of its keys.
//!
//! Each key belongs to one shard, which handles everything that happens to the key one after another. So no state of a
//! shard is shared or locked. Commands gather while a batch is being written; the next batch takes them, each
//! key once. Loads and commits run in tasks of their own, and their results come back as messages. So no statement is
//! dropped half-way when a caller goes away.
//!
//! The parts of a shard are structs of their own. A command moves from the [`Intake`] into a key task. The task is [in
//! flight](InFlight) until the command is answered or its caller becomes one of the [waiters](LocalWaiters).

mod answer;
mod backpressure;
mod batch;
mod blocked;
mod blocked_keys;
mod busy_guards;
mod commit;
mod commits;
mod contested_keys;
mod deadlines;
mod decided_lines;
mod drain;
mod guarded;
mod guarded_keys;
mod guarded_lines;
mod handover;
mod in_flight;
mod intake;
mod key_timers;
mod load;
mod loads;
mod local_waiters;
mod offers;
mod outcome;
mod overload;
mod room;
mod trail;
mod under_lock;
mod waiting;

use std::{pin::pin, sync::Arc};

use tokio::{sync::mpsc, time::Instant};

use self::{
    drain::Drain, guarded_keys::GuardedKeys, in_flight::InFlight, intake::Intake, key_timers::KeyTimers,
    local_waiters::LocalWaiters, offers::KnownOffers, overload::Shares,
};
use super::{Shared, cache::Cache, message::Message, pending_request::PendingRequest};
use crate::domain::{Command, KeyId};

/// One shard.
pub(super) struct Shard {
    /// State that all shards of a replica share.
    shared: Arc<Shared>,
    /// The sender of this shard's messages, for the results of its own tasks.
    outbox: mpsc::UnboundedSender<Message>,
    /// Commands that wait for a batch.
    intake: Intake,
    /// Key tasks that are being loaded or committed.
    in_flight: InFlight,
    /// Acquires of this replica that wait in queues.
    waiters: LocalWaiters,
    /// The next time at which the queue of a key may have to be served.
    key_timers: KeyTimers,
    /// The states that were written last.
    cache: Cache,
    /// The offers in the queues of the keys.
    offers: KnownOffers,
    /// The tenants with more queued commands than their share.
    shares: Shares,
    /// The time of the next check for overdue callers; `None` while there are no commands.
    next_deadline_check: Option<Instant>,
    /// How far this shard has stopped.
    drain: Drain,
}

impl Shard {
    /// Creates a shard that is not running yet.
    pub(super) fn new(
        shared: Arc<Shared>,
        outbox: mpsc::UnboundedSender<Message>,
        memory_bytes: usize,
    ) -> Self {
        let now = Instant::now();
        let limits = shared.store.batch_limits();
        let guarded = GuardedKeys::new(
            shared.store.commits_in_parallel(),
            shared.options.guard_wait,
            Arc::clone(&shared.guards_busy),
        );
        Self {
            shared,
            outbox,
            intake: Intake::default(),
            in_flight: InFlight::new(now, limits, guarded),
            waiters: LocalWaiters::default(),
            key_timers: KeyTimers::default(),
            cache: Cache::new(memory_bytes, now),
            offers: KnownOffers::default(),
            shares: Shares::default(),
            next_deadline_check: None,
            drain: Drain::default(),
        }
    }

    /// Runs as long as its runtime: the shard holds a sender itself, so its channel is never closed.
    pub(super) async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Message>) {
        let mut timer = pin!(tokio::time::sleep_until(Instant::now()));
        loop {
            let next_event = self.next_event();
            // The timer is set again only after it has fired, or if it would fire too late. Setting it for each batch would
            // wake the runtime each time.
            if let Some(at) = next_event
                && (timer.is_elapsed() || timer.deadline() > at)
            {
                timer.as_mut().reset(at);
            }
            let first = tokio::select! {
                biased;
                message = inbox.recv() => message,
                () = timer.as_mut(), if next_event.is_some() => {
                    self.on_time();
                    self.proceed();
                    continue;
                }
            };
            let Some(first) = first else { return };
            self.on_message(first);
            while let Ok(message) = inbox.try_recv() {
                self.on_message(message);
            }
            self.on_time();
            self.proceed();
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Command(request) => self.admit(request),
            Message::HungUp(request_id) => self.on_hung_up(request_id),
            Message::Undelivered(grant) => self.on_undelivered(grant),
            Message::Loaded(done) => self.on_loaded(*done),
            Message::Committed(done) => self.on_committed(*done),
            Message::DecidedUnderLock(done) => self.on_decided_under_lock(*done),
            Message::Registered => self.in_flight.loads.on_registered(),
            Message::ServeQueue { id, permit } => {
                drop(permit);
                self.enqueue_internal(id, Command::ServeQueue);
            }
            Message::ServeAllQueues => self.serve_all_queues(),
            Message::WaiterCheck(check) => self.on_waiter_check(&check),
            Message::Evict { draining } => {
                if let Some(until_idle) = draining {
                    self.begin_draining(until_idle);
                }
                self.evict();
            }
        }
    }

    /// When [`Shard::on_time`] has something to do.
    fn next_event(&self) -> Option<Instant> {
        let events = [
            self.waiters.next_at(),
            self.key_timers.next_at(),
            self.in_flight.retries.next_at(),
            self.in_flight.guarded.busy.next_at(),
            self.intake.next_at(),
            self.next_deadline_check,
            self.cache.expires_at(),
            self.in_flight.commits.slow_at(self.waiting_commands()),
        ];
        events.into_iter().flatten().min()
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some(due) = self.waiters.pop_due(now) {
            self.on_deadline(&due);
        }
        while let Some(id) = self.key_timers.pop_due(now) {
            self.enqueue_internal(id, Command::ServeQueue);
        }
        self.in_flight.retry_due(now);
        while let Some(due) = self.in_flight.guarded.busy.pop_due(now) {
            self.on_guard_due(due);
        }
        while let Some(request) = self.intake.pop_due(now) {
            self.enqueue(request);
        }
        self.intake.admit_due(now);
        if self.next_deadline_check.is_some_and(|at| at <= now) {
            self.answer_overdue(now);
        }
        if self.cache.expire(now) {
            self.in_flight.blocked.forget_old(now);
            self.offers.forget_old(now);
        }
    }

    /// Starts the commits and the load that can be started.
    fn proceed(&mut self) {
        while self.in_flight.commits.may_send(self.waiting_commands()) && self.send_next_batch() {}
        self.try_blocked();
        self.commit_guarded();
        self.send_next_loads();
        self.schedule_deadline_check();
        if self.intake.is_empty() && self.waiters.is_empty() && self.in_flight.is_idle() {
            self.drain.note_idle();
        }
    }

    /// Queues a command for the next batch.
    fn enqueue(&mut self, request: PendingRequest) {
        let (waiters, cache) = (&self.waiters, &self.cache);
        self.intake.push(request, |id| waiters.has_key(id) || cache.has_queue(id));
    }

    /// Queues a command of the engine's own for the next batch.
    fn enqueue_internal(&mut self, id: KeyId, command: Command) {
        self.enqueue(PendingRequest::internal(id, command, Instant::now()));
    }

    /// Notes that the task of a key is finished. The next commands of the key can be carried out.
    fn free(&mut self, id: &KeyId) {
        let (waiters, cache) = (&self.waiters, &self.cache);
        self.intake.free(id, |id| waiters.has_key(id) || cache.has_queue(id));
    }
}
