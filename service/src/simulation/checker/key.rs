//! What is known of one key, and how its states are read.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashMap;

use super::{Moment, facts::Facts};
use crate::domain::{Body, Grant, KeyState, Owner, Place, RequestId, Timestamp, Version};

/// A state of a key, from a moment on.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) from: Moment,
    pub(super) state: KeyState,
}

/// What is known of one key.
#[derive(Debug)]
pub(super) struct KeyChecks {
    /// Every state that it had, the newest last.
    pub(super) states: Vec<Recorded>,
    /// Every grant of it.
    pub(super) grants: BTreeMap<Version, Facts>,
    /// The greatest token so far.
    pub(super) greatest: i64,
    /// Versions with which somebody asked to end a grant, and to renew one.
    pub(super) endings: BTreeSet<Version>,
    pub(super) renewals: BTreeSet<Version>,
    /// Chosen versions that were asked for, and by whom.
    pub(super) chosen: BTreeMap<Version, Owner>,
    /// Owners who may hold without knowing it: their replica is gone.
    pub(super) orphans: BTreeSet<Owner>,
    /// How many grants with a chosen version have been replaced.
    pub(super) chosen_replaced: usize,
    /// Data that was there and was replaced.
    pub(super) replaced_data: BTreeSet<String>,
    /// The open transactions of users that passed the guard, each with its grant.
    pub(super) transactions: BTreeMap<u64, Version>,
    /// When the last such transaction ended.
    pub(super) guarded_until: Option<i64>,
    /// Every such transaction that was committed: when, and for which grant.
    pub(super) commits: Vec<(u64, Version)>,
    /// Grants that a failover lost. Their callers may have been answered.
    pub(super) lost: BTreeSet<Version>,
    /// Those who waited in a state that came back; their requests may have been answered since.
    pub(super) waited: BTreeSet<Version>,
    /// How many grants might stand when the last one was made: no more have transactions.
    pub(super) places_when_granted: usize,
    /// Since when somebody waits beside a free place.
    pub(super) hungry_since: Option<i64>,
    /// Since when somebody waits beside a free place that is offered to these requests.
    pub(super) offered_since: FxHashMap<RequestId, i64>,
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
            offered_since: FxHashMap::default(),
        }
    }
}

impl KeyChecks {
    pub(super) fn state(&self) -> &KeyState {
        // There is one from the beginning.
        &self.states[self.states.len() - 1].state
    }

    /// Takes note of the offers that stand, and returns for how long the oldest one has stood.
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

/// How many may hold at a time.
pub(super) fn places_of(state: &KeyState) -> usize {
    match &state.body {
        Body::Semaphore(semaphore) => usize::try_from(semaphore.max_size).unwrap_or(0),
        Body::Absent | Body::Mutex(_) => 1,
    }
}

/// How many grants were ended, and open transactions keep their places from being free.
pub(super) fn ending(state: &KeyState) -> usize {
    match &state.body {
        Body::Absent => 0,
        Body::Mutex(mutex) => usize::from(mutex.guard.is_ending()),
        Body::Semaphore(semaphore) => semaphore.permits.ending().count(),
    }
}

/// How many grants stand when the clock shows this.
pub(super) fn active(state: &KeyState, clock: i64) -> usize {
    let is_active = |grant: &&Grant| grant.is_active_at(Timestamp(clock));
    grants_of(state).into_iter().filter(is_active).count()
}
