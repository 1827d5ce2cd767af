//! The pages of a sweep.

use std::collections::BTreeMap;

use crate::domain::{KeyId, Tenant, Token};

/// A place in the order in which rows are due for the sweeper. Several rows may have the same place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SweepPlace(pub(crate) i64);

impl SweepPlace {
    /// The first place. Releases that are unfinished have an earlier one.
    pub const FIRST: Self = Self(1);

    /// Where a search goes on after a full page from here to `last`: there, since further rows may have that place. If all
    /// rows of the page have the same place, these rows are read again only if some of them went.
    #[must_use]
    pub fn after_page(self, last: Self, some_went: bool) -> Self {
        if last > self || some_went { last } else { Self(last.0.saturating_add(1)) }
    }
}

/// What became of the tombstones among the next rows of a sweep.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TombstonePage {
    /// The keys whose tombstones were removed.
    pub removed: Vec<KeyId>,
    /// The floors that tenants need before others of their tombstones can be removed.
    pub floors: BTreeMap<Tenant, Token>,
    /// The place of the next page; `None` on the last page.
    pub next: Option<SweepPlace>,
}

#[cfg(test)]
mod tests {
    use super::SweepPlace;

    #[test]
    fn a_search_goes_on_where_it_may_find_something_new() {
        let (from, later) = (SweepPlace(7), SweepPlace(9));
        assert_eq!([true, false].map(|went| from.after_page(later, went)), [later, later]);
        assert_eq!(from.after_page(from, true), from, "others have come to the page's place");
        assert_eq!(from.after_page(from, false), SweepPlace(8), "the page would be the same");
    }
}
