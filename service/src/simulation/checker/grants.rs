//! Grants: their holders, their ends, and the allowed reasons of their ends.

use super::{Checker, KeyChecks, Recorded, facts::Facts, grants_of, order::check_order, places_of};
use crate::{
    domain::{Body, EndedVersions, Grant, KeyId, KeyState, Version},
    simulation::request::{Ask, short},
};

/// The time for which a resize that was never answered may still be applied.
const RESIZE_ECHO_MS: i64 = 20_000;

impl Checker {
    /// Checks an applied write. Returns the number of new grants.
    pub(in super::super) fn applied(
        &mut self,
        at: i64,
        id: &KeyId,
        before: &KeyState,
        after: KeyState,
        clock: i64,
    ) -> Result<usize, String> {
        let from = self.moment(at);
        let sizes = self.requests.values().filter(|request| request.id == *id).filter_map(|request| {
            let Ask::PutSemaphore(size) = request.ask else { return None };
            let open = request.answered.is_none() && request.asked.at >= at - RESIZE_ECHO_MS;
            open.then(|| usize::try_from(size).unwrap_or(0))
        });
        let places = sizes.chain([places_of(before), places_of(&after)]).max().unwrap_or(1);
        self.suspects.note(at, before, &after, self.clocks.bounds(at, at).1);
        let key = self.keys.entry(id.clone()).or_default();
        key.tick(clock);
        if before.row_version.is_some() && after.token < before.token {
            return Err(format!("invariant 2: the token went back from {:?}", before.token));
        }
        let early = self.clocks.stepped_back_lately(at);
        key.check_ends(at, &after, early)?;
        key.check_changes(at, clock, &after)?;
        let fresh = key.check_fresh(at, before, &after)?;
        key.check_marks(at, before, &after)?;
        key.greatest = key.greatest.max(after.token.0);
        key.tick(clock);
        if !fresh.is_empty() {
            key.places_when_granted = places;
        }
        for version in &fresh {
            key.check_room(*version, places)?;
        }
        check_order(before, &after, &fresh, places, &|member| self.suspects.contains(at, member))?;
        key.check_data(before, &after)?;
        key.states.push(Recorded { from, state: after });
        Ok(fresh.len())
    }
}

impl KeyChecks {
    /// Records the time of the database's clock.
    pub(super) fn tick(&mut self, clock: i64) {
        for facts in self.grants.values_mut() {
            facts.ran_out |= clock >= facts.expires_at;
        }
    }

    pub(super) fn void_promises(&mut self) {
        for facts in self.grants.values_mut() {
            facts.promises.clear();
        }
    }

    pub(super) fn end_reliance(&mut self, version: Version) {
        if let Some(facts) = self.grants.get_mut(&version) {
            facts.promises.clear();
        }
    }

    /// Records that a client was answered with a grant.
    pub(super) fn rely(
        &mut self,
        at: i64,
        client: usize,
        version: Version,
        until: i64,
    ) -> Result<(), String> {
        let is_mutex = matches!(self.state().body, Body::Mutex(_));
        let Some(facts) = self.grants.get_mut(&version) else { return Ok(()) };
        if facts.closed || until <= at || self.endings.contains(&version) {
            return Ok(());
        }
        facts.promises.insert(client, until);
        let other = self.grants.iter().find(|(other, facts)| **other != version && facts.is_relied_on(at));
        match other {
            Some((other, _)) if is_mutex => Err(format!(
                "invariant 1: a client was given {} while another one relies on {}",
                short(version),
                short(*other)
            )),
            _ => Ok(()),
        }
    }

    /// Checks grants that are no longer stored, or are stored as ended.
    fn check_ends(&mut self, at: i64, after: &KeyState, early: bool) -> Result<(), String> {
        for (version, facts) in self.grants.iter_mut().filter(|(_, facts)| facts.current) {
            let grant = grants_of(after).into_iter().find(|grant| grant.version == *version);
            if let Some(grant) = grant
                && !grant.released
            {
                if facts.closed {
                    return Err(format!("invariant 1: {} had ended and stands again", short(*version)));
                }
                continue;
            }
            let relied_on = facts.is_relied_on(at);
            let by_name = self.endings.contains(version);
            let unseen = !facts.db_time || facts.restored;
            let by_time = facts.ran_out || (early && !relied_on);
            if !(facts.closed || by_name || unseen || by_time) {
                let what = if grant.is_some() { "was ended" } else { "was replaced" };
                return Err(format!(
                    "invariants 1, 4, 7: {} {what} although its lease had not ended and nobody gave it back",
                    short(*version)
                ));
            }
            facts.closed = true;
            facts.promises.clear();
            if grant.is_none() {
                facts.current = false;
                self.chosen_replaced += usize::from(facts.chosen);
                facts.replaced_before = self.chosen_replaced;
            }
        }
        Ok(())
    }

