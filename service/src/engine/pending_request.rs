//! A request on its way through the engine: a command and the channel for its answer.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{sync::oneshot, time::Instant};

use crate::{
    audit::Origin,
    domain::{Command, KeyId, LockView, Refusal, Reply, RequestId},
    unavailable::Unavailable,
};

/// The answer that a caller receives.
pub(super) type Answer = Result<Answered, Unavailable>;

/// A reply with the measured start of its hand-over.
#[derive(Debug)]
pub(super) struct Answered {
    /// The reply.
    pub(super) reply: Reply,
    /// When the lock or permit became free, for a waiter that was granted it.
    pub(super) freed_at: Option<Instant>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self { reply, freed_at: None }
    }
}

/// The channel for an answer.
#[derive(Debug)]
pub(super) struct ReplySender {
    channel: oneshot::Sender<Answer>,
    /// The command counts until it is answered, and not until its caller has looked at the answer: a connection waits for its turn
    /// to do so, for as long as a flood of its client takes.
    _counted: Option<CountGuard>,
}

impl ReplySender {
    /// A channel, and what counts the command.
    pub(super) fn new(counted: Option<CountGuard>) -> (Self, oneshot::Receiver<Answer>) {
        let (channel, answer) = oneshot::channel();
        (Self { channel, _counted: counted }, answer)
    }

    /// Answers the caller. Returns whether it was still there.
    pub(super) fn send(self, answer: Answer) -> bool {
        self.channel.send(answer).is_ok()
    }

    /// Whether the caller has gone.
    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_closed()
    }
}

/// Counts one command until this value is dropped.
#[derive(Debug)]
pub(super) struct CountGuard(Arc<AtomicUsize>);

impl CountGuard {
    /// Counts one more.
    pub(super) fn in_counter(counter: &Arc<AtomicUsize>) -> Self {
        counter.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counter))
    }
}

impl Drop for CountGuard {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A command and the channel for its answer.
#[derive(Debug)]
pub(super) struct PendingRequest {
    /// The key.
    pub(super) id: KeyId,
    /// The command.
    pub(super) command: Command,
    /// The channel to the caller; `None` for the engine's own commands.
    pub(super) reply: Option<ReplySender>,
    /// When the request arrived, by the monotonic clock.
    pub(super) arrived: Instant,
    /// The time until which the command waits for a guard row; `None` while it has not waited for one.
    pub(super) guard_until: Option<Instant>,
    /// For a release that has waited for a guard row: the lock as the release leaves it.
    pub(super) left: Option<Box<LockView>>,
    /// The origin of the request, if the audit log is on.
    pub(super) origin: Option<Arc<Origin>>,
    /// The command of the caller, if it was answered with an error and the present command has replaced it.
    pub(super) replaced: Option<Box<Command>>,
}

impl PendingRequest {
    /// Creates a command that arrives now.
    pub(super) fn new(
        id: KeyId,
        command: Command,
        reply: Option<ReplySender>,
        origin: Option<Arc<Origin>>,
    ) -> Self {
        Self { reply, origin, ..Self::internal(id, command, Instant::now()) }
    }

    /// Creates a command of the engine's own.
    pub(super) fn internal(id: KeyId, command: Command, arrived: Instant) -> Self {
        Self {
            id,
            command,
            reply: None,
            arrived,
            guard_until: None,
            left: None,
            origin: None,
            replaced: None,
        }
    }

    /// The command as its caller sent it. A write that was under way when the caller was answered with an error still
    /// has the verdict on this command.
    pub(super) fn asked(&self) -> &Command {
        self.replaced.as_deref().unwrap_or(&self.command)
    }

    /// Whether the caller was answered with an error before the outcome of its command was known.
    pub(super) const fn has_failed(&self) -> bool {
        self.replaced.is_some()
    }

    /// Replaces the refusal of a release that has waited for a guard row, if another replica or another command has
    /// finished the release and the lock was taken since. The release has succeeded then.
    pub(super) fn correct_if_finished_elsewhere(&mut self, reply: &mut Reply) {
        if let Some(left) = self.left.take()
            && matches!(reply, Reply::Refused(Refusal::VersionMismatch | Refusal::NotFound))
        {
            *reply = Reply::Released(*left);
        }
    }

    /// Whether the caller still waits for the answer.
    pub(super) fn is_waited_for(&self) -> bool {
        self.reply.as_ref().is_some_and(|reply| !reply.is_closed())
    }

    /// Whether this is the engine's own request to serve the queue of a key.
    pub(super) const fn is_own_serve(&self) -> bool {
        self.reply.is_none() && matches!(self.command, Command::ServeQueue)
    }

    /// Whether an earlier write of this command may have been applied.
    pub(super) const fn may_be_written(&self) -> bool {
        matches!(&self.command, Command::Acquire(acquire) if acquire.retried)
    }

    /// Whether the caller has gone and nothing can have been written for the command.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.may_be_written() && self.reply.as_ref().is_some_and(ReplySender::is_closed)
    }

    /// Answers the caller with an error, and replaces the command by one that undoes what may have been written for it.
    /// If the command is the leave of a waiter, returns the error with which that waiter has to be answered.
    pub(super) fn fail(&mut self, error: Unavailable) -> Option<(RequestId, Unavailable)> {
        if let Command::Leave { request_id, .. } = self.command {
            return Some((request_id, error));
        }
        let sender = self.reply.take()?;
        // The receiver is gone if the caller has hung up.
        sender.send(Err(error));
        let instead = match &self.command {
            Command::Acquire(acquire) if error == Unavailable::UnknownOutcome => {
                Command::GiveBack { version: acquire.version, request_id: acquire.request_id }
            }
            _ => Command::ServeQueue,
        };
        self.replaced = Some(Box::new(std::mem::replace(&mut self.command, instead)));
        None
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        domain::{Acquire, Key, Kind, Owner, RequestFlags, Tenant},
        engine::ids,
    };

    /// Creates an acquire of a permit that does not wait. `retried` says that an earlier write of it may have been
    /// applied.
    pub(in super::super) fn acquire(retried: bool, reply: Option<ReplySender>) -> PendingRequest {
        let acquire = Acquire {
            kind: Kind::Semaphore,
            owner: Owner::trusted("tester"),
            lease_ms: Some(60_000),
            wait_ms: Some(0),
            additional_wait_ms: 0,
            max_wait_ms: 60_000,
            data: None,
            replace_data: false,
            delete_on_release: false,
            only_if_exists: false,
            version: ids::version(),
            chosen: false,
            retried,
            request_id: ids::request_id(RequestFlags::default()),
        };
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        PendingRequest::new(id, Command::Acquire(acquire), reply, None)
    }

    /// Guards invariant 7: an acquire that may have been written is kept, even if its caller has gone.
    #[test]
    fn a_command_is_abandoned_only_if_it_was_never_written() {
        for retried in [false, true] {
            let (reply, caller) = ReplySender::new(None);
            let request = acquire(retried, Some(reply));
            assert!(!request.is_abandoned());
            drop(caller);
            assert_eq!(request.is_abandoned(), !retried);
        }
    }
}
