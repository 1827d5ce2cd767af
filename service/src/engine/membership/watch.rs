//! Detects dead replicas by their heartbeat counters.

use std::time::Duration;

use tokio::time::Instant;

use crate::{SeededMap, domain::ReplicaId, store::Peer};

/// The time after which a replica is dead if its counter has not moved.
const DEAD_AFTER: Duration = Duration::from_secs(3);
/// The maximum time between two readings of the counters. After a longer pause the silence of others proves nothing.
const OWN_GAP: Duration = Duration::from_millis(2_500);

/// The heartbeat counters of other replicas that this replica has seen.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// The counter of each peer, and when it was first seen at that value.
    seen: SeededMap<ReplicaId, (i64, Instant)>,
    /// When this replica last read the counters.
    own: Option<Instant>,
}

/// The replicas that the counters show to be dead or alive.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ObservedReplicas {
    /// Dead replicas, with the counters at which they stopped.
    pub(super) dead: Vec<(ReplicaId, i64)>,
    /// Replicas whose counters have moved.
    pub(super) alive: Vec<ReplicaId>,
}

impl Watch {
    /// Compares the counters with those seen before.
    pub(super) fn note(&mut self, me: Option<ReplicaId>, peers: &[Peer], now: Instant) -> ObservedReplicas {
        let gap = self.own.replace(now).is_none_or(|own| now.duration_since(own) > OWN_GAP);
        let mut seen = SeededMap::default();
        let mut observed = ObservedReplicas::default();
        for peer in peers.iter().filter(|peer| Some(peer.replica) != me) {
            let before = self.seen.get(&peer.replica);
            if before.is_some_and(|(counter, _)| *counter != peer.beat) {
                observed.alive.push(peer.replica);
            }
            let since = match before {
                Some((counter, since)) if *counter == peer.beat && !gap => *since,
                Some(_) | None => now,
            };
            if now.duration_since(since) >= DEAD_AFTER {
                observed.dead.push((peer.replica, peer.beat));
            }
            seen.insert(peer.replica, (peer.beat, since));
        }
        self.seen = seen;
        observed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ids;

    fn peers(peers: &[(ReplicaId, i64)]) -> Vec<Peer> {
        peers.iter().map(|&(replica, beat)| Peer { replica, beat }).collect()
    }

    /// Guards invariant 6: a queue does not stop because a replica was killed.
    #[test]
    fn a_counter_that_stands_still_for_three_seconds_is_a_dead_replica() {
        let (me, other) = (ids::replica(), ids::replica());
        let start = Instant::now();
        let mut watch = Watch::default();
        for second in 0..3 {
            let at = start + Duration::from_secs(second);
            assert!(watch.note(Some(me), &peers(&[(other, 7)]), at).dead.is_empty(), "after {second} s");
        }
        let observed = watch.note(Some(me), &peers(&[(other, 7)]), start + Duration::from_secs(3));
        assert_eq!(observed, ObservedReplicas { dead: vec![(other, 7)], alive: Vec::new() });
        let observed = watch.note(Some(me), &peers(&[(other, 8)]), start + Duration::from_secs(4));
        assert_eq!(observed, ObservedReplicas { dead: Vec::new(), alive: vec![other] });
    }

    /// Guards invariant 8: no timestamps are compared, so an outage of the database makes no replica dead.
    #[test]
    fn an_outage_of_ten_seconds_makes_no_replica_dead() {
        let (me, other) = (ids::replica(), ids::replica());
        let start = Instant::now();
        let mut watch = Watch::default();
        watch.note(Some(me), &peers(&[(other, 7)]), start);
        assert!(watch.note(Some(me), &peers(&[(other, 7)]), start + Duration::from_secs(10)).dead.is_empty());
        assert!(watch.note(Some(me), &peers(&[(other, 8)]), start + Duration::from_secs(11)).dead.is_empty());
    }
}
