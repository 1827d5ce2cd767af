//! The permits of a semaphore, as far as they are known.

use std::collections::BTreeMap;

use super::{Data, Grant, Now, Timestamp, Version};

/// One slot of a semaphore and the grant that has it, or had it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// The slot's number, from 0; it says nothing to callers.
    pub slot: i32,
    /// The grant; its version stays current until the slot is granted again.
    pub grant: Grant,
    /// The text stored with this permit.
    pub data: Option<Data>,
    /// When the permit last changed.
    pub updated_at: Timestamp,
}

/// A view of a semaphore's permits: all of them, or those that end first and those asked for by version.
///
/// Invariant: every permit that is not known ends at `unknown_from` or later. So whether a free one is missing from the
/// view can be told from the view, and no decision is O(n) in the permits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permits {
    /// The permits known, in no order.
    pub known: Vec<Permit>,
    /// How many slots have ever been granted: the number of rows, known or not.
    pub slots: i32,
    /// The earliest end that an unknown permit can have; `None` when all are known.
    pub unknown_from: Option<Timestamp>,
    /// Versions that were looked for by name: if they are not among the known, they do not exist.
    pub asked: Vec<Version>,
    /// Needed only where the rest of the view does not tell: after a shrink to fewer permits than there are slots, and to
    /// show the number.
    pub busy_counted: Option<BusyCount>,
    /// Whether the latest [`AT_MOST`](super::EndedVersions::AT_MOST) grants whose versions callers chose are among the known. Needed only to
    /// delete the semaphore: its permits go, and these versions have to be remembered.
    pub knows_latest_chosen: bool,
    /// The versions that guard rows name, by slot: of a guarded semaphore, whose permits are all known then.
    pub named: BTreeMap<i32, Version>,
}

/// How many permits were out at a moment; kept up to date with what is granted and released since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyCount {
    /// How many leases had not ended.
    pub busy: i32,
    /// When.
    pub at: Timestamp,
}

/// How many more permits may be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// At least this many.
    pub count: i32,
    /// Not more either; otherwise the view must be loaded again to tell.
    pub certain: bool,
}

impl Permits {
    /// The index of the permit with this version; `Err` when the view does not tell.
    pub fn find(&self, version: Version) -> Result<Option<usize>, Version> {
        let found = self.known.iter().position(|permit| permit.grant.version == version);
        if found.is_none() && self.unknown_from.is_some() && !self.asked.contains(&version) {
            return Err(version);
        }
        Ok(found)
    }

    /// How many more permits may be granted of a semaphore of this size.
    pub fn room(&self, max_size: i32, now: Now) -> Room {
        if !self.named.is_empty() {
            let is_active = |permit: &&Permit| permit.grant.is_active(now);
            let taken = self.known.iter().filter(is_active).count() + self.ending().count();
            let taken = i32::try_from(taken).unwrap_or(i32::MAX);
            return Room { count: max_size.saturating_sub(taken).max(0), certain: true };
        }
        let ended = self.known.iter().filter(|permit| !permit.grant.is_active(now)).count();
        let ended = i32::try_from(ended).unwrap_or(i32::MAX);
        let unknown_may_have_ended = self.unknown_from.is_some_and(|end| now.is_past(end));
        if self.slots <= max_size {
            return Room { count: ended + (max_size - self.slots), certain: !unknown_may_have_ended };
        }
        let busy = match (self.counted(now), self.unknown_from) {
            (Some(busy), _) => busy,
            (None, Some(_)) => return Room { count: 0, certain: false },
            (None, None) => self.slots - ended,
        };
        let count = (max_size - busy).max(0);
        // Without an ended slot at hand the place that is free cannot be granted from this view.
        Room { count: count.min(ended), certain: count <= ended }
    }

    /// The slot to grant when there is room: the one that has been free the longest, else the next new one.
    pub fn free_slot(&self, now: Now) -> i32 {
        self.longest_free(now).map_or(self.slots, |permit| permit.slot)
    }

    /// Whether the guard row of a permit names its grant.
    pub fn is_named(&self, permit: &Permit) -> bool {
        !self.named.is_empty() && self.named.get(&permit.slot) == Some(&permit.grant.version)
    }

    /// Whether the grant of a permit was ended, and its guard row still names it: a transaction is open.
    pub fn is_ending(&self, permit: &Permit) -> bool {
        permit.grant.released && self.is_named(permit)
    }

