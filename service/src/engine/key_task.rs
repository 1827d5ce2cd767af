//! The commands for one key within a batch, and the progress of their decision.

mod attempt;

pub(super) use self::attempt::{Attempt, Overwritten};

use std::sync::Arc;

use super::{
    ids,
    pending_request::PendingRequest,
    waiter_count::{Reservation, WaiterCount},
};
use crate::{
    domain::{
        Command, Context, Decided, EarlierDecision, Effects, GuardBusy, KeyChange, KeyId, KeyState, Need,
        Now, RowVersion, Verdict,
    },
    store::{LoadKind, LoadRequest, Write},
};

/// The commands for one key that are decided together and written once.
#[derive(Debug)]
pub(super) struct KeyTask {
    /// The key.
    pub(super) id: KeyId,
    /// The commands, in the order in which they are decided. No command is removed while a write of them is under way
    /// or may have been applied, because verdicts belong to commands by their index.
    pub(super) requests: Vec<PendingRequest>,
    /// The number of races lost so far. From the third on the key is decided under the database's lock.
    pub(super) races_lost: u8,
    /// How often a batch with these commands failed because of a locked row, although no key's row was found locked.
    pub(super) unexplained: u8,
    /// Writes of these commands that may have been applied.
    pub(super) attempts: Vec<Attempt>,
    /// The room for the waiters of these writes. At most one of the writes is applied in the end.
    pub(super) reserved: Reservation,
    /// Set if the guard row was locked: the commands are decided without it.
    pub(super) guard_busy: Option<GuardBusy>,
    /// The load that the task needs, as far as is known.
    pub(super) load_kind: LoadKind,
    /// Whether the caller of each request still waits, in a copy [without callers](Self::without_callers); otherwise empty.
    waited_for: Vec<bool>,
    /// Data that earlier decisions needed and did not have. Needs are kept until the task is done: if each load brought
    /// only the latest need, two needs could alternate without end.
    needs: Vec<Need>,
}

/// The outcome of a decision on all commands of a key task.
#[derive(Debug)]
pub(super) enum TaskOutcome {
    /// The change has to be written. The verdicts hold once it is durable. Commands without a verdict are decided
    /// afterwards. There is room for the waiters of the write, together with what earlier writes have reserved.
    Write { write: Write, verdicts: Vec<Verdict>, reserved: Reservation },
    /// Nothing has to be written and the state was loaded: the verdicts hold.
    Answered { state: Box<KeyState>, verdicts: Vec<Verdict>, effects: Effects },
    /// The state has to be loaded, or loaded again.
    NeedsLoad,
    /// This replica has to be registered first, so that the other replicas know it.
    NeedsMembership,
}

impl KeyTask {
    /// Creates a task with its first command.
    pub(super) fn new(first: PendingRequest) -> Self {
        Self {
            id: first.id.clone(),
            requests: vec![first],
            races_lost: 0,
            unexplained: 0,
            attempts: Vec::new(),
            reserved: Reservation::default(),
            guard_busy: None,
            load_kind: LoadKind::Short,
            waited_for: Vec::new(),
            needs: Vec::new(),
        }
    }

    /// Whether all commands only read. Such a task can only be answered from a loaded state.
    pub(super) fn is_read_only(&self) -> bool {
        self.requests.iter().all(|request| matches!(request.command, Command::Get(_)))
    }

    /// A copy without the channels to the callers, for a decision outside of the shard. The copy has the reservation until
    /// it is [taken back](Self::take_back).
    pub(super) fn without_callers(&mut self) -> Self {
        let copy = |request: &PendingRequest| {
            PendingRequest::internal(request.id.clone(), request.command.clone(), request.arrived)
        };
        Self {
            id: self.id.clone(),
            requests: self.requests.iter().map(copy).collect(),
            races_lost: self.races_lost,
            unexplained: self.unexplained,
            attempts: self.attempts.clone(),
            reserved: std::mem::take(&mut self.reserved),
            guard_busy: self.guard_busy.clone(),
            load_kind: self.load_kind,
            waited_for: self.requests.iter().map(PendingRequest::is_waited_for).collect(),
            needs: self.needs.clone(),
        }
    }

