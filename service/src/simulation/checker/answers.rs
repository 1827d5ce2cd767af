//! Answers: each was true at some moment between the request and the answer, and everything in it is durable.

use super::{
    Checker, KeyChecks, Moment, Request, RequestId, active,
    seen::{Seen, check},
};
use crate::{
    ServiceError, Unavailable,
    domain::{Body, Guard, HeldView, LockView, SemaphoreView, Timestamp},
    simulation::request::{Answer, Ask, short},
};

/// The largest delay of a replica's time behind the clock: the duration of a slow statement that read it.
const UNSURE_MS: i64 = 1_000;

impl Checker {
    /// Checks the service's answer to a request.
    pub(in super::super) fn answered(
        &mut self,
        at: i64,
        request: RequestId,
        answer: &Answer,
    ) -> Result<(), String> {
        let moment = self.moment(at);
        let Some(asked) = self.requests.get_mut(&request) else { return Ok(()) };
        asked.answered = Some(moment);
        // Until a grant is delivered, and after a 503, the service may have a grant to give back.
        asked.settled = !matches!(answer, Answer::Granted(_) | Answer::Unavailable(_));
        if let Answer::Granted(view) = answer
            && !matches!(asked.ask, Ask::Acquire(_))
            && let Some(key) = self.keys.get_mut(&asked.id)
            && let Some(facts) = view.held.as_ref().and_then(|held| key.grants.get_mut(&held.version))
        {
            facts.db_time = true;
        }
        let (Some(asked), quiet_from) = (self.requests.get(&request), self.quiet_from) else { return Ok(()) };
        let Some(key) = self.keys.get(&asked.id) else { return Ok(()) };
        if self.was_disrupted_since(asked.asked) {
            return Ok(());
        }
        if let Answer::Unavailable(reason) = answer {
            // The rest of a lease, or a short lease, may end before the answer is ready.
            let lease_over = ServiceError::Unavailable(Unavailable::LeaseOver).to_string();
            if asked.asked.at >= quiet_from && *reason != lease_over {
                return Err(format!("{request} was answered {answer}, and nothing fails any more"));
            }
            return Ok(());
        }
        let seen = self.seen(key, asked.asked, moment);
        let result = match answer {
            Answer::Granted(view) => self.check_granted(key, asked, moment, view),
            Answer::Refused(refusal) => self.check_refusal(key, asked, &seen, refusal),
            Answer::Released(view) => check_released(key, asked, &seen, view),
            Answer::Lock(view) => check_lock(asked, &seen, view),
            Answer::Semaphore(view) => check_semaphore(&seen, view),
            Answer::Deleted => {
                // If a request waits, the deletion itself grants the lock again.
                let anew = |seen: &Seen<'_>| seen.state.created_at.0 >= seen.earliest;
                check(&seen, |seen| seen.kind().is_none() || anew(seen), "it was not deleted")
            }
            Answer::Unavailable(_) => Ok(()),
        };
        result.map_err(|why| format!("{request} was answered \"{answer}\": {why}"))
    }

    /// The states that a key had between two moments.
    fn seen<'k>(&self, key: &'k KeyChecks, from: Moment, to: Moment) -> Vec<Seen<'k>> {
        let first = key.states.iter().rposition(|recorded| recorded.from < from).unwrap_or(0);
        let ends = key.states[first..].iter().skip(1).map(|recorded| recorded.from.at).chain([to.at]);
        let states = key.states[first..].iter().zip(ends);
        let (earliest, _) = self.clocks.bounds(from.at, from.at);
        states
            .map(|(recorded, end)| {
                let (least, most) = self.clocks.bounds(recorded.from.at.max(from.at), end);
                Seen { state: &recorded.state, least, most, earliest: earliest.min(least) }
            })
            .collect()
    }

    fn check_granted(
        &self,
        key: &KeyChecks,
        asked: &Request,
        answered: Moment,
        view: &LockView,
    ) -> Result<(), String> {
        let Some(held) = &view.held else { return Err("a grant without a version".to_owned()) };
        let Some(facts) = key.grants.get(&held.version) else {
            // The grant may have been ended in the same write that made it, by a request that did not wait for the
            // answer.
            if key.endings.contains(&held.version) {
                return Ok(());
            }
            return Err(format!("invariant 3: {} is not written", short(held.version)));
        };
        if facts.token != view.fencing_token.0 {
            return Err(format!("invariant 3: the token is {}", facts.token));
        }
        if !facts.ends.contains(&held.expires_at.0) && !facts.closed {
            return Err("invariant 3: the end of this lease is not written".to_owned());
        }
        let wanted = match &asked.ask {
            Ask::Acquire(acquire) if acquire.reentrant => {
                let own = acquire.version == Some(held.version) || facts.owner == acquire.owner;
                own.then_some(held.version)
            }
            Ask::Acquire(acquire) => acquire.version.or(Some(held.version)),
            Ask::Heartbeat { version, .. } => Some(*version),
            _ => None,
        };
        if wanted != Some(held.version) {
            return Err(format!("invariant 4: nobody asked for {}", short(held.version)));
        }
        self.check_promise(asked, answered, held)
    }

    /// Checks that the remaining lease is at least as long as answered when the holder begins to count it.
    fn check_promise(&self, asked: &Request, answered: Moment, held: &HeldView) -> Result<(), String> {
        if self.clocks.stepped(asked.asked.at, answered.at) {
            return Ok(());
        }
        let (clock, _) = self.clocks.bounds(asked.asked.at, answered.at);
        if held.expires_in_ms > held.expires_at.0 - clock {
            return Err("invariant 8: the lease ends before the answer says so".to_owned());
        }
        Ok(())
    }
}

