//! Shares of a memory that parties, such as tenants, use together.

use std::hash::Hash;

use crate::SeededMap;

/// Something of a party in a memory that has a limit.
#[derive(Debug)]
pub struct Kept<K, P, T> {
    /// What identifies it.
    pub key: K,
    /// Whose it is.
    pub party: P,
    /// When it was used last.
    pub used: T,
    /// The memory that it takes.
    pub size: usize,
}

/// The keys of what must go, if at most `most` may remain in all. The parties with the most lose first, and what they used the longest
/// ago. So nobody loses anything because another party has very much.
pub fn beyond_shares<K, P: Eq + Hash, T: Ord>(
    entries: impl Iterator<Item = Kept<K, P, T>>,
    most: usize,
) -> Vec<K> {
    let mut entries: Vec<_> = entries.collect();
    entries.sort_unstable_by(|one, other| other.used.cmp(&one.used));
    let mut by_party: SeededMap<P, usize> = SeededMap::default();
    let mut ranked: Vec<_> = entries
        .into_iter()
        .map(|Kept { key, party, size, .. }| {
            let of_party = by_party.entry(party).or_default();
            *of_party += size;
            (*of_party, size, key)
        })
        .collect();
    // Stable: of two with the same rank, the one used last comes first.
    ranked.sort_by_key(|(rank, ..)| *rank);
    let mut kept = 0;
    let beyond = |(_, size, key)| {
        kept += size;
        (kept > most).then_some(key)
    };
    ranked.into_iter().filter_map(beyond).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names of those that go: the party and the time of the last use.
    fn beyond(entries: &[(&'static str, u8, usize)], most: usize) -> Vec<(&'static str, u8)> {
        let kept =
            |&(party, used, size): &(&'static str, u8, usize)| Kept { key: (party, used), party, used, size };
        let mut beyond = beyond_shares(entries.iter().map(kept), most);
        beyond.sort_unstable();
        beyond
    }

    #[test]
    fn the_party_with_the_most_loses_what_it_used_the_longest_ago() {
        let entries = [("a", 1, 1), ("a", 2, 1), ("a", 3, 1), ("b", 0, 1), ("a", 4, 1)];
        assert_eq!(beyond(&entries, 5), []);
        assert_eq!(beyond(&entries, 3), [("a", 1), ("a", 2)]);
    }

    #[test]
    fn sizes_count_and_parties_with_little_lose_nothing() {
        let entries = [("a", 1, 10), ("a", 2, 10), ("b", 1, 3), ("c", 1, 4)];
        assert_eq!(beyond(&entries, 17), [("a", 1)]);
    }

    #[test]
    fn of_parties_with_as_much_those_lose_that_used_it_the_longest_ago() {
        let entries = [("a", 1, 1), ("b", 2, 1), ("c", 3, 1), ("d", 4, 1)];
        assert_eq!(beyond(&entries, 3), [("a", 1)]);
    }
}