    /// Takes back from a copy the reservation, the attempts without what was recorded of them, and the needs that the decision
    /// found.
    pub(super) fn take_back(&mut self, copy: Self) {
        self.needs = copy.needs;
        self.attempts = copy.attempts;
        self.reserved = copy.reserved;
    }

    /// Whether one of the commands is urgent.
    pub(super) fn is_urgent(&self) -> bool {
        self.requests.iter().any(|request| request.command.is_urgent())
    }

    /// Whether an earlier write of these commands may have been applied.
    pub(super) const fn was_attempted(&self) -> bool {
        !self.attempts.is_empty()
    }

    /// The index of the attempt that was applied according to a loaded state.
    pub(super) fn applied(&self, state: &KeyState) -> Option<usize> {
        self.attempts.iter().position(|attempt| Some(attempt.row_version) == state.row_version)
    }

    /// Notes that a write was sent and its outcome is unknown.
    pub(super) fn note_attempt(&mut self, write: Write, verdicts: Vec<Verdict>, reserved: Reservation) {
        for request in &mut self.requests {
            if let Command::Acquire(acquire) = &mut request.command {
                acquire.retried = true;
            }
        }
        self.attempts.push(Attempt::of(write, verdicts));
        self.reserved.join(reserved);
    }

    /// The maximum number of waiters that these commands add.
    fn most_new_waiters(&self, state: &KeyState, now: Now) -> usize {
        let may_wait = |request: &&PendingRequest| matches!(&request.command, Command::Acquire(acquire) if acquire.may_wait());
        let most = self.requests.iter().filter(may_wait).count();
        if most == 1 && self.requests.len() == 1 && state.is_surely_free(now) { 0 } else { most }
    }

    /// Decides the commands on a state. `fresh` says that the state was loaded after the commands had arrived.
    pub(super) fn decide(
        &mut self,
        state: Box<KeyState>,
        fresh: bool,
        ctx: &Context,
        waiting: &Arc<WaiterCount>,
    ) -> TaskOutcome {
        let prev = state.row_version;
        let wanted = self.most_new_waiters(&state, ctx.now).saturating_sub(self.reserved.places());
        let (mut reserved, limit) = waiting.reserve(&self.id.tenant, wanted);
        let mut change = Box::new(KeyChange::new(self.id.clone(), state));
        change.waiter_room = reserved.room(&self.reserved, limit);
        change.guard_busy.clone_from(&self.guard_busy);
        if ctx.lists_changes {
            (change.effects.ended, change.effects.granted) = (Some(Vec::new()), Some(Vec::new()));
        }
        let mut verdicts = Vec::with_capacity(self.requests.len());
        for (index, request) in self.requests.iter().enumerate() {
            if change.is_full() && index > 0 {
                break;
            }
            match self.decide_one(&mut change, index, &request.command, prev, ctx) {
                Ok(verdict) => verdicts.push(verdict),
                Err(Need::NextBatch) => break,
                Err(Need::Membership) => return TaskOutcome::NeedsMembership,
                Err(need) => {
                    self.needs.push(need);
                    return TaskOutcome::NeedsLoad;
                }
            }
        }
        let may_come = self.attempts.iter().any(|attempt| attempt.prev == prev);
        if fresh && may_come && !change.dirty {
            // An earlier attempt may still be applied after this answer, but not once the row version has changed. If
            // the attempt is applied before, this write loses its race, and the next load finds the attempt.
            change.touch(ctx.now);
        }
        if change.dirty {
            let is_waiting = |verdict: &&Verdict| matches!(verdict, Verdict::Waiting { .. });
            let waiters = verdicts.iter().filter(is_waiting).count();
            reserved.keep(waiters.saturating_sub(self.reserved.places()));
            let write = Write { prev, row_version: ids::row_version(), change };
            TaskOutcome::Write { write, verdicts, reserved }
        } else if fresh || planted!(StaleCacheAnswered) {
            // Nothing has an effect now but what an earlier write is known to have ended.
            let effects = Effects { ended: change.effects.ended, ..Effects::default() };
            TaskOutcome::Answered { state: change.state, verdicts, effects }
        } else {
            TaskOutcome::NeedsLoad
        }
    }

