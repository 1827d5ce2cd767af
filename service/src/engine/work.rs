//! One key's share of a batch: the commands for it, and how far they got.

use std::{collections::BTreeSet, sync::Arc};

use super::{envelope::Envelope, shard::is_narrated};
use crate::{
    domain::{
        Command, Context, Decided, Earlier, KeyId, KeyState, Kind, Need, Now, ReplicaId, Stamp, Tenant,
        Token, Verdict, Version, WaiterLimit, Working,
    },
    store::{Want, Write},
};

/// A write whose fate is not known: the statement was sent, and the answer never came.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The stamp of the row that it was decided on: while the row bears that, it was not applied yet.
    pub(super) prev: Option<Stamp>,
    /// The stamp that the row bears if the write was applied.
    pub(super) stamp: Stamp,
    /// The token that the row bears then, unless the store raised it.
    pub(super) token: Token,
    /// What was decided, an entry an envelope; commands behind those it left undecided.
    pub(super) verdicts: Vec<Verdict>,
    /// Whom the write answered besides.
    pub(super) effects: crate::domain::Effects,
}

impl Attempt {
    /// A write that was sent with these verdicts.
    pub(super) fn of(write: Write, verdicts: Vec<Verdict>) -> Self {
        let Write { prev, stamp, working } = write;
        Self { prev, stamp, token: working.state.token, verdicts, effects: working.effects }
    }
}

/// The commands for one key that are decided together and written once.
#[derive(Debug)]
pub(super) struct Work {
    /// The key.
    pub(super) id: KeyId,
    /// The commands, in the order in which they are decided. None goes while a write of them is on its way or may have
    /// been applied: verdicts are matched with them by their place.
    pub(super) envelopes: Vec<Envelope>,
    /// Races lost so far; from the third on the key is decided under the database's lock.
    pub(super) races_lost: u8,
    /// How often a batch with these commands could not have a row in time, and none was found locked.
    pub(super) unexplained: u8,
    /// Writes of these commands that may have been applied.
    pub(super) attempts: Vec<Attempt>,
    /// What decisions were missing.
    needs: Needs,
}

/// What the decisions of a work were missing, all taken together: if the next load brought one and left another out again,
/// there would be no end to it.
#[derive(Debug, Clone, Default)]
struct Needs {
    versions: Vec<Version>,
    heads: usize,
    /// None while no decision asked for permits.
    permits: Option<usize>,
}

impl Needs {
    fn add(&mut self, need: Need) {
        match need {
            Need::Version(version) => self.versions.push(version),
            Need::Heads(heads) => self.heads = self.heads.max(heads),
            Need::Permits(permits) => self.permits = self.permits.max(Some(permits)),
            Need::Membership | Need::NextBatch => {}
        }
    }
}

/// What the rules are told, owned: a decision under the database's lock is taken in a task of its own.
#[derive(Debug, Clone)]
pub(super) struct Surroundings {
    pub(super) me: Option<ReplicaId>,
    pub(super) is_leaving: bool,
    pub(super) dead: Arc<BTreeSet<ReplicaId>>,
    pub(super) suspects: Arc<BTreeSet<ReplicaId>>,
    pub(super) max_waiters_per_key: i64,
    /// Whether as many wait at this replica as may.
    pub(super) is_full: bool,
    /// Tenants of which as many wait as may.
    pub(super) full_tenants: Arc<BTreeSet<Tenant>>,
}

impl Surroundings {
    /// What the rules are told for a key of this tenant.
    pub(super) fn context<'c>(&'c self, now: Now, tenant: &Tenant) -> Context<'c> {
        let full = if self.is_full {
            Some(WaiterLimit::Replica)
        } else {
            self.full_tenants.contains(tenant).then_some(WaiterLimit::Tenant)
        };
        Context {
            now,
            me: self.me,
            is_leaving: self.is_leaving,
            dead: &self.dead,
            suspects: &self.suspects,
            max_waiters_per_key: self.max_waiters_per_key,
            full,
        }
    }
}

/// What deciding a work came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Something has to be written; the verdicts hold once it is. Commands behind those have to be decided afterwards.
    Write { prev: Option<Stamp>, working: Box<Working>, verdicts: Vec<Verdict> },
    /// Nothing has to be written, and the state was fresh: the verdicts hold.
    Answered { state: Box<KeyState>, verdicts: Vec<Verdict> },
    /// The state has to be loaded (again).
    Load,
    /// This replica has to be known to the others first.
    Join,
}

impl Work {
    pub(super) fn new(first: Envelope) -> Self {
        Self {
            id: first.id.clone(),
            envelopes: vec![first],
            races_lost: 0,
            unexplained: 0,
            attempts: Vec::new(),
            needs: Needs::default(),
        }
    }

    /// Whether a command only looks: its answer can come from nothing but a fresh state.
    pub(super) fn only_looks(&self) -> bool {
        self.envelopes.iter().all(|envelope| matches!(envelope.command, Command::Get(_)))
    }

    /// The same commands with nobody to answer: for a decision outside of the shard.
    pub(super) fn without_callers(&self) -> Self {
        let copy = |envelope: &Envelope| {
            Envelope::internal(envelope.id.clone(), envelope.command.clone(), envelope.arrived)
        };
        Self {
            id: self.id.clone(),
            envelopes: self.envelopes.iter().map(copy).collect(),
            races_lost: self.races_lost,
            unexplained: self.unexplained,
            attempts: self.attempts.clone(),
            needs: self.needs.clone(),
        }
    }

    /// Takes over what a decision on a copy was missing.
    pub(super) fn learn_from(&mut self, copy: Self) {
        self.needs = copy.needs;
    }

