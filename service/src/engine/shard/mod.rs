//! A shard: one task that owns the commands, the memory and the waiters of its keys.
//!
//! Everything that happens to a key happens here, one after another, so nothing of a shard is shared or locked. While
//! one batch is being written, commands gather; the next batch takes all of them, each key once. Loads and commits run
//! in tasks of their own and come back as messages: a caller that goes away drops no statement half-way.
//!
//! A key is *busy* while a load or a commit for it is under way; commands that arrive meanwhile are parked, so that no
//! two decisions on a key overlap within a replica.

mod batch;
mod blocked;
mod deadlines;
mod handover;
mod leaves;
mod loading;
mod locked;
mod narrate;
mod offers;
mod outcome;
mod waiting;

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::{
    batch::{Batch, Side},
    blocked::Blocked,
    leaves::Leaves,
    loading::ToLoad,
    offers::KnownOffers,
    waiting::LocalWaiter,
};
pub(super) use self::{loading::LoadDone, locked::LockedDone, narrate::is_narrated, outcome::CommitDone};
use super::{
    Shared,
    key_task::KeyTask,
    memory::Memory,
    pending_request::{Message, PendingRequest},
    speculation::Speculation,
    timers::Timers,
};
use crate::domain::{Command, KeyId, KeyState, RequestId};

/// The most commits of a shard under way: while the database carries out one, the next lies ready, and what is left of the
/// time between is spent on answers.
const MOST_COMMITS: usize = 2;

/// One more may be under way while the database takes longer than this for those that are: they may wait for a row that
/// somebody else has locked.
const SLOW_COMMIT: Duration = Duration::from_millis(50);

/// How long acquires that can only stand in line wait for a batch to go with: longer than it takes the next holder to get
/// its grant and release it, and nothing beside the time that they are going to wait.
const DEFER_ACQUIRES_FOR: Duration = Duration::from_millis(5);

/// Who is ready to wait for less is not made to wait for a batch.
const SHORTEST_LATE_WAIT_MS: i64 = 100;

/// What a shard has set a timer for.
#[derive(Debug)]
enum TimerEvent {
    /// A waiter has waited as long as it wanted to.
    Deadline(RequestId, Instant),
    /// The lease on a key ends, or an offer lapses.
    Key(KeyId),
    /// A work is tried again.
    Retry(Box<KeyTask>),
    /// A command of the engine's own is due: what was refused is tried again.
    Later(Box<PendingRequest>),
    /// An undelivered grant was kept for a repeat long enough.
    Kept(Box<PendingRequest>),
    /// Somebody may have waited too long for an answer.
    Overdue,
    /// Acquires for keys that others wait for have waited long enough for a batch to go with.
    DeferredAcquires,
}