    fn is_waited_for(&self, index: usize) -> bool {
        self.waited_for.get(index).copied().unwrap_or_else(|| self.requests[index].is_waited_for())
    }

    /// Takes what earlier writes did from those that a state shows to have been applied although the row was written
    /// since, so that it is recorded once.
    pub(super) fn take_overwritten(&mut self, state: &KeyState) -> Vec<Overwritten> {
        let take = |attempt: &mut Attempt| {
            let raised = attempt.applied_before(state)?;
            let effects = attempt.effects.clone();
            (attempt.effects.ended, attempt.effects.granted) = (None, None);
            Some(Overwritten { verdicts: attempt.verdicts.clone(), effects, raised })
        };
        self.attempts.iter_mut().filter_map(take).collect()
    }

    /// Decides one command. If an earlier write of it was decided on another row version, that write may have been
    /// applied and overwritten since.
    fn decide_one(
        &self,
        change: &mut KeyChange,
        index: usize,
        command: &Command,
        row: Option<RowVersion>,
        ctx: &Context,
    ) -> Decided {
        let mut overwritten = self.attempts.iter().rev().filter(|attempt| attempt.prev != row);
        let earlier = overwritten.find_map(|attempt| {
            let verdict = attempt.verdicts.get(index)?;
            let ended = attempt.effects.ended.as_deref().filter(|_| self.is_waited_for(index));
            let (released, ended) = (&attempt.effects.released, ended.unwrap_or_default());
            Some(EarlierDecision { verdict, released, ended })
        });
        match earlier {
            Some(earlier) => change.decide_again(command, earlier, ctx),
            None => change.decide(command, ctx),
        }
    }

    /// The data that has to be loaded for these commands.
    pub(super) fn load_request(&self) -> LoadRequest {
        let mut load_request = LoadRequest::new(self.id.clone());
        load_request.kind = self.load_kind;
        load_request.versions.extend(self.attempts.iter().filter_map(Attempt::evidence));
        for request in &self.requests {
            load_request.versions.extend(request.command.named_version());
            load_request.positions |= request.command.may_show_position();
            if !matches!(request.command, Command::Leave { .. }) {
                // Each of these commands may serve one waiter. Waiters that leave are loaded by their versions.
                load_request.queue_prefix += 1;
                load_request.permits += 1;
            }
            load_request.counts_permits |= request.command.counts_permits();
            match request.command {
                Command::ReapReplica { replica } => load_request.waiters_of = Some(replica),
                Command::DeleteSemaphore => load_request.latest_chosen = true,
                _ => {}
            }
        }
        let mut most_permits = None;
        for need in &self.needs {
            match need {
                Need::Version(version) => load_request.versions.push(*version),
                Need::Data(versions) => load_request.data_of.extend(versions),
                Need::QueuePrefix(prefix) => {
                    load_request.queue_prefix = load_request.queue_prefix.max(*prefix);
                }
                Need::Permits(permits) => most_permits = most_permits.max(Some(*permits)),
                Need::Membership | Need::NextBatch => {}
            }
        }
        if let Some(permits) = most_permits {
            // Permits are counted if a semaphore was shrunk and if a command shows their number. If they were counted
            // each time a part of a queue is served, the time would grow with the square of the queue's length.
            load_request.permits = load_request.permits.max(permits) * 2;
        }
        for versions in [&mut load_request.versions, &mut load_request.data_of] {
            versions.sort_unstable();
            versions.dedup();
        }
        load_request
    }
}

#[cfg(test)]
mod tests;
