//! A replica: what an engine is to the rules, in simulated time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::database::Want;
use crate::domain::{
    Acquire, Body, Command, Context, Decided, Earlier, Effects, Key, KeyId, KeyState, Need, Nonce, Now,
    ReplicaId, Reply, Stamp, Tenant, Token, Verdict, Version, Working,
};

/// A write whose fate is unknown, and what it would have answered.
pub(super) struct Attempt {
    pub(super) prev: Option<Stamp>,
    pub(super) stamp: Stamp,
    pub(super) verdicts: Vec<Verdict>,
    pub(super) effects: Effects,
}

/// The commands that are under way.
pub(super) struct Work {
    pub(super) commands: Vec<Command>,
    pub(super) attempts: Vec<Attempt>,
    pub(super) need: Option<Need>,
}

/// A decided change on its way to the database.
pub(super) struct Flight {
    pub(super) work: Work,
    pub(super) statement: Statement,
    pub(super) verdicts: Vec<Verdict>,
}

/// What the database is sent, and what the ledger has to know of it.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) prev: Option<Stamp>,
    pub(super) stamp: Stamp,
    pub(super) working: Box<Working>,
    /// Grants that its commands end by name.
    pub(super) closing: BTreeSet<Version>,
    /// Those among them that nobody but a clean-up ends.
    pub(super) given_back: BTreeSet<Version>,
    /// What it answers those who asked.
    pub(super) replies: Vec<Reply>,
    /// Replicas that were suspect when it was decided, or became so.
    pub(super) suspects: BTreeSet<ReplicaId>,
    /// The last token after each of its commands, and how many might hold then.
    pub(super) sizes: Vec<(Token, usize)>,
}

/// One acquire that waits here.
#[derive(Debug, Clone)]
pub(super) struct Local {
    pub(super) version: Version,
    pub(super) since: i64,
}

pub(super) enum Outcome {
    Write(Box<Flight>),
    Answered { state: Box<KeyState>, verdicts: Vec<Verdict>, work: Work },
    Load(Work),
}

/// A process of the service.
pub(super) struct Replica {
    pub(super) id: ReplicaId,
    /// Which of its lives: events for an earlier one are void.
    pub(super) life: u64,
    pub(super) alive: bool,
    pub(super) paused_until: i64,
    pub(super) memory: Option<KeyState>,
    pub(super) inbox: VecDeque<Command>,
    pub(super) loading: Option<Work>,
    pub(super) flight: Option<Flight>,
    pub(super) waiters: BTreeMap<i64, Local>,
    pub(super) dead: BTreeSet<ReplicaId>,
    pub(super) suspects: BTreeSet<ReplicaId>,
    pub(super) timer: Option<i64>,
}

impl Replica {
    pub(super) fn new(id: ReplicaId) -> Self {
        Self {
            id,
            life: 0,
            alive: true,
            paused_until: 0,
            memory: None,
            inbox: VecDeque::new(),
            loading: None,
            flight: None,
            waiters: BTreeMap::new(),
            dead: BTreeSet::new(),
            suspects: BTreeSet::new(),
            timer: None,
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.loading.is_some() || self.flight.is_some()
    }

    /// Decides a work as the engine does.
    pub(super) fn decide(
        &mut self,
        mut work: Work,
        state: KeyState,
        fresh: bool,
        now: Now,
        stamp: Stamp,
    ) -> Outcome {
        let ctx = Context {
            now,
            me: Some(self.id),
            is_leaving: false,
            dead: &self.dead,
            suspects: &self.suspects,
            max_waiters_per_key: 100,
            full: None,
        };
        let prev = state.stamp;
        let mut working = Working::new(key(), state);
        let mut verdicts = Vec::new();
        let (mut rest, mut sizes) = (Vec::new(), Vec::new());
        for index in 0..work.commands.len() {
            let decided = work.decide_one(&mut working, index, prev, &ctx);
            sizes.push((working.state.token, places(&working.state.body)));
            match decided {
                Ok(verdict) => verdicts.push(verdict),
                Err(Need::NextBatch) => {
                    rest = work.commands.split_off(index);
                    break;
                }
                Err(need) => {
                    assert!(need != Need::Membership, "this replica is a member");
                    assert!(!fresh || work.need != Some(need), "asked again for what was loaded: {need:?}");
                    work.need = Some(need);
                    return Outcome::Load(work);
                }
            }
        }
        for command in rest.into_iter().rev() {
            self.inbox.push_front(command);
        }
        // A write of unknown fate may still be applied, unless the row is another by then.
        working.dirty |= fresh && work.attempts.iter().any(|attempt| attempt.prev == prev);
        if working.dirty {
            let of_verdicts = verdicts.iter().filter_map(|verdict| match verdict {
                Verdict::Reply(reply) => Some(reply.clone()),
                Verdict::Waiting { .. } | Verdict::Unknown => None,
            });
            let of_effects = working.effects.answered.iter().map(|(_, reply)| reply.clone());
            let replies = of_verdicts.chain(of_effects).collect();
            let closing = work.closing();
            let suspects = &self.suspects | &working.effects.suspects;
            let (given_back, working) = (work.given_back(), Box::new(working));
            let statement = Statement { prev, stamp, working, closing, given_back, replies, suspects, sizes };
            Outcome::Write(Box::new(Flight { work, statement, verdicts }))
        } else if fresh {
            assert!(!working.has_children(), "what writes a child writes the row");
            Outcome::Answered { state: Box::new(working.state), verdicts, work }
        } else {
            Outcome::Load(work)
        }
    }

    /// Remembers a state, as much of it as is remembered.
    pub(super) fn remember(&mut self, mut state: KeyState, longest: usize) {
        if let Body::Semaphore(semaphore) = &mut state.body {
            if semaphore.permits.slots > semaphore.max_size {
                return;
            }
            semaphore.permits.trim(longest);
        }
        state.queue.trim(longest);
        self.memory = Some(state);
    }
}

impl Work {
    pub(super) fn new(commands: Vec<Command>) -> Self {
        Self { commands, attempts: Vec::new(), need: None }
    }