/// One shard.
pub(super) struct Shard {
    /// What all shards of a replica share.
    shared: Arc<Shared>,
    /// Commands and results.
    inbox: mpsc::UnboundedReceiver<Message>,
    /// The other end, for results.
    outbox: mpsc::UnboundedSender<Message>,
    /// Heartbeats, releases and other commands of clients that change what is held, waiting for the next batch.
    urgent: VecDeque<PendingRequest>,
    /// Waiters that want to leave their queues.
    leaves: Leaves,
    /// Acquires that wait for the next batch.
    acquires: VecDeque<PendingRequest>,
    /// Acquires that can only stand in line behind others who wait here. They go with the next batch, after `acquires`, and
    /// begin one of their own only after [`DEFER_ACQUIRES_FOR`]: so who has released and queues again does not keep the
    /// database busy when the next release comes, and a hand-over costs one commit.
    deferred_acquires: VecDeque<PendingRequest>,
    /// Keys that have deferred acquires, or had some that ran out of patience; empty when the deferred acquires are admitted.
    late_keys: FxHashSet<KeyId>,
    /// The timer of the deferred acquires, while there are some.
    deferred_acquires_timer: Option<u64>,
    /// Commands for keys that are busy.
    parked: FxHashMap<KeyId, Vec<PendingRequest>>,
    /// Keys that stand in line, or parked, for a look of the engine's own.
    to_serve: FxHashSet<KeyId>,
    /// Works that are decided on fresh states and wait for the next commit.
    decided: Vec<batch::Decided>,
    /// Works that wait for the next load.
    to_load: ToLoad,
    /// Works that wait until this replica is known to the others.
    to_join: Vec<KeyTask>,
    /// Batches to be written again, in halves, to find the one that the database refuses.
    halves: VecDeque<Batch>,
    /// Commits under way, by number. What arrives meanwhile shares the next.
    commits: FxHashMap<u64, Vec<Side>>,
    /// Keys whose rows somebody else keeps locked.
    blocked: Blocked,
    /// The number of the next commit.
    next_commit: u64,
    /// When the last batch was sent.
    last_sent: Instant,
    /// How many commands the batch had that was sent last.
    last_batch: usize,
    /// When the statement was sent whose outcome is being handled: what it decided was decided before.
    outcome_sent: Instant,
    /// Works that are being decided under the database's lock.
    locked: FxHashMap<KeyId, KeyTask>,
    /// The works of the load under way, if one is.
    loading: Option<Vec<KeyTask>>,
    /// Whether there is a timer for those who run out of patience.
    is_watched: bool,
    /// What it remembers.
    memory: Memory,
    /// Since when it knows of the offers in the queues of its keys.
    offers: KnownOffers,
    /// How far memory and guesses can be trusted.
    speculation: Speculation,
    /// Acquires of this replica that stand in queues, by request.
    waiters: FxHashMap<RequestId, LocalWaiter>,
    /// Requests that the last audit found in the database, and nobody here.
    orphans: FxHashSet<RequestId>,
    /// Keys that could not be read, and whose cause was logged.
    unreadable: FxHashSet<KeyId>,
    /// How many of them wait for a key.
    waited_for: FxHashMap<KeyId, usize>,
    /// What is due when.
    timers: Timers<TimerEvent>,
    /// The timer of each key that has one.
    key_timers: FxHashMap<KeyId, (Instant, u64)>,
    /// Whether the service stops.
    draining: bool,
    /// Kept while the service stops and there is something to do: whoever stops it waits for that.
    busy: Option<mpsc::Sender<Infallible>>,
}

impl Shard {
    /// A shard that is not running yet.
    pub(super) fn new(
        shared: Arc<Shared>,
        inbox: mpsc::UnboundedReceiver<Message>,
        outbox: mpsc::UnboundedSender<Message>,
        memory_bytes: usize,
    ) -> Self {
        Self {
            shared,
            inbox,
            outbox,
            urgent: VecDeque::new(),
            leaves: Leaves::default(),
            acquires: VecDeque::new(),
            deferred_acquires: VecDeque::new(),
            late_keys: FxHashSet::default(),
            deferred_acquires_timer: None,
            parked: FxHashMap::default(),
            to_serve: FxHashSet::default(),
            decided: Vec::new(),
            to_load: ToLoad::default(),
            to_join: Vec::new(),
            halves: VecDeque::new(),
            commits: FxHashMap::default(),
            blocked: Blocked::default(),
            next_commit: 0,
            outcome_sent: Instant::now(),
            last_sent: Instant::now(),
            locked: FxHashMap::default(),
            last_batch: 0,
            loading: None,
            is_watched: false,
            memory: Memory::new(memory_bytes, Instant::now()),
            offers: KnownOffers::default(),
            speculation: Speculation::default(),
            waiters: FxHashMap::default(),
            orphans: FxHashSet::default(),
            unreadable: FxHashSet::default(),
            waited_for: FxHashMap::default(),
            timers: Timers::default(),
            key_timers: FxHashMap::default(),
            draining: false,
            busy: None,
        }
    }

    /// Runs until nobody can send to it any more.
    pub(super) async fn run(mut self) {
        loop {
            let next_timer = self.timers.next_at().into_iter().chain(self.memory.turns_at());
            let next_timer = next_timer.chain(self.next_slow_commit()).min();
            let first = match next_timer {
                None => self.inbox.recv().await,
                Some(at) => tokio::select! {
                    biased;
                    message = self.inbox.recv() => message,
                    () = tokio::time::sleep_until(at) => {
                        self.on_time();
                        self.proceed();
                        continue;
                    }
                },
            };
            let Some(first) = first else { return };
            self.on_message(first);
            while let Ok(message) = self.inbox.try_recv() {
                self.on_message(message);
            }
            self.on_time();
            self.proceed();
        }
    }

