//! What comes of decisions.

use std::collections::BTreeSet;

use super::ends::Ended;
use crate::domain::{LockView, ReplicaId, Reply, RequestId, Timestamp, Version};

/// What a decision cannot be taken without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The permit or waiter of this version, if there is one.
    Version(Version),
    /// A longer front of the queue: at least this many.
    QueuePrefix(usize),
    /// A fresh list of the permits that end first: at least this many; and how many are out.
    Permits(usize),
    /// This replica has to be known to the others first.
    Membership,
    /// What was decided before it in this batch, and what of the queue was served for it, has to be committed first.
    NextBatch,
}

/// What became of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is answered.
    Reply(Reply),
    /// It waits in the queue, for at most so many milliseconds.
    Waiting {
        /// How long it wants to wait.
        wait_ms: i64,
    },
    /// It has ended the grant, or meant to; an open transaction is in the way. It is decided again when that may have ended. A
    /// release has the lock as it leaves it: others may have finished it by then, and have taken the lock.
    GuardOpen(Option<Box<LockView>>),
    /// An earlier write of it may have been applied and been overwritten since: whether it was is not known, and it is not
    /// applied over what was written meanwhile.
    Unknown,
}

/// The outcome of one command: a verdict, or what is missing. After a [`Need`] the [`KeyChange`](super::KeyChange) must be
/// thrown away, but for [`Need::NextBatch`]: after that one it is written.
pub type Decided = Result<Verdict, Need>;

/// Who is notified of what once the change is committed.
#[derive(Debug, Clone, Default)]
pub struct Effects {
    /// Waiters of this replica that are answered.
    pub answered: Vec<(RequestId, Reply)>,
    /// How the place became free that a waiter of this replica was granted: for the metric of hand-overs.
    pub freed: Vec<(RequestId, Freed)>,
    /// Other replicas that have something to look at: an offer, or a waiter that was taken over.
    pub notified: BTreeSet<ReplicaId>,
    /// Leases that releases ended, with the ends that they had before.
    pub released: Vec<(Version, Timestamp)>,
    /// How many offers lapsed.
    pub skipped: u64,
    /// How many grants were found expired that nobody had released.
    pub expired: u64,
    /// Grants that ended; `None` where nobody wants to know, since a list costs an allocation.
    pub ended: Option<Vec<Ended>>,
    /// Versions of new grants; `None` as with [`Self::ended`].
    pub granted: Option<Vec<Version>>,
    /// Replicas that let an offer lapse.
    pub suspects: BTreeSet<ReplicaId>,
    /// The queue was served only in part: [`Command::ServeQueue`](crate::domain::Command::ServeQueue) has to follow.
    pub unfinished: bool,
}

/// How a place became free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freed {
    /// When, by the database's clock.
    pub at: Timestamp,
    /// By a release; else its lease ended.
    pub by_release: bool,
}
