//! Forming batches: gather what is queued, decide it, and hand it to the database.

use std::{collections::hash_map::Entry, sync::Arc};

use tokio::time::Instant;

use rustc_hash::FxHashMap;

use super::{
    super::{
        chance,
        envelope::{Envelope, Message},
        vital::spawn_vital,
        work::{Outcome, Work},
    },
    CommitDone, Shard,
};
use crate::{
    domain::{Context, Effects, KeyState, Stamp, Verdict, Working},
    store::Write,
};

/// The most commands of a batch: enough to make a commit cheap for each, few enough to keep it short.
const MOST_COMMANDS: usize = 256;

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
    GuessedAbsent,
}

/// A work that is decided and has to be written.
#[derive(Debug)]
pub(in super::super) struct Decided {
    pub(in super::super) work: Work,
    pub(in super::super) verdicts: Vec<Verdict>,
    pub(in super::super) basis: Basis,
    prev: Option<Stamp>,
    working: Box<Working>,
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
    pub(in super::super) work: Work,
    pub(in super::super) verdicts: Vec<Verdict>,
    pub(in super::super) basis: Basis,
}

impl Batch {
    /// The second half, taken off.
    pub(in super::super) fn split(&mut self) -> Self {
        let middle = self.writes.len() / 2;
        Self { writes: self.writes.split_off(middle), sides: self.sides.split_off(middle) }
    }
}

impl Shard {
    /// Takes all that is queued, decides it, and starts the commit of what has to be written.
    pub(super) fn next_batch(&mut self) -> bool {
        if let Some(half) = self.halves.pop_front() {
            self.start_commit(half);
            return true;
        }
        if !self.urgent.is_empty() || !self.acquires.is_empty() {
            self.admit_latecomers();
        }
        let works = self.gather();
        if !works.is_empty() {
            let now = self.shared.clock.now(Instant::now());
            let surroundings = self.shared.surroundings();
            let ctx = now.map(|now| surroundings.context(now));
            for work in works {
                self.decide_at_once(work, ctx.as_ref());
            }
        }
        let most = self.decided.len().min(MOST_COMMANDS);
        if most == 0 {
            return false;
        }
        // One order for all writers: sorted writes do not deadlock.
        self.decided[..most].sort_unstable_by(|a, b| a.work.id.cmp(&b.work.id));
        let decided = self.decided.drain(..most);
        let (writes, sides) = decided
            .map(|Decided { work, verdicts, basis, prev, working }| {
                (Write { prev, stamp: chance::stamp(), working }, Side { work, verdicts, basis })
            })
            .unzip();
        self.start_commit(Batch { writes, sides });
        true
    }

    /// Groups queued commands by key, heartbeats and releases first. The keys are busy from now on.
    fn gather(&mut self) -> Vec<Work> {
        let mut works: Vec<Work> = Vec::new();
        let mut places: FxHashMap<_, usize> = FxHashMap::default();
        let (mut commands, mut bytes) = (self.decided.len(), 0);
        while commands < MOST_COMMANDS && bytes < MOST_BYTES {
            let envelope = if let Some(envelope) = self.urgent.pop_front() {
                envelope
            } else if let Some(envelope) = self.acquires.pop_front() {
                if envelope.is_moot() {
                    continue;
                }
                envelope
            } else {
                break;
            };
            if let Some(&place) = places.get(&envelope.id) {
                let work: &mut Work = &mut works[place];
                bytes += weight(&envelope);
                work.envelopes.push(envelope);
            } else {
                match self.parked.entry(envelope.id.clone()) {
                    Entry::Occupied(mut parked) => {
                        parked.get_mut().push(envelope);
                        continue;
                    }
                    Entry::Vacant(vacant) => vacant.insert(Vec::new()),
                };
                places.insert(envelope.id.clone(), works.len());
                bytes += weight(&envelope);
                works.push(Work::new(envelope));
            }
            commands += 1;
        }
        for work in &works {
            self.to_settle.remove(&work.id);
        }
        works
    }

    /// Decides a work on what is remembered, or on the guess that there is no row; else has it loaded.
    fn decide_at_once(&mut self, work: Work, ctx: Option<&Context<'_>>) {
        let remembered = self.memory.take(&work.id);
        let Some(ctx) = ctx.filter(|_| !work.only_looks()) else {
            self.to_load.push(work);
            return;
        };
        let (state, basis) = match remembered {
            Some(state) if self.foresight.trust_memory() => (state, Basis::Remembered),
            None if self.foresight.guess_absent() => (KeyState::absent(), Basis::GuessedAbsent),
            Some(_) | None => {
                self.to_load.push(work);
                return;
            }
        };
        self.decide(work, state, basis, ctx);
    }

    /// Decides a work and puts it where it belongs next.
    pub(super) fn decide(&mut self, mut work: Work, state: KeyState, basis: Basis, ctx: &Context<'_>) {
        match work.decide(state, basis == Basis::Loaded, ctx) {
            Outcome::Write { prev, working, verdicts } => {
                self.decided.push(Decided { work, verdicts, basis, prev, working });
            }
            Outcome::Answered { state, verdicts } => {
                self.finish(work, verdicts, Effects::default(), *state, 0);
            }
            Outcome::Load => self.to_load.push(work),
            Outcome::Join => self.wait_for_membership(work),
        }
    }

    /// Commands that come before whatever was parked.
    pub(super) fn park_first(&mut self, rest: Vec<Envelope>) {
        let Some(first) = rest.first() else { return };
        let parked = self.parked.entry(first.id.clone()).or_default();
        parked.splice(0..0, rest);
    }

    fn wait_for_membership(&mut self, work: Work) {
        self.to_join.push(work);
        self.shared.membership.want();
    }

    /// Sends a batch. What it came from stays here, where patience can end.
    fn start_commit(&mut self, batch: Batch) {
        let Batch { writes, sides } = batch;
        self.last_batch = sides.iter().map(|side| side.work.envelopes.len()).sum();
        self.shared.metrics.batch(writes.len());
        let number = self.next_commit;
        self.next_commit += 1;
        self.commits.insert(number, sides);
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        spawn_vital(async move {
            let sent = Instant::now();
            let writes = Arc::new(writes);
            let result = shared.store.commit(Arc::clone(&writes)).await;
            // Whoever wrote has let go of them, unless the time was up before.
            let writes = Arc::unwrap_or_clone(writes);
            let done = CommitDone { number, writes, result, sent, received: Instant::now() };
            // The shard is gone only when the process ends.
            let _ = outbox.send(Message::Committed(Box::new(done)));
        });
    }
}

/// About how many bytes a command adds to a batch.
fn weight(envelope: &Envelope) -> usize {
    use crate::domain::{Command, DataEdit};
    let data = match &envelope.command {
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
