//! A command on its way through the engine, and the answers that the engine itself gives.

use std::convert::Infallible;

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc, oneshot},
    time::Instant,
};

use crate::{
    domain::{Command, KeyId, Reply, RequestId},
    store::StoreError,
};

/// Why the engine could not bring a command to an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// More acquires are queued than can be served in time.
    #[error("overloaded")]
    Overloaded,
    /// The database did not answer in time; nothing was written.
    #[error("the database is out of reach")]
    Unreachable,
    /// The database takes no writes; nothing was written.
    #[error("the database is read-only")]
    ReadOnly,
    /// The database's disk is full; nothing was written.
    #[error("the database's disk is full")]
    DiskFull,
    /// Another session of the database keeps the key's row locked; nothing was written.
    #[error("the key's row is locked")]
    RowLocked,
    /// The database may have written the command, and could not be asked in time. What it may have given is given back.
    #[error("the outcome is unknown")]
    UnknownFate,
    /// The database refuses this one command; the cause is in the log.
    #[error("the database refused the write")]
    Rejected,
    /// What is stored for the key makes no sense; the cause is in the log.
    #[error("what is stored for the key cannot be read")]
    Unreadable,
    /// The schema is not one that this program can write to.
    #[error("the database's schema cannot be used")]
    Schema,
    /// The SQLite file is not at its path any more.
    #[error("the SQLite file was replaced")]
    FileReplaced,
    /// The service is shutting down.
    #[error("the service is shutting down")]
    Draining,
    /// The write took longer than the lease.
    #[error("the lease ended before it could be answered")]
    LeaseOver,
    /// This replica was taken for dead by the others, and its waiters lost their places.
    #[error("the place in the queue was lost")]
    PlaceLost,
}

impl EngineError {
    /// What a caller is told of an error of the store that lasts; `None` of one that may pass.
    pub(crate) const fn of_lasting(error: &StoreError) -> Option<Self> {
        match error {
            StoreError::Schema(_) => Some(Self::Schema),
            StoreError::FileReplaced(_) => Some(Self::FileReplaced),
            StoreError::Unreachable(_)
            | StoreError::Unknown(_)
            | StoreError::Transient(_)
            | StoreError::Blocked(_)
            | StoreError::ReadOnly(_)
            | StoreError::DiskFull(_)
            | StoreError::Overloaded(_)
            | StoreError::Rejected(_) => None,
        }
    }
}

/// What a caller gets.
pub(super) type Answer = Result<Answered, EngineError>;

/// A reply, and what is measured of its way to the caller.
#[derive(Debug)]
pub(super) struct Answered {
    /// The reply.
    pub(super) reply: Reply,
    /// Where a waiter was granted what another gave up or lost: when that happened.
    pub(super) freed_at: Option<Instant>,
}

impl From<Reply> for Answered {
    fn from(reply: Reply) -> Self {
        Self { reply, freed_at: None }
    }
}

/// Where an answer goes.
pub(super) type ReplySender = oneshot::Sender<Answer>;

/// A command, and who waits for its answer.
#[derive(Debug)]
pub(super) struct PendingRequest {
    /// Which key.
    pub(super) id: KeyId,
    /// What is asked.
    pub(super) command: Command,
    /// Who asked; the engine's own commands answer nobody.
    pub(super) reply: Option<ReplySender>,
    /// When it came in, on the monotonic clock.
    pub(super) arrived: Instant,
}

impl PendingRequest {
    /// A command of the engine's own.
    pub(super) fn internal(id: KeyId, command: Command, arrived: Instant) -> Self {
        Self { id, command, reply: None, arrived }
    }

    /// Whether an earlier write of this command may have been applied without anybody here knowing.
    pub(super) const fn may_be_written(&self) -> bool {
        matches!(&self.command, Command::Acquire(acquire) if acquire.retried)
    }

