//! Handling of locked guard rows: the change that needed the row is decided again without it, and tried again later.

use tokio::time::Instant;

use super::{Shard, batch::Batch, busy_guards::DueKey};
use crate::{
    domain::{Command, GuardBusy, KeyId, LockView, Refusal, Reply},
    engine::{commit_task::CommitMode, key_task::KeyTask, pending_request::PendingRequest},
};

impl Shard {
    /// Commits the changes that need guard rows, each alone.
    pub(super) fn commit_guarded(&mut self) {
        while let Some((Batch { writes, tasks }, thoroughly)) = self.in_flight.guarded.next(Instant::now()) {
            let number = self.send_commit(writes, CommitMode::Guarded { thoroughly });
            self.in_flight.guarded.note_sent(number, tasks);
        }
    }

    /// Handles a change whose guard row was locked.
    pub(super) fn on_guard_open(&mut self, mut key_task: KeyTask, busy: GuardBusy) {
        // This change left alone the rows that were found locked before, so they stay in the set.
        let mut all = key_task.guard_busy.take().unwrap_or_default();
        all.slots.extend(busy.slots);
        all.session = busy.session.or(all.session);
        self.in_flight.guarded.busy.note_busy(&key_task.id, all.clone(), Instant::now());
        key_task.guard_busy = Some(all);
        self.in_flight.loads.push(key_task);
    }

    /// Lets a caller's command wait for the guard row, and refuses it while the service stops. Commands of the engine's
    /// own do not wait: they have nobody to answer.
    pub(super) fn park_for_guard(
        &mut self,
        mut request: PendingRequest,
        left: Option<Box<LockView>>,
        now: Instant,
    ) {
        if request.reply.is_some() {
            request.left = request.left.or(left);
            if self.drain.has_begun() {
                let busy = self.in_flight.guarded.busy.get(&request.id).cloned().unwrap_or_default();
                return refuse(request, &busy);
            }
            self.in_flight.guarded.busy.park(request, now);
        }
    }

    /// Tries a guard row again, and refuses the commands that have waited long enough for it.
    pub(super) fn on_guard_due(&mut self, due: DueKey) {
        let DueKey { id, busy, overdue, again } = due;
        for request in overdue {
            refuse(request, &busy);
        }
        if let Some(requests) = again {
            for request in requests {
                self.enqueue(request);
            }
            // The change has to be finished even if no command waits for it.
            self.enqueue_internal(id, Command::ServeQueue);
        }
    }

    /// Notes the new state of a key. Commands that waited for its guard row are decided again once no ended grant needs
    /// that row.
    pub(super) fn note_guard(&mut self, id: &KeyId, is_ending: bool) {
        if !is_ending {
            for request in self.in_flight.guarded.busy.note_free(id) {
                self.enqueue(request);
            }
        }
    }

    /// Refuses all commands that wait for guard rows, because the service stops.
    pub(super) fn refuse_guarded(&mut self) {
        for (busy, request) in self.in_flight.guarded.busy.take_waiting() {
            refuse(request, &busy);
        }
    }
}

fn refuse(request: PendingRequest, busy: &GuardBusy) {
    let refusal = Refusal::GuardedTransactionOpen { session: busy.session.clone() };
    if let Some(sender) = request.reply {
        // The receiver is gone if the caller has hung up.
        sender.send(Ok(Reply::Refused(refusal).into()));
    }
}
