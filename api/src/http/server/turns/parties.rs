//! The accounts of parties that share the time.

use std::collections::BTreeSet;

use db_locks_service::SeededMap;

use crate::http::connection::{GROUPS, Party};

/// The number of accounts of parties without work from which on those that count nothing any more are removed.
const MOST_IDLE: usize = 1_024;

/// Parties with work, or with an account.
#[derive(Debug)]
pub(super) struct Parties<W> {
    accounts: SeededMap<Party, Account<W>>,
    /// The parties with work, by what they have used.
    order: BTreeSet<(u64, Party)>,
    /// The number of parties with work in each group.
    of_group: [u64; GROUPS],
    /// What the party had used that was the next one last. Whoever has used less counts as if it had used this, so time that a party
    /// did not need is not saved.
    now: u64,
}

#[derive(Debug, Default)]
struct Account<W> {
    used: u64,
    work: W,
}

impl<W> Default for Parties<W> {
    fn default() -> Self {
        Self { accounts: SeededMap::default(), order: BTreeSet::new(), of_group: [0; GROUPS], now: 0 }
    }
}

impl<W: Default> Parties<W> {
    /// The number of parties with work.
    pub(super) fn with_work(&self) -> usize {
        self.order.len()
    }

    /// The work of a party.
    pub(super) fn work(&self, party: Party) -> Option<&W> {
        self.accounts.get(&party).map(|account| &account.work)
    }

    /// The work of a party, to which something is added.
    pub(super) fn work_mut(&mut self, party: Party) -> &mut W {
        let account = self.accounts.entry(party).or_default();
        if !self.order.contains(&(account.used, party)) {
            account.used = account.used.max(self.now);
            self.order.insert((account.used, party));
            if let Some(group) = party.group() {
                self.of_group[group] += 1;
            }
        }
        &mut account.work
    }

    /// Takes something from the work of the next party, and tells whether that has none left.
    pub(super) fn next<T>(&mut self, take: impl FnOnce(&mut W) -> (Option<T>, bool)) -> Option<T> {
        let (used, party) = *self.order.first()?;
        self.now = self.now.max(used);
        self.take(party, take)
    }

    /// Takes something from the work of a party, and tells whether that has none left.
    pub(super) fn take<T>(
        &mut self,
        party: Party,
        take: impl FnOnce(&mut W) -> (Option<T>, bool),
    ) -> Option<T> {
        let account = self.accounts.get_mut(&party)?;
        let (taken, is_empty) = take(&mut account.work);
        if is_empty
            && self.order.remove(&(account.used, party))
            && let Some(group) = party.group()
        {
            self.of_group[group] -= 1;
        }
        taken
    }

    /// Adds to what a party has used. That counts only while somebody has work.
    pub(super) fn charge(&mut self, party: Party, cost: u64) {
        if self.order.is_empty() {
            return;
        }
        // A group has the share of one tenant, so time counts for each of its parties as often as there are others with work.
        let times = party.group().map_or(1, |group| self.of_group[group].max(1));
        let account = self.accounts.entry(party).or_default();
        let has_work = self.order.remove(&(account.used, party));
        account.used = account.used.max(self.now).saturating_add(cost.saturating_mul(times));
        if has_work {
            self.order.insert((account.used, party));
        }
        if self.accounts.len() > self.order.len() + MOST_IDLE {
            let Self { accounts, order, now, .. } = self;
            accounts.retain(|party, account| account.used > *now || order.contains(&(account.used, *party)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAVY: Party = Party::for_test(1);
    const LIGHT: Party = Party::for_test(2);

    /// Takes work of the next party, which always has more. It costs this much.
    fn next(parties: &mut Parties<Party>, cost: impl Fn(Party) -> u64) -> Option<Party> {
        let party = parties.next(|party| (Some(*party), false))?;
        parties.charge(party, cost(party));
        Some(party)
    }

    fn with_work(names: &[Party]) -> Parties<Party> {
        let mut parties = Parties::default();
        for name in names {
            *parties.work_mut(*name) = *name;
        }
        parties
    }

    #[test]
    fn parties_with_work_have_equal_shares_of_the_time() {
        let mut parties = with_work(&[HEAVY, LIGHT]);
        let cost = |party| if party == HEAVY { 50 } else { 1 };
        let order: Vec<_> = (0..510).filter_map(|_| next(&mut parties, cost)).collect();
        assert_eq!(order.iter().filter(|party| **party == HEAVY).count(), 10);
    }

    /// A probe must not wait because it has no credential, nor a tenant because very many others have none.
    #[test]
    fn a_group_has_the_share_of_one_tenant_however_many_of_its_parties_have_work() {
        for unknown in [1, 10] {
            let group: Vec<_> = (0..unknown).map(Party::unknown_for_test).collect();
            let mut parties = with_work(&[&[HEAVY][..], &group].concat());
            let order: Vec<_> = (0..1_000).filter_map(|_| next(&mut parties, |_| 1)).collect();
            let of_tenant = order.iter().filter(|party| **party == HEAVY).count();
            assert!((490..=510).contains(&of_tenant), "{of_tenant} beside {unknown}");
        }
    }

    #[test]
    fn a_party_with_work_now_and_then_is_next_and_time_that_it_did_not_need_is_not_saved() {
        let mut parties = with_work(&[HEAVY]);
        for _ in 0..100 {
            next(&mut parties, |_| 10);
        }
        *parties.work_mut(LIGHT) = LIGHT;
        let order: Vec<_> = (0..3).filter_map(|_| next(&mut parties, |_| 10)).collect();
        assert_eq!(order[0], LIGHT);
        assert!(order[1..].contains(&HEAVY), "{order:?}");
    }

    #[test]
    fn a_party_whose_work_is_gone_is_not_the_next_one() {
        let mut parties = with_work(&[HEAVY, LIGHT]);
        assert_eq!(parties.take(HEAVY, |party| (Some(*party), true)), Some(HEAVY));
        assert_eq!(parties.next(|party| (Some(*party), true)), Some(LIGHT));
        assert_eq!(parties.next(|party| (Some(*party), true)), None);
    }

    #[test]
    fn accounts_that_count_nothing_any_more_are_removed() {
        let mut parties = with_work(&[HEAVY]);
        for party in 10..100_000 {
            parties.charge(Party::for_test(party), 1);
            next(&mut parties, |_| 2);
            assert!(parties.accounts.len() <= MOST_IDLE + 2);
        }
    }
}