    fn on_message(&mut self, message: Message) {
        match message {
            Message::Command(request) => self.enqueue(request),
            Message::HungUp(request_id) => self.on_hung_up(request_id),
            Message::Undelivered { id, version, chosen, request_id } => {
                self.on_undelivered(id, version, chosen, request_id);
            }
            Message::Loaded(done) => self.on_loaded(*done),
            Message::Committed(done) => self.on_committed(*done),
            Message::Locked(done) => self.on_locked(*done),
            Message::Joined => {
                for key_task in std::mem::take(&mut self.to_join) {
                    self.to_load.push(key_task);
                }
            }
            Message::Look { id, permit } => {
                drop(permit);
                self.enqueue_internal(id, Command::ServeQueue);
            }
            Message::LookAround => self.look_around(),
            Message::Audit(audit) => self.on_audit(&audit),
            Message::Evict { draining } => {
                if draining.is_some() {
                    self.busy = draining;
                    self.begin_draining();
                }
                self.evict();
            }
        }
    }

    /// Puts a command in line for the next batch. One look at a key that nobody took yet does for all who want one.
    fn enqueue(&mut self, request: PendingRequest) {
        if is_own_look(&request) && !self.to_serve.insert(request.id.clone()) {
            return;
        }
        self.put_in_line(request);
    }

    fn put_in_line(&mut self, request: PendingRequest) {
        if matches!(request.command, Command::Leave { .. }) {
            self.leaves.push(request);
        } else if let Some(parked) = self.parked.get_mut(&request.id) {
            parked.push(request);
        } else if request.command.is_urgent() {
            self.urgent.push_back(request);
        } else if self.comes_late(&request) {
            if self.deferred_acquires_timer.is_none() {
                let at = Instant::now() + DEFER_ACQUIRES_FOR;
                self.deferred_acquires_timer = Some(self.timers.set(at, TimerEvent::DeferredAcquires));
            }
            self.late_keys.insert(request.id.clone());
            self.deferred_acquires.push_back(request);
        } else {
            if self.late_keys.contains(&request.id) {
                // It does not overtake them.
                self.admit_deferred_acquires();
            }
            self.acquires.push_back(request);
        }
    }

    /// Whether a command can only stand in line: it is ready to wait, and others wait for the key, here or, as far as is
    /// remembered, at other replicas. There it keeps out of the way of those who are being handed the lock.
    fn comes_late(&self, request: &PendingRequest) -> bool {
        let waits = matches!(&request.command, Command::Acquire(acquire)
            if acquire.wait_ms.is_none_or(|wait_ms| wait_ms >= SHORTEST_LATE_WAIT_MS));
        // Nobody overtakes a deferred acquire of the same key, even if those whom it came after have gone meanwhile.
        waits
            && (self.waited_for.contains_key(&request.id)
                || self.memory.has_queue(&request.id)
                || self.late_keys.contains(&request.id))
    }

    /// The deferred acquires go with the batch that is being gathered, or begin one.
    fn admit_deferred_acquires(&mut self) {
        self.acquires.append(&mut self.deferred_acquires);
        self.late_keys.clear();
        if let Some(timer) = self.deferred_acquires_timer.take() {
            self.timers.stop(timer);
        }
    }

    /// Puts a command of the engine's own in line.
    fn enqueue_internal(&mut self, id: KeyId, command: Command) {
        self.enqueue(PendingRequest::internal(id, command, Instant::now()));
    }

    fn on_time(&mut self) {
        let now = Instant::now();
        while let Some(event) = self.timers.pop_due(now) {
            match event {
                TimerEvent::Deadline(request_id, deadline) => self.on_deadline(request_id, deadline),
                TimerEvent::Key(id) => {
                    self.key_timers.remove(&id);
                    self.enqueue_internal(id, Command::ServeQueue);
                }
                TimerEvent::Retry(key_task) => self.to_load.push(*key_task),
                TimerEvent::Later(request) | TimerEvent::Kept(request) => self.enqueue(*request),
                TimerEvent::Overdue => self.answer_overdue(),
                TimerEvent::DeferredAcquires => self.admit_deferred_acquires(),
            }
        }
        if self.memory.turns_at().is_some_and(|at| at <= now) {
            self.memory.turn(now);
            self.blocked.forget_old(now);
            self.offers.forget_old(now);
        }
    }

