//! The checker's knowledge of one key, and functions that read its states.

use std::collections::{BTreeMap, BTreeSet};

use super::{Moment, facts::Facts};
use crate::{
    SeededMap,
    domain::{Body, Grant, KeyState, Owner, Place, RequestId, Timestamp, Version},
};

/// A state of a key, with the moment from which it is current.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) from: Moment,
    pub(super) state: KeyState,
}

/// The checker's knowledge of one key.
#[derive(Debug)]
pub(super) struct KeyChecks {
    /// All states of the key, the newest last.
    pub(super) states: Vec<Recorded>,
    /// All grants of the key.
    pub(super) grants: BTreeMap<Version, Facts>,
    /// The greatest token so far.
    pub(super) greatest: i64,
    /// The versions in requests to end a grant, and in requests to renew one.
    pub(super) endings: BTreeSet<Version>,
    pub(super) renewals: BTreeSet<Version>,
    /// The chosen versions in requests, with their owners.
    pub(super) chosen: BTreeMap<Version, Owner>,
    /// Owners that may hold a grant without knowing it, because their replica is gone.
    pub(super) orphans: BTreeSet<Owner>,
    /// The number of replaced grants with a chosen version.
    pub(super) chosen_replaced: usize,
    /// Data that has been replaced.
    pub(super) replaced_data: BTreeSet<String>,
    /// The open transactions of users that passed the guard, each with its grant.
    pub(super) transactions: BTreeMap<u64, Version>,
    /// When the last such transaction ended.
    pub(super) guarded_until: Option<i64>,
    /// Every such transaction that was committed, with its time and its grant.
    pub(super) commits: Vec<(u64, Version)>,
    /// Grants that a failover lost. Their callers may have been answered.
    pub(super) lost: BTreeSet<Version>,
    /// Waiters of a state that a failover brought back. Their requests may have been answered since.
    pub(super) waited: BTreeSet<Version>,
    /// The largest possible number of active grants when the last one was made: no more have transactions.
    pub(super) places_when_granted: usize,
    /// The time since which a request waits although a place is free.
    pub(super) hungry_since: Option<i64>,
    /// The time since which a request waits although a place is free that is offered to these requests.
    pub(super) offered_since: SeededMap<RequestId, i64>,
}

impl Default for KeyChecks {
    fn default() -> Self {
        let from = Moment { serial: 0, at: 0 };
        Self {
            states: vec![Recorded { from, state: KeyState::absent() }],
            grants: BTreeMap::new(),
            greatest: 0,
            endings: BTreeSet::new(),
            renewals: BTreeSet::new(),
            chosen: BTreeMap::new(),
            orphans: BTreeSet::new(),
            chosen_replaced: 0,
            replaced_data: BTreeSet::new(),
            transactions: BTreeMap::new(),
            guarded_until: None,
            commits: Vec::new(),
            lost: BTreeSet::new(),
            waited: BTreeSet::new(),
            places_when_granted: 1,
            hungry_since: None,
            offered_since: SeededMap::default(),
        }
    }
}

impl KeyChecks {
    pub(super) fn state(&self) -> &KeyState {
        // There is a state from the beginning.
        &self.states[self.states.len() - 1].state
    }

    /// Records the current offers, and returns the age of the oldest one.
    pub(super) fn oldest_offer(&mut self, at: i64) -> i64 {
        let offered = |place: Place| match place {
            Place::Attached { request_id, offered_until: Some(_), .. } => Some(request_id),
            Place::Attached { .. } | Place::Detached { .. } => None,
        };
        let offers: Vec<_> =
            self.state().queue.head.iter().filter_map(|waiter| offered(waiter.place)).collect();
        self.offered_since.retain(|request_id, _| offers.contains(request_id));
        offers.into_iter().map(|id| at - *self.offered_since.entry(id).or_insert(at)).max().unwrap_or(0)
    }
}

/// The grants on record in a state.
pub(super) fn grants_of(state: &KeyState) -> Vec<&Grant> {
    match &state.body {
        Body::Absent => Vec::new(),
        Body::Mutex(mutex) => mutex.grant.iter().collect(),
        Body::Semaphore(semaphore) => semaphore.permits.known.iter().map(|permit| &permit.grant).collect(),
    }
}

/// The number of grants that may be active at the same time.
pub(super) fn places_of(state: &KeyState) -> usize {
    match &state.body {
        Body::Semaphore(semaphore) => usize::try_from(semaphore.max_size).unwrap_or(0),
        Body::Absent | Body::Mutex(_) => 1,
    }
}

/// The number of ended grants whose places are not free because of open transactions.
pub(super) fn ending(state: &KeyState) -> usize {
    match &state.body {
        Body::Absent => 0,
        Body::Mutex(mutex) => usize::from(mutex.guard.is_ending()),
        Body::Semaphore(semaphore) => semaphore.permits.ending().count(),
    }
}

/// The number of active grants at this time of the clock.
pub(super) fn active(state: &KeyState, clock: i64) -> usize {
    let is_active = |grant: &&Grant| grant.is_active_at(Timestamp(clock));
    grants_of(state).into_iter().filter(is_active).count()
}
