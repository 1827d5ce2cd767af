//! Queues of parties that take turns, such as tenants: a party with very much work delays only its own.

use std::{collections::VecDeque, hash::Hash};

use crate::SeededMap;

/// Work in one queue for each party. The parties take turns.
#[derive(Debug)]
pub(crate) struct Turns<P, T> {
    /// No party has an empty queue here.
    queues: SeededMap<P, VecDeque<T>>,
    /// The parties with queues, in the order of their turns.
    order: VecDeque<P>,
    len: usize,
}

impl<P, T> Default for Turns<P, T> {
    fn default() -> Self {
        Self { queues: SeededMap::default(), order: VecDeque::new(), len: 0 }
    }
}

impl<P: Clone + Eq + Hash, T> Turns<P, T> {
    /// Adds work to the end of the party's queue.
    pub(crate) fn push_back(&mut self, party: &P, work: T) {
        let queue = self.queues.entry(party.clone()).or_default();
        if queue.is_empty() {
            self.order.push_back(party.clone());
        }
        queue.push_back(work);
        self.len += 1;
    }

    /// Puts back work that was taken, before all other work. Several pieces are put back in the reverse order.
    ///
    /// If the party did not get the next turn, too, the work of another one could take its place again and again.
    pub(crate) fn put_back(&mut self, party: &P, work: T) {
        if self.order.front() != Some(party) {
            self.order.retain(|other| other != party);
            self.order.push_front(party.clone());
        }
        self.queues.entry(party.clone()).or_default().push_front(work);
        self.len += 1;
    }

    /// Removes and returns the first piece of work of the party whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.pop_unless(|_| false)
    }

    /// Removes and returns the first piece of work of the next party that is not held back.
    pub(crate) fn pop_unless(&mut self, is_held: impl Fn(&P) -> bool) -> Option<T> {
        let skipped = self.order.iter().position(|party| !is_held(party))?;
        self.order.rotate_left(skipped);
        let party = self.order.pop_front()?;
        let queue = self.queues.get_mut(&party)?;
        let work = queue.pop_front();
        self.len -= 1;
        if queue.is_empty() {
            self.queues.remove(&party);
        } else {
            self.order.push_back(party);
        }
        work
    }

    /// Removes and returns at most so many pieces of work, from the parties in turn.
    pub(crate) fn take(&mut self, most: usize) -> impl Iterator<Item = T> {
        std::iter::from_fn(|| self.pop()).take(most)
    }

    /// The number of pieces of work.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no work.
    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of pieces of work of parties that are not held back.
    pub(crate) fn len_unless(&self, is_held: impl Fn(&P) -> bool) -> usize {
        let free = self.queues.iter().filter(|(party, _)| !is_held(party));
        free.map(|(_, queue)| queue.len()).sum()
    }

    /// Whether at least `most` pieces of work wait here, and the party has its share of them: at least as many as
    /// parties have on average.
    pub(crate) fn is_full_for(&self, party: &P, most: usize) -> bool {
        let has_share = |queue: &VecDeque<T>| queue.len().saturating_mul(self.order.len()) >= self.len;
        self.len >= most && self.queues.get(party).is_some_and(has_share)
    }

    /// All work.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.queues.values_mut().flatten()
    }

    /// Removes the work for which `keep` returns false.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&mut T) -> bool) {
        self.queues.retain(|_, queue| {
            queue.retain_mut(&mut keep);
            !queue.is_empty()
        });
        self.len = self.queues.values().map(VecDeque::len).sum();
        let queues = &self.queues;
        self.order.retain(|party| queues.contains_key(party));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Tenant;

    fn turns(work: &[(&str, u8)]) -> Turns<Tenant, u8> {
        let mut turns = Turns::default();
        for (tenant, work) in work {
            turns.push_back(&Tenant::trusted(tenant), *work);
        }
        turns
    }

    #[test]
    fn tenants_take_turns_and_the_work_of_one_keeps_its_order() {
        let mut turns = turns(&[("a", 1), ("a", 2), ("a", 3), ("b", 4)]);
        assert_eq!(turns.take(2).collect::<Vec<_>>(), [1, 4]);
        assert_eq!((turns.len(), turns.take(9).collect::<Vec<_>>()), (2, vec![2, 3]));
        assert_eq!((turns.len(), turns.pop()), (0, None));
    }

    /// Guards that a piece of work whose place others take is not put off for ever.
    #[test]
    fn work_that_is_put_back_comes_first_in_its_order() {
        let mut turns = turns(&[("a", 1), ("a", 2), ("a", 3), ("a", 4), ("b", 5)]);
        assert_eq!(turns.take(4).collect::<Vec<_>>(), [1, 5, 2, 3]);
        for (tenant, work) in [("a", 3), ("a", 2), ("b", 5)] {
            turns.put_back(&Tenant::trusted(tenant), work);
        }
        assert_eq!((turns.len(), turns.take(9).collect::<Vec<_>>()), (4, vec![5, 2, 3, 4]));
    }

    /// Guards that one tenant's work in a full line keeps nobody else out of it.
    #[test]
    fn a_line_is_full_for_tenants_with_at_least_the_average() {
        let turns = turns(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("c", 5), ("c", 6)]);
        let full =
            |most| ["a", "b", "c", "d"].map(|tenant| turns.is_full_for(&Tenant::trusted(tenant), most));
        assert_eq!((full(6), full(7)), ([true, false, true, false], [false; 4]));
    }

    #[test]
    fn a_tenant_that_is_held_back_loses_its_turn_and_no_work() {
        let mut turns = turns(&[("a", 1), ("b", 2), ("b", 3)]);
        let is_a = |tenant: &Tenant| tenant.as_str() == "a";
        assert_eq!(
            (turns.len_unless(is_a), turns.pop_unless(is_a), turns.pop_unless(is_a)),
            (2, Some(2), Some(3))
        );
        assert_eq!((turns.pop_unless(is_a), turns.pop()), (None, Some(1)));
    }

    #[test]
    fn a_tenant_without_work_has_no_turn() {
        let mut turns = turns(&[("a", 1), ("b", 2), ("b", 3)]);
        turns.retain(|work| *work > 1);
        assert_eq!((turns.len(), turns.take(9).collect::<Vec<_>>()), (2, vec![2, 3]));
    }
}