    /// Whether its caller has gone before anything was written for it.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.may_be_written() && self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    /// Tells the caller that it failed. What may have been written for it is undone by what takes the command's place.
    /// Where it was a waiter's wish to leave, that waiter has to be told.
    pub(super) fn give_up(&mut self, error: EngineError) -> Option<(RequestId, EngineError)> {
        if let Command::Leave { request_id, .. } = self.command {
            return Some((request_id, error));
        }
        let sender = self.reply.take()?;
        // If the caller has gone, it has not waited for this.
        let _ = sender.send(Err(error));
        self.command = match &self.command {
            Command::Acquire(acquire) if error == EngineError::UnknownFate => {
                Command::GiveBack { version: acquire.version, request_id: acquire.request_id }
            }
            _ => Command::ServeQueue,
        };
        None
    }
}

/// What a shard is sent. Results of its own loads and commits come the same way, so that one queue orders everything.
///
/// The channel has no bound, since the shard itself sends to it and must not wait for itself. What may stand in it has one by
/// who sends. A request in flight has one command in it, and at its end one message that it hung up or that its grant reached
/// nobody: the connections and the acquires that are admitted are limited. There are as many results as loads and commits are
/// under way. Whoever goes through many keys (the sweeper, the reaping of a dead replica) waits for a piece before it sends the
/// next one, and looks that other replicas ask for have a permit each. The shard never waits while it takes messages, and what
/// it has taken stays for [5 s](super::shard) at the longest, unless it is the engine's own: then it is one command for a waiter,
/// a grant or a key.
#[derive(Debug)]
pub(super) enum Message {
    /// A command.
    Command(PendingRequest),
    /// The caller of a waiting acquire went away.
    HungUp(RequestId),
    /// A grant reached nobody.
    Undelivered {
        /// Which key.
        id: KeyId,
        /// The grant.
        version: crate::domain::Version,
        /// Whether its caller chose the version, and can ask again.
        chosen: bool,
        /// The request.
        request_id: RequestId,
    },
    /// A load came back.
    Loaded(Box<super::shard::LoadDone>),
    /// A commit came back.
    Committed(Box<super::shard::CommitDone>),
    /// A decision under the database's lock came back.
    Locked(Box<super::shard::LockedDone>),
    /// Look at a key: another replica offers a place to somebody who waits here.
    Look {
        /// Which.
        id: KeyId,
        /// Goes when the message is taken up.
        permit: OwnedSemaphorePermit,
    },
    /// This replica is known to the others now: what had to wait for that can go on.
    Joined,
    /// Look at all keys that somebody here waits for: a replica died, or notifications may have been missed.
    LookAround,
    /// The waiters of this replica as the database knows them: who is missing there has to be looked after.
    Audit(Box<Audit>),
    /// Answer all who wait 503 and take them out of their queues.
    Evict {
        /// Where the service stops: kept until the shard has nothing to do any more.
        draining: Option<mpsc::Sender<Infallible>>,
    },
}

/// What the database knows of this replica's waiters.
#[derive(Debug)]
pub(super) struct Audit {
    /// The requests found, with their keys.
    pub(super) found: rustc_hash::FxHashMap<RequestId, crate::store::WaitingRow>,
    /// When the question was sent: who came later is not missing.
    pub(super) asked: Instant,
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        domain::{Acquire, Key, Kind, Owner, Tenant},
        engine::ids,
    };

    /// Somebody asks for a permit, and does not wait. `retried` tells that a write of it may have been applied.
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
            reentrant: false,
            version: ids::version(),
            chosen: false,
            retried,
            request_id: ids::request_id(false),
        };
        let id = KeyId { tenant: Tenant::trusted("t"), key: Key::trusted("a") };
        PendingRequest { id, command: Command::Acquire(acquire), reply, arrived: Instant::now() }
    }

    /// Guards invariant 7: an acquire that may have been written is looked after even if its caller has gone.
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
