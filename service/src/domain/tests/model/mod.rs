//! A naive model of a mutex and a semaphore, made of lists and loops.

mod requests;

use crate::domain::Version;

#[derive(Debug, Clone)]
pub(super) struct ModelGrant {
    version: Version,
    chosen: bool,
    owner: u16,
    token: i64,
    lease: i64,
    until: i64,
    given_back: bool,
    slot: usize,
    request_id: i64,
}

#[derive(Debug, Clone)]
struct Waiting {
    version: Version,
    chosen: bool,
    owner: u16,
    lease: i64,
    request_id: i64,
}

/// An answer, as far as the model knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ModelAnswer {
    Granted { version: Version, token: i64, until: i64 },
    Waits,
    Released,
    Done,
    NotFound,
    Mismatch,
    Expired,
    InUse,
    Superseded,
    Busy { holders: usize, waiters: usize, position: Option<usize> },
    Skipped,
}

/// A random step.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    Acquire { version: u16, owner: u16, chosen: bool, lease: i64, waits: bool },
    Heartbeat { version: u16, lease: Option<i64> },
    Release { version: u16 },
    TimeOut { version: u16 },
    Size(usize),
    Delete { version: u16 },
    ServeQueue,
    Pass(i64),
}

/// The model of a key whose clients are all on one replica. A mutex is a semaphore of size 1 that its first acquire
/// creates.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) is_mutex: bool,
    exists: bool,
    size: usize,
    now: i64,
    token: i64,
    records: Vec<ModelGrant>,
    queue: Vec<Waiting>,
    ended: Vec<(Version, i64)>,
    /// Answers to waiters, with their request ids.
    pub(super) answered: Vec<(i64, ModelAnswer)>,
}

impl Model {
    pub(super) fn new(is_mutex: bool, now: i64) -> Self {
        Self { is_mutex, now, size: 1, ..Self::default() }
    }

    pub(super) fn pass(&mut self, ms: i64) {
        self.now += ms;
    }

    fn out(&self) -> usize {
        self.records.iter().filter(|held| self.is_active(held)).count()
    }

    fn is_active(&self, held: &ModelGrant) -> bool {
        !held.given_back && held.until > self.now
    }

    fn end(&mut self, version: Version) {
        self.ended.push((version, self.now));
        let last = self.ended.len();
        let counts = |(place, (_, at)): (usize, &(Version, i64))| {
            place + 64 >= last && (place + 8 >= last || at + 600_000 > self.now)
        };
        self.ended =
            self.ended.iter().enumerate().filter(|ended| counts(*ended)).map(|(_, ended)| *ended).collect();
    }

    fn has_ended(&self, version: Version) -> bool {
        self.ended.iter().any(|(ended, _)| *ended == version)
    }

    fn grant(&mut self, waiting: &Waiting) -> ModelAnswer {
        let most = if self.is_mutex { 1 } else { usize::MAX };
        let mut free: Vec<_> = self.records.iter().filter(|held| !self.is_active(held)).cloned().collect();
        free.sort_by_key(|held| (held.until, held.slot));
        let slot = free.first().map_or(self.records.len().min(most - 1), |held| held.slot);
        if let Some(at) = self.records.iter().position(|held| held.slot == slot) {
            let before = self.records.remove(at);
            if before.chosen {
                self.end(before.version);
            }
        }
        self.exists = true;
        self.token += 1;
        let (token, until) = (self.token, self.now + waiting.lease);
        let Waiting { version, chosen, owner, lease, request_id } = *waiting;
        let given_back = false;
        self.records.push(ModelGrant {
            version,
            chosen,
            owner,
            token,
            lease,
            until,
            given_back,
            slot,
            request_id,
        });
        ModelAnswer::Granted { version, token, until }
    }

    fn serve(&mut self) {
        while !self.queue.is_empty() && self.out() < self.size {
            let first = self.queue.remove(0);
            let answer = self.grant(&first);
            self.answered.push((first.request_id, answer));
        }
    }

    fn busy(&self, position: Option<usize>) -> ModelAnswer {
        ModelAnswer::Busy { holders: self.out().min(10), waiters: self.queue.len(), position }
    }

    fn find(&mut self, version: Version) -> Result<&mut ModelGrant, ModelAnswer> {
        if !self.exists {
            return Err(ModelAnswer::NotFound);
        }
        self.records.iter_mut().find(|held| held.version == version).ok_or(ModelAnswer::Mismatch)
    }
}
