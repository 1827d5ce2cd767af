//! Bugs that tests plant in the service's code, to see that a simulation finds them.

/// A bug to plant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A grant gets the token of the one before it.
    TokenNotBumped,
    /// Leases are judged by this replica's own clock after the first reading of the database's.
    ExpiryByLocalClock,
    /// Who comes to a free lock takes it, although others wait.
    NewcomerOvertakes,
    /// A release ends whatever grant there is.
    ReleaseIgnoresVersion,
    /// Callers are answered when a commit is sent, not when it is durable.
    AnsweredBeforeDurable,
    /// A release frees the lock and serves nobody, and no timer is set.
    LostWakeUp,
    /// A place that was offered to another replica is kept for it for ever.
    OfferNeverLapses,
    /// A write of unknown outcome is decided again as if it had never been sent.
    UnknownOutcomeAppliedTwice,
    /// An answer that writes nothing is given from the cache.
    StaleCacheAnswered,
    /// A change that finds a guard row locked is written without it.
    GuardSkipped,
    /// The epoch does not stand in front of a grant's token.
    EpochNotAdded,
    /// The clean-up after a request ends the grant whoever has it.
    CleanUpEndsLiveGrant,
}

impl Bug {
    /// All of them.
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
