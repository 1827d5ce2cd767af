//! One key's share of a batch: the commands for it, and how far they got.

use std::{collections::BTreeSet, sync::Arc};

use super::{pending_request::PendingRequest, shard::is_narrated};
use crate::{
    domain::{
        Command, Context, Decided, Earlier, KeyChange, KeyId, KeyState, Kind, Need, Now, ReplicaId,
        RowVersion, Tenant, Token, Verdict, Version, WaiterLimit,
    },
    store::{LoadRequest, Write},
};

/// A write whose fate is not known: the statement was sent, and the answer never came.
#[derive(Debug, Clone)]
pub(super) struct Attempt {
    /// The row version of the row that it was decided on: while the row bears that, it was not applied yet.
    pub(super) prev: Option<RowVersion>,
    /// The row version that the row bears if the write was applied.
    pub(super) row_version: RowVersion,
    /// The token that the row bears then, unless the store raised it.
    pub(super) token: Token,
    /// What was decided, an entry an request; commands behind those it left undecided.
    pub(super) verdicts: Vec<Verdict>,
    /// Whom the write answered besides.
    pub(super) effects: crate::domain::Effects,
}

impl Attempt {
    /// A write that was sent with these verdicts.
    pub(super) fn of(write: Write, verdicts: Vec<Verdict>) -> Self {
        let Write { prev, row_version, change } = write;
        Self { prev, row_version, token: change.state.token, verdicts, effects: change.effects }
    }
}

/// The commands for one key that are decided together and written once.
#[derive(Debug)]
pub(super) struct KeyTask {
    /// The key.
    pub(super) id: KeyId,
    /// The commands, in the order in which they are decided. None goes while a write of them is on its way or may have
    /// been applied: verdicts are matched with them by their place.
    pub(super) requests: Vec<PendingRequest>,
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
    queue_prefix: usize,
    /// None while no decision asked for permits.
    permits: Option<usize>,
}

