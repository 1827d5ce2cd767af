//! Forming batches: gather what is queued, decide it, and hand it to the database.

use std::{collections::hash_map::Entry, sync::Arc};

use tokio::time::Instant;

use rustc_hash::FxHashMap;

use super::{
    super::{
        chance,
        envelope::{Envelope, Message},
        work::{Attempt, Outcome, Work},
    },
    CommitDone, LoadDone, Shard, Task,
};
use crate::{
    domain::{Context, Effects, KeyState, Stamp, Verdict, Working},
    store::{StoreError, Want, Write},
};

/// The most commands of a batch: enough to make a commit cheap for each, few enough to keep it short.
const MOST_COMMANDS: usize = 256;

/// The most bytes of data of a batch; `max_allowed_packet` is 16 MiB at the least on the servers supported.
const MOST_BYTES: usize = 2 << 20;

/// The most works of a load.
const MOST_LOADED: usize = 256;

/// How long works that need membership are kept before those too old are answered.
const JOIN_CHECK: std::time::Duration = std::time::Duration::from_secs(1);

/// The pause before a decision under the database's lock is tried again.
const RETRY_LOCKED: std::time::Duration = std::time::Duration::from_millis(20);

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
        let decided = self.decided.drain(..most);
        if most == 0 {
            return false;
        }
        let mut pairs: Vec<_> = decided
            .map(|Decided { work, verdicts, basis, prev, working }| {
                (Write { prev, stamp: chance::stamp(), working: *working }, Side { work, verdicts, basis })
            })
            .collect();
        // One order for all writers: sorted upserts do not deadlock.
        pairs.sort_unstable_by(|(_, a), (_, b)| a.work.id.cmp(&b.work.id));
        let (writes, sides) = pairs.into_iter().unzip();
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
                if envelope.reply.as_ref().is_some_and(tokio::sync::oneshot::Sender::is_closed) {
                    // Its caller has gone before anything was written for it.
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
            Outcome::Write { prev, working, verdicts, rest } => {
                self.park_first(rest);
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
    fn park_first(&mut self, rest: Vec<Envelope>) {
        let Some(first) = rest.first() else { return };
        let parked = self.parked.entry(first.id.clone()).or_default();
        parked.splice(0..0, rest);
    }

    fn wait_for_membership(&mut self, work: Work) {
        if self.to_join.is_empty() {
            self.timers.set(Instant::now() + JOIN_CHECK, Task::CheckJoin);
        }
        self.to_join.push(work);
        self.shared.membership.want();
    }

    /// Answers those who waited too long for this replica to become known.
    pub(super) fn check_join(&mut self) {
        let now = Instant::now();
        for work in std::mem::take(&mut self.to_join) {
            if let Some(work) = self.expire(work, now) {
                self.wait_for_membership(work);
            }
        }
    }

    fn start_commit(&mut self, batch: Batch) {
        self.committing += 1;
        self.last_batch = batch.sides.iter().map(|side| side.work.envelopes.len()).sum();
        self.shared.metrics.batch(batch.writes.len());
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let sent = Instant::now();
            let Batch { writes, sides } = batch;
            let writes = Arc::new(writes);
            let result = shared.store.commit(Arc::clone(&writes)).await;
            // Whoever wrote has let go of them, unless the time was up before.
            let batch = Batch { writes: Arc::unwrap_or_clone(writes), sides };
            let done = CommitDone { batch, result, sent, received: Instant::now(), locked: false };
            // The shard is gone only when the process ends.
            let _ = outbox.send(Message::Committed(Box::new(done)));
        });
    }

    /// Starts the load of what waits for one.
    pub(super) fn next_load(&mut self) {
        self.loading = true;
        let works: Vec<_> = self.to_load.drain(..self.to_load.len().min(MOST_LOADED)).collect();
        let wants: Vec<Want> = works.iter().map(Work::want).collect();
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        tokio::spawn(async move {
            let sent = Instant::now();
            let result = shared.store.load(&wants).await;
            let done = LoadDone { works, result, sent, received: Instant::now() };
            let _ = outbox.send(Message::Loaded(Box::new(done)));
        });
    }

    /// Decides a work that lost too many races under the database's own lock.
    pub(super) fn commit_locked(&mut self, mut work: Work) {
        let (shared, outbox) = (self.shared.clone(), self.outbox.clone());
        let surroundings = self.shared.surroundings();
        tokio::spawn(async move {
            let sent = Instant::now();
            let mut decided = None;
            let wants = [work.want()];
            let mut decide = |states: Vec<KeyState>, told| {
                let now = shared.clock.reckon(told, sent, Instant::now());
                // Where an attempt was applied there is nothing to decide: the next load finds it.
                let state = states.into_iter().next().filter(|state| work.applied(state).is_none());
                let Some(state) = state else { return Vec::new() };
                match work.decide(state, true, &surroundings.context(now)) {
                    Outcome::Write { prev, working, verdicts, rest } => {
                        let write = Write { prev, stamp: chance::stamp(), working: *working };
                        decided = Some((verdicts, rest, write.stamp, write.working.state.token));
                        vec![write]
                    }
                    Outcome::Answered { .. } | Outcome::Load | Outcome::Join => Vec::new(),
                }
            };
            let result = shared.store.commit_locked(&wants, &mut decide).await;
            let received = Instant::now();
            if let Some((_, rest, ..)) = &mut decided {
                for envelope in std::mem::take(rest) {
                    let _ = outbox.send(Message::Command(envelope));
                }
            }
            let message = match (result, decided) {
                (Ok((writes, committed)), Some((verdicts, ..))) if !writes.is_empty() => {
                    let sides = vec![Side { work, verdicts, basis: Basis::Loaded }];
                    let batch = Batch { writes, sides };
                    let done = CommitDone { batch, result: Ok(committed), sent, received, locked: true };
                    Message::Committed(Box::new(done))
                }
                (Err(StoreError::Unknown(_)), Some((verdicts, _, stamp, token))) => {
                    work.mark_retried();
                    // Whom this write answered besides is found by the audit of waiters.
                    work.attempts.push(Attempt { stamp, token, verdicts, effects: Effects::default() });
                    Message::Reload(Box::new(work))
                }
                (Ok(_) | Err(_), _) => {
                    tokio::time::sleep(RETRY_LOCKED).await;
                    Message::Reload(Box::new(work))
                }
            };
            let _ = outbox.send(message);
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
