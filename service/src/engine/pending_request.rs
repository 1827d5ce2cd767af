//! A request on its way through the engine: a command and the channel for its answer.

use std::sync::Arc;

use tokio::{sync::oneshot, time::Instant};

use super::error::EngineError;
use crate::{
    audit::Origin,
    domain::{Command, KeyId, LockView, Refusal, Reply, RequestId},
};

/// What a caller receives.
pub(super) type Answer = Result<Answered, EngineError>;

/// A reply with what is measured about it.
#[derive(Debug)]
pub(super) struct Answered {
    /// The reply.
    pub(super) reply: Reply,
    /// For a waiter that was granted what another holder released or lost: when that happened.
    pub(super) freed_at: Option<Instant>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self { reply, freed_at: None }
    }
}

/// The channel for an answer.
pub(super) type ReplySender = oneshot::Sender<Answer>;

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
    /// Until when it waits for a guard row, once it has begun to.
    pub(super) guard_until: Option<Instant>,
    /// For a release that has waited for a guard row: the lock as it leaves it.
    pub(super) left: Option<Box<LockView>>,
    /// Where it comes from, if the audit trail is on.
    pub(super) origin: Option<Arc<Origin>>,
}

impl PendingRequest {
    /// A command of the engine's own.
    pub(super) fn internal(id: KeyId, command: Command, arrived: Instant) -> Self {
        Self { id, command, reply: None, arrived, guard_until: None, left: None, origin: None }
    }

    /// The reply to a release that has waited for a guard row, if another replica, or another command, has finished it and the
    /// lock was taken since: it has done what it should.
    pub(super) fn finished_elsewhere(&mut self, reply: Reply) -> Reply {
        match (reply, self.left.take()) {
            (Reply::Refused(Refusal::VersionMismatch | Refusal::NotFound), Some(left)) => {
                Reply::Released(*left)
            }
            (reply, _) => reply,
        }
    }

    /// Whether this is the engine's own request to serve the queue of a key.
    pub(super) const fn is_own_serve(&self) -> bool {
        self.reply.is_none() && matches!(self.command, Command::ServeQueue)
    }

    /// Whether an earlier write of this command may have been applied.
    pub(super) const fn may_be_written(&self) -> bool {
        matches!(&self.command, Command::Acquire(acquire) if acquire.retried)
    }

    /// Whether the caller has gone before anything was written for it.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.may_be_written() && self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Answers the caller with an error. The command is replaced by one that undoes what may have been written for it. Where the
    /// command was the leave of a waiter, returns what that waiter has to be answered.
    pub(super) fn fail(&mut self, error: EngineError) -> Option<(RequestId, EngineError)> {
        if let Command::Leave { request_id, .. } = self.command {
            return Some((request_id, error));
        }
        let sender = self.reply.take()?;
        // The receiver is gone if the caller has hung up.
        let _ = sender.send(Err(error));
        self.command = match &self.command {
            Command::Acquire(acquire) if error == EngineError::UnknownOutcome => {
                Command::GiveBack { version: acquire.version, request_id: acquire.request_id }
            }
            _ => Command::ServeQueue,
        };
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

    /// An acquire of a permit that does not wait. `retried` says that an earlier write of it may have been applied.
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
        let (command, arrived) = (Command::Acquire(acquire), Instant::now());
        PendingRequest { id, command, reply, arrived, guard_until: None, left: None, origin: None }
    }

    /// Guards invariant 7: an acquire that may have been written stays, even if its caller has gone.
    #[test]
    fn only_what_was_never_written_is_dropped_with_its_caller() {
        for retried in [false, true] {
            let (reply, caller) = oneshot::channel();
            let request = acquire(retried, Some(reply));
            assert!(!request.is_abandoned());
            drop(caller);
            assert_eq!(request.is_abandoned(), !retried);
        }
    }
}
