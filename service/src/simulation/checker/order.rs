//! First come, first served.

use std::collections::{BTreeMap, BTreeSet};

use super::grants_of;
use crate::{
    domain::{KeyState, Place, ReplicaId, Version, Waiter},
    simulation::request::short,
};

/// The time for which a replica that let an offer lapse may be suspect.
const SUSPECT_MS: i64 = 10_000;

/// The precision of a clock, in milliseconds.
const RECKONED_MS: i64 = 10;

/// Replicas whose waiters may be overtaken.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    /// Replicas that let an offer lapse, with the time of the last one.
    lapsed: BTreeMap<ReplicaId, i64>,
    /// Replicas that ended: no request waits there any more.
    gone: BTreeSet<ReplicaId>,
}

impl Suspects {
    /// Records offers that have lapsed and are withdrawn, when the clock shows `clock` at most.
    pub(super) fn note(&mut self, at: i64, before: &KeyState, after: &KeyState, clock: i64) {
        let stays = |waiter: &Waiter| after.queue.head.iter().any(|other| other.place == waiter.place);
        for waiter in before.queue.head.iter().filter(|waiter| !stays(waiter)) {
            if let Place::Attached { replica, offered_until: Some(until), .. } = waiter.place
                && until.0 <= clock + RECKONED_MS
            {
                self.lapsed.insert(replica, at);
            }
        }
    }

    pub(super) fn note_gone(&mut self, replicas: impl Iterator<Item = ReplicaId>) {
        self.gone.extend(replicas);
    }

    pub(super) fn contains(&self, at: i64, replica: ReplicaId) -> bool {
        self.gone.contains(&replica)
            || self.lapsed.get(&replica).is_some_and(|since| at - since <= SUSPECT_MS)
    }
}

/// Checks that no attached waiter that was queued before the last granted one still waits without an offer. If there is
/// only one place, and it was offered, it must not wait with an offer either.
pub(super) fn check_order(
    before: &KeyState,
    after: &KeyState,
    fresh: &[Version],
    places: usize,
    is_suspect: &dyn Fn(ReplicaId) -> bool,
) -> Result<(), String> {
    if fresh.is_empty() {
        return Ok(());
    }
    let waited = |version: Version| before.queue.head.iter().find(|waiter| waiter.holder.version == version);
    let seq_of = |version: Version| waited(version).map_or(i64::MAX, |waiter| waiter.seq);
    let last = fresh.iter().map(|version| seq_of(*version)).max().unwrap_or(i64::MAX);
    // A waiter that left and came back within the change may have been skipped meanwhile.
    let stayed = |waiter: &Waiter| {
        before.queue.head.iter().any(|other| other.seq == waiter.seq && other.place == waiter.place)
    };
    for waiter in after.queue.head.iter().filter(|waiter| stayed(waiter) && waiter.seq < last) {
        let overtaken = match waiter.place {
            // After one unclaimed offer the other waiters of the replica may be skipped, until it is known whether the
            // replica lives.
            Place::Attached { replica, .. } if is_suspect(replica) => false,
            Place::Attached { offered_until, .. } => offered_until.is_none() || places == 1,
            Place::Detached { .. } => false,
        };
        if overtaken {
            let names: Vec<_> = fresh.iter().map(|version| short(*version)).collect();
            return Err(format!(
                "invariant 5: {} waits, and was overtaken by {names:?}",
                short(waiter.holder.version)
            ));
        }
    }
    check_sequence(before, after, fresh, places)
}

/// Checks that waiters for a single place are granted in the order of their arrival.
fn check_sequence(
    before: &KeyState,
    after: &KeyState,
    fresh: &[Version],
    places: usize,
) -> Result<(), String> {
    if places != 1 {
        // With several places, one may be kept for an earlier waiter that is granted later.
        return Ok(());
    }
    let mut grants: Vec<_> =
        grants_of(after).into_iter().filter(|grant| fresh.contains(&grant.version)).collect();
    grants.sort_by_key(|grant| grant.token);
    let seq = |version: Version| {
        let stood = |waiter: &&Waiter| {
            waiter.holder.version == version && matches!(waiter.place, Place::Attached { .. })
        };
        before.queue.head.iter().find(stood).map(|waiter| waiter.seq)
    };
    let order: Vec<_> = grants.iter().filter_map(|grant| seq(grant.version)).collect();
    if order.is_sorted() { Ok(()) } else { Err(format!("invariant 5: granted out of order: {order:?}")) }
}
