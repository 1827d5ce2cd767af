//! What really happened, written down beside the database: every commit is held against it.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    database::{Database, RowBody},
    replica::Statement,
};
use crate::domain::{Grant, Nonce, Place, Reply, Token, Version, Waiter};

/// What is known of one grant.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Entry {
    pub(super) token: Token,
    pub(super) expires_at: i64,
    /// Given back, replaced or deleted: never to stand again.
    pub(super) closed: bool,
    /// The database's clock has reached its end since it was leased last.
    pub(super) ran_out: bool,
    /// The attachment that it was granted to.
    pub(super) made_for: Nonce,
    chosen: bool,
    /// It is on record in the database.
    current: bool,
    /// How many chosen grants had been replaced when this one was.
    replaced_before: usize,
}

impl Entry {
    pub(super) fn stands(&self) -> bool {
        !self.closed && !self.ran_out
    }
}

/// All grants of the key, and the greatest token.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) grants: BTreeMap<Version, Entry>,
    greatest: Token,
    tokens: BTreeMap<Token, Version>,
    chosen_replaced: usize,
    pub(super) commits: u64,
    pub(super) granted: u64,
}

/// What is known of a commit.
pub(super) struct Told<'a> {
    /// What was written.
    pub(super) statement: &'a Statement,
    /// The queue before it.
    pub(super) queue_before: Vec<Waiter>,
    /// How many might hold before it.
    pub(super) places_before: usize,
}

impl Told<'_> {
    /// How many might hold when the grant with this token was made.
    fn places_for(&self, token: Token) -> usize {
        let mut sizes = self.statement.sizes.iter();
        sizes.find(|(last, _)| *last >= token).map_or(self.places_before, |(_, places)| *places)
    }

    /// The most that might hold before, after or within it.
    fn most_places(&self) -> usize {
        let within = self.statement.sizes.iter().map(|(_, places)| *places);
        within.chain([self.places_before]).max().unwrap_or(0)
    }
}

impl Ledger {
    /// Time has passed.
    pub(super) fn clock(&mut self, clock: i64) {
        for entry in self.grants.values_mut() {
            entry.ran_out |= clock >= entry.expires_at;
        }
    }

    /// A commit was applied: compares the database with what was known.
    pub(super) fn committed(&mut self, database: &Database, told: &Told<'_>, clock: i64) {
        self.commits += 1;
        let current = current(database);
        self.close(&current, &told.statement.closing);
        let mut fresh = self.granted_in(told, &current);
        fresh.sort_by_key(|(token, ..)| *token);
        for (token, version, chosen) in &fresh {
            assert!(*token > self.greatest, "invariant 2: token {token:?} after {:?}", self.greatest);
            self.greatest = *token;
            self.tokens.insert(*token, *version);
            self.granted += 1;
            if let Some(before) = self.grants.get(version) {
                let since = self.chosen_replaced - before.replaced_before;
                assert!(!before.chosen || since >= 8, "invariant 9: {version:?} was granted twice");
            }
            let entry = Entry {
                token: *token,
                expires_at: i64::MIN,
                closed: true,
                ran_out: false,
                made_for: current.get(version).map_or(Nonce::NOBODY, |grant| grant.nonce),
                chosen: *chosen,
                current: current.contains_key(version),
                replaced_before: self.chosen_replaced,
            };
            self.chosen_replaced += usize::from(!entry.current);
            self.grants.insert(*version, entry);
        }
        for (version, grant) in &current {
            let entry = self.grants.get_mut(version).unwrap();
            assert_eq!(entry.token, grant.token, "a grant keeps its token");
            let leased_anew = grant.expires_at.0 > entry.expires_at;
            entry.closed = grant.released;
            entry.ran_out &= !leased_anew;
            entry.expires_at = grant.expires_at.0;
        }
        self.clock(clock);
        for (token, ..) in &fresh {
            self.check_room(*token, told.places_for(*token));
        }
        if !fresh.is_empty() {
            check_order(database, told, &fresh);
        }
    }

    fn close(&mut self, current: &BTreeMap<Version, Grant>, closing: &BTreeSet<Version>) {
        for (version, entry) in &mut self.grants {
            if !entry.current || current.contains_key(version) {
                continue;
            }
            assert!(
                entry.closed || entry.ran_out || closing.contains(version),
                "invariant 1: {version:?} was replaced before its lease had ended"
            );
            entry.closed = true;
            entry.current = false;
            self.chosen_replaced += usize::from(entry.chosen);
            entry.replaced_before = self.chosen_replaced;
        }
    }

