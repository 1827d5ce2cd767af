//! The history of a simulation, in lines, and the checker that reads it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::{
    checker::{Checker, RequestId},
    describe::{kind_of, name_of, state_text},
    request::{Answer, Ask, short},
};
use crate::domain::{KeyId, KeyState, LockView, ReplicaId, Version};

/// The counts of events, which show that a simulation was not idle.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Totals(pub(super) BTreeMap<&'static str, u64>);

impl Totals {
    pub(super) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (what, count) in &other.0 {
            *self.0.entry(what).or_default() += count;
        }
    }
}

/// The record of a simulation.
pub(super) struct Record {
    inner: Mutex<Inner>,
    started: Instant,
    /// The error that the checker found.
    pub(super) failed: Notify,
}

struct Inner {
    lines: Vec<String>,
    checker: Checker,
    failure: Option<String>,
    totals: Totals,
    /// The names of replicas in the database.
    members: BTreeMap<ReplicaId, (usize, usize)>,
    is_over: bool,
}

/// The result of a simulation.
pub(super) struct Outcome {
    pub(super) lines: Vec<String>,
    pub(super) failure: Option<String>,
    pub(super) totals: Totals,
}

impl Record {
    pub(super) fn new(checker: Checker) -> Arc<Self> {
        let inner = Inner {
            lines: Vec::new(),
            checker,
            failure: None,
            totals: Totals::default(),
            members: BTreeMap::new(),
            is_over: false,
        };
        Arc::new(Self { inner: Mutex::new(inner), started: Instant::now(), failed: Notify::new() })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds since the simulation began.
    pub(super) fn at(&self) -> i64 {
        i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX)
    }

    pub(super) fn note(&self, what: &str) {
        let at = self.at();
        self.inner().line(at, what);
    }

    pub(super) fn count(&self, what: &'static str) {
        self.inner().totals.count(what);
    }

    pub(super) fn fail(&self, what: String) {
        let at = self.at();
        let mut inner = self.inner();
        if inner.failure.is_none() && !inner.is_over {
            inner.line(at, &format!("VIOLATION: {what}"));
            inner.failure = Some(what);
            drop(inner);
            self.failed.notify_one();
        }
    }

    /// Runs a check, and keeps its error.
    pub(super) fn check<T>(&self, check: impl FnOnce(&mut Checker, i64) -> Result<T, String>) -> Option<T> {
        let at = self.at();
        let result = check(&mut self.inner().checker, at);
        match result {
            Ok(value) => Some(value),
            Err(violation) => {
                self.fail(violation);
                None
            }
        }
    }

    /// Reports an event to the checker.
    pub(super) fn inform(&self, inform: impl FnOnce(&mut Checker, i64)) {
        let at = self.at();
        inform(&mut self.inner().checker, at);
    }

    pub(super) fn is_over(&self) -> bool {
        self.inner().is_over
    }

    /// Closes the record: events during the end of the runtime do not count.
    pub(super) fn close(&self) -> Outcome {
        let mut inner = self.inner();
        inner.is_over = true;
        Outcome {
            lines: std::mem::take(&mut inner.lines),
            failure: inner.failure.take(),
            totals: std::mem::take(&mut inner.totals),
        }
    }

    pub(super) fn clock_stepped(&self, clock: i64, by: i64) {
        self.note(&format!("the database's clock steps by {by} ms"));
        self.count("clock steps");
        self.inform(|checker, at| checker.clock_stepped(at, clock, by));
    }

    pub(super) fn joined(&self, member: ReplicaId, replica: usize, life: usize) {
        let at = self.at();
        let mut inner = self.inner();
        inner.members.insert(member, (replica, life));
        let name = name_of(member);
        inner.line(at, &format!("replica {replica} is known as {name}"));
    }

    /// All names of replicas in the database, with the replica and the number of its incarnation.
    pub(super) fn members(&self) -> BTreeMap<ReplicaId, (usize, usize)> {
        self.inner().members.clone()
    }

    pub(super) fn lost_race(&self, id: &KeyId, by: usize) {
        self.note(&format!("{}: a write of replica {by} loses its race", id.key.as_str()));
        self.count("lost races");
    }

    /// Records an applied write of a replica. `states` has the states of the key before, and after each command of the
    /// write.
    pub(super) fn applied(&self, id: &KeyId, by: usize, states: &[KeyState], clock: i64) {
        self.count("commits");
        for step in states.windows(2) {
            let at = self.at();
            let mut inner = self.inner();
            let text = state_text(&step[1], clock);
            inner.line(at, &format!("{}: replica {by} writes: {text}", id.key.as_str()));
            drop(inner);
            let fresh = self.check(|checker, at| checker.applied(at, id, &step[0], step[1].clone(), clock));
            for _ in 0..fresh.unwrap_or(0) {
                self.count("grants");
            }
        }
    }

    pub(super) fn swept(&self, id: &KeyId) {
        self.note(&format!("{}: the tombstone is removed", id.key.as_str()));
        self.count("tombstones removed");
        self.inform(|checker, at| checker.swept(at, id));
    }

    pub(super) fn asked(&self, client: usize, replica: usize, id: &KeyId, ask: &Ask) -> RequestId {
        let at = self.at();
        let request = self.inner().checker.asked(at, client, replica, id, ask);
        self.note(&format!("client {client} asks replica {replica} ({request}): {} {ask}", id.key.as_str()));
        request
    }

    /// Records an answer of the service.
    pub(super) fn answered(&self, request: RequestId, answer: &Answer) {
        self.note(&format!("answer to {request}: {answer}"));
        self.count(kind_of(answer));
        self.check(|checker, at| checker.answered(at, request, answer));
    }

    /// Records that a grant was handed to a socket.
    pub(super) fn delivered(&self, request: RequestId, view: &LockView) {
        self.inform(|checker, _| checker.delivered(request, view));
    }

    /// Records that a client has a grant, and relies on it from now on.
    pub(super) fn received(&self, request: RequestId, view: &LockView) {
        self.check(|checker, at| checker.received(at, request, view));
    }

    /// Records that nobody waits for the answer to a request any more.
    pub(super) fn abandoned(&self, request: RequestId, why: &str) {
        self.note(&format!("{request}: {why}"));
        self.inform(|checker, at| checker.abandoned(at, request));
    }

    pub(super) fn let_go(&self, client: usize, version: Version) {
        self.note(&format!("client {client} lets go of {}", short(version)));
        self.inform(|checker, _| checker.let_go(client, version));
    }
}

impl Inner {
    fn line(&mut self, at: i64, what: &str) {
        self.lines.push(format!("{:3}.{:03} {what}", at / 1_000, at % 1_000));
    }
}
