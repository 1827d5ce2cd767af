//! Checks for the time when nothing fails any more.

use std::time::Duration;

use super::{Checker, active, grants_of, key::ending, places_of};
use crate::{
    domain::{Grant, KeyId, Place, ReplicaId, RequestId, Version, Waiter},
    simulation::request::short,
};

/// The time for which a free place may have a waiter at a running replica: a notification is lost, and the next query
/// finds the offer.
const SERVED_WITHIN_MS: i64 = 500;

/// The time for which a place may be offered to a replica that does not run.
const OFFERED_MS: i64 = 2_000;

/// The longest time of one offer.
const OFFER_STANDS_MS: i64 = 2_500;

/// The time for which a place may be offered to such replicas in all: by then the others know that the replica is dead.
const DEAD_WITHIN_MS: i64 = 6_000;

/// The time for which the others may believe that a stopped replica runs.
const UNNOTICED_MS: i64 = 8_000;

impl Checker {
    /// Checks that no request that could be served waits while a place is free. `runs_for` is the time for which one of the
    /// replicas has been running.
    pub(in super::super) fn check_served(
        &mut self,
        at: i64,
        clock: i64,
        lives: impl Fn(ReplicaId) -> bool,
        runs_for: Duration,
    ) -> Result<(), String> {
        let runs_from = at - i64::try_from(runs_for.as_millis()).unwrap_or(i64::MAX);
        let stopped = self.stops.iter().filter(|stop| **stop >= at - UNNOTICED_MS).count();
        for (id, key) in &mut self.keys {
            let state = key.state();
            let free = active(state, clock) + ending(state) < places_of(state);
            let waits = |waiter: &Waiter| replica_of(waiter.place).is_some_and(&lives);
            let somebody_waits = state.queue.head.iter().any(waits);
            if at >= self.served_from {
                key.check_finished(at, self.served_from.max(runs_from), somebody_waits)?;
            }
            let hungry = free && somebody_waits;
            if !hungry || at < self.served_from {
                key.hungry_since = None;
                key.offered_since.clear();
                continue;
            }
            let offered = key.oldest_offer(at);
            if offered > OFFER_STANDS_MS {
                let name = id.key.as_str();
                return Err(format!(
                    "invariant 6: an offer of {name} stands for {offered} ms, and somebody waits"
                ));
            }
            let state = key.state();
            // Each running replica may offer every free place to a stopped replica, until they know that it is dead.
            // The stopped replica may also be the only one that knew the end of a lease.
            let does_not_run = |waiter: &Waiter| replica_of(waiter.place).is_some_and(|id| !lives(id));
            let may_be_dead = stopped > 0 || state.queue.head.iter().any(does_not_run);
            let within = SERVED_WITHIN_MS + if may_be_dead { DEAD_WITHIN_MS } else { OFFERED_MS };
            let since = at - *key.hungry_since.get_or_insert(at);
            if since > within {
                return Err(format!(
                    "invariant 6: {} was free for {since} ms, and somebody waits",
                    id.key.as_str()
                ));
            }
        }
        Ok(())
    }

    /// Active grants on which nobody relies: an operator may end them, so that the others continue. Grants that the
    /// service has to give back itself are not among them.
    pub(in super::super) fn left_over(&self, at: i64) -> Vec<(KeyId, Version)> {
        let mut left = Vec::new();
        for (id, key) in &self.keys {
            for (version, facts) in key.grants.iter().filter(|(_, facts)| facts.is_active()) {
                let relied_on = facts.promises.values().any(|until| *until > at);
                if !relied_on && (facts.db_time || self.is_excused(id, *version)) {
                    left.push((id.clone(), *version));
                }
            }
        }
        left
    }

    /// Whether a grant may be active although no client knows it: its replica was gone before it could give the grant
    /// back, or it is not known which requests have it.
    fn is_excused(&self, id: &KeyId, version: Version) -> bool {
        let Some(key) = self.keys.get(id) else { return false };
        let of_nobody = |grant: &&Grant| grant.version == version && grant.request_id == RequestId::NONE;
        if grants_of(key.state()).iter().any(of_nobody) {
            return true;
        }
        key.grants.get(&version).is_some_and(|facts| key.orphans.contains(&facts.owner) || facts.restored)
    }

    /// Checks at the end that every holder knows its grant, and that nobody waits.
    pub(in super::super) fn check_left_behind(&mut self, clock: i64) -> Result<(), String> {
        for key in self.keys.values_mut() {
            key.tick(clock);
        }
        for (id, key) in &self.keys {
            let name = id.key.as_str();
            for (version, _) in key.grants.iter().filter(|(_, facts)| facts.is_active() && !facts.db_time) {
                if !self.is_excused(id, *version) {
                    return Err(format!(
                        "invariant 7: {name}: {} holds, and nobody was answered",
                        short(*version)
                    ));
                }
            }
            // If a replica was declared dead late, the places of its waiters are kept beyond the end.
            let is_kept =
                |waiter: &&Waiter| matches!(waiter.place, Place::Detached { until } if until.0 > clock);
            if let Some(waiter) = key.state().queue.head.iter().find(|waiter| !is_kept(waiter)) {
                return Err(format!(
                    "{name}: a place is kept for {}, who is gone",
                    short(waiter.holder.version)
                ));
            }
        }
        let open = self.requests.iter().find(|(_, request)| request.answered.is_none() && !request.closed);
        match open {
            Some((request, _)) => Err(format!("{request} was never answered")),
            None => Ok(()),
        }
    }
}

/// The replica of a waiter's connection.
const fn replica_of(place: Place) -> Option<ReplicaId> {
    match place {
        Place::Attached { replica, .. } => Some(replica),
        Place::Detached { .. } => None,
    }
}
