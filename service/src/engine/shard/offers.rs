//! Remembers since when this replica has known each offer, so that no waiter loses its place because of a slow commit.
//!
//! An offer carries the time until which a place is kept, counted from the decision. The other replica can claim the
//! place only once the offer is committed, which may be seconds later. So a replica counts an offer as lapsed only
//! after it has known the offer for some time: the replica that made the offer for the duration of an offer after the
//! commit, other replicas for long enough to claim the place.

use std::time::Duration;

use tokio::time::Instant;

use crate::{
    SeededMap,
    domain::{Now, Place, Queue, RequestId, Timestamp},
};

/// The minimum time for which a replica respects an offer after it first saw it, in milliseconds.
pub(super) const CLAIM_MS: i64 = 1_000;

/// How long an offer is remembered: longer than any offer is respected.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// An offer that this replica has seen.
#[derive(Debug, Clone, Copy)]
struct SeenOffer {
    /// The end of the offer as its row has it.
    written: Timestamp,
    /// The end of the offer as this replica counts it.
    kept: Timestamp,
    /// When this replica first saw the offer.
    since: Instant,
}

/// The offers that a shard knows of, by request.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownOffers(SeededMap<RequestId, SeenOffer>);

impl KnownOffers {
    /// Sets the offers in this view to end when this replica stops respecting them: for an offer that is new here, at
    /// least `keep_ms` from now.
    pub(super) fn keep(&mut self, queue: &mut Queue, now: Now, keep_ms: i64, at: Instant) {
        for waiter in &mut queue.head {
            let Place::Attached { request_id, offered_until: Some(until), .. } = &mut waiter.place else {
                continue;
            };
            let known = self.0.get(request_id).filter(|known| [known.written, known.kept].contains(until));
            let kept = if let Some(known) = known {
                known.kept
            } else {
                let kept = (*until).max(now.at_most.plus_ms(keep_ms));
                self.0.insert(*request_id, SeenOffer { written: *until, kept, since: at });
                kept
            };
            *until = kept;
        }
    }

    /// Forgets offers that were first seen long ago. They are over.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, known| now.duration_since(known.since) < REMEMBERED_FOR);
    }
}
