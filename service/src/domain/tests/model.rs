//! A naive model of a mutex and a semaphore, made of lists and loops.

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

    pub(super) fn acquire(
        &mut self,
        version: Version,
        owner: u16,
        chosen: bool,
        lease: i64,
        waits: bool,
        request_id: i64,
    ) -> ModelAnswer {
        if chosen && self.has_ended(version) {
            return ModelAnswer::Mismatch;
        }
        if let Some(at) = self.records.iter().position(|held| held.version == version) {
            if self.records[at].owner != owner || !self.is_active(&self.records[at]) {
                return ModelAnswer::Mismatch;
            }
            if self.records[at].request_id != request_id {
                self.records[at].request_id = 0;
            }
            let ModelGrant { token, until, .. } = self.records[at];
            return ModelAnswer::Granted { version, token, until };
        }
        if let Some(at) = self.queue.iter().position(|waiting| waiting.version == version) {
            if self.queue[at].owner != owner {
                return ModelAnswer::Mismatch;
            }
            let before = std::mem::replace(&mut self.queue[at].request_id, request_id);
            self.answered.push((before, ModelAnswer::Superseded));
            self.serve();
            if let Some(mine) = self.answered.iter().position(|(answered, _)| *answered == request_id) {
                return self.answered.remove(mine).1;
            }
            if waits {
                return ModelAnswer::Waits;
            }
            let at = self.queue.iter().position(|waiting| waiting.version == version).unwrap();
            self.queue.remove(at);
            return self.busy(Some(at + 1));
        }
        if !self.exists && !self.is_mutex {
            return ModelAnswer::NotFound;
        }
        self.serve();
        let waiting = Waiting { version, chosen, owner, lease, request_id };
        if self.out() < self.size {
            return self.grant(&waiting);
        }
        if !waits {
            return self.busy(None);
        }
        self.queue.push(waiting);
        ModelAnswer::Waits
    }

    pub(super) fn heartbeat(&mut self, version: Version, lease: Option<i64>) -> ModelAnswer {
        let now = self.now;
        let held = match self.find(version) {
            Ok(held) if held.given_back => return ModelAnswer::Mismatch,
            Ok(held) if held.until <= now => return ModelAnswer::Expired,
            Ok(held) => held,
            Err(answer) => return answer,
        };
        held.lease = lease.unwrap_or(held.lease);
        held.until = now + held.lease;
        held.request_id = -1;
        ModelAnswer::Granted { version, token: held.token, until: held.until }
    }

    pub(super) fn release(&mut self, version: Version) -> ModelAnswer {
        let now = self.now;
        match self.find(version) {
            Ok(held) if held.given_back => return ModelAnswer::Released,
            Ok(held) => {
                held.given_back = true;
                held.until = held.until.min(now);
            }
            Err(answer) => return answer,
        }
        self.serve();
        ModelAnswer::Released
    }

    pub(super) fn time_out(&mut self, version: Version, request_id: i64) -> ModelAnswer {
        let Some(at) = self.queue.iter().position(|waiting| waiting.version == version) else {
            // Nobody repeats a version that was not chosen. Request id 0 means that several requests have the grant.
            let is_own =
                |held: &ModelGrant| held.request_id == request_id || held.request_id == 0 || !held.chosen;
            let held = self.records.iter().find(|held| held.version == version && is_own(held));
            return match held.filter(|held| self.is_active(held)) {
                Some(held) => ModelAnswer::Granted { version, token: held.token, until: held.until },
                None if self.is_of_another(version, request_id) => ModelAnswer::Superseded,
                None if self.exists => ModelAnswer::Skipped,
                None => ModelAnswer::NotFound,
            };
        };
        if self.queue[at].request_id != request_id {
            return ModelAnswer::Superseded;
        }
        self.serve();
        if let Some(mine) = self.answered.iter().position(|(answered, _)| *answered == request_id) {
            return self.answered.remove(mine).1;
        }
        let at = self.queue.iter().position(|waiting| waiting.version == version).unwrap();
        self.queue.remove(at);
        self.busy(Some(at + 1))
    }

    /// Whether a later request with this version was granted.
    fn is_of_another(&self, version: Version, request_id: i64) -> bool {
        let of_another = |held: &ModelGrant| held.version == version && held.request_id != request_id;
        self.has_ended(version) || self.records.iter().any(of_another)
    }

    pub(super) fn resize(&mut self, size: usize) -> ModelAnswer {
        self.exists = true;
        self.size = size;
        self.serve();
        ModelAnswer::Done
    }

    pub(super) fn delete(&mut self, version: Version) -> ModelAnswer {
        if !self.exists {
            return ModelAnswer::NotFound;
        }
        let active = self.records.iter().find(|held| self.is_active(held)).map(|held| held.version);
        if self.is_mutex && active.is_some_and(|active| active != version) {
            return ModelAnswer::Mismatch;
        }
        if !self.is_mutex && active.is_some() {
            return ModelAnswer::InUse;
        }
        self.exists = false;
        let mut gone = std::mem::take(&mut self.records);
        gone.sort_by_key(|held| held.token);
        for held in gone.iter().filter(|held| held.chosen) {
            self.end(held.version);
        }
        if self.is_mutex {
            self.serve();
        } else {
            let dismissed = self.queue.drain(..).map(|waiting| (waiting.request_id, ModelAnswer::NotFound));
            self.answered.extend(dismissed);
        }
        ModelAnswer::Done
    }

    pub(super) fn serve_queue(&mut self) -> ModelAnswer {
        self.serve();
        ModelAnswer::Done
    }
}
