//! How the naive model answers requests.

use super::{Model, ModelAnswer, ModelGrant, Waiting};
use crate::domain::Version;

impl Model {
    pub(in super::super) fn acquire(
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

    pub(in super::super) fn heartbeat(&mut self, version: Version, lease: Option<i64>) -> ModelAnswer {
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

    pub(in super::super) fn release(&mut self, version: Version) -> ModelAnswer {
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

    pub(in super::super) fn time_out(&mut self, version: Version, request_id: i64) -> ModelAnswer {
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

    pub(in super::super) fn resize(&mut self, size: usize) -> ModelAnswer {
        self.exists = true;
        self.size = size;
        self.serve();
        ModelAnswer::Done
    }

    pub(in super::super) fn delete(&mut self, version: Version) -> ModelAnswer {
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

    pub(in super::super) fn serve_queue(&mut self) -> ModelAnswer {
        self.serve();
        ModelAnswer::Done
    }
}