    /// The grants that this commit brought, those that came and went within it included.
    fn granted_in(&self, told: &Told<'_>, current: &BTreeMap<Version, Grant>) -> Vec<(Token, Version, bool)> {
        let mut fresh: BTreeMap<Token, (Version, bool)> = BTreeMap::new();
        for grant in current.values().filter(|grant| !self.tokens.contains_key(&grant.token)) {
            fresh.insert(grant.token, (grant.version, grant.chosen));
        }
        for reply in &told.statement.replies {
            let Reply::Granted(view) = reply else { continue };
            let Some(held) = &view.held else { continue };
            match self.tokens.get(&view.fencing_token) {
                Some(version) => assert_eq!(*version, held.version, "a token belongs to one grant"),
                None => drop(fresh.entry(view.fencing_token).or_insert((held.version, false))),
            }
        }
        fresh.into_iter().map(|(token, (version, chosen))| (token, version, chosen)).collect()
    }

    /// Those who had a grant when this one was made, and still have: no more than might have then.
    fn check_room(&self, token: Token, places: usize) {
        let standing = self.grants.values().filter(|entry| entry.stands() && entry.token <= token).count();
        assert!(standing <= places, "invariant 1: {standing} hold, {places} may");
    }

    /// An answered 200 is in the database.
    pub(super) fn answered(&self, reply: &Reply) {
        let Reply::Granted(view) = reply else { return };
        let Some(held) = &view.held else { return };
        let known = self.tokens.get(&view.fencing_token);
        assert_eq!(known, Some(&held.version), "invariant 3: a grant was answered that is not written");
    }
}

/// The grants on record in the database.
pub(super) fn current(database: &Database) -> BTreeMap<Version, Grant> {
    let mutex = match database.row.as_ref().map(|row| &row.body) {
        Some(RowBody::Mutex(mutex)) => mutex.grant.clone(),
        _ => None,
    };
    let permits = database.permits.values().map(|permit| permit.grant.clone());
    mutex.into_iter().chain(permits).map(|grant| (grant.version, grant)).collect()
}

/// Nobody with a connection that was queued before the last who was granted still stands there without an offer; where
/// there is but one place, and it was offered, not even with one. Those whose replica is suspect are skipped.
fn check_order(database: &Database, told: &Told<'_>, fresh: &[(Token, Version, bool)]) {
    let seq_of = |version: Version| {
        told.queue_before.iter().find(|waiter| waiter.version == version).map(|waiter| waiter.seq)
    };
    let last = fresh.iter().map(|(_, version, _)| seq_of(*version).unwrap_or(i64::MAX)).max();
    // One who left and came back within the change may have been passed over meanwhile.
    let stayed = |waiter: &&Waiter| {
        told.queue_before.iter().any(|before| before.seq == waiter.seq && before.place == waiter.place)
    };
    let is_suspect = |place: Place| matches!(place, Place::Attached { replica, .. } if told.statement.suspects.contains(&replica));
    let trusted = database.waiters.values().filter(|waiter| !is_suspect(waiter.place));
    for waiter in trusted.filter(stayed).filter(|waiter| Some(waiter.seq) < last) {
        let overtaken = match waiter.place {
            Place::Attached { offered_until, .. } => offered_until.is_none() || told.most_places() == 1,
            Place::Detached { .. } => false,
        };
        assert!(!overtaken, "invariant 5: {waiter:?} was overtaken by {fresh:?}");
    }
    // With several places, one may be kept for whoever comes first by its order, but later.
    if told.most_places() == 1 {
        let stood = |waiter: &&Waiter| matches!(waiter.place, Place::Attached { .. });
        let stood: Vec<_> = told.queue_before.iter().filter(stood).map(|waiter| waiter.seq).collect();
        let order = fresh.iter().filter_map(|(_, version, _)| seq_of(*version));
        let order: Vec<_> = order.filter(|seq| stood.contains(seq)).collect();
        assert!(order.is_sorted(), "invariant 5: granted out of order: {order:?}");
    }
}
