//! Forming batches: gather what is queued, decide it, and hand it to the database.

use std::{collections::hash_map::Entry, sync::Arc};

use tokio::time::Instant;

use rustc_hash::FxHashMap;

use super::{
    super::{
        key_task::{KeyTask, Outcome},
        pending_request::{Message, PendingRequest},
        tasks::spawn_critical,
    },
    CommitDone, Shard,
    blocked::{Sending, send},
};
use crate::{
    domain::{Context, Effects, KeyChange, KeyId, KeyState, RowVersion, Verdict},
    store::Write,
};

/// The most commands of a batch: enough to make a commit cheap for each, few enough to keep it short.
const MOST_COMMANDS: usize = 256;

/// The most waiters that leave their queues with a batch, beside its other commands: a queue of thousands is gone soon, and no
/// batch takes long over it.
const MOST_LEAVES: usize = 512;

/// The most bytes of data of a batch; `max_allowed_packet` is 16 MiB at the least on the servers supported.
const MOST_BYTES: usize = 2 << 20;

/// On what a write was decided: tells whether its fate says something about memory or guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Basis {
    /// A state that was just loaded.
    Loaded,
    /// A remembered state.
    Remembered,
    /// The guess that there is no row.
    AssumedAbsent,
}

/// A work that is decided and has to be written.
#[derive(Debug)]
pub(in super::super) struct Decided {
    pub(in super::super) key_task: KeyTask,
    pub(in super::super) verdicts: Vec<Verdict>,
    pub(in super::super) basis: Basis,
    pub(super) prev: Option<RowVersion>,
    pub(super) change: Box<KeyChange>,
}

/// Writes that go to the database in one commit, and what they came from, in the same order.
#[derive(Debug)]
pub(in super::super) struct Batch {
    pub(in super::super) writes: Vec<Write>,
    pub(in super::super) sides: Vec<Side>,
}

/// What a write came from.
#[derive(Debug)]
pub(in super::super) struct Side {
    pub(in super::super) key_task: KeyTask,
    pub(in super::super) verdicts: Vec<Verdict>,
    pub(in super::super) basis: Basis,
}

#[cfg(test)]
impl Side {
    /// Answers what is not durable yet: a bug that tests plant.
    fn answer_at_once(&mut self) {
        for (request, verdict) in self.key_task.requests.iter_mut().zip(&self.verdicts) {
            if let Verdict::Reply(reply) = verdict
                && let Some(sender) = request.reply.take()
            {
                let _ = sender.send(Ok(reply.clone().into()));
            }
        }
    }
}

impl Batch {
    /// The second half, taken off.
    pub(in super::super) fn split(&mut self) -> Self {
        let middle = self.writes.len() / 2;
        Self { writes: self.writes.split_off(middle), sides: self.sides.split_off(middle) }
    }
}

/// Works that are being gathered for a batch.
#[derive(Debug, Default)]
struct Gathered {
    key_tasks: Vec<KeyTask>,
    /// Where in `works` a key is.
    places: FxHashMap<KeyId, usize>,
    commands: usize,
    bytes: usize,
}

impl Gathered {
    fn has_room(&self) -> bool {
        self.commands < MOST_COMMANDS && self.bytes < MOST_BYTES
    }

    /// Adds a command, and counts it; one for a key that was busy before is parked.
    fn add(&mut self, request: PendingRequest, parked: &mut FxHashMap<KeyId, Vec<PendingRequest>>) {
        let bytes = weight(&request);
        if self.put(request, parked) {
            self.commands += 1;
            self.bytes += bytes;
        }
    }

    /// Adds a command to the work of its key. Returns whether it was added and not parked.
    fn put(&mut self, request: PendingRequest, parked: &mut FxHashMap<KeyId, Vec<PendingRequest>>) -> bool {
        if let Some(&place) = self.places.get(&request.id) {
            self.key_tasks[place].requests.push(request);
            return true;
        }
        match parked.entry(request.id.clone()) {
            Entry::Occupied(mut parked) => {
                parked.get_mut().push(request);
                return false;
            }
            Entry::Vacant(vacant) => vacant.insert(Vec::new()),
        };
        self.places.insert(request.id.clone(), self.key_tasks.len());
        self.key_tasks.push(KeyTask::new(request));
        true
    }
}

impl Shard {
    /// Takes all that is queued, decides it, and starts the commit of what has to be written.
    pub(super) fn next_batch(&mut self) -> bool {
        if let Some(half) = self.halves.pop_front() {
            self.start_commit(half);
            return true;
        }
        if !self.urgent.is_empty() || !self.acquires.is_empty() || self.leaves.is_ready() {
            self.admit_deferred_acquires();
        }
        let key_tasks = self.gather();
        if !key_tasks.is_empty() {
            let now = self.shared.clock.now(Instant::now());
            let surroundings = self.shared.surroundings();
            for key_task in key_tasks {
                let tenant = key_task.id.tenant.clone();
                let ctx = now.map(|now| surroundings.context(now, &tenant));
                self.decide_at_once(key_task, ctx.as_ref());
            }
        }
        let most = self.decided.len().min(MOST_COMMANDS);
        if most == 0 {
            return false;
        }
        // One order for all writers: sorted writes do not deadlock.
        self.decided[..most].sort_unstable_by(|a, b| a.key_task.id.cmp(&b.key_task.id));
        let batch = Batch::of(self.decided.drain(..most));
        self.start_commit(batch);
        true
    }