/// Checks that an answered release is durable. A forced release leaves a grant whose lease has ended as it is.
fn check_released(
    key: &KeyChecks,
    asked: &Request,
    seen: &[Seen<'_>],
    view: &LockView,
) -> Result<(), String> {
    let (version, forced) = match &asked.ask {
        Ask::Release(release) => (release.version, false),
        Ask::Force { version, .. } => (*version, true),
        _ => return Err("nobody asked for a release".to_owned()),
    };
    if view.held.is_some() {
        return Err("a lock that was released is shown as held".to_owned());
    }
    let expired = |seen: &Seen<'_>| seen.grant(version).is_some_and(|grant| grant.expires_at.0 <= seen.most);
    match key.grants.get(&version) {
        Some(facts) if facts.closed || (forced && seen.iter().any(expired)) => Ok(()),
        Some(_) => Err("invariant 3: the release is not written".to_owned()),
        None if key.lost.contains(&version) => Ok(()),
        None => Err("invariant 4: there was no such grant".to_owned()),
    }
}

/// Checks that the shown state of a semaphore was true at some time.
///
/// Each value has a time of its own: waiters and permits are read after the row, and a resize is written some time
/// after it was decided and counted.
fn check_semaphore(seen: &[Seen<'_>], view: &SemaphoreView) -> Result<(), String> {
    let size_fits = |seen: &Seen<'_>| match &seen.state.body {
        Body::Semaphore(semaphore) => semaphore.max_size == view.max_size,
        Body::Absent | Body::Mutex(_) => false,
    };
    let permits_fit = |seen: &Seen<'_>| {
        let busy = |clock| i64::try_from(active(seen.state, clock)).unwrap_or(i64::MAX);
        let most = busy(seen.least.min(seen.earliest) - UNSURE_MS);
        (busy(seen.most)..=most).contains(&view.busy_count)
    };
    check(seen, size_fits, "the semaphore never was so")?;
    check(seen, permits_fit, "so many permits never were out")?;
    check(seen, |seen| seen.state.queue.len == view.waiters, "so many never waited")
}

/// Checks that the shown state of a lock was true at some time.
fn check_lock(asked: &Request, seen: &[Seen<'_>], view: &LockView) -> Result<(), String> {
    // A read may be stale, since it grants nothing: rows that were read before a write are checked by the clock of the
    // answer.
    let latest = seen.iter().map(|seen| seen.most).max().unwrap_or(i64::MIN);
    let fits = |seen: &Seen<'_>| {
        let Body::Mutex(mutex) = &seen.state.body else { return false };
        let held = match (&view.held, &mutex.grant) {
            (None, None) => true,
            (None, Some(grant)) => !grant.is_active_at(Timestamp(latest)),
            (Some(held), Some(grant)) => {
                let is_kept = mutex.guard == Guard::EndingHeld;
                held.version == grant.version && (is_kept || grant.is_active_at(Timestamp(seen.earliest)))
            }
            (Some(_), None) => false,
        };
        if let Ask::PutLock(data) = &asked.ask {
            // If a request waits, it is granted at the same moment, and the lock may then have other data.
            let granted = mutex.grant.as_ref().is_some_and(|grant| grant.acquired_at.0 >= seen.earliest);
            return mutex.data.as_ref() == Some(data) || granted;
        }
        held && mutex.data == view.data && view.fencing_token == seen.state.token
    };
    check(seen, fits, "the lock never was so")
}
