//! How tenants share the room for lines that wait to be written.

use crate::{SeededMap, domain::Tenant};

/// The most bytes that may wait. A tenant alone takes half of them: about half a second of a busy replica.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// The most bytes of records that are not of changes. Clients cause such records as often as they like.
const MOST_BYTES_WITHOUT_CHANGE: usize = MOST_BYTES / 2;

/// The most tenants for which memory is kept.
const MOST_KEPT_TENANTS: usize = 1_000;

/// The room that waiting lines take. A tenant takes at most as much as it leaves free, so a tenant without end loses its own records, and
/// several of them have equal shares.
#[derive(Debug, Default)]
pub(super) struct Room {
    taken: usize,
    taken_without_change: usize,
    taken_without_tenant: usize,
    tenants: SeededMap<Tenant, usize>,
}

impl Room {
    /// Takes room for a line, and returns whether there was enough.
    pub(super) fn take(&mut self, bytes: usize, tenant: Option<&Tenant>, is_change: bool) -> bool {
        if !is_change && self.taken_without_change + bytes > MOST_BYTES_WITHOUT_CHANGE {
            return false;
        }
        let share = match tenant {
            None => Some(&mut self.taken_without_tenant),
            Some(tenant) => self.tenants.get_mut(tenant),
        };
        let of_tenant = share.as_deref().map_or(0, |share| *share) + bytes;
        let taken = self.taken + bytes;
        if of_tenant + taken > MOST_BYTES {
            return false;
        }
        match (share, tenant) {
            (Some(share), _) => *share = of_tenant,
            (None, Some(tenant)) => {
                self.tenants.insert(tenant.clone(), of_tenant);
            }
            (None, None) => {}
        }
        self.taken = taken;
        if !is_change {
            self.taken_without_change += bytes;
        }
        true
    }

    /// Gives all room back.
    pub(super) fn clear(&mut self) {
        let mut tenants = std::mem::take(&mut self.tenants);
        tenants.clear();
        tenants.shrink_to(MOST_KEPT_TENANTS);
        *self = Self { tenants, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: usize = 1_000;

    /// Takes room until there is none, and returns the number of lines.
    fn fill(room: &mut Room, tenant: Option<&Tenant>, is_change: bool) -> usize {
        std::iter::from_fn(|| room.take(LINE, tenant, is_change).then_some(())).count()
    }

    #[test]
    fn a_tenant_takes_no_more_than_it_leaves_free() {
        let (mut room, flood, other) = (Room::default(), Tenant::trusted("flood"), Tenant::trusted("other"));
        assert_eq!(fill(&mut room, Some(&flood), true), MOST_BYTES / 2 / LINE);
        assert_eq!(fill(&mut room, Some(&other), true), MOST_BYTES / 4 / LINE, "it is not full for others");
        assert!(room.take(LINE, None, false), "nor for records without a tenant");
        room.clear();
        assert_eq!(fill(&mut room, None, true), MOST_BYTES / 2 / LINE, "these have one share together");
        assert!(room.take(LINE, Some(&other), true));
    }

    #[test]
    fn tenants_that_record_without_end_have_equal_shares() {
        let mut room = Room::default();
        let tenants = ["a", "b", "c"].map(Tenant::trusted);
        let mut lines = [0; 3];
        for turn in 0..3 * MOST_BYTES / LINE {
            lines[turn % 3] += usize::from(room.take(LINE, Some(&tenants[turn % 3]), true));
        }
        assert!(lines.iter().all(|lines| lines.abs_diff(MOST_BYTES / 4 / LINE) <= 1), "{lines:?}");
    }

    /// Guards that refused requests, of which clients send as many as they like, cost no record of a change, nor changes one of those.
    #[test]
    fn half_of_the_room_is_kept_for_changes() {
        let mut room = Room::default();
        for number in 0..100 {
            fill(&mut room, Some(&Tenant::trusted(&number.to_string())), false);
        }
        assert!((MOST_BYTES / 2 - LINE..=MOST_BYTES / 2).contains(&room.taken), "{}", room.taken);
        assert_eq!(fill(&mut room, Some(&Tenant::trusted("changes")), true), MOST_BYTES / 4 / LINE);
        room.clear();
        fill(&mut room, Some(&Tenant::trusted("changes")), true);
        assert!(room.take(LINE, Some(&Tenant::trusted("refused")), false));
    }

    /// Guards against memory that grows while nothing is written, or stays after many tenants.
    #[test]
    fn only_tenants_with_lines_that_wait_take_memory() {
        let mut room = Room::default();
        for number in 0..10_000 {
            room.take(LINE, Some(&Tenant::trusted(&number.to_string())), true);
        }
        assert!(!room.take(MOST_BYTES, Some(&Tenant::trusted("refused")), true));
        assert_eq!(room.tenants.len(), 10_000);
        room.clear();
        assert!(room.tenants.is_empty() && room.tenants.capacity() < 10_000, "{}", room.tenants.capacity());
    }
}