    /// Groups queued commands by key: heartbeats and releases first, then those who leave queues, then acquires. The keys are
    /// busy from now on.
    fn gather(&mut self) -> Vec<KeyTask> {
        let mut gathered = Gathered { commands: self.decided.len(), ..Gathered::default() };
        while gathered.has_room()
            && let Some(request) = self.urgent.pop_front()
        {
            gathered.add(request, &mut self.parked);
        }
        self.gather_leaves(&mut gathered);
        while gathered.has_room()
            && let Some(request) = self.acquires.pop_front()
        {
            if !request.is_abandoned() {
                gathered.add(request, &mut self.parked);
            }
        }
        for key_task in &gathered.key_tasks {
            self.to_serve.remove(&key_task.id);
        }
        gathered.key_tasks
    }

    fn gather_leaves(&mut self, gathered: &mut Gathered) {
        let mut room = MOST_LEAVES;
        while room > 0 {
            let (parked, places) = (&self.parked, &gathered.places);
            let is_busy = |id: &KeyId| parked.contains_key(id) && !places.contains_key(id);
            let Some((_, leaves)) = self.leaves.next_key(room, is_busy) else { return };
            room -= leaves.len();
            for request in leaves {
                gathered.put(request, &mut self.parked);
            }
        }
    }

    /// Decides a work on what is remembered, or on the guess that there is no row; else has it loaded.
    fn decide_at_once(&mut self, key_task: KeyTask, ctx: Option<&Context<'_>>) {
        let remembered = self.memory.take(&key_task.id);
        let Some(ctx) = ctx.filter(|_| !key_task.is_read_only()) else {
            self.to_load.push(key_task);
            return;
        };
        let (state, basis) = match remembered {
            Some(state) if self.speculation.trust_memory() => (state, Basis::Remembered),
            None if self.speculation.assume_absent() => (KeyState::absent(), Basis::AssumedAbsent),
            Some(_) | None => {
                self.to_load.push(key_task);
                return;
            }
        };
        self.decide(key_task, state, basis, ctx);
    }

    /// Decides a work and puts it where it belongs next.
    pub(super) fn decide(&mut self, mut key_task: KeyTask, state: KeyState, basis: Basis, ctx: &Context<'_>) {
        match key_task.decide(state, basis == Basis::Loaded, ctx) {
            Outcome::Write { prev, change, verdicts } => {
                let decided = Decided { key_task, verdicts, basis, prev, change };
                if self.blocked.contains(&decided.key_task.id) {
                    self.blocked.push(decided);
                } else {
                    self.decided.push(decided);
                }
            }
            Outcome::Answered { state, verdicts } => {
                self.finish(key_task, verdicts, Effects::default(), *state, 0);
            }
            Outcome::Load => self.to_load.push(key_task),
            Outcome::Join => self.wait_for_membership(key_task),
        }
    }

    /// Commands that come before whatever was parked.
    pub(super) fn park_first(&mut self, rest: Vec<PendingRequest>) {
        let Some(first) = rest.first() else { return };
        let parked = self.parked.entry(first.id.clone()).or_default();
        parked.splice(0..0, rest);
    }

    fn wait_for_membership(&mut self, key_task: KeyTask) {
        self.to_join.push(key_task);
        self.shared.membership.want();
    }

    /// Sends a batch. What it came from stays here, where patience can end.
    fn start_commit(&mut self, batch: Batch) {
        #[cfg(test)]
        let mut batch = batch;
        #[cfg(test)]
        if planted!(AnsweredBeforeDurable) {
            batch.sides.iter_mut().for_each(Side::answer_at_once);
        }
        let Batch { writes, sides } = batch;
        self.last_batch = sides.iter().map(|side| side.key_task.requests.len()).sum();
        self.last_sent = Instant::now();
        let sending = if self.blocked.is_careful(self.last_sent) { Sending::Checked } else { Sending::Plain };
        let number = self.send_commit(writes, sending);
        self.commits.insert(number, sides);
    }

    /// Sends writes, and answers the number of their commit.
    pub(super) fn send_commit(&mut self, writes: Vec<Write>, sending: Sending) -> u64 {
        self.shared.metrics.batch(writes.len());
        let number = self.next_commit;
        self.next_commit += 1;
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        spawn_critical(async move {
            // It is never closed. `None` where nobody has to be waited for.
            let _permit = match sending {
                Sending::Blocked => shared.blocked_commits.acquire().await.ok(),
                Sending::Plain | Sending::Checked => None,
            };
            let sent = Instant::now();
            let writes = Arc::new(writes);
            let (result, blocked) = send(&shared, &writes, sending).await;
            // Whoever wrote has let go of them, unless the time was up before.
            let writes = Arc::unwrap_or_clone(writes);
            let done = CommitDone { number, writes, result, blocked, sent, received: Instant::now() };
            // The shard is gone only when the process ends.
            let _ = outbox.send(Message::Committed(Box::new(done)));
        });
        number
    }
}

/// About how many bytes a command adds to a batch.
fn weight(request: &PendingRequest) -> usize {
    use crate::domain::{Command, DataEdit};
    let data = match &request.command {
        Command::Acquire(acquire) => acquire.data.as_ref(),
        Command::PutLock { data } => data.as_ref(),
        Command::Heartbeat(heartbeat) => match &heartbeat.data {
            DataEdit::Set(data) => Some(data),
            DataEdit::Keep | DataEdit::Delete => None,
        },
        Command::Release(release) => match &release.data {
            DataEdit::Set(data) => Some(data),
            DataEdit::Keep | DataEdit::Delete => None,
        },
        _ => None,
    };
    512 + data.map_or(0, |data| data.as_str().len())
}
