//! Remembers since when this replica knows of each offer, so that no waiter loses its place because a commit took long.
//!
//! An offer carries the time until which a place is kept, counted from the decision. The other replica can claim it only
//! once it is committed, which may be seconds later. So a replica counts an offer as lapsed only after it has known of it for a
//! while: the one that made it, for the duration of an offer from the commit on; another one, for long enough to claim it.

use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

use crate::domain::{Now, Place, Queue, RequestId, Timestamp};

/// The minimum time that a replica leaves an offer alone after it found it, in milliseconds.
pub(super) const CLAIM_MS: i64 = 1_000;

/// Longer than any offer is left alone.
const REMEMBERED_FOR: Duration = Duration::from_secs(30);

/// An offer.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// Until when its row keeps the place.
    written: Timestamp,
    /// Until when this replica leaves it alone.
    kept: Timestamp,
    /// When this replica came upon it.
    since: Instant,
}

/// The offers that a shard knows of, by request.
#[derive(Debug, Clone, Default)]
pub(super) struct KnownOffers(FxHashMap<RequestId, Known>);

impl KnownOffers {
    /// Has the offers in this view last as long as this replica leaves them alone; one that is new to it at least `keep_ms` from
    /// now on.
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
                self.0.insert(*request_id, Known { written: *until, kept, since: at });
                kept
            };
            *until = kept;
        }
    }

    /// Forgets offers that are over.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.0.retain(|_, known| now.duration_since(known.since) < REMEMBERED_FOR);
    }
}
