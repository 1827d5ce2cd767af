//! Guarded keys: transactions of two grants never overlap (invariant 11), and nothing but their keys is affected by
//! them.

use std::collections::BTreeSet;

use super::{Checker, KeyChecks, Request, key::ending, seen::Seen};
use crate::{
    domain::{Body, KeyId, KeyState, Version},
    simulation::request::short,
};

/// The time for which a guard row that was found locked may count as locked.
const TAKEN_FOR_LOCKED_MS: i64 = 1_500;

/// The time for which a change that found the row locked may be under way.
const MARK_ECHO_MS: i64 = 12_000;

/// The time after the last transaction in which the end of a grant has to be completed: with a waiter at a running
/// replica, and otherwise.
const FINISHED_WITHIN_MS: i64 = 3_000;
const SWEPT_WITHIN_MS: i64 = 10_000;

impl Checker {
    /// Records that a user's transaction passed the guard.
    pub(in super::super) fn guard_passed(
        &mut self,
        id: &KeyId,
        number: u64,
        version: Version,
    ) -> Result<(), String> {
        let key = self.key(id);
        key.transactions.insert(number, version);
        let name = short(version);
        if !key.grants.contains_key(&version) {
            return Err(format!("invariant 11: the guard lets {name} pass, which is not on record"));
        }
        let open: BTreeSet<_> = key.transactions.values().collect();
        if open.len() > key.places_when_granted {
            return Err(format!("invariant 11: transactions of {} grants are open", open.len()));
        }
        key.check_newest(version)
    }

    /// Records the end of a user's transaction. `committed` has the times when it read and wrote.
    pub(in super::super) fn transaction_ended(
        &mut self,
        at: i64,
        id: &KeyId,
        number: u64,
        committed: Option<(u64, u64)>,
    ) -> Result<(), String> {
        let key = self.key(id);
        let Some(version) = key.transactions.remove(&number) else { return Ok(()) };
        key.guarded_until = key.guarded_until.max(Some(at));
        let Some((read, wrote)) = committed else { return Ok(()) };
        key.check_newest(version)?;
        let other = key.commits.iter().find(|(moment, other)| *moment > read && *other != version);
        if let Some((_, other)) = other.filter(|_| !key.is_semaphore()) {
            return Err(format!(
                "invariant 11: {} wrote over what {} had written since it read",
                short(version),
                short(*other)
            ));
        }
        key.commits.push((wrote, version));
        Ok(())
    }

    /// Checks an answer that is allowed only while a transaction is open.
    pub(super) fn check_guard_open(
        key: &KeyChecks,
        asked: &Request,
        seen: &[Seen<'_>],
    ) -> Result<(), String> {
        let was_open = key.was_guarded_since(asked.asked.at - TAKEN_FOR_LOCKED_MS);
        if was_open || seen.iter().any(|seen| ending(seen.state) > 0) {
            return Ok(());
        }
        Err("invariant 11: no transaction was open that called the guard".to_owned())
    }
}

impl KeyChecks {
    fn is_semaphore(&self) -> bool {
        matches!(self.state().body, Body::Semaphore(_))
    }

    /// Checks that no later grant was made while a transaction of this one is open.
    fn check_newest(&self, version: Version) -> Result<(), String> {
        let token = self.grants.get(&version).map_or(0, |facts| facts.token);
        let later = self.grants.iter().find(|(_, facts)| facts.token > token);
        match later.filter(|_| !self.is_semaphore()) {
            Some((later, _)) => Err(format!(
                "invariant 11: {} was granted while a transaction of {} was open",
                short(*later),
                short(version)
            )),
            None => Ok(()),
        }
    }

    fn was_guarded_since(&self, at: i64) -> bool {
        !self.transactions.is_empty() || self.guarded_until.is_some_and(|until| until >= at)
    }

    /// Checks that a grant is marked as ended, and its place kept, only because of a transaction.
    pub(super) fn check_marks(&self, at: i64, before: &KeyState, after: &KeyState) -> Result<(), String> {
        if ending(after) > ending(before) && !self.was_guarded_since(at - MARK_ECHO_MS) {
            return Err("invariant 11: a place is kept for a transaction that nobody began".to_owned());
        }
        Ok(())
    }

    /// Checks that the service completes by itself every end that a transaction delayed.
    pub(super) fn check_finished(&self, at: i64, from: i64, somebody_waits: bool) -> Result<(), String> {
        if ending(self.state()) == 0 || !self.transactions.is_empty() {
            return Ok(());
        }
        let since = self.states.last().map_or(0, |recorded| recorded.from.at);
        let since = since.max(from).max(self.guarded_until.unwrap_or(0));
        let within = if somebody_waits { FINISHED_WITHIN_MS } else { SWEPT_WITHIN_MS };
        if at - since > within {
            return Err(format!(
                "invariant 6: a grant is over for {} ms, and its place is not free",
                at - since
            ));
        }
        Ok(())
    }
}