impl Needs {
    fn add(&mut self, need: Need) {
        match need {
            Need::Version(version) => self.versions.push(version),
            Need::QueuePrefix(queue_prefix) => self.queue_prefix = self.queue_prefix.max(queue_prefix),
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
    Write { prev: Option<RowVersion>, change: Box<KeyChange>, verdicts: Vec<Verdict> },
    /// Nothing has to be written, and the state was fresh: the verdicts hold.
    Answered { state: Box<KeyState>, verdicts: Vec<Verdict> },
    /// The state has to be loaded (again).
    Load,
    /// This replica has to be known to the others first.
    Join,
}

impl KeyTask {
    pub(super) fn new(first: PendingRequest) -> Self {
        Self {
            id: first.id.clone(),
            requests: vec![first],
            races_lost: 0,
            unexplained: 0,
            attempts: Vec::new(),
            needs: Needs::default(),
        }
    }

    /// Whether a command only looks: its answer can come from nothing but a fresh state.
    pub(super) fn is_read_only(&self) -> bool {
        self.requests.iter().all(|request| matches!(request.command, Command::Get(_)))
    }

    /// The same commands with nobody to answer: for a decision outside of the shard.
    pub(super) fn without_callers(&self) -> Self {
        let copy = |request: &PendingRequest| {
            PendingRequest::internal(request.id.clone(), request.command.clone(), request.arrived)
        };
        Self {
            id: self.id.clone(),
            requests: self.requests.iter().map(copy).collect(),
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
        self.requests.iter().any(|request| request.command.is_urgent())
    }

    /// The attempt that a state shows to have been applied.
    pub(super) fn applied(&self, state: &KeyState) -> Option<usize> {
        self.attempts.iter().position(|attempt| Some(attempt.row_version) == state.row_version)
    }

    /// Decides the commands on a state. `fresh` tells that it was loaded after they had arrived.
    pub(super) fn decide(&mut self, state: KeyState, fresh: bool, ctx: &Context<'_>) -> Outcome {
        let prev = state.row_version;
        let mut change = Box::new(KeyChange::new(self.id.clone(), state));
        change.effects.ended = is_narrated().then(Vec::new);
        let mut verdicts = Vec::with_capacity(self.requests.len());
        for (index, request) in self.requests.iter().enumerate() {
            match self.decide_one(&mut change, index, &request.command, prev, ctx) {
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
        if fresh && may_come && !change.dirty {
            // What was sent before may still be applied after this answer. It cannot once the row's row version has moved; and
            // if it comes before, this write loses its race, and the next load finds the attempt.
            change.touch(ctx.now);
        }
        if change.dirty {
            Outcome::Write { prev, change, verdicts }
        } else if fresh || planted!(StaleCacheAnswered) {
            Outcome::Answered { state: Box::new(change.state), verdicts }
        } else {
            Outcome::Load
        }
    }

    /// Decides one of the commands. Where an earlier write of it was decided on another row than this one, that write may
    /// have been applied, and been overwritten since.
    fn decide_one(
        &self,
        change: &mut KeyChange,
        index: usize,
        command: &Command,
        row: Option<RowVersion>,
        ctx: &Context<'_>,
    ) -> Decided {
        let mut overwritten = self.attempts.iter().rev().filter(|attempt| attempt.prev != row);
        let earlier = overwritten.find_map(|attempt| {
            let verdict = attempt.verdicts.get(index)?;
            Some(Earlier { verdict, released: &attempt.effects.released })
        });
        match earlier {
            Some(earlier) => change.decide_again(command, earlier, ctx),
            None => change.decide(command, ctx),
        }
    }

    /// What has to be loaded for these commands.
    pub(super) fn load_request(&self) -> LoadRequest {
        let mut load_request = LoadRequest::new(self.id.clone());
        for request in &self.requests {
            load_request.versions.extend(request.command.named_version());
            load_request.positions |= request.command.tells_position();
            if !matches!(request.command, Command::Leave { .. }) {
                // Each of these may serve one who waits; those who leave are loaded by their versions.
                load_request.queue_prefix += 1;
                load_request.permits += 1;
            }
            match request.command {
                Command::ReapReplica { replica } => load_request.waiters_of = Some(replica),
                Command::Get(Kind::Semaphore) | Command::PutSemaphore { .. } => load_request.busy = true,
                Command::DeleteSemaphore => {
                    load_request.busy = true;
                    load_request.latest_chosen = true;
                }
                _ => {}
            }
        }
        load_request.versions.extend(&self.needs.versions);
        load_request.queue_prefix = load_request.queue_prefix.max(self.needs.queue_prefix);
        if let Some(permits) = self.needs.permits {
            // Those that are out are counted where the view is of a semaphore that was shrunk, and where a command shows the
            // number; to count them for each look of a queue that is served bit by bit would take a square of time.
            load_request.permits = load_request.permits.max(permits) * 2;
        }
        load_request.versions.sort_unstable();
        load_request.versions.dedup();
        load_request
    }

    /// From now on a command may meet what an earlier try of its own wrote.
    pub(super) fn mark_retried(&mut self) {
        for request in &mut self.requests {
            if let Command::Acquire(acquire) = &mut request.command {
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
        engine::pending_request::tests::acquire,
    };

    /// Otherwise two needs in turn would load one and forget the other, without end.
    #[test]
    fn what_is_missing_adds_up() {
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        let mut key_task =
            KeyTask::new(PendingRequest::internal(id, Command::ServeQueue, tokio::time::Instant::now()));
        key_task.needs.add(Need::QueuePrefix(500));
        key_task.needs.add(Need::Permits(300));
        key_task.needs.add(Need::QueuePrefix(100));
        let load_request = key_task.load_request();
        assert!(load_request.queue_prefix >= 500 && load_request.permits >= 300);
    }
    /// Guards invariant 7: an attempt that turns out to have been applied has a command for each of its verdicts.
    #[tokio::test(start_paused = true)]
    async fn commands_that_come_after_a_write_stay_with_it() {
        let now = Now { at_least: Timestamp(1_000), at_most: Timestamp(1_000) };
        let acquire = acquire(false, None);
        let acquire_id = acquire.id.clone();
        let put = Command::PutSemaphore { max_size: 2, lease_ms: None, default_lease_ms: 15_000 };
        let mut key_task = KeyTask::new(PendingRequest::internal(acquire.id.clone(), put, acquire.arrived));
        key_task.requests.push(acquire);
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
        let outcome = key_task.decide(KeyState::absent(), true, &ctx);
        let Outcome::Write { verdicts, .. } = outcome else { panic!("the semaphore is to be written") };
        assert_eq!((verdicts.len(), key_task.requests.len()), (1, 2), "its permit needs the row's token");
    }
}
