//! The checker: compares answers and writes with the invariants of ARCHITECTURE.md.
//!
//! The checker does not know how the service works. It knows every request with its time, every answer, and every state
//! of every key with the moment from which it was current. It checks:
//!
//! - `grants`: exclusion, tokens, and the end of each grant by its release, its lease, or because nobody knows it (1, 2,
//!   4, 7, 9);
//! - `order`: first come, first served (5);
//! - `guards`: transactions of two holders of a guarded key never overlap, and other keys do not notice them (11);
//! - `disruptions`: a database that lost commits has lost answers too, but no token is seen twice (2);
//! - `answers`, `refusals`: every answer was true at some moment between request and answer, and is durable (3, 8, 10);
//! - `quiet`: when nothing fails any more, nobody waits for a free lock, every request is answered, and no grant is
//!   left behind (6, 7).

mod answers;
mod clocks;
mod disruptions;
mod facts;
mod grants;
mod guards;
mod key;
mod order;
mod quiet;
mod refusals;
mod seen;

use std::{collections::BTreeMap, fmt};

use self::{
    clocks::Clocks,
    key::{KeyChecks, Recorded, active, grants_of, places_of},
    order::Suspects,
};
use super::request::Ask;
use crate::domain::{KeyId, KeyState, LockView, ReplicaId, Version};

/// The number of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RequestId(u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {}", self.0)
    }
}

/// A point of the history. Several events can happen within a millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Moment {
    serial: u64,
    at: i64,
}

/// A request of a client.
#[derive(Debug)]
struct Request {
    client: usize,
    replica: usize,
    id: KeyId,
    ask: Ask,
    asked: Moment,
    answered: Option<Moment>,
    /// The client has the answer, or does not wait for it any more.
    closed: bool,
    /// The request was answered, and the service has no grant of it to give back.
    settled: bool,
}

impl Request {
    const fn number(&self) -> RequestId {
        RequestId(self.asked.serial)
    }
}

/// The checker of one simulation.
pub(super) struct Checker {
    keys: BTreeMap<KeyId, KeyChecks>,
    requests: BTreeMap<RequestId, Request>,
    clocks: Clocks,
    /// Replicas whose waiters may be overtaken.
    suspects: Suspects,
    serial: u64,
    /// When the database last lost commits, or an operator ended all grants.
    last_disruption: Option<Moment>,
    /// When replicas ended or began to pause.
    stops: Vec<i64>,
    /// The time from which nothing fails any more, and the time from which waiters have to be served in time.
    quiet_from: i64,
    served_from: i64,
}

impl Checker {
    pub(super) fn new(clock_offset: i64, quiet_from: i64, served_from: i64) -> Self {
        Self {
            keys: BTreeMap::new(),
            requests: BTreeMap::new(),
            clocks: Clocks::new(clock_offset),
            suspects: Suspects::default(),
            serial: 0,
            last_disruption: None,
            stops: Vec::new(),
            quiet_from,
            served_from,
        }
    }

    fn moment(&mut self, at: i64) -> Moment {
        self.serial += 1;
        Moment { serial: self.serial, at }
    }

    /// Whether the changes of a request may be lost.
    fn was_disrupted_since(&self, asked: Moment) -> bool {
        self.last_disruption.is_some_and(|disruption| disruption > asked)
    }

    fn key(&mut self, id: &KeyId) -> &mut KeyChecks {
        self.keys.entry(id.clone()).or_default()
    }

    pub(super) fn clock_stepped(&mut self, at: i64, clock: i64, by: i64) {
        for key in self.keys.values_mut() {
            key.tick(clock);
            if by > 0 {
                // Earlier promises are shortened.
                key.void_promises();
            }
        }
        self.clocks.step(at, by);
    }

    pub(super) fn asked(
        &mut self,
        at: i64,
        client: usize,
        replica: usize,
        id: &KeyId,
        ask: &Ask,
    ) -> RequestId {
        let asked = self.moment(at);
        let key = self.key(id);
        if let Some(version) = ask.ends() {
            key.endings.insert(version);
            key.end_reliance(version);
        }
        match ask {
            Ask::Heartbeat { version, .. } => drop(key.renewals.insert(*version)),
            Ask::Acquire(acquire) => {
                let chosen = acquire.version.map(|version| (version, acquire.owner.clone()));
                key.chosen.extend(chosen.filter(|(version, _)| !key.chosen.contains_key(version)));
            }
            _ => {}
        }
        let request = RequestId(asked.serial);
        let (id, ask) = (id.clone(), ask.clone());
        self.requests.insert(
            request,
            Request { client, replica, id, ask, asked, answered: None, closed: false, settled: false },
        );
        request
    }

    /// Records that a grant was handed to a socket. From now on the service must not treat it as undelivered.
    pub(super) fn delivered(&mut self, request: RequestId, view: &LockView) {
        let Some(delivered) = self.requests.get_mut(&request) else { return };
        delivered.settled = true;
        let id = delivered.id.clone();
        if let Some(held) = &view.held
            && let Some(facts) = self.key(&id).grants.get_mut(&held.version)
        {
            facts.db_time = true;
        }
    }

    /// Records that a client relies on a grant from now on, until the end of the promised lease.
    pub(super) fn received(&mut self, at: i64, request: RequestId, view: &LockView) -> Result<(), String> {
        let (Some(asked), Some(held)) = (self.requests.get(&request), &view.held) else { return Ok(()) };
        if self.was_disrupted_since(asked.asked) {
            return Ok(());
        }
        let (client, id, from) = (asked.client, asked.id.clone(), asked.asked.at);
        let until = if self.clocks.stepped(from, at) { at } else { from + held.expires_in_ms };
        self.key(&id).rely(at, client, held.version, until)
    }

    /// Records that nobody waits for an answer any more.
    pub(super) fn abandoned(&mut self, _at: i64, request: RequestId) {
        if let Some(request) = self.requests.get_mut(&request) {
            request.closed = true;
        }
    }

    /// Records that a client does not rely on a grant any more, without a release.
    pub(super) fn let_go(&mut self, client: usize, version: Version) {
        for key in self.keys.values_mut() {
            if let Some(facts) = key.grants.get_mut(&version) {
                facts.promises.remove(&client);
            }
        }
    }

    /// Records that a replica does not run any more, for good or for a while.
    pub(super) fn replica_stops(&mut self, at: i64) {
        self.stops.push(at);
    }

    /// Records that a replica is gone with its knowledge of its requests. Their grants end by their leases.
    pub(super) fn replica_gone(&mut self, replica: usize, names: impl Iterator<Item = ReplicaId>) {
        self.suspects.note_gone(names);
        let lost =
            self.requests.values_mut().filter(|request| request.replica == replica && !request.settled);
        for request in lost {
            request.closed = true;
            if let Ask::Acquire(acquire) = &request.ask {
                let key = self.keys.entry(request.id.clone()).or_default();
                key.orphans.insert(acquire.owner.clone());
            }
        }
    }

    /// Records that the tombstone of a key was removed.
    pub(super) fn swept(&mut self, at: i64, id: &KeyId) {
        let from = self.moment(at);
        self.key(id).states.push(Recorded { from, state: KeyState::absent() });
    }
}