    /// Starts what can be started: a commit if none is under way, a load if none is.
    fn proceed(&mut self) {
        while self.may_commit() && self.next_batch() {}
        self.try_blocked();
        if self.loading.is_none() && !self.to_load.is_empty() {
            self.next_load();
        }
        self.watch_deadlines();
        if self.busy.is_some() && self.is_idle() {
            self.busy = None;
        }
    }

    /// Whether a batch may be sent: if none is under way, or if the database can have the next one ready at hand and
    /// enough has gathered to be worth a commit of its own. Behind commits that take long any command is worth it.
    fn may_commit(&self) -> bool {
        let under_way = self.commits.len();
        under_way == 0
            || (under_way < MOST_COMMITS && self.gathered() >= self.last_batch)
            || (under_way <= MOST_COMMITS && self.last_sent.elapsed() >= SLOW_COMMIT)
    }

    /// When the commits under way have taken so long that another one may be sent beside them; `None` where there is nothing to
    /// send.
    fn next_slow_commit(&self) -> Option<Instant> {
        let waits = (1..=MOST_COMMITS).contains(&self.commits.len()) && self.gathered() > 0;
        waits.then(|| self.last_sent + SLOW_COMMIT)
    }

    /// How much is waiting for a batch.
    fn gathered(&self) -> usize {
        let leaves = usize::from(self.leaves.is_ready());
        self.urgent.len() + leaves + self.acquires.len() + self.decided.len() + self.halves.len()
    }

    fn is_idle(&self) -> bool {
        self.commits.is_empty() && self.loading.is_none() && self.has_no_commands() && self.waiters.is_empty()
    }

    /// Whether no command is on its way: a key whose commands are is busy, and so among the parked.
    fn has_no_commands(&self) -> bool {
        self.urgent.is_empty()
            && self.leaves.is_empty()
            && self.acquires.is_empty()
            && self.deferred_acquires.is_empty()
            && self.parked.is_empty()
    }

    /// Sees to it that the key is looked at when time changes something for those who wait for it.
    fn set_key_timer(&mut self, id: &KeyId, state: &KeyState) {
        const SOONEST: Duration = Duration::from_millis(1);
        if (state.queue.len == 0 && !self.key_timers.contains_key(id)) || planted!(LostWakeUp) {
            return;
        }
        let now = Instant::now();
        let at = match self.shared.clock.now(now) {
            Some(time) => {
                let event = state.next_event(time, &self.shared.membership.suspects());
                event.and_then(|event| self.shared.clock.instant_of(event))
            }
            // What time it is has to be asked for first.
            None => (state.queue.len > 0).then_some(now),
        };
        let at = at.map(|at| at.max(now + SOONEST));
        match (at, self.key_timers.get(id)) {
            (Some(at), Some((set, _))) if at == *set => return,
            (_, Some((_, number))) => self.timers.stop(*number),
            (None, None) => return,
            (Some(_), None) => {}
        }
        match at {
            Some(at) => {
                let number = self.timers.set(at, TimerEvent::Key(id.clone()));
                self.key_timers.insert(id.clone(), (at, number));
            }
            None => {
                self.key_timers.remove(id);
            }
        }
    }

    /// The key is no longer busy: what was parked can go on, in the order in which it came. (It may have been parked in
    /// another one: what a batch had no room for comes behind what arrived while that was written.)
    fn unpark(&mut self, id: &KeyId) {
        let mut parked = self.parked.remove(id).unwrap_or_default();
        parked.sort_by_key(|request| request.arrived);
        for request in parked {
            self.put_in_line(request);
        }
        self.leaves.note_free(id);
    }
}

/// Whether a command is the engine's own wish to have a key looked at.
fn is_own_look(request: &PendingRequest) -> bool {
    request.reply.is_none() && matches!(request.command, Command::ServeQueue)
}