    /// Whether any of the commands gives something back or keeps something alive.
    pub(super) fn is_urgent(&self) -> bool {
        self.envelopes.iter().any(|envelope| envelope.command.is_urgent())
    }

    /// The attempt that a state shows to have been applied.
    pub(super) fn applied(&self, state: &KeyState) -> Option<usize> {
        self.attempts.iter().position(|attempt| Some(attempt.stamp) == state.stamp)
    }

    /// Decides the commands on a state. `fresh` tells that it was loaded after they had arrived.
    pub(super) fn decide(&mut self, state: KeyState, fresh: bool, ctx: &Context<'_>) -> Outcome {
        let prev = state.stamp;
        let mut working = Box::new(Working::new(self.id.clone(), state));
        working.effects.ended = is_narrated().then(Vec::new);
        let mut verdicts = Vec::with_capacity(self.envelopes.len());
        for (index, envelope) in self.envelopes.iter().enumerate() {
            match self.decide_one(&mut working, index, &envelope.command, prev, ctx) {
                Ok(verdict) => verdicts.push(verdict),
                Err(Need::NextBatch) => break,
                Err(Need::Membership) => return Outcome::Join,
                Err(need) => {
                    self.needs.add(need);
                    return Outcome::Load;
                }
            }
        }
        let may_come = self.attempts.iter().any(|attempt| attempt.prev == prev);
        if fresh && may_come && !working.dirty {
            // What was sent before may still be applied after this answer. It cannot once the row's stamp has moved; and
            // if it comes before, this write loses its race, and the next load finds the attempt.
            working.fence(ctx.now);
        }
        if working.dirty {
            Outcome::Write { prev, working, verdicts }
        } else if fresh || planted!(StaleCacheAnswered) {
            Outcome::Answered { state: Box::new(working.state), verdicts }
        } else {
            Outcome::Load
        }
    }

    /// Decides one of the commands. Where an earlier write of it was decided on another row than this one, that write may
    /// have been applied, and been overwritten since.
    fn decide_one(
        &self,
        working: &mut Working,
        index: usize,
        command: &Command,
        row: Option<Stamp>,
        ctx: &Context<'_>,
    ) -> Decided {
        let mut overwritten = self.attempts.iter().rev().filter(|attempt| attempt.prev != row);
        let earlier = overwritten.find_map(|attempt| {
            let verdict = attempt.verdicts.get(index)?;
            Some(Earlier { verdict, released: &attempt.effects.released })
        });
        match earlier {
            Some(earlier) => working.decide_again(command, earlier, ctx),
            None => working.decide(command, ctx),
        }
    }

    /// What has to be loaded for these commands.
    pub(super) fn want(&self) -> Want {
        let mut want = Want::new(self.id.clone());
        for envelope in &self.envelopes {
            want.versions.extend(envelope.command.named_version());
            want.positions |= envelope.command.tells_position();
            if !matches!(envelope.command, Command::Leave { .. }) {
                // Each of these may serve one who waits; those who leave are loaded by their versions.
                want.heads += 1;
                want.permits += 1;
            }
            match envelope.command {
                Command::Bury { replica } => want.waiters_of = Some(replica),
                Command::Get(Kind::Semaphore) | Command::PutSemaphore { .. } | Command::DeleteSemaphore => {
                    want.busy = true;
                }
                _ => {}
            }
        }
        want.versions.extend(&self.needs.versions);
        want.heads = want.heads.max(self.needs.heads);
        if let Some(permits) = self.needs.permits {
            // Those that are out are counted where the view is of a semaphore that was shrunk, and where a command shows the
            // number; to count them for each look of a queue that is served bit by bit would take a square of time.
            want.permits = want.permits.max(permits) * 2;
        }
        want.versions.sort_unstable();
        want.versions.dedup();
        want
    }

    /// From now on a command may meet what an earlier try of its own wrote.
    pub(super) fn mark_retried(&mut self) {
        for envelope in &mut self.envelopes {
            if let Command::Acquire(acquire) = &mut envelope.command {
                acquire.retried = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::{Key, Timestamp},
        engine::envelope::tests::acquire,
    };

    /// Otherwise two needs in turn would load one and forget the other, without end.
    #[test]
    fn what_is_missing_adds_up() {
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        let mut work = Work::new(Envelope::internal(id, Command::Settle, tokio::time::Instant::now()));
        work.needs.add(Need::Heads(500));
        work.needs.add(Need::Permits(300));
        work.needs.add(Need::Heads(100));
        let want = work.want();
        assert!(want.heads >= 500 && want.permits >= 300);
    }
    /// Guards invariant 7: an attempt that turns out to have been applied has a command for each of its verdicts.
    #[tokio::test(start_paused = true)]
    async fn commands_that_come_after_a_write_stay_with_it() {
        let now = Now { at_least: Timestamp(1_000), at_most: Timestamp(1_000) };
        let acquire = acquire(false, None);
        let acquire_id = acquire.id.clone();
        let put = Command::PutSemaphore { max_size: 2, lease_ms: None, default_lease_ms: 15_000 };
        let mut work = Work::new(Envelope::internal(acquire.id.clone(), put, acquire.arrived));
        work.envelopes.push(acquire);
        let surroundings = Surroundings {
            me: None,
            is_leaving: false,
            dead: Arc::default(),
            suspects: Arc::default(),
            max_waiters_per_key: 1,
            is_full: false,
            full_tenants: Arc::default(),
        };
        let ctx = surroundings.context(now, &acquire_id.tenant);
        let outcome = work.decide(KeyState::absent(), true, &ctx);
        let Outcome::Write { verdicts, .. } = outcome else { panic!("the semaphore is to be written") };
        assert_eq!((verdicts.len(), work.envelopes.len()), (1, 2), "its permit needs the row's token");
    }
}
