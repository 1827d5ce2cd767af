//! A view of the permits of a semaphore.

use std::collections::BTreeMap;

use super::{Data, Grant, Now, Timestamp, Version};

/// One slot of a semaphore and its last grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permit {
    /// The slot's number, from 0. It has no meaning for callers.
    pub slot: i32,
    /// The grant. Its version stays current until the slot is granted again.
    pub grant: Grant,
    /// The text stored with this permit.
    pub data: Option<Data>,
    /// When the permit last changed.
    pub updated_at: Timestamp,
}

/// A view of a semaphore's permits: all of them, or those that end first and those that were loaded by version.
///
/// Invariant: every unknown permit ends at `unknown_from` or later. So the view itself shows whether a free permit may
/// be missing from it, and no decision is O(n) in the permits.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Permits {
    /// The known permits, in no order.
    pub known: Vec<Permit>,
    /// The number of slots that were ever granted: the number of rows, known or not.
    pub slots: i32,
    /// The earliest end that an unknown permit can have; `None` if all are known.
    pub unknown_from: Option<Timestamp>,
    /// Versions that were looked up. A version that is not among the known permits does not exist.
    pub asked: Vec<Version>,
    /// The number of active permits. It is needed only where the rest of the view does not show it: after a shrink to
    /// fewer permits than there are slots, and to show the number.
    pub busy_counted: Option<BusyCount>,
    /// Whether the latest [`AT_MOST`](super::EndedVersions::AT_MOST) grants with chosen versions are known. This is
    /// needed only to delete the semaphore: its permits are deleted, and these versions have to be remembered.
    pub knows_latest_chosen: bool,
    /// Set by the steps of a deletion: what the next step need not load again.
    pub deletion: Option<Deletion>,
    /// The versions that guard rows name, by slot. Only a guarded semaphore has them, and then all of its permits are
    /// known, unless this decision has made it guarded.
    pub named: BTreeMap<i32, Version>,
}

/// The number of active permits at a moment, kept up to date with later grants and releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BusyCount {
    /// The number of leases that had not ended.
    pub busy: i32,
    /// The moment of the count.
    pub at: Timestamp,
}

/// A deletion of permits in several steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// When the last step found no active permit. No permit was granted since.
    pub at: Timestamp,
    /// The number of permits that a step deletes.
    pub at_once: i32,
    /// The bytes that the data of a permit has, as far as is known.
    pub data_bytes: usize,
}

/// The number of permits that may still be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The minimum number.
    pub count: i32,
    /// Whether the number is exact; otherwise the key must be loaded again to know it.
    pub certain: bool,
}

impl Permits {
    /// The permit with this version; `Err` if the view does not show that.
    pub fn find(&self, version: Version) -> Result<Option<&Permit>, Version> {
        let found = self.known.iter().find(|permit| permit.grant.version == version);
        if found.is_none() && self.unknown_from.is_some() && !self.asked.contains(&version) {
            return Err(version);
        }
        Ok(found)
    }

    /// The number of permits that may still be granted of a semaphore of this size.
    pub fn room(&self, max_size: i32, now: Now) -> Room {
        if self.became_guarded_on_part() {
            return Room { count: 0, certain: false };
        }
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
        // A free place cannot be granted from this view without a known slot that has ended.
        Room { count: count.min(ended), certain: count <= ended }
    }

    /// Whether the semaphore became guarded by a decision that does not know all of its permits. The guard rows of the other
    /// permits count, so nothing more is granted before all are loaded.
    pub fn became_guarded_on_part(&self) -> bool {
        !self.named.is_empty() && self.unknown_from.is_some()
    }

    /// The slot to grant if there is room: the one that has been free for longest, otherwise the next new one.
    pub fn free_slot(&self, now: Now) -> i32 {
        self.longest_free(now).map_or(self.slots, |permit| permit.slot)
    }

    /// Whether the guard row of a permit names its grant.
    pub fn is_named(&self, permit: &Permit) -> bool {
        !self.named.is_empty() && self.named.get(&permit.slot) == Some(&permit.grant.version)
    }

    /// Whether the grant of a permit was ended but its guard row still names it, because a transaction is open.
    pub fn is_ending(&self, permit: &Permit) -> bool {
        permit.grant.released && self.is_named(permit)
    }

    /// The permits whose grants were ended but are still named.
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