    /// Checks grants that are stored as before.
    fn check_changes(&mut self, at: i64, clock: i64, after: &KeyState) -> Result<(), String> {
        for grant in grants_of(after) {
            let Some(facts) = self.grants.get_mut(&grant.version).filter(|facts| facts.current) else {
                continue;
            };
            let (end, name) = (grant.expires_at.0, short(grant.version));
            if grant.token.0 != facts.token {
                return Err(format!("invariant 2: {name} had token {}, now {}", facts.token, grant.token.0));
            }
            if grant.released || end == facts.expires_at {
                continue;
            }
            if end > facts.expires_at && !self.renewals.contains(&grant.version) {
                return Err(format!("invariant 4: {name} was renewed, and nobody asked for it"));
            }
            // A lease that seems too long is cut. Its promise to the client stays.
            let promised = facts.promises.values().any(|until| *until > at + (end - clock));
            if end < facts.expires_at && promised && !self.renewals.contains(&grant.version) {
                return Err(format!("invariant 1: the lease of {name} was cut below what was promised"));
            }
            facts.ran_out &= end < facts.expires_at;
            facts.expires_at = end;
            facts.ends.push(end);
        }
        Ok(())
    }

    /// Checks new grants, in the order of their tokens.
    fn check_fresh(&mut self, at: i64, before: &KeyState, after: &KeyState) -> Result<Vec<Version>, String> {
        let known =
            |grant: &Grant| self.grants.get(&grant.version).is_some_and(|facts| facts.token == grant.token.0);
        let mut fresh: Vec<Grant> =
            grants_of(after).into_iter().filter(|grant| !known(grant)).cloned().collect();
        fresh.sort_by_key(|grant| grant.token);
        for grant in &fresh {
            let name = short(grant.version);
            if grant.token.0 <= self.greatest {
                return Err(format!(
                    "invariant 2: {name} has token {}, and {} was granted before",
                    grant.token.0, self.greatest
                ));
            }
            self.greatest = grant.token.0;
            if let Some(facts) = self.grants.get(&grant.version) {
                let since = self.chosen_replaced - facts.replaced_before;
                let forgotten = grant.chosen && since >= EndedVersions::AT_MOST;
                if !forgotten && (facts.db_time || grant.chosen) {
                    return Err(format!("invariant 9: {name} was granted twice"));
                }
                // The first grant was never answered and is not stored, so the same version may be granted again.
                self.replaced_data.clear();
            }
            if grant.chosen && self.chosen.get(&grant.version) != Some(&grant.owner) {
                return Err(format!("{name} was granted to {:?}, who did not ask for it", grant.owner));
            }
            let mut facts = Facts::of(grant, self.chosen_replaced, at);
            // The answer to its request was lost, and possibly nobody waits for this grant.
            facts.restored = self.lost.contains(&grant.version) || self.waited.contains(&grant.version);
            self.grants.insert(grant.version, facts);
        }
        let _ = before;
        Ok(fresh.into_iter().map(|grant| grant.version).collect())
    }

    /// Checks the number of grants that were active when this one was made and still are.
    fn check_room(&self, version: Version, places: usize) -> Result<(), String> {
        let token = self.grants[&version].token;
        let active = self.grants.values().filter(|facts| facts.is_active() && facts.token <= token).count();
        if active <= places {
            return Ok(());
        }
        Err(format!("invariant 1: with {} there are {active} grants, and {places} may be", short(version)))
    }

    /// Checks that replaced data does not come back. Each request has data of its own.
    fn check_data(&mut self, before: &KeyState, after: &KeyState) -> Result<(), String> {
        let data = |state: &KeyState| match &state.body {
            Body::Mutex(mutex) => mutex.data.as_ref().map(|data| data.as_str().to_owned()),
            Body::Absent | Body::Semaphore(_) => None,
        };
        let (before, after) = (data(before), data(after));
        if before == after {
            return Ok(());
        }
        if let Some(after) = after.filter(|after| self.replaced_data.contains(after)) {
            return Err(format!("invariant 9: a request was carried out twice: data {after} is back"));
        }
        self.replaced_data.extend(before);
        Ok(())
    }
}
