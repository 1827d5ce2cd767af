//! The messages that a shard receives.

use std::convert::Infallible;

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};

use super::{
    key_task::{KeyTask, Overwritten},
    pending_request::PendingRequest,
    waiter_count::Reservation,
};
use crate::{
    SeededMap,
    domain::{Epoch, GuardBusy, KeyId, KeyState, RequestId, Timestamp, Verdict, Version},
    store::{Committed, LoadKind, Loaded, StoreError, WaitingRow, Write},
};

/// A message to a shard. The results of the shard's own loads and commits are messages too, so that one queue orders
/// everything.
///
/// The channel is unbounded, because a shard that sends to itself must not wait for itself. Its length is bounded by
/// its senders:
///
/// - A request sends one command, and at most one further message: that its caller hung up or that its grant was not
///   delivered. Both connections and admitted acquires are limited.
/// - There are as many results as loads and commits under way.
/// - The sweeper and the reaper send a bounded number of commands and wait for the answers before they send more.
/// - Each [`Message::ServeQueue`] holds one of a limited number of permits.
///
/// A shard never waits while it receives messages. A caller's command stays in the shard for about 5 s at most
/// (`ANSWER_WITHIN`); only the engine's own commands stay longer, one for each waiter, grant or key.
#[derive(Debug)]
pub(super) enum Message {
    /// A command.
    Command(PendingRequest),
    /// The caller of a waiting acquire has gone.
    HungUp(RequestId),
    /// A grant was not delivered.
    Undelivered(UndeliveredGrant),
    /// The result of a load.
    Loaded(Box<LoadDone>),
    /// The result of a commit.
    Committed(Box<CommitDone>),
    /// The result of a decision under the database's lock.
    DecidedUnderLock(Box<DecidedUnderLock>),
    /// Serve the queue of a key: another replica has an offer for a waiter of this one.
    ServeQueue {
        /// The key.
        id: KeyId,
        /// Released when the shard receives the message.
        permit: OwnedSemaphorePermit,
    },
    /// Serve the queues of all keys with waiters at this replica: another replica died.
    ServeAllQueues,
    /// This replica is registered now, so that the other replicas know it. Commands that waited for that can go on.
    Registered,
    /// The waiters of this replica according to the database.
    WaiterCheck(Box<WaiterCheck>),
    /// Answer all waiters 503 and remove them from their queues.
    Evict {
        /// Set when the service stops; the shard drops the sender when it is idle.
        draining: Option<mpsc::Sender<Infallible>>,
    },
}

/// A grant whose answer did not reach its caller.
#[derive(Debug)]
pub(super) struct UndeliveredGrant {
    /// The key.
    pub(super) id: KeyId,
    /// The version of the grant.
    pub(super) version: Version,
    /// Whether the caller chose the version, and so can repeat the request.
    pub(super) chosen: bool,
    /// The request that was granted.
    pub(super) request_id: RequestId,
}

/// The result of a load.
#[derive(Debug)]
pub(super) struct LoadDone {
    pub(super) kind: LoadKind,
    pub(super) result: Result<Loaded, StoreError>,
    /// The epoch that was known when the statement was sent.
    pub(super) epoch: Epoch,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

/// The result of a commit.
#[derive(Debug)]
pub(super) struct CommitDone {
    /// The number of the commit within its shard.
    pub(super) number: u64,
    pub(super) writes: Vec<Write>,
    pub(super) result: Result<Committed, StoreError>,
    /// Details about the locked rows if the commit failed because of them.
    pub(super) blocked: FoundBlocked,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

/// Details about the blocked rows of a commit that failed because of them.
#[derive(Debug, Default)]
pub(super) struct FoundBlocked {
    /// Keys whose rows another session keeps locked.
    pub(super) keys: Vec<KeyId>,
    /// Whether the commit was sent and waited for a lock until its time limit.
    pub(super) waited: bool,
    /// Details about the guard row that is locked.
    pub(super) guard: GuardBusy,
}

/// The result of a decision under the database's lock.
#[derive(Debug)]
pub(super) struct DecidedUnderLock {
    pub(super) id: KeyId,
    /// The key task as it was decided, without the channels to its callers: those stay in the shard.
    pub(super) copy: KeyTask,
    /// What earlier writes did that the loaded state shows and that is not recorded, with that state, for the audit log.
    pub(super) overwritten: Option<(Vec<Overwritten>, Box<KeyState>, Timestamp)>,
    /// The write, with its verdicts and the room for its waiters, if there was something to write.
    pub(super) decided: Option<(Write, Vec<Verdict>, Reservation)>,
    pub(super) result: Result<Committed, StoreError>,
    pub(super) sent: Instant,
    pub(super) received: Instant,
}

/// The waiters of this replica according to the database.
#[derive(Debug)]
pub(super) struct WaiterCheck {
    /// The requests found, with their rows.
    pub(super) found: SeededMap<RequestId, WaitingRow>,
    /// When the query was sent. A waiter that was added later is not missing.
    pub(super) asked: Instant,
}