    /// The permits whose grants were ended and are still named.
    pub fn ending(&self) -> impl Iterator<Item = &Permit> {
        let known = if self.named.is_empty() { &[][..] } else { &self.known[..] };
        known.iter().filter(|permit| self.is_ending(permit))
    }

    /// The permit that has been free for longest, among those that are known.
    pub fn longest_free(&self, now: Now) -> Option<&Permit> {
        let is_free = |permit: &&Permit| !permit.grant.is_active(now) && !self.is_ending(permit);
        let ended = self.known.iter().filter(is_free);
        ended.min_by_key(|permit| (permit.grant.expires_at, permit.slot))
    }

    /// How many were counted, less those known to have ended since.
    fn counted(&self, now: Now) -> Option<i32> {
        let BusyCount { busy, at } = self.busy_counted?;
        let since = |grant: &Grant| grant.is_active_at(at) && !grant.is_active(now);
        let ended = self.known.iter().filter(|permit| since(&permit.grant)).count();
        Some(busy - i32::try_from(ended).unwrap_or(i32::MAX))
    }

    /// Brings the count to the moment of a decision: what is granted and released then is counted from there.
    pub fn recount(&mut self, now: Now) {
        self.busy_counted = self.counted(now).map(|busy| BusyCount { busy, at: now.at_least });
    }

    /// Puts a grant into a slot. Returns the grant that it replaces.
    pub fn put(&mut self, permit: Permit) -> Option<Grant> {
        if let Some(counted) = &mut self.busy_counted {
            counted.busy += 1;
        }
        if permit.slot == self.slots {
            self.slots += 1;
            self.known.push(permit);
            return None;
        }
        let known = self.known.iter_mut().find(|known| known.slot == permit.slot);
        known.map(|known| std::mem::replace(known, permit).grant)
    }

    /// Adds the permits with the latest grants whose versions callers chose, from all permits: what a store in memory does to
    /// load them.
    #[cfg(test)]
    pub(crate) fn add_latest_chosen(&mut self, all: &[Permit]) {
        let mut chosen: Vec<_> = all.iter().filter(|permit| permit.grant.chosen).collect();
        chosen.sort_by_key(|permit| std::cmp::Reverse(permit.grant.token));
        for permit in chosen.into_iter().take(super::EndedVersions::AT_MOST) {
            self.replace_known(permit.clone());
        }
        self.knows_latest_chosen = true;
    }

    /// Adds a permit to the view, in place of what was known of its slot: it may have been granted anew since that was read.
    pub fn replace_known(&mut self, permit: Permit) {
        self.known.retain(|known| known.slot != permit.slot);
        self.known.push(permit);
    }

    /// Whether the view has every version that must be remembered when the permits are deleted.
    pub const fn can_be_deleted(&self) -> bool {
        self.unknown_from.is_none() || self.knows_latest_chosen
    }

    /// Notes that a standing permit was given back.
    pub const fn note_released(&mut self) {
        if let Some(counted) = &mut self.busy_counted {
            counted.busy -= 1;
        }
    }

    /// How many permits are out; `None` when the view does not tell.
    pub fn busy(&self, now: Now) -> Option<i64> {
        if self.unknown_from.is_none() {
            let active = self.known.iter().filter(|permit| permit.grant.is_active(now)).count();
            return i64::try_from(active).ok();
        }
        self.counted(now).map(i64::from)
    }

    /// Forgets what only one decision needed, and all but the permits that end first where there are many.
    pub fn trim(&mut self, most: usize) {
        self.asked = Vec::new();
        self.busy_counted = None;
        self.knows_latest_chosen = false;
        if self.known.len() > most {
            self.known.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
            let first_forgotten = self.known[most].grant.expires_at;
            self.unknown_from =
                Some(self.unknown_from.map_or(first_forgotten, |end| end.min(first_forgotten)));
            self.known.truncate(most);
        }
    }

    /// The end of the lease that ends next, as far as known.
    pub fn next_end(&self, now: Now) -> Option<Timestamp> {
        let active = self.known.iter().filter(|permit| permit.grant.is_active(now));
        active.map(|permit| permit.grant.expires_at).chain(self.unknown_from).min()
    }

    /// The grants that stand, those that end first in front.
    pub fn active(&self, now: Now) -> Vec<&Permit> {
        let mut active: Vec<_> = self.known.iter().filter(|permit| permit.grant.is_active(now)).collect();
        active.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
        active
    }
}