    /// Decides one of the commands as the engine does.
    fn decide_one(
        &self,
        working: &mut Working,
        index: usize,
        row: Option<Stamp>,
        ctx: &Context<'_>,
    ) -> Decided {
        let mut overwritten = self.attempts.iter().rev().filter(|attempt| attempt.prev != row);
        let earlier = overwritten.find_map(|attempt| {
            let verdict = attempt.verdicts.get(index)?;
            Some(Earlier { verdict, released: &attempt.effects.released })
        });
        match earlier {
            Some(earlier) => working.decide_again(&self.commands[index], earlier, ctx),
            None => working.decide(&self.commands[index], ctx),
        }
    }

    /// What has to be loaded; `bound` is what is loaded unless more is asked for.
    pub(super) fn want(&self, bound: usize) -> Want {
        let more = bound + self.commands.len();
        let mut want = Want { heads: more, permits: more, ..Want::default() };
        for command in &self.commands {
            want.versions.extend(command.named_version());
            match command {
                Command::Bury { replica } => want.waiters_of = Some(*replica),
                Command::Get(_) | Command::PutSemaphore { .. } | Command::DeleteSemaphore => want.busy = true,
                _ => {}
            }
        }
        match self.need {
            Some(Need::Version(version)) => want.versions.push(version),
            Some(Need::Heads(heads)) => want.heads = want.heads.max(heads),
            Some(Need::Permits(permits)) => want.permits = want.permits.max(permits) * 2,
            Some(Need::Membership | Need::NextBatch) | None => {}
        }
        want
    }

    /// The fate of these commands is unknown from now on.
    pub(super) fn mark_retried(&mut self) {
        for command in &mut self.commands {
            if let Command::Acquire(Acquire { retried, .. }) = command {
                *retried = true;
            }
        }
    }

    /// The grants that only clean-ups among these commands may end by name.
    fn given_back(&self) -> BTreeSet<Version> {
        let (mut given_back, mut ended) = (BTreeSet::new(), BTreeSet::new());
        for command in &self.commands {
            match command {
                Command::GiveBack { version, .. } => drop(given_back.insert(*version)),
                Command::Release(release) => drop(ended.insert(release.version)),
                Command::DeleteLock { version } => ended.extend(*version),
                _ => {}
            }
        }
        &given_back - &ended
    }

    /// The grants that these commands may end by name.
    pub(super) fn closing(&self) -> BTreeSet<Version> {
        let mut closing = BTreeSet::new();
        for command in &self.commands {
            match command {
                Command::Release(release) => drop(closing.insert(release.version)),
                Command::GiveBack { version, .. } => drop(closing.insert(*version)),
                Command::DeleteLock { version } => closing.extend(*version),
                _ => {}
            }
        }
        closing
    }
}

/// How many may hold at a time.
fn places(body: &Body) -> usize {
    match body {
        Body::Semaphore(semaphore) => usize::try_from(semaphore.max_size).unwrap(),
        Body::Absent | Body::Mutex(_) => 1,
    }
}

pub(super) fn key() -> KeyId {
    KeyId { tenant: Tenant::new("t").unwrap(), key: Key::new("k").unwrap() }
}

pub(super) fn nonce(request: i64) -> Nonce {
    Nonce(request)
}