    /// The counted number, less the known permits that have ended since.
    fn counted(&self, now: Now) -> Option<i32> {
        let BusyCount { busy, at } = self.busy_counted?;
        let since = |grant: &Grant| grant.is_active_at(at) && !grant.is_active(now);
        let ended = self.known.iter().filter(|permit| since(&permit.grant)).count();
        Some(busy - i32::try_from(ended).unwrap_or(i32::MAX))
    }

    /// Updates the count to the moment of a decision. Later grants and releases are counted from there.
    pub fn recount(&mut self, now: Now) {
        self.busy_counted = self.counted(now).map(|busy| BusyCount { busy, at: now.at_least });
    }

    /// Puts a grant into a slot. Returns the grant that it replaces.
    pub fn put(&mut self, permit: Permit) -> Option<Grant> {
        if let Some(counted) = &mut self.busy_counted {
            counted.busy += 1;
        }
        self.deletion = None;
        if permit.slot == self.slots {
            self.slots += 1;
            self.known.push(permit);
            return None;
        }
        self.replace(permit)
    }

    /// Replaces the known permit of the same slot. Returns its grant.
    pub fn replace(&mut self, permit: Permit) -> Option<Grant> {
        let known = self.known.iter_mut().find(|known| known.slot == permit.slot);
        known.map(|known| std::mem::replace(known, permit).grant)
    }

    /// Adds the permits with the latest chosen versions from a list of all permits, as a memory store does on loading.
    #[cfg(test)]
    pub(crate) fn add_latest_chosen(&mut self, all: &[Permit]) {
        let mut chosen: Vec<_> = all.iter().filter(|permit| permit.grant.chosen).collect();
        chosen.sort_by_key(|permit| std::cmp::Reverse(permit.grant.token));
        for permit in chosen.into_iter().take(super::EndedVersions::AT_MOST) {
            self.replace_known(permit.clone());
        }
        self.knows_latest_chosen = true;
    }

    /// Adds a permit to the view and replaces what was known of its slot, which may have been granted again since that
    /// was read.
    pub fn replace_known(&mut self, permit: Permit) {
        self.known.retain(|known| known.slot != permit.slot);
        self.known.push(permit);
    }

    /// Whether the view has every version that must be remembered when the permits are deleted.
    pub const fn can_be_deleted(&self) -> bool {
        self.unknown_from.is_none() || self.knows_latest_chosen
    }

    /// Notes that an active permit was released.
    pub const fn note_released(&mut self) {
        if let Some(counted) = &mut self.busy_counted {
            counted.busy -= 1;
        }
    }

    /// The number of active permits; `None` if the view does not show it.
    pub fn busy(&self, now: Now) -> Option<i64> {
        // After a step back of the clock a lease may seem to be active again.
        let unknown_have_ended = self.deletion.is_some_and(|deletion| deletion.at <= now.at_most);
        if self.unknown_from.is_none() || unknown_have_ended {
            let active = self.known.iter().filter(|permit| permit.grant.is_active(now)).count();
            return i64::try_from(active).ok();
        }
        self.counted(now).map(i64::from)
    }

    /// Drops the parts that only one decision needed. If there are many permits, keeps only those that end first.
    pub fn trim(&mut self, most: usize) {
        self.asked = Vec::new();
        self.busy_counted = None;
        if self.known.len() > most {
            self.deletion = None;
            self.known.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
            let first_forgotten = self.known[most].grant.expires_at;
            self.unknown_from =
                Some(self.unknown_from.map_or(first_forgotten, |end| end.min(first_forgotten)));
            self.known.truncate(most);
        }
        self.knows_latest_chosen &= self.deletion.is_some();
    }

    /// The earliest time at which a lease may end.
    pub fn next_end(&self, now: Now) -> Option<Timestamp> {
        let active = self.known.iter().filter(|permit| permit.grant.is_active(now));
        active.map(|permit| permit.grant.expires_at).chain(self.unknown_from).min()
    }

    /// The active permits, ordered by the end of their leases.
    pub fn active(&self, now: Now) -> Vec<&Permit> {
        let mut active: Vec<_> = self.known.iter().filter(|permit| permit.grant.is_active(now)).collect();
        active.sort_by_key(|permit| (permit.grant.expires_at, permit.slot));
        active
    }
}
