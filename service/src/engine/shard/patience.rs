//! Patience: nobody is kept without an answer for much longer than [`PATIENCE`], whatever stands in the way.
//!
//! Commands stand in many places of a shard: in line, behind a busy key, in works that wait for a load, for membership or
//! for another try, and in works that the database has at this moment. Nobody takes a work out of the shard, so one look
//! finds them all. It comes by a timer, a few times a second while there is anything to look at.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        envelope::{EngineError, Envelope},
        work::Work,
    },
    Shard, Task,
    blocked::Blocked,
};
use crate::domain::{KeyId, Nonce};

/// How long a command is tried before its caller is answered 503.
const PATIENCE: Duration = Duration::from_secs(5);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// One look.
struct Look<'s> {
    now: Instant,
    /// What those are told whose command was never written.
    unreachable: EngineError,
    blocked: &'s Blocked,
    /// Waiters that have wanted to leave for too long.
    leavers: Vec<(Nonce, EngineError)>,
    /// Keys of works of which nothing is left.
    emptied: Vec<KeyId>,
}

impl Look<'_> {
    fn is_over(&self, envelope: &Envelope) -> bool {
        self.now.duration_since(envelope.arrived) >= PATIENCE
    }

    /// A command that no write on its way decides about. Returns whether it stays.
    fn undecided(&mut self, envelope: &mut Envelope) -> bool {
        if !self.is_over(envelope) {
            return true;
        }
        let (error, stays) = if envelope.may_be_written() {
            (EngineError::UnknownFate, true)
        } else {
            (self.blocked.unreached(&envelope.id, self.unreachable), envelope.reply.is_none())
        };
        self.leavers.extend(envelope.give_up(error));
        stays
    }

    /// A work that may have been written, or is going to be: all of its commands stay.
    fn decided(&mut self, work: &mut Work) {
        for envelope in &mut work.envelopes {
            if self.is_over(envelope) {
                self.leavers.extend(envelope.give_up(EngineError::UnknownFate));
            }
        }
    }

    /// A work that has to be decided, be it again. Returns whether anything of it is left.
    fn work(&mut self, work: &mut Work) -> bool {
        if !work.attempts.is_empty() {
            self.decided(work);
            return true;
        }
        work.envelopes.retain_mut(|envelope| self.undecided(envelope));
        !work.envelopes.is_empty()
    }

    /// The same, noting the key of a work of which nothing is left.
    fn idle_work(&mut self, work: &mut Work) -> bool {
        let stays = self.work(work);
        if !stays {
            self.emptied.push(work.id.clone());
        }
        stays
    }
}

impl Shard {
    /// Sees to it that there is a look while there is anything to look at.
    pub(super) fn watch_patience(&mut self) {
        if !self.is_watched && !self.has_no_commands() {
            self.is_watched = true;
            self.timers.set(Instant::now() + LOOK, Task::Patience);
        }
    }

    /// Answers all whose patience has come to an end. What is done for them is undone by what takes their place.
    pub(super) fn end_patience(&mut self) {
        self.is_watched = false;
        let unreachable = self.shared.outage.reason();
        // Taken out, to be asked while everything else is looked at.
        let mut blocked = std::mem::take(&mut self.blocked);
        let mut look = Look {
            now: Instant::now(),
            unreachable,
            blocked: &blocked,
            leavers: Vec::new(),
            emptied: Vec::new(),
        };
        for line in [&mut self.urgent, &mut self.acquires, &mut self.latecomers] {
            line.retain_mut(|envelope| look.undecided(envelope));
        }
        self.leaves.retain(|envelope| look.undecided(envelope));
        for parked in self.parked.values_mut() {
            parked.retain_mut(|envelope| look.undecided(envelope));
        }
        self.to_load.retain(|work| look.idle_work(work));
        self.to_join.retain_mut(|work| look.idle_work(work));
        self.timers.retain(|task| match task {
            Task::Retry(work) => look.idle_work(work),
            _ => true,
        });
        for work in self.loading.iter_mut().flatten() {
            // What is left of it is seen when it comes back.
            look.work(work);
        }
        let sides =
            self.halves.iter_mut().map(|half| &mut half.sides).chain(self.commits.values_mut()).flatten();
        let works = sides.map(|side| &mut side.work);
        let works = works.chain(self.decided.iter_mut().map(|decided| &mut decided.work));
        for work in works.chain(self.locked.values_mut()) {
            look.decided(work);
        }
        let Look { now, leavers, emptied, .. } = look;
        let nothing = Blocked::default();
        let mut look = Look { now, unreachable, blocked: &nothing, leavers, emptied };
        for work in blocked.works() {
            look.decided(work);
        }
        let Look { leavers, emptied, .. } = look;
        self.blocked = blocked;
        for (nonce, error) in leavers {
            self.tell_waiter(nonce, error);
        }
        for id in emptied {
            self.unpark(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::{super::super::envelope::tests::acquire, *};
    use crate::domain::Command;

    /// Guards invariant 7: what may have been written for a command in line is given back when its caller is told 503.
    #[tokio::test(start_paused = true)]
    async fn an_acquire_in_line_that_may_have_been_written_is_given_back() {
        let (reply, mut answer) = oneshot::channel();
        let mut envelope = acquire(true, Some(reply));
        let now = envelope.arrived + PATIENCE;
        let (unreachable, blocked) = (EngineError::Unreachable, Blocked::default());
        let mut look = Look { now, unreachable, blocked: &blocked, leavers: Vec::new(), emptied: Vec::new() };
        assert!(look.undecided(&mut envelope), "its give-back stays");
        assert!(matches!(envelope.command, Command::GiveBack { .. }));
        assert!(matches!(answer.try_recv(), Ok(Err(EngineError::UnknownFate))));
        assert!(look.undecided(&mut envelope), "until it is done");
    }
}
