//! The limit of records of refusals.
//!
//! A refusal changes nothing, and a client can be refused thousands of times a second. Without a limit one tenant could
//! fill the disk, or the buffer in which the changes of other tenants wait for a slow disk.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{SeededMap, domain::Tenant};

/// The most refusals of a tenant that are recorded per period.
const MOST_RECORDED: u32 = 100;
const PERIOD: Duration = Duration::from_secs(1);

/// The maximum number of tenants of which the number of refusals left out is remembered.
const MOST_TENANTS: usize = 10_000;

/// Limits the refusals that are recorded, for each tenant.
#[derive(Debug, Default)]
pub(super) struct RefusalLimit(Mutex<Refusals>);

#[derive(Debug, Default)]
struct Refusals {
    /// The start of the current period.
    since: Option<Instant>,
    tenants: SeededMap<Tenant, Count>,
}

/// The refusals of a tenant.
#[derive(Debug, Default)]
struct Count {
    /// The number recorded in the current period.
    recorded: u32,
    /// The number left out since the last one that was recorded.
    left_out: u64,
}

impl RefusalLimit {
    /// Whether to record a refusal of this tenant. `Some` has the number of refusals left out since the last recorded
    /// one. `None` leaves out this one, too.
    pub(super) fn pass(&self, tenant: &Tenant, now: Instant) -> Option<u64> {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if refusals.since.is_none_or(|since| now.saturating_duration_since(since) >= PERIOD) {
            refusals.begin_period(now);
        }
        let count = match refusals.tenants.get_mut(tenant) {
            Some(count) => count,
            None => refusals.tenants.entry(tenant.clone()).or_default(),
        };
        if count.recorded >= MOST_RECORDED {
            count.left_out += 1;
            return None;
        }
        count.recorded += 1;
        Some(std::mem::take(&mut count.left_out))
    }
}

impl Refusals {
    fn begin_period(&mut self, now: Instant) {
        self.since = Some(now);
        self.tenants.retain(|_, count| {
            count.recorded = 0;
            count.left_out > 0
        });
        if self.tenants.len() > MOST_TENANTS {
            self.tenants.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards that a tenant which is refused without end fills neither the disk nor the place of records of others.
    #[test]
    fn a_tenants_refusals_are_recorded_up_to_a_limit_and_the_rest_is_counted() {
        let (limit, begin) = (RefusalLimit::default(), Instant::now());
        let (many, few) = (Tenant::trusted("many"), Tenant::trusted("few"));
        let passes = (0..1_000).filter_map(|_| limit.pass(&many, begin)).collect::<Vec<_>>();
        assert_eq!(passes, [0; MOST_RECORDED as usize]);
        assert_eq!(limit.pass(&few, begin), Some(0), "another tenant has its own limit");
        assert_eq!(limit.pass(&few, begin + PERIOD), Some(0), "a new period may begin with any tenant");
        assert_eq!(limit.pass(&many, begin + PERIOD), Some(900));
        assert_eq!(limit.pass(&many, begin + PERIOD), Some(0), "once");
    }

    #[test]
    fn many_tenants_without_left_out_refusals_cost_no_count_of_others() {
        let (limit, begin) = (RefusalLimit::default(), Instant::now());
        let flood = Tenant::trusted("flood");
        for _ in 0..MOST_RECORDED + 5 {
            limit.pass(&flood, begin);
        }
        for number in 0..=MOST_TENANTS {
            limit.pass(&Tenant::trusted(&number.to_string()), begin);
        }
        assert_eq!(limit.pass(&flood, begin + PERIOD), Some(5));
    }

    /// Guards against memory that grows with the number of tenants ever seen.
    #[test]
    fn tenants_without_refusals_are_forgotten() {
        let limit = RefusalLimit::default();
        let mut now = Instant::now();
        for number in 0..3 * MOST_TENANTS {
            now += PERIOD / 5_000;
            limit.pass(&Tenant::trusted(&number.to_string()), now);
        }
        let refusals = limit.0.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(refusals.tenants.len() <= 5_001, "{}", refusals.tenants.len());
    }
}
