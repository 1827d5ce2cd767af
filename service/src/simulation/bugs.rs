//! Bugs that tests plant in the service's code, to see that a simulation finds them.

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A grant gets the token of the one before it.
    TokenNotBumped,
    /// Leases end by the replica's own clock after the first reading of the database's clock.
    ExpiryByLocalClock,
    /// A newcomer gets a free lock although others wait.
    NewcomerOvertakes,
    /// A release ends any grant, whatever its version.
    ReleaseIgnoresVersion,
    /// Callers are answered when a commit is sent, not when it is durable.
    AnsweredBeforeDurable,
    /// A release frees the lock without serving the queue or setting a timer.
    LostWakeUp,
    /// A place that was offered to another replica is kept for it forever.
    OfferNeverLapses,
    /// A write of unknown outcome is decided again as if it had never been sent.
    UnknownOutcomeAppliedTwice,
    /// An answer that writes nothing is given from the cache.
    StaleCacheAnswered,
    /// A change that finds a guard row locked is written without it.
    GuardSkipped,
    /// A grant's token does not contain the epoch.
    EpochNotAdded,
    /// The clean-up after a request ends the grant even if another request has it.
    CleanUpEndsLiveGrant,
}

impl Bug {
    /// All bugs.
    pub(super) const ALL: [Self; 12] = [
        Self::TokenNotBumped,
        Self::ExpiryByLocalClock,
        Self::NewcomerOvertakes,
        Self::ReleaseIgnoresVersion,
        Self::AnsweredBeforeDurable,
        Self::LostWakeUp,
        Self::OfferNeverLapses,
        Self::UnknownOutcomeAppliedTwice,
        Self::StaleCacheAnswered,
        Self::CleanUpEndsLiveGrant,
        Self::GuardSkipped,
        Self::EpochNotAdded,
    ];
}
