//! The results of decisions.

use std::collections::BTreeSet;

use super::ends::Ended;
use crate::domain::{LockView, ReplicaId, Reply, RequestId, Timestamp, Version};

/// Something that is missing for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The permit or waiter of this version, if there is one.
    Version(Version),
    /// The data of the waiters of these versions.
    Data(Vec<Version>),
    /// A longer front of the queue: at least this many waiters.
    QueuePrefix(usize),
    /// A fresh list of the permits that end first, with at least this many, and the number of active permits.
    Permits(usize),
    /// The registration of this replica, so that the other replicas know it.
    Membership,
    /// A commit of the earlier decisions of this batch, and of what was served for this command.
    NextBatch,
}

/// The decision on a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The command is answered.
    Reply(Reply),
    /// The command waits in the queue.
    Waiting {
        /// The maximum waiting time in milliseconds.
        wait_ms: i64,
    },
    /// The command ended a grant or needs a guard row, and an open transaction is in the way. The command is decided
    /// again when that transaction may have ended. A release carries the lock as the release leaves it: by then another
    /// command may have finished the release, and the lock may be taken again.
    GuardOpen(Option<Box<LockView>>),
    /// An earlier write of the command may have been applied and overwritten since. The command is not applied again
    /// over what was written meanwhile.
    Unknown,
}

/// The outcome of one command: a verdict, or what is missing. After a [`Need`] the [`KeyChange`](super::KeyChange) must
/// be thrown away, except after [`Need::NextBatch`]: then it is written.
pub type Decided = Result<Verdict, Need>;

/// The effects of a change once it is committed.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// The answers to waiters of this replica.
    pub answered: Vec<(RequestId, Reply)>,
    /// For each granted waiter of this replica, when and how its place became free: for the metric of hand-overs.
    pub freed: Vec<(RequestId, Freed)>,
    /// Other replicas to notify: of an offer, or of a waiter that was taken over.
    pub notified: BTreeSet<ReplicaId>,
    /// Leases that releases ended, with their ends before the release.
    pub released: Vec<(Version, Timestamp)>,
    /// The number of offers that lapsed.
    pub skipped: u64,
    /// The number of grants that were found to have expired without a release.
    pub expired: u64,
    /// Grants that ended; `None` unless ends are listed, because a list costs an allocation.
    pub ended: Option<Vec<Ended>>,
    /// Versions of new grants; `None` as with [`Self::ended`].
    pub granted: Option<Vec<Version>>,
    /// Replicas that let an offer lapse.
    pub suspects: BTreeSet<ReplicaId>,
    /// Whether the queue was served only in part, so that a [`Command::ServeQueue`](crate::domain::Command::ServeQueue)
    /// has to follow.
    pub unfinished: bool,
}

/// When and how a place became free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// The time, by the database's clock.
    pub at: Timestamp,
    /// Whether a release freed the place; otherwise its lease expired.
    pub by_release: bool,
}
